"""A ring of rows: the last ones that were put in stay, and some of them are drawn, all with the same chance.

Source: Lin (1992), "Self-improving reactive agents based on reinforcement learning, planning and teaching", Machine
Learning 8.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Replay(NamedTuple):
    """Rows.

    Attributes:
        rows: a pytree of arrays, one row each along the first axis.
        put: how many were put in, ever.
    """

    rows: Any
    put: Array


def empty(row: Any, capacity: int) -> Replay:
    """A ring without rows.

    Args:
        row: a pytree of arrays, or of their shapes, as one row has them.
    """
    return Replay(
        jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), row), jnp.zeros((), jnp.int32)
    )


def size(replay: Replay) -> int:
    """How many rows it holds at most."""
    return jax.tree.leaves(replay.rows)[0].shape[0]


def pushed(replay: Replay, rows: Any) -> Replay:
    """With more rows, in the place of the oldest where it is full.

    Args:
        rows: along a first axis, no more than it holds.
    """
    count, capacity = jax.tree.leaves(rows)[0].shape[0], size(replay)
    places = (replay.put + jnp.arange(count, dtype=jnp.int32)) % capacity
    put = replay.put + count
    # it counts on without end: once full, what matters is where the next row goes
    put = jnp.where(put >= 2 * capacity, put - capacity, put)
    return Replay(jax.tree.map(lambda ring, new: ring.at[places].set(new), replay.rows, rows), put)


def drawn(replay: Replay, key: Array, count: int) -> Any:
    """Some of its rows, drawn with replacement; there must be one."""
    places = jax.random.randint(key, (count,), 0, jnp.minimum(replay.put, size(replay)), jnp.int32)
    return jax.tree.map(lambda ring: ring[places], replay.rows)
