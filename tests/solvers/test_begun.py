"""Policy iteration that begins with V of a solution on other nodes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.bellman.continuation import Value
from bellax.bellman.regridded import regridded
from bellax.solve import prepare, run

PARAMS = {"discount": 0.9999}
MODEL = bx.Model(
    states={"x": bx.Continuous(-1.0, 1.0)},
    actions={"a": bx.Continuous(-1.0, 1.0)},
    transitions={"x": lambda x, a: 0.9 * x + 0.2 * a},
    reward=lambda x, a: 1.0 - x**2 - 0.1 * a**2,
)
SOLVER = bx.solvers.PolicyIteration(grid={"x": 20})


@pytest.fixture(scope="module")
def solution() -> bx.Solution:
    return bx.solve(MODEL, PARAMS, SOLVER)


def test_a_value_that_hardly_changes_in_a_step_is_no_answer(solution: bx.Solution) -> None:
    """V too large by 1e-5 of its size everywhere changes by 1e-9 in a step, which is less than the tolerance."""
    solver = dataclasses.replace(SOLVER, tolerance=1e-7)
    high = Value(solution.values.levels * (1 + 1e-5), solution.values.slopes)
    found = run(prepare(MODEL, solver), solution.arguments, like=[dataclasses.replace(solution, values=high)])
    assert int(found.stats["steps"]) == 2
    np.testing.assert_allclose(found.values.levels, solution.values.levels, rtol=1e-10)


def test_it_ends_sooner(solution: bx.Solution) -> None:
    finer = dataclasses.replace(SOLVER, grid={"x": 41})
    plain, begun = (run(prepare(MODEL, finer), solution.arguments, like=like) for like in (None, [solution]))
    np.testing.assert_allclose(begun.values.levels, plain.values.levels, rtol=1e-10)
    assert int(begun.stats["steps"]) < int(plain.stats["steps"])


def test_what_begins_with_zero_all_the_same(solution: bx.Solution) -> None:
    """Steps of a contraction, which would keep what is wrong; and where V is not finite."""
    for solver in (bx.solvers.ValueIteration(grid={"x": 5}), dataclasses.replace(SOLVER, evaluation_steps=5)):
        assert prepare(MODEL, solver).begun(solution.arguments, solution) is None
    lost = Value(solution.values.levels.at[3].set(-jnp.inf), solution.values.slopes)
    assert prepare(MODEL, SOLVER).begun(solution.arguments, dataclasses.replace(solution, values=lost)) is None


def test_nodes_keep_their_places() -> None:
    rows = jnp.arange(3.0)[:, None] + 10 * jnp.linspace(0.0, 1.0, 5)[None]
    like = jax.eval_shape(lambda: Value(jnp.zeros((3, 9)), (jnp.zeros((3, 9)),)))
    found = regridded(Value(rows, (rows,)), like)
    assert found is not None
    np.testing.assert_allclose(found.levels, np.arange(3.0)[:, None] + 10 * np.linspace(0.0, 1.0, 9)[None])
    np.testing.assert_array_equal(found.levels, found.slopes[0])
    assert regridded(Value(rows, ()), like) is None
