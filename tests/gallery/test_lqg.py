"""Linear-quadratic control against the Riccati equation."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import lqg

QUANTITIES = ("V, 20 periods", "force, 20 periods", "V, stationary", "force, stationary")


@pytest.fixture(scope="module")
def checks():
    return {check.quantity: check for check in lqg.checks()}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_riccati(checks, quantity):
    assert checks[quantity].error <= 1e-10
    assert checks[quantity].passed


def test_every_check_has_a_test(checks):
    assert checks.keys() == set(QUANTITIES)


def test_certainty_equivalence():
    """Noise costs, and changes no action."""
    calm = bx.solve(lqg.model, lqg.params, lqg.solver)
    noisy = bx.solve(lqg.model, lqg.params | {"velocity_sd": 0.4}, lqg.solver)
    at = {"position": np.array([0.5, -1.0, 0.0]), "velocity": np.array([0.0, 0.7, -1.0])}
    np.testing.assert_allclose(noisy.policy(3, **at)["force"], calm.policy(3, **at)["force"], atol=1e-11)
    matrices = lqg.regulator(lqg.HORIZON).value_matrix
    extra = sum(0.95 ** (s - 3) * matrices[s][1, 1] * (0.4**2 - 0.1**2) for s in range(4, lqg.HORIZON + 1))
    np.testing.assert_allclose(calm.value(3, **at) - noisy.value(3, **at), extra, rtol=1e-10)
