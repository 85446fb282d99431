"""A policy kept at the nodes of a grid and interpolated between them.

Continuous actions are interpolated as shares u of their bounds, given the discrete combination; the combination is the
one of highest interpolated value, or under taste shocks one that is drawn by these values. A discrete action is never
interpolated as an index.
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
from bellax.bellman.discretisation import Discretisation, Values
from bellax.bellman.maximisers.maximum import cells, first_maximum
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.reach import admitted, first_outside, reach, warn_once
from bellax.bellman.setting import Setting
from bellax.bellman.taste import chosen
from bellax.errors import ModelError
from bellax.numerics.interpolate import barrier, is_barrier
from bellax.numerics.linear import multilinear
from bellax.numerics.programs import all_concrete
from bellax.numerics.shared import Shared
from bellax.problem.period import over_combinations
from bellax.problem.problem import Arguments
from bellax.problem.reading import check_period, flattened
from bellax.solution.policy import Chosen, Policy, Queried
from bellax.solution.query import asked_outside, check_active, in_its_period, masked, undifferentiable


class Interpolating(Policy):
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
    numerics: Discretisation = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        """A table does not move with parameters."""
        return False

    @property
    def last(self) -> Value | None:
        """V after the last decision."""
        return self.final

    def at(self, period: Any) -> Callable[[Mapping[str, Array]], Chosen]:
        """A pointwise function from the states of a period to what is chosen there."""
        numerics = self.numerics
        u, values = (leaf[period] if numerics.problem.finite else leaf for leaf in (self.u, self.choice_values))
        # bounds and payoffs need an objective, and nobody looks at its continuation
        objective, mesh = numerics.one_period(self.arguments, numerics.nothing(self.arguments), period)
        return lambda states: _interpolated(objective, mesh, u, values, states, admitted(numerics, mesh, states))


class Tabulated(Queried):
    """A policy kept at the nodes of a grid.

    Attributes:
        table: the policy.
    """

    table: Interpolating
    setting: Setting = eqx.field(static=True)

    @property
    def model(self) -> Any:
        """The model that was solved."""
        return self.setting.model

    @property
    def pointwise(self) -> Policy:
        """The policy, as simulations ask it."""
        return self.table

    def check_one(self) -> None:
        """A table is made of one solution."""

    def policy(self, period: Any = None, *, age: Any = None, **states: Any) -> dict[str, Array]:
        """The interpolated actions at any states, by name; see `Solution.policy`."""
        setting, numerics = self.setting, self.setting.numerics
        period = check_period(setting.problem.clock, period, age, last=False)
        check_active(setting, period)
        arrays, shape = flattened(setting.problem, states)

        def ask(policy: Interpolating, period: Array, arrays: dict[str, Array]) -> Any:
            mesh = numerics.mesh(policy.arguments, period)
            chosen = jax.vmap(policy.at(period))(arrays)
            stop = {"stop": chosen.stop} if setting.plan.evaluate_stop is not None else {}
            beside = jax.vmap(lambda states: asked_outside(numerics, mesh, states))(arrays)
            return chosen.actions | stop, beside | {"ends": reach(mesh)}

        compiled = setting.program("tabulated", lambda: Shared(ask))
        answer, beside = compiled(self.table, jnp.asarray(period, jnp.int32), arrays)
        if "outside" in beside and all_concrete((beside, arrays)):
            warn_once(self, first_outside(setting.plan, beside["ends"], beside["outside"], arrays))
        answer = in_its_period(setting.problem.clock, period, answer)
        answer = {name: undifferentiable(x, self.table.arguments) for name, x in answer.items()}
        return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), answer)


def tabulated(setting: Setting, arguments: Arguments, values: Values) -> Tabulated:
    """The policy of a solution at every node of every period.

    Args:
        values: V of every period; by regime where there are several.
    """
    for name, space in setting.plan.states.items():
        if getattr(getattr(space, "distribution", None), "shape", ()) != ():
            raise ModelError(f"tabulate cannot interpolate over the IID vector {name!r}; query the solution itself.")

    numerics, finite = setting.numerics, setting.problem.finite

    def at_period(arguments: Arguments, values: Values, period: Any) -> Any:
        objective, mesh = numerics.solved_period(arguments, values, period)
        entry = lambda node: _entry(numerics, objective, mesh.point(node.codes, node.coordinates))  # noqa: E731
        return over_mesh(entry, mesh, cells(numerics.maximiser, setting.plan), numerics.memory)

    def run(arguments: Arguments, values: Values) -> Any:
        if not finite:
            return at_period(arguments, values, 0)
        periods = jnp.arange(setting.problem.clock.count, dtype=jnp.int32)
        return jax.lax.map(lambda period: at_period(arguments, values, period), periods)

    own = values[setting.problem.regime] if setting.problem.regime else values
    final = jax.tree.map(lambda leaf: leaf[-1], own) if finite else None
    u, choice_values = setting.program("tabulate", lambda: jax.jit(run))(arguments, values)
    table = Interpolating(arguments=arguments, u=u, choice_values=choice_values, final=final, numerics=numerics)
    return Tabulated(table=table, setting=setting)


def _entry(numerics: Discretisation, objective: Objective, point: Point) -> tuple[Array, Array]:
    best = over_combinations(objective.plan, lambda k: numerics.maximiser.best(objective, point, k))
    return best.u, best.value


def _interpolated(
    objective: Objective, mesh: Mesh, u: Array, values: Array, states: Mapping[str, Array], admitted: Array
) -> Chosen:
    point = mesh.locate(states, remember=True)
    going = look_up(mesh, jnp.where(values == -jnp.inf, barrier(values.dtype), values), point)
    combination, between = first_maximum(going), look_up(mesh, u, point)
    plain = replace(objective, absolute=frozenset())

    def acting(one: Decision) -> tuple[dict[str, Array], Array]:
        shares = jnp.clip(objective.shares(point, one), 0.0, 1.0)
        actions, allowed = plain.actions(point, Decision(one.combination, shares))
        return actions, allowed & objective.period.feasible(point.values, actions)

    actions, allowed = acting(Decision(combination, between[combination]))
    known = mesh.holds(states) & admitted
    going = jnp.where(known, jnp.where(is_barrier(going), -jnp.inf, going), jnp.nan)
    worth, stop, alternatives = going[combination], jnp.zeros((), bool), None
    codes = jnp.arange(going.shape[0], dtype=combination.dtype)
    probabilities = (codes == combination).astype(going.dtype)
    if objective.plan.taste_shocks is not None:
        alternatives, each_allowed = jax.vmap(acting)(Decision(codes, between))
        worth, probabilities = chosen(objective.period, going)
        allowed = jnp.all(each_allowed | (probabilities == 0))
    # what an action is worth that is interpolated and not allowed, nobody knows
    value = jnp.where(allowed | (worth == -jnp.inf), worth, jnp.nan)
    if objective.plan.evaluate_stop is not None:
        now = objective.period.payoff(point.values)
        stop = now >= worth
        value = jnp.where(stop | jnp.isnan(now), now, value)
    shown = (allowed & (worth > -jnp.inf)) | stop
    actions = {name: masked(shown, action) for name, action in actions.items()}
    probabilities = jnp.where(stop, 0.0, jnp.where(shown, probabilities, jnp.nan))
    return Chosen(value, actions, stop, going, probabilities, alternatives)


def look_up(mesh: Mesh, table: Array, point: Point) -> Array:
    """Multilinear interpolation of rows on today's mesh, between the nodes of processes too."""
    rows = table.reshape(math.prod(mesh.shape), *table.shape[len(mesh.shape) :])
    find = lambda place, cells, steps: multilinear(rows, place, cells, steps, "constant")  # noqa: E731
    return over_cells(mesh, point, find)
