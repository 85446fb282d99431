"""Mortality: who is alive is paid 1 and may die; who is dead is worth nothing. Three ages, and no state at all.

    V_t(alive) = 1 + beta p V_{t+1}(alive),    V_t(dead) = 0,    V_3 = 0.

The smallest model of regimes: what is probable is weighed, and who has died is gone.

Calibration: p = .9, beta = .95, so that V_0 = 1 + .855 + .855^2 = 2.586025.
"""

from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

SOURCE = "the sum of a geometric series"
HORIZON = 3


def alive_or_dead(survival):
    return {"alive": survival, "dead": 1 - survival}


model = bx.Model(
    regimes={"alive": bx.Regime(reward=1.0, next_regime=alive_or_dead), "dead": bx.Terminal()}, horizon=HORIZON
)
params: dict[str, Any] = {"survival": 0.9, "discount": 0.95}
solver = bx.solvers.BackwardInduction()
start = {"regime": "alive"}
periods = None


def checks() -> list[Check]:
    """V of who is alive in every period, and the shares of those who are in a simulation."""
    solution = bx.solve(model, params, solver)
    factor = params["survival"] * params["discount"]
    known = [sum(factor**k for k in range(HORIZON - t)) for t in range(HORIZON)]
    ours = [solution["alive"].value(period=t) for t in range(HORIZON)]
    shares = bx.simulate(solution, 40_000, start, seed=1).share("alive")
    return [
        comparison.absolute("V, alive", ours, known, 1e-14, SOURCE),
        comparison.absolute("share alive", shares, params["survival"] ** np.arange(HORIZON), 0.01, "probabilities"),
    ]
