"""CRRA Merton in continuous time: consumption out of wealth of which a given share is at risk.

    rho V(w) = max over c of c^(1-g)/(1-g) + ((r + share premium) w - c) V_w + 1/2 (share volatility w)^2 V_ww

has V = A w^(1-g)/(1-g) and c = A^(-1/g) w with A^(-1/g) = (rho - (1-g) m) / g, where m = r + share premium -
g (share volatility)^2 / 2 is the certain return that is worth as much. Among all solutions of the equation it is the
one that grows no faster, which an equation on a box cannot know: at both edges the plan ends with what it is worth.

Calibration: g = 2, rho = .05, r = .02, premium .04, volatility .2, and Merton's share, .5.
Source: Merton (1969), "Lifetime portfolio selection under uncertainty: the continuous-time case".
"""

from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

SOURCE = "closed form, Merton (1969)"


def utility(consumption, risk_aversion):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def best_consumption(marginal_wealth, risk_aversion):
    return marginal_wealth ** (-1 / risk_aversion)


def saving(wealth, consumption, interest, premium, share):
    return (interest + share * premium) * wealth - consumption


def risk(wealth, share, volatility):
    return share * volatility * wealth


def plan(wealth, risk_aversion, discount, interest, premium, volatility, share):
    certain = interest + share * premium - risk_aversion * (share * volatility) ** 2 / 2
    spent = (discount - (1 - risk_aversion) * certain) / risk_aversion
    return spent**-risk_aversion * wealth ** (1 - risk_aversion) / (1 - risk_aversion)


model = bx.DiffusionModel(
    states={"wealth": bx.Continuous(0.5, 5.0, scale=bx.scales.log)},
    actions={"consumption": bx.Continuous(1e-9)},
    policy={"consumption": best_consumption},
    reward=utility,
    drift={"wealth": saving},
    diffusion={"wealth": risk},
    boundary={"wealth": bx.Absorbing(plan)},
)
params: dict[str, Any] = {
    "discount": 0.05,
    "risk_aversion": 2.0,
    "interest": 0.02,
    "premium": 0.04,
    "volatility": 0.2,
    "share": 0.5,
}
solver = bx.solvers.Collocation(grid={"wealth": 20})
start = {"wealth": 1.0}
periods = None


def reference(given: dict[str, Any], wealth: Any) -> dict[str, Any]:
    """Value and consumption of the closed form."""
    g = {name: float(value) for name, value in given.items()}
    certain = g["interest"] + g["share"] * g["premium"] - g["risk_aversion"] * (g["share"] * g["volatility"]) ** 2 / 2
    spent = (g["discount"] - (1 - g["risk_aversion"]) * certain) / g["risk_aversion"]
    power = 1 - g["risk_aversion"]
    return {"value": spent ** -g["risk_aversion"] * np.asarray(wealth) ** power / power, "consumption": spent * wealth}


def checks() -> list[Check]:
    """Value and consumption beside the closed form."""
    wealth = np.geomspace(0.5, 5.0, 51)
    solution, exact = bx.solve(model, params, solver), reference(params, wealth)
    return [
        comparison.relative("V", solution.value(wealth=wealth), exact["value"], 1e-8, SOURCE),
        comparison.relative("c", solution.policy(wealth=wealth)["consumption"], exact["consumption"], 1e-6, SOURCE),
    ]
