"""Whole numbers that functions see do not wrap at 32 bits: states, chains, actions, shocks and the period."""

import enum
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

BIG = 1_000_000_000  # three of it are beyond 2^31


class Level(enum.IntEnum):
    low, middle, high = 0, 1, 2


SMALL = bx.solvers.BackwardInduction()


def everything():
    """Two periods in which a state, a chain, an action, a shock and the period each pay BIG a unit.

    Everything starts and stays at two, apart from the shock, which is 0 or 1 evenly, and the period, 0 and then 1.
    """
    return bx.Model(
        states={"s": bx.Discrete(3), "m": bx.MarkovChain(Level, np.eye(3)), "x": bx.Continuous(0.0, 1.0)},
        actions={"a": bx.Discrete(3)},
        shocks={"k": bx.shocks.Categorical(probabilities=[0.5, 0.5])},
        transitions={"s": lambda s: s, "x": bx.fixed},
        reward=lambda s, m, a, k, next_m, period: BIG * s + BIG * m + BIG * a + BIG * k + BIG * next_m + BIG * period,
        terminal=lambda s: BIG * s,
        discount=1.0,
        horizon=2,
    )


WORTH = BIG * (2 * (2 + 2 + 2 + 0.5 + 2) + 1 + 2)


@pytest.fixture(scope="module")
def solution():
    return bx.solve(everything(), {}, SMALL)


def test_value_policy_and_their_types(solution):
    state = {"s": 2, "m": "high", "x": 0.5}
    assert float(solution.value(period=0, **state)) == WORTH
    assert solution.policy(period=0, **state)["a"].dtype == jnp.int64
    assert float(jax.jit(lambda s: solution.value(period=0, s=s, m=2, x=0.5))(jnp.int32(2))) == WORTH
    assert float(solution.choice_values(period=1, **state)[0]) == BIG * (2 + 2 + 0.5 + 2 + 1 + 2)


def test_simulation_and_certificate(solution):
    panel = bx.simulate(solution, 8, {"s": 2, "m": 2, "x": 0.5}, seed=3)
    shock = np.asarray(panel.reward) / BIG - np.array([8.0, 9.0])
    assert set(np.unique(shock)) == {0.0, 1.0}
    assert {panel.states["s"].dtype, panel.states["m"].dtype, panel.actions["a"].dtype} == {jnp.dtype("int64")}
    np.testing.assert_array_equal(panel.final_value, np.full(8, 2.0 * BIG))
    assert bx.certify(solution).residuals["max"] < 1e-12


def test_a_file(solution, tmp_path):
    bx.save(solution, tmp_path / "s.nc")
    loaded = bx.load(tmp_path / "s.nc", everything())
    assert float(loaded.value(period=0, s=2, m=2, x=0.5)) == WORTH


def test_the_dense_plane_and_stopping_without_a_horizon():
    """Stopping pays BIG s, going on nothing; or a reward of BIG s for ever."""
    stopping = bx.Model(
        states={"s": bx.Discrete(4)},
        transitions={"s": bx.fixed},
        reward=0.0,
        stop=lambda s: BIG * s,
        discount=0.5,
    )
    np.testing.assert_array_equal(bx.solve(stopping, {}).value(s=jnp.arange(4)), BIG * np.arange(4.0))
    paid = bx.Model(
        states={"s": bx.Discrete(4)},
        actions={"a": bx.Discrete(2)},
        transitions={"s": bx.Markov(np.eye(4), over=("s",))},
        reward=lambda s, a: BIG * s * a,
        discount=0.5,
    )
    np.testing.assert_allclose(bx.solve(paid, {}).value(s=jnp.arange(4)), 2.0 * BIG * np.arange(4.0), rtol=1e-12)


def test_a_law_far_beyond_its_categories_is_none_of_them():
    """2^32 + 1 is not category 1."""
    m = bx.Model(
        states={"s": bx.Discrete(2)},
        transitions={"s": lambda s: s + 2**32},
        reward=lambda s: 1.0 * s,
        discount=0.5,
        horizon=2,
    )
    with pytest.raises(bx.SolveError, match=r"transitions\['s'\]"):
        bx.solve(m, {})


def test_thirty_two_bits_where_the_process_has_no_more():
    script = (
        "import bellax as bx\n"
        "m = bx.Model(states={'s': bx.Discrete(3)}, actions={'a': bx.Discrete(2)}, transitions={'s': bx.fixed},\n"
        "             reward=lambda s, a: 1.0 * s * a, discount=.5, horizon=2)\n"
        "s = bx.solve(m, {})\n"
        "p = bx.simulate(s, 2, {'s': 1})\n"
        "print(p.states['s'].dtype, p.actions['a'].dtype, float(s.value(period=0, s=2)))\n"
    )
    env = {**os.environ, "JAX_ENABLE_X64": "0", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["int32", "int32", "3.0"], done.stderr
