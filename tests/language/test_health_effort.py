"""Forty levels of effort, IID adjustment costs and types: the structure of Mahler and Yum (2024).

Effort for health today is costly, more so where it differs from yesterday's; the cost of a change is drawn
every period. Productivity, health and patience have fixed types. Who dies leaves the problem.
"""

from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx

EFFORTS = np.linspace(0.0, 1.0, 40)


class Health(IntEnum):
    bad = 0
    good = 1


class Hours(IntEnum):
    none = 0
    part = 1
    full = 2


class Patience(IntEnum):
    low = 0
    high = 1


class Education(IntEnum):
    school = 0
    college = 1


def consumption_utility(consumption, risk_aversion, intercept):
    return intercept + consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def work_disutility(hours, health, work_weight, frisch, hours_worked):
    return work_weight[health] * hours_worked[hours] ** (1 + 1 / frisch) / (1 + 1 / frisch)


def effort_disutility(effort, health, effort_weight, effort_curvature):
    return effort_weight[health] * effort ** (1 + 1 / effort_curvature) / (1 + 1 / effort_curvature)


def adjustment_disutility(effort, last_effort, adjustment_cost, adjustment_scale):
    return adjustment_scale * adjustment_cost * (effort != last_effort)


def utility(consumption_utility, work_disutility, effort_disutility, adjustment_disutility):
    return consumption_utility - work_disutility - effort_disutility - adjustment_disutility


def labour_income(hours, health, education, productivity_type, luck, wage_profile, health_penalty, hours_worked):
    penalty = jnp.where(health == Health.bad, health_penalty, 0.0)
    log_wage = wage_profile[education] + productivity_type + luck - penalty
    return jnp.exp(log_wage) * hours_worked[hours]


def net_income(labour_income, level, progressivity):
    return level * jnp.maximum(labour_income, 1e-3) ** (1 - progressivity)


def next_wealth(wealth, net_income, pension, consumption, interest):
    return (1 + interest) * (wealth + net_income + pension - consumption)


def good_health(health, effort, health_type, education, age, persistence, effort_effect, health_by_age, college_effect):
    index = health_by_age + persistence * health + effort_effect * effort + health_type
    return jax.nn.sigmoid(index + college_effect * (education == Education.college))


alive = bx.Regime(
    states={
        "wealth": bx.Continuous(0.0, 200.0, scale=bx.scales.power(2.0)),
        "health": bx.Discrete(Health),
        "last_effort": bx.Discrete(EFFORTS),
        "luck": bx.AR1("luck_persistence", "luck_sd"),
        "adjustment_cost": bx.IID(bx.shocks.Uniform(0.0, 1.0)),
        "education": bx.Discrete(Education),
        "productivity_type": bx.Discrete([-0.3, 0.3]),
        "health_type": bx.Discrete([-0.5, 0.5]),
        "patience": bx.Discrete(Patience),
    },
    actions={
        "hours": bx.Discrete(Hours),
        "effort": bx.Discrete(EFFORTS),
        "consumption": bx.Continuous(1e-3, lambda wealth, net_income, pension: wealth + net_income + pension),
    },
    functions={
        "consumption_utility": consumption_utility,
        "work_disutility": work_disutility,
        "effort_disutility": effort_disutility,
        "adjustment_disutility": adjustment_disutility,
        "labour_income": labour_income,
        "net_income": net_income,
        "good_health": good_health,
    },
    transitions={
        "wealth": next_wealth,
        "health": bx.Markov(lambda good_health: jnp.stack([1 - good_health, good_health])),
        "last_effort": "effort",
        "education": bx.fixed,
        "productivity_type": bx.fixed,
        "health_type": bx.fixed,
        "patience": bx.fixed,
    },
    constraints={
        "retired do not work": lambda hours, age, retirement_age: (age < retirement_age) | (hours == Hours.none)
    },
    reward=utility,
    discount=lambda patience, discounts: discounts[patience],
    next_regime=lambda health, survival: {"alive": survival[health], "dead": 1 - survival[health]},
)

model = bx.Model(regimes={"alive": alive, "dead": bx.Terminal()}, horizon=bx.Ages(25, 99, step="2Y"))

