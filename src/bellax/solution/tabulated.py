"""A policy kept at the nodes of a grid and interpolated between them.

Continuous actions are interpolated as shares u of their bounds, given the discrete combination; the combination is the
one of highest interpolated value. A discrete action is never interpolated as an index.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.chunks import over_mesh
from bellax.bellman.continuation import Value, over_cells
from bellax.bellman.maximisers.maximum import cells, first_maximum
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective, combinations
from bellax.solution.policy import Chosen, Policy
from bellax.bellman.query import (
    asked_outside,
    check_period,
    concrete,
    flattened,
    masked,
    problem,
    program,
    undifferentiable,
)
from bellax.bellman.reach import admitted, first_outside, reach, warn_once
from bellax.bellman.setting import Arguments, Setting
from bellax.errors import ModelError
from bellax.numerics.interpolate import barrier, is_barrier
from bellax.numerics.linear import multilinear


class Tabulated(Policy):
    """A policy at the nodes of a grid, interpolated between them.

    Attributes:
        u: as in `Decision`, by node, combination and number, shape ([t], mesh, k, m).
        choice_values: value of going on with each combination, shape ([t], mesh, k).
        final: V after the last decision, on its mesh; None for an infinite horizon.
    """

    arguments: Arguments
    u: Array
    choice_values: Array
    final: Value | None
    setting: Setting = eqx.field(static=True)

    @property
    def model(self) -> Any:
        """The model that was solved."""
        return self.setting.model

    @property
    def smooth(self) -> bool:
        """A table does not move with parameters."""
        return False

    @property
    def last(self) -> Value | None:
        """V after the last decision."""
        return self.final

    def pieces(self) -> dict[str, Any]:
        """Its arrays, by field."""
        return {
            "arguments": self.arguments,
            "u": self.u,
            "choice_values": self.choice_values,
            "final": self.final,
        }

    def check_one(self) -> None:
        """A table is made of one solution."""

    def policy(self, period: Any = None, *, age: int | float | None = None, **states: Any) -> dict[str, Array]:
        """The interpolated actions at any states, by name; see `Solution.policy`."""
        period = check_period(self.model, period, age, last=False)
        arrays, shape = flattened(self.setting, states)

        setting = self.setting

        def ask(arguments: Arguments, tables: Any, period: Array, arrays: dict[str, Array]) -> Any:
            u, values, final = tables
            mesh = setting.mesh(setting.environment(arguments, period))
            chosen = jax.vmap(
                Tabulated(arguments=arguments, u=u, choice_values=values, final=final, setting=setting).rule(period)
            )(arrays)
            stop = {"stop": chosen.stop} if setting.plan.evaluate_stop is not None else {}
            beside = jax.vmap(lambda states: asked_outside(setting, mesh, states))(arrays)
            return chosen.actions | stop, beside | {"ends": reach(mesh)}

        compiled = program(setting, "tabulated", lambda: jax.jit(ask))
        tables = (self.u, self.choice_values, self.final)
        answer, beside = compiled(self.arguments, tables, jnp.asarray(period, jnp.int32), arrays)
        if "outside" in beside and all(concrete(leaf) for leaf in jax.tree.leaves((beside, arrays))):
            warn_once(self, first_outside(setting.plan, beside["ends"], beside["outside"], arrays))
        answer = {name: undifferentiable(x, self.arguments) for name, x in answer.items()}
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), answer)

    def rule(self, period: Any) -> Callable[[Mapping[str, Array]], Chosen]:
        """A pointwise function from the states of a period to what is chosen there."""
        finite = self.setting.clock.finite
        u, values = (leaf[period] if finite else leaf for leaf in (self.u, self.choice_values))
        objective, mesh = problem(self.setting, self.arguments, _nothing(self.setting, self.arguments), period)
        setting = self.setting
        return lambda states: _interpolated(objective, mesh, u, values, states, admitted(setting, mesh, states))


def tabulated(setting: Setting, arguments: Arguments, values: Value) -> Tabulated:
    """The policy of a solution at every node of every period."""
    for name, space in setting.plan.states.items():
        if getattr(getattr(space, "distribution", None), "shape", ()) != ():
            raise ModelError(f"tabulate cannot interpolate over the IID vector {name!r}; query the solution itself.")

    def build() -> Any:
        def at_period(arguments: Arguments, values: Value, period: Any) -> Any:
            objective, mesh = problem(setting, arguments, values, period)
            entry = lambda node: _entry(setting, objective, mesh.point(node.codes, node.coordinates))  # noqa: E731
            return over_mesh(entry, mesh, cells(setting.maximiser, setting.plan), setting.memory)

        def run(arguments: Arguments, values: Value) -> Any:
            if not setting.model.clock.finite:
                return at_period(arguments, values, 0)
            periods = jnp.arange(setting.model.clock.count, dtype=jnp.int32)
            return jax.lax.map(lambda period: at_period(arguments, values, period), periods)

        return jax.jit(run)

    final = jax.tree.map(lambda leaf: leaf[-1], values) if setting.model.clock.finite else None
    u, choice_values = program(setting, "tabulate", build)(arguments, values)
    return Tabulated(arguments=arguments, u=u, choice_values=choice_values, final=final, setting=setting)


def _entry(setting: Setting, objective: Objective, point: Point) -> tuple[Array, Array]:
    codes = jnp.arange(len(combinations(setting.plan)), dtype=jnp.int32)
    best = jax.vmap(lambda k: setting.maximiser.best(objective, point, k))(codes)
    return best.u, best.value


def _nothing(setting: Setting, arguments: Arguments) -> Value:
    """A value that nobody looks at: bounds and payoffs need an objective, and not its continuation."""
    zero = setting.zero(arguments)
    if not setting.clock.finite:
        return zero
    count = setting.clock.count + 1
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), zero)


def _interpolated(
    objective: Objective, mesh: Mesh, u: Array, values: Array, states: Mapping[str, Array], admitted: Array
) -> Chosen:
    point = mesh.locate(states, remember=True)
    going = _look_up(mesh, jnp.where(values == -jnp.inf, barrier(values.dtype), values), point)
    combination = first_maximum(going)
    between = objective.shares(point, Decision(combination, _look_up(mesh, u, point)[combination]))
    plain = replace(objective, absolute=frozenset())
    actions, allowed = plain.actions(point, Decision(combination, jnp.clip(between, 0.0, 1.0)))
    stop, best = jnp.zeros((), bool), going[combination]
    allowed = allowed & objective.feasible(point, actions) & ~is_barrier(best)
    if objective.plan.evaluate_stop is not None:
        now = objective.payoff(point)
        stop, best = now >= best, jnp.maximum(now, best)
    known = mesh.known(states) & admitted
    shown = known & (allowed | stop)
    actions = {name: masked(shown, action) for name, action in actions.items()}
    going = jnp.where(is_barrier(going), -jnp.inf, going)
    return Chosen(jnp.where(admitted, best, jnp.nan), actions, stop, jnp.where(admitted, going, jnp.nan))


def _look_up(mesh: Mesh, table: Array, point: Point) -> Array:
    """Multilinear interpolation of rows on today's mesh, between the nodes of processes too."""
    rows = table.reshape(math.prod(mesh.shape), *table.shape[len(mesh.shape) :])
    find = lambda place, cells, steps: multilinear(rows, place, cells, steps, "constant")  # noqa: E731
    return over_cells(mesh, point, find)
