"""Draws belong to the name of a shock or a process: what is added to a model leaves those of the others."""

import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

EVEN = [[0.5, 0.5], [0.5, 0.5]]


def paths(seed=5, agents=40, **more):
    """Two states that move by a process and a shock, and by a law of chance; what is added comes first."""
    slots = {
        "states": {"w": bx.Continuous(-5.0, 5.0), "job": bx.Discrete(2), "z": bx.AR1(0.8, 0.2)},
        "shocks": {"e": bx.shocks.Normal()},
        "transitions": {
            "w": lambda w, z, e: 0.9 * w + z + 0.1 * e,
            "job": bx.Markov(lambda job: jnp.array([0.3, 0.7])),
        },
    }
    m = bx.Model(
        **{slot: {**more.get(slot, {}), **value} for slot, value in slots.items()},
        reward=lambda w, job: w * job,
        discount=0.9,
        horizon=3,
    )
    few = {name: 2 for name in ("luck", "other") if name in more.get("states", {})}
    small = bx.solvers.BackwardInduction(grid={"w": 4} | few)
    start = {"w": 0.3, "job": 0, **{name: 1 for name in more.get("transitions", {})}}
    return bx.simulate(bx.solve(m, {}, small), agents, start, seed=seed)


# every kind of random quantity; those of one entry are added together
MORE = {
    "shocks": {"shocks": {"a": bx.shocks.Uniform(), "zz": bx.shocks.Normal(shape=3)}},
    "processes and a state of chance": {
        "states": {
            "luck": bx.IID(bx.shocks.Normal()),
            "other": bx.AR1(0.5, 0.1),
            "m": bx.MarkovChain([0.0, 1.0], EVEN),
            "k": bx.Discrete(2),
        },
        "transitions": {"k": bx.Markov(EVEN, over=("k",))},
    },
}


@pytest.fixture(scope="module")
def plain():
    return paths()


@pytest.mark.parametrize("what", MORE)
def test_what_nobody_reads_changes_no_draw(plain, what):
    found = paths(**MORE[what])
    for name in ("w", "job", "z"):
        np.testing.assert_array_equal(found.states[name], plain.states[name])
        np.testing.assert_array_equal(found.final[name], plain.final[name])
    np.testing.assert_array_equal(found.reward, plain.reward)


def test_agents_periods_and_names_draw_different_numbers(plain):
    """Innovations of the AR1, the shocks and where agents start: no two agree, and none is correlated with another."""
    w, z = (np.asarray(plain.states[name]) for name in ("w", "z"))
    shocks = (w[:, 1:] - 0.9 * w[:, :-1] - z[:, :-1]) / 0.1
    innovations = (z[:, 1:] - 0.8 * z[:, :-1]) / 0.2
    first = z[:, :1] / (0.2 / 0.6)
    drawn = np.concatenate([shocks, innovations, first], axis=1)
    assert len(np.unique(drawn.round(9))) == drawn.size
    correlations = np.corrcoef(drawn.T) - np.eye(drawn.shape[1])
    assert np.abs(correlations).max() < 4 / np.sqrt(len(drawn))


def test_another_process_of_python_draws_the_same(plain):
    """Python's own hash of a name differs from run to run."""
    script = (
        "import jax, bellax as bx\n"
        "m = bx.Model(states={'z': bx.AR1(.8, .2)}, reward=lambda z: z, discount=.9, horizon=3)\n"
        "print(bx.simulate(bx.solve(m, {}), 40, seed=5).states['z'].tolist())"
    )
    env = {**os.environ, "PYTHONHASHSEED": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=300, check=True
    )
    # the process alone, as beside the others
    np.testing.assert_allclose(json.loads(done.stdout), plain.states["z"], rtol=1e-14)
