"""Stochastic growth against the closed form, the published search on fewer nodes, and derivatives.

The search on all 17,820 nodes takes ten seconds of good code and minutes of code that was compiled in haste: it is left
to `bellax validate rbc`.
"""

import dataclasses

import numpy as np
import pytest

import bellax as bx
from bellax.models import rbc
from bellax.models.check import Check


def passed(checks, tolerances):
    found = {check.quantity: check for check in checks}
    assert found.keys() == tolerances.keys()
    for quantity, tolerance in tolerances.items():
        assert found[quantity].error <= tolerance, found[quantity]
        assert found[quantity].passed


def test_closed_form():
    passed(rbc.of_closed_form(), {"k'": 1e-6, "V": 1e-8})


def test_published_search_on_fewer_nodes():
    """Every 103rd node, the last among them: the same recursion in numpy, and as many iterations as published."""
    nodes, given = rbc.NODES[::103], rbc.published_params
    choices = bx.maximise.Enumerate(grid={"capital_next": bx.grids.Given(nodes)}, single_peaked=("capital_next",))
    solver = dataclasses.replace(
        rbc.published_solver, grid={"capital": bx.grids.Regular(len(nodes))}, maximiser=choices
    )
    found = bx.solve(rbc.published, given, solver)
    output = rbc.LEVELS[:, None] * nodes ** given["alpha"]
    consumed = output[:, :, None] - nodes
    reward = np.where(consumed > 0, (1 - given["discount"]) * np.log(np.where(consumed > 0, consumed, 1.0)), -np.inf)
    value, iterations, change = np.zeros(output.shape), 0, np.inf
    while change >= solver.tolerance:
        worth = reward + given["discount"] * (rbc.PRINTED @ value)[:, None]
        value, before, iterations = worth.max(axis=-1), value, iterations + 1
        change = np.max(np.abs(value - before) / np.abs(value))
    at = {"capital": nodes[:, None], "productivity": rbc.LEVELS}
    np.testing.assert_array_equal(found.policy(**at)["capital_next"], nodes[worth.argmax(axis=-1)].T)
    np.testing.assert_allclose(found.value(**at), value.T, atol=2e-7)  # a step further
    assert int(found.stats["steps"]) == iterations == 257


@pytest.mark.long
def test_partial_depreciation():
    passed([rbc.of_partial_depreciation()], {"c, depreciation .95": 1e-6})


@pytest.mark.long
def test_implicit_derivatives_against_differences():
    quantities = [f"d{what} / d{name}" for name in ("alpha", "beta", "delta") for what in ("k'", "V")]
    passed(rbc.of_derivatives(), dict.fromkeys(quantities, 1e-6))


def test_checks_are_all_of_them(monkeypatch):
    parts = [Check(name, 0.0, 0.0, 0.0, 0.0, "") for name in "abcd"]
    monkeypatch.setattr(rbc, "of_closed_form", lambda: parts[:1])
    monkeypatch.setattr(rbc, "of_published_search", lambda: parts[1:2])
    monkeypatch.setattr(rbc, "of_partial_depreciation", lambda: parts[2])
    monkeypatch.setattr(rbc, "of_derivatives", lambda: parts[3:])
    assert rbc.checks() == parts
