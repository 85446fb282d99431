"""The loops of solvers and maximisers: nothing else in bellax writes a while loop.

A solver owns no loop: it gives a step on a state that is a NamedTuple or a pytree, and says when it is done.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

State = TypeVar("State")
_BATCH, _BATCHES = 512, 64  # points of a batch at least, batches at most


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


def over(step: Callable[[Any, Any], tuple[Any, Any]], first: Any, rows: Any, reverse: bool = False) -> tuple[Any, Any]:
    """Steps over rows, leaves of shape (n, ...); returns the last carry and the outputs, one a row. Differentiable in
    both modes.

    Args:
        step: of a carry and a row, the next carry and an output.
        reverse: whether the last row comes first.
    """
    return lax.scan(step, first, rows, reverse=reverse)


def among(asked: Array, function: Callable[[Any], State], of: Any, known: State) -> State:
    """A pointwise function at those of many points where it is asked for, batch by batch: a loop inside it goes on as
    long as one of the batch does. Not differentiable in reverse mode.

    Args:
        asked: shape (n,).
        function: of one point.
        of: of all points, leaves of shape (n, ...).
        known: what holds elsewhere, as the function gives it, leaves of shape (n, ...).
    """
    count = asked.shape[0]
    size = min(count, max(_BATCH, count // _BATCHES))

    def step(state: tuple[Array, State]) -> tuple[Array, State]:
        left, found = state
        # jnp.nonzero takes XLA seconds to compile; what is left over in the last batch asks for its first point again
        places = jnp.searchsorted(jnp.cumsum(left, dtype=jnp.int32), jnp.arange(1, size + 1, dtype=jnp.int32))
        places = jnp.where(places < count, places, places[0])
        here = jax.vmap(function)(jax.tree.map(lambda leaf: leaf[places], of))
        return left.at[places].set(False), jax.tree.map(lambda whole, own: whole.at[places].set(own), found, here)

    return until(lambda state: ~jnp.any(state[0]), step, (asked, known))[1]


def backward(step: Callable[[Any, Array], tuple[Any, Any]], last: Any, count: int) -> tuple[Any, Any]:
    """Steps over the periods count-1, ..., 0; returns the final carry and the outputs in the order of time.

    Args:
        step: of the carry of period t+1 and t, the carry of period t and an output.
        last: the carry of period `count`.
    """
    return lax.scan(step, last, jnp.arange(count, dtype=jnp.int32), reverse=True)
