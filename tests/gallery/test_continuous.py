"""The gallery in continuous time: references that solve their equations, nodes that halve, and what a run asks for."""

import numpy as np
import pytest

import bellax as bx
from bellax.cli import flows, sources
from bellax.models import firm_irreversible, huggett_ct, ornstein_uhlenbeck

NAMES = ("firm_hamiltonian", "firm_irreversible", "firm_quadratic", "huggett_ct", "ornstein_uhlenbeck")


def test_the_value_of_the_process_solves_its_equation():
    """r V = -x^2 - kappa x V_x + sigma^2/2 V_xx, by differences, which are exact of a quadratic."""
    p, step = ornstein_uhlenbeck.params, 0.1
    for x in (-0.5, 0.0, 0.8):
        low, here, high = (ornstein_uhlenbeck.reference(p, x=x + by)["value"] for by in (-step, 0.0, step))
        slope, bend = (high - low) / (2 * step), (high - 2 * here + low) / step**2
        flow = -(x**2) - p["kappa"] * x * slope + 0.5 * p["sigma"] ** 2 * bend
        assert p["discount"] * here == pytest.approx(flow, abs=1e-12)


def test_cells_halve():
    coarse, fine = (np.asarray(huggett_ct.uneven(count).nodes) for count in (251, 501))
    np.testing.assert_allclose(fine[::2], coarse, atol=1e-14)
    assert (fine[0], fine[-1]) == (huggett_ct.LOW, huggett_ct.HIGH)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_finds_what_it_needs(name):
    source = sources.load(name)
    assert source.description and isinstance(source.model, bx.DiffusionModel)
    flows.check(source, source.params)
    assert set(source.start) == set(source.model.states)
    assert (source.equilibrium is None) == (name == "ornstein_uhlenbeck")


def test_conditions_have_parameters_of_their_own():
    source = sources.load("firm_irreversible")
    assert set(flows.others(source)) == {"price", "elasticity"}
    assert set(firm_irreversible.params) - set(source.model.template()["name"]) == {"elasticity"}
