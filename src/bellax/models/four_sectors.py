"""Four sectors: growth with four kinds of capital, logarithmic utility and full depreciation, without end.

    V(k) = max over i_1, ..., i_4 >= 0 of log c + beta V(i),    c = y - i_1 - i_2 - i_3 - i_4 >= 0,
    y = A (k_1 k_2 k_3 k_4)^(alpha/4)

As in the model of one sector every investment is a constant share of output, i_j = beta alpha / 4 y, and V is linear in
the logs of capital, V(k) = a + b sum over j of log k_j. With capital measured in logs, interpolation of any kind is
exact on few nodes: this is a test of four dimensions and four actions at once. What is left after the first investments
bounds the next one, so that no plan spends more than output.

Calibration: alpha = .36, beta = .96, A = 1. Capital lies between a half and twice what is steady.
Source: Brock & Mirman (1972), "Optimal economic growth and uncertainty: the discounted case", Journal of Economic
Theory 4, for one sector; Long & Plosser (1983), "Real business cycles", Journal of Political Economy 91, for several.
"""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import sectors as closed_form

SOURCE = "closed form, Long & Plosser (1983)"
CAPITALS = ("capital_1", "capital_2", "capital_3", "capital_4")
INVESTMENTS = ("invest_1", "invest_2", "invest_3", "invest_4")


def output(capital_1, capital_2, capital_3, capital_4, productivity, alpha):
    return productivity * (capital_1 * capital_2 * capital_3 * capital_4) ** (alpha / 4)


def left_1(output, invest_1):
    return output - invest_1


def left_2(left_1, invest_2):
    return left_1 - invest_2


def left_3(left_2, invest_3):
    return left_2 - invest_3


def utility(left_3, invest_4):
    return jnp.log(left_3 - invest_4)


model = bx.Model(
    states={name: bx.Continuous(0.01, 0.045, scale=bx.scales.log) for name in CAPITALS},
    actions={
        "invest_1": bx.Continuous(0.0, "output"),
        "invest_2": bx.Continuous(0.0, "left_1"),
        "invest_3": bx.Continuous(0.0, "left_2"),
        "invest_4": bx.Continuous(0.0, "left_3"),
    },
    functions={"output": output, "left_1": left_1, "left_2": left_2, "left_3": left_3},
    transitions=dict(zip(CAPITALS, INVESTMENTS, strict=True)),
    reward=utility,
)
params: dict[str, Any] = {"discount": 0.96, "alpha": 0.36, "productivity": 1.0}
start = dict.fromkeys(CAPITALS, 0.015)
periods = 50
solver = bx.solvers.PolicyIteration(
    grid=dict.fromkeys(CAPITALS, 5),
    interpolant=bx.interpolants.Linear(),
    maximiser=bx.maximise.Newton(grid=dict.fromkeys(INVESTMENTS, 2)),
    evaluation_steps=100,
)
hermite = replace(solver, interpolant=bx.interpolants.Hermite())
"""The same with cubics: a second derivative of 256 coefficients in four actions, slow to compile and quick to run."""


def reference(given: dict[str, Any], **capital: Any) -> dict[str, Any]:
    """Value and investments of the closed form."""
    exact = closed_form(float(given["alpha"]), float(given["discount"]), 4, float(given["productivity"]))
    k = np.array([capital[name] for name in CAPITALS])
    return {"value": exact.value(k), **dict.fromkeys(INVESTMENTS, exact.investment(k))}


def checks() -> list[Check]:
    """Value and the four investments between the nodes, by the interpolant that compiles sooner."""
    return compare("multilinear", solver)


def long_checks() -> list[Check]:
    """The same by cubics."""
    return compare("Hermite", hermite)


def compare(label: str, how: bx.solvers.PolicyIteration) -> list[Check]:
    """A solver against the closed form at random capital."""
    exact = closed_form(params["alpha"], params["discount"], 4, params["productivity"])
    k = np.exp(np.random.default_rng(1).uniform(np.log(0.01), np.log(0.045), (200, 4)))
    solution, at = bx.solve(model, params, how), dict(zip(CAPITALS, k.T, strict=True))
    policy = solution.policy(**at)
    invested = np.stack([policy[name] for name in INVESTMENTS], axis=-1)
    return [
        comparison.of_value(f"V, {label}", solution.value(**at), exact.value(k), 1e-9, SOURCE),
        comparison.relative(f"investment, {label}", invested, np.asarray(exact.investment(k))[:, None], 1e-9, SOURCE),
    ]
