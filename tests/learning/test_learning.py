"""Nets, least squares, samples and checkpoints, beside what is known of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.learning import cholesky, levenberg, nets, polynomials, sampling, training
from bellax.learning.adam import Adam
from bellax.learning.checkpoints import Checkpoint
from bellax.learning.nets import Box, Shape

SHAPE = Shape(1, (6,))
X = jnp.linspace(-1.0, 1.0, 40)[:, None]


def off(weights, row):
    """Of a net from sin(3 x)."""
    return nets.forward(nets.layers(SHAPE, weights), row)[0] - jnp.sin(3 * row[0])


def fitting(budgets=(60,), rows=X):
    return levenberg.LevenbergMarquardt(lambda frozen, number: [(off, rows)], lambda weights, frozen: frozen, budgets)


@pytest.fixture(scope="module")
def blocks():
    method = fitting()
    return jax.jit(lambda state: training.block(method, state, 10))


def begin():
    return fitting().init(nets.flat(SHAPE, 0), None)


def test_levenberg_marquardt_fits_a_sine(blocks):
    last = training.watched(blocks, begin(), training.Watch(10))
    at = jnp.linspace(-0.99, 0.99, 77)[:, None]
    found = jax.vmap(lambda x: nets.forward(nets.layers(SHAPE, last.weights), x)[0])(at)
    np.testing.assert_allclose(found, np.sin(3 * np.asarray(at[:, 0])), atol=1e-3)


def test_a_round_ends_where_no_more_is_to_be_had():
    def last(still):
        groups = lambda frozen, number: [(off, X)]  # noqa: E731
        method = levenberg.LevenbergMarquardt(groups, lambda weights, frozen: frozen, (60,), still=still)
        return jax.jit(lambda: training.run(method, method.init(nets.flat(SHAPE, 0), None)))()

    patient, quick = last(1e-7), last(0.5)
    assert quick.total < patient.total
    assert patient.loss < quick.loss < 1.0


def test_polynomials_and_their_derivatives():
    """Beside numpy's, at a point of the plane, along both axes."""
    degrees, at = polynomials.powers((5, 3)), np.array([0.3, -0.7])
    series = [[np.polynomial.chebyshev.Chebyshev.basis(n).deriv(d) for n in range(6)] for d in range(3)]

    def wanted(orders):
        return [np.prod([series[d][n](x) for d, n, x in zip(orders, row, at, strict=True)]) for row in degrees]

    of = lambda u: polynomials.features(u, degrees)  # noqa: E731
    first, second = jax.jit(jax.jacfwd(of))(jnp.asarray(at)), jax.jit(jax.jacfwd(jax.jacrev(of)))(jnp.asarray(at))
    np.testing.assert_allclose(of(jnp.asarray(at)), wanted((0, 0)), atol=1e-13)
    np.testing.assert_allclose(first[:, 1], wanted((0, 1)), atol=1e-13)
    np.testing.assert_allclose(second[:, 0, 0], wanted((2, 0)), atol=1e-12)
    np.testing.assert_allclose(second[:, 0, 1], wanted((1, 1)), atol=1e-12)
    assert {(5, 0), (0, 3), (4, 1), (1, 2)} <= set(map(tuple, degrees)) and (0, 0) not in degrees.tolist()
    assert [5, 1] not in degrees.tolist(), "(5/5)^2 + (1/3)^2 is above one"


def test_a_net_beside_polynomials():
    """f(u) = T_2(u) / 4, where nothing but that polynomial counts."""
    shape = Shape(1, (3,), degrees=(4,))
    weights = nets.flat(shape, 0)
    assert weights.shape == (shape.weights,)
    nothing = nets.layers(shape, jnp.zeros(shape.weights))
    own = nothing._replace(skip=jnp.asarray([[0.0, 1.0, 0.0, 0.0]]))
    assert float(nets.forward(own, jnp.asarray([0.3]), shape.degrees)[0]) == pytest.approx((2 * 0.3**2 - 1) / 4)


