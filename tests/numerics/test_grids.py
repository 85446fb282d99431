"""Lines: cells are found right, at the ends and beyond, in uniform coordinates and among given nodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.numerics import grids, scales

UNEVEN = (0.1, 0.2, 0.5, 2.0, 2.5, 9.0)
LINES = {
    "linear": grids.line(grids.Scaled(9), jnp.asarray(0.1), jnp.asarray(9.0), scales.linear),
    "log": grids.line(grids.Scaled(9), jnp.asarray(0.1), jnp.asarray(9.0), scales.log),
    "quick log": grids.line(grids.Scaled(9), jnp.asarray(0.1), jnp.asarray(9.0), scales.log, quick=True),
    "own scale": grids.line(grids.Scaled(9, scales.asinh), jnp.asarray(0.1), jnp.asarray(9.0), scales.log),
    "octave": grids.line(grids.Scaled(9), jnp.asarray(0.1), jnp.asarray(9.0), scales.octave),
    "power": grids.line(grids.Scaled(9), jnp.asarray(0.1), jnp.asarray(9.0), scales.power(2.0)),
    "regular": grids.line(grids.Regular(9), jnp.asarray(0.1), jnp.asarray(9.0), scales.log),
    "given": grids.line(grids.Given(UNEVEN), jnp.asarray(0.1), jnp.asarray(9.0), scales.linear),
    "given, log": grids.line(grids.Given(UNEVEN, scales.log), jnp.asarray(0.1), jnp.asarray(9.0), scales.linear),
    "two": grids.line(grids.Scaled(2), jnp.asarray(0.1), jnp.asarray(9.0), scales.log),
}


@pytest.mark.parametrize("name", LINES)
def test_nodes_run_from_bound_to_bound(name):
    nodes = np.asarray(LINES[name].nodes)
    np.testing.assert_allclose(nodes[[0, -1]], [0.1, 9.0], rtol=1e-12)
    assert np.all(np.diff(nodes) > 0)


@pytest.mark.parametrize("name", LINES)
def test_a_point_lies_in_its_cell(name):
    line = LINES[name]
    nodes, coordinates = np.asarray(line.nodes), np.asarray(line.coordinates)
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 9.0, 200)
    cell = jax.vmap(line.locate)(jnp.asarray(x))
    k, t = np.asarray(cell.node), np.asarray(cell.fraction)
    np.testing.assert_array_equal(k, np.searchsorted(nodes, x, side="right") - 1)
    assert t.min() >= 0 and t.max() <= 1
    # the fraction is that of the coordinate, and the width that of the cell
    y = coordinates[k] + t * np.asarray(cell.width)
    np.testing.assert_allclose(y, line.scale.forward(jnp.asarray(x)), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(cell.width, (coordinates[1:] - coordinates[:-1])[k], rtol=1e-12)


@pytest.mark.parametrize("name", LINES)
def test_nodes_and_ends(name):
    line = LINES[name]
    cell = jax.vmap(line.locate)(line.nodes)
    place = np.asarray(cell.node) + np.asarray(cell.fraction)
    np.testing.assert_allclose(place, np.arange(line.count), atol=1e-11)
    assert np.asarray(cell.node).max() == line.count - 2  # the last node is the end of the last cell


@pytest.mark.parametrize("name", LINES)
def test_beyond_the_ends(name):
    line = LINES[name]
    below, above = line.locate(jnp.asarray(0.05)), line.locate(jnp.asarray(12.0))
    assert int(below.node) == 0 and float(below.fraction) < 0
    assert int(above.node) == line.count - 2 and float(above.fraction) > 1


def test_derivative_of_the_fraction_at_nodes():
    """It must be that of the coordinate, never the half of a clip."""
    for name in ("linear", "log", "given"):
        line = LINES[name]
        for node in np.asarray(line.nodes):
            slope = jax.grad(lambda x, line=line: line.locate(x).fraction)(jnp.asarray(node))
            width = line.locate(jnp.asarray(node)).width
            expected = (1 / node if name == "log" else 1.0) / width
            np.testing.assert_allclose(slope, expected, rtol=1e-10)


def test_specifications_that_are_none():
    for nodes in ([1.0], [1.0, 1.0], [[1.0, 2.0]], [2.0, 1.0]):
        with pytest.raises(bx.ModelError, match="at least two increasing nodes"):
            grids.Given(nodes)
    with pytest.raises(bx.ModelError, match="grid of 'w' has 1 nodes.*at least 2"):
        grids.as_spec(1, "'w'")
    for wrong in (True, 3.5, "many", grids.Rouwenhorst(5)):
        with pytest.raises(bx.ModelError, match="grid of 'w' is.*number of nodes"):
            grids.as_spec(wrong, "'w'")
    assert grids.as_spec(np.int64(7), "'w'").count == 7


def test_distances_off_the_grid_are_shortened():
    """e becomes e - b e^2 up to its largest value; an infinite one, log 0, stays infinite where nothing bends."""
    bend = grids.Bend(jnp.asarray(0.0), jnp.asarray(1.0), jnp.asarray(0.0), jnp.asarray(0.2))
    np.testing.assert_allclose([bend(jnp.asarray(y)) for y in (0.3, 2.0, 9.0)], [0.3, 1.8, 2.25], rtol=1e-15)
    assert bend(jnp.asarray(-jnp.inf)) == -jnp.inf and bend(jnp.asarray(jnp.inf)) == 2.25
    slopes = [jax.grad(bend)(jnp.asarray(y)) for y in (0.3, 2.0, 9.0)]
    np.testing.assert_allclose(slopes, [1.0, 0.6, 0.0], rtol=1e-15)
    assert jax.grad(jax.grad(bend))(jnp.asarray(2.0)) == pytest.approx(-0.4)
    by_end = jax.grad(lambda last: grids.Bend(bend.first, last, bend.below, bend.above)(jnp.asarray(2.0)))
    assert by_end(jnp.asarray(1.0)) == pytest.approx(0.4)
    # of the rate: of e - b e^2, of its largest value 1 / (4 b), of the slope 1 - 2 b e; nothing on the grid
    at = lambda y: lambda b: grids.Bend(bend.first, bend.last, bend.below, b)(jnp.asarray(y))  # noqa: E731
    by_rate = [float(jax.grad(at(y))(bend.above)) for y in (0.3, 2.0, 9.0, -1.0)]
    np.testing.assert_allclose(by_rate, [0.0, -1.0, -6.25, 0.0], rtol=1e-14)
    slope = lambda b: jax.grad(grids.Bend(bend.first, bend.last, bend.below, b))(jnp.asarray(2.0))  # noqa: E731
    assert jax.grad(slope)(bend.above) == pytest.approx(-2.0)


@pytest.mark.parametrize("spec", [grids.Scaled(5), grids.Regular(5), grids.Given([1.0, 2.0, 3.0, 6.0, 9.0])])
def test_a_line_that_goes_on(spec):
    """By shares of its length in the coordinate, at both ends, and as `shares` says."""
    wider = grids.Wider(spec, below=0.25, above=0.5)
    line = grids.line(wider, jnp.asarray(1.0), jnp.asarray(9.0), scales.linear)
    np.testing.assert_allclose(np.asarray(line.nodes)[[0, -1]], [-1.0, 13.0])
    assert line.count == 8 and np.all(np.diff(line.nodes) > 0)
    np.testing.assert_allclose(grids.shares(wider, scales.linear), (np.asarray(line.nodes) + 1.0) / 14.0)


def test_a_line_that_ends_sooner():
    shorter = grids.Wider(grids.Scaled(9), below=-0.25, above=-0.25)
    line = grids.line(shorter, jnp.asarray(1.0), jnp.asarray(9.0), scales.linear)
    np.testing.assert_allclose(line.nodes, np.linspace(3.0, 7.0, 5))
    again = grids.line(grids.resized(shorter, 2.0), jnp.asarray(1.0), jnp.asarray(9.0), scales.linear)
    np.testing.assert_allclose(again.nodes, np.linspace(3.0, 7.0, 9))


def test_specifications_of_another_size():
    assert grids.resized(9, 0.25, 3) == 3 and grids.resized(9, 2.0) == 17
    assert grids.resized(grids.Regular(9), 1.5) == grids.Regular(13)
    assert grids.resized(grids.Rouwenhorst(7), 2.0) == grids.Rouwenhorst(13)
    assert grids.resized(grids.Given([0.0, 1.0, 4.0]), 2.0) == grids.Given([0.0, 0.5, 1.0, 2.5, 4.0])
