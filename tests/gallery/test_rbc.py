"""Stochastic growth against the closed form, the published search, and derivatives of the closed form."""

import jax
import numpy as np
import pytest

import bellax as bx
from bellax.models import rbc
from bellax.models.references import brock_mirman


def passed(checks, tolerances):
    found = {check.quantity: check for check in checks}
    assert found.keys() == tolerances.keys()
    for quantity, tolerance in tolerances.items():
        assert found[quantity].error <= tolerance, found[quantity]
        assert found[quantity].passed


def test_closed_form():
    passed(rbc.of_closed_form(), {"k'": 1e-6, "V": 1e-8})


def test_published_search():
    passed(rbc.of_published_search(), {"k', 17,820 nodes": 1e-10, "iterations, 17,820 nodes": 0.0})


def test_partial_depreciation():
    passed([rbc.of_partial_depreciation()], {"c, depreciation .95": 1e-6})


def test_implicit_derivatives_against_differences():
    quantities = [f"d{what} / d{name}" for name in ("alpha", "beta", "delta") for what in ("k'", "V")]
    passed(rbc.of_derivatives(), dict.fromkeys(quantities, 1e-6))


def test_checks_are_all_of_them(monkeypatch):
    monkeypatch.setattr(rbc, "of_closed_form", lambda: ["a"])
    monkeypatch.setattr(rbc, "of_published_search", lambda: ["b"])
    monkeypatch.setattr(rbc, "of_partial_depreciation", lambda: "c")
    monkeypatch.setattr(rbc, "of_derivatives", lambda: ["d"])
    assert rbc.checks() == ["a", "b", "c", "d"]


def test_reverse_mode_derivative_of_the_policy():
    """k' = alpha beta z k^alpha."""

    def saved(given):
        solution = bx.solve(rbc.model, given, rbc.solver)
        return solution.policy(capital=0.15, productivity=1.0106)["capital_next"]

    gradient = jax.grad(saved)(rbc.params)
    alpha, power = rbc.params["alpha"], 1.0106 * 0.15 ** rbc.params["alpha"]
    assert float(gradient["discount"]) == pytest.approx(alpha * power, rel=1e-8)
    assert float(gradient["alpha"]) == pytest.approx(0.95 * power * (1 + alpha * np.log(0.15)), rel=1e-8)


def test_many_discounts_at_once():
    discounts = np.array([0.9, 0.94, 0.97])
    capital = np.array([0.1, 0.2])

    def saved(discount):
        solution = bx.solve(rbc.model, rbc.params | {"discount": discount}, rbc.solver)
        return solution.policy(capital=capital, productivity=0.9896)["capital_next"]

    ours = np.asarray(jax.vmap(saved)(discounts))
    for discount, row in zip(discounts, ours, strict=True):
        exact = brock_mirman(rbc.params["alpha"], discount, rbc.LEVELS, rbc.TRANSITION).capital_next(capital)
        np.testing.assert_allclose(row, exact[:, 1], rtol=1e-9)
