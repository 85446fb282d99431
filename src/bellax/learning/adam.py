"""Adam with clipped gradients, by optax, which is imported where it is used."""

from collections.abc import Callable
from typing import Any

import jax

Weights = Any
"""A pytree of arrays."""


class Adam:
    """Steps of a descent.

    Args:
        rate: of learning, or a schedule of optax: a function of the count of steps.
        clip: largest norm of a gradient.
    Source: Kingma & Ba (2015).
    """

    def __init__(self, rate: float | Callable[[Any], Any], clip: float) -> None:
        import optax

        self._chain = optax.chain(optax.clip_by_global_norm(clip), optax.adam(rate))

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
