"""Retirement: work, or retire for good, and how much to consume meanwhile, without borrowing, 10 periods.

    V_t(w, worker) = max over 0 <= c <= w and d in {0, 1} of log c - effort d + beta V_{t+1}(R (w - c) + y d, d),
    V_t(w, retired) = max over 0 <= c <= w of log c + beta V_{t+1}(R (w - c), retired),    V_T = 0.

V of a worker has a kink wherever the best date of retirement changes, and there consumption jumps; V is not concave,
and Q in c has a peak for every date. Newton climbs from the best of its candidates, which stands on the right peak only
if they miss no peak by more than two peaks differ: hence so many. Wealth is measured in logs, in which V of the retired
is a straight line, and V of a worker who is poor.

Calibration: y = 20, effort 1, beta = .98, R = 1.
Source: Iskhakov, Jorgensen, Rust & Schjerning (2017), "The endogenous grid method for discrete-continuous dynamic
choice models with (or without) taste shocks", Quantitative Economics 8.
"""

import enum
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import retirement as enumerated

SOURCE = "all plans of work and consumption, in closed form"
HORIZON = 10


class Status(enum.IntEnum):
    retired = 0
    working = 1


def utility(consumption, decision, effort):
    return jnp.log(consumption) - effort * decision


def next_wealth(wealth, consumption, decision, interest, income):
    return (1 + interest) * (wealth - consumption) + income * decision


def for_good(status, decision):
    return decision <= status


model = bx.Model(
    states={"wealth": bx.Continuous(1.0, 400.0, scale=bx.scales.log), "status": bx.Discrete(Status)},
    actions={"decision": bx.Discrete(Status), "consumption": bx.Continuous(0.0, "wealth")},
    transitions={"wealth": next_wealth, "status": lambda decision: decision},
    constraints={"for_good": for_good},
    reward=utility,
    horizon=HORIZON,
)
params: dict[str, Any] = {"discount": 0.98, "interest": 0.0, "income": 20.0, "effort": 1.0}
solver = bx.solvers.BackwardInduction(
    grid={"wealth": 1000},
    maximiser=bx.maximise.Newton(grid={"consumption": 400}),
)
start = {"wealth": 20.0, "status": "working"}
periods = None


def reference(given: dict[str, Any], wealth: Any, status: Any) -> dict[str, Any]:
    """Value and consumption of the best plan in period 0."""
    exact, working = plans(given), bool(int(status))
    return {"value": exact.value(0, wealth, working)[0], "consumption": exact.consumption(0, wealth, working)[0]}


def checks() -> list[Check]:
    """V in every period, and consumption and the decision where one plan is better than the others by some margin."""
    exact, solution = plans(params), bx.solve(model, params, solver)
    wealth = np.geomspace(2.0, 300.0, 1001)
    rows = [_period(exact, solution, t, wealth) for t in range(HORIZON)]
    retired = [solution.value(t, wealth=wealth, status=Status.retired) for t in range(HORIZON)]
    exactly = [exact.value(t, wealth, working=False) for t in range(HORIZON)]
    value, consumption, decision = (np.concatenate(column, axis=1) for column in zip(*rows, strict=True))
    return [
        comparison.of_value("V, worker", value[0], value[1], 1e-4, SOURCE),
        comparison.of_value("V, retired", retired, exactly, 1e-8, SOURCE),
        comparison.relative("consumption", consumption[0], consumption[1], 1e-3, SOURCE),
        comparison.absolute("decision", decision[0], decision[1], 0.0, SOURCE),
    ]


def _period(exact: Any, solution: bx.Solution, t: int, wealth: np.ndarray) -> tuple[np.ndarray, ...]:
    """V, consumption and decision of a worker, ours and the reference's, shape (2, n)."""
    plans = exact.plans(t, wealth, working=True)
    ranked = np.sort(plans.value, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-3 if t < HORIZON - 1 else np.ones(len(wealth), bool)
    ours = solution.policy(t, wealth=wealth, status=Status.working)
    values = np.stack([solution.value(t, wealth=wealth, status=Status.working), ranked[:, -1]])
    consumption = np.stack([ours["consumption"], exact.consumption(t, wealth, working=True)])
    decisions = np.stack([ours["decision"], plans.works[plans.value.argmax(axis=1)]])
    return values, consumption[:, clear], decisions[:, clear]


def plans(given: dict[str, Any]) -> Any:
    """The reference of a calibration."""
    return enumerated(HORIZON, **{name: float(given[name]) for name in ("discount", "interest", "income", "effort")})
