"""What a training by nets stands on: a critic that is pushed, and conditions that hold at the known answer."""

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import rbc
from bellax.solvers.neural.euler import Euler, unit_free

GROWTH = rbc.growth(0.5 * rbc.STEADY, 1.5 * rbc.STEADY)
SAVED = rbc.params["alpha"] * rbc.params["discount"]


def test_the_critic_is_pushed_and_pushes():
    """The gradient of what is left of V's equation is zero in no weight, and is that of differences; and what a little
    more saving brings later, the slope of the critic, is nothing nowhere."""
    prepared = bx.solvers.NeuralValueIteration(hidden=(3,), points=20).prepare(GROWTH)
    arguments = prepared.arguments(rbc.params)

    @jax.jit
    def look(arguments):
        begun, state = prepared.begin(arguments, None)
        bellman = prepared.bellman(arguments, begun.scale)
        rows, critic, outputs = state.critic.frozen, state.critic.weights, bellman.outputs(state.actor.weights)

        def loss(critic):
            return jnp.mean(jax.vmap(lambda row: bellman.evaluation.residual(critic, row))(rows) ** 2)

        def later(states, number):
            return bellman.every_terms(number, states, outputs(number, states), critic).later

        step = 1e-5 * jnp.eye(critic.size)
        above, below = (jax.vmap(lambda one: loss(critic + one))(each) for each in (step, -step))
        return jax.grad(loss)(critic), (above - below) / 2e-5, jax.vmap(later)(*begun.points)

    slope, differences, later = look(arguments)
    np.testing.assert_allclose(slope, differences, rtol=1e-5, atol=1e-8)
    assert np.all(np.abs(slope) > 1e-6)
    assert np.all(np.abs(later) > 1e-6)


def test_conditions_hold_at_the_closed_form():
    """Brock & Mirman (1972): the share alpha beta; and at a third of output they are off by a twentieth."""
    prepared = bx.solvers.NeuralValueIteration(hidden=(3,), points=20).prepare(GROWTH)
    draws = np.random.default_rng(0)
    states = {
        "capital": jnp.asarray(rbc.STEADY * draws.uniform(0.5, 1.5, 50)),
        "productivity": jnp.asarray(draws.choice(rbc.LEVELS, 50)),
    }

    @jax.jit
    def left(arguments, states, share):
        euler = Euler(prepared.problem, arguments, prepared.head, {}, None)
        outputs = lambda number, states: (jnp.log(share) - jnp.log1p(-share))[None]  # noqa: E731
        one = lambda states: unit_free(euler.first_order(jnp.zeros((), jnp.int32), states, outputs), None)  # noqa: E731
        return jax.vmap(one)(states)

    arguments = prepared.arguments(rbc.params)
    np.testing.assert_allclose(left(arguments, states, jnp.asarray(SAVED)), np.zeros((50, 1)), atol=1e-12)
    off = left(arguments, states, jnp.asarray(1 / 3))
    np.testing.assert_allclose(np.abs(off), np.full((50, 1), 1 - 3 * SAVED), atol=1e-12)
