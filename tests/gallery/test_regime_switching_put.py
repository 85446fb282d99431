"""The put in two markets against quadrature, finite differences, and the put of one volatility."""

import numpy as np

import bellax as bx
from bellax.models import regime_switching_put as gallery
from bellax.models.references import bermudan_put, regime_switching_put

PRICES = np.linspace(0.7, 1.3, 121)


def value(market, **changes):
    solution = bx.solve(gallery.model, gallery.params | changes, gallery.solver)
    return np.asarray(solution.value(0, log_price=np.log(PRICES), market=market))


def test_checks():
    checks = {check.quantity: check for check in gallery.checks()}
    assert checks["V, calm"].error <= 1e-5
    assert checks["V, turbulent"].error <= 1e-5
    assert checks["V, both, differences"].error <= 1e-4
    assert all(check.passed for check in checks.values())


def test_markets_alike_are_one():
    exact = bermudan_put(PRICES, 1.0, 0.05, 0.25, 0.5, gallery.DATES)
    for market in gallery.Market:
        np.testing.assert_allclose(value(market, calm=0.25, turbulent=0.25), exact, atol=1e-5)


def test_the_put_is_kept_longer_in_a_turbulent_market():
    exact = regime_switching_put(PRICES, 1.0, 0.05, (0.15, 0.4), gallery.params["switching"], 0.5, gallery.DATES)
    calm, turbulent = (value(market) <= 1 - PRICES + 1e-12 for market in gallery.Market)
    np.testing.assert_array_equal(calm, exact[0] <= 1 - PRICES)
    np.testing.assert_array_equal(turbulent, exact[1] <= 1 - PRICES)
    assert 0 < turbulent.sum() < calm.sum()
