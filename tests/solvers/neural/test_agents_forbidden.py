"""`ActorCritic(through=True)` where what may not be done, or cannot happen, is no number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

LITTLE = {"environments": 8, "replay": 2000, "batch": 32, "wait": 100, "averaged": 200, "worth": (6,)}


def two_machines(root):
    """A second machine that runs where x > 0, and a weather that comes after another one only.

    Args:
        root: of numbers that are negative where the machine does not run, and in weather that does not come.
    """
    return bx.Model(
        states={"x": bx.Continuous(-1.0, 1.0), "weather": bx.MarkovChain([0.0, 1.0], [[1.0, 0.0], [0.5, 0.5]])},
        actions={"machine": bx.Discrete(2), "a": bx.Continuous(0.0, 1.0)},
        constraints={"runs": lambda x, machine: (machine == 0) | (x > 0)},
        transitions={
            "x": lambda x, a, weather, next_weather: 0.5 * x + 0.1 * root(a + 0.1 - 3 * next_weather * (1 - weather))
        },
        reward=lambda x, machine, a: root(0.09 * (1 - machine) + x * machine) * 2 * a - a**2,
    )


def by_size(x):
    return jnp.sqrt(jnp.abs(x))


def test_what_is_forbidden_or_impossible_has_no_slope():
    """The actor's gradient is that of a model which has numbers there, of which none matters."""
    solver = bx.solvers.ActorCritic(hidden=(4,), steps=400, through=True, **LITTLE)

    def slope(model):
        prepared = solver.prepare(model)
        arguments = prepared.arguments({"discount": 0.9})

        def run(arguments):
            scale, state = prepared.begin(arguments, None)
            method = prepared.method(arguments, scale)
            state = method.step(state)
            batch = jax.tree.map(lambda leaf: leaf[:8], state.replay.rows)
            return batch, jax.grad(method.actor_loss)(state.own.actor, state.own, batch)

        return jax.jit(run)(arguments)

    batch, found = slope(two_machines(jnp.sqrt))
    assert np.any(np.asarray(batch.states["x"]) < 0) and np.any(np.asarray(batch.states["weather"]) == 0)
    _, expected = slope(two_machines(by_size))
    assert np.all(np.isfinite(found))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.long
def test_a_model_with_no_numbers_where_nothing_is_done_is_learnt():
    solver = bx.solvers.ActorCritic(hidden=(4,), steps=30, through=True, tolerance=1e3, **LITTLE | {"wait": 0})
    solution = bx.solve(two_machines(jnp.sqrt), {"discount": 0.9}, solver, throw=False)
    assert int(solution.stats["diverged_at"]) == -1
    assert solution.result == bx.Result.successful
    x = np.array([-0.5, 0.5])
    assert np.all(np.isfinite(solution.value(x=x, weather=0.0)))
