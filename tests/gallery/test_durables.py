"""The durable with a cost: against references in numpy."""

import numpy as np
import pytest

from bellax.models import durables
from bellax.models.references import costly_durable, frictionless_durable

TOLERANCES = {
    "V without a cost": 1e-5,
    "durable without a cost": 2e-3,
    "V": 1e-4,
    "who trades": 0.0,
    "durable": 1e-3,
    "consumption": 1e-3,
}


@pytest.mark.long
def test_checks():
    checks = {check.quantity: check for check in durables.checks()}
    assert checks.keys() == TOLERANCES.keys()
    for quantity, check in checks.items():
        assert check.passed and check.error <= TOLERANCES[quantity], check


def test_the_references_agree_where_there_is_no_cost():
    given = {**durables.params, "cost": 0.0}
    cash, own = np.array([0.7, 1.5, 4.0]), np.array([0.3, 2.0, 0.8])
    best = costly_durable(given, 3, cash, own)
    known = frictionless_durable(given, 3, horizon=2)
    np.testing.assert_allclose(known.value(0, cash + own), best.value, rtol=1e-8)
    np.testing.assert_allclose(known.durable(0, cash + own), best.durable, rtol=1e-5)


@pytest.mark.parametrize("nodes", [750, 1500])
def test_the_reference_without_a_cost_converges(nodes):
    given = {**durables.params, "cost": 0.0}
    wealth = np.geomspace(0.7, 8.0, 20)
    coarse, fine = (frictionless_durable(given, 3, horizon=4, nodes=n) for n in (nodes, 2 * nodes))
    gap = np.abs(coarse.value(0, wealth) / fine.value(0, wealth) - 1).max()
    assert gap < 1e-7
