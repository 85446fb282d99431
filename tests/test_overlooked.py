"""What two grids agree on and is wrong: beyond bounds, between all nodes, where V is infinite."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.scanned import scanned
from bellax.solution.solution import Result

ONE = {"discount": 1.0}

DRIFT = bx.Model(
    states={"x": bx.Continuous(0.0, 1.0)},
    transitions={"x": lambda x: x + 0.1},
    reward=0.0,
    horizon=30,
    terminal=lambda x: jnp.maximum(x - 2.5, 0.0),
)
"""Pays at the end where no path from the bounds has been before: V(x) = max(x + .5, 0)."""

CALL = bx.Model(
    states={"price": bx.Continuous(50.0, 150.0)},
    shocks={"z": bx.shocks.Normal()},
    transitions={"price": lambda price, z: price * jnp.exp(0.3 * z - 0.045)},
    reward=0.0,
    horizon=20,
    terminal=lambda price: jnp.maximum(price - 350.0, 0.0),
)
"""A call struck far beyond the bounds of a price that is lognormal after 20 periods."""


def black_scholes(price: float, strike: float, sd: float) -> float:
    z = np.linspace(-10, 10, 200_001)
    density = np.exp(-z * z / 2)
    return float(np.maximum(price * np.exp(sd * z - sd * sd / 2) - strike, 0) @ density / density.sum())


def peak(x: object, middle: float, width: float) -> object:
    """One at the middle, smooth, and zero farther away than the width."""
    z = (x - middle) / width
    return jnp.where(jnp.abs(z) < 1, (1 - z * z) ** 2, 0.0)


def test_what_paths_reach_beyond_the_bounds_alone_is_found() -> None:
    solution = bx.solve(DRIFT, ONE, accuracy=0.01)
    assert solution.result == Result.successful
    assert abs(float(solution.value(period=0, x=0.5)) - 1.0) < 0.01
    nodes = np.asarray(solution.refinement.nodes["x"])
    assert np.all(np.asarray(solution.refinement.change)[:2] == 0) and nodes[-1] > nodes[0]


def test_a_certificate_counts_where_paths_go() -> None:
    """Both of its grids say zero, where the first is off by 1.5 and the second by some 30."""
    found = bx.certify(bx.solve(DRIFT, ONE), refine=True)
    assert 0.5 < found.estimate < 2 and "simple rules" in found.estimate_words
    found = bx.certify(bx.solve(CALL, ONE), refine=True, agents=100)
    truth = black_scholes(150.0, 350.0, 0.3 * np.sqrt(20))
    assert truth / 5 < found.estimate < 5 * truth


def test_paths_that_leave_for_what_v_is_there_are_no_error() -> None:
    """V is linear, and goes on as it is."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        shocks={"z": bx.shocks.Normal()},
        transitions={"x": lambda x, z: x + 0.3 * z},
        reward=lambda x: x,
        horizon=10,
    )
    found = scanned(bx.solve(model, ONE), {})
    assert found.beyond < 1e-10 and found.agrees(1e-9)


@pytest.mark.parametrize("width", [6e-4, pytest.param(1.5e-3, marks=pytest.mark.long)])
def test_a_peak_of_what_is_paid_at_the_end_between_all_nodes(width: float) -> None:
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        transitions={"x": lambda x: x},
        reward=0.0,
        horizon=1,
        terminal=lambda x: peak(x, 0.3137, width),
    )
    solution = bx.solve(model, {"discount": 0.9}, accuracy=0.02)
    assert abs(float(solution.value(period=0, x=0.3137)) - 0.9) < 0.02
    assert bx.certify(bx.solve(model, {"discount": 0.9}), refine=True).estimate > 0.5


@pytest.mark.long
def test_a_peak_of_the_reward_between_all_nodes() -> None:
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"a": bx.Continuous(0.0, 1.0)},
        transitions={"x": lambda x: x},
        reward=lambda x, a: peak(x, 0.6137, 1.5e-3) - (a - x) ** 2,
        horizon=2,
    )
    solution = bx.solve(model, {"discount": 0.9}, accuracy=0.05)
    assert abs(float(solution.value(period=0, x=0.6137)) - 1.9) < 0.05 * 1.9


def test_a_value_that_is_infinite_on_both_grids_is_none() -> None:
    """V = 1.9 log x, and minus infinity all over the first cell of any grid."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)}, transitions={"x": lambda x: x}, reward=lambda x: jnp.log(x), horizon=2
    )
    found = scanned(bx.solve(model, {"discount": 0.9}), {})
    assert np.isinf(found.residual) and "infinite between nodes" in found.words(1e-3)
    with pytest.raises(bx.SolveError, match="inf"):
        bx.solve(model, {"discount": 0.9}, accuracy=1e-3, seconds=20)


def test_a_small_residual_of_one_sign_adds_up() -> None:
    """What is lost with a probability of 5e-5 costs .048 where the discount is .999."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        shocks={"z": bx.shocks.Normal()},
        transitions={"x": lambda x: x},
        reward=lambda z: jnp.where(z < -3.9, -1.0, 0.0),
    )
    found = scanned(bx.solve(model, {"discount": 0.999}), {})
    assert found.residual < 1e-2 and found.mean > 1e-3 and not found.agrees(2 * found.residual)


def test_paths_between_regimes_are_followed_beyond_bounds() -> None:
    """Whoever has become old is paid for what lies beyond the bounds alone."""
    model = bx.Model(
        regimes={
            "young": bx.Regime(
                states={"x": bx.Continuous(0.0, 1.0)},
                transitions={"x": lambda x: x + 0.2},
                reward=0.0,
                next_regime=lambda: {"old": 1.0},
            ),
            "old": bx.Regime(
                states={"x": bx.Continuous(0.0, 1.0)},
                transitions={"x": lambda x: x + 0.2},
                reward=lambda x: jnp.maximum(x - 1.5, 0.0),
                next_regime=lambda: {"old": 1.0},
            ),
        },
        horizon=8,
    )
    assert scanned(bx.solve(model, ONE), {}).beyond > 0.1
