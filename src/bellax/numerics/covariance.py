"""Factors of covariances: L with L L' = S, lower triangular, for singular S too.

Column by column as Cholesky's, L_jj^2 = S_jj - sum_k<j L_jk^2. A variable whose variance those before it explain up to
rounding gets a column of zeros, where Cholesky's would divide by the root of that rounding.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float


def factor(covariance: Float[Array | np.ndarray, "n n"]) -> Float[Array | np.ndarray, "n n"]:
    """L, lower triangular, with L L' = covariance.

    Derivatives are those of Cholesky's factor where the covariance is positive definite. Where it is singular they are
    those along covariances in which the same variables stay explained by those before them; a change that raises the
    rank has the derivative zero in place of an infinite one.

    Args:
        covariance: symmetric and positive semidefinite; of another one L L' is something else, see `semidefinite`.
    """
    xp = covariance.__array_namespace__()
    count = covariance.shape[0]
    below = np.arange(count)[:, None] >= np.arange(count)
    columns: list[Any] = []
    for j in range(count):
        left = covariance[:, j] - sum(column[j] * column for column in columns)
        own = left[j]
        free = own > _explained(count, covariance.dtype) * covariance[j, j]
        root = xp.sqrt(xp.where(free, own, 1.0))
        columns.append(xp.where(free & below[:, j], left / root, 0.0))
    return xp.stack(columns, axis=1)


def symmetric(covariance: Float[Array | np.ndarray, "n n"]) -> Bool[Array | np.ndarray | np.bool_, ""]:
    """Whether a matrix is symmetric up to rounding; of numpy or of jax, like what is asked."""
    return (abs(covariance - covariance.T) <= _allowed(covariance)).all()


def semidefinite(covariance: Float[Array | np.ndarray, "n n"]) -> Bool[Array | np.ndarray | np.bool_, ""]:
    """Whether a matrix is symmetric and positive semidefinite up to rounding: then, and only then, it has a factor."""
    lower = factor(covariance)
    fits = (abs(lower @ lower.T - covariance) <= _allowed(covariance)).all()
    return fits & (covariance.diagonal() >= 0).all()


def _allowed(covariance: Float[Array | np.ndarray, "n n"]) -> Float[Array | np.ndarray, "n n"]:
    """By how much each entry may be off: `factor` leaves out what correlations miss by rounding, twice."""
    variances = covariance.diagonal()
    size = covariance.__array_namespace__().sqrt(abs(variances))
    epsilon = float(jnp.finfo(covariance.dtype).eps)
    share = 2 * _explained(len(variances), covariance.dtype) ** 0.5
    return share * size[:, None] * size[None, :] + epsilon * (size**2).max()


def _explained(count: int, dtype: np.dtype) -> float:
    """The share of a variance that is rounding."""
    return 8 * count * float(jnp.finfo(dtype).eps)
