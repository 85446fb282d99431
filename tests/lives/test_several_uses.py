"""A number that XLA works out anew for each of its uses may be rounded to either side of an end of a grid at once."""

import jax.numpy as jnp
import numpy as np

import bellax as bx

OLD = {
    "states": {"wealth": bx.Continuous(0.5, 6.0)},
    "actions": {"food": bx.Continuous(1e-3, "wealth")},
    "transitions": {"wealth": lambda wealth, food: 0.5 + wealth - food},
    "reward": lambda food: jnp.log(food),
}


def test_next_states_at_the_first_node_are_not_taken_for_ones_at_the_last() -> None:
    """Who eats all is at the first node tomorrow but for rounding; V there was read at the last, in quick code."""
    young = bx.Regime(
        states={"wealth": bx.Continuous(0.5, 6.0)},
        actions={
            "food": bx.Continuous(1e-3, "wealth"),
            "housing": bx.Continuous(1e-3, lambda wealth, food, price: (wealth - food) / price),
        },
        functions={"left": lambda wealth, food, housing, price: wealth - food - price * housing},
        transitions={"wealth": lambda left: 1 + 1.02 * left},
        reward=lambda food, housing: 0.6 * jnp.log(food) + 0.4 * jnp.log(housing + 0.1),
        next_regime=lambda q: {"young": q, "old": 1 - q},
    )
    model = bx.Model(regimes={"young": young, "old": bx.Regime(**OLD)}, horizon=3)
    solver = bx.solvers.BackwardInduction(grid={"wealth": 100}, maximiser=bx.maximise.Newton())
    found = bx.solve(model, {"price": 1.5, "q": 0.7, "discount": 0.9}, solver)["old"]
    # eating w is best in the last period, and in the others food is the same in all periods, or all that there is
    wealth = np.linspace(0.5, 6.0, 100)
    last = np.log(wealth)
    spent = np.minimum((wealth + 0.5) / 1.9, wealth)
    spent = np.maximum(spent, 1e-3)
    before = np.log(spent) + 0.9 * np.log(0.5 + wealth - spent)
    np.testing.assert_allclose(found.values["old"].levels[2], last, atol=1e-12)
    np.testing.assert_allclose(found.values["old"].levels[1], before, atol=1e-4)
