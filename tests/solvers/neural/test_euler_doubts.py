"""What an `EulerNet` must not pass for a solution, and what it must not refuse: saddles, rewards without a number,
conditions of one term, and what it begins with."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

FEW = {"hidden": (4,), "points": 48, "rounds": 1, "budget": 10}


GROWTH = {
    "states": {"capital": bx.Continuous(0.1, 0.3, scale=bx.scales.log)},
    "actions": {"saved": bx.Continuous(0.0, "output")},
    "functions": {"output": lambda capital: capital**0.36},
    "transitions": {"capital": lambda saved: saved},
}


def test_a_reward_that_is_no_number_is_no_success():
    """The logarithm of a negative number has a derivative."""
    model = bx.Model(**GROWTH, reward=lambda output, saved: jnp.log(saved - output))
    with pytest.raises(bx.SolveError, match="what is paid, are no number"):
        bx.solve(model, {"discount": 0.95}, bx.solvers.EulerNet(**FEW, finish=3, tolerance=10.0))


def test_a_solution_says_that_v_is_none(caplog):
    """V by least squares, with a policy far from its own steady state, is not within 1e-3 everywhere."""
    model = bx.Model(**GROWTH, reward=lambda output, saved: jnp.log(output - saved) - 1e-3 / (output - saved) ** 2)
    solver = bx.solvers.EulerNet(**FEW, finish=3, tolerance=1e-12)
    found = bx.solve(model, {"discount": 0.95}, solver, throw=False)
    assert f"V is none: its own equation is off by {float(found.stats['value_error']):.3g}" in str(found)
    assert "V is none" in caplog.text


@pytest.mark.parametrize(
    "start",
    [
        {"saved": lambda capital: jnp.stack([capital, capital])},
        {"saved": lambda output: 0.3 * output, "value": lambda capital: jnp.stack([capital, capital])},
    ],
)
def test_a_warm_start_of_another_shape_is_named(start):
    model = bx.Model(**GROWTH, reward=lambda output, saved: jnp.log(output - saved))
    with pytest.raises(bx.ModelError, match="an array of shape \\(2,\\) in a state, and it is of shape \\(\\)"):
        bx.solve(model, {"discount": 0.95}, bx.solvers.EulerNet(**FEW, finish=3, warm_start=start))
