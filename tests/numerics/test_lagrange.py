"""Polynomials through tables, beside the functions that they are of."""

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.numerics import grids, lagrange

LINE = grids.line(bx.grids.Regular(21), jnp.zeros(()), jnp.ones(()), bx.scales.linear)
X = np.asarray(LINE.nodes)


def kinked(x):
    """Another polynomial of the fifth degree on either side of 0.52, between two nodes."""
    return jnp.where(x < 0.52, x**5 - x, 3 * x**4 + 2)


def test_a_polynomial_takes_nodes_of_one_side():
    def along(x, alike):
        return lagrange.through(kinked(LINE.nodes), [(LINE, x)], alike)

    at = jnp.asarray([0.01, 0.3, 0.505, 0.515, 0.525, 0.545, 0.99])
    alike = jnp.asarray((X < 0.52)[None, :] == (np.asarray(at) < 0.52)[:, None])
    second = jax.jit(jax.vmap(lambda x, own: (along(x, own), jax.grad(jax.grad(along))(x, own))))
    exact = jax.jit(jax.vmap(lambda x: (kinked(x), jax.grad(jax.grad(kinked))(x))))
    for ours, theirs in zip(second(at, alike), exact(at), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_from_further_than_a_cell_nothing_is_known():
    """A point whose side has no nodes near by gets the polynomial around it and not one from afar."""
    at = jnp.asarray(0.12)
    of = jax.jit(lambda x: lagrange.through(jnp.cos(3 * LINE.nodes), [(LINE, x)], jnp.asarray(X > 0.7)))
    found = of(at)
    np.testing.assert_allclose(found, np.cos(0.36), atol=1e-5)


def test_axes_of_a_table():
    """A polynomial in two axes beside one of numbers, on the side of a border in the first."""
    table = jnp.stack([n * kinked(LINE.nodes)[:, None] * LINE.nodes[None, :] ** 2 for n in (1.0, 2.0)])
    alike = jnp.broadcast_to(jnp.asarray(X < 0.52)[None, :, None], table.shape)
    x, y = jnp.asarray(0.51), jnp.asarray(0.33)
    of = jax.jit(lambda x, y: lagrange.through(table, [(None, jnp.int32(1)), (LINE, x), (LINE, y)], alike))
    found = of(x, y)
    np.testing.assert_allclose(found, 2 * kinked(x) * y**2, rtol=1e-10)
