"""Two periods and two rates of interest: borrow dear, lend cheap, or do neither.

    V_0(w) = max over c of u(c) + beta V_1(R(w - c) (w - c) + y),    V_1(w) = u(w),    u(c) = c^(1-g) / (1-g),
    R(a) = 1 + r_b where a < 0, 1 + r_l where a > 0.

The budget has a kink where nothing is saved. Below y (beta R_b)^(-1/g) one borrows, above y (beta R_l)^(-1/g) one
lends, and everybody in between consumes exactly what he has: consumption follows wealth one to one there, and neither
it nor V moves with either rate. All of it, slopes included, is known in closed form.

Calibration (ours): g = 2, beta = .96, r_b = .15, r_l = .02, y = 1.1: nobody saves or borrows from 1.047 to 1.112.
Source: Hirshleifer (1958), "On the theory of optimal investment decision", Journal of Political Economy 66.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import TwoRates, thresholds
from bellax.models.references import two_rates as closed_form

SOURCE = "closed form"
HORIZON = 2


def utility(consumption, risk_aversion):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def most(wealth, income, borrowing, period):
    """What can be repaid out of income: of the last period nothing."""
    return wealth + jnp.where(period < HORIZON - 1, income / (1 + borrowing), 0.0)


def savings(wealth, consumption):
    return wealth - consumption


def next_wealth(savings, income, borrowing, lending):
    return savings * jnp.where(savings < 0, 1 + borrowing, 1 + lending) + income


model = bx.Model(
    states={"wealth": bx.Continuous(0.05, 10.0, scale=bx.scales.log)},
    actions={"consumption": bx.Continuous(1e-3, "most")},
    functions={"most": most, "savings": savings},
    transitions={"wealth": next_wealth},
    reward=utility,
    horizon=HORIZON,
)
params: dict[str, Any] = {
    "discount": 0.96,
    "risk_aversion": 2.0,
    "borrowing": 0.15,
    "lending": 0.02,
    "income": 1.1,
}
solver = bx.solvers.BackwardInduction(maximiser=bx.maximise.EGM(grid={"savings": 200}))
start = {"wealth": 1.08}
periods = None


def known(given: dict[str, Any], wealth: Any) -> TwoRates:
    """The closed form of period 0, with its slopes, at wealth of shape (w,)."""
    return closed_form(np.asarray(wealth, float), *_calibration(given))


def regimes(given: dict[str, Any]) -> tuple[float, float]:
    """Wealth below which one borrows, and above which one lends."""
    return thresholds(*_calibration(given))


def reference(given: dict[str, Any], wealth: Any) -> dict[str, Any]:
    """Value and consumption of the closed form; wealth may be an array. Nothing where debt is cheap."""
    if float(given["borrowing"]) < float(given["lending"]):
        return {}
    found = known(given, np.atleast_1d(wealth))
    shape = np.shape(wealth)
    return {"value": found.value.reshape(shape), "consumption": found.consumption.reshape(shape)}


def checks() -> list[Check]:
    """V and consumption of borrowers, of lenders, and of those who do neither and whose savings are zero."""
    solution, (below, above) = bx.solve(model, params, solver), regimes(params)
    wealth = np.concatenate([np.linspace(0.1, below, 200), np.linspace(below, above, 50), np.linspace(above, 9.0, 200)])
    exact, idle = known(params, wealth), np.linspace(below, above, 52)[1:-1]
    consumed = solution.policy(0, wealth=wealth)["consumption"]
    kept = idle - np.asarray(solution.policy(0, wealth=idle)["consumption"])
    return [
        comparison.of_value("V", solution.value(0, wealth=wealth), exact.value, 1e-10, SOURCE),
        comparison.relative("consumption", consumed, exact.consumption, 1e-10, SOURCE),
        comparison.absolute("savings of those who do neither", kept, 0.0, 1e-12, SOURCE),
    ]


def _calibration(given: dict[str, Any]) -> tuple[float, float, float, float, float]:
    names = ("risk_aversion", "discount", "borrowing", "lending", "income")
    g, discount, borrowing, lending, income = (float(given[name]) for name in names)
    return g, discount, borrowing, lending, income
