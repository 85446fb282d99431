"""Multilinear interpolation, and where it leads off the grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.errors import named_options
from bellax.numerics.grids import Cell, Line
from bellax.numerics.interpolate import Interpolant, barrier, check_extrapolation, is_barrier, rates
from bellax.numerics.scalar import take, where

_NODES = {1: 500, 2: 60, 3: 25}


@final
@named_options
@dataclass(frozen=True)
class Linear(Interpolant):
    """Multilinear interpolation in the coordinates of the scales.

    A node next to one of minus infinity keeps its value where arithmetic hits it exactly. V has a kink at every node,
    on which optima of `Newton` and `Golden` often lie: they stay there while parameters move a little. `Hermite` has no
    kinks of its own.

    Args:
        extrapolation: off the grid, `bent` continues the trend of the last tenth of the line, and where V rises
            outwards no farther than a twentieth; `linear` continues the last cell and `constant` the last node. A step
            of V in its last cell, which a coarse enumeration makes, is a trend to `linear` alone: then values grow by
            it from period to period.
    """

    extrapolation: str = "bent"

    def __post_init__(self) -> None:
        check_extrapolation(self.extrapolation, ("bent", "linear", "constant"), "Linear")

    @property
    def kinked(self) -> bool:
        return True

    def tables(
        self, levels: Array, slopes: Sequence[Array], lines: Sequence[Line], rough: bool
    ) -> tuple[Array, tuple[Line, ...]]:
        if self.extrapolation != "bent":
            return levels, tuple(lines)
        ends = [rates(levels, None, line, k - len(lines)) for k, line in enumerate(lines)]
        for k, (line, (below, above)) in enumerate(zip(lines, ends, strict=True)):
            extend = partial(padded, line=line, below=below > 0, above=above > 0)
            levels = jnp.moveaxis(extend(jnp.moveaxis(levels, k - len(lines), -1)), -1, k - len(lines))
        return levels, tuple(line.padded() for line in lines)

    def look_up(
        self, table: Float[Array, "n ..."], base: Int[Array, ""], cells: Sequence[Cell], steps: Sequence[int]
    ) -> Float[Array, "..."]:
        return multilinear(table, base, cells, steps, self.extrapolation)

    def default_nodes(self, dimensions: int, kinked: bool, finite: bool) -> int:
        return _NODES.get(dimensions, 8)


def multilinear(
    table: Float[Array, "n ..."],
    base: Int[Array, ""],
    cells: Sequence[Cell],
    strides: Sequence[int],
    extrapolation: str,
) -> Float[Array, "..."]:
    """The multilinear interpolant at one point: a sum over the 2^d corners of its cell.

    Args:
        table: values, flat.
        base: index of the point's discrete part.
        cells: one a dimension.
        strides: distance of neighbours in the flat table, one a dimension.
        extrapolation: as `Linear` says.
    """

    def reduced(k: int, index: Array) -> Array:
        if k == len(cells):
            return take(table, index)
        t = _clipped(cells[k].fraction) if extrapolation == "constant" else cells[k].fraction
        left = index + cells[k].node * strides[k]
        low, high = reduced(k + 1, left), reduced(k + 1, left + strides[k])
        # not low + t (high - low), which at t = 1 loses `high` next to a barrier
        return (1 - t) * low + t * high

    value = reduced(0, base)
    if not cells or extrapolation == "constant":
        return value
    # the line through a barrier and a finite last node, continued beyond it, would be as large as the barrier
    return where(is_barrier(-value), barrier(value.dtype), value)


def _clipped(t: Float[Array, ""]) -> Float[Array, ""]:
    # not clip, whose derivative is one half at the ends: nodes are ends
    return where(t < 0, 0.0, where(t > 1, 1.0, t))


def padded(values: Array, line: Line, below: Bool[Array, ""], above: Bool[Array, ""]) -> Array:
    """Values with more at each end of the last axis, where the trend of the last tenth of the line leads.

    The trend is the secant over a tenth, and where V is concave there that of the next tenth, off the grid. It may end
    at a twentieth: a tenth is too far, as with ten candidates of saving in sixty periods V is still off by 2. The last
    cell, with which extrapolation goes on, is level then, so that a look-up is none the wiser.

    Args:
        values: shape (..., n).
        line: of n nodes.
        below, above: whether it ends.
    Returns:
        Shape (..., n + 2 p), on `line.padded()`.
    """
    coordinates = line.coordinates
    (low, high), (least, most) = line.beyond, line.twentieths
    first = _led(values[..., ::-1], coordinates[::-1], line.tenth, jnp.where(below, jnp.minimum(low, least), low))
    last = _led(values, coordinates, line.tenth, jnp.where(above, jnp.minimum(high, most), high))
    return jnp.concatenate([first[..., ::-1], values, last], axis=-1)


def _led(values: Array, coordinates: Float[Array, "n"], reach: int, distances: Float[Array, "p"]) -> Array:
    """The values at distances beyond the last node."""
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
    return last[..., None] + jnp.multiply.outer(slope, distances)


@final
@dataclass(frozen=True)
class ByPieces(Interpolant):
    """What an endogenous grid needs none for: V is known between the nodes, which are where a solve looks at it."""

    def tables(
        self, levels: Array, slopes: Sequence[Array], lines: Sequence[Line], rough: bool
    ) -> tuple[Array, tuple[Line, ...]]:
        return levels, tuple(lines)

    def look_up(
        self, table: Float[Array, "n ..."], base: Int[Array, ""], cells: Sequence[Cell], steps: Sequence[int]
    ) -> Float[Array, "..."]:
        return multilinear(table, base, cells, steps, "linear")

    def default_nodes(self, dimensions: int, kinked: bool, finite: bool) -> int:
        return 40
