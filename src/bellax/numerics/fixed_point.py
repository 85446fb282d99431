"""Fixed points X = T(p, X), differentiable by the implicit function theorem: (I - T_X) dX = T_p dp.

Memory does not grow with the iterations that found X. A small linear system is factorised, a large one solved by GMRES
without forming T_X.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import gmres

DENSE = 1200
"""Unknowns up to which a dense factorisation is faster than GMRES."""


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def implicit(operator: Callable[[Any, Any], Any], parameters: Any, found: Any) -> Any:
    """The fixed point `found` of `operator`, with the derivative that the implicit function theorem gives it.

    Args:
        operator: T, a function of parameters and of a pytree of float arrays; it closes over nothing differentiated.
        parameters: p, a pytree of float arrays.
        found: the fixed point, however it was found; its own derivative is ignored.
    """
    return found


@implicit.defjvp
def _implicit_jvp(operator: Callable[[Any, Any], Any], primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    (parameters, found), (moved, _) = primals, tangents
    found = implicit(operator, parameters, found)  # a second derivative passes here once more
    _, right = jax.jvp(lambda p: operator(p, found), (parameters,), (moved,))
    _, forward = jax.linearize(lambda x: operator(parameters, x), found)
    flat, restore = ravel_pytree(right)  # a derivative that is not converged is NaN, never a guess

    def matrix(x: Array) -> Array:
        return x - ravel_pytree(forward(restore(x)))[0]

    return found, restore(solve_linear(matrix, flat, exact=True))


def solve_linear(matrix: Callable[[Array], Array], right: Array, exact: bool = False) -> Array:
    """x with matrix(x) = right for a linear function of vectors of shape (n,).

    Args:
        exact: whether x is NaN where GMRES stopped short; else it is the best that was found.
    """
    solve = _dense if right.shape[0] <= DENSE else partial(_iterative, exact)
    return lax.custom_linear_solve(matrix, right, solve=solve, transpose_solve=solve)


def solve_once(matrix: Callable[[Array], Array], right: Array) -> Array:
    """As `solve_linear`, where nothing is differentiated: what a derivative needs of the matrix is never traced."""
    return _dense(matrix, right) if right.shape[0] <= DENSE else _iterative(False, matrix, right)


def _dense(matrix: Callable[[Array], Array], right: Array) -> Array:
    rows = jax.vmap(matrix)(jnp.eye(right.shape[0], dtype=right.dtype))
    return jnp.linalg.solve(rows.T, right)


def _iterative(exact: bool, matrix: Callable[[Array], Array], right: Array) -> Array:
    # scaled, so that the tolerance is relative; 1e-12 is what rounding leaves of a well-posed system
    found = gmres(matrix, right, tol=1e-12, restart=min(right.shape[0], 100), maxiter=20)[0]
    if not exact:
        return found
    off = jnp.linalg.norm(matrix(found) - right)
    good = off <= float(jnp.finfo(right.dtype).eps) ** 0.5 * jnp.linalg.norm(right)
    return jnp.where(good, found, jnp.nan)
