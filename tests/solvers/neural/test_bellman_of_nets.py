"""The Bellman operator of nets, beside plain numpy and a closed form that nets hold exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import bellax as bx
from bellax.learning import nets
from bellax.learning.nets import Layers
from bellax.models import rbc
from bellax.models.references import brock_mirman
from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.euler import unit_free
from bellax.solvers.neural.evaluation import Scale

ALPHA, BETA = rbc.params["alpha"], rbc.params["discount"]
CAPITAL = np.array([0.1, 0.17, 0.25])


def flat(layers: Layers) -> jax.Array:
    return ravel_pytree(layers)[0]


@pytest.fixture(scope="module")
def bellman() -> Bellman:
    """That of the growth model, V in its own units."""
    prepared = bx.solvers.NeuralValueIteration(hidden=(6, 5)).prepare(rbc.model)
    return prepared.bellman(prepared.arguments(rbc.params), Scale(jnp.zeros(()), jnp.ones(())))


def critic_in_numpy(weights: jax.Array, bellman: Bellman, capital: float, place: int) -> float:
    """The critic as its docstring has it, without any of its code."""
    layers = nets.layers(bellman.shapes[1], weights)
    lower, upper = 0.5 * rbc.STEADY, 0.5 * rbc.STEADY + 0.17819
    scaled = 2 * (np.log(capital) - np.log(lower)) / (np.log(upper) - np.log(lower)) - 1
    u = np.concatenate([[scaled], np.eye(5)[place]])
    hidden = u
    for weight, bias in zip(layers.weights[:-1], layers.biases[:-1], strict=True):
        hidden = np.tanh(np.asarray(weight) @ hidden + np.asarray(bias))
    out = np.asarray(layers.weights[-1]) @ hidden + np.asarray(layers.biases[-1]) + np.asarray(layers.skip) @ u
    return float(out[0])


def test_q_is_what_loops_over_states_actions_and_nodes_give(bellman: Bellman) -> None:
    critic = nets.flat(bellman.shapes[1], 3) + 0.1
    shares = np.array([0.2, 0.5, 0.9])

    def ours(capital: jax.Array, z: jax.Array, share: jax.Array) -> jax.Array:
        states = {"capital": capital, "productivity": z}
        x = bellman.head.of("capital_next").output(share)[None]
        return bellman.q(bellman.option(jnp.zeros((), jnp.int32), states, (), x), critic)

    over = jax.vmap(jax.vmap(jax.vmap(ours, (None, None, 0)), (None, 0, None)), (0, None, None))
    found = jax.jit(over)(CAPITAL, rbc.LEVELS, shares)
    for i, capital in enumerate(CAPITAL):
        for j, z in enumerate(rbc.LEVELS):
            for a, share in enumerate(shares):
                resources = z * capital**ALPHA
                saved = share * resources
                total = (1 - BETA) * np.log(resources - saved)
                for m in range(5):
                    total += BETA * rbc.TRANSITION[j, m] * critic_in_numpy(critic, bellman, saved, m)
                assert abs(found[i, j, a] - total) < 1e-12


def test_derivatives_of_the_critic_are_those_of_differences(bellman: Bellman) -> None:
    critic, actor = nets.flat(bellman.shapes[1], 3), nets.flat(bellman.shapes[0], 4)
    states = {"capital": jnp.asarray(0.15), "productivity": jnp.asarray(1.0)}
    number = jnp.zeros((), jnp.int32)

    def square(critic: jax.Array) -> jax.Array:
        outputs = bellman.outputs(actor)(number, states)
        row = jax.lax.stop_gradient(bellman.greedy(number, states, outputs, critic).row)
        return bellman.evaluation.residual(critic, row) ** 2

    slope = np.asarray(jax.jit(jax.grad(square))(critic))
    value = jax.jit(square)
    step = 1e-5
    for place in (0, 10, critic.shape[0] - 1):
        above, below = (value(critic.at[place].add(h)) for h in (step, -step))
        assert abs(slope[place] - (above - below) / (2 * step)) < 1e-6 * np.max(np.abs(slope))
    unseen = 2 * (6 + 1)  # weights of the two productivities that do not follow the middle one
    assert np.count_nonzero(slope) == slope.size - unseen


def test_equations_hold_at_the_closed_form_that_straight_nets_are(bellman: Bellman) -> None:
    exact = brock_mirman(ALPHA, BETA, rbc.LEVELS, rbc.TRANSITION, weight=1 - BETA)
    box = bellman.seen.box
    half = float(box.upper[0] - box.lower[0]) / 2
    middle = np.exp(float(box.lower[0]) + half)
    levels = np.ravel(exact.value(np.array([[middle]])))
    slope = (1 - BETA) * ALPHA / (1 - ALPHA * BETA) * half
    empty = jax.tree.map(jnp.zeros_like, nets.layers(bellman.shapes[1], nets.flat(bellman.shapes[1], 0)))
    critic = flat(empty._replace(skip=jnp.asarray(np.concatenate([[slope], levels]))[None]))
    share = np.log(ALPHA * BETA / (1 - ALPHA * BETA))
    empty = jax.tree.map(jnp.zeros_like, nets.layers(bellman.shapes[0], nets.flat(bellman.shapes[0], 0)))
    actor = flat(empty._replace(biases=(*empty.biases[:-1], jnp.asarray([share]))))

    def left(capital: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        states, number = {"capital": capital, "productivity": z}, jnp.zeros((), jnp.int32)
        outputs = bellman.outputs(actor)(number, states)
        terms = bellman.terms(number, states, (), outputs[0], critic)
        value = bellman.evaluation.worth(critic)(number, states)
        return unit_free(terms, None), value - bellman.greedy(number, states, outputs, critic).value

    over = jax.vmap(jax.vmap(left, (None, 0)), (0, None))
    euler, equation = jax.jit(over)(CAPITAL, rbc.LEVELS)
    assert np.max(np.abs(euler)) < 1e-12
    assert np.max(np.abs(equation)) < 1e-12
