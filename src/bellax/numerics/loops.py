"""The loops of solvers and maximisers: nothing else in bellax writes a while loop.

A solver owns no loop: it gives a step on a state that is a NamedTuple or a pytree, and says when it is done.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax.numpy as jnp
from jax import Array, lax

State = TypeVar("State")


def until(done: Callable[[State], Array], step: Callable[[State], State], state: State) -> State:
    """Steps until `done`; under `vmap` each lane stops by itself. Not differentiable in reverse mode."""
    return lax.while_loop(lambda s: ~done(s), step, state)


def until_known(done: Callable[[State], Array], step: Callable[[State], State], state: State, known: bool) -> State:
    """As `until`; where numbers are known a loop of Python, of which nothing is compiled but what `step` compiles.

    Args:
        known: whether no number that `step` reads is traced.
    """
    if not known:
        return until(done, step, state)
    while not bool(done(state)):
        state = step(state)
    return state


def repeat(count: int, step: Callable[[State], State], state: State) -> State:
    """`count` steps."""
    return lax.fori_loop(0, count, lambda _, s: step(s), state)


def backward(step: Callable[[Any, Array], tuple[Any, Any]], last: Any, count: int) -> tuple[Any, Any]:
    """Steps over the periods count-1, ..., 0; returns the final carry and the outputs in the order of time.

    Args:
        step: of the carry of period t+1 and t, the carry of period t and an output.
        last: the carry of period `count`.
    """
    return lax.scan(step, last, jnp.arange(count, dtype=jnp.int32), reverse=True)
