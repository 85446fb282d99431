"""Rust's replacement of a machine whose wear is exponential: the optimal stopping rule is known in closed form.

    V(x) = max(-c x + beta E V(x + e), -K + beta E V(e)),    e ~ exponential with mean 1 / lambda

Accumulated usage x is seen. To keep the machine costs c x in the period; to replace it costs K, and the new one serves
in the period already. Replacement is optimal at and above a usage g; V falls to there and is flat beyond,

    V(x) = -c x / (1-beta) - beta c / (lambda (1-beta)^2) (1 - exp(-lambda (1-beta) (g - x))),    x <= g.

Wear is the inverse of its distribution function at a uniform shock. Its logarithmic tail limits Gauss-Legendre nodes:
errors fall with the square of their number only. With 128 of them V is good to 2e-5, and with 512 to the 7e-6 that
linear interpolation leaves in the cell of the kink at g.

Calibration: lambda = .5, c = 200, K = 100,000, beta = .95, where g = 52.86545636.
Source: Rust (1996), "Numerical dynamic programming in economics", Handbook of computational economics 1, chapter 14.
"""

import enum
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import rust_replacement as closed_form


class Machine(enum.IntEnum):
    keep = 0
    replace = 1


def cost(usage, machine, maintenance, price):
    return jnp.where(machine == Machine.keep, -maintenance * usage, -price)


def wear(u, rate):
    return -jnp.log1p(-u) / rate


def next_usage(usage, machine, wear):
    return jnp.where(machine == Machine.keep, usage, 0.0) + wear


model = bx.Model(
    states={"usage": bx.Continuous(0.0, 80.0)},
    actions={"machine": bx.Discrete(Machine)},
    shocks={"u": bx.shocks.Uniform()},
    functions={"wear": wear},
    transitions={"usage": next_usage},
    reward=cost,
)
params: dict[str, Any] = {"discount": 0.95, "rate": 0.5, "maintenance": 200.0, "price": 100_000.0}
solver = bx.solvers.PolicyIteration(
    grid={"usage": 801},
    quadrature={"u": 128},
    interpolant=bx.interpolants.Linear(extrapolation="constant"),
)
start = {"usage": 0.0}
periods = 100


def reference(given: dict[str, Any], usage: Any) -> dict[str, Any]:
    """Value of the closed form."""
    names = ("rate", "maintenance", "price", "discount")
    return {"value": closed_form(*(float(given[name]) for name in names)).value(np.asarray(usage))}


def checks() -> list[Check]:
    """The value below and above the boundary, and the boundary itself, where the two actions are worth the same."""
    exact = closed_form(params["rate"], params["maintenance"], params["price"], params["discount"])
    solution = bx.solve(model, params, solver)
    usage = np.linspace(0.0, 70.0, 1401)
    values = solution.value(usage=usage)
    return [
        comparison.relative("V", values, exact.value(usage), 1e-4, "closed form, Rust (1996)"),
        comparison.relative("boundary", boundary(solution), 52.86545636, 2e-5, "Rust (1996)"),
    ]


def boundary(solution: bx.Solution) -> float:
    """Usage at which keeping and replacing are worth the same."""
    usage = np.linspace(50.0, 56.0, 6001)
    kept, replaced = np.asarray(solution.choice_values(usage=usage)).T
    return float(np.interp(0.0, replaced - kept, usage))