def test_a_step_keeps_the_types_of_a_state(blocks):
    """A number whose type is weak before the first step and not after it has the block compiled twice."""
    before = begin()
    after = jax.eval_shape(blocks, before)[0]
    types = lambda state: [(leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(jax.eval_shape(lambda: state))]  # noqa: E731
    assert types(before) == [(leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(after)]


def test_few_residuals_give_the_same_step():
    """J'(J J' + l)^-1 r and (J'J + l)^-1 J'r, beside numpy."""
    draws, run = np.random.default_rng(0), jax.jit(levenberg.direction)
    for rows, columns in ((5, 70), (70, 5)):
        matrix, right = draws.normal(size=(rows, columns)), draws.normal(size=rows)
        few = matrix @ matrix.T if rows < columns else matrix.T @ matrix
        size = np.trace(few) / few.shape[0]
        ridge = np.linalg.solve(matrix.T @ matrix + 0.1 * size * np.eye(columns), matrix.T @ right)
        found = run(jnp.asarray(matrix), jnp.asarray(right), jnp.asarray(0.1))
        np.testing.assert_allclose(found, ridge, atol=1e-10)


def test_cholesky_by_blocks():
    draws = np.random.default_rng(1)
    half = draws.normal(size=(45, 45))
    matrix, right = half @ half.T + np.eye(45), draws.normal(size=45)
    found = jax.jit(lambda a, b: cholesky.solve(cholesky.factor(a), b))(matrix, right)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), atol=1e-9)


def test_derivatives_of_a_fit():
    """Least squares of a (x) - slope x: the weight is the slope, and moves with it."""

    def fitted(slope):
        groups = [(lambda weights, row: weights[0] * row[0] - slope * row[0], X)]
        return levenberg.moved(groups, jnp.asarray([2.0]))[0]

    np.testing.assert_allclose(jax.jit(jax.grad(fitted))(2.0), 1.0, atol=1e-10)


def test_a_killed_training_goes_on_where_it_was(blocks, tmp_path):
    whole = training.watched(blocks, begin(), training.Watch(10))

    def kill(steps, loss):
        if steps >= 20:
            raise KeyboardInterrupt

    kept = Checkpoint(tmp_path / "kept", "a sine")
    with pytest.raises(KeyboardInterrupt):
        training.watched(blocks, begin(), training.Watch(10, kill, kept))
    told = []
    again = training.watched(blocks, begin(), training.Watch(10, lambda steps, loss: told.append(steps), kept))
    assert told[0] == 30
    np.testing.assert_array_equal(again.weights, whole.weights)
    with pytest.raises(bx.ModelError, match="is of another model, of other parameters"):
        Checkpoint(tmp_path / "kept", "a cosine").load(begin())


def test_adam_finds_the_least_of_a_square():
    adam, weights = Adam(0.1, 1.0), {"x": jnp.asarray([3.0, -2.0])}
    moments = adam.init(weights)
    step = jax.jit(lambda weights, moments: adam.step(weights, {"x": 2 * (weights["x"] - 1)}, moments))
    for _ in range(200):
        weights, moments = step(weights, moments)
    np.testing.assert_allclose(weights["x"], 1.0, atol=1e-2)


def test_samples_are_independent_and_one_key_is_found():
    sample = sampling.points(256, 3, 0)
    assert sample.shape == (256, 3) and sample.min() > 0 and sample.max() < 1
    assert sampling.dependence(sample) < 0.1
    np.testing.assert_allclose(sample.mean(axis=0), 0.5, atol=5e-3)
    assert sampling.dependence(np.repeat(sample[:, :1], 2, axis=1)) == pytest.approx(1.0)


def test_outputs_are_bounded():
    x = jnp.asarray([-50.0, 0.0, 50.0])
    np.testing.assert_allclose(nets.share(x, 1.0, 3.0), [1.0, 2.0, 3.0], atol=1e-12)
    assert float(jnp.min(nets.positive(x, 0.5))) >= 0.5
    box = Box(jnp.asarray([1.0, -2.0]), jnp.asarray([3.0, 2.0]))
    np.testing.assert_allclose(box.scaled(box.at(jnp.asarray([0.0, 0.75]))), [-1.0, 0.5])


def test_a_checkpoint_of_other_arrays_or_of_another_version_is_refused(tmp_path, monkeypatch):
    kept = Checkpoint(tmp_path / "kept", "a training")
    kept.save(1, {"weights": jnp.arange(3.0), "none": jnp.zeros(0)})
    for other in ({"weights": jnp.zeros(3), "more": jnp.zeros(2)}, {"weights": jnp.zeros(4)}, {}):
        with pytest.raises(bx.ModelError, match="holds 1 arrays, and not the"):
            kept.load(other)
    np.testing.assert_array_equal(kept.load({"weights": jnp.zeros(3)})["weights"], np.arange(3.0))
    monkeypatch.setattr("bellax.learning.checkpoints.version", lambda name: "0.0")
    with pytest.raises(bx.ModelError, match="another version of bellax"):
        Checkpoint(kept.path, "a training").load({"weights": jnp.zeros(3)})
