"""Observed orders of convergence, on a problem that neither interpolant represents exactly.

CRRA Merton with gamma = 3 on a grid in log wealth, where V ~ exp(-2 y). Linear interpolation is off by h^2 V'' / 8 at
most, cubic interpolation with exact slopes by h^4 V'''' / 384; limited slopes keep the order where V is concave.
"""

from dataclasses import replace

import numpy as np
import pytest

import bellax as bx
from bellax.models import merton_crra
from bellax.models.references import merton_crra as closed_form

HORIZON = 4
MODEL = replace(
    merton_crra.model,
    states={"wealth": bx.Continuous(0.05, 200.0, scale=bx.scales.log)},
    horizon=HORIZON,
)
EXACT = closed_form(3.0, 0.96, 0.04, 0.15, horizon=HORIZON, terminal=1.0)


def error_of_value(count, interpolant):
    """The largest relative error of V in period 0, four Bellman steps from the bequest."""
    solver = bx.solvers.BackwardInduction(
        grid={"wealth": count},
        interpolant=interpolant,
        maximiser=bx.maximise.Golden(grid={"consumption": 100}),
    )
    solution = bx.solve(MODEL, merton_crra.params, solver)
    wealth = np.geomspace(5.0, 50.0, 200)
    return np.max(np.abs(np.asarray(solution.value(0, wealth=wealth)) / (EXACT.coefficient[0] * wealth**-2 / -2) - 1))


@pytest.mark.parametrize(
    "interpolant, counts, order",
    [
        (bx.interpolants.Linear(), (40, 160), 2.0),
        (bx.interpolants.Hermite(), (20, 80), 4.0),
    ],
    ids=["linear", "hermite"],
)
def test_order(interpolant, counts, order):
    errors = [error_of_value(count, interpolant) for count in counts]
    slope = np.log(errors[1] / errors[0]) / np.log(counts[1] / counts[0])
    assert -slope == pytest.approx(order, abs=0.25), errors
