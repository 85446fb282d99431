"""Polynomials through the nodes around a point: what a table says of the derivatives of a smooth function."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.numerics.grids import Line

NODES = 6  # whose second derivative is two orders beyond that of three nodes


def through(
    table: Float[Array, "..."], axes: Sequence[tuple[Line | None, Array]], alike: Bool[Array, "..."] | None = None
) -> Float[Array, ""]:
    """The polynomial through the nodes around a point, in the coordinates of the lines.

    Args:
        axes: of every axis of the table its line and the point on it; or no line, and a number of the axis.
        alike: nodes of the same smooth piece as the point: through as many of them as there are along each axis, if the
            others are where the point is nearest.
    """
    near = [at if line is None else _nearest(line, at) for line, at in axes]
    starts, shares = [], []
    for place, (line, at) in enumerate(axes):
        if line is None:
            first, own = at, jnp.ones(1)
        else:
            first, own = stencil(line, at, None if alike is None else _row(alike, place, near))
        starts.append(first)
        shares.append(own)
    found = lax.dynamic_slice(table, starts, [own.shape[0] for own in shares])
    for own in reversed(shares):
        found = found @ own
    return found


def _nearest(line: Line, x: Float[Array, ""]) -> Int[Array, ""]:
    cell = line.locate(x)
    return jnp.clip(cell.node + (cell.fraction > 0.5).astype(jnp.int32), 0, line.count - 1).astype(jnp.int32)


def _row(table: Array, place: int, at: Sequence[Array]) -> Array:
    """A table along one axis, at given numbers of the others."""
    for axis in reversed(range(table.ndim)):
        if axis != place:
            table = lax.dynamic_index_in_dim(table, at[axis], axis, keepdims=False)
    return table


def stencil(
    line: Line, x: Float[Array, ""], among: Bool[Array, "n"] | None = None
) -> tuple[Int[Array, ""], Float[Array, "k"]]:
    """The first of the nodes around a point, as evenly on both sides as there are, and the weight of each.

    The weights have derivatives in the point, through the coordinate of the line.

    Args:
        among: nodes of the same smooth piece as the point, of which as many as can be are taken if the point is among
            them or in the cell beside; all by default.
    """
    count = min(NODES, line.count)
    first = jnp.clip(line.locate(x).node - (count // 2 - 1), 0, line.count - count).astype(jnp.int32)
    if among is not None:
        starts = jnp.arange(line.count - count + 1, dtype=jnp.int32)
        before = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(~among, dtype=jnp.int32)])
        others = before[starts + count] - before[starts]
        # a border is within a cell of the point, and from further away nothing is known
        node = line.locate(x).node
        beyond = (starts > node + 1) | (starts + count - 1 < node)
        cost = jnp.where(beyond, (count + 2) * line.count, others * line.count + jnp.abs(starts - first))
        first = jnp.argmin(cost).astype(jnp.int32)
    nodes = line.coordinates[first + jnp.arange(count, dtype=jnp.int32)]
    return first, weights(nodes, line.coordinate(x))


def weights(nodes: Float[Array, "k"], y: Float[Array, ""]) -> Float[Array, "k"]:
    """What each node contributes at y to the polynomial through all of them."""
    itself = np.eye(nodes.shape[0], dtype=bool)
    apart = jnp.where(itself, 1.0, nodes[:, None] - nodes[None, :])
    return jnp.prod(jnp.where(itself, 1.0, (y - nodes)[None, :] / apart), axis=1)
