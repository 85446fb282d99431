"""Inventory with a fixed cost of ordering: nothing down to s, then up to S, for ever.

    V(x) = max over y >= x of -K 1{y > x} - u (y - x) - E[h max(y - D, 0) + b max(D - y, 0)] + beta E V(y - D)

with x what is in stock, negative where customers wait, y - x the order, which is there at once, and D demand, drawn
afresh in every period. A unit costs h to keep and b to owe. V is no concave function of stock, but K-concave, so that
the best policy is one of two numbers: order where x <= s, as much as is missing to S.

Calibration (ours): D Poisson with mean 5, cut off at 15; K = 32, u = 2, h = 1, b = 9, beta = .99: s = 3 and S = 20.
Stock may be from -15 to 30, and after an order at least 0: neither binds, since s is above 0.
Source: Scarf (1960), "The optimality of (S, s) policies in the dynamic inventory problem"; Zheng & Federgruen (1991),
"Finding optimal (s, S) policies is about as simple as evaluating a single policy", Operations Research 39.
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import Inventory
from bellax.models.references import inventory as renewal

SOURCE = "renewal theory, Zheng & Federgruen (1991)"
LARGEST, FULL = 15, 30
"""The largest demand, which is also how much customers may wait for, and the largest stock."""


def poisson(mean: float, largest: int) -> np.ndarray:
    """Probabilities of 0, ..., largest, which sum to one."""
    count = np.arange(largest + 1)
    logs = count * math.log(mean) - np.array([math.lgamma(k + 1) for k in count])
    return np.exp(logs) / np.exp(logs).sum()


def after(stock, order):
    return stock + order


def costs(order, after, demand, fixed, unit, holding, shortage):
    kept, owed = jnp.maximum(after - demand, 0), jnp.maximum(demand - after, 0)
    return -fixed * (order > 0) - unit * order - holding * kept - shortage * owed


model = bx.Model(
    states={"stock": bx.Discrete(list(range(-LARGEST, FULL + 1)))},
    actions={"order": bx.Discrete(LARGEST + FULL + 1)},
    shocks={"demand": bx.shocks.Categorical(probabilities="chances")},
    functions={"after": after},
    constraints={"room": lambda after: after <= FULL, "met_next_time": lambda after: after >= 0},
    transitions={"stock": lambda after, demand: after - demand},
    reward=costs,
)
params: dict[str, Any] = {
    "discount": 0.99,
    "fixed": 32.0,
    "unit": 2.0,
    "holding": 1.0,
    "shortage": 9.0,
    "chances": poisson(5.0, LARGEST),
}
solver = bx.solvers.PolicyIteration()
start = {"stock": 10}
periods = 100

STOCKS = np.arange(-LARGEST, FULL + 1)


def reference(given: dict[str, Any], stock: Any) -> dict[str, Any]:
    """Value and order of the best (s, S); stock may be an array. Nothing where the bounds of the model bind."""
    known, stock = best(given), np.rint(stock).astype(int)
    if known.s < 0 or known.S > FULL:
        return {}
    return {"value": known.value(stock), "order": known.order(stock)}


def best(given: dict[str, Any]) -> Inventory:
    """The best policy, by renewal theory."""
    names = ("fixed", "unit", "holding", "shortage", "discount")
    fixed, unit, holding, shortage, discount = (float(given[name]) for name in names)
    return renewal(np.asarray(given["chances"], float), fixed, unit, holding, shortage, discount)


def levels(solution: Any) -> tuple[int, int]:
    """s and S of the policy of a solution, which must be of this form.

    Raises:
        ValueError: if it is not: if somebody orders above a stock at which nobody does, or up to another level.
    """
    orders = np.asarray(solution.policy(stock=STOCKS)["order"], int)
    ordering = orders > 0
    upto = np.unique((STOCKS + orders)[ordering])
    if len(upto) != 1 or np.any(np.diff(ordering.astype(int)) > 0):
        raise ValueError(f"the policy is no (s, S): it orders {orders.tolist()} from {STOCKS[0]} up.")
    return int(STOCKS[ordering].max()), int(upto[0])


def checks() -> list[Check]:
    """V at every stock, and the two numbers of the policy, which must be of that form."""
    solution, known = bx.solve(model, params, solver), best(params)
    values, orders = solution.value(stock=STOCKS), solution.policy(stock=STOCKS)["order"]
    return [
        comparison.relative("V", values, known.value(STOCKS), 1e-10, SOURCE),
        comparison.absolute("order", orders, known.order(STOCKS), 0.0, SOURCE),
        comparison.absolute("s and S", levels(solution), (known.s, known.S), 0.0, SOURCE),
    ]
