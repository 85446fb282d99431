"""Escape: how probable it is that the optimal next state leaves the grid, where V is extrapolated and not known."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.leaving import off_grid
from bellax.bellman.mesh import Point
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
    off = off_grid(asked.numerics.plan, asked.mesh_next.lines, weights, outcome.following)
    return Escape(off[:, 0], off[:, 1], jnp.sum(weights * outcome.discount))
