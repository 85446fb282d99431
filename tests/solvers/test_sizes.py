"""Values of very different sizes in one model: what is large somewhere must hide nothing elsewhere."""

import math
from enum import IntEnum

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


def test_what_shrinks_slowly_is_not_rounding():
    """V falls towards a tenth of where it begins, by 1e-5 a step, beside a category worth -1e20."""
    slow = bx.Model(
        states={"s": bx.Discrete(4)},
        transitions={"s": lambda s: jnp.where(s == 0, 1, jnp.where(s == 1, 1, 3))},
        reward=lambda s: jnp.where(s == 0, 1e3, jnp.where(s == 1, -0.01, jnp.where(s == 2, -1e20, 0.0))),
        discount=1 - 1e-5,
        horizon=math.inf,
    )
    for solver in (bx.solvers.ValueIteration(), bx.solvers.PolicyIteration(evaluation_steps=3)):
        assert bx.solve(slow, {}, solver, throw=False).result == bx.solution.solution.Result.max_steps_reached
    np.testing.assert_allclose(bx.solve(slow, {}).value(s=np.arange(2)), [0.01, -1000.0], rtol=1e-3, atol=1e-2)


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


def test_a_policy_that_still_changes_is_not_rounding():
    """Beside a category worth 1e13, one that pays 10 in four moves, which Howard's method finds one at a time."""
    n, b = 4, 1 - 1e-6

    def law(s, a):
        gone = jnp.where((a == 1) & (s > 0) & (s < n), 1e-3, 0.0)
        place = jnp.arange(n + 1)
        return jnp.where(place == s, 1 - gone, 0.0) + jnp.where(place == jnp.minimum(s + 1, n), gone, 0.0)

    model = bx.Model(
        states={"s": bx.Discrete(n + 1)},
        actions={"a": bx.Discrete(2)},
        transitions={"s": bx.Markov(law)},
        reward=lambda s, a: jnp.where(s == 0, 5e12, jnp.where(s == n, 10 * (1 - b), jnp.where(a == 1, -1e-6, 0.0))),
        discount=lambda s: jnp.where(s == 0, 0.5, b),
        horizon=math.inf,
    )
    step = b * 1e-3 / (1 - b * (1 - 1e-3))
    exact = [10.0]
    for _ in range(n - 1):
        exact.append(step * exact[-1] - 1e-6 / (1 - b * (1 - 1e-3)))
    found = bx.solve(model, {}, SOLVERS["howard"])
    np.testing.assert_allclose(found.value(s=np.arange(1, n + 1)), exact[::-1], rtol=1e-6)


@pytest.mark.parametrize("product", [0.9, 1.01])
def test_a_season_of_discounts_above_one(product):
    """Seven dates in turn, four with a discount of 1.3: worth something only if all seven shrink what they pass on."""
    d = np.where(np.arange(7) < 4, 1.3, (product * 1.3**-4) ** (1 / 3))
    turn = bx.Model(
        states={
            "s": bx.MarkovChain(IntEnum("Date", [f"d{k}" for k in range(7)], start=0), np.roll(np.eye(7), 1, axis=1))
        },
        reward=lambda s: 1.0 + 0 * s,
        discount=lambda s, d: d[s],
        horizon=math.inf,
    )
    found = bx.solve(turn, {"d": d}, SOLVERS["howard"], throw=False)
    exact = np.linalg.solve(np.eye(7) - d[:, None] * np.roll(np.eye(7), 1, axis=1), np.ones(7))
    if product < 1:
        np.testing.assert_allclose(found.value(s=np.arange(7)), exact, rtol=1e-9)
    assert (found.result == 0) == (product < 1)
