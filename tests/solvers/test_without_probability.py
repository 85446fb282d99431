"""Outcomes that have no probability are not looked at, and still have derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def solved(income):
    model = bx.Model(
        states={"cash": bx.Continuous(0.1, 10.0)},
        actions={"consumption": bx.Continuous(0.0, "cash")},
        shocks={"outcome": bx.shocks.Categorical(probabilities="probabilities")},
        functions={"savings": lambda cash, consumption: cash - consumption},
        transitions={"cash": lambda savings, outcome, income: savings + income[outcome]},
        reward=lambda consumption: jnp.log(consumption),
        terminal=lambda cash: jnp.log(cash),
        discount=0.9,
        horizon=1,
    )
    solver = bx.solvers.BackwardInduction(grid={"cash": 4}, maximiser=bx.maximise.EGM(grid={"savings": 30}, kinks=0))
    solve = bx.compile(model, solver)
    return lambda p: solve({"probabilities": p, "income": jnp.asarray(income)}).value(period=0, cash=4.0)


def test_value_and_derivative():
    """Log utility: V = max over c of log c + b sum p log(4 - c + y), and its derivative in a probability of zero."""
    income = np.array([0.5, 1.5, 0.7])
    value, slope = jax.value_and_grad(solved(income))(jnp.array([0.4, 0.6, 0.0]))
    c = np.linspace(0.5, 3.9, 200_001)
    every = np.log(4 - c[:, None] + income)
    worth = np.log(c) + 0.9 * every @ np.array([0.4, 0.6, 0.0])
    best = worth.argmax()
    assert value == pytest.approx(worth[best], abs=1e-6)
    np.testing.assert_allclose(slope, 0.9 * every[best], rtol=1e-4)
