"""Unit-free Euler errors: by which share of itself an action is off.

At an interior optimum the derivative of Q vanishes, g = r_a + E[b dV(s')/ds' ds'/da] = 0, and near it a relative error
e of the action makes g = -r_aa a e, as long as tomorrow's value is right: the error is |g / (r_aa a)|. V(s') is the
re-maximised value of tomorrow; its derivative is that of Q at tomorrow's optimum with u held fixed. With utility of
consumption this is the Euler error of Judd (1992), in units of consumption.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from bellax.bellman.discretisation import Discretisation
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision
from bellax.certify.branches import branches
from bellax.certify.stage import Stage
from bellax.problem.period import by_action, in_a_row

_EDGE = 1e-7  # in u: closer to a bound than this counts as being there
_KINK = 1e-4  # a share of itself by which a kink that holds an action turns the slope


class Euler(NamedTuple):
    """Of each continuous number: the error, and whether it lies inside its bounds, at no kink of Q."""

    error: Float[Array, "m"]
    interior: Bool[Array, "m"]


def unavailable(numerics: Discretisation) -> str | None:
    """Why a model has no Euler equation, or None."""
    plan = numerics.plan
    if not plan.states:
        return "no state"
    if numerics.follows:
        return "a rule is followed, and they are a condition of the optimum"
    if not plan.controls:
        return "no continuous action"
    if any(plan.graph.leaves(node, "action") & set(plan.controls) for node in plan.constraints):
        return "a constraint on a continuous action"
    if "slot:reward" not in plan.graph.slots or not plan.graph.leaves("slot:reward", "action") & set(plan.controls):
        return "the reward does not see the action"
    for target, arrivals in plan.arrivals.items():
        for state, arrival in arrivals.items():
            acts = any(plan.graph.leaves(node, "action") & set(plan.controls) for node in arrival.nodes)
            if acts and arrival.way in ("given", "drawn") and state not in numerics.others[target].plan.continuous:
                return f"an action moves the process {state!r} of regime {target!r}, in which V has no slope"
    return None


def euler(
    asked: Stage, point: Point, decision: Decision, tomorrow: Mapping[str, Callable[[Point], Float[Array, "q c"]]]
) -> Euler:
    """Euler errors at one point.

    Args:
        decision: the one whose optimality is in question.
        tomorrow: of each regime, V where it may lead, and near there.
    """
    numerics = asked.numerics
    actions, _ = asked.objective.actions(point, decision)
    choices = {name: actions[name] for name in numerics.plan.choices}
    flat = in_a_row({name: actions[name] for name in numerics.plan.controls})

    def worth(flat: Array) -> Array:
        weights, outcome, found = branches(asked, point, choices | by_action(numerics.plan, flat))
        total = jnp.sum(weights * outcome.reward)
        for regime, own in found.items():
            value = jnp.where(own.chances > 0, tomorrow[regime](own.points), 0.0)
            total = total + jnp.sum(outcome.discount[:, None] * own.chances * value)
        return total

    def reward(flat: Array) -> Array:
        weights, outcome = asked.fine.outcomes(point, choices | by_action(numerics.plan, flat))
        return jnp.sum(weights * outcome.reward)

    directions = jnp.eye(flat.shape[0])
    gradient = jax.vmap(lambda d: _slope(worth, d)(flat))(directions)
    curvature = jax.vmap(lambda d: _slope(_slope(reward, d), d)(flat))(directions)
    scale = jnp.abs(curvature * flat)
    shares = asked.objective.shares(point, decision)
    interior = (shares > _EDGE) & (shares < 1 - _EDGE)
    if numerics.plan.kinked and numerics.sided:
        # at a kink both sides are downhill, and no derivative is zero
        step = float(jnp.finfo(flat.dtype).eps) ** 0.45 * (jnp.abs(flat) + _KINK)
        left, right = (
            jax.vmap(lambda d, side=side: _slope(worth, d)(flat + side * step * d))(directions) for side in (-1.0, 1.0)
        )
        interior = interior & ~((left > 0) & (right < 0) & (left - right > _KINK * scale))
    error = jnp.where(scale > 0, jnp.abs(gradient) / jnp.where(scale > 0, scale, 1.0), jnp.nan)
    return Euler(error, interior)


def _slope(function: Callable[[Array], Array], direction: Array) -> Callable[[Array], Array]:
    """The derivative of a function along a direction."""
    return lambda x: jax.jvp(function, (x,), (direction,))[1]
