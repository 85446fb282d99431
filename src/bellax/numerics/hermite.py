"""Cubic Hermite interpolation, shape-preserving: on every dimension the cubic with values v0, v1 and slopes d0, d1,

    H(t) = v0 + t d0 + t^2 (3 (v1 - v0) - 2 d0 - d1) + t^3 (d0 + d1 - 2 (v1 - v0)),

and its tensor product in several: 2^d columns (value, slopes, mixed slopes). Slopes are limited to the range of the
adjacent secants, where those of a concave function lie anyway: then data that rise make an interpolant that rises, as
long as neighbouring secants differ at most threefold (Fritsch & Carlson 1980). To demand it of all data would flatten
the true slopes next to a smooth maximum, where one secant is nearly zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.errors import named_options
from bellax.numerics.cubic import Mix, cubic, held, mix
from bellax.numerics.grids import Cell, Line
from bellax.numerics.interpolate import (
    Cost,
    Interpolant,
    along,
    barrier,
    check_extrapolation,
    distances,
    is_barrier,
    rates,
    secant_slopes,
)
from bellax.numerics.scalar import pair, take, where

UNROLLED = 2
"""Dimensions up to which a look-up is written out number by number. Beyond, blocks are faster, and what is written out
soon takes minutes to compile."""

_NODES = {1: 100, 2: 30, 3: 16}
_KINKED_NODES = {1: 300, 2: 36, 3: 20}  # where a discrete choice, or stopping, gives V a kink in some cell
_KINKED_PERIODS = {1: 1000, 2: 50, 3: 20}  # the same of a finite horizon, which solves no linear system


@final
@named_options
@dataclass(frozen=True)
class Hermite(Interpolant):
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
    needs_slopes: ClassVar[bool] = True

    @property
    def kinked(self) -> bool:
        return self.extrapolation == "constant"

    def __post_init__(self) -> None:
        check_extrapolation(self.extrapolation, ("bent", "linear", "constant", "extend"), "Hermite")

    def tables(
        self, levels: Array, slopes: Sequence[Array], lines: Sequence[Line], rough: bool
    ) -> tuple[Array, tuple[Line, ...]]:
        table = jnp.stack(columns(levels, slopes, lines), axis=-1)
        if self.extrapolation != "bent":
            return table, tuple(lines)
        steep = [None if rough else slope for slope in slopes]
        axes = range(-len(lines), 0)
        found = [line.bent(*rates(levels, slope, line, k)) for k, line, slope in zip(axes, lines, steep, strict=True)]
        return table, tuple(found)

    def look_up(
        self, table: Float[Array, "n p"], base: Int[Array, ""], cells: Sequence[Cell], steps: Sequence[int]
    ) -> Float[Array, ""]:
        return hermite(table, base, tuple(cells), tuple(steps), self.extrapolation)

    def default_nodes(self, dimensions: int, kinked: bool, finite: bool) -> int:
        nodes = (_KINKED_PERIODS if finite else _KINKED_NODES) if kinked else _NODES
        return nodes.get(dimensions, 8)

    def inside(self, dimensions: int) -> Interpolant:
        return Cubics() if dimensions == 1 else self

    def cost(self, dimensions: int) -> Cost:
        return Cost(4**dimensions, 2**dimensions, 4**dimensions if dimensions > UNROLLED else 1)


@final
@dataclass(frozen=True)
class Cubics(Interpolant):
    """`Hermite` on one line by the coefficients of each cell's cubic; no number off the grid, nor beside -inf.

    The coefficients of one power lie together in the table, so that each is one number at a computed index, and what a
    compiler writes for a look-up with two derivatives is a third of what it writes for `Hermite`.
    """

    needs_slopes: ClassVar[bool] = True

    def tables(
        self, levels: Array, slopes: Sequence[Array], lines: Sequence[Line], rough: bool
    ) -> tuple[Array, tuple[Line, ...]]:
        value, slope = columns(levels, slopes, lines)
        rise, width = jnp.diff(value, axis=-1), distances(value, lines[0].coordinates)
        low, high = slope[..., :-1] * width, slope[..., 1:] * width
        powers = [value[..., :-1], low, 3 * rise - 2 * low - high, low + high - 2 * rise]
        bad = is_barrier(value[..., :-1] + value[..., 1:])
        # of as many cells as nodes, so that both are counted alike
        padded = [jnp.pad(jnp.where(bad, jnp.nan, p), [(0, 0)] * (p.ndim - 1) + [(0, 1)]) for p in powers]
        return jnp.stack(padded, axis=-1), tuple(lines)

    def look_up(
        self, table: Float[Array, "n p"], base: Int[Array, ""], cells: Sequence[Cell], steps: Sequence[int]
    ) -> Float[Array, ""]:
        (cell,) = cells
        t, place = cell.fraction, base + cell.node
        a, b, c, d = (take(table[:, power], place) for power in range(4))
        return where((t >= 0) & (t <= 1), a + t * (b + t * (c + t * d)), jnp.nan)

    def default_nodes(self, dimensions: int, kinked: bool, finite: bool) -> int:
        return Hermite().default_nodes(dimensions, kinked, finite)


def guarded(v0: Array, d0: Array, v1: Array, d1: Array, mix: Mix) -> Array:
    """The cubic of levels, of which one may be the barrier: it is then the barrier everywhere but at the other node."""
    return held(v0, d0, v1, d1, mix, _has_barrier(v0, v1), jnp.asarray(barrier(v0.dtype), v0.dtype))


def _has_barrier(v0: Array, v1: Array) -> Bool[Array, "..."]:
    """Whether one of two levels is the barrier, and none is NaN."""
    return is_barrier(v0 + v1)


# traced once for all places that look up tables of one shape, each derivative included
@partial(jax.jit, static_argnames=("strides", "extrapolation"))
def hermite(
    table: Float[Array, "n p"],
    base: Int[Array, ""],
    cells: tuple[Cell, ...],
    strides: tuple[int, ...],
    extrapolation: str,
) -> Float[Array, ""]:
    """The tensor Hermite interpolant at one point.

    Args:
        table: rows of value, slopes and mixed slopes, p = 2^d; bit k of a column says whether the k-th dimension is
            differentiated.
        base: index of the point's discrete part.
        cells: one a dimension.
        strides: distance of neighbours in the table, one a dimension; that of the last is 1, so that the two ends of a
            cell along it are one gather.
        extrapolation: as `Hermite` says.
    """
    last = len(cells) - 1
    if last < 0:
        return take(table, base)[0]
    if len(cells) > UNROLLED:
        return _in_blocks(table, base, cells, strides, extrapolation)

    mixes = [mix(cell, extrapolation) for cell in cells]

    def reduced(k: int, index: Array) -> dict[int, Array]:
        """The columns that do not differentiate dimensions from k on, interpolated along these."""
        left = index + cells[k].node * strides[k]
        low, high = pair(table, left) if k == last else (reduced(k + 1, left), reduced(k + 1, left + strides[k]))
        bit = 1 << k
        kept = [column for column in low if not column & bit]
        return {c: (cubic if c else guarded)(low[c], low[c | bit], high[c], high[c | bit], mixes[k]) for c in kept}

    return reduced(0, base)[0]


def _in_blocks(
    table: Float[Array, "n p"], base: Int[Array, ""], cells: Sequence[Cell], strides: Sequence[int], extrapolation: str
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
        weights = mix(cells[k], extrapolation)
        level = _at_each(guarded, 1)(*(entry[:, 0] for entry in ends), weights)
        slopes = _at_each(cubic, 2)(*(entry[:, 1:] for entry in ends), weights)
        block = jnp.concatenate([level[:, None], slopes], axis=1)
    return block[0, 0]


def _at_each(function: Any, axes: int) -> Any:
    """A function of four data and the weights of a cell, at each of many data."""
    for _ in range(axes):
        function = jax.vmap(function, in_axes=(0, 0, 0, 0, None))
    return function


def limited(values: Array, slopes: Array, coordinates: Float[Array, "n"]) -> Array:
    """Slopes limited to the range of the adjacent secants, along the last axis, and a little more at inflections.

    At the two ends, where one secant is missing, the range is two secant differences on either side of the one there
    is: the end slope of a parabola lies half a difference away. At an inflection, see `_inflected`.

    Args:
        values: shape (..., n).
        slopes: in the coordinate, shape (..., n).
        coordinates: shape (n,).
    """
    secants = jnp.diff(values, axis=-1) / distances(values, coordinates)
    if secants.shape[-1] == 1:
        return jnp.where(is_barrier(-jnp.abs(secants)), slopes, jnp.broadcast_to(secants, slopes.shape))
    left, right = secants[..., :-1], secants[..., 1:]
    low, high = jnp.minimum(left, right), jnp.maximum(left, right)
    margin = 2 * (high - low)
    first, last = margin[..., :1], margin[..., -1:]
    inflected = _inflected(*lax.stop_gradient((slopes[..., 1:-1], low, high, right - left)))
    low = jnp.concatenate([secants[..., :1] - first, low, secants[..., -1:] - last], axis=-1)
    high = jnp.concatenate([secants[..., :1] + first, high, secants[..., -1:] + last], axis=-1)
    kept = jnp.pad(inflected, [(0, 0)] * (slopes.ndim - 1) + [(1, 1)])
    bounded = jnp.where(kept, slopes, jnp.where(slopes < low, low, jnp.where(slopes > high, high, slopes)))
    return jnp.where(jnp.isfinite(low + high), bounded, 0.0)


def _inflected(slopes: Array, low: Array, high: Array, turns: Array) -> Array:
    """Whether a slope is kept though it may lie outside the secants, at an inflection: where secants turn from falling
    to rising at a steady rate, or the other way.

    Within a third of a cell of it both secants are on one side of the slope, by a twelfth of the difference of the
    turns beside it. At a kink one turn stands alone, and data that are concave or convex turn one way: neither is an
    inflection. No slope changes the sign of both secants, or is more than three times the smaller one of them, so that
    data that rise go on rising.

    Args:
        slopes: at inner nodes, shape (..., n).
        low, high: the secants beside them.
        turns: by how much the right one exceeds the left one.
    """
    if turns.shape[-1] < 2:
        return jnp.zeros(turns.shape, bool)
    first, last = 2 * turns[..., :1] - turns[..., 1:2], 2 * turns[..., -1:] - turns[..., -2:-1]
    wide = jnp.concatenate([first, turns, last], axis=-1)
    before, after = wide[..., :-2], wide[..., 2:]
    change = jnp.abs(after - before)
    steady = (before * after < 0) & (4 * jnp.abs(before + after - 2 * turns) < change)
    near = (6 * (low - slopes) <= change) & (6 * (slopes - high) <= change)
    rising = (slopes >= 0) & (slopes <= 3 * low)
    falling = (slopes <= 0) & (slopes >= 3 * high)
    return steady & near & ((low * high < 0) | rising | falling)


def columns(values: Array, slopes: Sequence[Array], lines: Sequence[Line], limit: bool = True) -> list[Array]:
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
