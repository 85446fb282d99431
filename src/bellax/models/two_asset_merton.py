"""Two risky assets: consumption and a portfolio of bills and correlated stocks, risk aversion gamma, 10 periods.

    V_t(w) = max over c, a, b of c^(1-gamma) / (1-gamma) + beta E V_{t+1}(w'),
    w' = (w - c) (R_f + a (exp(r_1) - R_f) + b (exp(r_2) - R_f)),    (r_1, r_2) ~ N(mean, covariance)

with 0 <= c <= w, a >= 0, b >= 0, a + b <= 1. With V_T(w) = a_T w^(1-gamma) / (1-gamma) the portfolio is the same in
every period and at every wealth: it solves E[R^(-gamma) (R_i - R_f)] = 0, R the return of the portfolio. Consumption
and value are those of `bellax.models.merton_crra` with M = beta E R^(1-gamma). Wealth is measured by -w^-2 as there:
for gamma = 3 that is where V is a straight line.

Calibration: gamma = 3, beta = .96, R_f = 1.02; log returns of mean .05 and .04, standard deviation .2 and .15 and
correlation .4; a_T = 1.
Source: Samuelson (1969), Merton (1969): see `bellax.models.merton`.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.merton_crra import bequest, its_inverse, minus_inverse_square, utility
from bellax.models.references import two_asset_merton as first_order_condition

DENSE = "first-order condition at 40 nodes a return"
SAME = "first-order condition at the same 7 nodes a return"
HORIZON, NODES = 10, 7


def next_wealth(wealth, consumption, first_share, second_share, log_returns, risk_free):
    returns = jnp.exp(log_returns)
    excess = first_share * (returns[0] - risk_free) + second_share * (returns[1] - risk_free)
    return (wealth - consumption) * (risk_free + excess)


def rest(first_share):
    return 1 - first_share


model = bx.Model(
    states={"wealth": bx.Continuous(1.0, 50.0, scale=(minus_inverse_square, its_inverse))},
    actions={
        "consumption": bx.Continuous(0.0, "wealth"),
        "first_share": bx.Continuous(0.0, 1.0),
        "second_share": bx.Continuous(0.0, rest),
    },
    shocks={"log_returns": bx.shocks.MultivariateNormal(mean="mean", covariance="covariance", size=2)},
    transitions={"wealth": next_wealth},
    reward=utility,
    terminal=bequest,
    horizon=HORIZON,
)
params: dict[str, Any] = {
    "discount": 0.96,
    "risk_aversion": 3.0,
    "risk_free": 1.02,
    "mean": np.array([0.05, 0.04]),
    "covariance": np.array([[0.04, 0.012], [0.012, 0.0225]]),
    "bequest_weight": 1.0,
}
solver = bx.solvers.BackwardInduction(
    grid={"wealth": 8},
    quadrature={"log_returns": NODES},
    maximiser=bx.maximise.Newton(grid={"consumption": 3, "first_share": 3, "second_share": 3}),
)
start = {"wealth": 10.0}
periods = None


def reference(given: dict[str, Any], wealth: Any) -> dict[str, Any]:
    """Value, consumption and portfolio in period 0, by the dense quadrature."""
    exact, curvature = condition(given, 40), 1 - float(given["risk_aversion"])
    return {
        "value": exact.coefficient[0] * wealth**curvature / curvature,
        "consumption": exact.share[0] * wealth,
        "first_share": exact.portfolio[0],
        "second_share": exact.portfolio[1],
    }


def checks() -> list[Check]:
    """The portfolio in every period at dense nodes and at the solver's own, and consumption and V at the latter."""
    solution = bx.solve(model, params, solver)
    wealth = np.geomspace(1.0, 50.0, 41)
    policies = [solution.policy(t, wealth=wealth) for t in range(HORIZON)]
    values = np.stack([solution.value(t, wealth=wealth) for t in range(HORIZON)])
    shares = np.stack([np.stack([p["first_share"], p["second_share"]], axis=-1) for p in policies])
    consumed = np.stack([p["consumption"] / wealth for p in policies])
    dense, same = condition(params, 40), condition(params, NODES)
    return [
        comparison.absolute("portfolio", shares, dense.portfolio, 1e-6, DENSE),
        comparison.absolute("portfolio, same nodes", shares, same.portfolio, 1e-8, SAME),
        comparison.relative("c / w, same nodes", consumed, same.share[:, None], 1e-8, SAME),
        comparison.relative("V, same nodes", values, np.outer(same.coefficient, wealth**-2 / -2), 1e-8, SAME),
    ]


def condition(given: dict[str, Any], nodes: int) -> Any:
    """The reference with so many nodes a return."""
    return first_order_condition(
        float(given["risk_aversion"]),
        float(given["discount"]),
        float(given["risk_free"]),
        np.asarray(given["mean"], float),
        np.asarray(given["covariance"], float),
        horizon=HORIZON,
        terminal=float(given["bequest_weight"]),
        nodes=nodes,
    )
