"""McCall's reservation wage: published, in closed form, and as patience and pay move it."""

import numpy as np
import pytest
from scipy.optimize import brentq

import bellax as bx
from bellax.models import job_search
from bellax.models.references import mccall


def test_checks():
    checks = {check.quantity: check for check in job_search.checks()}
    assert checks["reservation wage, published"].error <= 1e-7
    assert checks["reservation wage"].error <= 1e-10
    assert checks["V"].error <= 1e-10
    assert checks["accepts"].error == 0
    assert all(check.passed for check in checks.values())


@pytest.mark.parametrize("changes", [{"discount": 0.5}, {"compensation": 5.0}, {"compensation": 59.0}])
def test_other_calibrations(changes):
    params = job_search.params | changes
    solution = bx.solve(job_search.model, params, job_search.solver)
    offers, exact = params["wages"], job_search.reservation(params)
    value = np.maximum(offers, exact) / (1 - params["discount"])
    np.testing.assert_allclose(solution.value(wage=offers), value, rtol=1e-10)
    np.testing.assert_array_equal(solution.policy(wage=offers)["stop"], offers > exact)


def test_reservation_wage_solves_its_equation():
    offers, chances = np.array([30.0, 10.0, 50.0, 20.0]), np.array([0.3, 0.2, 0.1, 0.4])
    for discount, pay in ((0.9, 5.0), (0.5, 25.0), (0.95, 60.0)):

        def excess(r, discount=discount, pay=pay):
            return r - pay - discount / (1 - discount) * chances @ np.maximum(offers - r, 0)

        found = mccall(offers, chances, pay, discount)
        assert found == pytest.approx(brentq(excess, 0.0, 100.0, xtol=1e-13), rel=1e-12)
