"""Two rates of interest beside the closed form: three regimes, and slopes that a kink of the budget leaves."""

import jax
import numpy as np
import pytest

import bellax as bx
from bellax.models import two_rates

WEALTH = {"borrows": 0.5, "neither": 1.08, "lends": 3.0}


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in two_rates.checks()}


def test_checks(checks):
    assert checks["V"].error <= 1e-10
    assert checks["consumption"].error <= 1e-10
    assert checks["savings of those who do neither"].error <= 1e-12
    assert all(check.passed for check in checks.values())


@pytest.mark.parametrize("risk_aversion, income", [(0.5, 0.7), (4.0, 2.0)])
def test_other_calibrations(risk_aversion, income):
    given = two_rates.params | {"risk_aversion": risk_aversion, "income": income}
    below, above = two_rates.regimes(given)
    wealth = np.linspace(0.2, 6.0, 450)  # as many as in the checks, for which queries are compiled
    assert np.all(np.histogram(wealth, [0.2, below, above, 6.0])[0] > 3)
    solution, exact = bx.solve(two_rates.model, given, two_rates.solver), two_rates.known(given, wealth)
    np.testing.assert_allclose(solution.value(0, wealth=wealth), exact.value, rtol=1e-10)
    np.testing.assert_allclose(solution.policy(0, wealth=wealth)["consumption"], exact.consumption, rtol=1e-10)


def test_the_reference_knows_nothing_of_a_budget_that_is_not_convex():
    """Where debt costs less than savings pay there are two hills, and the closed form is of one."""
    assert two_rates.reference(two_rates.params | {"borrowing": 0.01}, 1.0) == {}
    assert two_rates.reference(two_rates.params, 1.08)["consumption"] == 1.08


@pytest.fixture(scope="module")
def slopes():
    """Of V and of consumption in parameters and wealth, by regime."""

    def both(given, wealth):
        solution = bx.solve(two_rates.model, given, two_rates.solver)
        return solution.value(0, wealth=wealth), solution.policy(0, wealth=wealth)["consumption"]

    wealth = np.array(list(WEALTH.values()))
    found = jax.jit(jax.jacrev(both, argnums=(0, 1)))(two_rates.params, wealth)
    return [own[0] | {"wealth": np.diagonal(own[1])} for own in found]


@pytest.mark.long
@pytest.mark.parametrize("regime", WEALTH)
def test_slopes(slopes, regime):
    """Who neither saves nor borrows moves with wealth alone."""
    place = list(WEALTH).index(regime)
    exact = two_rates.known(two_rates.params, list(WEALTH.values()))
    for found, known in zip(slopes, (exact.value_by, exact.consumption_by), strict=True):
        for name, slope in known.items():
            assert found[name][place] == pytest.approx(slope[place], rel=1e-8, abs=1e-10), name
    assert (exact.consumption_by["wealth"][place] == 1) == (regime == "neither")
