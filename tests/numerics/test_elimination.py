"""Systems of a few unknowns: against numpy, their derivatives, rows that have to change places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bellax.numerics import elimination


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("columns", [(), (3,)])
def test_solves_as_numpy_does(count, columns):
    draws = np.random.default_rng(count)
    matrix, right = draws.normal(size=(50, count, count)), draws.normal(size=(50, count, *columns))
    found = jax.jit(jax.vmap(elimination.solve))(matrix, right)
    flat = right.reshape(50, count, -1)
    np.testing.assert_allclose(found.reshape(flat.shape), np.linalg.solve(matrix, flat), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_rows_change_places_where_the_first_has_nothing(count):
    matrix = np.roll(np.diag(np.arange(1.0, count + 1)), 1, axis=0)
    right = np.arange(1.0, count + 1)
    np.testing.assert_allclose(
        elimination.solve(jnp.asarray(matrix), jnp.asarray(right, float)), np.linalg.solve(matrix, right), rtol=1e-14
    )


def test_small_pivots_cost_no_digits():
    matrix, right = np.array([[1e-18, 1.0], [1.0, 1.0]]), np.array([1.0, 2.0])
    np.testing.assert_allclose(
        elimination.solve(jnp.asarray(matrix), jnp.asarray(right, float)), [1.0, 1.0], rtol=1e-15
    )


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_derivatives_are_those_of_an_inverse(mode):
    draws = np.random.default_rng(0)
    matrix, right = draws.normal(size=(3, 3)), draws.normal(size=3)
    found = mode(elimination.solve)(jnp.asarray(matrix), jnp.asarray(right))
    inverse = np.linalg.inv(matrix)
    x = inverse @ right
    np.testing.assert_allclose(found, -inverse[:, :, None] * x[None, None, :], rtol=1e-10, atol=1e-12)


def test_a_singular_matrix_gives_no_number():
    assert not np.all(np.isfinite(elimination.solve(jnp.ones((2, 2)), jnp.array([1.0, 2.0]))))


def test_a_program_of_few_unknowns_calls_no_library():
    shaped = jax.ShapeDtypeStruct((5, 3, 3), float), jax.ShapeDtypeStruct((5, 3), float)
    text = jax.jit(jax.vmap(elimination.solve)).lower(*shaped).as_text()
    assert "custom_call" not in text


@pytest.mark.parametrize("count", [1, 3, 6, 9])
def test_in_a_loop_as_numpy_does(count):
    draws = np.random.default_rng(count)
    matrix, right = draws.normal(size=(20, count, count)), draws.normal(size=(20, count))
    found = jax.jit(jax.vmap(elimination.in_a_loop))(matrix, right)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right[..., None])[..., 0], rtol=1e-9, atol=1e-11)
    nothing = np.roll(np.diag(np.arange(1.0, count + 1)), 1, axis=0)
    np.testing.assert_allclose(
        elimination.in_a_loop(jnp.asarray(nothing), jnp.ones(count)), np.linalg.solve(nothing, np.ones(count))
    )


def test_what_is_singular_to_rounding():
    """-(a - b)^2 and nothing else; the same with some curvature."""
    flat = jnp.asarray([[-2.0, 2.0], [2.0, -2.0]])
    assert bool(elimination.singular(flat)) and bool(elimination.singular(flat + 1e-14))
    curved = flat - 1e-6 * jnp.eye(2)
    assert not bool(elimination.singular(curved))
    assert not bool(elimination.singular(-jnp.eye(3)))
