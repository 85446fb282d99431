"""Log Merton against its closed form: value and share in every period."""

import jax
import numpy as np
import pytest

import bellax as bx
from bellax.models import merton
from bellax.models.references import merton_log

TOLERANCES = {
    "V, Newton, 16 nodes": 1e-10,
    "c / w, Newton, 16 nodes": 1e-10,
    "V, golden section": 1e-6,
    "c / w, golden section": 1e-6,
    "V, asinh grid": 5e-6,
    "c / w, asinh grid": 5e-5,
}


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in merton.checks()}


@pytest.mark.parametrize("quantity", TOLERANCES)
def test_closed_form(checks, quantity):
    assert checks[quantity].error <= TOLERANCES[quantity]
    assert checks[quantity].passed


def test_every_check_has_a_test(checks):
    assert checks.keys() == TOLERANCES.keys()


def test_other_calibrations_by_vmap():
    discounts, mus = np.array([0.9, 0.94, 0.98]), np.array([0.0, 0.1, 0.02])
    wealth = np.array([0.1, 3.0, 100.0])

    def answers(discount, mu):
        solution = bx.solve(merton.model, {"discount": discount, "mu": mu, "sigma": 0.15}, merton.solver)
        return solution.value(0, wealth=wealth), solution.policy(0, wealth=wealth)["consumption"]

    values, consumption = jax.vmap(answers)(discounts, mus)
    for k, (discount, mu) in enumerate(zip(discounts, mus, strict=True)):
        intercept, slope = merton_log(discount, mu)
        np.testing.assert_allclose(values[k], intercept + slope * np.log(wealth), rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(consumption[k], (1 - discount) * wealth, rtol=1e-10)
