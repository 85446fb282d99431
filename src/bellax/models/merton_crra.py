"""CRRA Merton: consumption out of risky wealth with relative risk aversion gamma, 20 periods, and its derivatives.

    V_t(w) = max over 0 <= c <= w of c^(1-gamma) / (1-gamma) + beta E V_{t+1}(w'),    w' = (w - c) exp(mu + sigma z)

With V_T(w) = a_T w^(1-gamma) / (1-gamma) the value keeps this form, V_t(w) = a_t w^(1-gamma) / (1-gamma), and

    a_t = s_t^(-gamma),    c / w = s_t = 1 / (1 + (M a_{t+1})^(1/gamma)),    M = beta E exp((1-gamma) (mu + sigma z)).

Wealth is measured by -w^-2: for gamma = 3 that is where V is a straight line, and no error of interpolation is left,
as with log wealth for log utility. It is made for this gamma: for another one give grid= a logarithmic scale and a
thousand nodes. V is huge where wealth is least, and rounding there is felt where wealth is large: 1e-9 of V at 100.

Calibration: gamma = 3, beta = .96, mu = .04, sigma = .15 a year, a_T = 1: the bequest is worth a year's consumption.
Source: Samuelson (1969), Merton (1969): see `bellax.models.merton`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import merton_crra as closed_form

SOURCE = "closed form, Samuelson (1969)"
HORIZON = 20


def utility(consumption, risk_aversion):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def next_wealth(wealth, consumption, z, mu, sigma):
    return (wealth - consumption) * jnp.exp(mu + sigma * z)


def bequest(wealth, risk_aversion, bequest_weight):
    return bequest_weight * wealth ** (1 - risk_aversion) / (1 - risk_aversion)


def minus_inverse_square(wealth):
    return -(wealth**-2)


def its_inverse(coordinate):
    return jnp.sqrt(-1 / coordinate)


model = bx.Model(
    states={"wealth": bx.Continuous(0.05, 200.0, scale=(minus_inverse_square, its_inverse))},
    actions={"consumption": bx.Continuous(0.0, "wealth")},
    shocks={"z": bx.shocks.Normal()},
    transitions={"wealth": next_wealth},
    reward=utility,
    terminal=bequest,
    horizon=HORIZON,
)
params: dict[str, Any] = {"discount": 0.96, "mu": 0.04, "sigma": 0.15, "risk_aversion": 3.0, "bequest_weight": 1.0}
solver = bx.solvers.BackwardInduction(grid={"wealth": 16}, maximiser=bx.maximise.Newton())
start = {"wealth": 10.0}
periods = None


def reference(given: dict[str, Any], wealth: Any) -> dict[str, Any]:
    """Value and consumption of the closed form in period 0."""
    exact, curvature = recursion(given), 1 - float(given["risk_aversion"])
    return {"value": exact.coefficient[0] * wealth**curvature / curvature, "consumption": exact.share[0] * wealth}


def checks() -> list[Check]:
    """Value and share in every period against the recursion, and their derivatives against hand-made ones."""
    exact = recursion(params)
    solution = bx.solve(model, params, solver)
    wealth = np.geomspace(0.1, 100.0, 301)
    values = np.stack([solution.value(t, wealth=wealth) for t in range(HORIZON)])
    shares = np.stack([solution.policy(t, wealth=wealth)["consumption"] / wealth for t in range(HORIZON)])
    return [
        comparison.relative("V", values, np.outer(exact.coefficient, wealth**-2 / -2), 1e-8, SOURCE),
        comparison.relative("c / w", shares, exact.share[:, None], 1e-9, SOURCE),
        *derivatives(exact),
    ]


def recursion(given: dict[str, Any]) -> Any:
    """The closed form in every period."""
    names = ("discount", "mu", "sigma")
    of_law = {name: float(given[name]) for name in names}
    weight = float(given["bequest_weight"])
    return closed_form(float(given["risk_aversion"]), **of_law, horizon=HORIZON, terminal=weight)


def derivatives(exact: Any) -> list[Check]:
    """dc/dsigma and dV/dbeta at wealth 1, 10 and 50 in three periods, relative to the norm of each."""
    wealth, when = np.array([1.0, 10.0, 50.0]), (0, 10, HORIZON - 1)

    def answers(moved: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
        solution = bx.solve(model, params | moved, solver)
        consumption = [solution.policy(t, wealth=wealth)["consumption"] for t in when]
        return jnp.stack(consumption), jnp.stack([solution.value(t, wealth=wealth) for t in when])

    of_consumption, of_value = jax.jacfwd(answers)({name: params[name] for name in ("sigma", "discount")})
    by_sigma = np.outer(exact.share_by_sigma[list(when)], wealth)
    by_discount = np.outer(exact.coefficient_by_discount[list(when)], wealth**-2 / -2)
    return [
        relative_to_norm("dc / dsigma", of_consumption["sigma"], by_sigma),
        relative_to_norm("dV / dbeta", of_value["discount"], by_discount),
    ]


def relative_to_norm(quantity: str, ours: Any, exact: np.ndarray) -> Check:
    unit = np.linalg.norm(exact)
    return comparison.absolute(quantity, ours / unit, exact / unit, 1e-6, SOURCE)
