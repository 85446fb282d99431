"""Escape: how probable it is that the optimal next state leaves the grid, where V is extrapolated and not known."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.mesh import Point
from bellax.bellman.reach import beyond, reach
from bellax.certify.stage import Stage


class Escape(NamedTuple):
    """What the action taken at one point leads to.

    Attributes:
        below, above: of each line, the probability that the next state lies before its first node, or after its last.
        discount: expected discount, whose largest value is the modulus of the Bellman operator.
    """

    below: Float[Array, "d"]
    above: Float[Array, "d"]
    discount: Float[Array, ""]


def escape(asked: Stage, point: Point, actions: Mapping[str, Array]) -> Escape:
    """Escape probabilities and the expected discount after an action."""
    weights, outcome = asked.fine.outcomes(point, actions)
    lines = asked.mesh_next.lines
    discount = jnp.sum(weights * outcome.discount)
    if not lines:
        return Escape(jnp.zeros(0), jnp.zeros(0), discount)
    ends = reach(asked.mesh_next)
    ends = jax.tree.map(lambda leaf: leaf[..., : len(lines)], ends)  # an AR1 is at its nodes

    def sides(following: dict[str, Array]) -> Array:
        return beyond(ends, jnp.concatenate([jnp.ravel(following[name]) for name in asked.setting.plan.continuous]))

    left = jax.vmap(sides)({name: outcome.following[name] for name in asked.setting.plan.continuous})
    below, above = jnp.sum(jnp.where(left, weights[:, None, None], 0.0), axis=0)
    return Escape(below, above, discount)
