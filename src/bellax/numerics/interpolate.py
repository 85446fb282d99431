"""Interpolation on a tensor grid: what an interpolant is, and what `Linear` and `Hermite` share.

An interpolant is pointwise: tables in, one value out; the library vectorises. Tables are flat, and a point is a base
index (the discrete part of the state) plus one cell a dimension.

A node may be minus infinity. Its cell is then minus infinity but at the other nodes: the barrier stands for it.
"""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from bellax.errors import ModelError
from bellax.numerics.grids import Cell, Line


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


class Cost(NamedTuple):
    """What a look-up takes, for estimates of time and memory.

    Attributes:
        reads: numbers of the table that one look-up reads.
        columns: numbers of a node that the table keeps.
        held: numbers that a look-up at one point holds in arrays of its own.
    """

    reads: int
    columns: int = 1
    held: int = 1


class Interpolant(abc.ABC):
    """How V is read between its nodes: a table made of V at the nodes once a period, and looked up pointwise.

    A subclass is configuration: a frozen dataclass. What it computes is traced by jax.

    Attributes:
        needs_slopes: whether `tables` is given the derivatives of V.
        kinked: whether V may have kinks where its data have none, so that optima are at them.
        least: nodes that a line has at least.
    """

    needs_slopes: ClassVar[bool] = False
    least: ClassVar[int] = 2

    @property
    def kinked(self) -> bool:
        return False

    @abc.abstractmethod
    def tables(
        self, levels: Float[Array, "..."], slopes: Sequence[Array], lines: Sequence[Line], rough: bool
    ) -> tuple[Float[Array, "..."], tuple[Line, ...]]:
        """The table that look-ups read, and the lines along which it is laid.

        Linear in levels and slopes, apart from what limits them: the table is averaged over discrete axes.

        Args:
            levels: V at the nodes, shape (..., n1, ..., nd), `barrier` in place of minus infinity.
            slopes: in the coordinate of each line, of that shape; none unless `needs_slopes`.
            lines: the last d axes.
            rough: whether V is a maximum over candidates, a staircase, whose own slopes say nothing.
        Returns:
            The table, shape (..., m1, ..., md), or with more axes that hold what a node keeps; and lines of m1, ..., md
            nodes.
        """

    @abc.abstractmethod
    def look_up(
        self, table: Float[Array, "n ..."], base: Int[Array, ""], cells: Sequence[Cell], steps: Sequence[int]
    ) -> Float[Array, "..."]:
        """The interpolant at one point.

        Args:
            table: what `tables` made, its axes as one but for those of a node.
            base: index of the point's discrete part.
            cells: the cell of the point on each line, whose fraction is outside [0, 1] off the grid.
            steps: distance of neighbours in the table, one a line; that of the last is 1.
        """

    @abc.abstractmethod
    def default_nodes(self, dimensions: int, kinked: bool, finite: bool) -> int:
        """Nodes of a line where a user names none.

        Args:
            dimensions: how many lines there are.
            kinked: whether a discrete choice, or stopping, gives V a kink in some cell.
            finite: whether the horizon is, so that no linear system is solved.
        """

    def inside(self, dimensions: int) -> "Interpolant":
        """What reads the same inside the grid, quicker, and may have no number elsewhere; itself by default."""
        return self

    def cost(self, dimensions: int) -> Cost:
        """What a look-up takes: a number for each corner of the cell, unless a subclass knows better."""
        return Cost(2**dimensions)


def check_extrapolation(given: str, allowed: tuple[str, ...], what: str) -> None:
    """Raises ModelError for an extrapolation that an interpolant does not have."""
    if given not in allowed:
        raise ModelError(f"{what} has extrapolation={given!r}; use one of {', '.join(map(repr, allowed))}.")


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


def distances(values: Array, coordinates: Float[Array, "n"]) -> Array:
    """Distances of the nodes, with as many axes as the values."""
    return jnp.diff(coordinates).reshape(*(1,) * (values.ndim - 1), -1)


def secant_slopes(values: Array, coordinates: Float[Array, "n"]) -> Array:
    """Slopes of the parabolas through three neighbours, along the last axis: second-order accurate.

    Args:
        values: shape (..., n), n >= 2.
        coordinates: shape (n,).
    """
    widths = distances(values, coordinates)
    secants = jnp.diff(values, axis=-1) / widths
    if secants.shape[-1] == 1:
        return jnp.concatenate([secants, secants], axis=-1)
    left, right = widths[..., :-1], widths[..., 1:]
    inner = (right * secants[..., :-1] + left * secants[..., 1:]) / (left + right)
    first = secants[..., :1] + (secants[..., :1] - inner[..., :1])
    last = secants[..., -1:] + (secants[..., -1:] - inner[..., -1:])
    return jnp.concatenate([first, inner, last], axis=-1)


def along(axis: int, function: Any, *arrays: Array, coordinates: Array) -> Array:
    """A function of the last axis of arrays, along another one."""
    moved = [jnp.moveaxis(array, axis, -1) for array in arrays]
    return jnp.moveaxis(function(*moved, coordinates), -1, axis)


def through_four(values: Float[Array, "4 *k"], below: Int[Array, ""], fraction: Float[Array, ""]) -> Float[Array, "*k"]:
    """The cubic through numbers at four equally spaced nodes, between two of them; the straight line where one is not
    finite, where the cubic leaves the two in spite of numbers that rise or fall, or changes the sign of all of them.

    Args:
        values: at the nodes, along the first axis.
        below: the node below the place, from 0 to 2.
        fraction: of the way to the next.
    """
    low, high = (jnp.take(values, below + k, axis=0) for k in range(2))
    straight = jnp.where(fraction > 0, low + fraction * (high - low), low)
    known = jnp.all(jnp.isfinite(values) & ~is_barrier(values), axis=0)
    held = jnp.where(known, values, 0.0)
    t = below.astype(fraction.dtype) + fraction
    away = [t - k for k in range(4)]
    weights = jnp.stack(
        [
            -away[1] * away[2] * away[3] / 6,
            away[0] * away[2] * away[3] / 2,
            -away[0] * away[1] * away[3] / 2,
            away[0] * away[1] * away[2] / 6,
        ]
    )
    curve = jnp.tensordot(weights, held, axes=1)
    steps = jnp.diff(held, axis=0)
    turning = jnp.any(steps > 0, axis=0) & jnp.any(steps < 0, axis=0)
    between = (curve >= jnp.minimum(low, high)) & (curve <= jnp.maximum(low, high))
    signs = (jnp.any(held <= 0, axis=0) | (curve > 0)) & (jnp.any(held >= 0, axis=0) | (curve < 0))
    return jnp.where(known & signs & (between | turning), curve, straight)
