"""Enumeration: the best of finitely many candidates, for any mix of actions.

Where the objective is single-peaked along an action, bisection on the sign of its first difference replaces the scan.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.continuation import Value
from bellax.bellman.maximisers import dense, monotone
from bellax.bellman.maximisers.candidates import candidates, resized, scan
from bellax.bellman.maximisers.maximum import Best, Maximiser, Optimum, Plane, cells, check_bounded, guarded
from bellax.bellman.maximisers.newton import Newton, check_polish
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.errors import ModelError, check_mapping, check_names, named_options
from bellax.numerics import grids, loops
from bellax.problem.period import Combination
from bellax.problem.plan import Plan


@named_options
@dataclass(frozen=True)
class Enumerate(Maximiser):
    """The best of all combinations of candidates; masks with every constraint.

    Args:
        grid: by continuous action, the number of candidates between its bounds, or `bx.grids.Given(values)`; 100 where
            nothing is said.
        single_peaked: continuous actions along which the objective rises, then falls: found by bisection. It is not
            checked; a stretch of equal values below the peak, minus infinity included, ends the search there.
        monotone: by continuous action, a continuous state in which its optimum does not fall; candidates are values,
            `bx.grids.Given`. A solver that sweeps a grid then brackets each optimum by its neighbours'; a query at
            one point, which has none, scans.
        polish: a `Newton` that starts from the best candidate.
    Raises:
        ModelError: for an option that the model cannot honour.
    Source: single-peaked and monotone search: Gordon & Qiu (2018), Quantitative Economics 9.
    """

    grid: Mapping[str, Any] = field(default_factory=dict)
    single_peaked: tuple[str, ...] = ()
    monotone: Mapping[str, str] = field(default_factory=dict)
    polish: Newton | None = None

    def __post_init__(self) -> None:
        check_mapping(self.grid, "Enumerate: grid", "{'consumption': 200}")
        check_mapping(self.monotone, "Enumerate: monotone", "{'saving': 'wealth'}")
        if isinstance(self.single_peaked, str):
            raise ModelError(f"Enumerate: single_peaked is {self.single_peaked!r}; give ({self.single_peaked!r},).")
        check_polish(self.polish, "Enumerate")

    @property
    def smooth(self) -> bool:
        return self.polish is not None

    def check(self, plan: Plan) -> None:
        check_bounded(plan, "Enumerate")
        self.candidates(plan)
        check_names(self.single_peaked, plan.controls, "Enumerate: single_peaked action")
        check_names(self.monotone, plan.controls, "Enumerate: monotone action")
        for action, state in self.monotone.items():
            check_names([state], plan.continuous, f"Enumerate: state in which {action!r} is monotone")
        if (self.monotone or self.single_peaked) and len(plan.coordinates) != 1:
            raise ModelError(
                "Enumerate: monotone= and single_peaked= order the search along one continuous action, and the model "
                f"has {len(plan.coordinates)}. Leave the option out, or use bx.maximise.Newton."
            )
        self._check_monotone(plan)
        if self.single_peaked and plan.constraints:
            raise ModelError("Enumerate: single_peaked= cannot mask constraints; state them as bounds of the action.")
        if self.polish is not None:
            self.polish.check(plan)

    def _check_monotone(self, plan: Plan) -> None:
        for action, state in self.monotone.items():
            if plan.continuous[state].shape != ():
                raise ModelError(f"Enumerate: monotone= orders one number, and state {state!r} is an array.")
            if not isinstance(self.grid.get(action), grids.Given):
                raise ModelError(
                    f"Enumerate: monotone= says that {action!r} does not fall in {state!r}, which is about its values. "
                    f"Give them: grid={{{action!r}: bx.grids.Given(values)}}; shares of moving bounds may fall."
                )
        if self.monotone and (self.single_peaked or self.polish is not None):
            raise ModelError("Enumerate: monotone= searches by itself; leave out single_peaked= and polish=.")

    @property
    def absolute(self) -> frozenset[str]:
        return frozenset() if self.polish is not None else self._given

    @property
    def _given(self) -> frozenset[str]:
        return frozenset(name for name, spec in self.grid.items() if isinstance(spec, grids.Given))

    def over(self, objective: Objective, mesh: Mesh, memory: int) -> Optimum | None:
        if not self.monotone:
            return None
        (state,) = self.monotone.values()
        (nodes,) = self.candidates(mesh.plan)
        return monotone.optima(objective, mesh, state, nodes, cells(self, mesh.plan), memory)

    def plane(self, problem: Callable[[Value], Objective], mesh: Mesh, memory: int) -> Plane | None:
        interpolated = mesh.plan.lines or mesh.plan.coordinates
        return None if interpolated else dense.plane(problem, mesh, memory)

    def nearby(self, plan: Plan, u: Float[Array, "m"]) -> Float[Array, "n m"]:
        if self.polish is not None:
            return u[None]
        rows = [u]
        for k, nodes in enumerate(self.candidates(plan)):
            place = jnp.searchsorted(nodes, u[k]).astype(jnp.int32)
            beside = jnp.clip(jnp.stack([place - 1, place + 1]), 0, nodes.shape[0] - 1)
            rows += [u.at[k].set(nodes[other]) for other in beside]
        return jnp.stack(rows)

    def resized(self, plan: Plan, ratio: float) -> Maximiser:
        return replace(self, grid=resized(plan, self.grid, self.candidates(plan), ratio))

    def candidates(self, plan: Plan) -> list[Array]:
        return candidates(plan, self.grid, 100, "Enumerate")

    def cells(self, plan: Plan) -> int:
        if self.single_peaked:
            return 1
        nodes = self.candidates(plan)
        return math.prod(node.shape[0] for node in nodes)

    def evaluations(self, plan: Plan) -> int:
        if not (self.single_peaked or self.monotone):
            return super().evaluations(plan)
        (nodes,) = self.candidates(plan)
        return 2 * math.ceil(math.log2(nodes.shape[0])) + 1

    def best(self, objective: Objective, point: Point, combination: Combination) -> Best:
        nodes = self.candidates(objective.plan)
        plane = replace(objective, absolute=self._given)
        look = peak if self.single_peaked else scan
        found = look(plane, point, combination, nodes)
        if self.polish is None:
            return found
        found = found._replace(u=plane.shares(point, Decision(combination, found.u)))
        width = 1.0 if self._given else max((1.0 / (node.shape[0] - 1) for node in nodes), default=0.0)
        return self.polish.improve(objective, point, combination, found, width)


def peak(objective: Objective, point: Point, combination: Combination, candidates: list[Array]) -> Best:
    """The best candidate of a single-peaked objective, by bisection on the sign of its first difference."""
    (nodes,) = candidates

    def value(place: Array) -> Array:
        return guarded(objective, point, Decision(combination, nodes[place][None]))

    first, last = _allowed_range(objective, point, combination, nodes)

    def halve(bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) // 2
        rises = value(middle) < value(jnp.minimum(middle + 1, high))
        return jnp.where(rises, middle + 1, low), jnp.where(rises, high, middle)

    halvings = max(1, math.ceil(math.log2(nodes.shape[0])))
    place, _ = loops.repeat(halvings, halve, (first, jnp.maximum(last, first)))
    place = jnp.minimum(place, nodes.shape[0] - 1)
    return Best(value(place), nodes[place][None], jnp.asarray(2.0 * halvings + 1))


def _allowed_range(
    objective: Objective, point: Point, combination: Combination, nodes: Float[Array, "n"]
) -> tuple[Array, Array]:
    """First and last candidate between the bounds of the action."""
    name = objective.plan.coordinates[0].name
    if name not in objective.absolute:
        return jnp.zeros((), jnp.int32), jnp.full((), nodes.shape[0] - 1, jnp.int32)
    lower, upper = objective.period.bounds(name, point.values, objective.period.choices(combination))
    first = jnp.searchsorted(nodes, lower.reshape(()), side="left").astype(jnp.int32)
    last = jnp.searchsorted(nodes, upper.reshape(()), side="right").astype(jnp.int32) - 1
    return first, last
