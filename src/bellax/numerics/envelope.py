"""The upper envelope of the segments of an endogenous grid, where the problem is not concave.

Where tomorrow's V has a kink, the first-order condition has several solutions: nodes in the order of savings fold back
in resources. Segments that lead backwards are local minima and fall away; the others form runs, each a function of
resources on an interval of its own, and V is the largest of them. Segments are kept as they are, and not laid on a
common grid, on which the error at a jump of consumption would not shrink with the number of nodes.

Between two neighbouring nodes no run begins or ends. There the largest is one run, or one gives way to another, and the
place is found by bisection.

Source: Iskhakov, Jorgensen, Rust & Schjerning (2017), whose envelope is on nodes.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.numerics import loops
from bellax.numerics.pieces import Nodes, Pieces, Segments

_CROSSINGS = 64  # places at which one run gives way to another, at most; beyond, halfway between two nodes
_HALVINGS = 60
_FAINT = 3e-4  # change of the slope of c that is no kink: with chance they multiply, and fade


def room(segments: int, lines: int) -> int:
    """How many pieces so many segments, and lines beside kinks, may make."""
    entries = segments + 2 * lines
    return 2 * (entries + min(_CROSSINGS, entries))


def one_run(nodes: Nodes, found: Segments) -> Pieces:
    """The pieces where resources rise with savings: every segment, one after the other."""
    entries, count = found.begins.shape[0], nodes.savings.shape[0] + 1
    more = 2 * (entries + min(_CROSSINGS, entries)) - count  # as many as an envelope has
    cells = jnp.nonzero(found.place == found.cell, size=count)[0] if entries > count else jnp.arange(count)
    left = jnp.concatenate([found.begins[cells], jnp.full(more, jnp.inf)])
    place = jnp.concatenate([jnp.arange(count, dtype=jnp.int32), jnp.full(more, count - 1, jnp.int32)])
    return _pieces(nodes, found, left, place, place, jnp.zeros_like(place))


def envelope(nodes: Nodes, found: Segments, value: Callable[[Array, Array], Array]) -> Pieces:
    """The pieces that are the largest.

    Between two neighbouring places the largest is one segment, or one gives way to another. Where a third is larger
    than both in between, it is so where these two meet: that is a place in the second round.

    Args:
        value: V of segments, by their numbers, at resources.
    """
    begins, fits = found.begins, found.fits
    count = begins.shape[0]
    # segments that fit and follow each other are one run, which ends with the one after them
    before = jnp.concatenate([jnp.zeros(1, bool), fits[:-1] & ~found.endless[:-1]])
    run = jnp.where(fits | before, jnp.cumsum((fits & ~before).astype(jnp.int32)), 0)
    order = jnp.argsort(begins).astype(jnp.int32)
    first = _largest(begins[order], order, run, fits, value)
    met = jnp.concatenate([begins, _changes(*first, value)[1]])
    order = jnp.argsort(met).astype(jnp.int32)
    x = met[order]
    at, after, left, right = _largest(x, jnp.where(order < count, order, -1), run, fits, value)
    change, _ = _changes(at, after, left, right, value)
    ends = jnp.stack([x, jnp.where(left != right, change, jnp.where(jnp.isfinite(x), after, x))], axis=1).reshape(-1)
    ends = jnp.where(jnp.repeat(jnp.isfinite(x), 2), ends, jnp.inf)
    entry = jnp.stack([left, right], axis=1).reshape(-1)
    return _pieces(nodes, found, ends, found.place[entry], found.cell[entry], run[entry])


def _largest(
    x: Float[Array, "k"],
    begins: Int[Array, "k"],
    run: Int[Array, "n"],
    fits: Bool[Array, "n"],
    value: Callable[[Array, Array], Array],
) -> tuple[Array, Array, Array, Array]:
    """Between each place and the next one: where that is, and the segments that are the largest at both ends.

    Args:
        x: places, not decreasing.
        begins: the segment that begins there; -1 where none does.
        run, fits: of segments.
    """
    after = jnp.concatenate([x[1:], jnp.full(1, jnp.inf)])
    after = jnp.where(jnp.isfinite(after), after, jnp.where(jnp.isfinite(x), x + jnp.maximum(1.0, jnp.abs(x)), 0.0))
    at = jnp.where(jnp.isfinite(x), x, 0.0)

    def compare(state: tuple) -> tuple:
        number, low, left, high, right = state
        mine = (begins >= 0) & (run[jnp.maximum(begins, 0)] == number)
        segment = lax.cummax(jnp.where(mine, begins, -1))
        own = jnp.maximum(segment, 0)
        known = (segment >= 0) & fits[own] & (run[own] == number)
        here = jnp.where(known, value(own, at), -jnp.inf)
        there = jnp.where(known, value(own, after), -jnp.inf)
        better, best = here > low, there > high
        return (
            number + 1,
            jnp.where(better, here, low),
            jnp.where(better, own, left),
            jnp.where(best, there, high),
            jnp.where(best, own, right),
        )

    none, first = jnp.full(x.shape[0], -jnp.inf), jnp.zeros(x.shape[0], jnp.int32)
    start, runs = (jnp.ones((), jnp.int32), none, first, none, first), jnp.max(run)
    _, _, left, _, right = loops.until(lambda state: state[0] > runs, compare, start)
    return at, after, left, right


def _pieces(
    nodes: Nodes,
    found: Segments,
    left: Float[Array, "p"],
    place: Int[Array, "p"],
    cell: Int[Array, "p"],
    run: Int[Array, "p"],
) -> Pieces:
    none, kind = jnp.zeros((), left.dtype), left.dtype
    stretch = _stretches(nodes, cell, run)
    return Pieces(left, place.astype(kind), stretch.astype(kind), found.numbers, found.limit, none, none)


def _changes(
    low: Array, high: Array, left: Array, right: Array, value: Callable[[Array, Array], Array]
) -> tuple[Float[Array, "k"], Float[Array, "c"]]:
    """Where the segment of the left end gives way to that of the right, between two places; and all of these, infinite
    where there are no more."""
    count = low.shape[0]
    found = jnp.nonzero(left != right, size=min(_CROSSINGS, count), fill_value=0)[0]
    before, behind = left[found], right[found]

    def halve(state: tuple[Array, Array]) -> tuple[Array, Array]:
        a, b = state
        middle = 0.5 * (a + b)
        ahead = value(before, middle) >= value(behind, middle)
        return jnp.where(ahead, middle, a), jnp.where(ahead, b, middle)

    a, b = loops.repeat(_HALVINGS, halve, (low[found], high[found]))
    changes = before != behind
    every = (0.5 * (low + high)).at[found].set(jnp.where(changes, b, high[found]))
    return every, jnp.where(changes, b, jnp.inf)


def _stretches(nodes: Nodes, place: Int[Array, "p"], run: Int[Array, "p"]) -> Int[Array, "p"]:
    """Numbers that go up where consumption or its slope jump from one piece to the next."""
    savings, alive = nodes.savings, nodes.alive
    bends = jnp.abs(jnp.diff(nodes.slope)) + jnp.abs(jnp.diff(nodes.consumption)) > _FAINT
    near = nodes.twins & alive[1:] & alive[:-1]
    bends = near & bends
    no = jnp.zeros(1, bool)
    # each side is a node twice, and rounding may put the two sides in either order
    near = near & (bends | jnp.concatenate([no, bends[:-1]]) | jnp.concatenate([bends[1:], no]))
    # of a segment: whether it leads from one side of a kink to the other
    across = jnp.concatenate([jnp.zeros(1, bool), near, jnp.zeros(1, bool)])
    before = jnp.concatenate([place[:1], place[:-1]])
    jumps = (place != before) & (place != before + 1) | (run != jnp.concatenate([run[:1], run[:-1]]))
    first = jnp.where(jnp.any(alive), jnp.argmax(alive), savings.shape[0]).astype(place.dtype)
    binds = jnp.isfinite(nodes.bound)  # else the limit is approached along a line without a kink
    turns = (across[place] != across[before]) | ((before <= first) & (place > first) & binds)
    return jnp.cumsum((jumps | turns).astype(jnp.int32))


def folds(nodes: Nodes) -> Bool[Array, ""]:
    """Whether resources fall somewhere with savings, or there is no optimum between two nodes that have one."""
    alive = nodes.alive
    begins = alive & ~jnp.concatenate([jnp.zeros(1, bool), alive[:-1]])
    binding = jnp.any(alive) & ~alive[0] & jnp.isfinite(nodes.bound)
    return jnp.any(nodes.falls) | (jnp.sum(begins) > 1) | binding
