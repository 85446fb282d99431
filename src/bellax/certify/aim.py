"""Where V is hardest to interpolate: the cells of which the table itself says that V bends most there.

In the middle of a cell of width h a polynomial through k nodes is off by about (h / 2)^k times the divided difference
of order k: four for Hermite's, two for a straight line. That is large where V bends, and so where a policy leaves its
bound or a discrete action changes: few cells among many, which points that are spread over all of them seldom meet.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.mesh import specs
from bellax.certify.examine import Sample
from bellax.numerics import grids

_SHARE = 4  # of so many points one is aimed
_MIDDLE = 0.4  # of a cell: where points lie in it, as a kink in its very middle does not show there
_MOST = 4_000_000  # nodes of a period that are looked at, about


def aimed(numerics: Discretisation, value: Value, looked: Sample, infinite: bool = False) -> tuple[Sample, int]:
    """A sample of which the last points of each period are moved to where V is hardest to interpolate.

    Args:
        value: V of the regime, along periods if the horizon is finite.
        infinite: whether up to half of them go where V turns infinite.
    Returns:
        The sample, and how many points of each period are as they were.
    """
    periods, each = looked.shifts.shape
    count = each // _SHARE if numerics.plan.lines else 0
    if count == 0:
        return looked, each
    lines = shares(numerics)
    levels = np.asarray(value.levels)
    levels = levels[np.asarray(looked.periods)] if numerics.problem.finite else levels[None]
    codes, drawn = ({n: np.array(own) for n, own in looked.codes.items()}, np.array(looked.shares))
    order = 4 if numerics.interpolant.needs_slopes else 2
    for t in range(periods):
        places = hardest(levels[t], lines, order, count, infinite)
        last = slice(each - places.shape[1], each)
        axes = places.shape[0] - len(lines)
        for name, place in zip(codes, places[:axes], strict=True):
            codes[name][t, last] = place
        for k, (line, cell) in enumerate(zip(lines, places[axes:], strict=True)):
            inside = 0.5 + _MIDDLE * (drawn[t, last, k] - 0.5)
            drawn[t, last, k] = line[cell] + inside * (line[cell + 1] - line[cell])
    moved = {name: jnp.asarray(own, jnp.int32) for name, own in codes.items()}
    return looked._replace(codes=moved, shares=jnp.asarray(drawn, float)), each - count


def shares(numerics: Discretisation) -> list[np.ndarray]:
    """How far along each line its nodes lie, in its coordinate."""
    found = []
    for name, space in numerics.plan.continuous.items():
        found += [grids.shares(spec, space.scale) for spec in specs(numerics.grid, name, space)]
    return found


def hardest(
    levels: np.ndarray, lines: Sequence[np.ndarray], order: int, count: int, infinite: bool = False
) -> np.ndarray:
    """The cells in which an interpolant of that order is off most, one column a cell: codes of discrete axes, then the
    left node along each line. Fewer than `count` where V is a polynomial everywhere else, or minus infinity.

    Args:
        levels: V at the nodes, discrete axes first.
        lines: the nodes, one array a line.
        infinite: whether up to half of them are cells that are infinite at some corners alone.
    """
    dimensions = len(lines)
    lead, inner = levels.shape[: levels.ndim - dimensions], levels.shape[levels.ndim - dimensions :]
    rows = levels.reshape(-1, *inner)
    kept = np.arange(len(rows))
    if levels.size > _MOST:
        kept = np.linspace(0, len(rows) - 1, max(1, _MOST // math.prod(inner))).round().astype(int)
    with np.errstate(all="ignore"):  # minus infinity less itself
        size = sum(_off(rows[kept], nodes, order, 1 + k) for k, nodes in enumerate(lines))
    flat = np.nan_to_num(np.ravel(size), nan=0.0, posinf=0.0)
    few = min(count, len(flat))
    best = np.argpartition(-flat, few - 1)[:few]
    best = best[flat[best] > _rounding(rows)]
    if infinite:
        mixed = np.flatnonzero(_mixed(rows[kept], dimensions))
        mixed = mixed[np.linspace(0, len(mixed) - 1, min(few // 2, len(mixed))).round().astype(int)]
        best = np.unique(np.concatenate([mixed, best[: max(few - len(mixed), 0)]]))
    row, *cells = np.unravel_index(best, np.shape(size))
    codes = np.unravel_index(kept[row], lead) if lead else ()
    return np.array([*codes, *cells]).reshape(levels.ndim, -1)


def _mixed(rows: np.ndarray, dimensions: int) -> np.ndarray:
    """Whether a cell is infinite at some corners and not at others."""
    some, every = np.isinf(rows), np.isinf(rows)
    for axis in range(1, dimensions + 1):
        ends = np.arange(some.shape[axis] - 1)
        low, high = (lambda a, k=axis, e=ends: np.take(a, e, k)), (lambda a, k=axis, e=ends: np.take(a, e + 1, k))
        some, every = low(some) | high(some), low(every) & high(every)
    return some & ~every


def _rounding(rows: np.ndarray) -> float:
    finite = rows[np.isfinite(rows)]
    return 64 * float(np.finfo(rows.dtype).eps) * float(np.abs(finite).max(initial=0.0))


def _off(rows: np.ndarray, nodes: np.ndarray, order: int, axis: int) -> Any:
    """By how much V is off along one line in every cell, the most of its edges: shape (rows, n1 - 1, ..., nd - 1)."""
    found = np.moveaxis(rows, axis, -1)
    order = min(order, len(nodes) - 1)
    for k in range(1, order + 1):
        found = np.diff(found) / (nodes[k:] - nodes[:-k])
    stencils = np.abs(found)
    # of each cell the larger of the two stencils in whose middle it lies
    first = np.arange(len(nodes) - 1) - order // 2
    low, high = (np.clip(first + k, 0, stencils.shape[-1] - 1) for k in (0, 1))
    size = np.fmax(stencils[..., low], stencils[..., high])
    size = np.moveaxis(size * (0.5 * np.diff(nodes)) ** order, -1, axis)
    for other in range(1, rows.ndim):
        if other != axis:
            ends = np.arange(size.shape[other] - 1)
            size = np.fmax(np.take(size, ends, other), np.take(size, ends + 1, other))
    return size
