"""The loop of every training: steps of a method until it is done.

Where somebody watches, by a progress bar or a checkpoint, it goes in blocks from Python: the same steps.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from bellax.learning.checkpoints import Checkpoint
from bellax.numerics import loops


class Method(abc.ABC):
    """A training; a state is a pytree of arrays."""

    @abc.abstractmethod
    def step(self, state: Any) -> Any:
        """The state after one more step."""

    @abc.abstractmethod
    def done(self, state: Any) -> Array:
        """Whether it is over."""

    @abc.abstractmethod
    def told(self, state: Any) -> tuple[Array, Array]:
        """For progress: a count of steps done, and the loss."""


class Watch(NamedTuple):
    """Who watches a training.

    Attributes:
        every: steps of a block.
        tell: of a count of steps and a loss.
        checkpoint: where states are kept.
    """

    every: int
    tell: Callable[[int, float], None] | None = None
    checkpoint: Checkpoint | None = None


def run(method: Method, state: Any) -> Any:
    """The last state, inside a compiled program."""
    return loops.until(method.done, method.step, state)


def block(method: Method, state: Any, count: int) -> tuple[Any, Array, tuple[Array, Array]]:
    """The state after so many steps at most, whether it is the last one, and what is told, in a compiled program."""

    def over(counted: tuple[Array, Any]) -> Array:
        return method.done(counted[1]) | (counted[0] >= count)

    step = lambda counted: (counted[0] + 1, method.step(counted[1]))  # noqa: E731
    _, last = loops.until(over, step, (jnp.zeros((), jnp.int32), state))
    return last, method.done(last), method.told(last)


def watched(blocks: Callable[[Any], tuple[Any, Array, tuple[Array, Array]]], start: Any, watch: Watch) -> Any:
    """The last state, by blocks, from the checkpoint where there is one.

    Args:
        blocks: a compiled `block`.
        start: the first state.
    """
    kept = watch.checkpoint
    found = None if kept is None else kept.load(start)
    state, over = start if found is None else found, False
    while not over:
        state, done, (steps, loss) = blocks(state)
        over = bool(done)
        if kept is not None:
            kept.save(int(steps), state)
        if watch.tell is not None:
            watch.tell(int(steps), float(loss))
    return state