AGES = np.arange(25, 100, 2)
PARAMS = {
    "risk_aversion": 2.0,
    "intercept": 10.0,
    "work_weight": pd.Series({"good": 2.0, "bad": 3.5}),
    "frisch": 1.0,
    "hours_worked": pd.Series({"none": 0.0, "part": 0.2, "full": 0.4}),
    "effort_weight": pd.Series({"good": 0.5, "bad": 0.8}),
    "effort_curvature": 1.1,
    "adjustment_scale": 0.01,
    "wage_profile": bx.by_age(pd.DataFrame({"college": 1.2 + 0.01 * (AGES - 25), "school": 1.0}, index=AGES)),
    "health_penalty": 0.2,
    "level": 0.9,
    "progressivity": 0.15,
    "pension": bx.by_age(pd.Series(np.where(AGES >= 65, 0.4, 0.0), index=AGES)),
    "persistence": 2.0,
    "effort_effect": 1.0,
    "health_by_age": bx.by_period(np.linspace(1.0, -2.0, len(AGES))),
    "college_effect": 0.3,
    "interest": 0.04,
    "luck_persistence": 0.95,
    "luck_sd": 0.2,
    "retirement_age": 65,
    "discounts": pd.Series({"high": 0.96, "low": 0.88}),
    "survival": bx.by_age(
        pd.Series({(age, health): 0.99 - 0.05 * (health == "bad") for age in AGES for health in ("good", "bad")})
    ),
}


def test_template_names_every_parameter_once():
    table = model.template()
    assert sorted(table["name"]) == sorted(PARAMS)
    used = dict(zip(table["name"], table["used in"], strict=True))
    assert used["hours_worked"] == "functions['work_disutility'], functions['labour_income']"
    assert used["discounts"] == "discount"
    assert used["luck_sd"] == "sigma of state 'luck'"
    assert used["pension"] == "transitions['wealth'], upper bound of action 'consumption'"
    assert used["retirement_age"] == "constraints['retired do not work']"


def test_parameters_by_age_and_category():
    found = model.parameters(PARAMS)
    assert found["survival"].values.shape == (38, 2)
    np.testing.assert_allclose(found["survival"].at(3), [0.94, 0.99])
    np.testing.assert_allclose(found["wage_profile"].at(5), [1.0, 1.3])
    np.testing.assert_array_equal(found["discounts"], [0.88, 0.96])
    assert (float(found["pension"].at(19)), float(found["pension"].at(20))) == (0.0, 0.4)


def test_effort_is_seen_as_a_number_and_remembered(evaluate):
    graph = model.graphs["alive"]
    assert float(evaluate(graph, "next_last_effort", effort=EFFORTS[7])) == EFFORTS[7]
    same = {"last_effort": EFFORTS[3], "adjustment_cost": 0.5, "adjustment_scale": 2.0}
    assert float(evaluate(graph, "adjustment_disutility", effort=EFFORTS[3], **same)) == 0.0
    assert float(evaluate(graph, "adjustment_disutility", effort=EFFORTS[4], **same)) == 1.0


def test_a_cost_that_reads_a_state_is_refused():
    """What is drawn before the decision may depend on parameters and age, not on the state."""
    states = {**alive.states, "adjustment_cost": bx.IID(bx.shocks.Uniform(0.0, lambda health: 1.0 + health))}
    with pytest.raises(bx.ModelError, match="upper of state 'adjustment_cost' names the state 'health'"):
        bx.Model(
            regimes={"alive": bx.Regime(**{**vars(alive), "states": states}), "dead": bx.Terminal()},
            horizon=3,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"survival": 0.9}, "next_regime cannot be evaluated"),
        ({"discounts": pd.Series({"high": 0.96, "lo": 0.88})}, "'lo'.*Did you mean 'low'"),
        ({"pension": bx.by_age(pd.Series({25: 0.1, 27: 0.1}))}, "no value at age 29 .and at 35 more ages."),
        ({"health_by_age": bx.by_period([1.0, 0.5])}, "'health_by_age' has 2 periods, and the model has 38"),
        ({"health_by_age": np.zeros(38)}, "has shape .38,.*bx.by_period"),
        (
            {"luck_sd": -0.1},
            "'luck_sd', the .*sigma of state 'luck' in regime 'alive', is -0.1; it must not be negative",
        ),
    ],
)
def test_wrong_parameters_are_refused(change, message):
    with pytest.raises((bx.ParameterError, bx.ModelError), match=message):
        model.parameters({**PARAMS, **change})
