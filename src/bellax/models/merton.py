"""Log Merton: consumption out of wealth that earns a risky return, logarithmic utility, 20 periods.

    V_t(w) = max over 0 <= c <= w of log c + beta E V_{t+1}(w'),    w' = (w - c) exp(mu + sigma z),    z ~ N(0, 1)

With the bequest V_T(w) = A + B log w, which is the value of living for ever,

    B = 1 / (1-beta),    A = log(1-beta) / (1-beta) + beta (log beta + mu) / (1-beta)^2,

the value is the same function in every period and the share c / w is 1 - beta; sigma does not matter. Wealth is
measured in logs, in which V is a straight line: interpolation is exact, and what remains is the maximiser's error.

Calibration: beta = .96, mu = .04, sigma = .15 a year.
Source: Samuelson (1969), "Lifetime portfolio selection by dynamic stochastic programming", Review of Economics and
Statistics 51; Merton (1969), "Lifetime portfolio selection under uncertainty: the continuous-time case", ibid.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import merton_log

SOURCE = "closed form, Samuelson (1969)"


def utility(consumption):
    return jnp.log(consumption)


def next_wealth(wealth, consumption, z, mu, sigma):
    return (wealth - consumption) * jnp.exp(mu + sigma * z)


def bequest(wealth, discount, mu):
    slope = 1 / (1 - discount)
    return jnp.log(1 - discount) * slope + discount * (jnp.log(discount) + mu) * slope**2 + slope * jnp.log(wealth)


model = bx.Model(
    states={"wealth": bx.Continuous(1e-3, 200.0, scale=bx.scales.log)},
    actions={"consumption": bx.Continuous(0.0, "wealth")},
    shocks={"z": bx.shocks.Normal()},
    transitions={"wealth": next_wealth},
    reward=utility,
    terminal=bequest,
    horizon=20,
)
params: dict[str, Any] = {"discount": 0.96, "mu": 0.04, "sigma": 0.15}
solver = bx.solvers.BackwardInduction(grid={"wealth": 16}, maximiser=bx.maximise.Newton())
start = {"wealth": 10.0}
periods = None

golden = bx.solvers.BackwardInduction(grid={"wealth": 128}, maximiser=bx.maximise.Golden())
"""Values alone, no derivatives: the share is good to the square root of rounding."""

asinh = bx.solvers.BackwardInduction(grid={"wealth": bx.grids.Scaled(128, bx.scales.asinh(0.1))})
"""A grid in whose coordinate V is not a straight line, as where debt has to be allowed."""


def reference(given: dict[str, Any], wealth: Any) -> dict[str, Any]:
    """Value and consumption of the closed form, in every period."""
    intercept, slope = merton_log(float(given["discount"]), float(given["mu"]))
    return {"value": intercept + slope * np.log(wealth), "consumption": (1 - float(given["discount"])) * wealth}


def checks() -> list[Check]:
    """Value and consumption share in every period, by three solvers."""
    return [
        *compare("Newton, 16 nodes", solver, 0.1, 1e-10, 1e-10),
        *compare("golden section", golden, 0.1, 1e-6, 1e-6),
        *compare("asinh grid", asinh, 1.0, 5e-6, 5e-5),
    ]


def compare(
    label: str, how: bx.solvers.BackwardInduction, lowest: float, of_value: float, of_share: float
) -> list[Check]:
    """V and c / w of a solver against the closed form at wealth from `lowest` to 100, with their tolerances."""
    solution = bx.solve(model, params, how)
    intercept, slope = merton_log(params["discount"], params["mu"])
    wealth = np.geomspace(lowest, 100.0, 301)
    values = [solution.value(t, wealth=wealth) for t in range(20)]
    shares = [solution.policy(t, wealth=wealth)["consumption"] / wealth for t in range(20)]
    exact = intercept + slope * np.log(wealth)
    return [
        comparison.of_value(f"V, {label}", values, exact, of_value, SOURCE),
        comparison.relative(f"c / w, {label}", shares, 1 - params["discount"], of_share, SOURCE),
    ]
