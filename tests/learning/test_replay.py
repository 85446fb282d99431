"""The ring of rows beside a list of Python, and rates that fall."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np

from bellax.learning import replay
from bellax.learning.adam import Adam, Decay


def rows(first, count):
    numbers = np.arange(first, first + count)
    return {"a": jnp.asarray(numbers, float), "b": jnp.asarray(np.stack([numbers, -numbers], axis=1), jnp.int32)}


def test_the_ring_keeps_what_a_list_keeps():
    row = jax.tree.map(lambda leaf: leaf[0], rows(0, 1))
    ring, kept, pushed = replay.empty(row, 7), deque(maxlen=7), jax.jit(replay.pushed)
    for step in range(12):
        ring = pushed(ring, rows(3 * step, 3))
        kept.extend(range(3 * step, 3 * step + 3))
        held = min(int(ring.put), replay.size(ring))
        assert sorted(np.asarray(ring.rows["a"])[:held].tolist()) == sorted(kept)
        np.testing.assert_array_equal(ring.rows["b"][:held, 0], ring.rows["a"][:held])
        np.testing.assert_array_equal(ring.rows["b"][:held, 1], -ring.rows["a"][:held])


def test_draws_are_of_rows_that_are_there_and_of_all_of_them():
    row = jax.tree.map(lambda leaf: leaf[0], rows(0, 1))
    ring = replay.pushed(replay.empty(row, 100), rows(5, 4))
    drawn = np.asarray(replay.drawn(ring, jax.random.key(0), 4000)["a"])
    found, counts = np.unique(drawn, return_counts=True)
    assert found.tolist() == [5.0, 6.0, 7.0, 8.0]
    # a thousand each, with a standard deviation of 27
    assert np.all(np.abs(counts - 1000) < 140)


def test_a_rate_falls_by_its_ratio():
    """Of a slope that stays, every step of Adam is as long as the rate."""
    descent, slope = Adam(Decay(0.1, 0.01, 50), 1e6), jnp.full(3, 2.0)
    weights, moments = jnp.zeros(3), descent.init(jnp.zeros(3))
    step, lengths = jax.jit(descent.step), []
    for _ in range(51):
        after, moments = step(weights, slope, moments)
        lengths.append(float(weights[0] - after[0]))
        weights = after
    np.testing.assert_allclose(lengths, 0.1 * 0.01 ** (np.arange(51) / 50), rtol=1e-6)
