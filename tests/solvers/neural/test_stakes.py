"""A large reward that nothing moves does not make errors of decisions small."""

import jax.numpy as jnp
import pytest

import bellax as bx
from bellax.solvers.neural.stakes import decisive


def choosing(size):
    """Going up costs something and pays where sin(9 x) is larger, beside a reward of noise."""
    return bx.Model(
        states={"x": bx.Continuous(0.0, 1.0), "z": bx.AR1(rho=0.5, sigma=1.0)},
        actions={"up": bx.Discrete(2)},
        transitions={"x": lambda x, up: jnp.clip(0.8 * x + 0.2 * up, 0.0, 1.0)},
        reward=lambda x, up, z: jnp.sin(9 * x) - 0.1 * up + size * z,
    )


def tracking(size):
    """To do x is best in every state."""
    return bx.Model(
        states={"x": bx.Continuous(-2.0, 2.0), "z": bx.AR1(rho=0.5, sigma=1.0)},
        actions={"a": bx.Continuous(-3.0, 3.0)},
        transitions={"x": lambda x: 0.9 * x},
        reward=lambda x, a, z: size * z - (a - x) ** 2,
        horizon=2,
    )


@pytest.mark.parametrize(
    ("model", "solver"),
    [
        (choosing, bx.solvers.NeuralValueIteration(hidden=(4,), trainer=bx.solvers.LeastSquares(alternations=6))),
        (
            tracking,
            bx.solvers.NeuralValueIteration(hidden=(4,), trainer=bx.solvers.Gradients(steps=250), tolerance=1e-2),
        ),
        (tracking, bx.solvers.DDPG(steps=60, wait=20, hidden=(4,), worth=(4,))),
        (tracking, bx.solvers.PolicyGradient(hidden=(4,), paths=32, budget=60, finish=1, rate=1e-6)),
    ],
)
def test_decisions_that_are_wrong_are_no_solution(model, solver):
    found = bx.solve(model(1e3), {"discount": 0.9}, solver, throw=False)
    assert found.result != bx.Result.successful


def test_what_decisions_are_about():
    spread = jnp.asarray(100.0)
    assert float(decisive(spread, jnp.asarray([2.0, 4.0, jnp.inf]))) == pytest.approx(2.0)
    assert float(decisive(spread, jnp.asarray([1e3, 1e3]))) == 100.0
    assert float(decisive(spread, jnp.zeros(3))) == 100.0  # nothing hangs on what is done
