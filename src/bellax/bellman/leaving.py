"""Leaving the grid: how probable it is that the next state lies where V is extrapolated and not known."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.maximisers.maximum import Maximiser
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.numerics.grids import Line
from bellax.problem.plan import Plan

_SLACK = 1e-9
"""Share of the length of a line: this far beyond its end still counts as on the grid."""

SIDES = ("below", "above")


def leaving(objective: Objective, point: Point, decision: Decision, maximiser: Maximiser) -> Float[Array, "d 2"]:
    """Of each line, the probability that the optimum leads below its first node, and above its last.

    Off the grid V is continued with caution, and the best of a few candidates may stop short of its end for no other
    reason. So an optimum counts that leaves if it is moved to the next candidate.
    """

    def at(u: Array) -> Array:
        actions, allowed = objective.actions(point, Decision(decision.combination, u))
        weights, outcome = objective.outcomes(point, actions)
        off = off_grid(objective.plan, objective.continuation.ends, weights, outcome.following)
        return jnp.where(allowed & objective.period.feasible(point.values, actions), off, 0.0)

    if not objective.continuation.ends:
        return jnp.zeros((0, 2))
    return jnp.max(jax.vmap(at)(maximiser.nearby(objective.plan, decision.u)), axis=0)


def off_grid(
    plan: Plan, lines: Sequence[Line], weights: Float[Array, "q"], following: Mapping[str, Array]
) -> Float[Array, "d 2"]:
    """Of each line, the weight of the next states below its first node, and above its last.

    Args:
        lines: of tomorrow.
        weights: probabilities of the next states.
        following: next states by name, along the first axis.
    """
    if not lines:
        return jnp.zeros((0, 2))
    first, last = (jnp.stack([line.coordinates[end] for line in lines]) for end in (0, -1))
    slack = _SLACK * (last - first)

    def sides(values: dict[str, Array]) -> Array:
        at = on_lines(plan, lines, values)
        return jnp.stack([at < first - slack, at > last + slack], axis=1)

    off = jax.vmap(sides)({name: following[name] for name in plan.continuous})
    return jnp.sum(jnp.where(off, weights[:, None, None], 0.0), axis=0)


def on_lines(plan: Plan, lines: Sequence[Line], values: Mapping[str, Array]) -> Float[Array, "d"]:
    """Where a state lies along each line, in its coordinate."""
    parts = [jnp.ravel(values[name]) for name in plan.continuous]
    numbers = jnp.concatenate(parts) if parts else jnp.zeros(0)
    forward = [line.scale.forward(numbers[k]) for k, line in enumerate(lines)]
    return jnp.stack(forward) if forward else jnp.zeros(0)
