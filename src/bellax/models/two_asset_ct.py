"""Savers with a liquid and an illiquid asset, and a cost with a kink of moving money between them.

    rho V_j = max over c, d of c^(1-gamma)/(1-gamma) + V_b ((1 - xi) w z_j + r_b(b) b - c - d - chi(d, a))
              + V_a (r_a(a) a + xi w z_j + d) + lambda_j (V_-j - V_j),   b >= b_min,  a >= 0,
    chi = chi_0 abs(d) + chi_1 d^2 / (2 a),      c = V_b^(-1/gamma),
    d = a/chi_1 (min(V_a/V_b - 1 + chi_0, 0) + max(V_a/V_b - 1 - chi_0, 0)),

so that nobody moves money where V_a/V_b is within chi_0 of one. Borrowing costs more than bonds pay, and the return of
the illiquid asset falls far out, so that it is held in. Two states move with the same action: the direction of each is
selected with that of the other given.

There is no closed form. The reference is another method: at every node the best of many d, each with the best c, in
upwind differences (models/_references/two_assets.py). At 40 x 25 nodes V of the two is within .09 %, and within
3e-5 on average over the population.

Calibration: of the authors' code for the kinked cost, gamma 2, rho .06, r_a .05, r_b .03 and .12, chi .03 and 2, xi .1,
w 4, z .8 and 1.3, lambda 1/3, b in [-2, 40], a in [0, 70].
Source: Kaplan, Moll & Violante (2018), "Monetary policy according to HANK", American Economic Review 108, and Moll's
code of its household.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models._references import two_assets
from bellax.models.check import Check

METHOD = "two methods: enumeration of deposits in upwind differences"
LOW, HIGH, MOST = -2.0, 40.0, 70.0
INCOMES, SWITCH = (0.8, 1.3), 1 / 3


def deposit_cost(deposit, illiquid, chi_0, chi_1):
    return chi_0 * jnp.abs(deposit) + 0.5 * chi_1 * deposit**2 / jnp.maximum(illiquid, 1e-5)


def best_deposit(illiquid, marginal_illiquid, marginal_liquid, chi_0, chi_1):
    gain = marginal_illiquid / marginal_liquid - 1
    return jnp.maximum(illiquid, 1e-5) / chi_1 * (jnp.minimum(gain + chi_0, 0.0) + jnp.maximum(gain - chi_0, 0.0))


def liquid_return(liquid, bonds, loans):
    return jnp.where(liquid < 0, loans, bonds) * liquid


def illiquid_return(illiquid, premium):
    return premium * illiquid * (1 - (illiquid / (1.33 * MOST)) ** 14)


model = bx.DiffusionModel(
    states={
        "liquid": bx.Continuous(LOW, HIGH),
        "illiquid": bx.Continuous(0.0, MOST),
        "income": bx.MarkovChain(list(INCOMES), intensity=[[-SWITCH, SWITCH], [SWITCH, -SWITCH]]),
    },
    actions={"consumption": bx.Continuous(1e-9), "deposit": bx.Continuous()},
    policy={"consumption": lambda marginal_liquid, gamma: marginal_liquid ** (-1 / gamma), "deposit": best_deposit},
    functions={"deposit_cost": deposit_cost, "liquid_return": liquid_return, "illiquid_return": illiquid_return},
    reward=lambda consumption, gamma: consumption ** (1 - gamma) / (1 - gamma),
    drift={
        "liquid": lambda income, liquid_return, consumption, deposit, deposit_cost, wage, xi: (
            (1 - xi) * wage * income + liquid_return - consumption - deposit - deposit_cost
        ),
        "illiquid": lambda income, illiquid_return, deposit, wage, xi: illiquid_return + xi * wage * income + deposit,
    },
    discount="rho",
    boundary={"liquid": bx.StateConstraint(), "illiquid": bx.StateConstraint()},
)
params: dict[str, Any] = {
    "gamma": 2.0, "rho": 0.06, "premium": 0.05, "bonds": 0.03, "loans": 0.12, "chi_0": 0.03, "chi_1": 2.0, "xi": 0.1,
    "wage": 4.0,
}  # fmt: skip
solver = bx.solvers.FiniteDifference(grid={"liquid": bx.grids.Regular(40), "illiquid": bx.grids.Regular(25)})
start = {"liquid": 1.0, "illiquid": 10.0, "income": 0.8}
periods = None


def checks() -> list[Check]:
    """V and policies beside the other method on the same nodes."""
    solution = bx.solve(model, params, solver)
    density = bx.stationary(solution)
    nodes = {name: np.asarray(line) for name, line in solution.nodes().items()}
    found = two_assets.solved(nodes["liquid"], nodes["illiquid"], np.asarray(INCOMES), SWITCH, params)
    value = np.asarray(solution.value(**_laid(nodes)))
    policy = solution.policy(**_laid(nodes))
    mass = np.asarray(density.mass)
    mean = lambda of: float(np.sum(mass * of))  # noqa: E731
    consumption, deposit = (mean(np.asarray(policy[name])) for name in ("consumption", "deposit"))
    return [
        comparison.relative("V", value, found.value, 2e-3, METHOD),
        comparison.relative("V where the population is", mean(value), mean(found.value), 1e-4, METHOD),
        comparison.relative("mean consumption", consumption, mean(found.consumption), 2e-3, METHOD),
        comparison.absolute("mean deposit", deposit, mean(found.deposit), 5e-3, METHOD),
        comparison.absolute("mass", mass.sum(), 1.0, 1e-12, "a density"),
    ]


def _laid(nodes: dict[str, np.ndarray]) -> dict[str, Any]:
    return dict(zip(nodes, np.meshgrid(*nodes.values(), indexing="ij"), strict=True))
