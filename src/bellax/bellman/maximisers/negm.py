"""Nested endogenous grids: an outer choice around a problem of one action, which is solved without a search.

For each node of the outer action, and of whatever else the inner problem sees, the inner method makes its grid; at a
state the best of the outer nodes are starts, between which a parabola leads, and Newton's method on the Q of the period
goes on from there in both actions. So what is interpolated decides where to look, and not what is found.

Sources: Fella (2014); Druedahl (2021), "A guide on solving non-convex consumption-saving models".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bellax.bellman.chunks import Node, fitting, nodes_of, over_batch
from bellax.bellman.continuation import Value
from bellax.bellman.endogenous import Structure
from bellax.bellman.endogenous_step import EndogenousStep
from bellax.bellman.faults import Fault
from bellax.bellman.maximisers.climb import better_of, in_box, in_boxes
from bellax.bellman.maximisers.egm import DCEGM, EGM
from bellax.bellman.maximisers.maximum import (
    Best,
    Maximiser,
    Optimum,
    best_combination,
    cells,
    check_bounded,
    dotted_size,
    guarded,
    highest,
)
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.nested import Nested, nested, outer_of
from bellax.bellman.objective import Decision, Objective
from bellax.errors import ModelError, check_count, check_mapping, named_options
from bellax.numerics import grids
from bellax.numerics.scalar import where
from bellax.problem.period import Combination, combinations
from bellax.problem.plan import Plan

_NODES = 40
_INNER = 80  # nodes of savings: they are where a search starts
_KINKS = 32
_ELSEWHERE = 0.02  # of the way between bounds: so far apart two starts are two
_STEPS, _TOLERANCE = 60, 1e-11
_TOGETHER = 1024  # searches
_DERIVATIVES = 16  # numbers of a search that are in flight, for each number of its Q


@named_options
@dataclass(frozen=True)
class NEGM(Maximiser):
    """The nested endogenous grid method: an outer continuous action, or a second continuous state, around `EGM`.

    Discrete actions come along as combinations, each with its own inner problem. V is a table, as of `Newton`, and
    what is found is the maximum of the same Q: faster, and with the local maxima in the outer action compared.

    Args:
        inner: how the inner problem is solved: `DCEGM()`, by default, or `EGM()` where it is concave. Its `grid` of
            savings has 80 nodes by default.
        outer: the continuous action that is chosen first; by default the one that savings are not taken from.
        grid: of the outer action, a number of nodes between its lowest and its highest bound, 40 by default, half
            of them at equal ratios where the bounds are positive; or `bx.grids.Given`.
    Raises:
        ModelError: if the model has not that structure, says which condition fails, and which method serves.
    Assumes: given what is outer, what `inner` assumes; the outer nodes tell the local maxima in the outer action apart;
        where some outer action is possible, one of its bounds or a node is.
    Source: Druedahl (2021).
    """

    inner: EGM | DCEGM = field(default_factory=DCEGM)
    outer: str | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.inner, EGM | DCEGM):
            raise ModelError(f"NEGM: inner is {self.inner!r}; give bx.maximise.EGM() or DCEGM().")
        check_mapping(self.grid, "NEGM: grid", "{'stock': 40}")

    @property
    def smooth(self) -> bool:
        return True

    def structure(self, plan: Plan) -> Structure:
        """What the method needs of a model.

        Raises:
            ModelError: if it has not got it.
        """
        own = self.inner
        names = (self.outer, own.action, own.resources, own.post_decision)
        return plan.once(("nested", names), lambda: nested(plan, "NEGM", *names))

    def check(self, plan: Plan) -> None:
        check_bounded(plan, "NEGM")
        found = self.structure(plan)
        self._inner(found).check_grid(found)
        self._spec(found)

    def completed(self, plan: Plan) -> Maximiser:
        found = self.structure(plan)
        inner = replace(self._inner(found), action=found.action, post_decision=found.savings)
        return replace(self, inner=inner, outer=outer_of(found))

    def resized(self, plan: Plan, ratio: float) -> Maximiser:
        found, outer = self.structure(plan), outer_of(self.structure(plan))
        grid = {} if outer is None else {outer: grids.resized(self._spec(found), ratio, 4)}
        return replace(self, grid=grid, inner=self._inner(found).with_nodes(found, ratio))

    def sizes(self, plan: Plan) -> dict[str, int]:
        found, outer = self.structure(plan), outer_of(self.structure(plan))
        own = {} if outer is None else {outer: self._count(found)}
        return {**own, **self._inner(found).sizes_of(found)}

    def cells(self, plan: Plan) -> int:
        return 10 * self._count(self.structure(plan))

    def evaluations(self, plan: Plan) -> int:
        return self._count(self.structure(plan)) + 40 * len(plan.coordinates)

    def fault_of(self, objective: Objective, value: Value) -> Array:
        known = objective.solved
        return known.pieces.fault if isinstance(known, Nested) else jnp.zeros(())

    def fault(self, plan: Plan, code: int, when: str) -> str:
        found = self.structure(plan)
        return self.inner.worded(found, code, when, f"NEGM, inner {type(self.inner).__name__}")

    # -- the grid of the outer action -------------------------------------------------------------------------------

    def _spec(self, found: Structure) -> int | grids.Given:
        """How many nodes of the outer action there are, or which.

        Raises:
            ModelError: for a grid of what is none, or too few.
        """
        outer = outer_of(found)
        for key in self.grid:
            if key != outer:
                takes = f"it takes the outer action, grid={{{outer!r}: 40}}" if outer else "there is no outer action"
                raise ModelError(
                    f"NEGM: grid names {key!r}; {takes}, and the inner method the grid of {found.savings!r}: "
                    f"inner=bx.maximise.DCEGM(grid={{{found.savings!r}: 80}})."
                )
        if outer is None:
            return 1
        spec = self.grid.get(outer, _NODES)
        given = isinstance(spec, grids.Given)
        if not given:
            check_count(spec, f"NEGM: grid of {outer!r}")
        count = len(spec.nodes) if given else int(spec)
        if count < 4:
            raise ModelError(f"NEGM: the grid of {outer!r} has {count} nodes; give at least 4.")
        return spec if given else count

    def _count(self, found: Structure) -> int:
        spec = self._spec(found)
        return len(spec.nodes) if isinstance(spec, grids.Given) else spec

    def _nodes(self, found: Structure, objective: Objective, mesh: Mesh, outer: str) -> Float[Array, "n"]:
        """Nodes from the lowest bound to the highest that some state has."""
        spec, period = self._spec(found), objective.period
        if isinstance(spec, grids.Given):
            return jnp.asarray(spec.nodes)

        def bounds(node: Any) -> tuple[Array, Array]:
            states = mesh.point(node.codes, node.coordinates).values
            codes = jnp.arange(len(combinations(mesh.plan)), dtype=jnp.int32)
            return jax.vmap(lambda k: period.bounds(outer, states, period.choices(k)))(codes)

        low, high = jax.vmap(bounds)(nodes_of(mesh))
        low = jnp.min(low)
        high = jnp.maximum(jnp.max(high), low + jnp.maximum(1.0, jnp.abs(low)) * 1e-6)
        even = low + (high - low) * jnp.asarray(np.linspace(0.0, 1.0, spec))
        # a bound that only keeps a stock positive must not draw all of them to zero, nor a wide one away from there
        few = spec // 2
        positive = low > 0
        least = where(positive, low, 1.0)
        ratios = least * (where(positive, high, 2.0) / least) ** jnp.asarray(np.linspace(0.0, 1.0, few + 1)[:-1])
        others = low + (high - low) * jnp.asarray((1 + np.arange(spec - few)) / (spec - few))
        return jnp.where(positive, jnp.sort(jnp.concatenate([ratios, others])), even)

    # -- the step -----------------------------------------------------------------------------------------------------

    def _inner(self, found: Structure) -> EGM | DCEGM:
        inner = self.inner
        if found.savings not in inner.grid:
            inner = replace(inner, grid={**inner.grid, found.savings: _INNER})
        # V is a table, which has no kinks but between cells
        return inner if inner.kinks is not None else replace(inner, kinks=_KINKS if found.kinked else 0)

    def prepared(self, objective: Objective, mesh: Mesh, memory: int) -> Objective:
        found, outer = self.structure(mesh.plan), outer_of(self.structure(mesh.plan))
        fixed, still = jax.tree.map(lax.stop_gradient, (replace(objective, solved=None), mesh))
        lines = {own.name: line for own, line in zip(mesh.plan.lines, still.lines, strict=True)}
        nodes = {n: self._nodes(found, fixed, still, n) if n == outer else lines[n].coordinates for n in found.keys}
        # Newton's method honours bounds; and what follows is a table, which has no jumps that no law has
        smooth = not found.kinked and not objective.elsewhere
        tolerated = frozenset({Fault.floor, Fault.jump} if smooth else {Fault.floor})
        step = EndogenousStep(self._inner(found), fixed, still, found, memory, nodes, tolerated)
        keys = {n: own if n == outer else lines[n].scale.inverse(own) for n, own in nodes.items()}
        known = Nested(fixed.period, step.pieces(), keys, found)
        return replace(objective, solved=jax.tree.map(lax.stop_gradient, known))

    def over(self, objective: Objective, mesh: Mesh, memory: int) -> Optimum:
        # what is known already may be of another mesh
        plain, mesh = jax.tree.map(lax.stop_gradient, (replace(objective, solved=None), mesh))
        prepared = self.prepared(plain, mesh, memory)
        known = prepared.solved
        assert isinstance(known, Nested)
        codes, nodes = jnp.arange(len(combinations(mesh.plan)), dtype=jnp.int32), nodes_of(mesh)

        def start(node: Node) -> Best:
            point = mesh.point(node.codes, node.coordinates)
            return jax.vmap(lambda k: self._starts(prepared, point, k))(codes)

        starts = over_batch(start, nodes, cells(self, mesh.plan), memory)
        shape = starts.value.shape  # nodes, combinations, starts

        def value(row: Array, u: Array) -> Array:
            node, k = jax.tree.map(lambda leaf: leaf[row // (shape[1] * shape[2])], nodes), row // shape[2] % shape[1]
            return plain(mesh.point(node.codes, node.coordinates), Decision(k, u))

        size = min(_TOGETHER, fitting(_DERIVATIVES * dotted_size(mesh.plan), memory))
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), starts)
        found = in_boxes(value, flat, _STEPS, _TOLERANCE, size, 0.0)
        found = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), found)
        best = jax.vmap(jax.vmap(lambda several: self._highest(known, several)))(found)
        return jax.vmap(best_combination)(best)

    def best(self, objective: Objective, point: Point, combination: Combination) -> Best:
        known, plain = objective.solved, replace(objective, solved=None)
        if not isinstance(known, Nested):
            raise ModelError(
                "NEGM works a period out for a whole mesh, and finds nothing at one state: ask its solution."
            )

        def climbed(start: Best) -> Best:
            q = lambda u: plain(point, Decision(combination, u))  # noqa: E731
            return better_of(start, in_box(q, start, _STEPS, _TOLERANCE))

        place = objective.period.place(combination)
        return self._highest(known, jax.vmap(climbed)(self._starts(objective, point, place)))

    def _starts(self, objective: Objective, point: Point, combination: Array) -> Best:
        """Where to search from, along a first axis: the best of what the inner problems suggest, and the best that is
        elsewhere, where there may be several local maxima."""
        known, plain = objective.solved, replace(objective, solved=None)
        assert isinstance(known, Nested)
        u = known.starts(point, combination)
        q = jax.vmap(lambda u: guarded(plain, point, Decision(combination, u)))(u)
        count = jnp.full((), float(self._count(known.structure) + q.shape[0]))
        top, first = highest(q)
        if not objective.plan.rugged or q.shape[0] == 1:
            return Best(top[None], u[first][None], count[None])
        elsewhere = jnp.where(jnp.max(jnp.abs(u - u[first][None]), axis=1) > _ELSEWHERE, q, -jnp.inf)
        other, second = highest(elsewhere)
        return Best(jnp.stack([top, other]), u[jnp.stack([first, second])], jnp.stack([count, jnp.zeros(())]))

    def _highest(self, known: Nested, found: Best) -> Best:
        """The best of what was found from several starts; no number where an inner problem is none."""
        value, place = highest(found.value)
        value = where(known.pieces.fault > 0, jnp.nan, value)
        return Best(value, found.u[place], jnp.sum(found.evaluations))
