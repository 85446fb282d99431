"""Reservoirs: between two bounds, beside a grid."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import hydropower


@pytest.fixture(scope="module")
def one():
    """The bracket of one reservoir."""
    return hydropower.bracket(1, hydropower.solver, agents=1000)


@pytest.mark.long
def test_the_bracket_is_narrow_and_holds_the_value_of_a_grid(one):
    low, high = one.interval
    known = hydropower.on_a_grid(17)
    assert low < known < high
    assert hydropower.narrow("1 reservoir", one, 0.005).passed


def test_water_stays_between_nothing_and_the_capacity():
    start, given = hydropower.beginning(1), hydropower.calibration(1)
    solution = bx.solve(hydropower.hydropower(1), given, bx.solvers.ILQG(start=start))
    panel = bx.simulate(solution, 200, start, seed=1)
    left = np.asarray(panel.states["storage"] - panel.actions["released"] - panel.actions["spilled"])
    assert left.min() >= -1e-12 and left.max() <= given["capacity"][0] + 1e-12
    assert np.mean(np.isclose(left, given["capacity"][0])) > 0.1 and np.mean(np.isclose(left, 0.0)) > 0.1
