"""The two-state example: published value, both optimal policies, two solvers."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import puterman
from bellax.models.references import puterman_621

STATES = np.array([0, 1])


def test_checks():
    checks = {check.quantity: check for check in puterman.checks()}
    assert checks["v, published"].error <= 1e-7
    assert checks["v"].error <= 1e-10
    assert checks["action"].error == 0
    assert all(check.passed for check in checks.values())


@pytest.mark.parametrize("discount, action", [(0.5, 1), (0.9, 1), (0.92, 0), (0.99, 0)])
def test_the_better_action_on_either_side_of_ten_elevenths(discount, action):
    solution = bx.solve(puterman.model, {"discount": discount}, puterman.solver)
    exact = puterman_621(discount)
    np.testing.assert_allclose(solution.value(state=STATES), exact.value, rtol=1e-10)
    assert np.asarray(solution.policy(state=STATES)["action"]).tolist() == [action, 1]


def test_value_iteration_agrees():
    solution = bx.solve(puterman.model, puterman.params, bx.solvers.ValueIteration(tolerance=1e-12))
    np.testing.assert_allclose(solution.value(state=STATES), (-60 / 7, -20.0), rtol=1e-9)


def test_the_action_that_is_not_available_is_masked():
    """It would pay 5 for ever."""
    solution = bx.solve(puterman.model, puterman.params, puterman.solver)
    choices = np.asarray(solution.choice_values(state=STATES))
    assert solution.combinations == [{"action": "first"}, {"action": "second"}]
    assert choices[1, 0] == -np.inf
    np.testing.assert_allclose(choices[0], (-60 / 7, 10 - 0.95 * 20), rtol=1e-10)
