"""One Bellman step over a mesh: V, its slopes and the decision at every node.

Slopes are those of the envelope theorem: the derivative of Q along each line at the optimal u, held fixed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.bellman.chunks import Node, nodes_of, over_batch, over_mesh
from bellax.bellman.continuation import Value
from bellax.bellman.decided import averaged, decided, differentiable, optimum_at, stopping, unchosen, value_and_slopes
from bellax.bellman.leaving import SIDES, leaving
from bellax.bellman.maximisers.maximum import Maximiser, Optimum, cells, dotted_size
from bellax.bellman.mesh import Mesh
from bellax.bellman.objective import Decision, Objective
from bellax.numerics.interpolate import along, diverged, secant_slopes
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
    return [*TALLY, *(f"{side}:{label}" for label in plan.reached for side in SIDES)]


def step(maximiser: Maximiser, objective: Objective, mesh: Mesh, memory: int, optima: Optimum | None = None) -> Step:
    """One Bellman step: V(s) = max over a of Q(s, a) at every node of the mesh.

    Args:
        optima: at every node, nodes along the first axis, where they are known already.
    """
    slopes = objective.continuation.interpolant.needs_slopes
    pieces = maximiser.pieces(objective, mesh, memory)
    if pieces is not None:
        today = Value(jnp.zeros(mesh.shape), (), pieces)
        objective = replace(objective, solved=maximiser.function(objective.period, today))

    def at(node: Node, optimum: Optimum) -> Step:
        return step_at(maximiser, objective, mesh, node, optimum, slopes)

    found = over_optima(at, maximiser, objective, mesh, memory, optima)
    return found._replace(value=replace(mended(found.value, mesh), pieces=pieces))


def step_at(
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
    still, here, counted = jax.tree.map(
        lax.stop_gradient, (objective, mesh.point(node.codes, node.coordinates), optimum)
    )
    off = averaged(lambda decision: leaving(still, here, decision, maximiser).reshape(-1), still, here, counted)
    left = jnp.where(optimum.feasible & ~stop, off, 0.0)
    tally = jnp.concatenate([jnp.stack([optimum.evaluations, *(f.astype(level.dtype) for f in faults)]), left])
    return Step(Value(level, steep), optimum.decision, stop, tally)


def over_optima(
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

        def at_known(pair: tuple[Node, Optimum]) -> Any:
            point = mesh.point(pair[0].codes, pair[0].coordinates)
            return function(pair[0], differentiable(maximiser, objective, point, pair[1]))

        found = over_batch(at_known, (nodes_of(mesh), optima), dotted_size(mesh.plan), memory)
        return jax.tree.map(lambda leaf: leaf.reshape(*mesh.shape, *leaf.shape[1:]), found)

    def at(node: Node) -> Any:
        point = mesh.point(node.codes, node.coordinates)
        chosen = maximiser.given(objective, point)
        if chosen is None:
            chosen = optimum_at(maximiser, objective, point) if mesh.plan.actions else unchosen(objective, point)
        return function(node, chosen)

    return over_mesh(at, mesh, cells(maximiser, mesh.plan), memory)


def mended(value: Value, mesh: Mesh) -> Value:
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
