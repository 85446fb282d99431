"""Four kinds of capital and four investments against the closed form, by the interpolant that compiles sooner."""

import numpy as np
import pytest
from scipy.optimize import minimize

from bellax.models import four_sectors
from bellax.models.references import brock_mirman, sectors

QUANTITIES = ("V, multilinear", "investment, multilinear")


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in four_sectors.compare("multilinear", four_sectors.solver)}


@pytest.mark.long
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_closed_form(checks, quantity):
    assert checks[quantity].error <= 1e-9
    assert checks[quantity].passed


def test_one_sector_is_brock_and_mirman():
    one = sectors(0.36, 0.96, 1, productivity=1.2)
    known = brock_mirman(0.36, 0.96, np.array([1.2]), np.eye(1))
    k = np.array([0.05, 0.3])
    np.testing.assert_allclose(one.value(k[:, None]), known.value(k)[:, 0], rtol=1e-12)
    np.testing.assert_allclose(one.investment(k[:, None]), known.capital_next(k)[:, 0], rtol=1e-12)


def test_bellman_equation():
    solved, k = sectors(0.36, 0.95, 3, productivity=1.5), np.array([0.05, 0.02, 0.1])
    output = 1.5 * np.prod(k) ** 0.12

    def loss(invested):
        return -np.log(output - invested.sum()) - 0.95 * solved.value(invested)

    best = minimize(loss, np.full(3, 0.1 * output), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    np.testing.assert_allclose(best.x, solved.investment(k), rtol=1e-5)
    assert -best.fun == pytest.approx(solved.value(k), rel=1e-10)
