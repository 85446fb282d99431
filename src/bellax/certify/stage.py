"""One period as a certificate looks at it: the solver's problem, the same with finer quadrature, and tomorrow's."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.chunks import over_mesh
from bellax.bellman.continuation import Value
from bellax.bellman.decided import combinations_of, optimum_at, or_stopped, value_and_slopes
from bellax.bellman.discretisation import Discretisation, Values
from bellax.bellman.maximisers.maximum import Optimum
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.reached import Reached
from bellax.bellman.sweep import step
from bellax.bellman.taste import chosen
from bellax.model.distribution import Distribution
from bellax.model.shocks import Categorical
from bellax.model.spaces import IID
from bellax.numerics.rules import RULES, Nodes, recounted
from bellax.problem.period import by_action, in_a_row
from bellax.problem.problem import Arguments
from bellax.solution.query import ending

MOST_DRAWN = 512
"""Nodes of states that are drawn afresh, of all of them together, at most."""

MOST_NODES = 4096
"""Nodes of the finer quadrature at most; beyond, the solver's own nodes are kept."""


class Stage(NamedTuple):
    """What is asked in one period.

    Attributes:
        objective, following: the solver's one-period problem, and tomorrow's.
        fine: the same with finer quadrature.
        judge: the same again, with more nodes of the states that are drawn afresh tomorrow.
        mesh, mesh_next: today's and tomorrow's nodes.
        stored: V of this period between its nodes, of a located point.
        value_next: V of the next period at a point, of the decision taken there.
        arriving: the states in which each other regime may be reached.
    """

    numerics: Discretisation
    objective: Objective
    following: Objective
    fine: Objective
    judge: Objective
    mesh: Mesh
    mesh_next: Mesh
    stored: Callable[[Point], Float[Array, ""]]
    value_next: Callable[[Point, Any], Float[Array, ""]]
    arriving: Mapping[str, Reached]

    def decide(self, objective: Objective, point: Point) -> Optimum:
        """The optimum at a point of one of the two problems, as the solver's maximiser finds it."""
        return decide(self.numerics, objective, point)


def decide(numerics: Discretisation, objective: Objective, point: Point) -> Optimum:
    """The optimum at a point, as the solver's maximiser finds it."""
    return jax.tree.map(jax.lax.stop_gradient, optimum_at(numerics.maximiser, objective, point))


def stage(
    numerics: Discretisation, arguments: Arguments, values: Values, period: Any, counts: Mapping[str, Any]
) -> Stage:
    """The questions about `period`.

    Args:
        counts: the finer quadrature, by shock; see `finer`.
    """
    finite = numerics.problem.clock.finite
    objective, mesh = numerics.solved_period(arguments, values, period)
    shocks = numerics.plan.graph.regime.shocks
    rules = {name: _rule(shocks[name], counts[name], old) for name, old in objective.shock_nodes.items()}
    own = values[numerics.problem.regime] if numerics.problem.regime else values
    now = jax.tree.map(lambda leaf: leaf[period], own) if finite else own
    stored = numerics.stored(now, objective.period.environment, mesh)
    following, mesh_next, value_next = objective, mesh, value_of(objective)
    last: Callable[[Point], Array] | None = None
    if finite:
        following, mesh_next, last, value_next = later(numerics, arguments, values, period + 1)
    fine = judge = replace(objective, shock_nodes=rules)
    wide = more_nodes(numerics, arguments)
    if wide is not None:
        judge = replace(_afresh(wide, arguments, period, following, mesh, last), shock_nodes=rules)
    arriving = {name: numerics.arriving(name, arguments, period, objective) for name in numerics.plan.arrivals}
    return Stage(numerics, objective, following, fine, judge, mesh, mesh_next, stored, value_next, arriving)


def later(
    numerics: Discretisation, arguments: Arguments, values: Values, period: Any
) -> tuple[Objective, Mesh, Callable[[Point], Array], Callable[[Point, Any], Array]]:
    """A period of a finite horizon that may be the one after the last decision: its problem, its nodes, V where it is
    the last, else NaN, and V of a decision at a point.

    Of the period after the last decision the problem is nonsense, which the terminal value replaces.
    """
    objective, mesh = numerics.solved_period(arguments, values, period)
    # of regimes it is the model's own function, and never one that another solution gave
    final = ending(
        numerics, arguments, None if numerics.problem.regime else jax.tree.map(lambda leaf: leaf[-1], values)
    )
    over, decided = period == numerics.problem.clock.count, value_of(objective)
    last = lambda point: jnp.where(over, final(point.values), jnp.nan)  # noqa: E731
    value = lambda point, optimum: jnp.where(over, last(point), decided(point, optimum))  # noqa: E731
    return objective, mesh, last, value


