"""Polynomials through the nodes around a point: what a table says of the derivatives of a smooth function."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.numerics.grids import Line

NODES = 6  # whose second derivative is two orders beyond that of three nodes


def stencil(
    line: Line, x: Float[Array, ""], among: Bool[Array, "n"] | None = None
) -> tuple[Int[Array, ""], Float[Array, "k"]]:
    """The first of the nodes around a point, as evenly on both sides as there are, and the weight of each.

    The weights have derivatives in the point, through the coordinate of the line.

    Args:
        among: nodes of the same smooth piece as the point, from which as many as can be are taken; all by default.
    """
    count = min(NODES, line.count)
    first = jnp.clip(line.locate(x).node - (count // 2 - 1), 0, line.count - count).astype(jnp.int32)
    if among is not None:
        starts = jnp.arange(line.count - count + 1, dtype=jnp.int32)
        before = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(~among, dtype=jnp.int32)])
        others = before[starts + count] - before[starts]
        first = jnp.argmin(others * line.count + jnp.abs(starts - first)).astype(jnp.int32)
    nodes = line.coordinates[first + jnp.arange(count, dtype=jnp.int32)]
    return first, weights(nodes, line.coordinate(x))


def weights(nodes: Float[Array, "k"], y: Float[Array, ""]) -> Float[Array, "k"]:
    """What each node contributes at y to the polynomial through all of them."""
    itself = np.eye(nodes.shape[0], dtype=bool)
    apart = jnp.where(itself, 1.0, nodes[:, None] - nodes[None, :])
    return jnp.prod(jnp.where(itself, 1.0, (y - nodes)[None, :] / apart), axis=1)
