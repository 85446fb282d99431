"""Periods and ages that a query means: where there is none, it is refused, and nothing plausible is answered inside a
program; and what a table answers where it does not know."""

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
