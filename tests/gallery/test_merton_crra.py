"""CRRA Merton against its closed form: value, share, and derivatives in both modes of differentiation."""

import jax
import pytest

import bellax as bx
from bellax.models import merton_crra
from bellax.models.references import merton_crra as closed_form

TOLERANCES = {"V": 1e-8, "c / w": 1e-9, "dc / dsigma": 1e-6, "dV / dbeta": 1e-6}


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in merton_crra.checks()}


@pytest.mark.parametrize("quantity", TOLERANCES)
def test_closed_form(checks, quantity):
    assert checks[quantity].error <= TOLERANCES[quantity]
    assert checks[quantity].passed


def test_every_check_has_a_test(checks):
    assert checks.keys() == TOLERANCES.keys()


@pytest.mark.long
def test_reverse_mode(jitted):
    def value(given):
        return bx.solve(merton_crra.model, given, merton_crra.solver).value(0, wealth=10.0)

    gradient = jitted(jax.grad(value))(merton_crra.params)
    exact = merton_crra.recursion(merton_crra.params)
    of_utility = 10.0**-2 / -2
    assert float(gradient["sigma"]) == pytest.approx(exact.coefficient_by_sigma[0] * of_utility, rel=1e-6)
    assert float(gradient["discount"]) == pytest.approx(exact.coefficient_by_discount[0] * of_utility, rel=1e-6)


def test_another_calibration_of_the_reference():
    """The reference moves with the parameters that the model was solved for, not with those of the module."""
    given = merton_crra.params | {"sigma": 0.25, "discount": 0.9}
    solution = bx.solve(merton_crra.model, given, merton_crra.solver)
    exact = closed_form(3.0, 0.9, 0.04, 0.25, horizon=20, terminal=1.0)
    share = float(solution.policy(3, wealth=7.0)["consumption"]) / 7.0
    assert share == pytest.approx(exact.share[3], rel=1e-8)
