"""Enumeration, then golden-section search of every continuous action around the best candidate.

It needs no derivatives. Values alone locate a maximum to the square root of rounding; `polish=Newton()` does better.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.maximisers.candidates import candidates, resized, scan
from bellax.bellman.maximisers.maximum import Best, Maximiser, check_bounded, check_constraints, guarded
from bellax.bellman.maximisers.newton import Newton, check_polish
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.errors import ModelError, check_count, check_mapping, check_positive, named_options
from bellax.numerics import grids, loops
from bellax.problem.period import Combination
from bellax.problem.plan import Plan

_RATIO = (math.sqrt(5) - 1) / 2


@named_options
@dataclass(frozen=True)
class Golden(Maximiser):
    """The best candidate, then golden-section search between its neighbours, one action after another.

    Args:
        grid: by continuous action, the number of candidates between its bounds; 25 where nothing is said.
        tolerance: width in u at which the search stops.
        rounds: passes over the actions where there are several.
        polish: a `Newton` that starts from what was found.
    Raises:
        ModelError: for a constraint on a continuous action, or an action without bounds.
    Source: Kiefer (1953).
    """

    grid: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-9
    rounds: int = 8
    polish: Newton | None = None

    def __post_init__(self) -> None:
        check_mapping(self.grid, "Golden: grid", "{'consumption': 25}")
        check_positive(self.tolerance, "Golden: tolerance")
        check_count(self.rounds, "Golden: rounds")
        check_polish(self.polish, "Golden")

    @property
    def smooth(self) -> bool:
        return True

    def check(self, plan: Plan) -> None:
        check_bounded(plan, "Golden")
        check_constraints(plan, "Golden")
        if any(isinstance(spec, grids.Given) for spec in self.grid.values()):
            raise ModelError(
                "Golden searches between its candidates, so it takes their number; grids.Given is for Enumerate."
            )
        self.candidates(plan)
        if self.polish is not None:
            self.polish.check(plan)

    def resized(self, plan: Plan, ratio: float) -> Maximiser:
        return replace(self, grid=resized(plan, self.grid, self.candidates(plan), ratio))

    def candidates(self, plan: Plan) -> list[Array]:
        return candidates(plan, self.grid, 25, "Golden")

    def cells(self, plan: Plan) -> int:
        nodes = self.candidates(plan)
        return math.prod(node.shape[0] for node in nodes)

    def best(self, objective: Objective, point: Point, combination: Combination) -> Best:
        nodes = self.candidates(objective.plan)
        found = scan(objective, point, combination, nodes)

        def value(u: Float[Array, "m"]) -> Array:
            return guarded(objective, point, Decision(combination, u))

        widths = [1.0 / (node.shape[0] - 1) for node in nodes]

        def around(found: Best) -> Best:
            for k, width in enumerate(widths):
                found = section(value, found, k, width, self.tolerance)
            return found

        found = loops.repeat(self.rounds, around, found) if len(nodes) > 1 else around(found)
        if self.polish is None:
            return found
        return self.polish.improve(objective, point, combination, found, max(widths, default=0.0))


def section(value: Callable[[Array], Array], start: Best, place: int, width: float, tolerance: float) -> Best:
    """Golden-section search of coordinate `place` within `width` of the start; never worse than the start."""

    def at(x: Array) -> Array:
        return value(start.u.at[place].set(x))

    low, high = jnp.maximum(start.u[place] - width, 0.0), jnp.minimum(start.u[place] + width, 1.0)
    left, right = high - _RATIO * (high - low), low + _RATIO * (high - low)
    steps = max(1, math.ceil(math.log(tolerance / (2 * width)) / math.log(_RATIO)))

    def shrink(state: tuple) -> tuple:
        low, high, left, right, at_left, at_right = state
        keep_left = at_left > at_right
        low, high = jnp.where(keep_left, low, left), jnp.where(keep_left, right, high)
        new = jnp.where(keep_left, high - _RATIO * (high - low), low + _RATIO * (high - low))
        fresh = at(new)
        return (
            low,
            high,
            jnp.where(keep_left, new, right),
            jnp.where(keep_left, left, new),
            jnp.where(keep_left, fresh, at_right),
            jnp.where(keep_left, at_left, fresh),
        )

    low, high, left, right, at_left, at_right = loops.repeat(
        steps, shrink, (low, high, left, right, at(left), at(right))
    )
    u, found = jnp.where(at_left > at_right, left, right), jnp.maximum(at_left, at_right)
    better = found > start.value
    return Best(
        jnp.where(better, found, start.value),
        start.u.at[place].set(jnp.where(better, u, start.u[place])),
        start.evaluations + steps + 2.0,
    )
