"""Jumps of what follows from savings, where the first-order condition knows no optimum: agents bunch just beyond them.

Between two nodes a function that is smooth and concave rises by no more than its slopes at both ends allow, and by no
less. Where it does otherwise it has a kink or a jump in between, and halving the interval tells which: a kink's rise
halves, too, and a jump's does not. Those that are nodes on both sides are none of these.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from bellax.numerics import loops

_PLACES = 4  # intervals that are looked into, those with the largest excess
_HALVINGS = 40

_Search = tuple[Array, Array, Array, Array, Array]


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
        count, low, high, below, above = state
        middle = 0.5 * (low + high)
        there = jax.vmap(function)(middle)
        first = _excess(middle - low, there - below, least, most)
        lower = first >= _excess(high - middle, above - there, least, most)
        return (
            count + 1,
            jnp.where(lower, low, middle),
            jnp.where(lower, middle, high),
            jnp.where(lower, below, there),
            jnp.where(lower, there, above),
        )

    start = (jnp.zeros((), jnp.int32), nodes[at], nodes[at + 1], values[at], values[at + 1])
    done = lambda state: (state[0] >= _HALVINGS) | ~jnp.any(excess > 0)  # noqa: E731
    _, _, _, below, above = loops.until(done, halve, start)
    return jnp.any((excess > 0) & (jnp.abs(above - below) > slack))


def _excess(width: Array, rise: Array, least: Array, most: Array) -> Array:
    """By how much a function rises or falls beyond what its slopes allow."""
    return jnp.maximum(rise - most * width, least * width - rise)
