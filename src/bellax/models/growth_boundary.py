"""Two phases of life in which wealth grows at different rates: while it changes hands it already grows at the second.

    V_t(w) = max over 0 <= c <= w of c^(1/2) + beta V_{t+1}(w'),    w' = (1 + g) (w - c),

g that of the phase which tomorrow belongs to: the mapping at the boundary is the second phase's, and reads its
parameter. Where everything is consumed another unit of savings is worth infinitely much, and V is finite. V is A_t
w^(1/2), with

    A_t^2 = 1 + beta^2 (1 + g_{t+1}) A_{t+1}^2,    c = w / A_t^2.

Calibration: of our own; the first phase has four periods of eight, beta = .9, and g is .02 and then .05.
"""

from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

SOURCE = "the recursion of the coefficients, in numpy"
HORIZON, LAST = 8, 3


def savings(wealth, consumption):
    return wealth - consumption


def invested(savings, growth):
    return (1 + growth) * savings


def soon_second(age):
    return {"first": age < LAST, "second": age >= LAST}


first = bx.Regime(active=lambda age: age <= LAST, next_regime=soon_second)
second = bx.Regime(
    active=lambda age: age > LAST,
    next_regime=lambda: {"second": 1.0},
    entry={"wealth": {"first": invested}},
)
model = bx.Model(
    regimes={"first": first, "second": second},
    states={"wealth": bx.Continuous(0.0, 10.0)},
    actions={"consumption": bx.Continuous(0.0, "wealth")},
    functions={"savings": savings},
    transitions={"wealth": invested},
    reward=lambda consumption: consumption**0.5,
    horizon=HORIZON,
)
params: dict[str, Any] = {"discount": 0.9, "first": {"growth": 0.02}, "second": {"growth": 0.05}}
solver = bx.solvers.BackwardInduction(maximiser=bx.maximise.EGM(grid={"savings": 20}))
start = {"regime": "first", "wealth": 1.0}
periods = None


def squares(given: dict[str, Any]) -> np.ndarray:
    """A_t^2, shape (t,)."""
    found = [1.0]
    for t in range(HORIZON - 2, -1, -1):
        growth = given["first" if t + 1 <= LAST else "second"]["growth"]
        found.insert(0, 1 + given["discount"] ** 2 * (1 + growth) * found[0])
    return np.asarray(found)


def checks() -> list[Check]:
    """V and consumption of every period, from almost nothing to the end of the grid."""
    solution, known = bx.solve(model, params, solver), squares(params)
    wealth = np.geomspace(1e-3, 10.0, 50)
    regimes = ["first" if t <= LAST else "second" for t in range(HORIZON)]
    values = np.stack([solution[name].value(t, wealth=wealth) for t, name in enumerate(regimes)])
    consumed = np.stack([solution[name].policy(t, wealth=wealth)["consumption"] for t, name in enumerate(regimes)])
    return [
        comparison.relative("V", values, np.sqrt(known[:, None] * wealth), 1e-12, SOURCE),
        comparison.relative("consumption", consumed, wealth / known[:, None], 1e-12, SOURCE),
    ]
