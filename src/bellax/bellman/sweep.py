"""One Bellman step over a mesh: V, its slopes and the decision at every node.

Slopes are those of the envelope theorem: the derivative of Q along each line
at the optimal u, held fixed.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.bellman.chunks import Node, nodes_of, over_batch, over_mesh
from bellax.bellman.continuation import Value
from bellax.bellman.implicit import drift, guard_inputs, implicit
from bellax.bellman.leaving import SIDES, leaving
from bellax.bellman.maximisers.maximum import Maximiser, Optimum, cells, dotted_size, guarded, maximum
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.numerics.interpolate import along, diverged, is_barrier, secant_slopes
from bellax.numerics.scalar import where
from bellax.problem.plan import Plan


class Step(NamedTuple):
    """A Bellman step.

    Attributes:
        value: V and its slopes, on the mesh.
        decision: the optimal decision at every node.
        stop: whether stopping is optimal.
        tally: at every node, in the order of `columns`, shape of the mesh and one axis.
    """

    value: Value
    decision: Decision
    stop: Array
    tally: Array


TALLY = ("evaluations", "infeasible_nodes", "nan_nodes", "infinite_nodes")
"""What a Bellman step counts: (state, action) pairs evaluated; nodes without an action, that are no number, at -inf."""


def columns(plan: Plan) -> list[str]:
    """Names of the columns of a tally: `TALLY`, and of each line the nodes whose optimal next state leaves the grid."""
    return [*TALLY, *(f"{side}:{label}" for label in plan.labels for side in SIDES)]


def step(maximiser: Maximiser, objective: Objective, mesh: Mesh, memory: int, optima: Optimum | None = None) -> Step:
    """One Bellman step: V(s) = max over a of Q(s, a) at every node of the mesh.

    Args:
        optima: at every node, nodes along the first axis, where they are known already.
    """
    slopes = objective.continuation.interpolant.needs_slopes

    def at(node: Node, optimum: Optimum) -> Step:
        return _step_at(maximiser, objective, mesh, node, optimum, slopes)

    found = _over_optima(at, maximiser, objective, mesh, memory, optima)
    return found._replace(value=_mended(found.value, mesh))


def _step_at(
    maximiser: Maximiser,
    objective: Objective,
    mesh: Mesh,
    node: Node,
    optimum: Optimum,
    slopes: bool,
    known: Array | None = None,
) -> Step:
    """The step at one node.

    Args:
        known: the derivative of Q along each line, where it is.
    """

    def value(coordinates: Array) -> Array:
        point = mesh.point(node.codes, coordinates)
        given = maximiser.given(objective, point)
        return decided(objective, point, optimum if given is None else given)

    level, steep = value_and_slopes(value, node.coordinates, slopes and known is None)
    if known is not None:
        steep = tuple(where(jnp.isfinite(level), slope, 0.0) for slope in known)
    stop = stopping(objective, mesh.point(node.codes, node.coordinates), optimum, level)
    feasible = optimum.feasible | stop
    faults = [~feasible, jnp.isnan(level) | (level == jnp.inf) | diverged(level), (level == -jnp.inf) & feasible]
    # counted, and not differentiated
    still, here, decision = jax.tree.map(
        lax.stop_gradient, (objective, mesh.point(node.codes, node.coordinates), optimum.decision)
    )
    left = jnp.where(optimum.feasible & ~stop, leaving(still, here, decision, maximiser).reshape(-1), 0.0)
    tally = jnp.concatenate([jnp.stack([optimum.evaluations, *(f.astype(level.dtype) for f in faults)]), left])
    return Step(Value(level, steep), optimum.decision, stop, tally)


def _over_optima(
    function: Callable[[Node, Optimum], Any],
    maximiser: Maximiser,
    objective: Objective,
    mesh: Mesh,
    memory: int,
    optima: Optimum | None,
) -> Any:
    """`function` of a node and the optimum there, at every node."""
    if optima is None:
        optima = maximiser.over(objective, mesh, memory)
    if optima is not None:
        pairs = (nodes_of(mesh), optima)
        found = over_batch(lambda pair: function(*pair), pairs, dotted_size(mesh.plan), memory)
        return jax.tree.map(lambda leaf: leaf.reshape(*mesh.shape, *leaf.shape[1:]), found)

    def at(node: Node) -> Any:
        point = mesh.point(node.codes, node.coordinates)
        chosen = maximiser.given(objective, point)
        if chosen is None:
            chosen = optimum_at(maximiser, objective, point) if mesh.plan.actions else _unchosen(objective, point)
        return function(node, chosen)

    return over_mesh(at, mesh, cells(maximiser, mesh.plan), memory)


def _unchosen(objective: Objective, point: Point) -> Optimum:
    """The optimum where there is nothing to choose: Q is evaluated once, with its derivative."""
    nothing = Decision(jnp.zeros((), jnp.int32), jnp.zeros(0))
    one = jnp.ones(())
    return Optimum(None, nothing, one[None], nothing.u[None], objective.period.feasible(point.values, {}), one)


def optimum_at(maximiser: Maximiser, objective: Objective, point: Point) -> Optimum:
    """The optimum at one state; its u is differentiable by the implicit function theorem where `maximiser.smooth`.

    Where a maximiser is `given` what is done, that is returned as it is.
    """
    given = maximiser.given(objective, point)
    if given is not None:
        return given
    fixed_objective, fixed_point = jax.tree.map(lax.stop_gradient, (objective, point))
    optimum = jax.tree.map(lax.stop_gradient, maximum(maximiser, fixed_objective, fixed_point))
    if not maximiser.smooth:
        return optimum
    combination, u = optimum.decision
    return optimum._replace(decision=Decision(combination, implicit(u, objective, point, combination)))


def decided(objective: Objective, point: Point, optimum: Optimum) -> Array:
    """V of following a decision at one state, or of stopping where that is better; minus infinity if infeasible."""
    if optimum.value is None:
        value = guarded(objective, point, optimum.decision)
    else:
        value = envelope(optimum.value, objective, point, optimum.decision)
    return or_stopped(value, objective, point, optimum)


def or_stopped(value: Array, objective: Objective, point: Point, optimum: Optimum) -> Array:
    """V from Q of a decision: that, what stopping pays where it is better, or minus infinity if infeasible."""
    value = where(optimum.feasible, value, -jnp.inf)
    if objective.plan.evaluate_stop is not None:
        payoff = objective.period.payoff(point.values)
        better = (payoff >= value) | jnp.isnan(payoff)
        value = where(better if optimum.stop is None else optimum.stop, payoff, value)
    return where(is_barrier(value), -jnp.inf, value)


@eqx.filter_custom_jvp
def envelope(value: Array, objective: Objective, point: Point, decision: Decision) -> Array:
    """Q of a decision, known as `value`; its derivative is that of the objective at the decision."""
    return value


@envelope.def_jvp
def _envelope_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    value, objective, point, decision = primals
    _, t_objective, t_point, t_decision = tangents

    sound = jnp.isfinite(value) & ~is_barrier(value)

    def q(*inputs: Any) -> Array:
        # chosen already: a constraint must not judge rounding
        return Objective.judged(*guard_inputs(sound, inputs))[0]

    reached, moved = eqx.filter_jvp(q, (objective, point, decision), (t_objective, t_point, t_decision))
    # The primal through `envelope` again, so that a second derivative passes here once more. jax may lose the rule on
    # the way (forward over reverse, inside a scan): then it differentiates what goes in, which moves as Q does.
    moving = lax.stop_gradient(value) + where(sound, reached - lax.stop_gradient(reached), 0.0)
    moved = jnp.zeros_like(value) if moved is None else where(sound, moved, 0.0)
    return envelope(moving, objective, point, decision), moved


def stopping(objective: Objective, point: Point, optimum: Optimum, level: Array | None = None) -> Array:
    """Whether stopping is optimal; it wins ties.

    Args:
        level: V, which is what stopping pays where it is optimal; needed where Q is not known.
    """
    if objective.plan.evaluate_stop is None:
        return jnp.zeros((), bool)
    if optimum.stop is not None:
        return optimum.stop
    going_on = level if optimum.value is None else optimum.value
    assert going_on is not None
    return objective.period.payoff(point.values) >= going_on


def value_and_slopes(
    value: Callable[[Array], Array], coordinates: Array, slopes: bool
) -> tuple[Array, tuple[Array, ...]]:
    """A function of coordinates and its partial derivatives at one node; slopes are zero where it is infinite."""
    if not slopes or coordinates.shape[0] == 0:
        return value(coordinates), ()
    # one forward pass a line: the values are common, and a few passes compile faster than a batch of them
    passes = [jax.jvp(value, (coordinates,), (direction,)) for direction in jnp.eye(coordinates.shape[0])]
    level = passes[0][0]
    return level, tuple(where(jnp.isfinite(level), steep, 0.0) for _, steep in passes)


class Frozen(eqx.Module):
    """A policy at the nodes and its derivative along the lines: what Howard's improvement hands to evaluation.

    Attributes:
        decision: at every node, shape of the mesh (and m numbers u).
        stop: whether the policy stops, shape of the mesh.
        drift: du/dy along each line, shape of the mesh, m, d.
    """

    decision: Decision
    stop: Array
    drift: Array


def improve(
    maximiser: Maximiser, objective: Objective, mesh: Mesh, memory: int, optima: Optimum | None = None
) -> tuple[Step, Frozen]:
    """A Bellman step, and its policy frozen for evaluation; `optima` as in `step`."""
    slopes = objective.continuation.interpolant.needs_slopes

    def at(node: Node, optimum: Optimum) -> tuple[Step, Frozen]:
        combination, u = optimum.decision

        def point(coordinates: Array) -> Point:
            return mesh.point(node.codes, coordinates)

        moves, known = jnp.zeros((u.shape[0], node.coordinates.shape[0])), None
        given = _given_drift(maximiser, objective, point, node.coordinates) if slopes and moves.size else None
        if given is not None:
            moves = given
        elif slopes and moves.size and maximiser.smooth:
            moves, along = drift(u, objective, point, combination, node.coordinates)
            # the slopes of V, in the same pass, unless it may be worth what stopping pays
            known = along if objective.plan.evaluate_stop is None else None
        found = _step_at(maximiser, objective, mesh, node, optimum, slopes, known)
        return found, Frozen(found.decision, found.stop, moves)

    found, frozen = _over_optima(at, maximiser, objective, mesh, memory, optima)
    return found._replace(value=_mended(found.value, mesh)), frozen


def _given_drift(
    maximiser: Maximiser, objective: Objective, point: Callable[[Array], Point], coordinates: Array
) -> Array | None:
    """du/dy of an action that is given, shape (m, d); None where it is an optimum."""
    if maximiser.given(objective, point(coordinates)) is None:
        return None

    def at(coordinates: Array) -> Array:
        given = maximiser.given(objective, point(coordinates))
        assert given is not None
        return given.decision.u

    found = jax.jacfwd(at)(coordinates)
    return jnp.where(jnp.isfinite(found), found, 0.0)


def _mended(value: Value, mesh: Mesh) -> Value:
    """V with a slope at every node: that of a parabola where autodiff gives none, 0 times infinity at a corner."""

    def mended(levels: Array, slopes: tuple[Array, ...]) -> tuple[Array, ...]:
        found = []
        for k, (line, slope) in enumerate(zip(mesh.lines, slopes, strict=True)):
            parabola = along(k - len(mesh.lines), secant_slopes, levels, coordinates=line.coordinates)
            found.append(jnp.where(jnp.isnan(slope), jnp.where(jnp.isfinite(parabola), parabola, 0.0), slope))
        return tuple(found)

    if not value.slopes:
        return value
    missing = jnp.any(jnp.stack([jnp.any(jnp.isnan(slope)) for slope in value.slopes]))
    # almost never: a branch keeps it out of the linear systems that evaluate and differentiate
    return Value(value.levels, lax.cond(missing, mended, lambda _, slopes: slopes, value.levels, value.slopes))


def follow(frozen: Frozen, objective: Objective, mesh: Mesh, memory: int) -> Value:
    """V of following a frozen policy for one period, and its total derivative along the lines."""
    slopes = objective.continuation.interpolant.needs_slopes

    def at(node: Node, policy: Frozen) -> Value:
        def value(coordinates: Array) -> Array:
            point = mesh.point(node.codes, coordinates)
            u = policy.decision.u + policy.drift @ (coordinates - node.coordinates)
            # the share of a candidate gives its value back to rounding: no constraint may judge it again
            going_on, _ = objective.judged(point, Decision(policy.decision.combination, u))
            if objective.plan.evaluate_stop is None:
                return going_on
            return jnp.where(policy.stop, objective.period.payoff(point.values), going_on)

        return Value(*value_and_slopes(value, node.coordinates, slopes))

    nodes = nodes_of(mesh)
    flat = jax.tree.map(lambda leaf: leaf.reshape(math.prod(mesh.shape), *leaf.shape[len(mesh.shape) :]), frozen)
    values = over_batch(lambda entry: at(*entry), (nodes, flat), dotted_size(mesh.plan), memory)
    return _mended(jax.tree.map(lambda leaf: leaf.reshape(mesh.shape), values), mesh)
