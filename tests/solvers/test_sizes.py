"""Values of very different sizes in one model: what is large somewhere must hide nothing elsewhere."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

SOLVERS = {
    "howard": bx.solvers.PolicyIteration(),
    "partial": bx.solvers.PolicyIteration(evaluation_steps=20, max_steps=500),
    "steps": bx.solvers.ValueIteration(tolerance=1e-10),
}

DEFAULT = bx.Model(
    states={"s": bx.Discrete(3)},
    transitions={"s": lambda s: jnp.where(s == 0, 0, 2)},
    reward=lambda s, penalty: jnp.where(s == 0, 1.0, jnp.where(s == 1, penalty, 0.0)),
    horizon=math.inf,
)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_penalty_that_is_never_paid(name):
    """Solvent for ever, V = 1 / (1 - b); a default is paid for once; then nothing."""
    for penalty in (-1e3, -1e6, -1e10, -1e12):
        found = bx.solve(DEFAULT, {"penalty": penalty, "discount": 0.99}, SOLVERS[name])
        np.testing.assert_allclose(found.value(s=np.arange(3)), [100.0, penalty, 0.0], rtol=1e-7)


def test_partial_evaluation_keeps_its_pace():
    """A random walk that one pushes: every policy keeps wandering, so that V moves as one."""
    walk = bx.Model(
        states={"s": bx.Discrete(30)},
        actions={"a": bx.Discrete(3)},
        shocks={"z": bx.shocks.Categorical(probabilities=[0.3, 0.4, 0.3])},
        transitions={"s": lambda s, a, z: jnp.clip(s + a - 1 + z - 1, 0, 29)},
        reward=lambda s, a: jnp.sin(s * 1.0) - 0.1 * a,
        horizon=math.inf,
    )
    params = {"discount": 0.99}
    exact, partial = (bx.solve(walk, params, SOLVERS[name]) for name in ("howard", "partial"))
    np.testing.assert_allclose(partial.values.levels, exact.values.levels, rtol=1e-7)
    assert partial.stats["steps"] < 150


def test_a_chance_that_is_next_to_none():
    """A table and a function say the same: a chance of 1e-180 of a state that is worth minus infinity is none."""
    table = np.array([[1.0, 1e-180], [0.0, 1.0]])
    slots = {
        "states": {"s": bx.Discrete(2)},
        "reward": lambda s: jnp.where(s == 0, 1.0, -jnp.inf),
        "horizon": math.inf,
    }
    laws = (bx.Markov("T", over=("s",)), bx.Markov(lambda s, T: T[s]))
    for law in laws:
        found = bx.solve(bx.Model(transitions={"s": law}, **slots), {"T": table, "discount": 0.9})
        assert abs(found.value(s=0) - 10.0) < 1e-9 and found.value(s=1) == -np.inf
