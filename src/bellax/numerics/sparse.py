"""Linear systems of a generator, (rate - A) x = b, by a sparse direct solve, differentiable in everything.

The factorisation is SciPy's SuperLU, on the host: on a GPU the numbers travel there and back. Derivatives are solves
with the same matrix or its transpose; the last few factorisations are kept, so that these cost little. On many nodes a
matrix that differs little from one of them is solved by its factors, and corrected until only rounding is left: the
last steps of Newton's method, and those at the next price, factorise nothing.
"""

import threading
from collections import OrderedDict
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.numerics.generator import Generator, Pattern

_KEPT = 4  # factorisations
_PANEL = 1  # columns that are factorised together, of two states at most: they share too few rows to be quicker so
_LARGE = 20_000  # nodes from which on a factorisation takes much longer than some solves with a known one
_ALIKE = 0.01  # the share of all entries by which matrices differ whose factors may serve
_FASTER = 0.1  # the share that each correction must at least leave
_ROUNDING = 4 * float(np.finfo(float).eps)
_SMALL = 1e-10
_ROUNDS = 4


class _Matrix(NamedTuple):
    """What a matrix is made of: its pattern, its entries, and the columns of those whose place is not the pattern's."""

    pattern: Pattern
    values: np.ndarray
    columns: np.ndarray


class _Factor(NamedTuple):
    """Entries of a matrix, and its factors."""

    values: np.ndarray
    factor: Any


_kept: OrderedDict[Any, _Factor] = OrderedDict()
_lock = threading.Lock()


def solve(generator: Generator, rate: Array, right: Array, transposed: bool = False) -> Array:
    """x with (rate - A) x = b, or of the transpose.

    Args:
        rate: shape of the nodes, or a number.
        right: b, shape of the nodes.
    """
    values = lax.stop_gradient(generator.values(rate))
    run = partial(_called, generator.pattern, values, generator.columns())
    move = generator.push if transposed else generator.apply
    return lax.custom_linear_solve(
        lambda x: rate * x - move(x),
        right,
        lambda _, b: run(b, transposed),
        lambda _, b: run(b, not transposed),
    )


def _called(pattern: Pattern, values: Array, columns: Array, right: Array, transposed: bool) -> Array:
    shape = jax.ShapeDtypeStruct(right.shape, right.dtype)
    host = partial(_on_host, pattern, transposed)
    return jax.pure_callback(host, shape, values, columns, right, vmap_method="expand_dims")


def _on_host(pattern: Pattern, transposed: bool, values: Any, columns: Any, right: Any) -> np.ndarray:
    """One matrix and many right sides are one system; many matrices one after the other."""
    values, columns, right = np.asarray(values), np.asarray(columns), np.asarray(right)
    batch = right.shape[: right.ndim - len(pattern.shape)]
    if values.size != values.shape[-1] or columns.size != columns.shape[-1]:
        batch = np.broadcast_shapes(values.shape[:-1], columns.shape[:-1], batch)
        many = int(np.prod(batch))
        places = np.broadcast_to(columns, (*batch, columns.shape[-1])).reshape(many, columns.shape[-1])
        wide = np.broadcast_to(values, (*batch, values.shape[-1])).reshape(-1, values.shape[-1])
        sides = np.broadcast_to(right, (*batch, *pattern.shape)).reshape(-1, *pattern.shape)
        each = [_on_host(pattern, transposed, *one) for one in zip(wide, places, sides, strict=True)]
        return np.stack(each).reshape(*batch, *pattern.shape)
    if not np.all(np.isfinite(values)):
        return np.full_like(right, np.nan)
    if not np.any(right):  # what has no derivative asks for none
        return np.zeros_like(right)
    asked = np.ascontiguousarray(right.reshape(-1, pattern.count).T, dtype=float)
    try:
        matrix = _Matrix(pattern, values.reshape(-1).astype(float), columns.reshape(-1))
        found = _solved(matrix, asked, "T" if transposed else "N")
    except RuntimeError:  # exactly singular
        return np.full_like(right, np.nan)
    return found.T.reshape(right.shape).astype(right.dtype)


