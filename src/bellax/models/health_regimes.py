"""Work, retirement and death: three categories of health become two at retirement, by a law that retirement owns.

    V_t(w, h, working) = max over c, l of u(c) - d l + beta [ s_h E V_{t+1}(w', h', next) + (1 - s_h) B(w') ],
    w' = (1 + r) (w - c) + income,  u(c) = c^(1-g)/(1-g),  B(w) = b log(w + k).

Health of a worker moves by probabilities that depend on whether they work. Who retires is robust if their next health
is at least fair (evolve, then collapse): `robust_from` is a parameter of retirement. Consumption may overdraw wealth by
.01, so that somebody without wealth lives.

Calibration: of our own, for the shape of the problem and not for data: wages rise by 1 % a year from 1, r = 3 %,
beta = .97, g = 2, pension .4, retirement at 65, death certain at no age before 86.
"""

import dataclasses
import enum
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import work_and_retirement

SOURCE = "a plain recursion in numpy on the same nodes and candidates"


class Health(enum.IntEnum):
    bad = 0
    fair = 1
    good = 2


class Frailty(enum.IntEnum):
    frail = 0
    robust = 1


class Labor(enum.IntEnum):
    rest = 0
    work = 1


def utility(consumption, risk_aversion=2.0):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def utility_of_workers(utility, labor, disutility):
    return utility - disutility * (labor == Labor.work)


def next_wealth(wealth, consumption, income, interest):
    return (1 + interest) * (wealth - consumption) + income


def salary(labor, health, wage, productivity):
    return wage * productivity[health] * (labor == Labor.work)


def collapse(next_health, robust_from):
    return jnp.where(next_health >= robust_from, Frailty.robust, Frailty.frail)


def working_or_not(age, health, survival, retirement_age):
    retires, alive = age + 1 >= retirement_age, survival[health]
    return {"working": alive * ~retires, "retired": alive * retires, "dead": 1 - alive}


def retired_or_not(health, survival):
    return {"retired": survival[health], "dead": 1 - survival[health]}


def frailty(health, decline):
    return jnp.stack([1 - (1 - decline) * health, (1 - decline) * health])


working = bx.Regime(
    states={"health": bx.Discrete(Health)},
    actions={"labor": bx.Discrete(Labor)},
    functions={"income": salary},
    transitions={"health": bx.Markov(lambda health, labor, health_risk: health_risk[labor, health])},
    reward=utility_of_workers,
    next_regime=working_or_not,
)
retired = bx.Regime(
    states={"health": bx.Discrete(Frailty)},
    functions={"income": lambda pension: pension},
    transitions={"health": bx.Markov(frailty)},
    reward="utility",
    next_regime=retired_or_not,
    entry={"health": {"working": collapse}},
)
dead = bx.Terminal(value=lambda wealth, bequest_weight, luxury: bequest_weight * jnp.log(wealth + luxury))

model = bx.Model(
    regimes={"working": working, "retired": retired, "dead": dead},
    states={"wealth": bx.Continuous(0.0, 60.0, scale=bx.scales.power(2.0))},
    actions={"consumption": bx.Continuous(0.01, lambda wealth: wealth + 0.01)},
    functions={"utility": utility},
    transitions={"wealth": next_wealth},
    horizon=bx.Ages(25, 85),
)

_AGES = range(25, 86)
_RISK = {
    (labor, today, tomorrow): probability
    for labor in ("work", "rest")
    for today, row in {"good": (0.9, 0.08, 0.02), "fair": (0.3, 0.6, 0.1), "bad": (0.05, 0.25, 0.7)}.items()
    for tomorrow, probability in zip(("good", "fair", "bad"), row, strict=True)
}
params: dict[str, Any] = {
    "interest": 0.03,
    "discount": 0.97,
    "working": {
        "wage": bx.by_age(pd.Series({age: 1 + 0.01 * (age - 25) for age in _AGES})),
        "productivity": pd.Series({"good": 1.0, "fair": 0.8, "bad": 0.5}),
        "health_risk": pd.Series(_RISK),
        "survival": bx.by_age(pd.DataFrame({"good": 0.99, "fair": 0.98, "bad": 0.9}, index=_AGES)),
        "disutility": 0.3,
        "retirement_age": 65,
    },
    "retired": {
        "robust_from": 1,
        "decline": 0.1,
        "pension": 0.4,
        "survival": bx.by_age(pd.DataFrame({"robust": 0.95, "frail": 0.8}, index=_AGES)),
    },
    "dead": {"bequest_weight": 0.5, "luxury": 1.0},
}
solver = bx.solvers.BackwardInduction(grid={"wealth": 100})
start = {"regime": "working", "health": "good", "wealth": 1.0}
periods = None

NODES = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 60.0])
CANDIDATES = 15


def coarse() -> tuple[bx.Model, Any]:
    """The model from 62 to 68 on a few nodes, linear in wealth, and a solver with candidates."""
    wealth = {"wealth": bx.Continuous(0.0, 60.0)}
    by_candidates = bx.solvers.BackwardInduction(
        grid={"wealth": bx.grids.Given(NODES)},
        maximiser=bx.maximise.Enumerate(grid={"consumption": CANDIDATES}),
        interpolant=bx.interpolants.Linear(extrapolation="linear"),
    )
    return dataclasses.replace(model, states=wealth, horizon=bx.Ages(62, 68)), by_candidates


def checks() -> list[Check]:
    """V of every regime, age and node of a coarse instance."""
    small, by_candidates = coarse()
    solution = bx.solve(small, params, by_candidates)
    given = {
        name: {key: np.asarray(getattr(value, "values", value)) for key, value in own.items()}
        for name, own in ((name, solution[name].params) for name in ("working", "retired", "dead"))
    }
    known = work_and_retirement(NODES, CANDIDATES, first_age=62, periods=7, **given)
    return [
        comparison.of_value(f"V, {name}", solution.values[name].levels, known[name], 1e-12, SOURCE)
        for name in ("working", "retired")
    ]
