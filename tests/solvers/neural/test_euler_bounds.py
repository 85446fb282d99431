"""EulerNet where bounds bind, and where tomorrow sees states and actions through one function."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.learning.sampling import edges
from bellax.models import buffer_stock
from bellax.solvers.neural.clustered import clustered
from bellax.solvers.neural.envelope import met_through
from bellax.solvers.neural.euler import Terms, is_static, unit_free
from bellax.solvers.neural.heads import Acted
from bellax.solvers.neural.points import Points

PARAMS = buffer_stock.params | {
    "permanent": np.ones(1),
    "permanent_probabilities": np.ones(1),
    "transitory": np.array([0.6, 1.1]),
    "transitory_probabilities": np.array([0.2, 0.8]),
}
CASH = np.concatenate([np.linspace(0.05, 2.0, 80), np.linspace(2.0, 6.0, 20)])
SHARES = {"consumption": bx.shares.Clipped()}
SMALL = bx.solvers.EulerNet(
    hidden=(12,), points=160, rounds=2, budget=25, finish=80, shares=SHARES, box={"cash": (0.02, 12.0)}, tolerance=3e-3
)


def capped(share):
    """The saver who may consume no more than a share of cash."""
    return replace(buffer_stock.model, actions={"consumption": bx.Continuous(0.0, lambda cash: share * cash)})


def test_a_bound_that_binds():
    """Consumption up to the kink and beyond, against numpy; V that its net does not hold to is none."""
    found = bx.solve(buffer_stock.model, PARAMS, SMALL)
    known = buffer_stock.exact(PARAMS).consumption(CASH)
    consumed = found.policy(cash=CASH)["consumption"]
    assert found.result == bx.Result.successful
    np.testing.assert_allclose(consumed, known, rtol=4e-3)
    assert np.any(consumed == CASH) and np.any(consumed < 0.9 * CASH)
    right = float(found.stats["value_error"]) <= SMALL.tolerance
    assert np.all(np.isfinite(found.value(cash=CASH))) == right


def test_a_bound_whose_multiplier_matters():
    """Where the bound does not leave savings as they are, V_s needs the multiplier: against a grid."""
    model = capped(0.7)
    found = bx.solve(model, PARAMS, replace(SMALL, tolerance=6e-3))
    grid = bx.solvers.ValueIteration(grid={"cash": 300}, maximiser=bx.maximise.Newton())
    known = bx.solve(model, PARAMS, grid)
    consumed, exact = (np.asarray(s.policy(cash=CASH)["consumption"]) for s in (found, known))
    assert np.mean(np.isclose(exact, 0.7 * CASH)) > 0.2
    assert found.result == bx.Result.successful
    np.testing.assert_allclose(consumed, exact, rtol=2e-2)


def test_multipliers_that_count_for_nothing_are_read_off_the_bound():
    for model, want in ((buffer_stock.model, [False, True]), (capped(0.7), [False, False])):
        prepared = SMALL.prepare(model)
        arguments = prepared.arguments(PARAMS)
        idle = prepared.euler(arguments).idle(0, {"cash": jnp.asarray(1.3)}, jnp.asarray([0.1]))
        np.testing.assert_array_equal(idle, [want])


def test_what_meets_tomorrow_is_read_off_the_names():
    assert is_static(SMALL.prepare(buffer_stock.model).plan)
    beside = replace(
        buffer_stock.model,
        transitions={"cash": lambda savings, cash, psi, theta: savings / psi + theta + 0.1 * cash},
    )
    plan = SMALL.prepare(beside).plan
    assert met_through(plan, {"cash"}) is None and not is_static(plan)
    with pytest.raises(bx.ModelError, match="costates=False"):
        replace(SMALL, costates=False).prepare(beside)


@pytest.mark.parametrize(
    "more, asked, left",
    [(0.5, 1.2, 0.0), (0.5, 0.99, 0.01), (-0.2, 1.1, -0.3), (0.005, 0.9, 0.005), (-0.2, 0.9, -0.2)],
)
def test_what_is_left_at_a_bound(more, asked, left):
    """Nothing where one would like more than the bound allows; the distance to the bound, or what one would like."""
    share = min(asked, 1.0)
    one = jnp.ones(1)
    terms = Terms(one, (more - 1) * one, (asked - share) * one, one, share * one, jnp.asarray([[False, True]]))
    np.testing.assert_allclose(unit_free(terms, None), [left], atol=1e-12)


def test_points_gather_where_a_bound_begins_to_bind():
    def acted(states, number):
        asked = 1.5 - states["x"][None]
        share = jnp.clip(asked, 0.0, 1.0)
        return Acted({}, share, share, share, asked - share)

    pool = Points({"x": jnp.linspace(0.1, 1.4, 131)}, jnp.zeros(131, jnp.int32))
    old = Points({"x": jnp.full(20, 9.0)}, jnp.zeros(20, jnp.int32))
    found = np.asarray(clustered(acted, pool, 5, old).states["x"])
    np.testing.assert_allclose(found[:15], 9.0)
    np.testing.assert_allclose(np.sort(found[15:]), [0.48, 0.49, 0.5, 0.51, 0.52])
    free = Points({"x": jnp.linspace(0.6, 1.4, 131)}, pool.periods)
    np.testing.assert_allclose(clustered(acted, free, 5, old).states["x"], 9.0)


def test_points_at_edges():
    found = edges(1, np.full((9, 2), 0.5), each=2)
    np.testing.assert_allclose(found[9:, 0], [0, 0, 1, 1], atol=1e-8)
    np.testing.assert_allclose(found[:, 1], 0.5)