def value_of(objective: Objective) -> Callable[[Point, Any], Float[Array, ""]]:
    """V at a point, of the decision that is taken there. It is chosen already: a constraint must not judge rounding."""

    def judged(point: Point, decision: Decision) -> Array:
        return Objective.judged(*_in_shares(objective, point, decision))[0]

    def value(point: Point, optimum: Optimum) -> Array:
        if optimum.value is None or objective.plan.taste_shocks is None:
            found = judged(point, optimum.decision)
        else:
            each = jax.vmap(lambda one: judged(point, one))(combinations_of(optimum))
            found = chosen(objective.period, jnp.where(optimum.choice_values > -jnp.inf, each, -jnp.inf)).value
        return or_stopped(found, objective, point, optimum)

    return value


def _in_shares(objective: Objective, point: Point, decision: Decision) -> tuple[Objective, Point, Decision]:
    """A decision as shares of the way between the bounds, where there are some: where a bound binds it stays there."""
    bounded = {name for name in objective.absolute if objective.plan.controls[name].bounded}
    if not bounded:
        return objective, point, decision
    own, shares = (by_action(objective.plan, u) for u in (decision.u, objective.shares(point, decision)))
    u = in_a_row({name: shares[name] if name in bounded else own[name] for name in own})
    plain = replace(objective, absolute=objective.absolute - bounded)
    return plain, point, Decision(decision.combination, jax.lax.stop_gradient(u))


def more_nodes(numerics: Discretisation, arguments: Arguments) -> Discretisation | None:
    """The same numerics with more nodes of the states that are drawn afresh; None where there is none, or too many."""
    if numerics.problem.regime:
        return None  # V of other regimes is known at their own nodes only
    spaces = numerics.plan.states.items()
    drawn = {name: space.distribution for name, space in spaces if isinstance(space, IID)}
    drawn = {name: own for name, own in drawn.items() if not isinstance(own, Categorical)}
    if not drawn:
        return None

    def counts(numerics: Discretisation) -> dict[str, int]:
        nodes = lambda a: {n: numerics.mesh(a, 0).processes[n].values for n in drawn}  # noqa: E731
        return {name: shape.shape[0] for name, shape in jax.eval_shape(nodes, arguments).items()}

    wide, own = copy.copy(numerics), counts(numerics)
    wide.grid = numerics.grid | {
        name: _more(distribution, numerics.grid.get(name), own[name], times=4) for name, distribution in drawn.items()
    }
    return wide if math.prod(counts(wide).values()) <= MOST_DRAWN else None


def _afresh(
    wide: Discretisation, arguments: Arguments, period: Any, following: Objective, mesh: Mesh, last: Callable | None
) -> Objective:
    """Today's problem, where V of tomorrow is known at more nodes of what is drawn afresh: by one more Bellman step.

    Args:
        following: tomorrow's problem.
        mesh: today's nodes.
        last: V after the last decision, if this may be the last.
    """
    today = wide.problem.environment(arguments, period)
    tomorrow = wide.mesh(arguments, period + 1) if wide.problem.finite else wide.nodes(today)
    value = step(wide.maximiser, following, tomorrow, wide.memory).value
    if last is not None:
        slopes = wide.interpolant.needs_slopes

        def at(node: Any) -> Value:
            end = lambda coordinates: last(tomorrow.point(node.codes, coordinates))  # noqa: E731
            return Value(*value_and_slopes(end, node.coordinates, slopes))

        ended = over_mesh(at, tomorrow, 1, wide.memory)
        value = jax.tree.map(lambda a, b: jnp.where(period + 1 == wide.problem.clock.count, a, b), ended, value)
    later = wide.problem.environment(arguments, period + 1 if wide.problem.finite else period)
    objective = wide.objective(today, mesh.processes, value, tomorrow, later)
    return wide.maximiser.prepared(objective, mesh, wide.memory)


def finer(numerics: Discretisation, rules: Mapping[str, Nodes]) -> dict[str, Any]:
    """Twice the nodes of every shock and three more; none for those whose nodes are exact, or would be too many."""
    found = {name: _count(numerics, name, nodes) for name, nodes in rules.items()}
    sizes = [_nodes(numerics, name, found[name], nodes) for name, nodes in rules.items()]
    return found if np.prod(sizes, dtype=float) <= MOST_NODES else dict.fromkeys(found)


def _count(numerics: Discretisation, name: str, nodes: Nodes) -> Any:
    distribution, given = numerics.plan.graph.regime.shocks[name], numerics.quadrature.get(name)
    if isinstance(distribution, Categorical):
        return None
    return _more(distribution, given, nodes.weights.shape[0])


def _more(distribution: Distribution, given: Any, nodes: int, times: int = 2) -> Any:
    """So many times the nodes a dimension, and three more: four times where a choice may make a kink."""
    if isinstance(given, RULES):
        return recounted(given, times * given.count + 3)
    return times * distribution.each_dimension(nodes) + 3


def _nodes(numerics: Discretisation, name: str, spec: Any, nodes: Nodes) -> int:
    distribution = numerics.plan.graph.regime.shocks[name]
    return jax.eval_shape(lambda: _rule(distribution, spec, nodes)).weights.shape[0]


def _rule(distribution: Distribution, spec: Any, old: Nodes) -> Nodes:
    return old if spec is None else distribution.rule(spec, {})
