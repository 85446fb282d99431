"""CRRA Merton in continuous time: consumption out of wealth, and the share of it at risk.

    rho V(w) = max over c and s of c^(1-g)/(1-g) + ((r + s premium) w - c) V_w + 1/2 (s volatility w)^2 V_ww

has V = A w^(1-g)/(1-g), s = premium / (g volatility^2) and c = A^(-1/g) w with A^(-1/g) = (rho - (1-g) m) / g, where
m = r + premium^2 / (2 g volatility^2) is the certain return that is worth as much. The share moves the diffusion, and
its closed form names the curvature of V. Among all solutions of the equation V is the one that grows no faster, which
an equation on a box cannot know: at both edges the plan ends with what it is worth.

Finite differences are of second order in the step of log w: 2.4e-4 relative on 26 nodes, 6.0e-5 on 51, and 6.9e-7
extrapolated from both. Polynomials on 20 nodes have V to 2e-15 and the share to 1e-12.

Calibration: g = 2, rho = .05, r = .02, premium .04, volatility .2: half of wealth is at risk.
Source: Merton (1969), "Lifetime portfolio selection under uncertainty: the continuous-time case".
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

SOURCE = "closed form, Merton (1969)"
COARSE, FINE = 26, 51  # nodes of finite differences, of which the former are among the latter


def utility(consumption, risk_aversion):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def best_consumption(marginal_wealth, risk_aversion):
    return marginal_wealth ** (-1 / risk_aversion)


def best_share(wealth, marginal_wealth, curvature_wealth, premium, volatility):
    return -premium * marginal_wealth / (volatility**2 * wealth * curvature_wealth)


def saving(wealth, consumption, share, interest, premium):
    return (interest + share * premium) * wealth - consumption


def risk(wealth, share, volatility):
    return share * volatility * wealth


def spent(risk_aversion, discount, interest, premium, volatility):
    """The share of wealth that is consumed."""
    certain = interest + premium**2 / (2 * risk_aversion * volatility**2)
    return (discount - (1 - risk_aversion) * certain) / risk_aversion


def plan(wealth, risk_aversion, discount, interest, premium, volatility):
    share = spent(risk_aversion, discount, interest, premium, volatility)
    return share**-risk_aversion * wealth ** (1 - risk_aversion) / (1 - risk_aversion)


model = bx.DiffusionModel(
    states={"wealth": bx.Continuous(0.5, 5.0, scale=bx.scales.log)},
    actions={"consumption": bx.Continuous(1e-9), "share": bx.Continuous()},
    policy={"consumption": best_consumption, "share": best_share},
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
}
solver = bx.solvers.Collocation(grid={"wealth": 20})
start = {"wealth": 1.0}
periods = None


def reference(given: dict[str, Any], wealth: Any) -> dict[str, Any]:
    """Value, consumption and share of the closed form."""
    own = {name: float(given[name]) for name in params}
    share = own["premium"] / (own["risk_aversion"] * own["volatility"] ** 2)
    return {"value": plan(wealth, **own), "consumption": spent(**own) * wealth, "share": share}


def checks() -> list[Check]:
    """Value and actions beside the closed form, by polynomials and by finite differences."""
    return [*_polynomials(), *_differences()]


def _polynomials() -> Iterator[Check]:
    wealth = np.geomspace(0.5, 5.0, 51)
    solution, exact = bx.solve(model, params, solver), reference(params, wealth)
    policy = solution.policy(wealth=wealth)
    yield comparison.relative("V", solution.value(wealth=wealth), exact["value"], 1e-10, SOURCE)
    yield comparison.relative("c", policy["consumption"], exact["consumption"], 1e-9, SOURCE)
    yield comparison.relative("share", policy["share"], exact["share"], 1e-9, SOURCE)


def _differences() -> Iterator[Check]:
    wealth = np.geomspace(0.5, 5.0, COARSE)
    exact = reference(params, wealth)["value"]
    coarse, fine = (
        bx.solve(model, params, bx.solvers.FiniteDifference(grid={"wealth": nodes})).value(wealth=wealth)
        for nodes in (COARSE, FINE)
    )
    errors = [np.max(np.abs(value / exact - 1)) for value in (coarse, fine)]
    yield comparison.absolute("order of finite differences", np.log2(errors[0] / errors[1]), 2.0, 0.2, SOURCE)
    yield comparison.relative("V, two grids", (4 * fine - coarse) / 3, exact, 1e-5, SOURCE)
