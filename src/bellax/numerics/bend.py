"""How a line goes on beyond its ends where V there is a guess: distances are shortened, so that a parabola ends in its
peak."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from bellax.numerics.scalar import where


class Bend(eqx.Module):
    """How distances off the grid are shortened: e becomes e - b e^2 up to its largest value, and stays there.

    Attributes:
        first, last: coordinates of the ends.
        below, above: b at either end; zero where distances are what they are.
    """

    first: Float[Array, ""]
    last: Float[Array, ""]
    below: Float[Array, ""]
    above: Float[Array, ""]

    def __call__(self, y: Float[Array, ""]) -> Float[Array, ""]:
        """The coordinate that stands for y."""
        return _shortened(0, y, self.first, self.last, self.below, self.above)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _shortened(order: int, y: Array, first: Array, last: Array, below: Array, above: Array) -> Array:
    """What stands for y, or a derivative of it; in closed form, as autodiff would write five times as much."""
    low, high = y < first, y > last
    if order > 2:
        return jnp.zeros_like(y)
    distance = _off(y, first, last)
    rate = where(low, below, above)
    share = where(rate > 0, distance * rate, 0.0)  # a distance may be infinite: log 0
    most = share < 0.5
    if order == 0:
        kept = where(most, distance * (1 - share), 0.25 / where(most, 1.0, rate))
        return where(low, first - kept, where(high, last + kept, y))
    if order == 1:
        return where(low | high, where(most, 1 - 2 * share, 0.0), 1.0)
    return where((low | high) & most, where(low, 2.0, -2.0) * rate, 0.0)


@partial(_shortened.defjvp, symbolic_zeros=True)
def _shortened_jvp(order: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    y, first, last, below, above = primals
    by_y, by_first, by_last, by_below, by_above = (None if isinstance(t, SymbolicZero) else t for t in tangents)
    slope = _shortened(order + 1, *primals)
    moved = jnp.zeros_like(y) if by_y is None else slope * by_y
    if by_first is not None or by_last is not None:
        # a distance moves with its end, and what is off the grid with it
        moved = moved + ((1 - slope) if order == 0 else -slope) * _of_side(y, first, last, by_first, by_last)
    if by_below is not None or by_above is not None:
        by_rate = _by_rate(order, y, first, last, below, above)
        moved = moved + by_rate * _of_side(y, first, last, by_below, by_above)
    return _shortened(order, *primals), moved


def _off(y: Array, first: Array, last: Array) -> Array:
    """How far y is off the line.

    XLA may work y out anew for each of its uses, and round it to this side of an end for one and to that for another:
    then it is nearly no distance, where the one from the other end would be the whole line, with the wrong sign.
    """
    return jnp.maximum(jnp.maximum(first - y, y - last), 0.0)


def _of_side(y: Array, first: Array, last: Array, below: Array | None, above: Array | None) -> Array:
    """What belongs to the side of the line on which y is; zero on the line, and where there is None."""
    zero = jnp.zeros_like(y)
    return where(y < first, zero if below is None else below, where(y > last, zero if above is None else above, zero))


def _by_rate(order: int, y: Array, first: Array, last: Array, below: Array, above: Array) -> Array:
    """The derivative of `_shortened` by the rate of the side on which y is; for y off the line."""
    low = y < first
    rate = where(low, below, above)
    bends = rate > 0
    distance = where(bends, _off(y, first, last), 0.0)
    most, outwards = distance * rate < 0.5, where(low, -1.0, 1.0)
    if order == 0:
        return -outwards * where(most, distance**2, 0.25 / where(bends, rate, 1.0) ** 2)
    if order == 1:
        return where(most, -2 * distance, 0.0)
    return where(most & bends, -2 * outwards, 0.0) if order == 2 else jnp.zeros_like(y)
