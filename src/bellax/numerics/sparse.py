"""Linear systems of a generator, (rate - A) x = b, by a sparse direct solve, differentiable in everything.

The factorisation is SciPy's SuperLU, on the host: on a GPU the numbers travel there and back. Derivatives are solves
with the same matrix or its transpose; the last few factorisations are kept, so that these cost little.
"""

import threading
from collections import OrderedDict
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.numerics.generator import Generator, Pattern

_KEPT = 4  # factorisations
_SMALL = 1e-10
_ROUNDS = 4
_kept: "OrderedDict[Any, Any]" = OrderedDict()
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
    return jax.pure_callback(host, shape, values, columns, right, vmap_method="sequential")


def _on_host(pattern: Pattern, transposed: bool, values: Any, columns: Any, right: Any) -> np.ndarray:
    values, columns, right = np.asarray(values), np.asarray(columns), np.asarray(right)
    if not np.all(np.isfinite(values)):
        return np.full_like(right, np.nan)
    try:
        factor = _factor(pattern, values, columns)
    except RuntimeError:  # exactly singular
        return np.full_like(right, np.nan)
    found = factor.solve(right.ravel().astype(float), "T" if transposed else "N")
    return found.reshape(right.shape).astype(right.dtype)


def _factor(pattern: Pattern, values: np.ndarray, columns: np.ndarray) -> Any:
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import splu

    name = (pattern, hash(values.tobytes()), hash(columns.tobytes()))
    with _lock:
        if name in _kept:
            _kept.move_to_end(name)
            return _kept[name]
    rows, fixed = pattern.entries
    places = (rows, np.concatenate([fixed, columns.astype(fixed.dtype)]))
    matrix = csc_matrix((values.astype(float), places), shape=(pattern.count, pattern.count))
    # weakly diagonally dominant, so that no pivot is needed and the order may be that of a symmetric matrix
    factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    with _lock:
        _kept[name] = factor
        while len(_kept) > _KEPT:
            _kept.popitem(last=False)
    return factor


def stationary(generator: Generator, start: Array) -> Array:
    """Mass that does not move, which sums to one; differentiable in the rates.

    By inverse iteration, each step of which keeps the mass: what of `start` belongs to classes that do not meet stays
        in them.

    Args:
        start: mass to begin with, shape of the nodes.
    """
    still = jax.tree.map(lax.stop_gradient, generator)
    # next to nothing beside the rate at which a node is left, wherever that is slow or quick
    leaving = still.leaving
    rate = _SMALL * jnp.maximum(leaving, _SMALL * jnp.max(leaving))

    def step(_: Any, mass: Array) -> Array:
        found = jnp.maximum(solve(still, rate, rate * mass, transposed=True), 0.0)
        return found / jnp.sum(found)

    mass = lax.stop_gradient(lax.fori_loop(0, _ROUNDS, step, start / jnp.sum(start)))
    change = generator.push(mass)
    change = change - lax.stop_gradient(change)
    found = jnp.zeros_like(mass)
    for _ in range(_ROUNDS):
        found = solve(still, rate, change + rate * found, transposed=True)
        found = found - lax.stop_gradient(mass) * jnp.sum(found)
    return mass + found
