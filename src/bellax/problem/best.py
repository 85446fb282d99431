"""The actions that make the most of what flows, where no closed form says them.

At given marginal values the Hamiltonian is a function of the actions alone. Where it is concave in each of them, the
best one is where its derivative changes sign, or a bound; several are sought in turn, and together by Newton's method.
Where it may not be, candidates between bounds are compared first, and the best is improved by golden section.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.numerics import elimination, loops
from bellax.numerics.bracket import root
from bellax.numerics.scalar import rounding

Actions = dict[str, Array]
Total = Callable[[Any, Actions], Array]
"""The Hamiltonian, of what is known and of actions."""
Bounds = Callable[[Any, Actions, str], tuple[Array, Array]]
"""Bounds of one action, of what is known and of the others."""

_WIDE = 40.0  # an action without a bound is sought within e^40 of the other one, or of zero
_SWEEPS = 8
_POLISH = 4
_RATIO = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Candidates:
    """How many candidates there are of each action, by name, and how wide golden section ends."""

    counts: tuple[tuple[str, int], ...]
    width: float
    rounds: int


def best(total: Total, bounds: Bounds, known: Any, names: tuple[str, ...], scan: Candidates | None) -> Actions:
    """The best actions, with derivatives by the implicit function theorem; not a number where there is no best one.

    Args:
        known: all that the Hamiltonian sees besides these actions.
        names: of the actions.
        scan: candidates to begin with, where the Hamiltonian may not be concave.
    """
    still = lax.stop_gradient(known)
    actions: Actions = {}
    for name in names:
        lower, upper = bounds(still, actions, name)
        actions[name] = _between(lower, upper, jnp.asarray(0.5 if scan else 0.0, lower.dtype))
    if scan is not None:
        actions = _scanned(total, bounds, still, actions, scan)

    def sweep(actions: Actions) -> Actions:
        for name in names:
            lower, upper = bounds(still, actions, name)
            along = partial(_moved, total, still, actions, name)
            actions = {
                **actions,
                name: _golden(along, lower, upper, actions[name], scan) if scan else _along(along, lower, upper),
            }
        return actions

    several = len(names) > 1
    actions = loops.repeat((scan.rounds if scan else _SWEEPS) if several else 1, sweep, actions)
    if several:
        actions = loops.repeat(_POLISH, lambda own: _newton(total, bounds, still, own), actions)
    return _moving_with(total, bounds, known, lax.stop_gradient(actions))


def _moved(total: Total, known: Any, actions: Actions, name: str, own: Array) -> Array:
    return total(known, {**actions, name: own})


def _slope(along: Callable[[Array], Array], own: Array) -> Array:
    return jax.jvp(along, (own,), (jnp.ones_like(own),))[1]


def _between(lower: Array, upper: Array, place: Array) -> Array:
    """An action from a number between -1 and 1; in wide steps where a bound is missing."""
    has_lower, has_upper = jnp.isfinite(lower), jnp.isfinite(upper)
    low, high = jnp.where(has_lower, lower, 0.0), jnp.where(has_upper, upper, 0.0)
    wide = _WIDE * place
    inside = low + 0.5 * (1 + place) * (high - low)
    one_sided = jnp.where(has_lower, low + jnp.exp(wide), high - jnp.exp(-wide))
    return jnp.where(has_lower & has_upper, inside, jnp.where(has_lower | has_upper, one_sided, jnp.sinh(wide)))


def _along(along: Callable[[Array], Array], lower: Array, upper: Array) -> Array:
    """Where the derivative changes sign, or a bound."""
    place = partial(_between, lower, upper)
    falls = lambda at: -_slope(along, place(at))  # noqa: E731
    edge = jnp.ones_like(lower)
    first, last = jax.vmap(falls)(jnp.stack([-edge, edge]))
    found, inside = root(falls, -edge, edge, (first, last))
    outer = jnp.where(first > 0, lower, upper)
    return jnp.where(inside, place(found), jnp.where(jnp.isfinite(outer), outer, jnp.nan))


def _scanned(total: Total, bounds: Bounds, known: Any, actions: Actions, scan: Candidates) -> Actions:
    """The best candidate of every combination."""
    names, counts = zip(*scan.counts, strict=True)
    laid = jnp.meshgrid(*(jnp.linspace(-1.0, 1.0, count) for count in counts), indexing="ij")

    def one(places: dict[str, Array]) -> tuple[Array, Actions]:
        found: Actions = {}
        for name in names:
            found[name] = _between(*bounds(known, {**actions, **found}, name), places[name])
        value = total(known, {**actions, **found})
        return jnp.where(jnp.isnan(value), -jnp.inf, value), found

    values, found = jax.vmap(one)({name: line.reshape(-1) for name, line in zip(names, laid, strict=True)})
    place = jnp.argmax(values)
    return {**actions, **{name: line[place] for name, line in found.items()}}


def _golden(
    along: Callable[[Array], Array], lower: Array, upper: Array, start: Array, scan: Candidates | None
) -> Array:
    """Golden section around the best of some candidates."""
    assert scan is not None
    count = max(count for _, count in scan.counts)
    clean = lambda x: jnp.nan_to_num(along(x), nan=-jnp.inf)  # noqa: E731
    line = lower + (upper - lower) * jnp.linspace(0.0, 1.0, count)
    values = jax.vmap(clean)(line)
    here = jnp.where(clean(start) >= jnp.max(values), start, line[jnp.argmax(values)])
    step = (upper - lower) / (count - 1)
    low, high = jnp.maximum(here - step, lower), jnp.minimum(here + step, upper)

    def narrowed(state: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = state
        left, right = high - _RATIO * (high - low), low + _RATIO * (high - low)
        better = clean(left) >= clean(right)
        return jnp.where(better, low, left), jnp.where(better, right, high)

    steps = math.ceil(math.log(scan.width) / math.log(_RATIO))
    low, high = loops.repeat(steps, narrowed, (low, high))
    ends = jnp.stack([0.5 * (low + high), lower, upper])
    return ends[jnp.argmax(jax.vmap(clean)(ends))]


def _newton(total: Total, bounds: Bounds, known: Any, actions: Actions) -> Actions:
    """One step of Newton's method for all actions that are at no bound, where it makes the derivative smaller."""
    names = list(actions)
    own = jnp.stack(list(actions.values()))
    unpacked = lambda x: dict(zip(names, x, strict=True))  # noqa: E731
    slope = jax.grad(lambda x: total(known, unpacked(x)))
    free = ~jnp.stack(_pinned(bounds, known, actions))
    first = jnp.where(free, slope(own), 0.0)
    second = jax.jacfwd(slope)(own)
    second = jnp.where(free[:, None] & free[None, :], second, -jnp.eye(len(names)))
    moved = own - elimination.solve(second, first)
    better = jnp.sum(jnp.where(free, slope(moved), 0.0) ** 2) < jnp.sum(first**2)
    sides = [bounds(known, unpacked(moved), name) for name in names]
    inside = jnp.stack([(x >= low) & (x <= high) for x, (low, high) in zip(moved, sides, strict=True)])
    return unpacked(jnp.where(better & jnp.all(inside), moved, own))


