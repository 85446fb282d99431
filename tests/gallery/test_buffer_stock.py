"""Savers with an endogenous grid: against numpy, closed forms and published numbers."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import buffer_stock, growth_boundary, precautionary_savings, references, tractable_buffer_stock


@pytest.mark.parametrize("module", [buffer_stock, growth_boundary, precautionary_savings, tractable_buffer_stock])
@pytest.mark.long
def test_checks(module):
    for check in module.checks():
        assert check.passed, check


@pytest.mark.parametrize(
    "given, target, steady",
    [(buffer_stock.params, 1.39102675, 1.37732054), (buffer_stock.log_normals, 1.40221792, 1.38669583)],
)
def test_the_reference_gives_converged_numbers(given, target, steady):
    """The published 1.39102 and 1.37731 of HARK, converged in nodes, and log-normals with fifteen nodes."""
    found = buffer_stock.exact(given)
    assert (found.target, found.steady_state) == pytest.approx((target, steady), abs=3e-8)


def test_the_reference_of_the_life_cycle_solves_its_euler_equation():
    incomes, rows = np.array([0.7, 1.4]), np.array([[0.8, 0.2], [0.2, 0.8]])
    saver = references.precautionary_savings(2.0, 0.96, 1.03, incomes, rows, 6, nodes=8000)
    wealth = np.linspace(0.1, 5.0, 40)
    for i in range(2):
        c = saver(0, i, wealth)
        saved = wealth + incomes[i] - c
        ahead = np.stack([saver(1, j, 1.03 * saved) for j in range(2)])
        wanted = (0.96 * 1.03 * rows[i] @ ahead**-2.0) ** -0.5
        free = saved > 1e-6
        np.testing.assert_allclose(c[free], wanted[free], rtol=1e-7)
        assert np.all(wanted[~free] >= c[~free] * (1 - 1e-7))


def test_the_chain_of_the_reference_has_the_moments_of_the_process():
    nodes, rows = references.rouwenhorst(0.9, 0.15, 5)
    np.testing.assert_allclose(rows @ nodes, 0.9 * nodes, atol=1e-14)
    np.testing.assert_allclose(rows @ nodes**2 - (rows @ nodes) ** 2, 0.15**2, atol=1e-14)


def test_the_reference_with_a_bound_that_binds_is_what_an_endogenous_grid_finds():
    """All is consumed up to a kink, to rounding, and beyond it the two agree."""
    cash = np.linspace(0.5, 6.0, 300)
    known = buffer_stock.exact(buffer_stock.employed).consumption(cash)
    found = bx.solve(buffer_stock.model, buffer_stock.employed, buffer_stock.solver)
    np.testing.assert_allclose(found.policy(cash=cash)["consumption"], known, rtol=1e-4)
    np.testing.assert_allclose(known[cash < 0.97], cash[cash < 0.97], rtol=1e-12)
    assert np.all(known[cash > 1.0] < cash[cash > 1.0])
