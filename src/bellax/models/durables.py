"""A durable that is costly to adjust: keep what is left of it, or sell it at a loss and buy another.

    V_t(m, d) = max over keep and trade of
        keep:   max over c <= m of            u(c, d) + beta E V_{t+1}(R (m - c) + y', (1 - delta) d),
        trade:  max over e and c + e <= x of  u(c, e) + beta E V_{t+1}(R (x - c - e) + y', (1 - delta) e),

m cash, d the durable, x = m + (1 - tau) d, u(c, d) = (c^alpha d^(1-alpha))^(1-gamma)/(1-gamma), log y' normal with mean
income one, V_T = 0. V is not concave: who trades does so for a while to come. Given the durable there is one decision
left, consumption, which an endogenous grid solves; the durable is found around it.

Calibration: beta = .965, gamma = 2, alpha = .9, R = 1.03, tau = .1, delta = .15, income with a spread of .1.
Source: Druedahl (2021), "A guide on solving non-convex consumption-saving models", Computational Economics 58, without
its permanent income and the constant .01 beside the durable; the trade-off is that of Grossman & Laroque (1990).
"""

import enum
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import costly_durable, frictionless_durable

FRICTIONLESS = "endogenous grid in numpy on wealth alone, on the same nodes of income"
COSTLY = "search in numpy for the best of all plans of two periods, on the same nodes of income"
HORIZON, INCOMES = 5, 5


class Adjust(enum.IntEnum):
    keep = 0
    trade = 1


def wealth(cash, durable, adjust, cost):
    return cash + (1 - cost) * durable * (adjust == Adjust.trade)


def least_stock(durable, adjust):
    return jnp.where(adjust == Adjust.trade, 0.02, durable)


def most_stock(durable, adjust, wealth):
    return jnp.where(adjust == Adjust.trade, wealth, durable)


def left(wealth, stock, adjust):
    return wealth - stock * (adjust == Adjust.trade)


def next_cash(savings, income, interest, spread):
    return (1 + interest) * savings + jnp.exp(income - spread**2 / 2)


def utility(consumption, stock, share, risk_aversion):
    return (consumption**share * stock ** (1 - share)) ** (1 - risk_aversion) / (1 - risk_aversion)


model = bx.Model(
    states={
        "cash": bx.Continuous(0.5, 10.0, scale=bx.scales.log),
        "durable": bx.Continuous(0.05, 5.0, scale=bx.scales.log),
    },
    actions={
        "adjust": bx.Discrete(Adjust),
        "stock": bx.Continuous(least_stock, most_stock),
        "consumption": bx.Continuous(0.0, "left"),
    },
    shocks={"income": bx.shocks.Normal(0.0, "spread")},
    functions={"wealth": wealth, "left": left, "savings": lambda left, consumption: left - consumption},
    transitions={"cash": next_cash, "durable": lambda stock, depreciation: (1 - depreciation) * stock},
    reward=utility,
    horizon=HORIZON,
)
params: dict[str, Any] = {
    "discount": 0.965,
    "risk_aversion": 2.0,
    "share": 0.9,
    "interest": 0.03,
    "cost": 0.1,
    "depreciation": 0.15,
    "spread": 0.1,
}
solver = bx.solvers.BackwardInduction(
    grid={"cash": 50, "durable": 40}, quadrature={"income": INCOMES}, maximiser=bx.maximise.NEGM()
)
start = {"cash": 1.0, "durable": 0.5}
periods = None

CASH, DURABLE = np.meshgrid(np.geomspace(0.6, 8.0, 12), np.geomspace(0.1, 3.0, 10), indexing="ij")


def checks() -> list[Check]:
    """Without a cost, V of every period and what is bought; with it, both two periods before the end."""
    free = bx.solve(model, {**params, "cost": 0.0}, solver)
    known = frictionless_durable({**params, "cost": 0.0}, INCOMES, HORIZON)
    values = [free.value(t, cash=CASH, durable=DURABLE) for t in range(HORIZON)]
    exact = [known.value(t, CASH + DURABLE) for t in range(HORIZON)]
    bought = free.policy(0, cash=CASH, durable=DURABLE)["stock"]
    solution = bx.solve(model, params, solver)
    points = {"cash": CASH[::3, ::3].ravel(), "durable": DURABLE[::3, ::3].ravel()}
    best = costly_durable(params, INCOMES, points["cash"], points["durable"])
    found = solution.policy(HORIZON - 2, **points)
    return [
        comparison.of_value("V without a cost", values, exact, 1e-5, FRICTIONLESS),
        comparison.relative("durable without a cost", bought, known.durable(0, CASH + DURABLE), 2e-3, FRICTIONLESS),
        comparison.of_value("V", solution.value(HORIZON - 2, **points), best.value, 1e-4, COSTLY),
        comparison.absolute("who trades", found["adjust"], best.trades, 0.0, COSTLY),
        comparison.relative("durable", found["stock"], best.durable, 1e-3, COSTLY),
        comparison.relative("consumption", found["consumption"], best.consumption, 1e-3, COSTLY),
    ]
