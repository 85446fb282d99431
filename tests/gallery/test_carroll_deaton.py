"""The life cycle against an endogenous grid: every age, the constrained region, the kink and beyond."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import carroll_deaton

AGES = range(carroll_deaton.FIRST_AGE, carroll_deaton.LAST_AGE + 1)


@pytest.fixture(scope="module")
def solution():
    return bx.solve(carroll_deaton.model, carroll_deaton.params, carroll_deaton.solver)


@pytest.fixture(scope="module")
def reference():
    return carroll_deaton.endogenous_grid()


@pytest.fixture(scope="module")
def kinks(reference):
    """Where saving begins, by age, in the reference: the last point at which it consumes everything."""
    cash = np.linspace(0.3, 3.0, 27_001)
    return [cash[reference(t, cash) >= cash * (1 - 1e-12)].max() for t in range(len(AGES) - 1)]


@pytest.mark.long
def test_checks(solution, reference, monkeypatch):
    monkeypatch.setattr(bx, "solve", lambda *_: solution)  # which is that of the gallery, and takes a while
    monkeypatch.setattr(carroll_deaton, "endogenous_grid", lambda: reference)
    checks = {check.quantity: check for check in carroll_deaton.checks()}
    assert checks["consumption"].error <= 1e-5
    assert checks["V"].error <= 1e-8
    assert all(check.passed for check in checks.values())


def test_consumption_around_the_kink(solution, reference, kinks):
    for t, kink in enumerate(kinks):
        cash = kink * (1 + np.linspace(-0.02, 0.02, 161))
        ours = np.asarray(solution.policy(age=AGES[t], cash=cash)["consumption"])
        np.testing.assert_allclose(ours, reference(t, cash), rtol=1e-5, err_msg=f"age {AGES[t]}")


def test_the_constrained_consume_everything_exactly(solution, kinks):
    for t, kink in enumerate(kinks):
        cash = np.linspace(0.25, kink * 0.999, 50)
        ours = np.asarray(solution.policy(t, cash=cash)["consumption"])
        np.testing.assert_array_equal(ours, cash)
        cash = np.linspace(kink * 1.001, 20.0, 50)
        assert np.all(np.asarray(solution.policy(t, cash=cash)["consumption"]) < cash)


def test_the_last_year_consumes_everything(solution):
    cash = np.linspace(0.25, 20.0, 50)
    np.testing.assert_array_equal(np.asarray(solution.policy(age=74, cash=cash)["consumption"]), cash)
