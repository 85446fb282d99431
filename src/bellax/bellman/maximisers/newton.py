"""Newton's method on the unit box, with derivatives by autodiff, safeguarded where the objective is not concave.

One action: Newton on Q_u = 0 inside a bracket around the best of a few candidates, halved where a step leaves it.
Several: see `climb`. Within smooth constraints: see `walk`. A maximum located by values alone is good to the square
root of rounding; one located by derivatives is good to rounding.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.bellman.maximisers.candidates import candidates, peaks, resized, scan
from bellax.bellman.maximisers.climb import better_of, in_box
from bellax.bellman.maximisers.maximum import Best, Maximiser, Nearby, check_bounded, check_comparisons, highest
from bellax.bellman.maximisers.ridge import along
from bellax.bellman.maximisers.walk import within
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.room import Room, margins_of, room
from bellax.errors import ModelError, check_count, check_mapping, check_positive, named_options
from bellax.numerics import grids, loops
from bellax.numerics.scalar import take, where
from bellax.problem.period import Combination, combinations
from bellax.problem.plan import Plan

_CANDIDATES = {0: 2, 1: 15, 2: 7, 3: 5}
_PEAKS = 3  # local maxima that are followed where there may be several
_RUGGED = {0: 2, 1: 60, 2: 15, 3: 7}


@named_options
@dataclass(frozen=True)
class Newton(Maximiser):
    """Newton's method from the best of a few candidates; several continuous actions at once.

    Args:
        grid: by action, the number of candidates to start from, at least 2; few suffice where Q is concave. By default
            15 for one action, 7 each for two and 5 for three; 60, 15 and 7 where discrete choices, `stop`, or kinks in
            actions or continuous states may make several local maxima. So may a function that is smooth and convex
            somewhere, and the V that `terminal=` gives: there give more, and see what `certify` says was missed.
        steps: Newton steps at most; then the last iterate is taken, if it beats the candidate that it started from.
        tolerance: stops when u moves by less than this, relative to itself.
    Raises:
        ModelError: for a comparison on a continuous action, or an action without bounds.
    Assumes: Q twice differentiable almost everywhere; the best candidate lies in the basin of the maximum. Smooth
        constraints are twice differentiable, too, and what they allow is seen from some point of it in straight lines,
        as where they are concave in the continuous actions.
    """

    grid: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 60
    tolerance: float = 1e-11

    def __post_init__(self) -> None:
        check_mapping(self.grid, "Newton: grid", "{'consumption': 15}")
        check_count(self.steps, "Newton: steps")
        check_positive(self.tolerance, "Newton: tolerance")

    @property
    def smooth(self) -> bool:
        return True

    def check(self, plan: Plan) -> None:
        check_bounded(plan, "Newton")
        check_comparisons(plan, "Newton")
        if any(isinstance(spec, grids.Given) for spec in self.grid.values()):
            raise ModelError(
                "Newton starts from a number of candidates between the bounds; grids.Given is for Enumerate."
            )
        candidates(plan, self.grid, 2, "Newton")

    def cells(self, plan: Plan) -> int:
        nodes = self.candidates(plan)
        return math.prod(node.shape[0] for node in nodes)

    def best(self, objective: Objective, point: Point, combination: Combination) -> Best:
        nodes = self.candidates(objective.plan)
        if objective.plan.limiting:
            return self._best_within(objective, point, combination, nodes)
        widths = [1.0 / (node.shape[0] - 1) for node in nodes]
        if len(nodes) != 1 or not objective.plan.rugged:
            return self._improve(objective, point, combination, scan(objective, point, combination, nodes), widths)
        starts = peaks(objective, point, combination, nodes[0], _PEAKS)
        found = jax.vmap(lambda start: self._improve(objective, point, combination, start, widths))(starts)
        value, best = highest(found.value)
        return Best(value, take(found.u, best), jnp.sum(found.evaluations))

    def _best_within(self, objective: Objective, point: Point, combination: Combination, nodes: list[Array]) -> Best:
        """The best continuous actions where smooth constraints hold: of one on a line between their edges, of several
        by a walk along these."""
        objective, point = jax.tree.map(lax.stop_gradient, (objective, point))
        inside = room(objective, point, combination)
        if len(nodes) == 1:
            return self._best_between(objective, point, combination, nodes[0], inside)

        def laid(u: Float[Array, "m"]) -> Float[Array, "m"]:
            return jnp.where(inside.holds(u), u, inside.filled(u))

        start = scan(objective, point, combination, nodes, laid)
        # and off the bounds a little, where a derivative may be infinite
        u, nudged = jax.vmap(laid)(jnp.stack([start.u, jnp.clip(start.u, 1e-6, 1 - 1e-6)]))
        return self._within(objective, point, combination, start._replace(u=u), nudged)

    def _best_between(
        self, objective: Objective, point: Point, combination: Combination, nodes: Array, inside: Room
    ) -> Best:
        low, high = inside.ends()
        laid = lambda share: (1 - share) * low + share * high  # noqa: E731
        value = lambda share: objective(point, Decision(combination, laid(share)))  # noqa: E731

        def improved(start: Best) -> Best:
            found = on_line(value, start, 1.0 / (nodes.shape[0] - 1), self.steps, self.tolerance)
            best = better_of(start, found)
            return best._replace(u=laid(best.u))

        if not objective.plan.rugged:
            return improved(scan(objective, point, combination, [nodes], laid))
        found = jax.vmap(improved)(peaks(objective, point, combination, nodes, _PEAKS, laid))
        value_found, best = highest(found.value)
        return Best(value_found, take(found.u, best), jnp.sum(found.evaluations))

    def _within(
        self, objective: Objective, point: Point, combination: Combination, start: Best, nudged: Float[Array, "m"]
    ) -> Best:
        value = lambda u: objective(point, Decision(combination, u))  # noqa: E731
        margins = margins_of(objective, point, combination)
        found = better_of(start, within(value, margins, start, nudged, self.steps, self.tolerance))
        if not objective.sided:
            return found
        return better_of(found, along(value, margins, found, self.steps, self.tolerance))

    def starts_near(self, plan: Plan) -> bool:
        single = len(plan.coordinates) == 1 and len(combinations(plan)) == 1
        return single and not plan.rugged and not plan.limiting

    def near(
        self, objective: Objective, point: Point, combination: Combination, u: Float[Array, "m"], steps: int
    ) -> Nearby:
        last = u[0]
        for _ in range(steps):
            first = last
            q, g, h = slopes(lambda u: objective(point, Decision(combination, u)), first)
            concave = jnp.isfinite(q) & jnp.isfinite(g) & (h < 0)
            step = -g / where(concave, h, -1.0)
            last = jnp.clip(first + step, 0.0, 1.0)
        held = ((first <= 0) & (g <= 0)) | ((first >= 1) & (g >= 0))
        moved = where(held, 0.0, jnp.abs(step) / jnp.maximum(first, jnp.finfo(first.dtype).tiny))
        q = q + 0.5 * g * (last - first)  # of a parabola, where the step stays inside
        return Nearby(Best(q, last[None], jnp.asarray(3.0 * steps)), where(concave, moved, jnp.inf), h)

    def improve(self, objective: Objective, point: Point, combination: Combination, start: Best, width: float) -> Best:
        """Polishes what another maximiser found to within `width` in u."""
        return self._improve(objective, point, combination, start, [width] * len(objective.plan.coordinates))

    def resized(self, plan: Plan, ratio: float) -> Maximiser:
        return replace(self, grid=resized(plan, self.grid, self.candidates(plan), ratio))

    def candidates(self, plan: Plan) -> list[Array]:
        counts = _RUGGED if plan.rugged else _CANDIDATES
        return candidates(plan, self.grid, counts.get(len(plan.coordinates), 3), "Newton")

    def _improve(
        self, objective: Objective, point: Point, combination: Combination, start: Best, widths: list[float]
    ) -> Best:
        if not widths:
            return start
        objective, point, start = jax.tree.map(lax.stop_gradient, (objective, point, start))
        if objective.plan.limiting:
            inside = room(objective, point, combination)
            nudged = inside.anchor + (1 - 1e-6) * (start.u - inside.anchor)
            return self._within(objective, point, combination, start, nudged)

        def value(u: Float[Array, "m"]) -> Float[Array, ""]:
            return objective(point, Decision(combination, u))

        if len(widths) == 1:
            found = on_line(value, start, widths[0], self.steps, self.tolerance)
        else:
            found = in_box(value, start, self.steps, self.tolerance)
            if objective.sided:  # a step in all actions cannot follow a kink
                start = better_of(start, found)
                found = along(value, None, start, self.steps, self.tolerance)
        return better_of(start, found)


def check_polish(polish: Any, what: str) -> None:
    """Raises ModelError for a `polish=` that is none."""
    if polish is not None and not isinstance(polish, Newton):
        raise ModelError(f"{what}: polish is {polish!r}; give bx.maximise.Newton(), or leave it out.")


def slopes(value: Callable[[Array], Array], u: Array) -> tuple[Array, Array, Array]:
    """A function of one number, and its first and second derivative."""

    def first(u: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda x: value(x[None]), (u,), (jnp.ones_like(u),))

    (q, g), (_, h) = jax.jvp(first, (u,), (jnp.ones_like(u),))
    return q, g, h


class _LineState(NamedTuple):
    low: Array
    high: Array
    u: Array
    seen: Array
    value: Array
    done: Bool[Array, ""]
    steps: Int[Array, ""]


def on_line(value: Callable[[Array], Array], start: Best, width: float, most: int, tolerance: float) -> Best:
    """The maximum near `start.u`, by Newton on the derivative inside a bracket that halves where a step leaves it."""

    def step(state: _LineState) -> _LineState:
        q, g, h = slopes(value, state.u)
        # At an edge where the objective is infinite the way is inwards.
        usable = jnp.isfinite(g) & jnp.isfinite(h)
        g = where(usable, g, where(state.u - state.low <= state.high - state.u, 1.0, -1.0))
        low, high = where(g > 0, state.u, state.low), where(g > 0, state.high, state.u)
        held = ((state.u <= 0) & (g <= 0)) | ((state.u >= 1) & (g >= 0))
        concave = usable & (h < 0)
        proposal = state.u - g / where(concave, h, -1.0)
        middle = 0.5 * (low + high)
        # At the maximum the step rounds to nothing, and u is an end of its own bracket.
        within = ((proposal > low) & (proposal < high)) | (proposal == state.u)
        inside = where(within, proposal, middle)
        # A step across a bound of the action tries the bound itself: a bounded optimum is hit exactly.
        edge = where((proposal <= 0) & (low <= 0), 0.0, where((proposal >= 1) & (high >= 1), 1.0, inside))
        edge = where(edge == state.u, inside, edge)
        new = where(held, state.u, where(concave, edge, middle))
        small = jnp.abs(new - state.u) <= tolerance * jnp.abs(state.u)
        return _LineState(low, high, new, state.u, q, held | small, state.steps + 1)

    u = start.u[0]
    low, high = jnp.maximum(u - width, 0.0), jnp.minimum(u + width, 1.0)
    first = _LineState(low, high, u, u, start.value, jnp.zeros((), bool), jnp.zeros((), jnp.int32))
    last = loops.until(lambda s: s.done | (s.steps >= most), step, first)
    # The last move was too small to change Q, or else was never looked at. XLA may work out twice where it leads and
    # round it differently, on this side of the bracket and on that: then it is none.
    close = jnp.abs(last.u - last.seen) <= tolerance * jnp.abs(last.seen)
    return Best(
        last.value, where(last.done & close, last.u, last.seen)[None], 3.0 * last.steps.astype(last.value.dtype)
    )
