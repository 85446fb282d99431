"""What once was wrong and said to be successful."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def by(**grid):
    return bx.solvers.FiniteDifference(grid=grid, steps=4)


def wanderer(**changes):
    given = {
        "states": {"x": bx.Continuous(0.0, 1.0)},
        "reward": 0.0,
        "drift": {"x": 0.0},
        "diffusion": {"x": 0.3},
        "discount": 0.1,
        "boundary": {"x": bx.Reflecting()},
    }
    return bx.DiffusionModel(**{**given, **changes})


def test_few_nodes_stop():
    """At one point in the middle, which is fewer nodes than the first steps widen going on by."""
    solution = bx.solve(wanderer(stop=lambda x: jnp.maximum(1 - 100 * jnp.abs(x - 0.5), -1.0)), {}, by(x=101))
    k = np.sqrt(0.2) / 0.3
    exact = np.cosh(k * 0.25) / np.cosh(k * 0.5)
    np.testing.assert_allclose(solution.value(x=np.array([0.25, 0.5])), [exact, 1.0], rtol=1e-5)
