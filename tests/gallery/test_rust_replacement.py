"""Replacement against the closed form: boundary, value, and what is done on either side."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import rust_replacement
from bellax.models.references import rust_replacement as closed_form


@pytest.fixture(scope="module")
def solution():
    return bx.solve(rust_replacement.model, rust_replacement.params, rust_replacement.solver)


def test_checks():
    checks = {check.quantity: check for check in rust_replacement.checks()}
    assert checks["V"].error <= 1e-4
    assert checks["boundary"].error <= 2e-5
    assert all(check.passed for check in checks.values())


def test_the_machine_is_kept_below_the_boundary_and_replaced_above(solution):
    exact = closed_form(rate=0.5, maintenance=200.0, cost=100_000.0, discount=0.95)
    usage = np.concatenate([np.linspace(0.0, 52.8, 200), np.linspace(52.9, 80.0, 100)])
    replaced = np.asarray(solution.policy(usage=usage)["machine"]) == rust_replacement.Machine.replace
    np.testing.assert_array_equal(replaced, usage >= exact.threshold)


def test_the_value_is_flat_beyond_the_boundary(solution):
    with pytest.warns(bx.OutsideWarning, match="'usage' is 300"):  # right all the same: a replaced machine is at zero
        values = np.asarray(solution.value(usage=np.array([53.0, 60.0, 79.0, 300.0])))
    np.testing.assert_allclose(values, values[0], rtol=1e-12)
