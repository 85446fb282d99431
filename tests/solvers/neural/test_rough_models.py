"""Models that jump, or have kinks: what solvers by derivatives say of them."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.numerics import steps


def tracking(reward=None, law=None, terminal=None, discount=None):
    """A position that is to be at two, moved at a cost; linear-quadratic but for what is given."""
    return bx.Model(
        states={"x": bx.Continuous(-3.0, 8.0)},
        actions={"a": bx.Continuous(0.0, 1.0)},
        shocks={"e": bx.shocks.Normal()},
        transitions={"x": law or (lambda x, a, e: x + a - 0.5 + 0.4 * e)},
        reward=reward or (lambda x, a: -0.5 * (x - 2) ** 2 - 0.15 * a**2),
        terminal=terminal or (lambda x: -0.5 * (x - 2) ** 2),
        horizon=4,
        **({} if discount is None else {"discount": discount}),
    )


def plain(x, a):
    return -0.5 * (x - 2) ** 2 - 0.15 * a**2


JUMPS = {
    "reward": {"reward": lambda x, a: plain(x, a) + 3.0 * (x > 2.5)},
    "narrow": {"reward": lambda x, a: plain(x, a) + 30.0 * (jnp.abs(x - 2.2) < 0.03)},
    "lump cost": {"reward": lambda x, a: plain(x, a) - 0.4 * (a > 0.01)},
    "rounding": {"reward": lambda x, a: plain(x, a) + 0.5 * jnp.floor(x)},
    "law": {"law": lambda x, a, e: x + a - 0.5 + 0.4 * e - 1.5 * (x > 2.2)},
    "discount": {"discount": lambda x: jnp.where(x > 2.2, 0.5, 0.95)},
    "terminal": {"terminal": lambda x: jnp.where(jnp.abs(x - 2) < 0.05, 20.0, -0.5 * (x - 2) ** 2)},
}


def solved(changes, **more):
    params = {} if "discount" in changes else {"discount": 0.95}
    return bx.solve(tracking(**changes), params, bx.solvers.ILQG(start={"x": 1.0}), **more)


_AGAIN = {"narrow", "discount", "lump cost"}


@pytest.mark.parametrize(
    "changes",
    [pytest.param(own, id=name, marks=pytest.mark.long if name in _AGAIN else ()) for name, own in JUMPS.items()],
)
def test_ilqg_is_not_successful_where_a_model_jumps(changes):
    solution = solved(changes, throw=False)
    assert solution.result != bx.Result.successful and float(solution.stats["jump"]) > 0.1
    if solution.result == bx.Result.not_concave:
        with pytest.raises(bx.SolveError, match=r"jumps between the bounds.*NeuralValueIteration"):
            solved(changes)


def test_comparisons_without_a_jump_are_no_obstacle():
    def reward(x, a):  # a guard that never decides, and two formulas that agree where they meet
        return jnp.where(a > -1.0, plain(x, a), -jnp.inf) + jnp.where(x > 7.0, x - 7.0, 0.0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, other = solved({"reward": reward}), solved({})
    np.testing.assert_allclose(found.value(period=0, x=1.0), other.value(period=0, x=1.0), rtol=1e-12)
    assert float(found.stats["jump"]) == 0 and not int(found.stats["kinks"]) and "jump" not in other.stats


def test_a_kink_where_paths_lead_is_said_aloud():
    with pytest.warns(bx.KinkWarning, match="next to a kink.*a better path may lie beyond"):
        solution = solved({"terminal": lambda x: 3 * jnp.abs(x - 1.5)})  # two hills
    assert "next to a kink" in str(solution)
    assert "The solver says: the path passes next to a kink" in str(bx.certify(solution, points=16, agents=16))


@pytest.mark.parametrize(
    ("function", "size"),
    [
        (lambda z: jnp.where(z > 0.3141, 2.0, 1.0), 0.5),
        (lambda z: jnp.floor(3 * z) + z, 1.0 / 3),
        (lambda z: jnp.where(jnp.abs(z - 0.7) < 1e-3, 1.0, 0.0), 1.0),
        (lambda z: jnp.maximum(z, 0.4) + jnp.abs(z - 0.1), 0.0),
        (lambda z: jnp.sqrt(jnp.abs(z - 0.2)), 0.0),
        (lambda z: jnp.log(z), 0.0),
        (lambda z: jnp.where(z > 0.5, jnp.log(z), -jnp.inf), 0.0),
        (lambda z: jnp.tanh(1e4 * (z - 0.5)), 0.0),
    ],
)
def test_jumps_are_told_from_kinks_and_slopes(function, size):
    found = steps.largest(lambda z: jnp.atleast_1d(function(z[0])), jnp.zeros((1, 1)), jnp.ones((1, 1)))
    np.testing.assert_allclose(found.size, size, rtol=0.35 if size == 1.0 / 3 else 1e-5)


def growth(bonus):
    """Full depreciation, and a bonus of the user's in utility."""
    return bx.Model(
        states={"capital": bx.Continuous(0.1, 0.3, scale=bx.scales.log), "z": bx.AR1(rho=0.9, sigma=0.01)},
        actions={"saved": bx.Continuous(0.0, "output")},
        functions={"output": lambda capital, z, alpha=0.36: jnp.exp(z) * capital**alpha},
        transitions={"capital": lambda saved: saved},
        reward=lambda output, saved: jnp.log(output - saved) + bonus(saved),
    )


NETS = bx.solvers.EulerNet(hidden=(4,), points=60)


def test_euler_net_is_not_successful_where_a_bonus_lies_beyond_a_jump():
    model = growth(lambda saved: 0.5 * (saved > 0.2))
    with pytest.raises(bx.SolveError, match=r"jumps within the box.*NeuralValueIteration"):
        bx.solve(model, {"discount": 0.95}, NETS)


def test_euler_net_solves_a_model_whose_comparison_decides_nothing():
    with_guard = growth(lambda saved: jnp.where(saved > -1.0, 0.0, -jnp.inf))
    solution = bx.solve(with_guard, {"discount": 0.95}, NETS)
    assert float(solution.stats["jump"]) == 0 and solution.result == bx.Result.successful
    np.testing.assert_allclose(solution.policy(capital=0.2, z=0.0)["saved"], 0.342 * 0.2**0.36, rtol=1e-3)


def test_euler_net_names_the_state_at_which_bounds_cross():
    model = bx.Model(
        states={"k": bx.Continuous(0.1, 0.5)},
        actions={"saved": bx.Continuous(0.3, lambda k: k**0.36 - 0.4)},
        transitions={"k": lambda saved: saved},
        reward=lambda k, saved: jnp.log(k**0.36 - saved),
    )
    with pytest.raises(bx.ModelError, match="nothing may be done at k = .*the lower bound of 'saved' is 0.3, above"):
        bx.solve(model, {"discount": 0.95}, NETS)