def _pinned(bounds: Bounds, known: Any, actions: Actions) -> list[Array]:
    """Which actions are at a bound."""
    found = []
    for name, own in actions.items():
        lower, upper = bounds(known, actions, name)
        slack = rounding() * (1 + jnp.abs(own))
        found.append((own <= lower + slack) | (own >= upper - slack))
    return found


def _moving_with(total: Total, bounds: Bounds, known: Any, actions: Actions) -> Actions:
    """The same actions, moving with what is known: along the first-order condition, or with the bound."""
    names = list(actions)
    own = jnp.stack(list(actions.values()))
    unpacked = lambda x: dict(zip(names, x, strict=True))  # noqa: E731
    free = ~jnp.stack(_pinned(bounds, lax.stop_gradient(known), actions))
    still = lax.stop_gradient(known)
    second = lax.stop_gradient(jax.jacfwd(jax.grad(lambda x: total(still, unpacked(x))))(own))
    # a Hamiltonian without curvature has its best action at a kink, or anywhere: it stays where it is
    small = rounding() * jnp.minimum(jnp.abs(lax.stop_gradient(total(still, actions))), 1.0)
    bent = free & ~(jnp.abs(jnp.diagonal(second)) * (1 + own**2) <= small)
    second = jnp.where(bent[:, None] & bent[None, :], second, -jnp.eye(len(names)))
    first = jax.grad(lambda x: total(known, unpacked(x)))(own)
    first = jnp.where(bent, first - lax.stop_gradient(first), 0.0)
    moved = dict(zip(names, own - elimination.solve(second, first), strict=True))
    for name, is_free in zip(names, free, strict=True):
        lower, upper = bounds(known, moved, name)
        low = own[names.index(name)] - lax.stop_gradient(lower) <= lax.stop_gradient(upper) - own[names.index(name)]
        edge = jnp.where(low, lower, upper)
        edge = edge - lax.stop_gradient(edge)
        moved[name] = jnp.where(is_free, moved[name], actions[name] + jnp.where(jnp.isfinite(edge), edge, 0.0))
    return moved
