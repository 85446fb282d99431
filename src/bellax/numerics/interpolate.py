"""Interpolation on a tensor grid, pointwise: tables in, one value out; the library vectorises.

Tables are flat, and a point is a base index (the discrete part of the state) plus one cell a dimension. Multilinear:
sum over the 2^d corners. Hermite: on every dimension the cubic with values v0, v1 and slopes d0, d1 at the ends,

    H(t) = v0 + t d0 + t^2 (3 (v1 - v0) - 2 d0 - d1) + t^3 (d0 + d1 - 2 (v1 - v0)),

and its tensor product in several: 2^d columns (value, slopes, mixed slopes). Slopes are limited to the range of the
adjacent secants, where those of a concave function lie anyway: then data that rise make an interpolant that rises, as
long as neighbouring secants differ at most threefold (Fritsch & Carlson 1980). To demand it of all data would flatten
the true slopes next to a smooth maximum, where one secant is nearly zero.

A node may be minus infinity. Its cell is then minus infinity but at the other nodes: the barrier stands for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.errors import ModelError, named_options
from bellax.numerics.cubic import Mix, cubic, held, mix
from bellax.numerics.grids import Cell, Line
from bellax.numerics.scalar import pair, take, where

__all__ = ["Hermite", "Linear"]

UNROLLED = 2
"""Dimensions up to which a Hermite look-up is written out number by number. Beyond, blocks are faster, and what is
written out soon takes minutes to compile."""

EXTRAPOLATIONS = ("bent", "linear", "constant", "extend")


def barrier(dtype: Any) -> float:
    """The finite number that stands for minus infinity in a table."""
    return -1e250 if dtype == jnp.float64 else -1e30


def is_barrier(value: Float[Array, "..."]) -> Any:
    """True where a value was mixed with the barrier, with a weight of at least `least_weight`."""
    return value < (-1e100 if value.dtype == jnp.float64 else -1e20)


def least_weight(dtype: Any) -> float:
    """The smallest weight with which a value mixed with the barrier is still known by `is_barrier`."""
    return 1e-140 if dtype == jnp.float64 else 1e-9


def telling(weights: Float[Array, "..."]) -> Array:
    """Weights, zero where they are smaller than `least_weight`; their derivatives are their own."""
    return weights - lax.stop_gradient(jnp.where(weights < least_weight(weights.dtype), weights, 0.0))


def diverged(value: Float[Array, "..."]) -> Any:
    """True of a finite number that only a value without bound reaches, before it is taken for the barrier."""
    return jnp.isfinite(value) & (jnp.abs(value) > (1e75 if value.dtype == jnp.float64 else 1e18))


@named_options
@dataclass(frozen=True)
class Linear:
    """Multilinear interpolation in the coordinates of the scales.

    A node next to one of minus infinity keeps its value where arithmetic hits it exactly. V has a kink at every node:
    where an optimum lies on one, as with `Newton` or `Golden` it may, derivatives with respect to parameters are those
    of one side. `Hermite` has no kinks of its own.

    Args:
        extrapolation: off the grid, `bent` continues the trend of the last tenth of the line, bent as that is where it
            is concave; `linear` continues the last cell and `constant` the last node. A step of V in its last cell,
            which a coarse enumeration makes, is a trend to `linear` alone: then values grow by it from period to
            period.
    """

    extrapolation: str = "bent"
    order: ClassVar[int] = 1
    least: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check(self.extrapolation, ("bent", "linear", "constant"), "Linear")


@named_options
@dataclass(frozen=True)
class Hermite:
    """Cubic Hermite interpolation with the envelope-theorem slopes of V, limited to the range of adjacent secants.

    Concave data keep slopes that a concave function can have; data that rise stay rising where neighbouring secants
    differ at most threefold.

    Args:
        extrapolation: off the grid, `bent` continues the last slope, flattened by the last curvature where V is
            concave and rises outwards; `linear` continues the last slope, `constant` the last value, and `extend` the
            last cell's cubic, which is right for quadratics and risky for the rest. A straight line above a concave V
            promises more than there is to whoever leaves the grid by choice.
    """

    extrapolation: str = "bent"
    order: ClassVar[int] = 3
    least: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _check(self.extrapolation, EXTRAPOLATIONS, "Hermite")


Interpolant = Linear | Hermite


def _check(given: str, allowed: tuple[str, ...], what: str) -> None:
    if given not in allowed:
        raise ModelError(f"{what} has extrapolation={given!r}; use one of {', '.join(map(repr, allowed))}.")


def multilinear(
    table: Float[Array, "n ..."], base: Int[Array, ""], cells: Sequence[Cell], strides: Sequence[int], rule: Linear
) -> Float[Array, "..."]:
    """The multilinear interpolant at one point.

    Args:
        table: values, flat.
        base: index of the point's discrete part.
        cells: one a dimension.
        strides: distance of neighbours in the flat table, one a dimension.
    """

    def reduced(k: int, index: Array) -> Array:
        if k == len(cells):
            return take(table, index)
        t = _clipped(cells[k].fraction) if rule.extrapolation == "constant" else cells[k].fraction
        left = index + cells[k].node * strides[k]
        low, high = reduced(k + 1, left), reduced(k + 1, left + strides[k])
        # not low + t (high - low), which at t = 1 loses `high` next to a barrier
        return (1 - t) * low + t * high

    value = reduced(0, base)
    if not cells or rule.extrapolation == "constant":
        return value
    # the line through a barrier and a finite last node, continued beyond it, would be as large as the barrier
    return where(is_barrier(-value), barrier(value.dtype), value)


def _clipped(t: Float[Array, ""]) -> Float[Array, ""]:
    # not clip, whose derivative is one half at the ends: nodes are ends
    return where(t < 0, 0.0, where(t > 1, 1.0, t))


def guarded(v0: Array, d0: Array, v1: Array, d1: Array, mix: Mix) -> Array:
    """The cubic of levels, of which one may be the barrier: it is then the barrier everywhere but at the other node."""
    return held(v0, d0, v1, d1, mix, _has_barrier(v0, v1), jnp.asarray(barrier(v0.dtype), v0.dtype))


def _has_barrier(v0: Array, v1: Array) -> Bool[Array, "..."]:
    """Whether one of two levels is the barrier, and none is NaN."""
    return is_barrier(v0 + v1)


def hermite(
    table: Float[Array, "n p"], base: Int[Array, ""], cells: Sequence[Cell], strides: Sequence[int], rule: Hermite
) -> Float[Array, ""]:
    """The tensor Hermite interpolant at one point.

    Args:
        table: rows of value, slopes and mixed slopes, p = 2^d; bit k of a column says whether the k-th dimension is
            differentiated.
        base: index of the point's discrete part.
        cells: one a dimension.
        strides: distance of neighbours in the table, one a dimension; that of the last is 1, so that the two ends of a
            cell along it are one gather.
    """
    return _hermite(table, base, tuple(cells), tuple(strides), rule)


# traced once for all places that look up tables of one shape, each derivative included
@partial(jax.jit, static_argnames=("strides", "rule"))
def _hermite(
    table: Float[Array, "n p"], base: Int[Array, ""], cells: tuple[Cell, ...], strides: tuple[int, ...], rule: Hermite
) -> Float[Array, ""]:
    last = len(cells) - 1
    if last < 0:
        return take(table, base)[0]
    if len(cells) > UNROLLED:
        return _in_blocks(table, base, cells, strides, rule)

    mixes = [mix(cell, rule.extrapolation) for cell in cells]

    def reduced(k: int, index: Array) -> dict[int, Array]:
        """The columns that do not differentiate dimensions from k on, interpolated along these."""
        left = index + cells[k].node * strides[k]
        low, high = pair(table, left) if k == last else (reduced(k + 1, left), reduced(k + 1, left + strides[k]))
        bit = 1 << k
        kept = [column for column in low if not column & bit]
        return {c: (cubic if c else guarded)(low[c], low[c | bit], high[c], high[c | bit], mixes[k]) for c in kept}

    return reduced(0, base)[0]


def _in_blocks(
    table: Float[Array, "n p"], base: Int[Array, ""], cells: Sequence[Cell], strides: Sequence[int], rule: Hermite
) -> Float[Array, ""]:
    """`hermite` with corners and columns as axes of one array, whose code grows like d, not like 4^d."""
    index = base[None]
    for cell, stride in zip(cells, strides, strict=True):
        left = index + cell.node * stride
        index = jnp.stack([left, left + stride], axis=1).reshape(-1)
    block = jax.vmap(lambda row: take(table, row))(index)

    for k in reversed(range(len(cells))):
        # corners of the dimensions before k; the end along k; whether k is differentiated; columns of those before k
        block = block.reshape(2**k, 2, 2, 2**k)
        ends = [block[:, end, differentiated] for end in (0, 1) for differentiated in (0, 1)]
        weights = mix(cells[k], rule.extrapolation)
        level = _at_each(guarded, 1)(*(entry[:, 0] for entry in ends), weights)
        slopes = _at_each(cubic, 2)(*(entry[:, 1:] for entry in ends), weights)
        block = jnp.concatenate([level[:, None], slopes], axis=1)
    return block[0, 0]


def _at_each(function: Any, axes: int) -> Any:
    """A function of four data and the weights of a cell, at each of many data."""
    for _ in range(axes):
        function = jax.vmap(function, in_axes=(0, 0, 0, 0, None))
    return function


def held_at_once(rule: Interpolant, dimensions: int) -> int:
    """Numbers that a look-up at one point holds in arrays of its own."""
    return 4**dimensions if isinstance(rule, Hermite) and dimensions > UNROLLED else 1


def limited(values: Array, slopes: Array, coordinates: Float[Array, "n"]) -> Array:
    """Slopes limited to the range of the adjacent secants, along the last axis.

    At the two ends, where one secant is missing, the range is two secant differences on either side of the one there
    is: the end slope of a parabola lies half a difference away.

    Args:
        values: shape (..., n).
        slopes: in the coordinate, shape (..., n).
        coordinates: shape (n,).
    """
    secants = jnp.diff(values, axis=-1) / _widths(values, coordinates)
    if secants.shape[-1] == 1:
        return jnp.where(is_barrier(-jnp.abs(secants)), slopes, jnp.broadcast_to(secants, slopes.shape))
    left, right = secants[..., :-1], secants[..., 1:]
    low, high = jnp.minimum(left, right), jnp.maximum(left, right)
    margin = 2 * (high - low)
    first, last = margin[..., :1], margin[..., -1:]
    low = jnp.concatenate([secants[..., :1] - first, low, secants[..., -1:] - last], axis=-1)
    high = jnp.concatenate([secants[..., :1] + first, high, secants[..., -1:] + last], axis=-1)
    bounded = jnp.where(slopes < low, low, jnp.where(slopes > high, high, slopes))
    return jnp.where(jnp.isfinite(low + high), bounded, 0.0)


def rates(values: Array, slopes: Array | None, line: Line, axis: int) -> tuple[Array, Array]:
    """How fast distances off a line are shortened below and above it, so that V bends there as at its ends.

    Only where V rises outwards: who leaves the grid by choice must not be promised a straight line above a concave
    V. It is one rate for all rows of the table, their mean curvature over their mean slope.

    Args:
        values: shape (..., n, ...), the line along `axis`.
        slopes: in the coordinate, of that shape; None for a staircase, whose own slopes say nothing: then distances
            reach a tenth of the line at most.
    """
    levels = jnp.moveaxis(values, axis, -1)
    found = []
    for end, inner, sign in ((0, 1, -1.0), (-1, -2, 1.0)):
        rise = levels[..., end] - levels[..., inner]
        sound = ~is_barrier(levels[..., end]) & ~is_barrier(levels[..., inner])
        width = jnp.abs(line.coordinates[end] - line.coordinates[inner])
        if slopes is None:
            y = line.coordinates
            reach = jnp.abs(y[end] - y[line.tenth if end == 0 else -1 - line.tenth])
            rises = jnp.sum(jnp.where(sound, jnp.sign(rise), 0.0)) > 0
            found.append(jnp.where(rises, 0.25 / reach, 0.0))
            continue
        along_line = sign * width * jnp.moveaxis(slopes, axis, -1)
        outer, before = along_line[..., end], along_line[..., inner]
        slope = jnp.sum(jnp.where(sound, outer, 0.0))
        curvature = jnp.sum(jnp.where(sound & (outer > 0), jnp.maximum(3 * rise - before - 2 * outer, 0.0), 0.0))
        bends = (slope > 0) & (curvature > 0)
        found.append(jnp.where(bends, curvature, 0.0) / (jnp.where(bends, slope, 1.0) * width))
    return found[0], found[1]


def padded(values: Array, coordinates: Float[Array, "n"], reach: int) -> Array:
    """Values with one more at each end of the last axis, where the trend of the last tenth of the line leads.

    The trend is the secant over a tenth, and where V is concave there that of the next tenth, off the grid.

    Args:
        values: shape (..., n).
        coordinates: shape (n,).
        reach: how many cells a tenth is.
    Returns:
        Shape (..., n + 2); the new nodes are as far from the ends as their neighbours.
    """
    low = _led(values[..., ::-1], coordinates[::-1], reach)[..., None]
    return jnp.concatenate([low, values, _led(values, coordinates, reach)[..., None]], axis=-1)


def _led(values: Array, coordinates: Float[Array, "n"], reach: int) -> Array:
    """The value one cell beyond the last node."""
    count = values.shape[-1]
    inner, deep = max(0, count - 1 - reach), max(0, count - 1 - 2 * reach)
    last, before = values[..., -1], values[..., inner]
    near = (last - before) / jnp.abs(coordinates[-1] - coordinates[inner])
    bend = jnp.zeros_like(near)
    if deep < inner:
        far = (before - values[..., deep]) / jnp.abs(coordinates[inner] - coordinates[deep])
        bend = jnp.minimum(near - far, 0.0)
    slope = near + jnp.where(is_barrier(values[..., deep]), 0.0, bend)
    slope = jnp.where(is_barrier(before) | is_barrier(last), 0.0, slope)
    return last + slope * jnp.abs(coordinates[-1] - coordinates[-2])


def _widths(values: Array, coordinates: Float[Array, "n"]) -> Array:
    """Distances of the nodes, with as many axes as the values."""
    return jnp.diff(coordinates).reshape(*(1,) * (values.ndim - 1), -1)


def secant_slopes(values: Array, coordinates: Float[Array, "n"]) -> Array:
    """Slopes of the parabolas through three neighbours, along the last axis: second-order accurate.

    Args:
        values: shape (..., n), n >= 2.
        coordinates: shape (n,).
    """
    widths = _widths(values, coordinates)
    secants = jnp.diff(values, axis=-1) / widths
    if secants.shape[-1] == 1:
        return jnp.concatenate([secants, secants], axis=-1)
    left, right = widths[..., :-1], widths[..., 1:]
    inner = (right * secants[..., :-1] + left * secants[..., 1:]) / (left + right)
    first = secants[..., :1] + (secants[..., :1] - inner[..., :1])
    last = secants[..., -1:] + (secants[..., -1:] - inner[..., -1:])
    return jnp.concatenate([first, inner, last], axis=-1)


def hermite_tables(values: Array, slopes: Sequence[Array], lines: Sequence[Line], limit: bool = True) -> list[Array]:
    """The 2^d columns of a Hermite interpolant from values and slopes at nodes.

    Mixed slopes are the mean of the parabolic differences of the slopes, one along each of their dimensions: an error
    of second order in them is one of fourth order in the interpolant.

    Args:
        values: shape (..., n1, ..., nd).
        slopes: d arrays of that shape, in the coordinates.
        lines: the last d axes.
        limit: whether to limit the slopes to the range of the secants.
    """
    dimensions = len(lines)
    tables: list[Array] = [values]
    for position in range(1, 2**dimensions):
        axes = [k for k in range(dimensions) if (position >> k) & 1]
        if len(axes) == 1:
            k = axes[0]
            slope = slopes[k]
            if limit:
                slope = along(k - dimensions, limited, values, slope, coordinates=lines[k].coordinates)
            tables.append(slope)
        else:
            parts = [
                along(k - dimensions, secant_slopes, tables[position & ~(1 << k)], coordinates=lines[k].coordinates)
                for k in axes
            ]
            mixed = sum(parts[1:], parts[0]) / len(parts)
            # next to a barrier a mixed slope is as large as the barrier and of any sign
            tables.append(jnp.where(is_barrier(-jnp.abs(mixed)), 0.0, mixed))
    return tables


def along(axis: int, function: Any, *arrays: Array, coordinates: Array) -> Array:
    """A function of the last axis of arrays, along another one."""
    moved = [jnp.moveaxis(array, axis, -1) for array in arrays]
    return jnp.moveaxis(function(*moved, coordinates), -1, axis)
