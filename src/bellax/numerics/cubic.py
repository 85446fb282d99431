"""The cubic of one cell, as weights of its data: values v0, v1 and slopes d0, d1 at the ends, h its width.

    H(t) = v0 + (v1 - v0) R(t) + d0 h C(t) + d1 h E(t),
    R = t^2 (3 - 2 t),   C = t (1 - t)^2,   E = t^2 (t - 1).

H is linear in the data, so that all derivatives along t are those of three functions of one number, which are stated
here in closed form: what autodiff writes for a cubic is four times as long at each order, and compilation takes as long
as what there is to compile. Off the cell, R, C and E go on as the extrapolation says.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from bellax.numerics.grids import Cell
from bellax.numerics.scalar import where


class Mix(NamedTuple):
    """What one cell makes of its data.

    Attributes:
        rise, low, high: weights of v1 - v0, of d0 and of d1.
        at_low, at_high: whether the point is an end of the cell, to rounding: a scale and its inverse do not meet
            exactly.
    """

    rise: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    at_low: Bool[Array, ""]
    at_high: Bool[Array, ""]


def mix(cell: Cell, extrapolation: str) -> Mix:
    """The weights of a cell; off it as `hermite.Hermite` says."""
    rise, low, high = basis(0, extrapolation, cell.fraction)
    if cell.straight is not None and extrapolation != "constant":
        rise = where(cell.straight, cell.fraction, rise)
        low, high = (where(cell.straight, 0.0, weight) for weight in (low, high))
    near = 1e-9 if cell.fraction.dtype == jnp.float64 else 1e-5
    # comparisons alone, of which autodiff writes no derivative
    at_low, at_high = ((cell.fraction >= end - near) & (cell.fraction <= end + near) for end in (0.0, 1.0))
    return Mix(rise, low * cell.width, high * cell.width, at_low, at_high)


def held(v0: Array, d0: Array, v1: Array, d1: Array, mix: Mix, bad: Bool[Array, ""], level: Array) -> Array:
    """The cubic, at a level of its own where the cell is bad and the point is none of its ends."""
    reached = where(mix.at_low, v0, where(mix.at_high, v1, level))
    # the data of a line through the node, as far as the point is one
    d0 = where(bad & ~mix.at_low, 0.0, d0)
    d1 = where(bad & ~mix.at_high, 0.0, d1)
    return where(bad, reached, v0) + (where(bad, 0.0, v1 - v0) * mix.rise + d0 * mix.low + d1 * mix.high)


def cubic(v0: Array, d0: Array, v1: Array, d1: Array, mix: Mix) -> Array:
    """The cubic with values v and slopes d at the ends of a cell."""
    return v0 + ((v1 - v0) * mix.rise + d0 * mix.low + d1 * mix.high)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def basis(order: int, extrapolation: str, t: Float[Array, ""]) -> tuple[Array, Array, Array]:
    """R, C and E, or their derivatives of an order."""
    if extrapolation == "extend":
        return _inside(order, t)
    # selects and no clamp: jax may lose the rule below, and then differentiates this, at the ends from within
    below, above = t < 0, t > 1
    rise, low, high = _inside(order, where(below, 0.0, where(above, 1.0, t)))
    if order == 0:
        if extrapolation == "constant":
            return rise, low, high
        return rise, low + where(below, t, 0.0), high + where(above, t - 1, 0.0)
    # the first derivatives at the ends of a cell are already those of the lines that continue it
    if order == 1 and extrapolation in ("linear", "bent"):
        return rise, low, high
    off = below | above
    return where(off, 0.0, rise), where(off, 0.0, low), where(off, 0.0, high)


@basis.defjvp
def _basis_jvp(order: int, extrapolation: str, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    (t,), (moved,) = primals, tangents
    steps = tuple(derivative * moved for derivative in basis(order + 1, extrapolation, t))
    return basis(order, extrapolation, t), steps


def _inside(order: int, t: Float[Array, ""]) -> tuple[Array, Array, Array]:
    if order == 0:
        rest = 1 - t
        both = t * rest
        return t * (t + 2 * both), both * rest, -(both * t)
    if order == 1:
        rest = 1 - t
        both = t * rest
        return 6 * both, rest - 3 * both, t - 3 * both
    if order == 2:
        return 6 - 12 * t, 6 * t - 4, 6 * t - 2
    rise, low, high = (jnp.full_like(t, number if order == 3 else 0.0) for number in (-12.0, 6.0, 6.0))
    return rise, low, high
