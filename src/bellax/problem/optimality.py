"""Whether actions are the best ones, marginal values held fixed: here, and among others of each alone.

The condition of first order holds on every hill of the Hamiltonian, and on a lower one, too: so some candidates between
the bounds of each action are compared with it, and some around it, which are never better than the best.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.model.spaces import Continuous, Discrete
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments, Flow
from bellax.problem.period import as_float

_BESIDE = 1e-6  # how far to each side of an action, relative to 1 + abs(action), the Hamiltonian is asked for its slope
_BETWEEN = (np.arange(17) + 0.437) / 17  # of its bounds; no place that a model is likely to name
_LITTLE = 1e-6
_AWAY = 2.0 ** np.array([-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0])  # times as far from a bound, or from zero


class Optimality(NamedTuple):
    """How far actions are from the best ones, at one state.

    Attributes:
        gap: by how much they leave the first-order condition, as a share of its terms: at a kink, where the slope of
            the Hamiltonian changes its sign, nothing; at a bound, where the condition has one sign, by how much that is
            the other one. Infinite where an action is beyond a bound, or where it is the worst and not the best. Zero
            where the condition has no number; and of a discrete action, unless it is none of its values.
        missed: what another of one action would add to the Hamiltonian; zero where none is better.
        size: of the terms of the Hamiltonian, under these actions or the better one, the larger.
    """

    gap: Array
    missed: Array
    size: Array

    def share(self) -> Array:
        """What is missed as a share of the terms, of arrays of states: where terms cancel, of a little of the largest,
        since a difference of rounding is not one of actions."""
        size = self.size + _LITTLE * jnp.max(self.size)
        return self.missed / jnp.where(size > 0, size, 1.0)


def optimality(
    flow: Flow,
    arguments: Arguments,
    states: Mapping[str, Array],
    marginals: Mapping[str, Array],
    curvatures: Mapping[str, Array],
) -> Optimality:
    """By how much actions are not the best, at one state."""
    known = {**arguments, **states, **{f"marginal_{name}": value for name, value in marginals.items()}}
    known |= {f"curvature_{name}": value for name, value in curvatures.items()}
    actions = flow.flowing(arguments, states, marginals, curvatures).actions
    worst, missed, size = jnp.zeros(()), jnp.zeros(()), jnp.zeros(())
    for name, action in actions.items():
        if name in flow.choices:
            continue

        def slopes(own: Array, name: str = name) -> Array:
            return jax.jvp(lambda x: flow.terms(known, {**actions, name: x}), (own,), (jnp.ones_like(own),))[1]

        space = flow.actions[name]
        if isinstance(space, Discrete):
            candidates = as_float(jnp.asarray(space.values))
            gap = jnp.where(jnp.any(candidates == action), 0.0, jnp.inf)
        else:
            bounds = flow.limits(known, actions, name)
            candidates, gap = _candidates(action, *bounds), _gap(slopes, action, *bounds)
        worst = jnp.maximum(worst, gap)
        better, large = _missed(flow, known, actions, name, candidates)
        missed, size = jnp.maximum(missed, better), jnp.maximum(size, large)
    return Optimality(worst, missed, size)


def _missed(
    flow: Flow, known: Arguments, actions: Mapping[str, Array], name: str, candidates: Array
) -> tuple[Array, Array]:
    """What the best candidate of one action is better, the others held fixed; and the size of terms."""
    own = actions[name]
    others = [n for n, space in flow.actions.items() if n != name and isinstance(space, Continuous)]

    def worth(candidate: Array) -> tuple[Array, Array]:
        moved = {**actions, name: candidate}
        terms, fits = flow.terms(known, moved), jnp.asarray(True)
        for other in others:  # whose bounds may move with this one
            lower, upper = flow.limits(known, moved, other)
            slack = rounding() * (1 + jnp.abs(actions[other]))
            fits = fits & (actions[other] >= lower - slack) & (actions[other] <= upper + slack)
        return jnp.where(fits, jnp.sum(terms), -jnp.inf), jnp.sum(jnp.abs(terms))

    totals, sizes = jax.vmap(worth)(jnp.concatenate([own[None], candidates]))
    totals = jnp.where(jnp.isfinite(totals), totals, -jnp.inf)
    place = jnp.argmax(totals)
    better, size = totals[place] - totals[0], jnp.maximum(sizes[0], sizes[place])
    fine = jnp.isfinite(better) & jnp.isfinite(size)
    return jnp.where(fine, better, 0.0), jnp.where(fine, size, 0.0)


def _candidates(own: Array, lower: Array, upper: Array) -> Array:
    """Between bounds; and nearer to one of them, or to zero, and further from it: never of another sign, where what
    flows may be another formula than the one that is meant."""
    has_lower, has_upper = jnp.isfinite(lower), jnp.isfinite(upper)
    from_one = jnp.where(has_lower, lower, jnp.where(has_upper, upper, 0.0))
    around = from_one + (own - from_one) * jnp.asarray(_AWAY)
    low, high = jnp.where(has_lower, lower, own), jnp.where(has_upper, upper, own)
    between = low + (high - low) * jnp.asarray(_BETWEEN)
    between = jnp.where(has_lower & has_upper, between, own)
    return jnp.clip(jnp.concatenate([around, between]), lower, upper)


def _gap(slopes: Callable[[Array], Array], action: Array, lower: Array, upper: Array) -> Array:
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
