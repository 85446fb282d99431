"""What a certificate says where paths leave the grid: V agrees with itself there, and is wrong."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

WEALTH = np.linspace(0.1, 10.0, 100)
LINEAR, ENUMERATE = bx.interpolants.Linear(), bx.maximise.Enumerate(grid={"c": 100})


def saver(growth):
    return bx.Model(
        states={"a": bx.Continuous(0.1, 10.0)},
        actions={"c": bx.Continuous(1e-4, "a")},
        transitions={"a": lambda a, c: growth * (a - c)},
        reward=lambda c: jnp.log(c),
        discount=0.98,
    )


@pytest.mark.parametrize("options", [{}, {"interpolant": LINEAR}, {"maximiser": ENUMERATE}])
@pytest.mark.long
def test_wealth_that_outgrows_every_grid(options):
    """The truth is c = .02 a. V of a policy that stops at the end of the grid has residuals of nearly zero."""
    solution = bx.solve(saver(1.05), {}, bx.solvers.PolicyIteration(grid={"a": 60}, **options))
    exact = 50 * (np.log(0.02 * WEALTH) + 49 * np.log(0.98 * 1.05))
    true = np.abs(solution.value(a=WEALTH) - exact).max()
    found = bx.certify(solution, points=300, agents=20)
    assert true > 14 and true < found.value_error < 4 * true
    assert 0 < found.beyond <= found.value_error and "beyond which V is a guess" in str(found)


def test_two_goods_on_credit():
    """w' + 2 = R (w + 2 - food - home) for thirty periods: spending starts at w + 2 over the sum of discounts, in
    shares of .7 and .3, and grows by b R: from near the end of the grid wealth grows beyond it."""
    b, gross, periods = 0.96, 1.12, 30
    model = bx.Model(
        states={"w": bx.Continuous(-1.0, 4.0)},
        actions={"food": bx.Continuous(1e-4, lambda w: w + 2), "home": bx.Continuous(1e-4, "rest")},
        functions={"rest": lambda w, food: w + 2 - food},
        transitions={"w": lambda w, food, home: gross * (w + 2 - food - home) - 2},
        reward=lambda food, home: 0.7 * jnp.log(food) + 0.3 * jnp.log(home),
        horizon=periods,
        discount=b,
    )
    solution = bx.solve(model, {}, bx.solvers.BackwardInduction(grid={"w": 30}))
    w, t = np.linspace(-1.0, 4.0, 51), np.arange(periods)
    shares = 0.7 * math.log(0.7) + 0.3 * math.log(0.3)
    spent = (w[:, None] + 2) / np.sum(b**t) * (b * gross) ** t
    true = np.abs(solution.value(period=0, w=w) - (np.log(spent) + shares) @ b**t).max()
    found = bx.certify(solution, points=200, agents=20, start={"w": 3.5})
    assert found.escape["path"]["w"]["above"] > 0.1
    assert true < found.value_error and found.beyond > 0


def test_where_no_path_leaves_the_estimate_is_that_of_residuals():
    """Capital in logs: V is a line, and at either end the next state is inside."""
    model = bx.Model(
        states={"k": bx.Continuous(0.05, 0.5, scale=bx.scales.log)},
        actions={"i": bx.Continuous(0.0, lambda k: k**0.36)},
        transitions={"k": lambda i: i},
        reward=lambda k, i: jnp.log(k**0.36 - i),
        discount=0.95,
    )
    found = bx.certify(bx.solve(model, {}, bx.solvers.PolicyIteration(grid={"k": 10})), points=100, agents=20)
    assert found.value_error < 1e-7 and found.beyond == 0 and "is a guess" not in str(found)
