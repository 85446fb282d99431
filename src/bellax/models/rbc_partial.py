"""Stochastic growth with depreciation of a tenth, solved by a net on its Euler equation.

    1/c(k, z) = beta E[(alpha z' k'^(alpha - 1) + 1 - delta) / c(k', z') | z],    k' = z k^alpha + (1 - delta) k - c

The model is that of `rbc`; without full depreciation there is no closed form. The policy is the share of resources that
is saved, so that consumption is positive whatever the net says, and the equation is asked to hold at points of the box
and where simulated paths lead. The reference solves the same equation by polynomials in log k.

Calibration: as `rbc`, with delta = .1.
Source: Brock & Mirman (1972), Journal of Economic Theory 4; Maliar, Maliar & Winant (2021), Journal of Monetary
Economics 122, for nets.
"""

from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison, rbc
from bellax.models.check import Check
from bellax.models.references import partial_depreciation

SOURCE = "Chebyshev collocation, Judd (1992)"
STEADY = rbc.steady_state(1 / 3, 0.95, 0.1)
WIDE = (0.5 * STEADY, 1.5 * STEADY)

model = rbc.growth(*WIDE)
params: dict[str, Any] = rbc.params | {"depreciation": 0.1}
solver = bx.solvers.EulerNet()
start = {"capital": STEADY}
periods = 200


def consumption(given: dict[str, Any], capital: Any) -> np.ndarray:
    """Consumption of the reference, with productivity as the last axis."""
    alpha, discount, depreciation = (float(given[name]) for name in ("alpha", "discount", "depreciation"))
    wide, moves = (0.9 * WIDE[0], 1.1 * WIDE[1]), np.asarray(given["transition"])
    return partial_depreciation(alpha, discount, depreciation, rbc.LEVELS, moves, wide).consumption(capital)


def reference(given: dict[str, Any], capital: Any, productivity: Any) -> dict[str, Any]:
    """Saving of the reference."""
    place = int(np.argmin(np.abs(rbc.LEVELS - productivity)))
    left = productivity * capital ** given["alpha"] + (1 - given["depreciation"]) * capital
    return {"capital_next": left - consumption(given, np.asarray(capital))[place]}


def checks() -> list[Check]:
    """Consumption everywhere in the box, and the Euler equation there."""
    return off(bx.solve(model, params, solver))


def long_checks() -> list[Check]:
    """The same from other random weights."""
    return [check for seed in (1, 2) for check in off(bx.solve(model, params, bx.solvers.EulerNet(seed=seed)), seed)]


def off(solution: Any, seed: int = 0) -> list[Check]:
    """How far a solution is from the reference."""
    told = f", seed {seed}" if seed else ""
    capital = np.linspace(*WIDE, 201)
    saved = solution.policy(capital=capital[:, None], productivity=rbc.LEVELS)["capital_next"]
    wealth = capital[:, None] ** params["alpha"] * rbc.LEVELS + (1 - params["depreciation"]) * capital[:, None]
    exact = consumption(params, capital)
    return [
        comparison.relative(f"c{told}", wealth - saved, exact, 3e-6, SOURCE),
        comparison.absolute(f"Euler error, largest{told}", float(solution.stats["condition_max"]), 0.0, 3e-6, "zero"),
        comparison.absolute(f"Euler error, mean{told}", float(solution.stats["condition_mean"]), 0.0, 1e-6, "zero"),
    ]