def _solved(asked: _Matrix, right: np.ndarray, side: str) -> np.ndarray:
    """x, by the factors of this matrix; of a large one by those of a matrix like it, if they serve."""
    from scipy.sparse import csc_matrix  # .2 s at import, which nothing in discrete time needs
    from scipy.sparse.linalg import splu

    pattern, values, columns = asked
    kind = (pattern, columns.tobytes())
    name = (*kind, hash(values.tobytes()))
    with _lock:
        known = _kept.get(name)
        if known is not None and not np.array_equal(known.values, values):  # two matrices may have one hash
            known = None
        alike = [each for other, each in _kept.items() if other[:2] == kind]
    if known is None:
        rows, fixed = pattern.entries
        places = (rows, np.concatenate([fixed, columns.astype(fixed.dtype)]))
        matrix = csc_matrix((values, places), shape=(pattern.count, pattern.count))
        apart = [float(np.sum(np.abs(each.values - values)) / np.sum(np.abs(values))) for each in alike]
        if pattern.count >= _LARGE and min(apart, default=np.inf) < _ALIKE:
            near = alike[int(np.argmin(apart))]
            found = _refined(matrix if side == "N" else matrix.T, near.factor, right, side)
            if found is not None:
                return found
        # weakly diagonally dominant, so that no pivot is needed and the order may be that of a symmetric matrix
        symmetric: dict[str, Any] = {"permc_spec": "MMD_AT_PLUS_A", "options": {"SymmetricMode": True}}
        panel = _PANEL if len(pattern.shape) <= 2 else None
        factor = splu(matrix, diag_pivot_thresh=0.0, panel_size=panel, **symmetric)
        known = _Factor(values, factor)
    with _lock:
        _kept[name] = known
        _kept.move_to_end(name)
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
    return known.factor.solve(right, side)


def _refined(matrix: Any, factor: Any, right: np.ndarray, side: str) -> np.ndarray | None:
    """x by corrections, each by the factors of another matrix, until what is left is rounding; None where that would
    take long."""
    sizes, found, left, last = abs(matrix), np.zeros_like(right), right, np.inf
    while True:
        found = found + factor.solve(left, side)
        left = right - matrix @ found
        # of each row, as a share of its terms: what a direct solve leaves is of the order of the precision
        worst = np.max(np.abs(left) / (sizes @ np.abs(found) + np.abs(right) + np.finfo(float).tiny))
        if worst <= _ROUNDING:
            return found
        if not worst <= _FASTER * last:
            return None
        last = worst


def stationary(generator: Generator, start: Array) -> Array:
    """Mass that does not move, which sums to one; differentiable in the rates.

    By inverse iteration, each step of which keeps the mass: what of `start` belongs to classes that do not meet stays
    in them.

    Args:
        start: mass to begin with, shape of the nodes.
    """
    still, mass = jax.tree.map(lax.stop_gradient, generator), settled(generator, start)
    rate = _next_to_nothing(still)
    change = generator.push(mass)
    change = change - lax.stop_gradient(change)
    found = jnp.zeros_like(mass)
    for _ in range(_ROUNDS):
        found = solve(still, rate, change + rate * found, transposed=True)
        found = found - lax.stop_gradient(mass) * jnp.sum(found)
    return mass + found


def settled(generator: Generator, start: Array) -> Array:
    """As `stationary`, without derivatives."""
    still = jax.tree.map(lax.stop_gradient, generator)
    rate = _next_to_nothing(still)

    def step(_: Any, mass: Array) -> Array:
        found = jnp.maximum(solve(still, rate, rate * mass, transposed=True), 0.0)
        return found / jnp.sum(found)

    return lax.stop_gradient(lax.fori_loop(0, _ROUNDS, step, start / jnp.sum(start)))


def _next_to_nothing(generator: Generator) -> Array:
    """A rate that is small beside the one at which a node is left, wherever that is slow or quick."""
    leaving = generator.leaving
    return _SMALL * jnp.maximum(leaving, _SMALL * jnp.max(leaving))
