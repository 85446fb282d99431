"""McCall's job search: accept a wage for ever, or be paid for waiting and draw another, without end.

    V(w) = max(w / (1-beta), c + beta E V(w')),    w' drawn afresh from finitely many offers

An offer is accepted where it is above the reservation wage r = (1-beta) (c + beta E V), which solves

    r - c = beta / (1-beta) E max(w - r, 0).

Calibration: 51 wages from 10 to 60, beta-binomial with a = 200 and b = 100; c = 25, beta = .99: r = 47.3164998.
Source: McCall (1970), "Economics of information and job search", Quarterly Journal of Economics 84; the calibration and
its published number are those of Perla, Sargent & Stachurski, "Quantitative economics with Julia", "Job search I".
"""

import math
from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import mccall

SOURCE = "reservation wage by enumerating which offers are accepted, McCall (1970)"


def accepted(wage, discount):
    return wage / (1 - discount)


def beta_binomial(n: int, a: float, b: float) -> np.ndarray:
    """Probabilities of 0..n."""

    def log_beta(x: float, y: float) -> float:
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    return np.array([math.comb(n, k) * math.exp(log_beta(k + a, n - k + b) - log_beta(a, b)) for k in range(n + 1)])


model = bx.Model(
    states={"wage": bx.IID(bx.shocks.Categorical(values="wages", probabilities="chances"))},
    reward="compensation",
    stop=accepted,
)
chances = beta_binomial(50, 200.0, 100.0)
params: dict[str, Any] = {
    "discount": 0.99,
    "compensation": 25.0,
    "wages": np.linspace(10.0, 60.0, 51),
    "chances": chances / chances.sum(),
}
solver = bx.solvers.PolicyIteration()
start = {"wage": 40.0}
periods = 50


def reference(given: dict[str, Any], wage: Any) -> dict[str, Any]:
    """The value of the better of the wage and the reservation wage, for ever."""
    return {"value": max(float(wage), reservation(given)) / (1 - float(given["discount"]))}


def checks() -> list[Check]:
    """Value, reservation wage and decision at every offer."""
    solution, offers, exact = bx.solve(model, params, solver), params["wages"], reservation(params)
    waiting = np.asarray(solution.choice_values(wage=offers))[:, 0] * (1 - params["discount"])
    value = np.maximum(offers, exact) / (1 - params["discount"])
    accepts = np.asarray(solution.policy(wage=offers)["stop"], int)
    published = "Perla, Sargent & Stachurski, Quantitative economics with Julia"
    return [
        comparison.absolute("reservation wage, published", waiting, 47.31649976, 1e-7, published),
        comparison.absolute("reservation wage", waiting, exact, 1e-10, SOURCE),
        comparison.of_value("V", solution.value(wage=offers), value, 1e-10, SOURCE),
        comparison.absolute("accepts", accepts, (offers > exact).astype(int), 0.0, SOURCE),
    ]


def reservation(given: dict[str, Any]) -> float:
    """The reservation wage of a calibration."""
    wages, probabilities = np.asarray(given["wages"], float), np.asarray(given["chances"], float)
    return mccall(wages, probabilities, float(given["compensation"]), float(given["discount"]))
