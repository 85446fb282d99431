"""Adam with clipped gradients, by optax, which is imported where it is used."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Weights = Any
"""A pytree of arrays."""


class Decay(NamedTuple):
    """A rate of learning that falls by the same factor with every step.

    Attributes:
        first: in the beginning.
        ratio: what is left of it after `steps`.
        steps: see `ratio`.
    """

    first: float
    ratio: float
    steps: int


class Adam:
    """Steps of a descent.

    Args:
        rate: of learning; a number, a `Decay`, or a schedule of optax: a function of the count of steps.
        clip: largest norm of a gradient.
    Source: Kingma & Ba (2015).
    """

    def __init__(self, rate: float | Decay | Callable[[Any], Any], clip: float) -> None:
        import optax

        along: Any = rate
        if isinstance(rate, Decay):
            along = optax.exponential_decay(rate.first, rate.steps, rate.ratio)
        self._chain = optax.chain(optax.clip_by_global_norm(clip), optax.adam(along))

    def init(self, weights: Weights) -> Any:
        """Moments to begin with."""
        return self._chain.init(weights)

    def step(self, weights: Weights, slope: Weights, moments: Any) -> tuple[Weights, Any]:
        """Weights and moments after a step along a gradient."""
        # optax counts steps in integers, and takes powers of numbers by them
        with jax.numpy_dtype_promotion("standard"):
            moves, moments = self._chain.update(slope, moments, weights)
        add: Any = lambda weight, move: weight + move  # noqa: E731
        return jax.tree.map(add, weights, moves), moments
