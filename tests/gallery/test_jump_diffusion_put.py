"""The put on a stock that jumps against Merton's series, quadrature, and the put without jumps."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import jump_diffusion_put as gallery
from bellax.models.references import bermudan_put

PRICES = np.linspace(0.7, 1.3, 121)


def value(model, **changes):
    solution = bx.solve(model, gallery.params | changes, gallery.solver)
    return np.asarray(solution.value(0, log_price=np.log(PRICES)))


@pytest.mark.parametrize("quantity", ["V, European", "V, 50 dates"])
def test_checks(quantity, checks):
    assert checks[quantity].error <= 1e-5
    assert checks[quantity].passed


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in gallery.checks()}


def test_every_check_has_a_test(checks):
    assert checks.keys() == {"V, European", "V, 50 dates"}


@pytest.mark.long
def test_early_exercise_is_worth_something():
    premium = value(gallery.model) - value(gallery.european)
    assert premium.min() > 0
    assert np.all(np.diff(premium) < 0)  # the more, the deeper in the money


def test_without_jumps():
    exact = bermudan_put(PRICES, 1.0, 0.05, 0.15, 1.0, gallery.DATES)
    np.testing.assert_allclose(value(gallery.model, intensity=0.0), exact, atol=1e-5)
