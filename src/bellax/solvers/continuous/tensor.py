"""Numbers over a tensor of points, an axis for each state, and matrices that act along axes."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array


def laid(numbers: Any, place: int, shape: tuple[int, ...]) -> Array:
    """Numbers along one axis, over all."""
    own = [1] * len(shape)
    own[place] = shape[place]
    return jnp.broadcast_to(jnp.asarray(numbers).reshape(own), shape)


def along(values: Array, matrices: Sequence[Any]) -> Array:
    """A matrix along each axis."""
    for place, matrix in enumerate(matrices):
        values = jnp.moveaxis(jnp.tensordot(jnp.asarray(matrix), values, axes=(1, place)), 0, place)
    return values


def spread(rows: Array, matrix: Array, place: int) -> Array:
    """diag(rows) times a matrix along one axis, as one of all nodes: shape (n, n)."""
    axes = rows.ndim
    found = rows.reshape(*rows.shape, *(1,) * axes)
    for axis, count in enumerate(rows.shape):
        own = [1] * (2 * axes)
        own[axis] = own[axes + axis] = count
        found = found * (matrix if axis == place else jnp.eye(count)).reshape(own)
    return found.reshape(rows.size, rows.size)


def outer(matrices: Sequence[Any]) -> Array:
    """A matrix along each axis, as one that takes all nodes to all points, shape (m, n)."""
    found = jnp.ones((1, 1))
    for matrix in matrices:
        found = jnp.kron(found, jnp.asarray(matrix))
    return found


def joined(rows: Sequence[Array]) -> Array:
    """What nodes count along each axis, as what each of all nodes counts, shape (n,)."""
    found = jnp.ones(1)
    for row in rows:
        found = (found[:, None] * row[None, :]).reshape(-1)
    return found
