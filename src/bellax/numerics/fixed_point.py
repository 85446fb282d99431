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
from jax.scipy.linalg import lu_factor, lu_solve
from jax.scipy.sparse.linalg import gmres

from bellax.numerics import loops
from bellax.numerics.scalar import rounding

DENSE = 1200
"""Unknowns up to which a dense factorisation is faster than GMRES."""


Nearby = Callable[[Any, Any], Callable[[Any], Any]]
"""Of parameters and a fixed point, a linear map that is nearly T_X there, and takes less."""


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def implicit(operator: Callable[[Any, Any], Any], nearby: Nearby | None, parameters: Any, found: Any) -> Any:
    """The fixed point `found` of `operator`, with the derivative that the implicit function theorem gives it.

    Args:
        operator: T, a function of parameters and of a pytree of float arrays; it closes over nothing differentiated.
        nearby: what is solved in place of the system, as long as that solves the system.
        parameters: p, a pytree of float arrays.
        found: the fixed point, however it was found; its own derivative is ignored.
    """
    return found


@implicit.defjvp
def _implicit_jvp(
    operator: Callable[[Any, Any], Any], nearby: Nearby | None, primals: tuple, tangents: tuple
) -> tuple[Any, Any]:
    (parameters, found), (moved, _) = primals, tangents
    found = implicit(operator, nearby, parameters, found)  # a second derivative passes here once more
    _, right = jax.jvp(lambda p: operator(p, found), (parameters,), (moved,))
    _, forward = jax.linearize(lambda x: operator(parameters, x), found)
    flat, restore = ravel_pytree(right)  # a derivative that is not converged is NaN, never a guess

    def of_vectors(linear: Callable[[Any], Any]) -> Callable[[Array], Array]:
        return lambda x: x - ravel_pytree(linear(restore(x)))[0]

    nearly = None if nearby is None else of_vectors(nearby(*lax.stop_gradient((parameters, found))))
    return found, restore(solve_linear(of_vectors(forward), flat, exact=True, nearly=nearly))


def solve_linear(
    matrix: Callable[[Array], Array],
    right: Array,
    exact: bool = False,
    nearly: Callable[[Array], Array] | None = None,
) -> Array:
    """x with matrix(x) = right for a linear function of vectors of shape (n,).

    Args:
        exact: whether x is NaN where GMRES stopped short; else it is the best that was found.
        nearly: nearly `matrix`, and quicker: x is found by it, improved once, and kept if it solves the system.
    """
    solve = _dense if right.shape[0] <= DENSE else partial(_iterative, exact)
    if nearly is None:
        return lax.custom_linear_solve(matrix, right, solve=solve, transpose_solve=solve)
    there, back = _inverses(nearly, right)
    return lax.custom_linear_solve(
        matrix, right, solve=partial(_corrected, there, solve), transpose_solve=partial(_corrected, back, solve)
    )


_Solve = Callable[[Callable[[Array], Array], Array], Array]


def _inverses(matrix: Callable[[Array], Array], like: Array) -> tuple[Callable[[Array], Array], ...]:
    """What solves with a matrix, and with its transpose."""
    if like.shape[0] > DENSE:
        back = jax.linear_transpose(matrix, like)
        return partial(_iterative, False, matrix), partial(_iterative, False, lambda x: back(x)[0])
    columns = jax.vmap(matrix, out_axes=1)(jnp.eye(like.shape[0], dtype=like.dtype))
    factors = lu_factor(columns)
    return partial(lu_solve, factors), partial(lu_solve, factors, trans=1)


def _corrected(quick: Callable[[Array], Array], solve: _Solve, matrix: Callable[[Array], Array], right: Array) -> Array:
    """What is quickly found, improved once; where it does not solve the system, what `solve` finds."""

    def better(state: tuple[Array, Array]) -> tuple[Array, Array]:
        found = state[0] + quick(state[1])
        return found, right - matrix(found)

    found, left = loops.repeat(2, better, (jnp.zeros_like(right), right))
    size = jnp.linalg.norm(right) + jnp.linalg.norm(found)
    good = jnp.linalg.norm(left) <= rounding(right.dtype) * size
    # a loop and no branch: of a batch, both sides of a branch are worked out
    fallen = lambda _: (solve(matrix, right), jnp.ones((), bool))  # noqa: E731
    return loops.until(lambda state: state[1], fallen, (found, good))[0]


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
