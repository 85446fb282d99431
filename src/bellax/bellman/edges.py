"""An edge of smooth constraints as one more kink, where kinks of Q and an edge hold an optimum together.

With a price that is higher than what the edge is worth, Q + price min(g, 0) has a local maximum where Q has one within
g >= 0, and a kink at the edge. So one system (`sides`) says how the optimum moves, and what both are worth (an exact
penalty; Nocedal & Wright 2006, section 17.2). An edge alone, and several, are those of `constrained`.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import Partial
from jaxtyping import Bool, Float

from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.problem.period import Combination

NEAR = 4.0  # times what rounding may take a constraint below zero: as near to it an edge holds

_HIGH = 8.0  # times the steepest that Q is found, over how steep a constraint is

_ASIDE, _NARROW = 1e-7, 1e-3  # in u: how far off Q is looked at, in double precision and in single


def fenced(objective: Objective, point: Point, decision: Decision) -> Partial:
    """Q of (objective, point) and u, whether or not it is allowed, less what leaving smooth constraints costs; near a
    decision, whose combination of discrete actions it keeps."""
    prices = jnp.zeros(0)
    if objective.plan.limiting:
        u, objective, point = jax.tree.map(lax.stop_gradient, (decision.u, objective, point))
        prices = lax.stop_gradient(_prices(u, objective, point, decision.combination))
    return Partial(_fenced, decision.combination, prices)


def alone(objective: Objective, point: Point, decision: Decision) -> Bool[Array, ""]:
    """Whether a single constraint holds a decision, or is next to it."""
    numbers, slack = lax.stop_gradient(objective.margins(point, decision))
    return jnp.sum(numbers <= NEAR * slack) == 1


def _fenced(combination: Array, prices: Array, inputs: tuple, u: Array) -> Array:
    objective, point = inputs
    decision = Decision(combination, u)
    q = objective.judged(point, decision)[0]
    if not prices.shape[0]:
        return q
    return q + jnp.sum(prices * jnp.minimum(objective.margins(point, decision)[0], 0.0))


def _prices(u: Float[Array, "m"], objective: Objective, point: Point, combination: Combination) -> Float[Array, "j"]:
    """Higher than what a single edge may be worth: how steep Q is on both sides of what may be kinks."""

    def together(at: Array) -> Array:
        decision = Decision(combination, at)
        return jnp.concatenate([objective.judged(point, decision)[0][None], objective.margins(point, decision)[0]])

    aside = (_ASIDE if u.dtype == jnp.float64 else _NARROW) * 4 * u * (1 - u)
    places = jnp.stack([u - aside, u, u + aside])
    basis = jnp.eye(u.shape[0])
    along = jax.vmap(lambda at, d: jax.jvp(together, (at,), (d,))[1], in_axes=(None, 0))
    slopes = jnp.abs(jax.vmap(along, in_axes=(0, None))(places, basis))
    inside = ((u > 0) & (u < 1))[None, :, None]
    slopes = jnp.where(inside & jnp.isfinite(slopes), slopes, 0.0)
    steep, own = jnp.max(slopes[..., 0]), jnp.max(slopes[..., 1:], axis=(0, 1))
    return jnp.where(own > 0, _HIGH * steep / jnp.where(own > 0, own, 1.0), 0.0)
