"""An action that pays no number is seen among hundreds that do: XLA's maximum may pass over it."""

import math

import jax.numpy as jnp
import pytest

import bellax as bx

MACHINE = bx.Model(
    states={"wear": bx.Discrete(5), "spares": bx.Discrete(4)},
    actions={"replace": bx.Discrete(2), "order": bx.Discrete(3), "care": bx.Continuous(0.0, 1.0)},
    transitions={
        "wear": bx.Markov(
            lambda wear, care, replace, decay: _chances(jnp.where(replace == 1, 0, wear), decay * jnp.exp(-2.0 * care))
        ),
        "spares": lambda spares, replace, order: jnp.clip(spares - replace + order, 0, 3),
    },
    reward=lambda wear, care, order: 4.0 - 0.9 * wear - 1.5 * care**2 - order,
    horizon=math.inf,
)


def _chances(wear, p):
    place = jnp.arange(5)
    return jnp.where(place == wear, 1 - p, 0.0) + jnp.where(place == jnp.minimum(wear + 1, 4), p, 0.0)


@pytest.mark.parametrize(
    "maximiser", [bx.maximise.Enumerate(grid={"care": 201}), bx.maximise.Newton()], ids=["enumerate", "newton"]
)
def test_probabilities_that_are_none_for_some_actions(maximiser):
    """Below care = .55 the machine wears out with a probability above one."""
    solver = bx.solvers.PolicyIteration(maximiser=maximiser)
    with pytest.raises(bx.SolveError, match="probability|probabilities"):
        bx.solve(MACHINE, {"decay": 3.0, "discount": 0.9}, solver)
    assert bx.solve(MACHINE, {"decay": 0.9, "discount": 0.9}, solver).result == 0
