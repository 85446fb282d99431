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


@pytest.mark.parametrize("endogenous", [True, False])
@pytest.mark.long
def test_marginal_values_move_with_a_probability_of_zero(endogenous):
    """The derivative at zero is the limit of those beside it, over two decisions, where slopes of V move, too."""
    maximiser = bx.maximise.EGM(grid={"savings": 12}) if endogenous else bx.maximise.Newton()
    model = bx.Model(
        states={"cash": bx.Continuous(0.1, 10.0)},
        actions={"consumption": bx.Continuous(0.0, "cash")},
        shocks={"income": bx.shocks.Categorical([0.2, 0.5, 1.0], probabilities="probabilities")},
        functions={"savings": lambda cash, consumption: cash - consumption},
        transitions={"cash": lambda savings, income: savings + income},
        reward=lambda consumption: jnp.log(consumption),
        terminal=lambda cash: jnp.log(cash),
        discount=0.9,
        horizon=2,
    )
    solve = bx.compile(model, bx.solvers.BackwardInduction(grid={"cash": 12}, maximiser=maximiser))

    def worth(p):
        chances = jnp.array([0.0, 0.4, 0.6]) + p * jnp.array([1.0, -0.5, -0.5])
        return solve({"probabilities": chances}).value(period=0, cash=1.3)

    slope = jax.jit(jax.grad(worth))
    assert slope(0.0) == pytest.approx(float(slope(1e-7)), rel=1e-5)
