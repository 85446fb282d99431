"""One step of an endogenous grid: all rows, places of discrete axes and combinations of discrete actions, at once."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.bellman.chunks import in_chunks, in_flight
from bellax.bellman.endogenous import Structure, Utility
from bellax.bellman.faults import SHARES, Fault, looked
from bellax.bellman.first_order import Future, future, inverse
from bellax.bellman.jumps import jumps
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Objective
from bellax.numerics import loops
from bellax.numerics.kinks import branch
from bellax.numerics.pieces import Nodes, Pieces, Segments, segments
from bellax.numerics.scalar import rounding, where
from bellax.problem.period import Period, combinations

AT_ONCE = 16
"""Kinks that are looked for together."""

_HALVINGS, _ASIDE = 54, 64  # of cells with a kink; and how many roundings its sides stay away from it
_PARTS = np.arange(4) / 4  # of a cell, at whose ends kinks are looked for
_HELD = 8  # numbers of a node that are in flight with its derivatives
_CONSUMED = np.concatenate(
    [np.geomspace(1e-4, 0.02, 16), np.linspace(0.02, 1.0, 113)[1:]]
)  # of all, where u is looked at
_NEAR = 1e-6  # of all savings: so near the limit nobody is


@runtime_checkable
class Method(Protocol):
    """What the step asks of a method."""

    @property
    def lines(self) -> int:
        """How many kinks upwards are known to lie between nodes."""

    def common(self, found: Structure, low: Array, high: Array) -> Float[Array, "n"]:
        """Savings that all rows have in common, between the lowest limit and the most that there is to save."""

    def count(self, found: Structure, mesh: Mesh) -> int:
        """Nodes of savings, those at the limit and at kinks included."""

    def frugal(self, found: Structure) -> int:
        """How many of these, after the first, are there for who saves next to nothing."""

    def most_kinks(self, found: Structure, mesh: Mesh) -> int:
        """How many kinks of what follows may become nodes."""

    def follows(self, mesh: Mesh) -> bool:
        """Whether those of tomorrow's V are looked for, beside those of the model's laws."""

    def joined(self, nodes: Nodes, found: Segments, rows: Array, utility: Callable[[Array], Utility]) -> Pieces:
        """One function from the segments; the largest where there are several. Everything along a first axis.

        Args:
            rows: their numbers.
            utility: of a row.
        """

    def wrong(self, nodes: Nodes, found: Segments) -> Bool[Array, ""]:
        """Whether segments are more than the method takes."""


class _Ends(NamedTuple):
    """Of one combination at one place of the discrete axes: the borrowing limit, the largest savings, and a fault."""

    limit: Array
    top: Array
    floor: Array
    fault: Array


class _Search(NamedTuple):
    """The search for kinks between neighbouring nodes.

    Attributes:
        low: up to where each interval was searched, and of what kind V is there.
        open: whether there is another kink in it.
        found: both sides of the kinks that were found.
        passes: how many times several were looked for at once.
    """

    low: Array
    kind: Array
    open: Array
    found: Array
    passes: Array


class EndogenousStep:
    """Everything is along a first axis of rows and a second one of savings.

    Args:
        method: how nodes are laid and joined.
        objective, mesh: of the period.
        found: the structure of the model.
        memory: bytes that may be in flight; rows are cut in chunks that fit.
        keys: nodes of the structure's keys; of a state, coordinates of its line.
        tolerated: faults that are none to whoever asks, or cannot be; they are not looked for.
    """

    def __init__(
        self,
        method: Method,
        objective: Objective,
        mesh: Mesh,
        found: Structure,
        memory: int,
        keys: Mapping[str, Array] = MappingProxyType({}),
        tolerated: frozenset[Fault] = frozenset(),
    ) -> None:
        self.method, self.mesh, self.found = method, mesh, found
        self.keys, self.tolerated = dict(keys), tolerated
        self.period = objective.period
        self.cut = replace(objective, period=Period(objective.period.environment, found.cut), absolute=frozenset())
        self.lengths = {name: mesh.discrete_axes[name] for name in found.axes}
        own = [nodes.shape[0] for nodes in self.keys.values()]
        self.shape = (*self.lengths.values(), *own, len(combinations(objective.plan)))
        places = np.indices(self.shape).reshape(len(self.shape), -1)
        self.places = [jnp.asarray(place, jnp.int32) for place in places]
        self.rows = jnp.arange(places.shape[1], dtype=jnp.int32)
        self.fits = max(1, memory // in_flight(method.count(found, mesh), _HELD))

    def pieces(self) -> Pieces:
        ends = jax.vmap(self._ends)(self.rows)
        common = lax.stop_gradient(self.method.common(self.found, jnp.min(ends.limit), jnp.max(ends.top)))
        own = jnp.concatenate([ends.limit[:, None], *self._kinks(common, ends)], axis=1)
        inside, beside = self._after(common, own)
        lay = jax.vmap(self._nodes, in_axes=(0, 0, None, 0, 0, 0))
        nodes, unknown, jumping = lay(self.rows, ends, common, inside, own, beside)
        found = jax.vmap(lambda nodes, row: segments(nodes, self._utility(row), self.method.lines))(nodes, self.rows)
        pieces = self._joined(nodes, found)
        fault = jnp.maximum(jnp.max(ends.fault), self._fault(nodes, found, ends, common, unknown, jumping))
        fine = fault == int(Fault.none)
        numbers = jnp.where(fine, found.numbers, jnp.nan)  # also of derivatives
        shaped = lambda leaf: leaf.reshape(*self.shape, *leaf.shape[1:])  # noqa: E731
        return Pieces(
            shaped(pieces.left),
            shaped(pieces.place),
            shaped(pieces.stretch),
            shaped(numbers),
            shaped(found.limit),
            jnp.zeros(()),
            fault.astype(numbers.dtype),
        )

    def _after(self, common: Float[Array, "n"], own: Float[Array, "r x"]) -> tuple[Future, Future]:
        """W of the savings that rows have in common, and of their own; of a single row in one copy of the objective."""
        after = lambda a, row: self._future(a, row, common[-1])  # noqa: E731
        if own.shape[0] == 1:
            every = self._over(after, jnp.concatenate([common, own[0]]))
            return Future(*(leaf[:, : len(common)] for leaf in every)), Future(
                *(leaf[:, len(common) :] for leaf in every)
            )
        beside = in_chunks(lambda pair: jax.vmap(lambda a: after(a, pair[0]))(pair[1]), (self.rows, own), self.fits)
        return self._over(after, common), beside

    def _joined(self, nodes: Nodes, found: Segments) -> Pieces:
        still = lambda tree: jax.tree.map(lax.stop_gradient, tree)  # noqa: E731
        return still(self.method.joined(still(nodes), still(found), self.rows, lambda row: still(self._utility(row))))

    def _over(self, function: Callable[[Array, Array], Any], savings: Array) -> Any:
        """Of every row, at the same savings: what does not see the row is computed once for all of a chunk."""
        return in_chunks(lambda row: jax.vmap(lambda a: function(a, row))(savings), self.rows, self.fits)

    # -- pointwise

    def _point(self, row: Array, shares: Array | None = None) -> Point:
        """A state of a row: the lowest, or shares of the way to the highest, of what is drawn afresh, too.

        Args:
            shares: one an axis, the continuous state the last.
        """
        axes = self.mesh.discrete_axes
        *own, last = (0.0,) * (len(axes) + 1) if shares is None else shares
        place = lambda count, share=last: jnp.round(share * (count - 1)).astype(jnp.int32)  # noqa: E731
        codes = {name: place(count, share) for (name, count), share in zip(axes.items(), own, strict=True)}
        codes |= {name: at[row] for name, at in zip(self.lengths, self.places, strict=False)}
        held = self._held(row)
        labels = zip(self.mesh.plan.lines, self.mesh.lines, strict=True)
        numbers = [held.get(number.name, line.coordinates[place(line.count)]) for number, line in labels]
        return self.mesh.point(codes, jnp.stack(numbers))

    def _held(self, row: Array) -> dict[str, Array]:
        """The keys of a row."""
        places = self.places[len(self.lengths) : -1]
        return {name: nodes[at[row]] for (name, nodes), at in zip(self.keys.items(), places, strict=True)}

    def _choices(self, row: Array) -> dict[str, Array]:
        """The actions of a row that are chosen before."""
        chosen = {name: value for name, value in self._held(row).items() if name in self.mesh.plan.controls}
        return {**self.period.choices(self.places[-1][row]), **chosen}

    def _utility(self, row: Array) -> Utility:
        return self.found.utility(self.period, self._point(row).values, self._choices(row))

    def _ends(self, row: Array) -> _Ends:
        choices = self._choices(row)

        def at(shares: Array) -> tuple[Array, Array, Array, Array]:
            point = self._point(row, shares)
            resources = self.found.resources(self.period, point.values, choices)
            lower, upper = self.period.bounds(self.found.action, point.values, choices)
            saved = lambda action: self.found.saved(self.period, point.values, choices, action)  # noqa: E731
            some = jnp.append(lower + SHARES * (jnp.maximum(lower, upper) - lower), 1.0)
            left = jax.vmap(saved)(some)
            size = jnp.maximum(1.0, jnp.maximum(jnp.abs(resources), jnp.abs(some)))
            straight = jnp.all(jnp.abs(resources - some - left) <= rounding() * size)
            claimed = self.found.claimed(self.period, point.values, choices)
            straight = straight & (jnp.abs(claimed - resources) <= rounding() * jnp.maximum(1.0, jnp.abs(resources)))
            return resources, lower, resources - upper, straight

        resources, lower, limit, straight = jax.vmap(at)(jnp.asarray(looked(len(self.mesh.discrete_axes) + 1)))
        size = jnp.maximum(1.0, jnp.max(jnp.abs(resources)))
        moves = jnp.maximum(jnp.abs(limit - limit[0]), jnp.abs(lower - lower[0])) > rounding() * size
        fault = jnp.where(jnp.any(moves), jnp.int32(Fault.limit), jnp.zeros((), jnp.int32))
        fault = jnp.where(jnp.all(straight), fault, jnp.int32(Fault.savings))
        top = jnp.max(resources) - lower[0]
        most = jnp.where(top > limit[0], top - limit[0], 1.0)  # a row without enough at any state
        fault = jnp.where(self._concave(row, lower[0], most), fault, jnp.int32(Fault.utility))
        return _Ends(limit[0], top, lower[0], fault)

    def _concave(self, row: Array, lower: Array, most: Array) -> Bool[Array, ""]:
        """Whether marginal utility falls all the way from the least to the most that is consumed, where it is seen."""
        utility = self._utility(row)
        c = lower + most * jnp.asarray(_CONSUMED)
        bends = lambda c: (utility.curvature(c) < 0) | (utility.marginal(c) == 0)  # noqa: E731
        return jnp.all(jax.vmap(bends)(c))

    def _future(self, savings: Array, row: Array, spare: Array) -> Future:
        actions = {**self._choices(row), self.found.action: jnp.ones(())}
        return future(savings, spare, self.cut, self._point(row), actions, self.found.savings)

    def _actions(self, savings: Array, row: Array) -> dict[str, Array]:
        return {**self._choices(row), self.found.action: jnp.ones(()), self.found.savings: savings}

    def _nodes(
        self, row: Array, ends: _Ends, common: Array, inside: Future, own: Array, beside: Future
    ) -> tuple[Nodes, Bool[Array, ""], Bool[Array, ""]]:
        """The nodes of a row, in the order of savings: those that rows have in common, and its own; whether what
        follows is no number somewhere; and whether it jumps.
        """
        low = common <= ends.limit  # as often as it takes the limit itself
        # nodes beside the limit are for savings whose first unit is worth endlessly much, and which are not vital
        pays = (beside.first[0] == jnp.inf) & (beside.worth[0] > -jnp.inf)
        near = np.isin(np.arange(common.shape[0]), np.arange(1, 1 + self.method.frugal(self.found)))
        low = low | (jnp.asarray(near) & ~pays)
        at_limit = Future(*(jnp.where(low, b[0], a) for a, b in zip(inside, beside, strict=True)))
        savings = jnp.concatenate([jnp.where(low, ends.limit, common), own])
        after = Future(*(jnp.concatenate([a, b]) for a, b in zip(at_limit, beside, strict=True)))
        twice = _twice(common.shape[0] + 1, own.shape[0] - 1)
        savings, after = savings[twice], jax.tree.map(lambda leaf: leaf[twice], after)
        order = jnp.argsort(lax.stop_gradient(savings))
        savings, after = savings[order], jax.tree.map(lambda leaf: leaf[order], after)
        value = after.worth
        sound = after.sound & (value > -jnp.inf)
        marginal, second = where(sound, after.first, -1.0), where(sound, after.second, -1.0)
        utility = self._utility(row)
        floor = jnp.minimum(ends.floor, 0.0)
        c = jax.vmap(lambda marginal: inverse(marginal, utility, floor))(marginal)
        known = jnp.isfinite(c)
        held = where(known, c, floor + 1.0)
        rate = second / jax.vmap(utility.curvature)(held)
        slope = where(known & (1 + rate != 0), rate / where(1 + rate != 0, 1 + rate, 1.0), 0.0)
        level = where(known, utility(held), 0.0) + value
        # worth something, and the next unit of savings infinitely much: approached and never reached, too
        endless = after.first == jnp.inf
        unknown = jnp.any(jnp.isnan(value) | (~sound & ~endless & (value > -jnp.inf)))
        bound = where(endless[0], -jnp.inf, value[0])
        jumping = jnp.zeros((), bool)
        if Fault.jump not in self.tolerated:
            jumping = jumps(*lax.stop_gradient((savings, value, marginal)), sound, self._following(row))
        # more than the first unit of consumption is worth, so that there is none
        sated = ~known & (marginal > utility.marginal(floor + 1.0))
        nodes = Nodes(savings, c, slope, level, marginal, value, sated, ends.limit, bound, ends.floor)
        return nodes, unknown, jumping

    def _following(self, row: Array) -> Callable[[Array], Array]:
        """W of savings, without derivatives."""
        fixed = jax.tree.map(lax.stop_gradient, (self.cut, self._point(row)))
        return lambda savings: fixed[0].future(fixed[1], lax.stop_gradient(self._actions(savings, row)))

    # -- kinks of tomorrow's V ------------------------------------------------------------------------------------

    def _kinks(self, common: Array, ends: _Ends) -> tuple[Float[Array, "r x"], Float[Array, "r x"]]:
        """Savings at both sides of kinks of what follows, as many as the method asks for; the limit where none is."""
        most = self.method.most_kinks(self.found, self.mesh)
        limit = lax.stop_gradient(ends.limit)
        if not most:
            return (jnp.zeros((self.rows.shape[0], 0)),) * 2
        fixed, follows = jax.tree.map(lax.stop_gradient, self.cut), self.method.follows(self.mesh)
        # looked for between nodes, too: what begins and ends between two places that are looked at is not seen
        inner = common[:-1, None] + jnp.diff(common)[:, None] * jnp.asarray(_PARTS)[None]
        common = jnp.append(inner.reshape(-1), common[-1])

        def kind(savings: Array, row: Array) -> Array:
            point, total = jax.tree.map(lax.stop_gradient, self._point(row)), jnp.zeros((), jnp.uint32)
            if follows:
                total = fixed.kind(point, self._actions(savings, row))
            if self.found.kinked:
                total = total + 31 * branch(lambda a: fixed.outcomes(point, self._actions(a, row)), savings)
            return total

        def halved(row: Array, low: Array, high: Array, before: Array) -> tuple[Array, Array]:
            """Sides of the first kink beyond `low`, where V is of kind `before`, on which every program sees them."""

            def halve(state: tuple[Array, Array]) -> tuple[Array, Array]:
                a, b = state
                middle = 0.5 * (a + b)
                same = kind(middle, row) == before
                return jnp.where(same, middle, a), jnp.where(same, b, middle)

            last, first = loops.repeat(_HALVINGS, halve, (low, high))
            aside = _ASIDE * float(jnp.finfo(low.dtype).eps) * jnp.maximum(1.0, jnp.abs(first))
            return jnp.maximum(last - aside, low), jnp.minimum(first + aside, high)

        def of_row(row: Array, limit: Array, kinds: Array) -> Float[Array, "2 x"]:
            low, high = jnp.maximum(common[:-1], limit), common[1:]
            first = jnp.where(common[:-1] < limit, kind(limit, row), kinds[:-1])

            def search(state: _Search) -> _Search:
                place = jnp.nonzero(state.open, size=AT_ONCE, fill_value=-1)[0]
                there, sides = place >= 0, jax.vmap(lambda *ends: halved(row, *ends))
                before, after = sides(state.low[place], high[place], state.kind[place])
                new = jax.vmap(lambda a: kind(a, row))(after)
                found = jnp.where(there, jnp.stack([before, after]), limit)
                to = jnp.where(there, place, high.shape[0])  # out of bounds, and dropped
                return _Search(
                    state.low.at[to].set(after, mode="drop"),
                    state.kind.at[to].set(new, mode="drop"),
                    state.open.at[to].set(new != kinds[place + 1], mode="drop"),
                    lax.dynamic_update_slice(state.found, found, (jnp.zeros((), jnp.int32), state.passes * AT_ONCE)),
                    state.passes + 1,
                )

            start = _Search(
                low, first, (first != kinds[1:]) & (high > limit), jnp.full((2, most), limit), jnp.zeros((), jnp.int32)
            )
            done = lambda state: ~jnp.any(state.open) | (state.passes * AT_ONCE >= most)  # noqa: E731
            return loops.until(done, search, start).found

        each = (self.rows, limit, self._over(kind, common))
        found = in_chunks(lambda own: of_row(*own), each, self.fits)
        return found[:, 0], found[:, 1]

    # -- what is wrong --------------------------------------------------------------------------------------------

    def _fault(
        self, nodes: Nodes, found: Segments, ends: _Ends, common: Array, unknown: Array, jumping: Array
    ) -> Int[Array, ""]:
        # next to the limit, where nobody is, the floor may bind
        inside = nodes.savings - ends.limit[:, None] > _NEAR * (ends.top - ends.limit)[:, None]
        below = jnp.any(inside & (nodes.sated | (nodes.consumption < ends.floor[:, None])))
        faults = [
            (jnp.any(unknown), Fault.nonfinite),
            (self.method.wrong(nodes, found), Fault.folded),
            (below, Fault.floor),
            (jnp.any(jumping), Fault.jump),
            (self._falls(common, ends), Fault.falling),
        ]
        code = jnp.zeros((), jnp.int32)
        for there, fault in faults:
            if fault not in self.tolerated:
                code = jnp.where(there, int(fault), code)
        return code

    def _falls(self, common: Array, ends: _Ends) -> Bool[Array, ""]:
        """Whether a continuous state of tomorrow falls somewhere as savings rise."""
        if not self.found.moved:
            return jnp.zeros((), bool)

        def following(savings: Array, row: Array) -> Array:
            _, outcome = self.cut.outcomes(self._point(row), self._actions(savings, row))
            moved = [outcome.following[name].reshape(outcome.reward.shape[0], -1) for name in self.found.moved]
            return jnp.concatenate(moved, axis=1)

        found = self._over(lambda a, row: following(a, row), common)
        size = jnp.maximum(1.0, jnp.abs(found[:, 1:]))
        falls = jnp.diff(found, axis=1) < -rounding() * size
        return jnp.any(falls & (common[None, :-1, None, None] >= ends.limit[:, None, None, None]))


def _twice(others: int, sides: int) -> np.ndarray:
    """Which of the nodes each is, if sides of kinks are two nodes each: one where what follows is smooth, and one where
    savings stay that a step asks for, see `segments`.

    Args:
        others, sides: how many nodes there are, the sides of kinks after the others.
    """
    return np.concatenate([np.arange(others), others + np.repeat(np.arange(sides), 2)])
