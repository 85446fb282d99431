"""Below zero a scale of positive numbers has no coordinate of its own; V goes on there all the same, and who goes there
is counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.numerics import grids

SCALES = {"power": bx.scales.power(2.0), "cube": bx.scales.power(3.0), "root": bx.scales.power(0.5)}


def lines(scale, count, lower=0.0):
    ends = jnp.asarray(lower), jnp.asarray(20.0)
    return [grids.line(grids.Scaled(9), *ends, scale) for _ in range(count)]


def read(interpolant, own, at):
    """2 (x + y + ...) at a point, from its values and slopes at the nodes."""

    def value(y):
        return 2 * sum(line.scale.inverse(y[k]) for k, line in enumerate(own))

    nodes = jnp.stack(jnp.meshgrid(*(line.coordinates for line in own), indexing="ij"), axis=-1)
    flat = nodes.reshape(-1, len(own))
    shape = nodes.shape[:-1]
    slopes = jax.vmap(jax.grad(value))(flat)
    slopes = [jnp.where(jnp.isfinite(slopes[:, k]), slopes[:, k], 0.0).reshape(shape) for k in range(len(own))]
    table, laid = interpolant.tables(jax.vmap(value)(flat).reshape(shape), slopes, own, False)
    cells = [line.locate(at[k]) for k, line in enumerate(laid)]
    widths = [line.count for line in laid]
    steps = [int(np.prod(widths[k + 1 :])) for k in range(len(own))]
    return interpolant.look_up(table.reshape(-1, *table.shape[len(own) :]), jnp.zeros((), jnp.int32), cells, steps)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("scale", SCALES)
def test_a_straight_line_goes_on_straight(scale, dimensions):
    at = jnp.array([-4.0, -1.5, -0.25])[:dimensions]
    for extrapolation in ("bent", "linear", "extend"):
        f = lambda x: read(bx.interpolants.Hermite(extrapolation=extrapolation), lines(SCALES[scale], dimensions), x)  # noqa: B023, E731
        value, slope = jax.value_and_grad(f)(at)
        np.testing.assert_allclose(value, 2 * jnp.sum(at), rtol=1e-12)
        np.testing.assert_allclose(slope, 2.0, rtol=1e-12)


@pytest.mark.parametrize("scale", [*SCALES.values(), bx.scales.log, bx.scales.octave])
@pytest.mark.parametrize("interpolant", [bx.interpolants.Linear(), bx.interpolants.Hermite()])
def test_no_debt_is_free(scale, interpolant):
    """Every unit below zero costs at least what it costs on a straight line from the first nodes."""
    own = lines(scale, 1, 0.0 if scale in SCALES.values() else 1e-3)
    values = [float(read(interpolant, own, jnp.array([x]))) for x in (0.0, -1.0, -4.0)]
    assert np.all(np.diff(values) <= -1.99 * np.array([1.0, 3.0]))


@pytest.mark.parametrize("scale", [*SCALES.values(), bx.scales.log, bx.scales.asinh(2.0)])
def test_a_coordinate_and_its_number(scale):
    line = lines(scale, 1, 1e-3)[0]
    x = jnp.array([-7.0, -1e-3, 0.0, 0.4, 19.0, 31.0])
    back = jax.vmap(lambda x: line.number(line.coordinate(x)))(x)
    np.testing.assert_allclose(back, x, rtol=1e-9, atol=1e-9)


def borrower(scale):
    """c_t = taste b^(t-3) / 2, whatever w is: w is worth 2 b^(3-t), and may be negative."""
    return bx.Model(
        states={"w": bx.Continuous(0.0, 20.0, scale=scale)},
        actions={"c": bx.Continuous(0.1, lambda w: w + 5)},
        transitions={"w": lambda w, c: w - c + 1},
        reward=lambda c, taste: taste * jnp.log(c),
        terminal=lambda w: 2 * w,
        discount=0.95,
        horizon=3,
    )


def test_a_borrower_pays_back():
    model = borrower(SCALES["power"])
    run = bx.compile(model, bx.solvers.BackwardInduction(grid={"w": 8}))
    for taste in (1.0, 5.0):
        found = run({"taste": taste})
        c = taste / 2 * 0.95 ** np.arange(-3.0, 0.0)
        np.testing.assert_allclose([found.policy(t, w=1.0)["c"] for t in range(3)], c, rtol=1e-7)
        worth = sum(0.95**k * taste * np.log(c[k]) for k in range(3)) + 2 * 0.95**3 * (1.0 + 3 - sum(c))
        np.testing.assert_allclose(found.value(0, w=1.0), worth, rtol=1e-10)
        nodes = 20 * (np.arange(8) / 7) ** 2
        assert float(found.stats["below:w"]) == sum(np.sum(nodes < c[t] - 1 - 1e-9) for t in range(3))


def test_a_scale_that_hides_a_debt_does_not_hide_it_from_the_count():
    """A user's scale that is flat below zero makes debts free; paths that use that are counted."""
    flat = (lambda x: jnp.sqrt(jnp.maximum(x, 0.0)), lambda y: y**2)
    found = bx.solve(borrower(flat), {"taste": 1.0}, bx.solvers.BackwardInduction(grid={"w": 8}))
    assert found.stats["below:w"] > 0 and "below w at 0.33 of the nodes" in str(found)
