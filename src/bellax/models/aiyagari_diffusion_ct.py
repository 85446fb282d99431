"""Aiyagari's economy in continuous time, with income that diffuses.

As `aiyagari_ct`, but for skill, which is an Ornstein-Uhlenbeck process in levels, reflected at .5 and 1.5:

    rho V = max over c of c^(1 - gamma)/(1 - gamma) + V_a (w z + r a - c) + theta (1 - z) V_z + sigma^2/2 V_zz.

Calibration: the code of the authors' project, gamma 2, rho .05, alpha .35, delta .1, theta .3, sigma .1, a in [-1, 30];
it begins with K = 3.8, near the solution, and no other number is published.

Source: Achdou, Han, Lasry, Lions & Moll (2022).
"""

from typing import Any

import numpy as np

import bellax as bx
from bellax.models import aiyagari_ct, comparison
from bellax.models.check import Check

model = bx.DiffusionModel(
    states={"assets": bx.Continuous(-1.0, 30.0), "skill": bx.Continuous(0.5, 1.5)},
    drift={"assets": aiyagari_ct.saved, "skill": lambda skill, reversion: reversion * (1 - skill)},
    diffusion={"skill": "spread"},
    boundary={"assets": bx.StateConstraint(), "skill": bx.Reflecting()},
    **aiyagari_ct.households,
)
economy: dict[str, Any] = {
    "risk_aversion": 2.0, "discount": 0.05, "productivity": 1.0, "share": 0.35, "depreciation": 0.1,
    "reversion": 0.3, "spread": 0.1,
}  # fmt: skip
equilibrium: dict[str, Any] = aiyagari_ct.equilibrium | {"unknowns": {"interest": (0.03, 0.0495)}}
params: dict[str, Any] = {**economy, "interest": 0.0488}
start = {"assets": 3.0, "skill": 1.0}
periods = 50


def by(count: int, others: int, power: float = 2.0) -> Any:
    """Nodes that are dense where the poor are."""
    nodes = bx.grids.Given(-1.0 + 31.0 * np.linspace(0.0, 1.0, count) ** power)
    return bx.solvers.FiniteDifference(grid={"assets": nodes, "skill": others})


solver = by(100, 20)


def checks() -> list[Check]:
    """Accounts of the equilibrium, and the same on another grid."""
    found = bx.equilibrium(model, economy, **equilibrium, solver=solver)
    other = bx.equilibrium(model, economy, **equilibrium, solver=by(140, 26, 1.5))
    assets, labor, consumption = (float(found.aggregates[name]) for name in aiyagari_ct.HOLDINGS)
    output = aiyagari_ct.produced(assets, labor, economy["productivity"], economy["share"])
    used = consumption + economy["depreciation"] * assets
    rate = lambda each: each.unknowns["interest"]  # noqa: E731
    return [
        comparison.absolute("mean skill", labor, 1.0, 1e-12, "the drift has no mean in a stationary population"),
        comparison.relative("what is used", used, output, 1e-12, "what is produced: Walras's law"),
        comparison.absolute("interest", rate(found), rate(other), 2e-5, "two grids that agree"),
    ]
