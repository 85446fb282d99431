"""Factors of covariances: L with L L' = S, lower triangular, for singular S too.

Column by column as Cholesky's, L_jj^2 = S_jj - sum_k<j L_jk^2. A variable whose variance those before it explain up to
rounding gets a column of zeros, where Cholesky's would divide by the root of that rounding.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def factor(covariance: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """L, lower triangular, with L L' = covariance.

    Derivatives are those of Cholesky's factor where the covariance is positive definite. Where it is singular they are
    those along covariances in which the same variables stay explained by those before them; a change that raises the
    rank has the derivative zero in place of an infinite one.

    Args:
        covariance: symmetric and positive semidefinite; of another one L L' is something else, see `semidefinite`.
    """
    count = covariance.shape[0]
    below = np.arange(count)[:, None] >= np.arange(count)
    columns: list[Array] = []
    for j in range(count):
        left = covariance[:, j] - sum(column[j] * column for column in columns)
        own = left[j]
        free = own > _explained(count, covariance.dtype) * covariance[j, j]
        root = jnp.sqrt(jnp.where(free, own, 1.0))
        columns.append(jnp.where(free & below[:, j], left / root, 0.0))
    return jnp.stack(columns, axis=1)


def semidefinite(covariance: Float[Array, "n n"]) -> Bool[Array, ""]:
    """Whether a matrix is symmetric and positive semidefinite up to rounding: then, and only then, it has a factor."""
    covariance = jax.lax.stop_gradient(covariance)  # a yes or no has no derivative
    lower = factor(covariance)
    variances = jnp.diagonal(covariance)
    size = jnp.sqrt(jnp.abs(variances))
    epsilon = float(jnp.finfo(covariance.dtype).eps)
    allowed = slack(len(size), covariance.dtype) * jnp.outer(size, size) + epsilon * jnp.max(size) ** 2
    fits = jnp.abs(lower @ lower.T - covariance) <= allowed
    return jnp.all(fits) & jnp.all(jnp.abs(covariance - covariance.T) <= allowed) & jnp.all(variances >= 0)


def slack(count: int, dtype: np.dtype) -> float:
    """By how much a correlation may miss a semidefinite matrix: what `factor` leaves out, twice."""
    return 2 * _explained(count, dtype) ** 0.5


def _explained(count: int, dtype: np.dtype) -> float:
    """The share of a variance that is rounding."""
    return 8 * count * float(jnp.finfo(dtype).eps)
