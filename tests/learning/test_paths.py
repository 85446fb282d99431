"""Draws of paths, L-BFGS, nets by period, and periods steered by numbers, beside what is known of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import bellax as bx
from bellax.learning import lbfgs, nets
from bellax.learning.nets import Shape
from bellax.learning.stages import Stages
from bellax.numerics import loops
from bellax.problem.draws import Laws
from bellax.problem.steered import Steered, numbers
from bellax.solvers.neural import curvature


@pytest.mark.parametrize("draws", [bx.draws.Sobol(), bx.draws.Independent(), bx.draws.Sobol(antithetic=False)])
def test_draws_are_uniform_and_twins_antithetic(draws):
    base = draws.base(512, 3, 0)
    for found in (draws.paired(jnp.asarray(base)), draws.of_step(jnp.asarray(base), jax.random.key(1))):
        found = np.asarray(found)
        assert found.shape == (512, 3) and np.all((found > 0) & (found < 1))
        np.testing.assert_allclose(found.mean(axis=0), 0.5, atol=0.05)
        np.testing.assert_allclose(np.mean(found**2, axis=0), 1 / 3, atol=0.05)
        if draws.antithetic:
            np.testing.assert_allclose(found[:256] + found[256:], 1.0, atol=1e-12)


def test_a_sequence_is_more_even_than_independent_numbers():
    """The mean of a product over 512 points, as far from 1/8 as the worst of ten sets is."""
    worst = {}
    for draws in (bx.draws.Sobol(antithetic=False), bx.draws.Independent(antithetic=False)):
        base = jnp.asarray(draws.base(512, 3, 0))
        means = [float(jnp.prod(draws.of_step(base, jax.random.key(k)), axis=1).mean()) for k in range(10)]
        worst[type(draws)] = np.max(np.abs(np.asarray(means) - 1 / 8))
    assert worst[bx.draws.Sobol] < 0.3 * worst[bx.draws.Independent]


def test_lbfgs_finds_the_bottom_of_a_valley():
    """Rosenbrock's function, at (1, 1, 1, 1)."""
    objective = lambda x: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)  # noqa: E731

    @jax.jit
    def run(start):
        step = lambda state: lbfgs.step(state, *jax.value_and_grad(objective)(state.trial))  # noqa: E731
        return loops.repeat(150, step, lbfgs.begin(start))

    found = run(jnp.asarray([-1.2, 1.0, -0.5, 2.0]))
    np.testing.assert_allclose(found.point, 1.0, atol=1e-6)


def test_lbfgs_goes_around_what_is_no_number():
    """x - log x, from where the first step leads below zero."""
    objective = lambda x: 50 * jnp.sum(x - jnp.log(x))  # noqa: E731
    step = lambda state: lbfgs.step(state, *jax.value_and_grad(objective)(state.trial))  # noqa: E731
    found = jax.jit(lambda x: loops.repeat(60, step, lbfgs.begin(x)))(jnp.asarray([0.05, 4.0]))
    np.testing.assert_allclose(found.point, 1.0, atol=1e-6)


def test_a_net_by_period_is_one_net_in_each():
    shape, draws = Shape(2, (3,), 2), np.random.default_rng(0)
    stages, u = Stages(shape, 4), jnp.asarray([0.3, -0.7])
    weights = stages.flat(1)
    assert weights.shape == (stages.weights,)
    plain = nets.forward(nets.initial(shape, 1), u)
    for t in range(4):
        np.testing.assert_allclose(nets.forward(stages.at(weights, t), u), plain, atol=1e-15)
    moved = jnp.asarray(draws.normal(size=stages.weights))
    a, b = np.asarray(moved[:6]).reshape(3, 2), np.asarray(moved[6:9])
    own = np.asarray(moved[9:]).reshape(4, 2 * (3 + 1 + 2))[2]
    w, c, s = own[:6].reshape(2, 3), own[6:8], own[8:].reshape(2, 2)
    by_hand = w @ np.tanh(a @ np.asarray(u) + b) + c + s @ np.asarray(u)
    np.testing.assert_allclose(nets.forward(stages.at(moved, 2), u), by_hand, atol=1e-14)


def test_a_period_steered_by_numbers():
    """Quantiles of normal and uniform numbers, and categories by the inverse of their distribution function."""
    model = bx.Model(
        states={
            "x": bx.Continuous(-1.0, 1.0),
            "z": bx.AR1(0.5, 0.2, 1.0),
            "k": bx.MarkovChain([10.0, 20.0], np.array([[0.3, 0.7], [0.6, 0.4]])),
            "m": bx.Discrete(2),
        },
        actions={"a": bx.Continuous(0.0, 1.0)},
        shocks={
            "e": bx.shocks.Normal(0.5, 2.0),
            "w": bx.shocks.Uniform(1.0, 3.0),
            "c": bx.shocks.Categorical(values=[-1.0, 0.0, 5.0], probabilities=[0.2, 0.5, 0.3]),
        },
        transitions={"x": lambda e, w, c: e + 10 * w + 100 * c, "m": bx.Markov(lambda x: jnp.stack([0.9, 0.1]))},
        reward=lambda a: a,
    )
    prepared = bx.solvers.PolicyGradient().prepare(model)
    arguments, sizes = prepared.arguments({"discount": 0.9}), numbers(prepared.plan)
    assert all(size == 1 for size in sizes.values())
    shares = {"e": 0.8, "w": 0.25, "c": 0.65, "next_z": 0.1, "next_k": 0.5, "next_m": 0.95}
    steered = Steered(Laws(prepared.problem, arguments, 0))
    states = {"x": jnp.asarray(0.0), "z": jnp.asarray(1.4), "k": jnp.asarray(20.0), "m": jnp.asarray(0)}
    row = jnp.asarray([shares[leaf] for leaf in sizes])
    found = steered.advance(states, {"a": jnp.asarray(0.5)}, row, jax.random.key(0)).following
    assert float(found["x"]) == pytest.approx(0.5 + 2 * norm.ppf(0.8) + 10 * 1.5 + 0.0, abs=1e-9)
    assert float(found["z"]) == pytest.approx(1.2 + 0.2 * norm.ppf(0.1), abs=1e-9)
    assert float(found["k"]) == 10.0 and int(found["m"]) == 1


@pytest.mark.parametrize("few", [600, 0])
def test_what_is_left_of_a_system_is_looked_at(few, monkeypatch):
    """Exactly, and by conjugate gradients, which stop short where eigenvalues are many and far apart."""
    monkeypatch.setattr(curvature, "_FEW", few)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 60)))[0]
    right = jnp.asarray(np.random.default_rng(1).normal(size=60))

    def found(condition, right):
        matrix = jnp.asarray(rotation @ np.diag(np.geomspace(1 / condition, 1.0, 60)) @ rotation.T)
        return matrix, curvature.solved(lambda x: matrix @ x, right)

    matrix, good = jax.jit(lambda right: found(10.0, right))(right)
    np.testing.assert_allclose(matrix @ good, right, atol=1e-8)
    slopes = jax.jacrev(lambda right: found(10.0, right)[1])(right)
    np.testing.assert_allclose(matrix @ slopes, np.eye(60), atol=1e-8)
    _, far = jax.jit(lambda right: found(1e9, right))(right)
    assert np.all(np.isfinite(far)) if few else np.all(np.isnan(far))
    singular = curvature.solved(lambda x: x.at[0].set(0.0), right)
    assert np.all(np.isnan(singular))
