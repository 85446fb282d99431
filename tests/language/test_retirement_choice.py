"""Discrete-continuous retirement with taste shocks: Iskhakov, Jorgensen, Rust and Schjerning (2017)."""

from enum import IntEnum

import jax.numpy as jnp
import pytest

import bellax as bx


class Work(IntEnum):
    retire = 0
    work = 1


def working_utility(consumption, work, delta):
    return jnp.log(consumption) - delta * (work == Work.work)


def next_wealth(wealth, consumption, earned, interest=0.0):
    return (1 + interest) * (wealth - consumption) + earned


worker = bx.Regime(
    actions={"work": bx.Discrete(Work)},
    functions={"earned": lambda work, income: income * (work == Work.work)},
    reward=working_utility,
    taste_shocks=bx.ExtremeValue(scale="taste_scale", over=("work",)),
    next_regime=lambda work: {"working": work == Work.work, "retired": work == Work.retire},
)
retiree = bx.Regime(functions={"earned": lambda: 0.0}, reward=lambda consumption: jnp.log(consumption))

model = bx.Model(
    regimes={"working": worker, "retired": retiree},
    states={"wealth": bx.Continuous(1.0, 400.0, scale=bx.scales.log)},
    actions={"consumption": bx.Continuous(1e-6, "wealth")},
    transitions={"wealth": next_wealth},
    horizon=5,
)


def test_template(template):
    assert template(model) == {
        ("working", "income"): ("functions['earned']", "", ""),
        ("working", "interest"): ("transitions['wealth']", 0.0, ""),
        ("working", "delta"): ("reward", "", ""),
        ("working", "discount"): ("discount", "", ""),
        ("working", "taste_scale"): ("scale of ExtremeValue", "", ""),
        ("retired", "interest"): ("transitions['wealth']", 0.0, ""),
        ("retired", "discount"): ("discount", "", ""),
    }


def test_parameters():
    given = {"discount": 0.98, "income": 20.0, "delta": 1.0, "taste_scale": 0.2}
    found = model.parameters(given)
    assert float(found["income"]) == 20.0
    with pytest.raises(bx.ParameterError, match="Did you mean 'taste_scale'"):
        model.parameters({**given, "taste_scal": 0.2})


def test_work_pays_and_costs(evaluate):
    graph = model.graphs["working"]
    reward = evaluate(graph, "slot:reward", consumption=5.0, work=Work.work, delta=1.0)
    assert float(reward) == pytest.approx(0.6094379124341003)  # log 5 - 1
    wealth = evaluate(graph, "next_wealth", wealth=10.0, consumption=4.0, work=Work.work, income=20.0, interest=0.5)
    assert float(wealth) == pytest.approx(29.0)


def test_retirement_is_absorbing():
    assert {(b.source, b.target) for b in model.boundaries()} == {("working", "retired")}


def test_taste_shocks_over_a_continuous_action_are_refused():
    shocks = bx.ExtremeValue(scale=0.2, over=("consumption",))
    with pytest.raises(bx.ModelError, match="no discrete action, but a continuous one. Discrete actions: none"):
        bx.Model(
            states={"wealth": bx.Continuous(1.0, 9.0)},
            actions={"consumption": bx.Continuous(0.1, "wealth")},
            transitions={"wealth": lambda wealth, consumption: wealth - consumption},
            reward="consumption",
            taste_shocks=shocks,
            horizon=2,
        )
