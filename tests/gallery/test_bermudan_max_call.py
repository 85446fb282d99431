"""The max-call: the lattice against published numbers, and the bracket of five assets against a published interval."""

from dataclasses import replace

import pytest

import bellax as bx
from bellax.models import bermudan_max_call


@pytest.mark.parametrize("price, published", [(90.0, 8.075), (100.0, 13.902), (110.0, 21.345)])
def test_the_lattice_has_the_published_values_of_two_assets(price, published):
    """Values of two assets as they are commonly quoted; the lattice agrees to .006."""
    assert bermudan_max_call.lattice_value(2, price) == pytest.approx(published, abs=0.006)


def test_a_bracket_of_five_assets_overlaps_the_published_interval():
    """With a tenth of the work of the model's own checks, which take well compiled code."""
    solver = replace(bermudan_max_call.solver, degree=3, samples=4096, successors=8)
    solution = bx.solve(bermudan_max_call.model, bermudan_max_call.params, solver)
    found = bx.certify(solution, points=20, agents=500, start=bermudan_max_call.start, inner=100).bracket
    low, high = found.interval
    published = bermudan_max_call.INTERVAL
    assert low <= published[1] and high >= published[0]
    assert found.width < 0.5
    assert found.lower.mean <= found.upper.mean
