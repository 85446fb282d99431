"""Electricity under a tariff of three blocks: its price rises at two quantities, where whole ranges of wealth stay.

    V_t(w) = max over 0 < q of log q + beta V_{t+1}(R (w - T(q))),    V_T(w) = A log w,
    T(q) = p_1 q + (p_2 - p_1) max(q - q_1, 0) + (p_3 - p_2) max(q - q_2, 0).

What is used in a period stays at q_1 or q_2 over a range of wealth: the last unit is worth more than it costs, and the
next one less than it would. There it moves with the limit of the block, and with no price. What is left of wealth in
the end is for everything else.

Calibration (ours): prices 1, 1.5 and 2.5, limits 1 and 2; R = 1.03, beta = .95, A = 4, 3 periods.
Source: Hausman (1985), "The econometrics of nonlinear budget sets", Econometrica 53; Reiss & White (2005), "Household
electricity demand, revisited", Review of Economic Studies 72.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import Path, Tariff
from bellax.models.references import tariff as closed_form

SOURCE = "closed form: one equation in the marginal value of wealth"
HORIZON = 3


def bill(used, first_price, second_price, third_price, first_limit, second_limit):
    beyond = (second_price - first_price) * jnp.maximum(used - first_limit, 0.0)
    return first_price * used + beyond + (third_price - second_price) * jnp.maximum(used - second_limit, 0.0)


def affordable(wealth, first_price, second_price, third_price, first_limit, second_limit):
    """What all of wealth buys: the inverse of the bill."""
    second = (second_price - first_price) * first_limit
    third = second + (third_price - second_price) * second_limit
    inner = jnp.minimum(wealth / first_price, (wealth + second) / second_price)
    return jnp.minimum(inner, (wealth + third) / third_price)


def left(wealth, bill):
    return wealth - bill


model = bx.Model(
    states={"wealth": bx.Continuous(0.5, 25.0, scale=bx.scales.log)},
    actions={"used": bx.Continuous(1e-6, "affordable")},
    functions={"bill": bill, "affordable": affordable, "left": left},
    transitions={"wealth": lambda left, interest: (1 + interest) * left},
    reward=lambda used: jnp.log(used),
    terminal=lambda wealth, weight: weight * jnp.log(wealth),
    horizon=HORIZON,
)
params: dict[str, Any] = {
    "discount": 0.95,
    "interest": 0.03,
    "first_price": 1.0,
    "second_price": 1.5,
    "third_price": 2.5,
    "first_limit": 1.0,
    "second_limit": 2.0,
    "weight": 4.0,
}
solver = bx.solvers.BackwardInduction(grid={"wealth": 1600}, maximiser=bx.maximise.Newton(grid={"used": 15}))
start = {"wealth": 8.0}
periods = None


def known(given: dict[str, Any], wealth: Any, period: int = 0) -> Path:
    """The closed form from a period on, at wealth of shape (w,)."""
    numbers = {name: float(number) for name, number in given.items()}
    prices = np.array([numbers[f"{which}_price"] for which in ("first", "second", "third")])
    limits = np.array([numbers[f"{which}_limit"] for which in ("first", "second")])
    return closed_form(
        np.asarray(wealth, float),
        Tariff(prices, limits),
        1 + numbers["interest"],
        numbers["discount"],
        numbers["weight"],
        HORIZON - period,
    )


def reference(given: dict[str, Any], wealth: Any) -> dict[str, Any]:
    """Value and use of the closed form; wealth may be an array. Nothing where prices fall."""
    if not float(given["first_price"]) <= float(given["second_price"]) <= float(given["third_price"]):
        return {}
    found = known(given, np.atleast_1d(wealth))
    return {"value": found.value.reshape(np.shape(wealth)), "used": found.used[:, 0].reshape(np.shape(wealth))}


def checks() -> list[Check]:
    """V and use in every block, and at the limits of blocks, over the ranges of wealth that stay there."""
    solution, wealth = bx.solve(model, params, solver), np.linspace(0.6, 25.0, 977)
    exact = known(params, wealth)
    used = np.asarray(solution.policy(0, wealth=wealth)["used"])
    at = exact.kinked[:, 0]
    return [
        comparison.of_value("V", solution.value(0, wealth=wealth), exact.value, 1e-5, SOURCE),
        comparison.absolute("use", used, exact.used[:, 0], 1e-3, SOURCE),
        comparison.absolute("use at the limits of blocks", used[at], exact.used[at, 0], 1e-8, SOURCE),
    ]
