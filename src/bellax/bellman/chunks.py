"""Pointwise functions over the axes of a mesh: nested `vmap`, outermost axis first, in chunks that keep the cells in
flight within a budget of bytes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.bellman.mesh import Mesh
from bellax.numerics import loops

_GROUPS = 64  # into which a batch is cut whose rows are asked once more where they are wrong
_PLANES = 4  # arrays of the size of a plane of candidates that live at once


class Node(NamedTuple):
    """One node of a mesh."""

    codes: dict[str, Array]
    coordinates: Array


def in_flight(points: int, cells: int) -> int:
    """Bytes that so many points need at once, each so many numbers, if they are not cut in chunks."""
    return points * cells * _PLANES * jnp.result_type(float).itemsize


def lay(function: Callable[..., Any], axes: Sequence[Array], cells: int, budget: int) -> Any:
    """`function` of one entry of every axis, over all of them: nested `vmap`, chunked from the outside to fit.

    Args:
        function: pointwise.
        axes: arrays; the result has their lengths as leading axes.
        cells: numbers that one point needs at once.
        budget: numbers that may be in flight.
    """
    if not axes:
        return function()
    head, rest = axes[0], list(axes[1:])
    inner = cells * math.prod(len(axis) for axis in rest)

    def row(x: Array) -> Any:
        return lay(lambda *others: function(x, *others), rest, cells, budget)

    return in_chunks(row, head, max(1, budget // inner))


def in_chunks(function: Callable[[Any], Any], batch: Any, fits: int) -> Any:
    """`function` of every entry of a batch, so many at once as fit, in chunks of one length.

    `lax.map(batch_size=)` compiles the rest of a division as a second program, and divides by zero where an entry holds
    no number, such as the continuous actions of a model that has none. Here the last entry fills the last chunk.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    if count <= fits:
        return jax.vmap(function)(batch)
    chunks = -(-count // fits)
    size = -(-count // chunks)
    if size == 1:
        return lax.map(function, batch)

    def cut(leaf: Array) -> Array:
        filling = jnp.broadcast_to(leaf[-1], (chunks * size - count, *leaf.shape[1:]))
        return jnp.concatenate([leaf, filling]).reshape(chunks, size, *leaf.shape[1:])

    found = lax.map(jax.vmap(function), jax.tree.map(cut, batch))
    return jax.tree.map(lambda leaf: leaf.reshape(chunks * size, *leaf.shape[2:])[:count], found)


def in_parts(function: Callable[[Any, Array], tuple[Any, Any]], batch: Any, most: int) -> tuple[Any, Any]:
    """`function` of parts of a batch, one after the other, so that what it needs meanwhile it needs of one part.

    Parts have one length. Where the count of rows has a divisor for it, what is kept of them is never copied.

    Args:
        function: of a batch, and of which of its rows count; gives what is kept, with such rows, and totals.
        batch: a pytree, rows along the first axis.
        most: rows of a part.
    Returns:
        What is kept of every row, and the totals of all.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    if count <= most:
        return function(batch, jnp.ones(count, bool))
    even = [size for size in range(most, most // 4, -1) if count % size == 0]
    size = even[0] if even else -(-count // -(-count // most))
    parts = -(-count // size)

    def cut(leaf: Array) -> Array:
        filling = jnp.broadcast_to(leaf[-1:], (parts * size - count, *leaf.shape[1:]))
        return jnp.concatenate([leaf, filling]).reshape(parts, size, *leaf.shape[1:])

    real = (jnp.arange(parts * size) < count).reshape(parts, size)
    kept, totals = lax.map(lambda part: function(*part), (jax.tree.map(cut, batch), real))
    rows = jax.tree.map(lambda leaf: leaf.reshape(parts * size, *leaf.shape[2:])[:count], kept)
    return rows, jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0, dtype=leaf.dtype), totals)


def once_more(function: Callable[[Any], Any], batch: Any, found: Any, wrong: Array) -> Any:
    """What was found of a batch, with `function` in place of it in the rows that are wrong, some of them at a time.

    Not differentiable in reverse mode.

    Args:
        function: of a batch.
        found: what it gives, or a guess of that, rows along the first axis.
        wrong: whether the guess of a row does not count.
    """
    count = wrong.shape[0]
    size = max(1, count // _GROUPS)
    slot = jnp.where(wrong, jnp.cumsum(wrong, dtype=jnp.int32) - 1, 2 * count)
    rows = jnp.full(count + size, count, jnp.int32).at[slot].set(jnp.arange(count, dtype=jnp.int32), mode="drop")
    many = jnp.sum(wrong, dtype=jnp.int32)

    def step(state: tuple[Array, Any]) -> tuple[Array, Any]:
        first, found = state
        some = lax.dynamic_slice(rows, (first,), (size,))  # beyond the last of them rows that do not exist
        new = function(jax.tree.map(lambda leaf: leaf[jnp.minimum(some, count - 1)], batch))
        return first + size, jax.tree.map(lambda leaf, own: leaf.at[some].set(own, mode="drop"), found, new)

    return loops.until(lambda state: state[0] >= many, step, (jnp.zeros((), jnp.int32), found))[1]


def over_axes(function: Callable[..., Any], axes: Sequence[Array], cells: int, memory: int) -> Any:
    """`function` of one entry of every axis, over all of them, as `lay` does.

    Args:
        cells: numbers that one point needs at once.
        memory: bytes that may be in flight.
    """
    return lay(function, axes, cells * _PLANES, max(1, memory // jnp.result_type(float).itemsize))


def over_mesh(function: Callable[[Node], Any], mesh: Mesh, cells: int, memory: int) -> Any:
    """`function` of a node, at every node of the mesh.

    Args:
        cells: numbers that one node needs at once.
        memory: bytes that may be in flight.
    """
    names = list(mesh.discrete_axes)

    def at(*entries: Array) -> Any:
        coordinates = jnp.stack(entries[len(names) :]) if mesh.lines else jnp.zeros(0)
        return function(Node(dict(zip(names, entries, strict=False)), coordinates))

    axes = [jnp.arange(length, dtype=jnp.int32) for length in mesh.discrete_axes.values()]
    axes += [line.coordinates for line in mesh.lines]
    return over_axes(at, axes, cells, memory)


def over_batch(function: Callable[[Any], Any], batch: Any, cells: int, memory: int) -> Any:
    """`function` of every entry of a batch of states, agents or points, in chunks that fit.

    Args:
        batch: a pytree, entries along the first axis.
        cells: numbers that one entry needs at once.
        memory: bytes that may be in flight.
    """
    return in_chunks(function, batch, fitting(cells, memory))


def fitting(cells: int, memory: int) -> int:
    """How many entries fit that need so many numbers each, in so many bytes."""
    return max(1, memory // jnp.result_type(float).itemsize // (cells * _PLANES))


def nodes_of(mesh: Mesh) -> Node:
    """Every node of a mesh, along one axis."""
    axes = [jnp.arange(length, dtype=jnp.int32) for length in mesh.discrete_axes.values()]
    axes += [line.coordinates for line in mesh.lines]
    grids = [axis.reshape(-1) for axis in jnp.meshgrid(*axes, indexing="ij")]
    lead = len(mesh.discrete_axes)
    count = math.prod(mesh.shape)
    coordinates = jnp.stack(grids[lead:], axis=1) if mesh.lines else jnp.zeros((count, 0))
    return Node(dict(zip(mesh.discrete_axes, grids[:lead], strict=True)), coordinates)
