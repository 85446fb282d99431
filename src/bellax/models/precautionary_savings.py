"""Precautionary savings: a life of 30 years in which the log of income is autoregressive, and nobody may borrow.

    V_t(w, z) = max over 0 < c <= w + e^z of c^(1-gamma)/(1-gamma) + beta E V_{t+1}(R (w + e^z - c), z'),
    z' = rho z + sigma e,    V_T = 0.

Income is seen before the decision. Where little is saved nothing is, and consumption has a kink there, and a weaker one
wherever some income leads to a kink of the next year.

Calibration: gamma = 2, beta = .96, R = 1.03, rho = .9, sigma = .15; the process on five nodes of Rouwenhorst.
Source: Deaton (1991), "Saving and liquidity constraints", Econometrica 59; the calibration is ours.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import precautionary_savings, rouwenhorst

SOURCE = "endogenous grid in numpy with 4,000 nodes and kinks among them, on the same chain"
HORIZON, INCOMES = 30, 5


def utility(consumption, risk_aversion):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def cash(wealth, productivity):
    return wealth + jnp.exp(productivity)


def savings(cash, consumption):
    return cash - consumption


model = bx.Model(
    states={"wealth": bx.Continuous(0.0, 50.0), "productivity": bx.AR1("persistence", "volatility")},
    actions={"consumption": bx.Continuous(0.0, "cash")},
    functions={"cash": cash, "savings": savings},
    transitions={"wealth": lambda savings, interest: (1 + interest) * savings},
    reward=utility,
    horizon=HORIZON,
)
params: dict[str, Any] = {
    "discount": 0.96,
    "risk_aversion": 2.0,
    "interest": 0.03,
    "persistence": 0.9,
    "volatility": 0.15,
}
solver = bx.solvers.BackwardInduction(
    grid={"productivity": bx.grids.Rouwenhorst(INCOMES)}, maximiser=bx.maximise.EGM(grid={"savings": 200})
)
start = {"wealth": 0.0, "productivity": 0.0}
periods = None


def checks() -> list[Check]:
    """Consumption of every period and income, from the constrained to the rich."""
    nodes, rows = rouwenhorst(params["persistence"], params["volatility"], INCOMES)
    gross = 1 + params["interest"]
    known = precautionary_savings(params["risk_aversion"], params["discount"], gross, np.exp(nodes), rows, HORIZON)
    solution = bx.solve(model, params, solver)
    wealth = np.unique(np.concatenate([np.linspace(0.0, 3.0, 200), np.geomspace(3.0, 30.0, 50)]))
    at: dict[str, Any] = {"wealth": wealth, "productivity": nodes[:, None]}
    ours = np.stack([solution.policy(t, **at)["consumption"] for t in range(HORIZON)])
    theirs = np.stack([[known(t, i, wealth) for i in range(INCOMES)] for t in range(HORIZON)])
    return [comparison.relative("consumption", ours, theirs, 1e-4, SOURCE)]
