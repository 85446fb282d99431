"""The parts of a certificate by themselves: sample points, the sum of residuals, the finer quadrature."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.examine import sample
from bellax.certify.residuals import value_error
from bellax.certify.stage import finer


def setting_of(solver=None, **slots):
    model = bx.Model(**{"reward": 0.0, "discount": 0.5, "horizon": 3, **slots})
    return bx.solve(model, {}, solver).setting


class TestSample:
    def test_points_are_spread_evenly_and_never_on_a_node(self):
        setting = setting_of(
            solver=bx.solvers.BackwardInduction(grid={"x": 4, "y": 4}),
            states={"x": bx.Continuous(0.0, 1.0), "y": bx.Continuous(0.0, 1.0)},
            transitions={"x": "x", "y": "y"},
        )
        shares = np.asarray(sample(setting.problem, {}, 300, seed=0).shares).reshape(-1, 2)
        assert shares.shape == (300, 2)
        counts, *_ = np.histogram2d(*shares.T, bins=5, range=[[0, 1], [0, 1]])
        # 12 a cell; random points would have a standard deviation of 3.4
        assert np.abs(counts - 12).max() <= 4

    def test_every_category_and_period_is_visited(self):
        setting = setting_of(
            states={"kind": bx.Discrete(3), "luck": bx.IID(bx.shocks.Normal())}, transitions={"kind": bx.fixed}
        )
        looked = sample(setting.problem, {"luck": 7, "kind": 3}, 70, seed=0)
        assert looked.periods.tolist() == [0, 1, 2]
        pairs = set(zip(looked.codes["luck"].ravel().tolist(), looked.codes["kind"].ravel().tolist(), strict=True))
        assert len(pairs) == 21

    def test_long_horizons_are_sampled_to_both_ends(self):
        setting = setting_of(states={"kind": bx.Discrete(2)}, transitions={"kind": bx.fixed}, horizon=90)
        periods = sample(setting.problem, {"kind": 2}, 100, seed=0).periods.tolist()
        assert periods[0] == 0 and periods[-1] == 89 and len(set(periods)) == 20


class TestValueError:
    def test_stationary(self):
        assert value_error(np.array([0.3]), np.zeros(1, int), 0.9, None) == pytest.approx(3.0)
        assert value_error(np.array([0.3]), np.zeros(1, int), 1.0, None) == float("inf")

    def test_finite(self):
        found = value_error(np.array([1.0, 2.0, 4.0]), np.arange(3), 0.5, 3)
        assert found == pytest.approx(1 + 0.5 * 2 + 0.25 * 4)

    def test_periods_between_the_sampled_ones_count_as_the_worse_neighbour(self):
        found = value_error(np.array([1.0, 3.0]), np.array([0, 3]), 1.0, 4)
        assert found == pytest.approx(1 + 3 + 3 + 3)


class TestFinerQuadrature:
    def test_counts_and_rules_grow_and_categories_stay(self):
        shocks = {
            "a": bx.shocks.Normal(),
            "b": bx.shocks.Uniform(),
            "c": bx.shocks.Categorical([0.0, 1.0]),
            "d": bx.shocks.Jump(0.1, largest=2),
        }
        solver = bx.solvers.BackwardInduction(
            grid={"x": 4}, quadrature={"a": bx.quadrature.Equispaced(9), "b": 2, "d": 3}
        )
        law = lambda x, a, b, c, d: x + a + b + c + d  # noqa: E731
        setting = setting_of(
            solver, states={"x": bx.Continuous(0.0, 1.0)}, shocks=shocks, transitions={"x": law}, horizon=1
        )
        rules = setting.numerics.shock_nodes(setting.arguments({}))
        found = finer(setting.numerics, rules)
        assert found == {"a": None, "b": None, "c": None, "d": None}  # 21 x 7 x 2 x 19 nodes are too many
        del shocks["d"]
        law = lambda x, a, b, c: x + a + b + c  # noqa: E731
        solver = bx.solvers.BackwardInduction(grid={"x": 4}, quadrature={"a": bx.quadrature.Equispaced(9), "b": 2})
        setting = setting_of(
            solver, states={"x": bx.Continuous(0.0, 1.0)}, shocks=shocks, transitions={"x": law}, horizon=1
        )
        found = finer(setting.numerics, setting.numerics.shock_nodes(setting.arguments({})))
        assert found == {"a": bx.quadrature.Equispaced(21), "b": 7, "c": None}


@pytest.mark.long
def test_two_actions_have_two_euler_errors():
    # Cobb-Douglas utility of two goods bought with wealth w': known shares, so both errors vanish.
    model = bx.Model(
        states={"wealth": bx.Continuous(1.0, 50.0, scale=bx.scales.log)},
        actions={"food": bx.Continuous(0.0, "wealth"), "rent": bx.Continuous(0.0, lambda wealth, food: wealth - food)},
        transitions={"wealth": lambda wealth, food, rent: 1.05 * (wealth - food - rent)},
        reward=lambda food, rent: 0.7 * jnp.log(food) + 0.3 * jnp.log(rent),
        terminal=lambda wealth: 10.0 * jnp.log(wealth),
        horizon=2,
    )
    solver = bx.solvers.BackwardInduction(grid={"wealth": 20})
    found = bx.certify(bx.solve(model, {"discount": 0.9}, solver), points=60, agents=10)
    assert set(found.euler) == {"food", "rent"}
    assert found.euler["food"]["99%"] < -9 and found.euler["rent"]["99%"] < -9
    assert found.residuals["max"] < 1e-11


def test_more_nodes_than_points_are_all_looked_for():
    """The fault is at the later half of 4000 types: 2000 points must not all lie at the first."""
    model = bx.Model(
        states={"w": bx.Continuous(0.0, 1.0), "kind": bx.Discrete(4000)},
        transitions={"w": bx.fixed, "kind": bx.fixed},
        reward=lambda w, kind: jnp.where(kind >= 2000, jnp.abs(w - 0.37), 0.0),
        discount=0.5,
        horizon=1,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 4}, interpolant=bx.interpolants.Linear())
    found = bx.certify(bx.solve(model, {}, solver), agents=10)
    assert 0.05 < found.residuals["max"] < 0.12


def test_a_limit_that_binds_tomorrow_is_no_euler_error():
    """Consumption by an endogenous grid is exact; from the limit on, V rises by what is consumed there in full."""
    model = bx.Model(
        states={"wealth": bx.Continuous(0.5, 30.0)},
        actions={"consumption": bx.Continuous(1e-9, "wealth")},
        functions={"savings": lambda wealth, consumption: wealth - consumption},
        transitions={"wealth": lambda savings: 1.02 * savings + 2.0},
        reward=lambda consumption: jnp.log(consumption),
        discount=0.9,
        horizon=3,
    )
    by_savings = bx.solvers.BackwardInduction(maximiser=bx.maximise.EGM(grid={"savings": 60}))
    found = bx.certify(bx.solve(model, {}, by_savings), points=60, agents=5).euler["consumption"]
    assert found["max"] < -13 and 0 < found["interior"] < 1
