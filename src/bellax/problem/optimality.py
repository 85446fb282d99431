"""Whether actions are the best ones, marginal values held fixed."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments, Flow

_BESIDE = 1e-6  # how far to each side of an action, relative to 1 + abs(action), the Hamiltonian is asked for its slope


def first_order_gap(
    flow: Flow,
    arguments: Arguments,
    states: Mapping[str, Array],
    marginals: Mapping[str, Array],
    curvatures: Mapping[str, Array],
) -> Array:
    """By how much actions are not the best, at one state.

    Returns:
        By how much they leave the first-order condition, as a share of its terms: at a kink, where the slope of the
        Hamiltonian changes its sign, nothing; at a bound, where the condition has one sign, by how much that is the
        other one. Infinite where an action is beyond a bound, or where it is the worst and not the best. Zero where
        the condition has no number.
    """
    known = {**arguments, **states, **{f"marginal_{name}": value for name, value in marginals.items()}}
    known |= {f"curvature_{name}": value for name, value in curvatures.items()}
    actions = flow.flowing(arguments, states, marginals, curvatures).actions
    worst = jnp.zeros(())
    for name, action in actions.items():
        if name in flow.choices:
            continue

        def slopes(own: Array, name: str = name) -> Array:
            return jax.jvp(lambda x: flow.terms(known, {**actions, name: x}), (own,), (jnp.ones_like(own),))[1]

        worst = jnp.maximum(worst, _gap(slopes, action, *flow.limits(known, actions, name)))
    return worst


def _gap(slopes, action: Array, lower: Array, upper: Array) -> Array:
    first, second = jax.jvp(slopes, (action,), (jnp.ones_like(action),))
    slack = rounding() * (1 + jnp.abs(action))
    size = jnp.sum(jnp.abs(first))
    gap = jnp.sum(first) / jnp.where(size > 0, size, 1.0)
    gap = jnp.where(action >= upper - slack, jnp.maximum(-gap, 0.0), gap)
    gap = jnp.where(action <= lower + slack, jnp.maximum(gap, 0.0), gap)
    beside = _BESIDE * (1 + jnp.abs(action))
    before, after = jnp.sum(slopes(action - beside)), jnp.sum(slopes(action + beside))
    gap = jnp.where((before >= 0) & (after <= 0), 0.0, gap)
    interior = (lower < action) & (action < upper)
    convex = interior & (jnp.sum(second) > rounding() * jnp.sum(jnp.abs(second))) & (before < 0) & (after > 0)
    bad = (action > upper + slack) | (action < lower - slack) | convex
    return jnp.where(bad, jnp.inf, jnp.where(jnp.isfinite(gap), jnp.abs(gap), 0.0))
