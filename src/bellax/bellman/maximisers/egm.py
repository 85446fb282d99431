"""Endogenous grids: the first-order condition is solved for consumption at given savings, without a search.

    u'(c) = W'(a),   m = a + c,   V(m) = u(c) + W(a),   W(a) = E[ b V(s'(a)) ],

W and two derivatives of it by autodiff. `EGM` asks that m rises with a, as it does where the problem is concave;
`DCEGM` takes the upper envelope of what it gives otherwise.

Sources: Carroll (2006); Iskhakov, Jorgensen, Rust & Schjerning (2017).
"""

import enum
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.bellman.chunks import in_chunks
from bellax.bellman.continuation import Value
from bellax.bellman.endogenous import Endogenous, Future, Structure, Utility, future, inverse, structure
from bellax.bellman.maximisers.maximum import Best, Maximiser, Optimum, best_combination
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.pointwise import located
from bellax.errors import ModelError, check_count, check_mapping, named_options
from bellax.numerics import grids, loops
from bellax.numerics.envelope import envelope, folds, one_run
from bellax.numerics.interpolate import is_barrier
from bellax.numerics.pieces import WIDTH, Nodes, Pieces, Segments, segments, value
from bellax.numerics.scalar import rounding, where
from bellax.problem.period import Period, combinations
from bellax.problem.plan import Plan

_NODES = 200
_CLUSTER = 6.0  # log of how much denser nodes are at the borrowing limit than at the end
_FEW = 8  # outcomes of the shocks up to which kinks of tomorrow's V are looked for one by one
_HALVINGS = 54
_KINKS = 128
_AT_ONCE = 16  # kinks that are looked for together
_NEAR = 1e-6  # of all savings


class Fault(enum.IntEnum):
    """Why an endogenous grid is none, as far as it shows at the nodes; the largest is told."""

    none = 0
    nonfinite = 1
    floor = 2
    folded = 3
    falling = 4
    limit = 5
    savings = 6


