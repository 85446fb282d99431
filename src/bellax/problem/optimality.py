"""Whether actions are the best ones, marginal values held fixed: here, among others of each alone, and of all together.

The condition of first order holds on every hill of the Hamiltonian, and on a lower one, too: so some candidates between
the bounds of each action are compared with it, and some around it, which are never better than the best. Where there
are several actions it holds for each of them on a saddle, and on a ridge where the Hamiltonian has a kink: so all of
them are moved together, in some directions, and in that of the shortest mean of slopes near by (gradient sampling),
which leads up a ridge.

Source: Burke, Lewis & Overton (2005), "A robust gradient sampling algorithm for nonsmooth, nonconvex optimization",
SIAM Journal on Optimization 15.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.model.spaces import Continuous, Discrete
from bellax.numerics import loops
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments, Flow
from bellax.problem.period import as_float

_BESIDE = 1e-6  # how far to each side of an action, relative to 1 + abs(action), the Hamiltonian is asked for its slope
_BETWEEN = (np.arange(17) + 0.437) / 17  # of its bounds; no place that a model is likely to name
_LITTLE = 1e-6
_NEAR = 1e-5  # of the way between bounds: where slopes around several actions are taken
_LENGTHS = 2.0 ** -np.arange(0.0, 14.0, 1.0)  # of the way to the first bound
_FAR = 4.0  # times the size of actions, where nothing bounds them
_MEANS = 40  # steps
_AWAY = 2.0 ** np.array([-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0])  # times as far from a bound, or from zero


class Optimality(NamedTuple):
    """How far actions are from the best ones, at one state.

    Attributes:
        gap: by how much they leave the first-order condition, as a share of its terms: at a kink, where the slope of
            the Hamiltonian changes its sign, nothing; at a bound, where the condition has one sign, by how much that is
            the other one. Infinite where an action is beyond a bound, or where it is the worst and not the best. Zero
            where the condition has no number; and of a discrete action, unless it is none of its values.
        missed: what another of one action, or of all, would add to the Hamiltonian; zero where none is better.
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
        better, large = _missed(flow, known, actions, [name], candidates[:, None])
        missed, size = jnp.maximum(missed, better), jnp.maximum(size, large)
    together = [name for name in actions if isinstance(flow.actions[name], Continuous)]
    if len(together) > 1:
        better, large = _missed(flow, known, actions, together, _together(flow, known, actions, together))
        missed, size = jnp.maximum(missed, better), jnp.maximum(size, large)
    return Optimality(worst, missed, size)


def _missed(
    flow: Flow, known: Arguments, actions: Mapping[str, Array], names: Sequence[str], candidates: Array
) -> tuple[Array, Array]:
    """What the best candidate of some actions is better, the others held fixed; and the size of terms.

    Args:
        candidates: shape (k, m), a column for each of the names.
    """
    bounded = [n for n, space in flow.actions.items() if isinstance(space, Continuous)]
    asked = [n for n in bounded if len(names) > 1 or n not in names]  # one by itself is between its bounds

    def worth(candidate: Array) -> tuple[Array, Array]:
        moved = {**actions, **dict(zip(names, candidate, strict=True))}
        terms, fits = flow.terms(known, moved), jnp.asarray(True)
        for other in asked:  # whose bounds may move with this one
            lower, upper = flow.limits(known, moved, other)
            slack = rounding() * (1 + jnp.abs(moved[other]))
            fits = fits & (moved[other] >= lower - slack) & (moved[other] <= upper + slack)
        return jnp.where(fits, jnp.sum(terms), -jnp.inf), jnp.sum(jnp.abs(terms))

    own = jnp.stack([actions[name] for name in names])
    totals, sizes = jax.vmap(worth)(jnp.concatenate([own[None], candidates]))
    totals = jnp.where(jnp.isfinite(totals), totals, -jnp.inf)
    place = jnp.argmax(totals)
    better, size = totals[place] - totals[0], jnp.maximum(sizes[0], sizes[place])
    fine = jnp.isfinite(better) & jnp.isfinite(size)
    return jnp.where(fine, better, 0.0), jnp.where(fine, size, 0.0)


def _together(flow: Flow, known: Arguments, actions: Mapping[str, Array], names: Sequence[str]) -> Array:
    """Candidates of several actions, shape (k, m): away from what they are, along straight lines."""
    own = jnp.stack([actions[name] for name in names])
    lower, upper = (jnp.stack(side) for side in zip(*(flow.limits(known, actions, n) for n in names), strict=True))
    bounded = jnp.isfinite(lower) & jnp.isfinite(upper)
    width = jnp.where(bounded, jnp.where(bounded, upper - lower, 1.0), jnp.abs(own) + 1e-3)
    total = lambda x: jnp.sum(flow.terms(known, {**actions, **dict(zip(names, x, strict=True))}))  # noqa: E731
    ways, beside = (jnp.asarray(each) for each in _ways(len(names)))
    near = jax.vmap(lambda off: jnp.clip(own + _NEAR * width * off, lower, upper))(beside)
    slopes = jax.vmap(lambda at: jax.grad(total)(at) * width)(near)
    slopes = jnp.where(jnp.isfinite(slopes), slopes, 0.0)
    # at a bound nothing leads outward
    out = (own >= upper - _NEAR * width) & jnp.all(slopes > 0, axis=0)
    out = out | (own <= lower + _NEAR * width) & jnp.all(slopes < 0, axis=0)
    up = _shortest(jnp.where(out[None, :], 0.0, slopes))
    size = jnp.linalg.norm(up)
    up = up / jnp.where(size > 0, size, 1.0)

    def along(way: Array) -> Array:
        direction = way * width
        still = direction == 0
        safe = jnp.where(still, 1.0, direction)
        room = jnp.where(still, jnp.inf, jnp.where(direction > 0, (upper - own) / safe, (lower - own) / safe))
        # as far as all of them go without leaving the box; where there is none, some way
        most = jnp.min(room)
        most = jnp.where(jnp.isfinite(most), jnp.maximum(most, 0.0), _FAR)
        return jax.vmap(lambda length: own + length * most * direction)(jnp.asarray(_LENGTHS))

    return jax.vmap(along)(jnp.concatenate([up[None], ways])).reshape(-1, len(names))


def _ways(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions, of length one, and small moves to all sides: those of one action each, and some of all."""
    draws = np.random.default_rng(0).normal(size=(4 * count, count))
    draws = draws / np.linalg.norm(draws, axis=1, keepdims=True)
    even = np.ones((1, count)) / np.sqrt(count)
    ways = np.concatenate([even, draws])
    return np.concatenate([ways, -ways]), np.concatenate([np.eye(count), -np.eye(count), draws, -draws])


def _shortest(slopes: Array) -> Array:
    """The shortest mean of some vectors, shape (k, m): of slopes around a kink the one that leads up.

    By Frank and Wolfe's method, with its shortest step.
    """

    def nearer(mean: Array) -> Array:
        other = slopes[jnp.argmin(slopes @ mean)]
        way = mean - other
        size = jnp.sum(way**2)
        return mean - jnp.clip(jnp.sum(mean * way) / jnp.where(size > 0, size, 1.0), 0.0, 1.0) * way

    return loops.repeat(_MEANS, nearer, jnp.mean(slopes, axis=0))


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
