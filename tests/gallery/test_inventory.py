"""(s, S): the value and both numbers by renewal theory; where no policy of two numbers is best, the check says so."""

from types import SimpleNamespace

import numpy as np
import pytest

import bellax as bx
from bellax.models import inventory


def test_checks():
    checks = {check.quantity: check for check in inventory.checks()}
    assert checks["V"].error <= 1e-10
    assert checks["order"].error == 0
    assert checks["s and S"].error == 0
    assert all(check.passed for check in checks.values())


@pytest.mark.parametrize(
    "changes",
    [{"fixed": 10.0, "unit": 0.0}, {"shortage": 25.0, "discount": 0.9}, {"chances": inventory.poisson(3.0, 15)}],
)
def test_other_calibrations(changes):
    given = inventory.params | changes
    solution, known = bx.solve(inventory.model, given, inventory.solver), inventory.best(given)
    assert inventory.levels(solution) == (known.s, known.S)
    np.testing.assert_allclose(solution.value(stock=inventory.STOCKS), known.value(inventory.STOCKS), rtol=1e-10)


def test_the_reference_knows_nothing_where_the_bounds_of_the_model_bind():
    """Debts are cheap: customers would wait in numbers for which the model has no room."""
    assert inventory.reference(inventory.params | {"shortage": 1.5}, 0) == {}
    assert set(inventory.reference(inventory.params, 0)) == {"value", "order"}


def test_a_policy_that_is_no_two_numbers_is_refused():
    """One that keeps stock at 20 below 10 is; one that orders once more at 15, or up to 25 from 0, is not."""
    orders = np.where(inventory.STOCKS < 10, 20 - inventory.STOCKS, 0)
    known = SimpleNamespace(policy=lambda stock: {"order": orders})
    assert inventory.levels(known) == (9, 20)
    with pytest.raises(ValueError, match=r"is no \(s, S\)"):
        inventory.levels(SimpleNamespace(policy=lambda stock: {"order": np.where(stock == 15, 5, orders)}))
    with pytest.raises(ValueError, match=r"is no \(s, S\)"):
        inventory.levels(SimpleNamespace(policy=lambda stock: {"order": np.where(stock == 0, 25, orders)}))
