"""Ages in years, quarters and months: in functions, tables, queries, panels, regimes, and bounds that move with age."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx

STEPS = {"1Y": 1, "1Q": 4, "3M": 4, "1M": 12}


@pytest.mark.parametrize("step", ["1Y", "1Q", "1M", "3M", "5M", "7M"])
def test_birthdays_are_whole_numbers(step):
    """An age at which something starts is compared with; a twelfth is no number of a computer."""
    months = {"Y": 12, "Q": 3, "M": 1}[step[1]] * int(step[0])
    clock = bx.Model(reward=1.0, horizon=bx.Ages(25, 25 + 70 * months, step=step)).clock
    periods = np.arange(clock.count)
    birthdays = periods[periods * months % 12 == 0]
    np.testing.assert_array_equal(clock.age(birthdays), 25 + birthdays * months // 12)
    assert [clock.period(clock.age(int(period))) for period in periods[::17]] == periods[::17].tolist()


@pytest.mark.parametrize("step", STEPS)
def test_an_age_is_that_of_its_period_everywhere(step):
    """What is paid is the age up to 26, and what a table says from then on: sums against numpy."""
    per_year = STEPS[step]
    ages = 25 + np.arange(2 * per_year + 1) / per_year
    table = pd.Series(np.arange(len(ages)) ** 2.0, index=ages)
    young = bx.Regime(
        reward=lambda age: age,
        active=lambda age: age < 26,
        next_regime=lambda age, later: {"young": 1.0 * (age + later < 26), "old": 1.0 * (age + later >= 26)},
    )
    old = bx.Regime(reward="paid", active=lambda age: age >= 26)
    model = bx.Model(regimes={"young": young, "old": old}, discount=0.99, horizon=bx.Ages(25, 27, step=step))
    solution = bx.solve(model, {"paid": bx.by_age(table), "later": 1 / per_year})
    value = 0.0
    for period in range(2 * per_year, -1, -1):
        regime = "young" if ages[period] < 26 else "old"
        value = (ages[period] if regime == "young" else table.iloc[period]) + 0.99 * value
        assert float(solution[regime].value(age=ages[period])) == pytest.approx(value, rel=1e-13)
    panel = bx.simulate(solution, agents=1, start={"regime": "young"}, seed=0).frame()
    np.testing.assert_allclose(panel["age"], ages, rtol=1e-15)
    assert panel["regime"].tolist() == ["young"] * per_year + ["old"] * (per_year + 1)


def test_bounds_that_move_with_age_against_a_recursion_on_moving_nodes():
    """Saving of 21 candidates: V of tomorrow is a line between the nodes of tomorrow, and ends where these do."""
    count, discount, shares = 9, 0.9, np.linspace(0, 1, 21)
    model = bx.Model(
        states={"wealth": bx.Continuous(lambda age: 0.5 + (age - 30), lambda age: 4.0 + 4 * (age - 30))},
        actions={"spent": bx.Continuous(lambda wealth: 0.1 * wealth, lambda wealth: 0.5 * wealth)},
        transitions={"wealth": lambda wealth, spent: 1.2 * (wealth - spent) + 0.6},
        reward=lambda spent: jnp.log(spent),
        discount=discount,
        horizon=bx.Ages(30, 31, step="1Q"),
    )
    solver = bx.solvers.BackwardInduction(
        grid={"wealth": count},
        maximiser=bx.maximise.Enumerate(grid={"spent": len(shares)}),
        interpolant=bx.interpolants.Linear(extrapolation="constant"),
    )
    solution = bx.solve(model, {}, solver)
    following, value = np.zeros(count), np.zeros(count)
    for period in range(4, -1, -1):
        first, last = 0.5 + period / 4, 4.0 + period
        nodes, value = np.linspace(first, last, count), np.zeros(count)
        beyond = np.linspace(first + 0.25, last + 1, count)
        for place, wealth in enumerate(nodes):
            spent = (1 - shares) * 0.1 * wealth + shares * 0.5 * wealth
            value[place] = np.max(np.log(spent) + discount * np.interp(1.2 * (wealth - spent) + 0.6, beyond, following))
        np.testing.assert_allclose(solution.values.levels[period], value, rtol=1e-12)
        following = value
    np.testing.assert_allclose(
        solution.value(age=30.25, wealth=np.linspace(0.75, 5.0, count)), solution.values.levels[1], rtol=1e-12
    )
