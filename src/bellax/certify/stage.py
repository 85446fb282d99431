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
from bellax.bellman.objective import Objective
from bellax.bellman.sweep import step
from bellax.bellman.taste import chosen
from bellax.model.distribution import Distribution
from bellax.model.shocks import Categorical
from bellax.model.spaces import IID
from bellax.numerics.rules import RULES, Nodes
from bellax.problem.categories import category
from bellax.problem.period import Outcome
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

    def decide(self, objective: Objective, point: Point) -> Optimum:
        """The optimum at a point of one of the two problems, as the solver's maximiser finds it."""
        return jax.tree.map(jax.lax.stop_gradient, optimum_at(self.numerics.maximiser, objective, point))


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
    following, mesh_next = objective, mesh
    last: Callable[[Point], Array] | None = None
    if finite:
        # After the last decision this is nonsense that the terminal value replaces.
        following, mesh_next = numerics.solved_period(arguments, values, period + 1)
        final = ending(numerics, arguments, jax.tree.map(lambda leaf: leaf[-1], own))
        last = lambda point: jnp.where(period + 1 == numerics.problem.clock.count, final(point.values), jnp.nan)  # noqa: E731

    def value_next(point: Point, optimum: Any) -> Array:
        value = or_stopped(_going_on(following, point, optimum), following, point, optimum)
        if last is None:
            return value
        return jnp.where(period + 1 == numerics.problem.clock.count, last(point), value)

    fine = judge = replace(objective, shock_nodes=rules)
    wide = more_nodes(numerics, arguments)
    if wide is not None:
        judge = replace(_afresh(wide, arguments, period, following, mesh, last), shock_nodes=rules)
    return Stage(numerics, objective, following, fine, judge, mesh, mesh_next, stored, value_next)


def _going_on(objective: Objective, point: Point, optimum: Optimum) -> Array:
    """V of the decision that is taken at a point, without stopping. It is chosen already: a constraint must not judge
    rounding."""
    if optimum.value is None or objective.plan.taste_shocks is None:
        return objective.judged(point, optimum.decision)[0]
    q = jax.vmap(lambda one: objective.judged(point, one)[0])(combinations_of(optimum))
    return chosen(objective.period, jnp.where(optimum.choice_values > -jnp.inf, q, -jnp.inf)).value


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
        return replace(given, count=times * given.count + 3)
    return times * distribution.each_dimension(nodes) + 3


def _nodes(numerics: Discretisation, name: str, spec: Any, nodes: Nodes) -> int:
    distribution = numerics.plan.graph.regime.shocks[name]
    return jax.eval_shape(lambda: _rule(distribution, spec, nodes)).weights.shape[0]


def _rule(distribution: Distribution, spec: Any, old: Nodes) -> Nodes:
    return old if spec is None else distribution.rule(spec, {})


# -- tomorrow ---------------------------------------------------------------------------------------------------------


def branches(asked: Stage, point: Point, actions: Mapping[str, Array]) -> tuple[Array, Outcome, Point]:
    """Every state that an action may lead to, each process at each of its nodes.

    Returns:
        Probabilities, shape (q, c): nodes of the fine quadrature, and categories of what they leave open; the outcomes
        of the nodes, shape (q,); and the points of tomorrow, shape (q, c).
    """
    plan, mesh = asked.numerics.plan, asked.mesh_next
    weights, outcome = asked.fine.outcomes(point, actions)
    lengths = {name: mesh.discrete_axes[name] for name in (*plan.integrated, *plan.dotted)}
    places = np.indices(tuple(lengths.values())).reshape(len(lengths), -1) if lengths else np.zeros((0, 1), int)
    codes = {name: jnp.asarray(row, jnp.int32) for name, row in zip(lengths, places, strict=True)}
    codes |= {} if lengths else {"": jnp.zeros(1, jnp.int32)}
    rows = {name: asked.fine.row(name, point) for name in plan.integrated}

    def at(weight: Array, found: Outcome, place: dict[str, Array]) -> tuple[Array, Point]:
        probabilities = {**rows, **found.weights}
        for name in lengths:
            weight = weight * probabilities[name][place[name]]
        return weight, _reached(plan, mesh, found.following, place)

    over_places = jax.vmap(at, in_axes=(None, None, 0))
    probability, following = jax.vmap(over_places, in_axes=(0, 0, None))(weights, outcome, codes)
    return probability, outcome, following


def _reached(plan: Any, mesh: Mesh, following: Mapping[str, Array], place: Mapping[str, Array]) -> Point:
    codes: dict[str, Array] = {}
    values: dict[str, Array] = {name: following[name] for name in plan.continuous}
    for name, process in mesh.processes.items():
        codes[name] = following[name] if name in plan.scanned else place[name]
        values[name] = process.values[codes[name]]
    for name, known in mesh.discrete.items():
        if name in plan.markov:
            codes[name] = following[name] if name in plan.scanned else place[name]
        else:
            codes[name], _ = category(plan.states[name], following[name])
        values[name] = known[codes[name]]
    return Point(values, codes, {})
