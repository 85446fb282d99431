"""Stochastic growth whose depreciation is a number between .8 and 1 that differs from economy to economy.

    1/c(k, z, d) = beta E[(alpha z' k'^(alpha - 1) + 1 - d) / c(k', z', d) | z],    k' = z k^alpha + (1 - d) k - c

Depreciation d is a third state that stays where it is: one net is the policy of every such economy. At d = 1 the
optimum is to save the share alpha beta of output; elsewhere the reference solves the equation by polynomials in log k,
one economy at a time. `moving` is the same model with depreciation that moves: an AR1, seen before the choice.

Calibration: as `rbc`; depreciation in [.8, 1], and, where it moves, around .9 with a standard deviation of .03.
Source: Brock & Mirman (1972), Journal of Economic Theory 4, for the model with d = 1.
"""

from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison, rbc
from bellax.models.check import Check
from bellax.models.references import partial_depreciation

SOURCE = "Chebyshev collocation, Judd (1992)"
LEAST, MOST = (rbc.steady_state(1 / 3, 0.95, d) for d in (1.0, 0.8))
WIDE = (0.6 * LEAST, 1.4 * MOST)


def economies(depreciation: Any, laws: dict[str, Any]) -> bx.Model:
    """The model with a state for depreciation."""
    return bx.Model(
        states={
            "capital": bx.Continuous(*WIDE, scale=bx.scales.log),
            "productivity": bx.MarkovChain(rbc.LEVELS, "transition"),
            "depreciation": depreciation,
        },
        actions={"capital_next": bx.Continuous(0.0, "resources")},
        functions={"output": rbc.output, "resources": rbc.resources},
        transitions={"capital": lambda capital_next: capital_next, **laws},
        reward=rbc.utility,
    )


model = economies(bx.Continuous(0.8, 1.0), {"depreciation": bx.fixed})
moving = economies(bx.AR1(rho=0.9, sigma=0.03 * (1 - 0.9**2) ** 0.5, mean=0.9), {})
params: dict[str, Any] = {"alpha": 1 / 3, "discount": 0.95, "transition": rbc.TRANSITION}
solver = bx.solvers.EulerNet(hidden=(20, 20))
start = {"capital": LEAST, "depreciation": 0.95}
periods = 200


def consumption(depreciation: float, capital: Any) -> np.ndarray:
    """Consumption of the reference, with productivity as the last axis."""
    wide = (0.8 * WIDE[0], 1.2 * WIDE[1])
    found = partial_depreciation(1 / 3, 0.95, depreciation, rbc.LEVELS, rbc.TRANSITION, wide)
    return found.consumption(np.asarray(capital))


def checks() -> list[Check]:
    """Consumption of economies with six depreciations, and the Euler equation between them."""
    solution = bx.solve(model, params, solver)
    worst, capital = 0.0, np.linspace(*WIDE, 101)
    for depreciation in (0.8, 0.85, 0.9, 0.95, 0.98, 1.0):
        exact = consumption(depreciation, capital)
        worst = max(worst, float(np.max(np.abs(_consumed(solution, depreciation, capital) / exact - 1))))
    steady = rbc.steady_state(1 / 3, 0.95, 0.95)
    known = [0.38638187, 0.39043262, 0.39448383, 0.39861303, 0.40274201]
    return [
        comparison.absolute("c, relative, all economies", worst, 0.0, 5e-5, SOURCE),
        comparison.relative("c at d = .95", _consumed(solution, 0.95, steady), known, 5e-6, SOURCE),
        comparison.absolute("Euler error, mean", float(solution.stats["condition_mean"]), 0.0, 1e-5, "zero"),
        comparison.absolute("Euler error, largest", float(solution.stats["condition_max"]), 0.0, 5e-5, "zero"),
    ]


def long_checks() -> list[Check]:
    """The Euler equation where depreciation moves."""
    solution = bx.solve(moving, params, solver)
    mean, most = (float(solution.stats[f"condition_{what}"]) for what in ("mean", "max"))
    return [
        comparison.absolute("Euler error, moving, mean", mean, 0.0, 1e-5, "zero"),
        comparison.absolute("Euler error, moving, largest", most, 0.0, 5e-5, "zero"),
    ]


def _consumed(solution: Any, depreciation: float, capital: Any) -> np.ndarray:
    k = np.asarray(capital)[..., None]
    saved = solution.policy(capital=k, productivity=rbc.LEVELS, depreciation=depreciation)["capital_next"]
    return k ** (1 / 3) * rbc.LEVELS + (1 - depreciation) * k - saved
