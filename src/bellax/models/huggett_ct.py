"""Huggett's economy in continuous time: savers with two incomes, and the rate at which bonds are in zero supply.

    rho V_j = max over c of c^(1-gamma)/(1-gamma) + V_j' (y_j + r a - c) + lambda (V_-j - V_j),   a >= a_min,
    c = V_j'^(-1/gamma),      E[a] = 0 over the stationary density,

gamma 2, rho .05, y .1 and .2, lambda 1.2, a in [-.15, 5]. Who is poor and has the low income is at the limit: an atom.
There the drift vanishes like a square root, and everywhere else without variance, so that differences are upwind and
first order.

Numbers: r = .031917 on 500 even nodes and .033936 on 1,000, as published. Half of all assets are below zero and all but
6e-5 below .5, so `uneven` nodes, a = a_min + L sinh(5 s^2) / sinh(5) with s even, are ten times closer at equal counts:
.035830, .035963 and .036031 with 251, 501 and 1,001 of them, whose cells halve; without the error of first order the
last two say .0360989, and all three without that of second order .0360995. The atom is .01057 by the last two.

Source: Achdou, Han, Lasry, Lions & Moll (2022), "Income and wealth distribution in macroeconomics: a continuous-time
approach", Review of Economic Studies 89, and its code; Huggett (1993), whose economy it is.
"""

from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

PUBLISHED = "Achdou, Han, Lasry, Lions & Moll (2022), the authors' code"
CONVERGED = "upwind differences of another code, converged"
LOW, HIGH = -0.15, 5.0


def utility(consumption, risk_aversion):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def saving(assets, income, consumption, interest):
    return income + interest * assets - consumption


model = bx.DiffusionModel(
    states={
        "assets": bx.Continuous(LOW, HIGH),
        "income": bx.MarkovChain([0.1, 0.2], intensity=[[-1.2, 1.2], [1.2, -1.2]]),
    },
    actions={"consumption": bx.Continuous(1e-6)},
    policy={"consumption": lambda marginal_assets, risk_aversion: marginal_assets ** (-1 / risk_aversion)},
    reward=utility,
    drift={"assets": saving},
    boundary={"assets": bx.StateConstraint()},
)
params: dict[str, Any] = {"risk_aversion": 2.0, "discount": 0.05}
equilibrium: dict[str, Any] = {
    "unknowns": {"interest": (0.0, 0.0499)},
    "aggregates": {"bonds": "assets"},
    "conditions": {"no bonds": lambda bonds: bonds},
}


def uneven(count: int) -> Any:
    """Nodes that crowd at the borrowing limit like a square, and grow apart further up."""
    share = np.sinh(5 * np.linspace(0.0, 1.0, count) ** 2) / np.sinh(5.0)
    return bx.grids.Given(LOW + (HIGH - LOW) * share)


solver = bx.solvers.FiniteDifference(grid={"assets": uneven(501)})
start = {"assets": 0.0, "income": 0.1}
periods = None


def checks() -> list[Check]:
    """The published rate on 500 nodes, and the rate and the atom of two uneven grids whose cells halve."""
    even, coarse, fine = (cleared(nodes) for nodes in (bx.grids.Regular(500), uneven(251), uneven(501)))
    rate, atom = (2 * get(fine) - get(coarse) for get in (interest, at_limit))
    mass = np.asarray(fine.density.mass)
    return [
        comparison.absolute("r, 500 even nodes", interest(even), 0.031917, 5e-6, PUBLISHED),
        comparison.absolute("r, uneven nodes", rate, 0.03610, 1e-5, CONVERGED),
        comparison.absolute("atom, uneven nodes", atom, 0.0107, 2e-4, CONVERGED),
        comparison.absolute("shares of incomes", mass.sum(axis=0), 0.5, 1e-10, "intensities are equal"),
        comparison.absolute("mass", mass.sum(), 1.0, 1e-12, "a density"),
    ]


def long_checks() -> list[Check]:
    """The published rate on 1,000 nodes, and three uneven grids without errors of first and second order."""
    even, *found = (cleared(n) for n in (bx.grids.Regular(1000), uneven(251), uneven(501), uneven(1001)))
    coarse, middle, fine = map(interest, found)
    rate = (4 * (2 * fine - middle) - (2 * middle - coarse)) / 3
    return [
        comparison.absolute("r, 1,000 even nodes", interest(even), 0.033936, 5e-6, PUBLISHED),
        comparison.absolute("r, three uneven grids", rate, 0.03610, 1e-5, CONVERGED),
    ]


def cleared(nodes: Any) -> Any:
    """The equilibrium on given nodes."""
    return bx.equilibrium(model, params, **equilibrium, solver=bx.solvers.FiniteDifference(grid={"assets": nodes}))


def interest(found: Any) -> float:
    return float(found.unknowns["interest"])


def at_limit(found: Any) -> float:
    """The mass of those with the low income at the borrowing limit."""
    return float(found.density.mass[0, 0])
