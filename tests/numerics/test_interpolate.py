"""Interpolants: what they reproduce, at what order they converge, what shape they keep, and nodes of minus infinity."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.numerics import grids, interpolate, scales
from bellax.numerics import hermite as module
from bellax.numerics.hermite import Hermite, columns, limited
from bellax.numerics.linear import Linear

RNG = np.random.default_rng(7)


def lines(counts, lower=0.0, upper=2.0):
    return [grids.line(grids.Scaled(n), jnp.asarray(lower), jnp.asarray(upper), scales.linear) for n in counts]


def steps(counts):
    return [int(np.prod(counts[k + 1 :])) for k in range(len(counts))]


def tabulate(function, axes):
    """Values and slopes of a function of d numbers at the nodes."""
    mesh = jnp.stack(jnp.meshgrid(*[line.coordinates for line in axes], indexing="ij"), axis=-1)
    flat = mesh.reshape(-1, len(axes))
    shape = mesh.shape[:-1]
    slopes = jax.vmap(jax.grad(function))(flat)
    return jax.vmap(function)(flat).reshape(shape), [slopes[:, k].reshape(shape) for k in range(len(axes))]


def hermite(values, slopes, axes, x, rule=None, limit=True):
    """The Hermite interpolant at points, shape (n, d)."""
    tables = columns(values, slopes, axes, limit)
    table = jnp.stack([t.reshape(-1) for t in tables], axis=1)
    distances = steps(values.shape)

    def at(point):
        cells = [line.locate(point[k]) for k, line in enumerate(axes)]
        return (rule or Hermite()).look_up(table, jnp.zeros((), jnp.int32), cells, distances)

    return jax.jit(jax.vmap(at))(jnp.asarray(x))


def linear(values, axes, x, rule=None):
    def at(point):
        cells = [line.locate(point[k]) for k, line in enumerate(axes)]
        return (rule or Linear()).look_up(values.reshape(-1), jnp.zeros((), jnp.int32), cells, steps(values.shape))

    return jax.jit(jax.vmap(at))(jnp.asarray(x))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_linear_reproduces_multilinear_functions_beyond_the_grid_too(d):
    weights = RNG.normal(size=(2,) * d)

    def function(x):
        return sum(
            weights[corner] * np.prod([x[..., k] ** p for k, p in enumerate(corner)], axis=0)
            for corner in itertools.product((0, 1), repeat=d)
        )

    axes = lines([3, 4, 5][:d])
    nodes = np.stack(np.meshgrid(*[np.asarray(line.coordinates) for line in axes], indexing="ij"), axis=-1)
    x = RNG.uniform(-0.5, 2.5, (40, d))
    np.testing.assert_allclose(linear(jnp.asarray(function(nodes)), axes, x), function(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_hermite_reproduces_cubics(d):
    """In several dimensions up to mixed slopes by parabolic differences: exact where those are, up to degree two."""
    power = 3 if d == 1 else 2
    weights = RNG.normal(size=(power + 1,) * d)

    def function(x):
        return sum(
            weights[p] * jnp.prod(jnp.stack([x[k] ** p[k] for k in range(d)]))
            for p in itertools.product(range(power + 1), repeat=d)
        )

    axes = lines([4, 3, 5][:d])
    x = RNG.uniform(-0.3 if d == 1 else 0.0, 2.3 if d == 1 else 2.0, (30, d))
    ours = hermite(*tabulate(function, axes), axes, x, Hermite("extend"), limit=False)
    np.testing.assert_allclose(ours, jax.vmap(function)(jnp.asarray(x)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", [Hermite(), Hermite("constant"), Hermite("extend")])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_hermite_in_blocks_is_hermite_number_by_number(d, kind, monkeypatch):
    rng = np.random.default_rng(3)
    axes = lines([4, 3, 5][:d])
    values = jnp.asarray(rng.normal(size=[4, 3, 5][:d])).at[(1,) * d].set(LOW)
    slopes = [jnp.asarray(rng.normal(size=values.shape)).at[(1,) * d].set(0.0) for _ in range(d)]
    x = np.concatenate([rng.uniform(-0.5, 2.5, (200, d)), [[float(axis.nodes[1]) for axis in axes], np.zeros(d)]])
    found = []
    monkeypatch.setattr(module, "hermite", module.hermite.__wrapped__)  # which would remember its first program
    for most in (0, 3):
        monkeypatch.setattr(module, "UNROLLED", most)
        found.append(np.asarray(hermite(values, slopes, axes, x, kind)))
    lost = infinite(found[0])
    assert lost.any() and not lost.all()
    np.testing.assert_array_equal(lost, infinite(found[1]))
    np.testing.assert_allclose(found[0][~lost], found[1][~lost], rtol=1e-10, atol=1e-10)


def order(error, coarse, fine):
    return np.log(error(coarse) / error(fine)) / np.log((fine - 1) / (coarse - 1))


def test_cubics_by_their_coefficients_are_those_of_hermite_inside_the_grid():
    """At given nodes, in two rows of which one holds minus infinity; no number off the grid and beside that level."""
    y = jnp.asarray([0.0, 0.3, 1.0, 1.2, 2.0])
    line = grids.line(grids.Given(np.asarray(y)), y[0], y[-1], scales.linear)
    levels = jnp.stack([jnp.sin(y), jnp.cos(y).at[1].set(interpolate.barrier(y.dtype))])
    slopes = (jnp.stack([jnp.cos(y), -jnp.sin(y)]),)
    x = np.asarray([-0.1, 0.0, 0.2, 0.9, 1.1, 1.7, 2.0, 2.1])

    def read(interpolant, row):
        table, lines = interpolant.tables(levels, slopes, (line,), False)
        flat = table.reshape(-1, table.shape[-1])
        return np.asarray(
            [interpolant.look_up(flat, jnp.asarray(5 * row), [lines[0].locate(jnp.asarray(at))], (1,)) for at in x]
        )

    inside = (x >= 0) & (x <= 2)
    for row, known in ((0, inside), (1, inside & (x > 1))):
        found = read(Hermite().inside(1), row)
        np.testing.assert_allclose(found[known], read(Hermite(), row)[known], rtol=1e-13)
        assert np.isnan(found[~known]).all()


def test_observed_orders_in_one_dimension():
    function = lambda x: jnp.log(1 + x[0])  # noqa: E731
    x = np.linspace(0.0, 2.0, 4001)[:, None]
    exact = np.log(1 + x[:, 0])

    def linear_error(n):
        axes = lines([n])
        return np.max(np.abs(linear(tabulate(function, axes)[0], axes, x) - exact))

    def hermite_error(n):
        axes = lines([n])
        return np.max(np.abs(hermite(*tabulate(function, axes), axes, x) - exact))

    assert 1.9 < order(linear_error, 41, 81) < 2.1
    assert 3.8 < order(hermite_error, 41, 81) < 4.2


def test_observed_order_in_two_dimensions_with_mixed_slopes_by_differences():
    function = lambda x: jnp.log(1 + x[0] + 0.5 * x[1]) + 0.3 * jnp.sqrt(1 + x[0] * x[1])  # noqa: E731
    x = RNG.uniform(0.0, 2.0, (3000, 2))
    exact = np.asarray(jax.vmap(function)(jnp.asarray(x)))

    def error(n):
        axes = lines([n, n])
        return np.max(np.abs(hermite(*tabulate(function, axes), axes, x, limit=False) - exact))

    assert order(error, 21, 41) > 3.7


def test_rising_data_rise_and_concave_data_bend_down():
    """Slopes that lie far from the data are limited: what rises stays so where secants differ threefold."""
    axes = lines([9])
    values = jnp.asarray(np.cumsum(RNG.uniform(1.0, 3.0, size=9)))
    x = np.linspace(0.0, 2.0, 2001)[:, None]
    rising = np.asarray(hermite(values, [jnp.asarray(RNG.normal(size=9) * 30)], axes, x))
    # the two ends have a range of their own, wider than what keeps the shape
    inside = (x[:, 0] > 0.25) & (x[:, 0] < 1.75)
    assert np.diff(rising[inside]).min() > -1e-12
    concave = lambda x: jnp.sqrt(0.1 + x[0])  # noqa: E731
    bent = np.asarray(hermite(*tabulate(concave, axes), axes, x))
    assert np.diff(bent).min() > 0
    assert np.diff(bent, 2).max() < 1e-9
    true = tabulate(concave, axes)
    np.testing.assert_allclose(limited(true[0], true[1][0], axes[0].coordinates), true[1][0], rtol=1e-14)


def test_inflections_keep_the_order_and_kinks_the_shape():
    """Of a sine, whose second derivative changes its sign; |x - .3|, of which one turn of the secants stands alone."""
    x = np.linspace(0.0, 2.0, 4001)[:, None]

    def error(n):
        values, slopes = tabulate(lambda x: jnp.sin(4.1 * x[0] + 0.3), axes := lines([n]))
        return np.max(np.abs(hermite(values, slopes, axes, x) - np.sin(4.1 * x[:, 0] + 0.3)))

    errors = [error(n) for n in (20, 40, 80, 160, 320)]
    assert np.min(np.log2(np.divide(errors[:-1], errors[1:]))) > 3.8, errors
    for n in (11, 16, 21):  # the kink is at a node, and within cells
        nodes = np.linspace(0.0, 2.0, n)
        kink = jnp.asarray(np.abs(nodes - 0.8))
        wild = jnp.asarray(RNG.normal(size=n) * 30)
        secants = np.diff(np.asarray(kink)) / np.diff(nodes)
        inner = np.asarray(limited(kink, wild, jnp.asarray(nodes)))[1:-1]
        assert np.all(inner >= np.minimum(secants[:-1], secants[1:]) - 1e-12)
        assert np.all(inner <= np.maximum(secants[:-1], secants[1:]) + 1e-12)


def test_extrapolation():
    axes = lines([5])
    values, slopes = tabulate(lambda x: jnp.exp(x[0]), axes)
    x = np.array([[-0.5], [2.5]])
    ends, inside = np.exp([0.0, 2.0]), np.exp([0.5, 1.5])
    ours = hermite(values, slopes, axes, x, Hermite("linear"), limit=False)
    np.testing.assert_allclose(ours, ends + ends * np.array([-0.5, 0.5]), rtol=1e-13)
    np.testing.assert_allclose(hermite(values, slopes, axes, x, Hermite("constant")), ends, rtol=1e-13)
    np.testing.assert_allclose(linear(values, axes, x, Linear("constant")), ends, rtol=1e-13)
    secants = np.abs(inside - ends)
    np.testing.assert_allclose(linear(values, axes, x, Linear()), ends + secants * np.array([-1, 1]), rtol=1e-13)
    # `extend` continues the cubic of the last cell
    y = np.array([2.0 - 0.5, 2.0])
    d0, d1, rise = np.exp(y[0]) * 0.5, np.exp(y[1]) * 0.5, np.exp(y[1]) - np.exp(y[0])
    cubic = np.exp(y[0]) + 2 * d0 + 4 * (3 * rise - 2 * d0 - d1) + 8 * (d0 + d1 - 2 * rise)
    np.testing.assert_allclose(hermite(values, slopes, axes, x, Hermite("extend"), limit=False)[1], cubic, rtol=1e-12)
    for kind, allowed in (
        (Linear, "'bent', 'linear', 'constant'"),
        (Hermite, "'bent', 'linear', 'constant', 'extend'"),
    ):
        with pytest.raises(bx.ModelError, match=f"extrapolation='quadratic'; use one of {allowed}"):
            kind("quadratic")


@pytest.mark.parametrize("mode", ["linear", "constant", "extend"])
def test_the_derivative_at_a_node_is_its_slope(mode):
    axes = lines([5])
    values, slopes = tabulate(lambda x: jnp.sqrt(0.5 + x[0]), axes)
    table = jnp.stack([values, slopes[0]], axis=1)

    def at(x):
        return Hermite(mode).look_up(table, jnp.zeros((), jnp.int32), [axes[0].locate(x)], [1])

    for node, slope in zip(axes[0].nodes, slopes[0], strict=True):
        np.testing.assert_allclose(jax.grad(at)(node), slope, rtol=1e-12)
        np.testing.assert_allclose(jax.jvp(at, (node,), (jnp.ones(()),))[1], slope, rtol=1e-12)


LOW = interpolate.barrier(jnp.dtype("float64"))


def infinite(x):
    return np.asarray(interpolate.is_barrier(jnp.asarray(x)))


@pytest.mark.parametrize("where", [0, 2, 4])
@pytest.mark.parametrize("kind", [Linear(), Linear("constant"), Hermite(), Hermite("constant"), Hermite("extend")])
def test_an_infinite_node_in_one_dimension(where, kind):
    """The cells of the node are minus infinity, their other nodes are as they were, and beyond the grid is no other."""
    axes = lines([5])
    values, slopes = tabulate(lambda x: jnp.sqrt(0.5 + x[0]), axes)
    slopes = [slopes[0].at[where].set(0.0)]
    low = values.at[where].set(LOW)
    look_up = (
        (lambda x: hermite(low, slopes, axes, x, kind))
        if isinstance(kind, Hermite)
        else (lambda x: linear(low, axes, x, kind))
    )
    at_nodes = np.asarray(look_up(axes[0].nodes[:, None]))
    assert infinite(at_nodes).tolist() == [k == where for k in range(5)]
    np.testing.assert_allclose(np.delete(at_nodes, where), np.delete(values, where), rtol=1e-14)
    x = np.linspace(-0.4, 2.4, 29)[:, None] + 0.013
    found = np.asarray(look_up(x))
    cell = np.clip(np.floor(x[:, 0] / 0.5), 0, 3)
    touched = (cell == where) | (cell + 1 == where)
    beyond = (x[:, 0] < 0) | (x[:, 0] > 2)
    assert infinite(found)[touched & ~beyond].all()
    assert np.isfinite(found).all() and found.max() < 3
    assert not infinite(found)[~touched].any()


def test_a_node_next_to_infinity_that_rounding_misses():
    """Forward and back through a scale is good to rounding only; the node still counts as hit."""
    line = grids.line(grids.Scaled(7), jnp.asarray(0.3), jnp.asarray(11.0), scales.log)
    values = jnp.arange(7.0).at[:3].set(LOW).at[6].set(LOW)
    found = hermite(values, [jnp.zeros(7)], [line], np.asarray(line.nodes)[:, None])
    np.testing.assert_allclose(found[3:6], [3.0, 4.0, 5.0], rtol=1e-8)
    nearly = np.asarray(line.nodes)[3:6, None] * (1 + np.array([-1e-13, 1e-13, -1e-13])[:, None])
    np.testing.assert_allclose(hermite(values, [jnp.zeros(7)], [line], nearly), [3.0, 4.0, 5.0], rtol=1e-8)


@pytest.mark.parametrize("kind", [Linear(), Hermite()])
def test_an_infinite_node_in_two_dimensions(kind):
    axes = lines([4, 3], 0.0, 3.0)
    values, slopes = tabulate(lambda x: jnp.sqrt(1 + x[0] + 2 * x[1]), axes)
    low = values.at[1, 2].set(LOW)
    slopes = [slope.at[1, 2].set(0.0) for slope in slopes]
    look_up = (
        (lambda x: hermite(low, slopes, axes, x, kind))
        if isinstance(kind, Hermite)
        else (lambda x: linear(low, axes, x, kind))
    )
    nodes = np.array(list(itertools.product(axes[0].nodes, axes[1].nodes)))
    at_nodes = np.asarray(look_up(nodes)).reshape(4, 3)
    expected = infinite(low)
    np.testing.assert_array_equal(infinite(at_nodes), expected)
    np.testing.assert_allclose(at_nodes[~expected], np.asarray(values)[~expected], rtol=1e-13)
    # the node is (1, 3): inside its cells minus infinity, on the opposite edges and beyond finite
    inside = np.asarray(look_up([[0.5, 2.0], [1.5, 2.9], [1.0, 2.0], [0.7, 3.0]]))
    assert infinite(inside).all()
    finite = np.asarray(look_up([[0.0, 2.2], [2.0, 2.9], [0.5, 1.5], [2.5, 2.2], [1.0, 1.0]]))
    assert not infinite(finite).any() and finite.max() < 4


@pytest.mark.parametrize("mode", ["linear", "constant", "extend"])
def test_derivatives_along_a_cell_are_those_of_its_cubic(mode):
    """Value to third derivative against numpy's polynomial of the four data, and of its continuation off the grid."""
    (axis,) = lines([2], 1.0, 3.0)
    v, d, width = np.array([0.7, -0.4]), np.array([1.3, 2.1]), 2.0
    rise = v[1] - v[0]
    d = d * width
    inside = np.polynomial.Polynomial([v[0], d[0], 3 * rise - 2 * d[0] - d[1], d[0] + d[1] - 2 * rise])
    line = {"linear": 1.0, "constant": 0.0}
    left = inside if mode == "extend" else np.polynomial.Polynomial([v[0], d[0] * line[mode]])
    right = inside if mode == "extend" else np.polynomial.Polynomial([v[1] - d[1] * line[mode], d[1] * line[mode]])
    table = jnp.asarray(np.stack([v, d / width], axis=1))

    def at(x):
        return Hermite(mode).look_up(table, jnp.zeros((), jnp.int32), [axis.locate(x)], [1])

    x = np.array([0.2, 1.0, 1.3, 2.9, 3.0, 3.7])
    t = (x - 1.0) / width
    function = at
    for order in range(4):
        parts = [p.deriv(order) if order else p for p in (left, inside, right)]
        expected = np.select([t < 0, t <= 1], [parts[0](t), parts[1](t)], parts[2](t)) / width**order
        np.testing.assert_allclose(jax.vmap(function)(jnp.asarray(x)), expected, rtol=1e-13, atol=1e-13)
        function = jax.grad(function)
