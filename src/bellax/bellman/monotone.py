"""Enumeration of an action whose optimum does not fall in a state: each optimum brackets those of its neighbours.

States 0 and every multiple of a stride are solved; halving the stride, the optimum of a state in between lies between
those of its two neighbours. The brackets of one level overlap at their ends only, so that a level costs as many
candidates as there are, plus one a state: n log n in all instead of n^2. They are laid out as one flat list of pairs.

Source: Gordon & Qiu (2018), A divide and conquer algorithm for exploiting policy function monotonicity.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bellax.bellman.maximum import guarded
from bellax.bellman.mesh import Mesh
from bellax.bellman.objective import Decision, Objective
from bellax.numerics import loops


class Found(NamedTuple):
    """The best candidate of every state along a line: Q, its place, and how many Q were evaluated at most."""

    value: Float[Array, "n"]
    place: Int[Array, "n"]
    evaluations: Float[Array, ""]


def search(
    objective: Objective,
    mesh: Mesh,
    codes: dict[str, Array],
    coordinates: tuple[Array | None, ...],
    combination: Int[Array, ""],
    nodes: Float[Array, "a"],
) -> Found:
    """The best candidates along the one line whose entry of `coordinates` is None, the rest of the state fixed.

    Args:
        codes: the discrete part of the state.
        coordinates: of the other lines.
        combination: of the discrete actions.
        nodes: candidates of the action, increasing.
    """
    axis = coordinates.index(None)
    line = mesh.lines[axis]
    states, count = line.coordinates, nodes.shape[0]
    size = states.shape[0]

    def value(state: Array, candidate: Array) -> Array:
        entries = [states[state] if y is None else y for y in coordinates]
        point = mesh.point(codes, jnp.stack(entries))
        return guarded(objective, point, Decision(combination, nodes[candidate][None]))

    pairs = jax.vmap(value)
    strides = max(1, (size - 1).bit_length())  # the first stride reaches the last state
    most = (size + 1) // 2  # states of the last level

    def level(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        best, place, stride = state
        new = stride * (2 * jnp.arange(most, dtype=jnp.int32) + 1)
        valid = new < size
        low = place[jnp.where(valid, new - stride, 0)]
        above = new + stride
        high = jnp.where(above < size, place[jnp.minimum(above, size - 1)], count - 1)
        found, where = _best_of_brackets(pairs, jnp.minimum(new, size - 1), low, high, valid, count + most)
        target = jnp.where(valid, new, size)
        return (
            best.at[target].set(found, mode="drop"),
            place.at[target].set(where, mode="drop"),
            jnp.maximum(stride // 2, 1),
        )

    ends = jnp.asarray([0], jnp.int32)
    whole = (jnp.zeros(1, jnp.int32), jnp.full(1, count - 1, jnp.int32), jnp.ones(1, bool))
    first, where = _best_of_brackets(pairs, ends, *whole, count)
    best = jnp.full(size, -jnp.inf).at[0].set(first[0])
    place = jnp.zeros(size, jnp.int32).at[0].set(where[0])
    start = (best, place, jnp.asarray(2 ** (strides - 1) if size > 2 else 1, jnp.int32))
    best, place, _ = loops.repeat(strides, level, start) if size > 1 else start
    return Found(best, place, jnp.asarray(float(count + strides * (count + most))))


def _best_of_brackets(pairs, states: Array, low: Array, high: Array, valid: Array, most: int) -> tuple[Array, Array]:
    """The best candidate of each state within its bracket; the brackets are laid end to end.

    Args:
        pairs: Q of arrays of states and candidates.
        most: bound of the total length of the brackets.
    """
    count = states.shape[0]
    lengths = jnp.where(valid, jnp.maximum(high - low + 1, 0), 0)
    ends = jnp.cumsum(lengths)
    starts = ends - lengths
    marks = jnp.zeros(most + 1, jnp.int32).at[jnp.where(lengths > 0, starts, most)].add(1, mode="drop")
    nonempty = jnp.nonzero(lengths > 0, size=count, fill_value=count - 1)[0]
    rank = jnp.clip(jnp.cumsum(marks[:most]) - 1, 0, count - 1)
    owner = nonempty[rank]
    slots = jnp.arange(most, dtype=jnp.int32)
    inside = slots < ends[-1]
    candidate = jnp.where(inside, low[owner] + slots - starts[owner].astype(jnp.int32), 0)
    values = jnp.where(inside, pairs(states[owner], candidate), -jnp.inf)
    best = jax.ops.segment_max(values, owner, count)
    is_best = inside & (values == best[owner])
    place = jax.ops.segment_min(jnp.where(is_best, candidate, jnp.iinfo(jnp.int32).max), owner, count)
    # where no candidate of a bracket is allowed, the state above is bracketed from the lower end
    return best, jnp.where(best > -jnp.inf, place, low).astype(jnp.int32)
