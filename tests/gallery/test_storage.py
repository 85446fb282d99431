"""Gas storage beside a reference without a chain; and how wrong few nodes of the price are."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import storage


@pytest.fixture(scope="module")
def solution():
    return bx.solve(storage.model, storage.params, storage.solver)


def test_checks(solution, monkeypatch):
    monkeypatch.setattr(bx, "solve", lambda *_: solution)  # which is that of the gallery
    checks = {check.quantity: check for check in storage.checks()}
    assert checks["V"].error <= 2e-3
    assert checks["rate, mean error"].error <= 0.01
    assert all(check.passed for check in checks.values())


def test_rates_that_volume_limits(solution):
    """Injection slows down as the cavern fills, withdrawal as it empties, and both stop at its ends."""
    volume = np.array([0.0, 1.0, 4.0, 8.0, 9.5, 10.0])
    cheap, dear = (np.asarray(solution.policy(0, volume=volume, log_price=x)["rate"]) for x in (0.3, 1.9))
    np.testing.assert_allclose(cheap, [2.0, 1.9, 1.6, 1.2, 0.5, 0.0], atol=1e-9)
    np.testing.assert_allclose(dear, [0.0, -1.0, -1.74, -2.58, -2.895, -3.0], atol=1e-9)


def test_one_waits_between_two_prices(solution):
    """As the reference says, at a volume in the middle."""
    log_price = np.linspace(0.6, 1.4, 83)
    ours = np.asarray(solution.policy(0, volume=5.0, log_price=log_price)["rate"])
    exact = storage.reference(storage.params, 5.0, log_price)["rate"]
    assert 3 < np.sum(exact == 0.0) < 30
    assert np.sum(np.sign(np.where(np.abs(ours) < 1e-6, 0.0, ours)) != np.sign(exact)) <= 2


def test_the_reference_takes_arrays_and_knows_other_calibrations():
    one = storage.reference(storage.params, 3.0, 1.2)
    many = storage.reference(storage.params, np.array([3.0, 6.0]), np.array([1.2, 0.7]))
    for name, number in one.items():
        assert number == pytest.approx(many[name][0], rel=1e-12)
    wilder = storage.reference(storage.params | {"volatility": 0.2}, 3.0, 1.2)
    assert wilder["value"] > one["value"] + 1
