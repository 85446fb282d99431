"""Systems H x = b with the curvature H of a loss, of which products with a vector are known.

Of few weights H is made, product by product, and solved with; of many there are conjugate gradients. What is left of
the system is looked at either way: a derivative is a number that was found, or none.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.numerics import loops

_FEW = 600  # weights up to which as many products, made once for all b, are no more than iterations for each b
_ITERATIONS = 600
_WANTED = 1e-10  # of the size of b: where conjugate gradients stop
_LEFT = 1e-6  # of the size of b: what may be left


def solved(curvature: Callable[[Array], Array], right: Float[Array, "w"]) -> Float[Array, "w"]:
    """x with curvature(x) = right; NaN where more than a millionth of that is left.

    Args:
        curvature: a symmetric linear function.
    """

    def solve(curvature: Callable[[Array], Array], right: Array) -> Array:
        found = _exactly(curvature, right) if right.shape[0] <= _FEW else _step_by_step(curvature, right)
        most = max(_LEFT, float(jnp.finfo(right.dtype).eps) ** 0.5)
        fine = jnp.linalg.norm(curvature(found) - right) <= most * jnp.linalg.norm(right)
        return jnp.where(fine, found, jnp.nan)

    return lax.custom_linear_solve(curvature, right, solve=solve, symmetric=True)


def _exactly(curvature: Callable[[Array], Array], right: Array) -> Array:
    eye = jnp.eye(right.shape[0], dtype=right.dtype)
    _, rows = loops.over(lambda none, own: (none, curvature(own)), None, eye)
    return jnp.linalg.solve(rows, right)


def _step_by_step(curvature: Callable[[Array], Array], right: Array) -> Array:
    return jax.scipy.sparse.linalg.cg(curvature, right, tol=_WANTED, maxiter=_ITERATIONS)[0]
