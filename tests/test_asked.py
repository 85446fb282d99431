"""What is asked of a solution where it has no answer: no such period, outside its own grid, or by another model."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


@pytest.fixture(scope="module")
def solution():
    """A leap pays 1, and c (1 - c) is paid beside it: who may leaps, with c = 1/2; at 30, 35 and 40 years."""
    m = bx.Model(
        states={"w": bx.Continuous(0.0, 1.0), "h": bx.Discrete(2)},
        actions={"c": bx.Continuous(0.0, 1.0), "leap": bx.Discrete(2)},
        constraints={"ground": lambda w, leap: (leap == 0) | (jnp.abs(w - 0.5) > 0.1)},
        transitions={"w": bx.fixed, "h": bx.fixed},
        reward=lambda c, leap: c * (1 - c) + leap,
        discount=0.5,
        horizon=bx.Ages(30, 40, step="5Y"),
    )
    return bx.solve(m, {}, bx.solvers.BackwardInduction(grid={"w": 2}, interpolant=bx.interpolants.Linear()))


STATE = {"w": 0.2, "h": 1}


@pytest.mark.parametrize("tabulated", [False, True])
def test_a_traced_period_or_age_without_a_decision_has_no_action(solution, tabulated):
    asked = solution.tabulate() if tabulated else solution

    @jax.jit
    @jax.vmap
    def ask(period, age):
        return asked.policy(period=period, **STATE), asked.policy(age=age, **STATE)

    periods = jnp.array([0.0, 2.0, -1.0, 3.0, 0.5, jnp.nan])
    for found in ask(periods, 30 + 5 * periods):
        np.testing.assert_allclose(found["c"], [0.5, 0.5, *4 * [np.nan]], atol=1e-7)
        np.testing.assert_array_equal(found["leap"], [1, 1, *4 * [-1]])  # 0 and 1 would be plausible


def test_v_of_a_traced_age_knows_the_end(solution):
    found = jax.vmap(lambda age: solution.value(age=age, **STATE))(jnp.array([40.0, 45.0, 50.0, 41.0]))
    np.testing.assert_allclose(found, [1.25, 0.0, np.nan, np.nan])


def test_what_is_no_period_and_no_age(solution):
    for name in ("period", "age"):
        ask = lambda x: solution.policy(**{name: x}, **STATE)  # noqa: B023, E731
        for wrong in (jnp.ones(2), jnp.array(True)):
            for way in (ask, jax.jit(ask)):
                with pytest.raises(bx.ParameterError, match=f"{name} is .*; it must be one"):
                    way(wrong)
    for wrong in (np.nan, np.inf, 31.0):
        with pytest.raises(bx.ModelError, match="is no age of this model: 30 to 40"):
            solution.policy(age=wrong, **STATE)
    with pytest.raises(bx.ParameterError, match="period inf does not exist"):
        solution.policy(period=np.inf, **STATE)


def test_a_table_knows_no_value_where_it_has_no_action(solution):
    """At its nodes, 0 and 1, all leap, and so does the table at .5, where that is not allowed."""
    at = solution.tabulate().pointwise.at(0)
    for w, h, known in [(0.2, 1, True), (0.2, 7, False), (0.5, 1, False)]:
        found = at({"w": jnp.asarray(w), "h": jnp.asarray(h)})
        assert np.isnan(found.value) == np.isnan(found.actions["c"]) == (found.actions["leap"] == -1) == (not known)
        assert np.isnan(found.choice_values).all() == (h == 7)


class TestAnotherSolutionOutsideItsGrid:
    """V is w to the end of [0, 1], and the other one's grid ends at a half; the policy is half of w."""

    SOLVER = bx.solvers.BackwardInduction(grid={"w": 3}, interpolant=bx.interpolants.Linear())

    @pytest.fixture(scope="class")
    @staticmethod
    def model():
        return bx.Model(
            states={"w": bx.Continuous(0.0, "top")},
            actions={"c": bx.Continuous(0.0, "w")},
            transitions={"w": bx.fixed},
            reward=lambda w, c: c * (w - c),
            discount=1.0,
            horizon=1,
        )

    def narrow(self, model, outside=None):
        return bx.solve(model, {"top": 0.5}, dataclasses.replace(self.SOLVER, outside=outside))

    @pytest.fixture(params=["terminal", "rule"])
    def use(self, request, model):
        if request.param == "terminal":
            return lambda other: bx.solve(model, {"top": 1.0}, self.SOLVER, terminal=other).value(0, w=1.0) - 0.25
        return lambda other: bx.evaluate(model, {"top": 1.0}, other, self.SOLVER).value(0, w=1.0)

    def test_warns_once(self, model, use):
        other = self.narrow(model)
        with pytest.warns(
            bx.OutsideWarning, match=r"(rule|terminal): .* state 'w' is 1, outside its grid from 0 to 0.5"
        ):
            found = use(other)
        np.testing.assert_allclose(found, 0.25, rtol=1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            use(other)

    def test_is_silent_where_that_was_asked_for(self, model, use):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_allclose(use(self.narrow(model, bx.outside.Extrapolate())), 0.25, rtol=1e-6)
            with pytest.raises(bx.SolveError, match=r"at w = 1.*outside it|c = nan at w = 1"):
                use(self.narrow(model, bx.outside.Nan()))


def test_what_is_no_distribution_off_the_nodes_pays_no_number():
    """At the nodes, 0, 1 and 2, all is well. Off them, a law gives no probabilities at .5, a shock has a negative
    spread at 1.5, and the action of the table is not allowed at .75, so that there is none."""
    off = lambda w, at: jnp.abs(w - at) < 0.2  # noqa: E731
    m = bx.Model(
        states={"w": bx.Continuous(0.0, 2.0), "h": bx.Discrete(2)},
        actions={"a": bx.Discrete(2)},
        constraints={"ground": lambda w, a: (a == 0) | ~off(w, 0.75)},
        shocks={"e": bx.shocks.Normal(sd=lambda w: jnp.where(off(w, 1.5), -0.1, 0.1))},
        transitions={"w": bx.fixed, "h": bx.Markov(lambda w: jnp.array([0.5, jnp.where(off(w, 0.5), 0.9, 0.5)]))},
        reward=lambda w, a, e: w + a + 0 * e,
        discount=0.5,
        horizon=2,
    )
    table = bx.solve(
        m, {}, bx.solvers.BackwardInduction(grid={"w": 3}, interpolant=bx.interpolants.Linear())
    ).tabulate()
    panel = bx.simulate(table, start={"w": np.array([0.25, 0.5, 0.75, 1.0, 1.5]), "h": 0})
    np.testing.assert_allclose(panel.reward, np.array([[1.25], [np.nan], [np.nan], [2.0], [np.nan]]) * np.ones(2))
    np.testing.assert_array_equal(panel.actions["a"][:, 0], [1, 1, -1, 1, 1])
