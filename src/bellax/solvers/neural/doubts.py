"""What conditions of a policy do not say by themselves: whether they hold where Q is least, and whether V is right."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.learning import sampling
from bellax.learning.levenberg import Groups
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.euler import Euler, sizes
from bellax.solvers.neural.evaluation import Rule
from bellax.solvers.neural.floors import TINY
from bellax.solvers.neural.points import Points

TENTH = 0.1  # of the way between bounds: how far to the sides of an action Q is looked at


def rising(euler: Euler, found: NetBehaviour, points: Any, tolerance: float) -> Array:
    """The share of points at which Q rises to both sides of an action, without V: where conditions rise with their
    action, in units of their own terms."""

    def rises(states: Any, number: Array) -> Array:
        terms = euler.first_order(number, states, found.outputs)
        gained = 0.5 * euler.bends(number, states, found.outputs) * TENTH * terms.width
        size = 0.5 * sizes(terms) + TINY * found.unit / terms.width
        return jnp.max(jnp.where(terms.beyond == 0, gained / size, 0.0))

    gained = jax.vmap(rises)(*points)
    return jnp.mean((gained > TENTH * tolerance).astype(gained.dtype))


def paid(euler: Euler, rule: Rule, points: Any) -> Array:
    """Whether what a policy is paid is a number at points: conditions see its derivatives alone."""

    def reward(states: Any, number: Array) -> Array:
        found = euler.averages(number).branches(states, rule(number, states))
        return jnp.sum(jnp.where(found.weights == 0, 0.0, found.weights * found.outcome.reward))

    return jnp.all(jnp.isfinite(jax.vmap(reward)(*points)))


def everywhere(found: NetBehaviour, count: int, seed: int) -> Points:
    """Points all over the box, and after them some at its edges."""
    layout = found.inputs.layout
    with jax.ensure_compile_time_eval():
        shares = sampling.edges(layout.dimensions, sampling.points(count, layout.columns, seed))
    return Points(*jax.vmap(found.inputs.state)(jnp.asarray(shares)))


def value_error(found: NetBehaviour, equations: Groups, points: Points) -> Array:
    """What is left of V = E[r + b V(s')] at most, relative to the spread of V and a little of V there.

    Args:
        equations: at the points, in units of V.
    """
    (residual, rows), *_ = equations
    left = jax.vmap(residual, (None, 0))(found.critic, rows) * found.unit
    value = jax.vmap(lambda states, number: found.worth(number, states))(points.states, points.periods)
    # the spread of most, where V falls without end at an edge
    low, high = jnp.quantile(value, jnp.asarray([0.16, 0.84]))
    size = jnp.minimum(jnp.std(value), 0.5 * (high - low)) + 1e-3 * jnp.abs(value) + TINY * found.unit
    return jnp.max(jnp.where(jnp.isfinite(left), jnp.abs(left) / size, jnp.inf))
