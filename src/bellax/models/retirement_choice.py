"""Work, or retire for good, and how much to consume: regimes, and an upper envelope of segments. 10 periods.

    V_t(w, working) = max over 0 < c <= w and d in {retire, work} of
                      log c - effort 1{work} + beta V_{t+1}(R (w - c) + y 1{work}, d),
    V_t(w, retired) = max over 0 < c <= w of log c + beta V_{t+1}(R (w - c), retired),    V_T = 0.

The problem of `retirement`, as two regimes and in terms of savings w - c, so that endogenous grids serve: where V of
tomorrow has a kink, both sides of it are nodes of savings, and V of a period is the largest of segments that are
exact. What is left is rounding, also where consumption jumps, because a better date of retirement is another one.

Calibration: y = 20, effort 1, beta = .98, R = 1.
Source: Iskhakov, Jorgensen, Rust & Schjerning (2017), "The endogenous grid method for discrete-continuous dynamic
choice models with (or without) taste shocks", Quantitative Economics 8.
"""

import enum
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import retirement as enumerated

SOURCE = "all plans of work and consumption, in closed form"
HORIZON = 10


class Labor(enum.IntEnum):
    retire = 0
    work = 1


def utility(consumption):
    return jnp.log(consumption)


def utility_of_workers(utility, labor, effort):
    return utility - effort * (labor == Labor.work)


def next_wealth(savings, earned, interest):
    return (1 + interest) * savings + earned


def for_good(labor):
    return {"working": labor == Labor.work, "retired": labor == Labor.retire}


model = bx.Model(
    regimes={
        "working": bx.Regime(
            actions={"labor": bx.Discrete(Labor)},
            functions={"earned": lambda labor, income: income * (labor == Labor.work)},
            reward=utility_of_workers,
            next_regime=for_good,
        ),
        "retired": bx.Regime(functions={"earned": lambda: 0.0}, reward="utility"),
    },
    states={"wealth": bx.Continuous(1.0, 400.0)},
    actions={"consumption": bx.Continuous(1e-9, "wealth")},
    functions={"utility": utility, "savings": lambda wealth, consumption: wealth - consumption},
    transitions={"wealth": next_wealth},
    horizon=HORIZON,
)
params: dict[str, Any] = {"discount": 0.98, "interest": 0.0, "income": 20.0, "effort": 1.0}
solver = bx.solvers.BackwardInduction(maximiser=bx.maximise.DCEGM(grid={"savings": 500}))
start = {"regime": "working", "wealth": 20.0}
periods = None

WEALTH = np.linspace(1.0, 400.0, 100)


def checks() -> list[Check]:
    """V and consumption of both regimes in every period, and where consumption of workers jumps."""
    exact = enumerated(HORIZON, **{name: float(number) for name, number in params.items()})
    solution = bx.solve(model, params, solver)
    found = []
    for name, working in (("working", True), ("retired", False)):
        own = solution[name]
        values = [own.value(t, wealth=WEALTH) for t in range(HORIZON)]
        consumed = [own.policy(t, wealth=WEALTH)["consumption"] for t in range(HORIZON)]
        known = [exact.value(t, WEALTH, working) for t in range(HORIZON)]
        best = [exact.consumption(t, WEALTH, working) for t in range(HORIZON)]
        found += [
            comparison.of_value(f"V, {name}", values, known, 1e-8, SOURCE),
            comparison.absolute(f"consumption, {name}", consumed, best, 1e-8, SOURCE),
        ]
    ours, known = [], []
    for t in range(HORIZON):
        ours.append(jumps(lambda w, t=t: solution["working"].policy(t, wealth=w)["consumption"]))  # type: ignore[misc]
        known.append(jumps(lambda w, t=t: exact.consumption(t, w, working=True)))  # type: ignore[misc]
    counted, count = ([len(places) for places in rows] for rows in (ours, known))
    found.append(comparison.absolute("number of jumps", counted, count, 0.0, SOURCE))
    if counted == count:
        places, exactly = np.concatenate(ours), np.concatenate(known)
        found.append(comparison.absolute("where consumption jumps", places, exactly, 1e-6, SOURCE))
    return found


def jumps(consume: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Wealth at which consumption falls, by bisection: elsewhere it rises with wealth."""
    line = np.linspace(1.0, 400.0, 8001)
    consumed = np.asarray(consume(line))
    falls = np.flatnonzero(np.diff(consumed) < 0)
    low, high, before = line[falls], line[falls + 1], consumed[falls]
    for _ in range(40):
        middle = 0.5 * (low + high)
        ahead = np.asarray(consume(middle)) >= before
        low, high = np.where(ahead, middle, low), np.where(ahead, high, middle)
    return 0.5 * (low + high)
