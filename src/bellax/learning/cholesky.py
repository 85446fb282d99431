"""Cholesky's factor of a few hundred unknowns, block by block, without LAPACK.

LAPACK shares matrices of this size among threads that mostly wait for each other: on two busy cores a factor of 337
unknowns took 50 ms of processor time, and by blocks 3.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from bellax.numerics import loops

_BLOCK = 32


class Factor(NamedTuple):
    """L of a matrix L L', padded to whole blocks with those of the identity.

    Attributes:
        lower: L, shape (n, n).
        inverses: of its diagonal blocks, shape (blocks, b, b).
    """

    lower: Array
    inverses: Array


def factor(matrix: Array) -> Factor:
    """Of a symmetric matrix; not a number where it is not positive definite."""
    size = matrix.shape[0]
    count = -(-size // _BLOCK)
    pad = count * _BLOCK - size
    left = jnp.pad(matrix, (0, pad)) + jnp.diag(jnp.concatenate([jnp.zeros(size), jnp.ones(pad)]))
    columns, inverses = [], []
    for number in range(count):
        own, inverse = _small(left[:_BLOCK, :_BLOCK])
        below = left[_BLOCK:, :_BLOCK] @ inverse.T
        columns.append(jnp.concatenate([jnp.zeros((number * _BLOCK, _BLOCK)), own, below]))
        inverses.append(inverse)
        left = left[_BLOCK:, _BLOCK:] - below @ below.T
    return Factor(jnp.concatenate(columns, axis=1), jnp.stack(inverses))


def _small(matrix: Array) -> tuple[Array, Array]:
    """L of one block, and its inverse: Gauss's elimination of the identity beside it."""
    count = matrix.shape[0]
    places = jnp.arange(count, dtype=jnp.int32)

    def column(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        number, left, lower, inverse = state
        root = jnp.sqrt(left[number, number])
        own = jnp.where(places >= number, left[:, number] / root, 0.0)
        row = inverse[number] / root
        below = jnp.where(places > number, own, 0.0)
        inverse = (inverse - below[:, None] * row[None, :]).at[number].set(row)
        return number + 1, left - own[:, None] * own[None, :], lower.at[:, number].set(own), inverse

    start = (jnp.zeros((), jnp.int32), matrix, jnp.zeros_like(matrix), jnp.eye(count, dtype=matrix.dtype))
    _, _, lower, inverse = loops.repeat(count, column, start)
    return lower, inverse


def solve(found: Factor, right: Array) -> Array:
    """x with L L' x = right, a vector."""
    size, count = right.shape[0], found.inverses.shape[0]
    b = jnp.pad(right, (0, count * _BLOCK - size))
    for number in range(count):
        own, rest = slice(number * _BLOCK, (number + 1) * _BLOCK), slice((number + 1) * _BLOCK, None)
        part = found.inverses[number] @ b[own]
        b = jnp.concatenate([b[: own.start], part, b[rest] - found.lower[rest, own] @ part])
    for number in reversed(range(count)):
        own = slice(number * _BLOCK, (number + 1) * _BLOCK)
        part = found.inverses[number].T @ b[own]
        b = jnp.concatenate([b[: own.start] - found.lower[own, : own.start].T @ part, part, b[own.stop :]])
    return b[:size]
