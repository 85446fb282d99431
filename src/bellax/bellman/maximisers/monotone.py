"""Enumeration of an action whose optimum does not fall in a state: each optimum brackets those of its neighbours.

States 0 and every multiple of a stride are solved; halving the stride, the optimum of a state in between lies between
those of its two neighbours. The brackets of one level overlap at their ends only, so that a level costs as many
candidates as there are, plus one a state: n log n in all instead of n^2. They are laid out as one flat list of pairs.

A state where nothing is worth more than minus infinity has no optimum, and hands on the bracket that it was given. Then
brackets overlap, and the list is gone through in as many pieces as it takes.

Source: Gordon & Qiu (2018), A divide and conquer algorithm for exploiting policy function monotonicity.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.bellman.chunks import over_axes
from bellax.bellman.maximisers.maximum import Best, Optimum, best_combination, guarded
from bellax.bellman.mesh import Mesh
from bellax.bellman.objective import Decision, Objective
from bellax.numerics import loops
from bellax.numerics.interpolate import barrier
from bellax.problem.period import combinations


class Found(NamedTuple):
    """The best candidate of some states: Q, its place, how many Q were evaluated, and what brackets the neighbours."""

    value: Float[Array, "n"]
    place: Int[Array, "n"]
    low: Int[Array, "n"]
    high: Int[Array, "n"]
    evaluations: Float[Array, ""]


def optima(objective: Objective, mesh: Mesh, state: str, nodes: Float[Array, "a"], cells: int, memory: int) -> Optimum:
    """The optimum at every node of a mesh, nodes along the first axis.

    Args:
        state: in which the optimum does not fall.
        nodes: candidates of the action, increasing.
        cells: numbers that one state needs at once.
        memory: bytes that may be in flight.
    """
    line = [component.name for component in mesh.plan.lines].index(state)
    names = list(mesh.discrete_axes)
    axes = [jnp.arange(length, dtype=jnp.int32) for length in mesh.discrete_axes.values()]
    axes += [other.coordinates for k, other in enumerate(mesh.lines) if k != line]
    objective, mesh = jax.tree.map(lax.stop_gradient, (objective, mesh))
    codes = jnp.arange(len(combinations(mesh.plan)), dtype=jnp.int32)

    def at(*entries: Array) -> Optimum:
        discrete, others = dict(zip(names, entries, strict=False)), list(entries[len(names) :])
        coordinates = (*others[:line], None, *others[line:])

        def best(combination: Array) -> Best:
            found = search(objective, mesh, discrete, coordinates, combination, nodes)
            count = found.place.shape[0]
            return Best(found.value, nodes[found.place][:, None], jnp.broadcast_to(found.evaluations / count, (count,)))

        return jax.vmap(best_combination, in_axes=1)(jax.vmap(best)(codes))

    found = over_axes(at, axes, cells, memory)
    rank = len(mesh.shape)
    found = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, len(axes), len(names) + line), found)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[rank:]), found)


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

    def level(state: tuple[Found, Array]) -> tuple[Found, Array]:
        known, stride = state
        new = stride * (2 * jnp.arange(most, dtype=jnp.int32) + 1)
        valid = new < size
        above = new + stride
        brackets = _Brackets(
            jnp.minimum(new, size - 1),
            known.low[jnp.where(valid, new - stride, 0)],
            jnp.where(above < size, known.high[jnp.minimum(above, size - 1)], count - 1),
            valid,
        )
        found = _best_of_brackets(pairs, brackets, count + most)
        target = jnp.where(valid, new, size)
        value, place, low, high = (
            a.at[target].set(b, mode="drop") for a, b in zip(known[:-1], found[:-1], strict=True)
        )
        return Found(value, place, low, high, known.evaluations + found.evaluations), jnp.maximum(stride // 2, 1)

    zero = jnp.zeros(1, jnp.int32)
    first = _best_of_brackets(pairs, _Brackets(zero, zero, jnp.full(1, count - 1, jnp.int32), jnp.ones(1, bool)), count)
    best, place, low, high = (jnp.zeros(size, leaf.dtype).at[0].set(leaf[0]) for leaf in first[:-1])
    stride = jnp.asarray(2 ** (strides - 1) if size > 2 else 1, jnp.int32)
    start = (Found(best, place, low, high, first.evaluations), stride)
    found, _ = loops.repeat(strides, level, start) if size > 1 else start
    return found


class _Brackets(NamedTuple):
    """Which candidates to look at: for some states, the first and the last; `valid` where there is such a state."""

    states: Int[Array, "k"]
    low: Int[Array, "k"]
    high: Int[Array, "k"]
    valid: Bool[Array, "k"]


def _best_of_brackets(pairs: Callable[..., Array], brackets: _Brackets, most: int) -> Found:
    """The best candidate of each state within its bracket; the brackets are laid end to end.

    Args:
        pairs: Q of arrays of states and candidates.
        most: pairs that are looked at together, all of them where brackets overlap at their ends only.
    """
    states, low, high, valid = brackets
    count, never = states.shape[0], jnp.iinfo(jnp.int32).max
    lengths = jnp.where(valid, jnp.maximum(high - low + 1, 0), 0)
    ends = jnp.cumsum(lengths)
    starts, total = ends - lengths, ends[-1]
    nonempty = jnp.nonzero(lengths > 0, size=count, fill_value=count - 1)[0]

    def piece(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        best, place, offset = state
        ahead = (lengths > 0) & (starts > offset) & (starts < offset + most)
        marks = jnp.zeros(most, jnp.int32).at[jnp.where(ahead, starts - offset, most)].add(1, mode="drop")
        open_already = jnp.sum((lengths > 0) & (starts <= offset)).astype(jnp.int32)
        owner = nonempty[jnp.clip(open_already + jnp.cumsum(marks) - 1, 0, count - 1)]
        slots = offset + jnp.arange(most, dtype=jnp.int32)
        inside = slots < total
        candidate = jnp.where(inside, low[owner] + slots - starts[owner].astype(jnp.int32), 0)
        values = jnp.where(inside, pairs(states[owner], candidate), -jnp.inf)
        top = jax.ops.segment_max(values, owner, count)
        is_best = inside & (values == top[owner])
        where = jax.ops.segment_min(jnp.where(is_best, candidate, never), owner, count)
        # NaN, too, is better than what is known: it must not be lost
        better = (top > best) | jnp.isnan(top)
        return jnp.where(better, top, best), jnp.where(better, where, place), offset + most

    nothing = (jnp.full(count, -jnp.inf), jnp.full(count, never, jnp.int32), jnp.zeros((), jnp.int32))
    best, place, _ = loops.until(lambda state: state[2] >= total, piece, nothing)
    finite = best > 0.5 * barrier(best.dtype)
    place = jnp.clip(place, low, high)
    return Found(best, place, jnp.where(finite, place, low), jnp.where(finite, place, high), total.astype(best.dtype))
