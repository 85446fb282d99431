"""Work and retirement against the enumeration of all plans."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import retirement
from bellax.models.references import retirement as enumerated

TOLERANCES = {"V, worker": 1e-4, "V, retired": 1e-8, "consumption": 1e-3, "decision": 0.0}


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in retirement.checks()}


@pytest.mark.parametrize("quantity", TOLERANCES)
def test_best_plan(checks, quantity):
    assert checks[quantity].error <= TOLERANCES[quantity]
    assert checks[quantity].passed


def test_every_check_has_a_test(checks):
    assert checks.keys() == TOLERANCES.keys()


@pytest.mark.parametrize("changes", [{"interest": 0.05, "effort": 0.5}, {"interest": -0.03, "income": 40.0}])
def test_other_calibrations(changes):
    """Where consumption grows, and where the constraint binds often."""
    params, wealth = retirement.params | changes, np.geomspace(2.0, 300.0, 1001)
    solution = bx.solve(retirement.model, params, retirement.solver)
    exact = enumerated(retirement.HORIZON, **params)
    for t in (0, 4, 8):
        for status in retirement.Status:
            ours = solution.value(t, wealth=wealth, status=status)
            np.testing.assert_allclose(ours, exact.value(t, wealth, bool(status)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("interest, effort", [(0.0, 0.3), (0.1, 0.2), (-0.1, 0.05)])
def test_the_reference_agrees_with_a_search_over_consumption(interest, effort):
    """Three periods, against tables of consumption so fine that only their spacing is left."""
    discount, income, share = 0.95, 20.0, np.linspace(0.0, 1.0, 2001)[1:]
    exact = enumerated(3, discount, interest, income, effort)

    def search(later_retired, later_worker, w, working):
        w = np.asarray(w, float)[..., None]
        c, saved = share * w, (1 + interest) * (1 - share) * w
        with np.errstate(divide="ignore"):
            best = np.max(np.log(c) + discount * later_retired(saved), axis=-1)
            if working:
                works = np.log(c) - effort + discount * later_worker(saved + income)
                best = np.maximum(best, np.max(works, axis=-1))
        return best

    def middle(w, working):
        return search(np.log, np.log, w, working)

    line = np.geomspace(1e-3, 400.0, 2000)
    tables = [middle(line, working) for working in (False, True)]
    wealth = np.array([2.0, 10.0, 17.0, 23.0, 40.0, 70.0, 150.0])
    np.testing.assert_allclose(exact.value(1, wealth, True), middle(wealth, True), atol=1e-5)
    first = search(
        lambda w: np.where(w > 0, np.interp(np.log(np.maximum(w, 1e-3)), np.log(line), tables[0]), -np.inf),
        lambda w: np.interp(np.log(w), np.log(line), tables[1]),
        wealth,
        True,
    )
    np.testing.assert_allclose(exact.value(0, wealth, True), first, atol=5e-5)


def test_the_retired_consume_equal_shares():
    exact = enumerated(4, 1.0, 0.0, 20.0, 1.0)
    assert exact.consumption(0, 40.0, working=False) == pytest.approx(10.0)
    assert exact.value(0, 40.0, working=False) == pytest.approx(4 * np.log(10.0))
