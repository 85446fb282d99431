"""Factors of covariances: Cholesky's where there is one, and right where the matrix is singular."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bellax.numerics.covariance import factor, semidefinite

B = np.array([[1.0, 0.2], [-0.5, 1.0], [2.0, 0.3]])
SINGULAR = {
    "perfectly correlated": np.outer([0.2, 0.3], [0.2, 0.3]),
    "perfectly opposed": np.outer([0.2, -0.3], [0.2, -0.3]),
    "no variance at all": np.zeros((2, 2)),
    "one constant": np.diag([0.0, 0.04, 0.0]),
    "rank two of three": B @ B.T,
    "rank one of six": np.outer(np.arange(1.0, 7.0), np.arange(1.0, 7.0)),
    "units far apart": np.outer([1e-9, 1e6], [1e-9, 1e6]),
}
REGULAR = {
    "correlated": np.array([[0.04, 0.018], [0.018, 0.09]]),
    "units far apart": np.array([[1e-18, 9e-4], [9e-4, 1e12]]),
    "three": B @ B.T + 0.1 * np.eye(3),
}
INDEFINITE = {
    "correlation above one": np.array([[1.0, 1.001], [1.001, 1.0]]),
    "covariance without variance": np.array([[0.0, 0.1], [0.1, 1.0]]),
    "negative variance": np.diag([1.0, -1e-3]),
    "not symmetric": np.array([[1.0, 0.2], [0.3, 1.0]]),
    "each pair possible": np.array([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]]),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_the_factor_of_a_singular_covariance(name):
    covariance = jnp.asarray(SINGULAR[name])
    lower, scale = factor(covariance), np.sqrt(np.diagonal(SINGULAR[name]))
    np.testing.assert_array_equal(lower, np.tril(lower))
    assert np.all(np.abs(lower @ lower.T - covariance) <= 1e-14 * np.outer(scale, scale))
    assert bool(semidefinite(covariance))
    assert np.all(np.isfinite(jax.jacfwd(factor)(covariance)))


@pytest.mark.parametrize("name", REGULAR)
def test_the_factor_of_a_regular_one_is_that_of_cholesky_with_its_derivative(name):
    covariance = jnp.asarray(REGULAR[name])
    np.testing.assert_allclose(factor(covariance), np.linalg.cholesky(covariance), rtol=1e-12)
    direction = covariance * (1.0 + np.eye(len(covariance)))
    found = jax.jvp(factor, (covariance,), (direction,))[1]
    expected = jax.jvp(jnp.linalg.cholesky, (covariance,), (direction,))[1]
    sizes = np.sqrt(np.diagonal(REGULAR[name]))[:, None]
    np.testing.assert_allclose(found / sizes, expected / sizes, atol=1e-12)
    assert bool(semidefinite(covariance))


@pytest.mark.parametrize("name", INDEFINITE)
def test_what_is_no_covariance(name):
    assert not bool(semidefinite(jnp.asarray(INDEFINITE[name])))


def test_a_derivative_along_singular_covariances():
    """s^2 v v' has the first column s v: it grows like v, forwards and backwards."""
    v = jnp.array([0.2, -0.3, 0.5])
    column = lambda s: factor(s**2 * jnp.outer(v, v))[:, 0]  # noqa: E731
    np.testing.assert_allclose(jax.jacfwd(column)(1.0), v, rtol=1e-12)
    np.testing.assert_allclose(jax.jacrev(column)(1.0), v, rtol=1e-12)
