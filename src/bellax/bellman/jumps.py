"""Jumps of what follows from savings, where the first-order condition knows no optimum: agents bunch just beyond them.

Between two nodes a function that is smooth and concave rises by no more than its slopes at both ends allow, and by no
less. Where it does otherwise it has a kink or a jump in between, and halving the interval tells which: a kink's rise
halves, too, and a jump's does not. Those that are nodes on both sides are none of these.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from bellax.numerics import loops

_PLACES = 4  # intervals that are looked into, those with the largest excess
_HALVINGS = 40


class _Search(NamedTuple):
    """Intervals that are halved.

    Attributes:
        halvings: how often.
        low, high, below, above: their ends, and the function there.
        open: whether there may still be a jump in them.
    """

    halvings: Array
    low: Array
    high: Array
    below: Array
    above: Array
    open: Array


def jumps(
    nodes: Float[Array, "n"],
    values: Float[Array, "n"],
    slopes: Float[Array, "n"],
    sound: Bool[Array, "n"],
    function: Callable[[Array], Array],
) -> Bool[Array, ""]:
    """Whether a function jumps between two nodes, as far as it shows in what is known at them.

    Args:
        nodes: not decreasing.
        values, slopes: of the function there.
        sound: whether these are numbers.
        function: pointwise.
    """
    # V in pieces is right to fewer digits between its nodes than at them
    slack = 64 * jnp.sqrt(jnp.finfo(values.dtype).eps) * jnp.maximum(1.0, jnp.abs(values[1:]))
    # both sides of a kink that was found are nodes: a jump between them is one that is known
    apart = nodes[1:] - nodes[:-1] > 1e-11 * jnp.maximum(1.0, jnp.abs(nodes[1:]))
    known = sound[1:] & sound[:-1] & apart
    values, slopes = jnp.where(sound, values, 0.0), jnp.where(sound, slopes, 0.0)
    least, most = jnp.minimum(slopes[1:], slopes[:-1]), jnp.maximum(slopes[1:], slopes[:-1])
    excess = _excess(nodes[1:] - nodes[:-1], values[1:] - values[:-1], least, most)
    excess, at = lax.top_k(jnp.where(known & (excess > slack), excess, 0.0), min(_PLACES, excess.shape[0]))
    least, most, slack = least[at], most[at], slack[at]

    def halve(state: _Search) -> _Search:
        halvings, low, high, below, above, open_ = state
        middle = 0.5 * (low + high)
        there = jax.vmap(function)(middle)
        first = _excess(middle - low, there - below, least, most)
        second = _excess(high - middle, above - there, least, most)
        lower = first >= second
        return _Search(
            halvings + 1,
            jnp.where(lower, low, middle),
            jnp.where(lower, middle, high),
            jnp.where(lower, below, there),
            jnp.where(lower, there, above),
            # that of a kink shrinks, and then there is none; a jump has it in one of the halves
            open_ & (jnp.maximum(first, second) > slack),
        )

    start = _Search(jnp.zeros((), jnp.int32), nodes[at], nodes[at + 1], values[at], values[at + 1], excess > 0)
    done = lambda state: (state.halvings >= _HALVINGS) | ~jnp.any(state.open)  # noqa: E731
    found = loops.until(done, halve, start)
    return jnp.any(found.open & (jnp.abs(found.above - found.below) > slack))


def _excess(width: Array, rise: Array, least: Array, most: Array) -> Array:
    """By how much a function rises or falls beyond what its slopes allow."""
    return jnp.maximum(rise - most * width, least * width - rise)
