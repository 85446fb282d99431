"""A policy at the nodes, as Howard's improvement hands it to evaluation: frozen, with its slopes."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.chunks import Node, nodes_of, over_batch
from bellax.bellman.continuation import Value
from bellax.bellman.decided import value_and_slopes
from bellax.bellman.implicit import drift
from bellax.bellman.maximisers.maximum import Maximiser, Optimum, dotted_size
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.sweep import Step, mended, over_optima, step_at


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
        found = step_at(maximiser, objective, mesh, node, optimum, slopes, known)
        return found, Frozen(found.decision, found.stop, moves)

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
    return mended(jax.tree.map(lambda leaf: leaf.reshape(mesh.shape), values), mesh)
