"""What an `EulerNet` must not pass for a solution, and what it must not refuse: saddles, rewards without a number,
conditions of one term, and what it begins with."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.solvers.neural.single import single

FEW = {"hidden": (4,), "points": 48, "rounds": 1, "budget": 10}


def slow(reward, **spaces):
    """A state that hardly moves, and what is paid for actions."""
    return bx.Model(
        states={"x": bx.Continuous(0.5, 1.5)},
        actions=spaces,
        transitions={"x": lambda x: 1 + 0.5 * (x - 1)},
        reward=reward,
        horizon=2,
    )


def test_a_saddle_is_no_solution():
    """Each action by itself is where Q is highest, and both together are not."""
    model = slow(
        lambda x, a, b: -(a**2 + b**2) / 2 + 3 * a * b + 0.1 * x,
        a=bx.Continuous(-1.0, 1.0),
        b=bx.Continuous(-1.0, 1.0),
    )
    found = bx.solve(model, {"discount": 0.9}, bx.solvers.EulerNet(**FEW, finish=20, tolerance=1e-2), throw=False)
    assert float(found.stats["condition_max"]) < 1e-2
    assert found.result == bx.Result.not_concave


def hills(a):
    """A broad hill of height one at -0.5, to which the slope in the middle leads, and one of three at 1.5."""
    return jnp.exp(-((a + 0.5) ** 2) / 0.5) + 3 * jnp.exp(-((a - 1.5) ** 2) / 0.08)


def test_a_lesser_hill_is_no_solution():
    """By a slope that leads there, and below a step: who does more than one is paid for it, of which no slope knows."""
    higher = lambda x, a: hills(a) + 0.1 * x  # noqa: E731
    step = lambda x, a: -((a - 0.2 * x) ** 2) + 5.0 * (a > 1)  # noqa: E731
    for reward, start, result in (
        (higher, -0.48, bx.Result.trapped),
        (higher, 1.49, bx.Result.successful),
        (step, 0.3, bx.Result.max_steps_reached),  # V does not hold its own equation there
    ):
        prior = {"a": lambda x, start=start: start + 0 * x}
        solver = bx.solvers.EulerNet(**{**FEW, "hidden": (3,)}, finish=60, tolerance=2e-2, warm_start=prior)
        found = bx.solve(slow(reward, a=bx.Continuous(-2.0, 2.0)), {"discount": 0.95}, solver, throw=False)
        assert float(found.stats["condition_mean"]) < 2e-2
        assert found.result == result
        assert ("other actions are better" in found.setting.explain(found)) == (result == bx.Result.trapped)


def test_paths_that_went_up_a_lesser_hill_are_no_solution():
    model = slow(lambda x, a: hills(a) + 0.1 * x, a=bx.Continuous(-2.0, 2.0))
    for start in ({}, {"x": 1.2}):
        solver = bx.solvers.PolicyGradient(hidden=(4,), paths=32, budget=150, finish=50, start=start)
        with pytest.raises(bx.SolveError, match="went up a lesser hill"):
            bx.solve(model, {"discount": 0.95}, solver)
    higher = {"a": lambda x: 1.5 + 0 * x}
    solver = bx.solvers.PolicyGradient(hidden=(4,), paths=32, budget=50, finish=50, warm_start=higher)
    found = bx.solve(model, {"discount": 0.95}, solver)
    assert float(found.policy(period=0, x=1.0)["a"]) == pytest.approx(1.5, abs=1e-3)


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


@pytest.mark.parametrize("costates", [pytest.param(None, marks=pytest.mark.long), True])
def test_a_condition_of_one_term_is_solved(costates):
    """Work is paid and disliked today: its condition passes zero where it holds, with V and without."""
    model = bx.Model(
        states={"wealth": bx.Continuous(0.5, 3.0)},
        actions={"saved": bx.Continuous(0.0, "wealth"), "work": bx.Continuous(0.0, 8.0)},
        transitions={"wealth": lambda saved: 0.3 + 1.5 * saved},
        reward=lambda wealth, saved, work: jnp.log(wealth - saved) + 2 * work - 0.5 * work**2 / wealth,
        horizon=2,
        terminal=lambda wealth: jnp.log(wealth),
    )
    few = {**FEW, "hidden": (6,), "points": 96, "finish": 80}
    solver = bx.solvers.EulerNet(**few, costates=costates, tolerance=1e-2)
    found = bx.solve(model, {"discount": 0.9}, solver)
    wealth = np.linspace(0.7, 2.5, 5)
    np.testing.assert_allclose(found.policy(period=0, wealth=wealth)["work"], 2 * wealth, atol=5e-3)
    assert bx.certify(found, points=40, agents=10, start={"wealth": 1.5}).euler["path"]["max"] < -1.5
    assert single(solver.prepare(model).plan).tolist() == [False, True]


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