@dataclass(frozen=True)
class _Endogenous(Maximiser):
    """What endogenous grids have in common; see `EGM`."""

    action: str | None = None
    resources: str | None = None
    post_decision: str | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)
    kinks: int | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_mapping(self.grid, f"{name}: grid", "{'savings': 200}")
        if self.kinks is not None and (not isinstance(self.kinks, int) or self.kinks < 0):
            raise ModelError(f"{name}: kinks is {self.kinks!r}; give how many at most, or zero.")

    @property
    def smooth(self) -> bool:
        return True

    @property
    def makes_pieces(self) -> bool:
        return True

    @property
    def absolute(self) -> frozenset[str]:
        return frozenset() if self.action is None else frozenset({self.action})

    def check(self, plan: Plan) -> None:
        self._unit(self.structure(plan))

    def completed(self, plan: Plan) -> Maximiser:
        found = self.structure(plan)
        return replace(self, action=found.action, post_decision=found.savings)

    def structure(self, plan: Plan) -> Structure:
        """What the method needs of a model.

        Raises:
            ModelError: if it has not got it.
        """
        names = (self.action, self.resources, self.post_decision)
        return plan.once(("structure", names), lambda: structure(plan, type(self).__name__, *names))

    def cells(self, plan: Plan) -> int:
        return 1

    def evaluations(self, plan: Plan) -> int:
        return 3

    def given(self, objective: Objective, point: Point) -> Optimum | None:
        known = objective.solved
        if not isinstance(known, Endogenous):
            return None
        found = known.answers(point.values, located(point))
        action = jax.vmap(lambda k, c: self._within(objective, point, k, c))(_codes(objective.plan), found.action)
        return best_combination(Best(found.value, action[:, None], jnp.ones_like(action)))

    def _within(self, objective: Objective, point: Point, combination: Array, action: Array) -> Array:
        """The action between its bounds, which only rounding has left."""
        choices = objective.period.choices(combination)
        lower, upper = objective.period.bounds(self._action, point.values, choices)
        upper = jnp.maximum(lower, upper)
        slack = 64 * float(jnp.finfo(action.dtype).eps) * jnp.maximum(1.0, jnp.abs(upper))
        return jnp.where(action >= upper - slack, upper, jnp.maximum(action, lower))

    @property
    def _action(self) -> str:
        assert self.action is not None
        return self.action

    def best(self, objective: Objective, point: Point, combination: Int[Array, ""]) -> Best:
        found = self.given(objective, point)
        if found is None:
            raise ModelError(
                f"{type(self).__name__} makes a grid of its own and finds no optimum at one state. Ask a solution of it."
            )
        u = found.shares[combination]
        return Best(found.choice_values[combination], u, jnp.ones(()))

    def function(self, period: Period, value: Value) -> Endogenous:
        assert value.pieces is not None
        return Endogenous(period, value.pieces, self.structure(period.plan))

    def ended(self, plan: Plan, mesh: Mesh) -> Pieces:
        found = self.structure(plan)
        axes = tuple(mesh.discrete_axes[name] for name in found.axes)
        lead = (*axes, len(combinations(plan)))
        count = self.count(found, mesh)
        numbers = jnp.broadcast_to(jnp.asarray([0.0, 1, 1, 0, 0, 1, 0, 0, 1, 0]), (*lead, count + 1, WIDTH))
        left = jnp.zeros((*lead, 2 * count + 2))
        return Pieces(left, left, left, numbers, jnp.zeros(lead), jnp.ones(()), jnp.zeros(()))

    def fault(self, plan: Plan, code: int, when: str) -> str:
        found, name = self.structure(plan), type(self).__name__
        serves = "bx.maximise.Newton() or Enumerate() serve."
        own, savings, state = repr(found.action), repr(found.savings), repr(found.state)
        words = {
            Fault.nonfinite: f"what follows from some {savings} is no number{when}, or has no derivative: a law of "
            "motion, a probability, a discount, or V of tomorrow gives NaN there.",
            Fault.floor: f"the lower bound of {own} binds{when}, where an endogenous grid knows no optimum. Lower it, "
            f"if it only keeps consumption positive; else {serves}",
            Fault.folded: f"the problem is not concave{when}: resources fall somewhere while {savings} rise. Use "
            "bx.maximise.DCEGM(), which takes the upper envelope.",
            Fault.falling: f"{state} of tomorrow falls somewhere while {savings} rise{when}: there the first-order "
            f"condition says nothing. {serves}",
            Fault.limit: f"the bounds of {own} move with {state}, or with what is drawn afresh, otherwise than "
            f"resources do{when}: savings are to have the same limit at every {state}. {serves}",
            Fault.savings: f"{savings} is not what is left of resources after {own}{when}: it is to fall one for one "
            f"with {own}. {serves}",
        }
        return f"{plan.graph.where}{name}: {words[Fault(code)]}"

    # -- the grid -------------------------------------------------------------------------------------------------

    def _unit(self, found: Structure) -> np.ndarray | grids.Given:
        """Where savings lie between their ends, as shares of the way; or the nodes that were given."""
        name = type(self).__name__
        for key in self.grid:
            if key != found.savings:
                raise ModelError(
                    f"{name}: grid names {key!r}; it takes the savings, grid={{{found.savings!r}: 200}}, and the grid= "
                    "of the solver those of processes."
                )
        spec = self.grid.get(found.savings, _NODES)
        if isinstance(spec, grids.Given):
            return spec
        check_count(spec, f"{name}: grid of {found.savings!r}")
        if spec < 4:
            raise ModelError(f"{name}: the grid of {found.savings!r} has {spec} nodes; give at least 4.")
        return np.expm1(_CLUSTER * np.linspace(0, 1, int(spec))) / math.expm1(_CLUSTER)

    def common(self, found: Structure, low: Array, high: Array) -> Float[Array, "n"]:
        unit = self._unit(found)
        if isinstance(unit, grids.Given):
            return jnp.asarray(unit.nodes)
        return low + (high - low) * jnp.asarray(unit)

    def count(self, found: Structure, mesh: Mesh) -> int:
        """Nodes of savings, those at the limit and at kinks included."""
        unit = self._unit(found)
        own = len(unit.nodes) if isinstance(unit, grids.Given) else len(unit)
        return own + 1 + 2 * self.most_kinks(mesh)

    def most_kinks(self, mesh: Mesh) -> int:
        """How many kinks of tomorrow's V may become nodes."""
        if self.kinks is not None:
            return -(-self.kinks // _AT_ONCE) * _AT_ONCE
        plan = mesh.plan
        outcomes = math.prod(mesh.discrete_axes[n] for n in (*plan.scanned, *plan.integrated, *plan.dotted))
        return _KINKS if outcomes <= _FEW and not plan.shocks else 0

    # -- the step -------------------------------------------------------------------------------------------------

    def pieces(self, objective: Objective, mesh: Mesh, memory: int) -> Pieces:
        return _Step(self, objective, mesh, self.structure(objective.plan)).pieces()

    def joined(self, nodes: Nodes, found: Segments, rows: Array, utility: Callable[[Array], Utility]) -> Pieces:
        """One function from the segments; the largest where there are several. Everything along a first axis.

        Args:
            rows: their numbers.
            utility: of a row.
        """
        raise NotImplementedError

    def wrong(self, nodes: Nodes, found: Segments) -> Bool[Array, ""]:
        """Whether segments are more than the method takes."""
        raise NotImplementedError


@named_options
@dataclass(frozen=True)
class EGM(_Endogenous):
    """The endogenous grid method, of a concave problem with one continuous action, state and savings.

    Args:
        action: the continuous action; by default the only one.
        resources: what savings and the action are taken from; by default read off `post_decision`.
        post_decision: the function of the model, resources less the action, through which alone tomorrow sees today's
            continuous state and the action; by default the one that is so.
        grid: of savings, a number of nodes, 200 by default, denser at the borrowing limit, or `bx.grids.Given`.
        kinks: how many kinks of tomorrow's V, such as where the borrowing limit begins to bind, become nodes of savings
            from both sides; by default 128 at most where no more than eight outcomes follow a decision and there is no
            shock, else none.
    Raises:
        ModelError: if the model has not that structure, says which condition fails, and which method serves.
    Assumes: u strictly concave in the action, and tomorrow's resources not falling in savings; where resources do not
        rise along the grid, the problem is not concave, and the solve fails and names `DCEGM`.
    Source: Carroll (2006).
    """

    def check(self, plan: Plan) -> None:
        super().check(plan)
        if plan.choices:
            raise ModelError(
                f"EGM takes a concave problem, and the discrete action {next(iter(plan.choices))!r} makes V the largest "
                "of several functions. Use bx.maximise.DCEGM()."
            )

    def joined(self, nodes: Nodes, found: Segments, rows: Array, utility: Callable[[Array], Utility]) -> Pieces:
        return jax.vmap(one_run)(nodes, found)

    def wrong(self, nodes: Nodes, found: Segments) -> Bool[Array, ""]:
        return jnp.any(jax.vmap(folds)(nodes, found))


@named_options
@dataclass(frozen=True)
class DCEGM(_Endogenous):
    """The endogenous grid method with discrete choices, or anything else that makes tomorrow's V not concave.

    For each combination of the discrete actions the upper envelope is taken of what the first-order condition gives;
    V is the largest of them where it is asked, so that kinks lie where they are and not at nodes. Where few outcomes of
    shocks follow, both sides of every kink of tomorrow's V are nodes of savings.

    Args:
        action, resources, post_decision, grid, kinks: as of `EGM`.
    Raises:
        ModelError: as of `EGM`.
    Assumes: u strictly concave in the action, and tomorrow's resources not falling in savings.
    Source: Iskhakov, Jorgensen, Rust & Schjerning (2017).
    """

    def joined(self, nodes: Nodes, found: Segments, rows: Array, utility: Callable[[Array], Utility]) -> Pieces:
        def largest(nodes: Nodes, found: Segments, row: Array) -> Pieces:
            one = lambda k, x: value(found.numbers[k], x, utility(row))  # noqa: E731
            return envelope(nodes, found, jax.vmap(one))

        return lax.cond(
            jnp.any(jax.vmap(folds)(nodes, found)),
            lambda: jax.vmap(largest)(nodes, found, rows),
            lambda: jax.vmap(one_run)(nodes, found),
        )

    def wrong(self, nodes: Nodes, found: Segments) -> Bool[Array, ""]:
        return jnp.zeros((), bool)


# -- one step ---------------------------------------------------------------------------------------------------------


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


class _Step:
    """One step of an endogenous grid: everything is along a first axis of rows, places of the discrete axes and
    combinations of discrete actions, and a second one of savings.
    """

    def __init__(self, method: _Endogenous, objective: Objective, mesh: Mesh, found: Structure) -> None:
        self.method, self.mesh, self.found = method, mesh, found
        self.period = objective.period
        self.cut = replace(objective, period=Period(objective.period.environment, found.cut), absolute=frozenset())
        self.lengths = {name: mesh.discrete_axes[name] for name in found.axes}
        self.shape = (*self.lengths.values(), len(combinations(objective.plan)))
        places = np.indices(self.shape).reshape(len(self.shape), -1)
        self.places = [jnp.asarray(place, jnp.int32) for place in places]
        self.rows = jnp.arange(places.shape[1], dtype=jnp.int32)

    def pieces(self) -> Pieces:
        ends = jax.vmap(self._ends)(self.rows)
        common = lax.stop_gradient(self.method.common(self.found, jnp.min(ends.limit), jnp.max(ends.top)))
        after = lambda a, row: self._future(a, row, common[-1])  # noqa: E731
        inside, kinks = self._over(after, common), self._kinks(common, ends)
        own = jnp.concatenate([ends.limit[:, None], kinks], axis=1)
        beside = jax.vmap(lambda row, savings: jax.vmap(lambda a: after(a, row))(savings))(self.rows, own)
        found = jax.vmap(self._nodes, in_axes=(0, 0, None, 0, 0, 0))(self.rows, ends, common, inside, own, beside)
        nodes, unknown = found
        found = jax.vmap(lambda nodes, row: segments(nodes, self._utility(row)))(nodes, self.rows)
        pieces = self._joined(nodes, found)
        fault = jnp.maximum(jnp.max(ends.fault), self._fault(nodes, found, ends, common, unknown))
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

    def _joined(self, nodes: Nodes, found: Segments) -> Pieces:
        still = lambda tree: jax.tree.map(lax.stop_gradient, tree)  # noqa: E731
        return still(self.method.joined(still(nodes), still(found), self.rows, lambda row: still(self._utility(row))))

    def _over(self, function: Callable[[Array, Array], Any], savings: Array) -> Any:
        """Of every row, at the same savings: what does not see the row is computed once for all of them."""
        return jax.vmap(lambda row: jax.vmap(lambda a: function(a, row))(savings))(self.rows)

    # -- pointwise

    def _point(self, row: Array, last: bool = False) -> Point:
        """The lowest state of a row, or the highest, of what is drawn afresh and does not matter, too."""
        codes = {name: jnp.zeros((), jnp.int32) for name in self.mesh.discrete_axes}
        if last:
            codes = {name: jnp.asarray(count - 1, jnp.int32) for name, count in self.mesh.discrete_axes.items()}
        codes |= {name: place[row] for name, place in zip(self.lengths, self.places, strict=False)}
        return self.mesh.point(codes, self.mesh.lines[0].coordinates[-1 if last else 0][None])

    def _choices(self, row: Array) -> dict[str, Array]:
        return self.period.choices(self.places[-1][row])

    def _utility(self, row: Array) -> Utility:
        return self.found.utility(self.period, self._point(row).values, self._choices(row))

    def _ends(self, row: Array) -> _Ends:
        choices = self._choices(row)

        def at(point: Point) -> tuple[Array, Array, Array, Array]:
            resources = self.found.resources(self.period, point.values, choices)
            lower, upper = self.period.bounds(self.found.action, point.values, choices)
            one = self.found.saved(self.period, point.values, choices, jnp.ones(()))
            straight = jnp.abs(resources - 1.0 - one) <= rounding() * jnp.maximum(1.0, jnp.abs(resources))
            return resources, lower, resources - upper, straight

        low, high = at(self._point(row)), at(self._point(row, last=True))
        size = jnp.maximum(1.0, jnp.abs(high[0]))
        same = (jnp.abs(low[2] - high[2]) <= rounding() * size) & (jnp.abs(low[1] - high[1]) <= rounding() * size)
        fault = jnp.where(same, int(Fault.none), int(Fault.limit))
        fault = jnp.where(low[3] & high[3], fault, int(Fault.savings))
        return _Ends(low[2], high[0] - low[1], low[1], fault)

    def _future(self, savings: Array, row: Array, spare: Array) -> Future:
        actions = {**self._choices(row), self.found.action: jnp.ones(())}
        return future(savings, spare, self.cut, self._point(row), actions, self.found.savings)

    def _actions(self, savings: Array, row: Array) -> dict[str, Array]:
        return {**self._choices(row), self.found.action: jnp.ones(()), self.found.savings: savings}

    def _nodes(
        self, row: Array, ends: _Ends, common: Array, inside: Future, own: Array, beside: Future
    ) -> tuple[Nodes, Bool[Array, ""]]:
        """The nodes of a row, in the order of savings: those that rows have in common, and its own; and whether what
        follows is no number somewhere.
        """
        low = common <= ends.limit  # as often as it takes the limit itself
        at_limit = Future(*(jnp.where(low, b[0], a) for a, b in zip(inside, beside, strict=True)))
        savings = jnp.concatenate([jnp.where(low, ends.limit, common), own])
        after = Future(*(jnp.concatenate([a, b]) for a, b in zip(at_limit, beside, strict=True)))
        order = jnp.argsort(lax.stop_gradient(savings))
        savings, after = savings[order], jax.tree.map(lambda leaf: leaf[order], after)
        value = where(is_barrier(after.value), -jnp.inf, after.value)
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
        unknown = jnp.any(jnp.isnan(value) | (~sound & (value > -jnp.inf)))
        return Nodes(savings, c, slope, level, marginal, ends.limit, value[0], ends.floor), unknown

    # -- kinks of tomorrow's V ------------------------------------------------------------------------------------

    def _kinks(self, common: Array, ends: _Ends) -> Float[Array, "r x"]:
        """Savings at both sides of kinks of tomorrow's V, as many as the method asks for; the limit where none is."""
        most = self.method.most_kinks(self.mesh)
        limit = lax.stop_gradient(ends.limit)
        if not most:
            return jnp.zeros((self.rows.shape[0], 0))
        fixed = jax.tree.map(lax.stop_gradient, self.cut)

        def kind(savings: Array, row: Array) -> Array:
            return fixed.kind(jax.tree.map(lax.stop_gradient, self._point(row)), self._actions(savings, row))

        def halved(row: Array, low: Array, high: Array, before: Array) -> tuple[Array, Array]:
            """Both sides of the first kink beyond `low`, where V is of the kind `before`."""

            def halve(state: tuple[Array, Array]) -> tuple[Array, Array]:
                a, b = state
                middle = 0.5 * (a + b)
                same = kind(middle, row) == before
                return jnp.where(same, middle, a), jnp.where(same, b, middle)

            return loops.repeat(_HALVINGS, halve, (low, high))

        def of_row(row: Array, limit: Array, kinds: Array) -> Array:
            low, high = jnp.maximum(common[:-1], limit), common[1:]
            first = jnp.where(common[:-1] < limit, kind(limit, row), kinds[:-1])

            def search(state: _Search) -> _Search:
                place = jnp.nonzero(state.open, size=_AT_ONCE, fill_value=-1)[0]
                there, sides = place >= 0, jax.vmap(lambda *ends: halved(row, *ends))
                before, after = sides(state.low[place], high[place], state.kind[place])
                new = jax.vmap(lambda a: kind(a, row))(after)
                found = jnp.where(there, jnp.stack([before, after]), limit)
                to = jnp.where(there, place, high.shape[0])  # out of bounds, and dropped
                return _Search(
                    state.low.at[to].set(after, mode="drop"),
                    state.kind.at[to].set(new, mode="drop"),
                    state.open.at[to].set(new != kinds[place + 1], mode="drop"),
                    lax.dynamic_update_slice(state.found, found, (jnp.zeros((), jnp.int32), state.passes * _AT_ONCE)),
                    state.passes + 1,
                )

            start = _Search(
                low, first, (first != kinds[1:]) & (high > limit), jnp.full((2, most), limit), jnp.zeros((), jnp.int32)
            )
            done = lambda state: ~jnp.any(state.open) | (state.passes * _AT_ONCE >= most)  # noqa: E731
            return loops.until(done, search, start).found.reshape(-1)

        return jax.vmap(of_row)(self.rows, limit, self._over(kind, common))

    # -- what is wrong --------------------------------------------------------------------------------------------

    def _fault(
        self, nodes: Nodes, found: Segments, ends: _Ends, common: Array, unknown: Bool[Array, "r"]
    ) -> Int[Array, ""]:
        # next to the limit, where nobody is, the floor may bind
        inside = nodes.savings - ends.limit[:, None] > _NEAR * (ends.top - ends.limit)[:, None]
        below = jnp.any(inside & (nodes.consumption < ends.floor[:, None]))
        faults = [(jnp.any(unknown), Fault.nonfinite), (below, Fault.floor), (self.method.wrong(nodes, found), Fault.folded)]
        faults += [(self._falls(common, ends), Fault.falling)]
        code = jnp.zeros((), jnp.int32)
        for there, fault in faults:
            code = jnp.where(there, int(fault), code)
        return code

    def _falls(self, common: Array, ends: _Ends) -> Bool[Array, ""]:
        """Whether tomorrow's continuous state falls somewhere as savings rise."""

        def following(savings: Array, row: Array) -> Array:
            _, outcome = self.cut.outcomes(self._point(row), self._actions(savings, row))
            return outcome.following[self.found.state]

        found = self._over(lambda a, row: following(a, row), common)
        size = jnp.maximum(1.0, jnp.abs(found[:, 1:]))
        falls = jnp.diff(found, axis=1) < -rounding() * size
        return jnp.any(falls & (common[None, :-1, None] >= ends.limit[:, None, None]))


def _codes(plan: Plan) -> Int[Array, "k"]:
    return jnp.arange(len(combinations(plan)), dtype=jnp.int32)
