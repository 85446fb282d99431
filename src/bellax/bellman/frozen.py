"""A policy at the nodes, as Howard's improvement hands it to evaluation: frozen, with its slopes.

Under taste shocks a policy is a probability for every combination of discrete actions. What following it is worth is
linear in V, too: sum P Q - s sum P log P.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.chunks import Node, nodes_of, over_batch
from bellax.bellman.continuation import Value
from bellax.bellman.decided import each, followed, value_and_slopes
from bellax.bellman.implicit import drift
from bellax.bellman.maximisers.maximum import Maximiser, Optimum, dotted_size
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.sweep import Step, mended, over_optima, step_at
from bellax.bellman.taste import expected


class Frozen(eqx.Module):
    """A policy at the nodes and its derivative along the lines: what Howard's improvement hands to evaluation.

    It takes one decision at a node, or under taste shocks one for each of c combinations of discrete actions.

    Attributes:
        decision: at every node, shape of the mesh, c (and m numbers u).
        probabilities: of them, shape of the mesh, c.
        stop: whether the policy stops, shape of the mesh.
        drift: du/dy along each line, shape of the mesh, c, m, d.
        shift: the derivative of the probabilities along each line, shape of the mesh, c, d.
    """

    decision: Decision
    probabilities: Array
    stop: Array
    drift: Array
    shift: Array


def improve(
    maximiser: Maximiser, objective: Objective, mesh: Mesh, memory: int, optima: Optimum | None = None
) -> tuple[Step, Frozen]:
    """A Bellman step, and its policy frozen for evaluation; `optima` as in `step`."""
    slopes = objective.continuation.interpolant.needs_slopes

    def at(node: Node, optimum: Optimum) -> tuple[Step, Frozen]:
        def point(coordinates: Array) -> Point:
            return mesh.point(node.codes, coordinates)

        def probable(coordinates: Array) -> Array:
            return followed(objective, point(coordinates), optimum)[1]

        decisions, probabilities = followed(objective, point(node.coordinates), optimum)
        moves, known = jnp.zeros((*decisions.u.shape, node.coordinates.shape[0])), None
        shift = jnp.zeros((*probabilities.shape, node.coordinates.shape[0]))
        given = _given_drift(maximiser, objective, point, node.coordinates) if slopes and moves.size else None
        if given is not None:
            moves = given[None]
        elif slopes and moves.size and maximiser.smooth:
            drifting = lambda one: drift(one.u, objective, point, one.combination, node.coordinates)  # noqa: E731
            moves, along = each(drifting, decisions)
            # the slopes of V, in the same pass, unless it may be worth what stopping pays
            if objective.plan.evaluate_stop is None:
                known = jnp.sum(jnp.where(probabilities[:, None] != 0, probabilities[:, None] * along, 0.0), axis=0)
        if slopes and probabilities.shape[0] > 1:
            found = jax.jacfwd(probable)(node.coordinates)
            shift = jnp.where(jnp.isfinite(found), found, 0.0)
        stepped = step_at(maximiser, objective, mesh, node, optimum, slopes, known)
        return stepped, Frozen(decisions, probabilities, stepped.stop, moves, shift)

    found, frozen = over_optima(at, maximiser, objective, mesh, memory, optima)
    return found._replace(value=mended(found.value, mesh)), frozen


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


def follow(frozen: Frozen, objective: Objective, mesh: Mesh, memory: int) -> Value:
    """V of following a frozen policy for one period, and its total derivative along the lines."""
    slopes = objective.continuation.interpolant.needs_slopes

    def at(node: Node, policy: Frozen) -> Value:
        def value(coordinates: Array) -> Array:
            point, away = mesh.point(node.codes, coordinates), coordinates - node.coordinates
            u = policy.decision.u + policy.drift @ away
            # the share of a candidate gives its value back to rounding: no constraint may judge it again
            q = each(lambda one: objective.judged(point, one)[0], Decision(policy.decision.combination, u))
            chosen = policy.probabilities + policy.shift @ away
            going_on = q[0] if q.shape[0] == 1 else expected(objective.period, q, chosen)
            if objective.plan.evaluate_stop is None:
                return going_on
            return jnp.where(policy.stop, objective.period.payoff(point.values), going_on)

        return Value(*value_and_slopes(value, node.coordinates, slopes))

    nodes = nodes_of(mesh)
    flat = jax.tree.map(lambda leaf: leaf.reshape(math.prod(mesh.shape), *leaf.shape[len(mesh.shape) :]), frozen)
    values = over_batch(lambda entry: at(*entry), (nodes, flat), dotted_size(mesh.plan), memory)
    return mended(jax.tree.map(lambda leaf: leaf.reshape(mesh.shape), values), mesh)
