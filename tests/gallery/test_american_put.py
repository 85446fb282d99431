"""The put against a published table, extrapolated trees, and an exact quadrature of the Bermudan problem."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import american_put
from bellax.models.references import bermudan_put

TOLERANCES = {
    "V, 50 dates, table": 1e-3,
    "V, 50 dates": 1e-5,
    "V, American": 5e-5,
    "V, American, where exercise begins": 1e-3,
}
SHARES = np.linspace(0.8, 1.2, 84)  # of the strike: as many as in the checks, for which queries are compiled


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in american_put.checks()}


@pytest.mark.parametrize("quantity", TOLERANCES)
def test_published(checks, quantity):
    assert checks[quantity].error <= TOLERANCES[quantity]
    assert checks[quantity].passed


def test_every_check_has_a_test(checks):
    assert checks.keys() == TOLERANCES.keys()


@pytest.mark.parametrize("strike, volatility, years", [(40.0, 0.2, 2.0), (100.0, 0.35, 1.0)])
def test_bermudan_value(strike, volatility, years):
    given = american_put.params | {"strike": strike, "volatility": volatility, "years": years}
    solution = bx.solve(american_put.model, given, american_put.solver)
    exact = bermudan_put(strike * SHARES, strike, 0.06, volatility, years, 50)
    ours = np.asarray(solution.value(0, log_price=np.log(strike * SHARES)))
    np.testing.assert_allclose(ours / strike, exact / strike, atol=5e-7)


def test_exercise_where_the_payoff_is_the_value():
    solution = bx.solve(american_put.model, american_put.params, american_put.solver)
    price = 40.0 * SHARES
    stop = np.asarray(solution.policy(0, log_price=np.log(price))["stop"])
    exercised = bermudan_put(price, 40.0, 0.06, 0.2, 1.0, 50) <= 40.0 - price
    assert 0 < exercised.sum() < len(price)
    assert np.abs(stop.astype(int) - exercised.astype(int)).sum() <= 1  # one price may lie on the boundary
