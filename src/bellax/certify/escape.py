"""Escape: how probable it is that the optimal next state leaves the grid, where V is extrapolated and not known."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.mesh import Point
from bellax.bellman.plan import Plan
from bellax.certify.stage import Stage, on_lines

_SLACK = 1e-9  # of the length of a line: this far beyond its end still counts as on the grid


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
    first, last = (jnp.stack([line.coordinates[end] for line in lines]) for end in (0, -1))
    slack = _SLACK * (last - first)

    def sides(following: dict[str, Array]) -> tuple[Array, Array]:
        at = on_lines(asked.mesh_next, following)
        return at < first - slack, at > last + slack

    below, above = jax.vmap(sides)({name: outcome.following[name] for name in asked.setting.plan.continuous})
    probability = lambda side: jnp.sum(jnp.where(side, weights[:, None], 0.0), axis=0)  # noqa: E731
    return Escape(probability(below), probability(above), discount)


def along_path(
    plan: Plan, states: Mapping[str, np.ndarray], active: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of visited states beyond each end of each line.

    Args:
        states: by name, shape (agents, periods, ...).
        active: who is there, shape (agents, periods).
        lower, upper: the ends, shape (periods, d).
    """
    if not plan.lines:
        return np.zeros(0), np.zeros(0)
    numbers = np.concatenate([states[name].reshape(*active.shape, -1) for name in plan.continuous], axis=-1)
    slack = _SLACK * (upper - lower)
    counted = max(1, int(active.sum()))
    below = ((numbers < lower - slack) & active[..., None]).sum(axis=(0, 1)) / counted
    above = ((numbers > upper + slack) & active[..., None]).sum(axis=(0, 1)) / counted
    return below, above
