"""A buffer stock whose target is known: the only risk is to lose the job, and income with it, for good.

    V(m, e) = max over 0 <= c <= m of c^(1-rho)/(1-rho) + beta G^(1-rho) E V(m', e'),    m' = R / G (m - c) + e',

e = 1 while there is a job, which is lost with probability mu; G is income growth of those who keep it, such that
mean income does not depend on mu. Who has lost it consumes the share kappa = 1 - (R beta)^(1/rho) / R of m. At the
target c does not change while the job lasts, so that the Euler equation says how much more is consumed than after it,

    1 = R beta G^(-rho) [1 - mu + mu x^rho],    x = c(m, 1) / c(m', 0),    c(m', 0) = kappa R / G (m - c),

which with m = R / G (m - c) + 1 gives m.

Calibration: mu = .015, beta = .9, R = 1.1, G (1 - mu) = 1.05, rho = .95.
Source: Carroll & Toche (2009), "A tractable model of buffer stock saving", NBER Working Paper 15265.
"""

import enum
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

SOURCE = "closed form, Carroll & Toche (2009)"


class Job(enum.IntEnum):
    lost = 0
    kept = 1


def utility(consumption, risk_aversion):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def savings(cash, consumption):
    return cash - consumption


def growth(mean_growth, risk):
    return mean_growth / (1 - risk)


def next_cash(savings, next_job, gross_return, growth):
    return gross_return / growth * savings + (next_job == Job.kept)


def moves(job, risk):
    keeps = (1 - risk) * (job == Job.kept)
    return jnp.stack([1 - keeps, keeps])


model = bx.Model(
    states={"cash": bx.Continuous(1e-3, 30.0), "job": bx.Discrete(Job)},
    actions={"consumption": bx.Continuous(0.0, "cash")},
    functions={"savings": savings, "growth": growth},
    transitions={"cash": next_cash, "job": bx.Markov(moves)},
    reward=utility,
    discount=lambda patience, growth, risk_aversion: patience * growth ** (1 - risk_aversion),
)
params: dict[str, Any] = {
    "gross_return": 1.1,
    "patience": 0.9,
    "mean_growth": 1.05,
    "risk_aversion": 0.95,
    "risk": 0.015,
}
solver = bx.solvers.ValueIteration(maximiser=bx.maximise.EGM(grid={"savings": 100}), tolerance=1e-10)
start = {"cash": 1.0, "job": "kept"}
periods = 50


def target(given: dict[str, Any]) -> tuple[float, float]:
    """Cash that stays as it is while the job lasts, and what is consumed there."""
    gross, rho = given["gross_return"], given["risk_aversion"]
    growing = given["mean_growth"] / (1 - given["risk"])
    share = 1 - (gross * given["patience"]) ** (1 / rho) / gross
    more = ((growing**rho / (gross * given["patience"]) - 1 + given["risk"]) / given["risk"]) ** (1 / rho)
    rate = gross / growing
    saved = 1 / (1 + more * share * rate - rate)
    return rate * saved + 1, more * share * rate * saved


def checks() -> list[Check]:
    """Consumption at the target, how cash moves there, and consumption of who has lost the job."""
    solution = bx.solve(model, params, solver)
    cash, consumed = target(params)
    ours = float(solution.policy(cash=cash, job="kept")["consumption"])
    rate = params["gross_return"] * (1 - params["risk"]) / params["mean_growth"]
    several = np.geomspace(0.01, 20.0, 50)
    after = solution.policy(cash=several, job="lost")["consumption"]
    share = 1 - (params["gross_return"] * params["patience"]) ** (1 / params["risk_aversion"]) / params["gross_return"]
    published = "2.6166478, the same"
    return [
        comparison.absolute("target, by formula", cash, 2.6166478, 1e-7, published),
        comparison.relative("consumption at the target", ours, consumed, 1e-7, SOURCE),
        comparison.absolute("cash after a year at the target", rate * (cash - ours) + 1, cash, 1e-7, SOURCE),
        comparison.relative("consumption without a job", after, share * several, 1e-8, SOURCE),
    ]
