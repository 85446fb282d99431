"""Stochastic growth against the closed form, the published search, and derivatives of the closed form."""

import jax
import numpy as np

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


def test_published_search():
    passed(rbc.of_published_search(), {"k', 17,820 nodes": 1e-10, "iterations, 17,820 nodes": 0.0})


def test_partial_depreciation():
    passed([rbc.of_partial_depreciation()], {"c, depreciation .95": 1e-6})


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


def test_policy_and_its_gradient_at_many_discounts_at_once():
    """k' = alpha beta z k^alpha, by vmap over reverse mode over the implicit function theorem."""

    def saved(discount, alpha):
        given = rbc.params | {"discount": discount, "alpha": alpha}
        solution = bx.solve(rbc.model, given, rbc.solver)
        return solution.policy(capital=0.15, productivity=1.0106)["capital_next"]

    alpha, discounts = rbc.params["alpha"], np.array([0.9, 0.94, 0.97])
    values, gradients = jax.vmap(jax.value_and_grad(saved, argnums=(0, 1)), in_axes=(0, None))(discounts, alpha)
    power = 1.0106 * 0.15**alpha
    np.testing.assert_allclose(values, alpha * discounts * power, rtol=1e-9)
    np.testing.assert_allclose(gradients[0], np.full(3, alpha * power), rtol=1e-8)
    np.testing.assert_allclose(gradients[1], discounts * power * (1 + alpha * np.log(0.15)), rtol=1e-8)
