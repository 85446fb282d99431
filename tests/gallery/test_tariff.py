"""The tariff beside its closed form: V, use, and ranges of wealth that stay at the limit of a block."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import tariff


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in tariff.checks()}


def test_checks(checks):
    assert checks["V"].error <= 1e-5
    assert checks["use"].error <= 1e-3
    assert checks["use at the limits of blocks"].error <= 1e-8
    assert all(check.passed for check in checks.values())


def test_every_period_has_ranges_at_both_limits():
    """At a limit use does not move with wealth, over a good part of the wealth there is."""
    solution = bx.solve(tariff.model, tariff.params, tariff.solver)
    wealth = np.linspace(0.6, 25.0, 977)
    for period in range(tariff.HORIZON):
        exact = tariff.known(tariff.params, wealth, period)
        used = np.asarray(solution.policy(period, wealth=wealth)["used"])
        np.testing.assert_allclose(used, exact.used[:, 0], atol=1e-3)
        for limit in (1.0, 2.0):
            there = exact.used[:, 0] == limit
            assert there.mean() > 0.05
            np.testing.assert_allclose(used[there], limit, atol=1e-8)


def test_another_tariff():
    given = tariff.params | {"second_price": 1.2, "third_price": 1.3, "first_limit": 0.5, "interest": 0.2}
    solution, wealth = bx.solve(tariff.model, given, tariff.solver), np.linspace(0.6, 25.0, 977)
    exact = tariff.known(given, wealth)
    np.testing.assert_allclose(solution.value(0, wealth=wealth), exact.value, atol=2e-5)
    np.testing.assert_allclose(solution.policy(0, wealth=wealth)["used"], exact.used[:, 0], atol=5e-3)


def test_the_reference_knows_nothing_of_prices_that_fall():
    assert tariff.reference(tariff.params | {"third_price": 1.2}, 8.0) == {}
    assert tariff.reference(tariff.params, 8.0)["used"] == 1.0
