"""Liquidation of many assets against the matrix Riccati equation."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import liquidation

QUANTITIES = [f"{what}, {assets}" for assets in ("1 asset", "40 assets") for what in ("V at the start", "V", "sold")]


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in liquidation.checks()}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_riccati(checks, quantity):
    assert checks[quantity].error <= 1e-10
    assert checks[quantity].passed


def test_every_check_has_a_test(checks):
    assert checks.keys() == set(QUANTITIES)


def test_the_reference_is_what_a_search_over_one_period_finds():
    """Of the last period: the best sale of each asset, by a grid of its own."""
    given = liquidation.calibration(1)
    sold = np.linspace(-1.0, 1.0, 200_001)
    q, p = 0.5, 0.3
    worth = sold * p - 2 * sold**2 - 0.02 * q**2 + (q - sold) * 0.7 * p - 8 * (q - sold) ** 2
    exact = liquidation.regulator(given)
    np.testing.assert_allclose(exact.value(9, np.array([q, p])), worth.max(), atol=1e-9)
    np.testing.assert_allclose(exact.gain[9] @ np.array([q, p]), sold[worth.argmax()], atol=1e-5)


def test_sales_within_bounds_are_worth_less():
    """Bounds that are never reached change nothing, and 0 <= v <= q costs something."""
    begin, given = liquidation.beginning(1), liquidation.calibration(1)
    begin = begin | {"signal": np.array([-1.0])}
    free, bound = (
        bx.solve(model, given, bx.solvers.ILQG(start=begin))
        for model in (liquidation.liquidation(1), liquidation.constrained(1))
    )
    assert float(free.policy(0, **begin)["sold"][0]) < 0 == float(bound.policy(0, **begin)["sold"][0])
    assert float(bound.value(0, **begin)) < float(free.value(0, **begin))
