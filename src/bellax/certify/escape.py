"""Escape: how probable it is that the optimal next state leaves the grid, where V is extrapolated and not known."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.leaving import SLACK, beyond
from bellax.bellman.mesh import Point
from bellax.bellman.plan import Plan
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
    off = beyond(asked.setting.plan, asked.mesh_next.lines, weights, outcome.following)
    return Escape(off[:, 0], off[:, 1], jnp.sum(weights * outcome.discount))


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
    slack = SLACK * (upper - lower)
    counted = max(1, int(active.sum()))
    below = ((numbers < lower - slack) & active[..., None]).sum(axis=(0, 1)) / counted
    above = ((numbers > upper + slack) & active[..., None]).sum(axis=(0, 1)) / counted
    return below, above
