"""When to invest: a project that is worth x, which grows at random, for a cost that is paid once.

    rho V = mu x V' + sigma^2/2 x^2 V'',   V >= x - I,
    V = (x* - I) (x/x*)^b below x* = b/(b - 1) I,   b the larger root of sigma^2/2 b (b - 1) + mu b = rho.

V is the larger of stopping and going on; between two nodes, of which one stops, the border is where stopping is worth
most, so that V and the border are second order in the step.

Numbers, nodes even in log x, relative to x*: with 400, 1,600 and 3,200 of them the border is off by 1.7e-4, 4e-5 and
1e-5; with a node on it by 1.7e-5, and then by rounding. V is off by 2.8e-4, 2.0e-5 and 4.4e-6.

Calibration (ours): mu .02, sigma .2, rho .06, I 1, so that b = 1.732 and x* = 2.366.
Source: McDonald & Siegel (1986), "The value of waiting to invest", Quarterly Journal of Economics 101; Dixit & Pindyck
(1994), chapter 5.
"""

from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

SOURCE = "closed form, McDonald & Siegel (1986)"
LOW, HIGH = 0.002, 8.0

model = bx.DiffusionModel(
    states={"x": bx.Continuous(LOW, HIGH, scale=bx.scales.log)},
    reward=0.0,
    drift={"x": lambda x, mu: mu * x},
    diffusion={"x": lambda x, sigma: sigma * x},
    discount="rho",
    stop=lambda x, cost: x - cost,
    boundary={"x": bx.Natural()},
)
params: dict[str, Any] = {"mu": 0.02, "sigma": 0.2, "rho": 0.06, "cost": 1.0}
solver = bx.solvers.FiniteDifference(grid={"x": 1601})
start = {"x": 1.0}
periods = None


def power(mu: float, sigma: float, rho: float) -> float:
    half = 0.5 - mu / sigma**2
    return half + np.sqrt(half**2 + 2 * rho / sigma**2)


def threshold(given: Any) -> float:
    """At which one invests."""
    b = power(*(float(given[name]) for name in ("mu", "sigma", "rho")))
    return b / (b - 1) * float(given["cost"])


def value(x: Any, given: Any) -> Any:
    b, border, cost = power(*(float(given[n]) for n in ("mu", "sigma", "rho"))), threshold(given), float(given["cost"])
    return np.where(x < border, (border - cost) * (np.minimum(x, border) / border) ** b, x - cost)


def reference(given: dict[str, Any], x: Any) -> dict[str, Any]:
    """V of the closed form."""
    return {"value": float(value(float(x), given))}


def border(solution: Any, near: float) -> float:
    """Where stopping begins, by bisection of what is done."""
    low, high = 0.9 * near, 1.1 * near
    for _ in range(50):
        middle = 0.5 * (low + high)
        stops = float(solution.policy(x=middle)["stop"]) > 0
        low, high = (low, middle) if stops else (middle, high)
    return 0.5 * (low + high)


def with_a_node_on(place: float, count: int) -> Any:
    """Nodes even in log x, one of them at a given place."""
    step = np.log(HIGH / LOW) / count
    below, above = int(np.log(place / LOW) / step), int(np.log(HIGH / place) / step)
    inner = place * np.exp(step * np.arange(-below, above + 1))
    return bx.grids.Given(np.unique(np.concatenate([[LOW], inner[(inner > LOW) & (inner < HIGH)], [HIGH]])))


def checks() -> list[Check]:
    """The border and V, on even nodes and with a node on the border."""
    place, x = threshold(params), np.geomspace(0.1, 6.0, 60)
    exact = value(x, params)
    rows = []
    for label, grid, close in (("even nodes", 1601, 1e-4), ("a node on it", with_a_node_on(place, 1600), 1e-6)):
        found = bx.solve(model, params, bx.solvers.FiniteDifference(grid={"x": grid}))
        rows.append(comparison.relative(f"border, {label}", border(found, place), place, close, SOURCE))
        rows.append(comparison.absolute(f"V, {label}", found.value(x=x), exact, 3e-5, SOURCE))
    return rows
