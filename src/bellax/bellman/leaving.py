"""Leaving the grid: how probable it is that the next state lies where V is extrapolated and not known."""

from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.continuation import Continuation
from bellax.bellman.maximisers.maximum import Maximiser
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.pointwise import Pointwise
from bellax.bellman.reach import beyond, ends_of, on_lines
from bellax.bellman.reached import Reached
from bellax.numerics.grids import Line
from bellax.problem.period import Outcome
from bellax.problem.plan import Plan

SIDES = ("below", "above")

_NEXT = 1e-6  # of the way between the bounds of an action


def leaving(objective: Objective, point: Point, decision: Decision, maximiser: Maximiser) -> Float[Array, "d 2"]:
    """Of each line, the probability that the optimum leads below its first node, and above its last; own lines first,
    then those of other regimes, in the order of `Plan.reached`.

    Off the grid V is continued with caution, and the best of a few candidates may stop short of its end for no other
    reason. So an optimum counts that leaves if it is moved to the next candidate, or, where the optimum lies between
    candidates, by next to nothing: then a kink of V at the end is what it stopped at.
    """

    def at(u: Array) -> Array:
        actions, allowed = objective.actions(point, Decision(decision.combination, u))
        weights, outcome = objective.outcomes(point, actions)
        own = weights * outcome.staying(objective.regime)
        here = _unknown(
            objective.continuation, off_grid(objective.plan, objective.continuation.ends, own, outcome.following)
        )
        there = {name: off for reached in objective.elsewhere for name, off in _elsewhere(reached, weights, outcome)}
        none = {name: jnp.zeros((len(labels), 2)) for name, labels in objective.plan.elsewhere.items()}
        off = jnp.concatenate([here, *(there.get(name, off) for name, off in none.items())])
        return jnp.where(allowed & objective.period.feasible(point.values, actions), off, 0.0)

    if not objective.plan.reached:
        return jnp.zeros((0, 2))
    tried = maximiser.nearby(objective.plan, decision.u)
    if maximiser.smooth and not objective.absolute:
        step = _NEXT * jnp.eye(decision.u.shape[0])
        moved = jnp.concatenate([decision.u[None] - step, decision.u[None] + step])
        tried = jnp.concatenate([tried, jnp.clip(moved, 0.0, 1.0)])
    return jnp.max(jax.vmap(at)(tried), axis=0)


def _elsewhere(
    reached: Reached, weights: Float[Array, "q"], outcome: Outcome
) -> Iterable[tuple[str, Float[Array, "d 2"]]]:
    """As `off_grid`, of other regimes, by name."""

    def arriving(target: str) -> tuple[Array, dict[str, Array]]:
        following = {**outcome.following, **outcome.arrivals[target].following}
        return outcome.regimes[target], {name: following[name] for name in reached.plan.continuous}

    def off(value: Continuation | Pointwise, arrived: tuple[Array, dict[str, Array]]) -> Float[Array, "d 2"]:
        probability, following = arrived
        return _unknown(value, off_grid(reached.plan, value.ends, weights * probability, following))

    return zip(reached.targets, reached.over(off, arriving), strict=True)


def _unknown(tomorrow: Continuation | Pointwise, off: Float[Array, "d 2"]) -> Float[Array, "d 2"]:
    """The weights that count: what an endogenous grid knows from the borrowing limit on is no guess below a grid."""
    return off if isinstance(tomorrow, Continuation) else off.at[:, 0].set(0.0)


def off_grid(
    plan: Plan, lines: Sequence[Line], weights: Float[Array, "q"], following: Mapping[str, Array]
) -> Float[Array, "d 2"]:
    """Of each line, the weight of the next states below its first node, and above its last, as numbers are.

    A coordinate may hide where a state is: scales have no numbers beyond some.

    Args:
        lines: of tomorrow.
        weights: probabilities of the next states.
        following: next states by name, along the first axis.
    """
    if not lines:
        return jnp.zeros((0, 2))
    reached = ends_of(lines)
    states = {name: following[name] for name in plan.continuous}
    off = jax.vmap(lambda values: beyond(reached, on_lines(plan, values)).T)(states)
    return jnp.sum(jnp.where(off, weights[:, None, None], 0.0), axis=0)


def coordinates(plan: Plan, lines: Sequence[Line], values: Mapping[str, Array]) -> Float[Array, "d"]:
    """Where a state lies along each line, in its coordinate."""
    numbers = on_lines(plan, values)
    found = [line.coordinate(numbers[k]) for k, line in enumerate(lines)]
    return jnp.stack(found) if found else jnp.zeros(0)
