"""Consumption and portfolio against the first-order condition."""

import numpy as np
import pytest
from scipy.optimize import minimize

from bellax.models import references, two_asset_merton

TOLERANCES = {
    "portfolio": 1e-6,
    "portfolio, same nodes": 1e-8,
    "c / w, same nodes": 1e-8,
    "V, same nodes": 1e-8,
}


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in two_asset_merton.checks()}


@pytest.mark.parametrize("quantity", TOLERANCES)
def test_first_order_condition(checks, quantity):
    assert checks[quantity].error <= TOLERANCES[quantity]
    assert checks[quantity].passed


def test_every_check_has_a_test(checks):
    assert checks.keys() == TOLERANCES.keys()


def two_assets(**changes):
    arguments = {
        "gamma": 2.5,
        "discount": 0.96,
        "risk_free": 1.01,
        "mean": np.array([0.05, 0.03]),
        "covariance": np.array([[0.04, 0.01], [0.01, 0.0225]]),
        "horizon": 3,
        "terminal": 2.0,
        "nodes": 20,
    }
    return references.two_asset_merton(**(arguments | changes))


def test_portfolio_is_the_best_of_its_neighbours():
    z, weights = np.polynomial.hermite_e.hermegauss(30)
    weights = weights / weights.sum()
    first = np.exp(0.05 + 0.2 * z)[:, None]  # a triangular factor of the covariance, by hand
    second = np.exp(0.03 + 0.05 * z[:, None] + np.sqrt(0.02) * z)

    def loss(portfolio):
        gross = 1.01 + portfolio[0] * (first - 1.01) + portfolio[1] * (second - 1.01)
        return weights @ gross**-1.5 @ weights

    best = minimize(loss, [0.3, 0.3], options={"gtol": 1e-9})
    found = two_assets()
    np.testing.assert_allclose(found.portfolio, best.x, atol=1e-6)
    M = 0.96 * best.fun
    coefficient = 2.0
    for t in reversed(range(3)):
        share = 1 / (1 + (M * coefficient) ** (1 / 2.5))
        coefficient = share**-2.5
        assert found.share[t] == pytest.approx(share, rel=1e-10)
        assert found.coefficient[t] == pytest.approx(coefficient, rel=1e-10)


def test_an_asset_as_safe_as_the_bill_has_no_portfolio():
    """It pays more for certain: there is no end to how much one would borrow."""
    with pytest.raises(ValueError, match="no portfolio was found"):
        two_assets(covariance=1e-12 * np.eye(2))
