"""A local maximum on the unit box, by Newton's method in several numbers, at one state and at many.

Steps (D - H) p = g on the coordinates that are not held at a bound, D a damping that falls with success and rises with
failure (Levenberg 1944), projected on the box.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.bellman.implicit import derivatives
from bellax.bellman.maximisers.maximum import Best
from bellax.numerics import loops
from bellax.numerics.interpolate import barrier

_TOGETHER = 2  # steps that a group of searches takes before those that are over leave it


class Climb(NamedTuple):
    """A search for a local maximum on the unit box.

    Attributes:
        u: where it is, with Q, its gradient and its Hessian there.
        trial: where it goes next.
        usable: whether that is a number.
        done: whether it is over.
    """

    u: Float[Array, "m"]
    value: Float[Array, ""]
    gradient: Float[Array, "m"]
    hessian: Float[Array, "m m"]
    trial: Float[Array, "m"]
    usable: Bool[Array, ""]
    damping: Float[Array, ""]
    done: Bool[Array, ""]
    steps: Int[Array, ""]


def climb_from(start: Best, damping: float = 1e-3) -> Climb:
    """The search before its first step."""
    size = start.u.shape[0]
    # Off the bounds a little: there a derivative may be infinite. An optimum at a bound is found again by projection.
    u = jnp.clip(start.u, 1e-6, 1 - 1e-6)
    # The start is the first trial, against a value that everything beats: Q stands in the program once.
    lowest, flat = jnp.full((), jnp.finfo(u.dtype).min), jnp.zeros_like(u)
    # from where nothing is allowed no step leads anywhere, and others would wait for it
    hopeless, none = ~worth_something(start), jnp.zeros((), jnp.int32)
    matrix = jnp.zeros((size, size), u.dtype)
    return Climb(u, lowest, flat, matrix, u, jnp.ones((), bool), jnp.asarray(damping), hopeless, none)


def climb_on(value: Callable[[Array], Array], state: Climb, tolerance: float) -> Climb:
    """One step: damped Newton, projected."""
    tried = (state.trial, *derivatives(value, state.trial))
    accept = _accepted(state, tried)
    moved = jnp.max(jnp.abs(state.trial - state.u) / (jnp.abs(state.u) + 1e-8))
    small = (moved <= tolerance) & (state.steps > 0)
    # A step that neither raises Q nor flattens it by more than rounding ends the search, too.
    stuck = ~accept & (small | (state.damping > 1e12))
    lowered = jnp.where(state.damping < 1e-8, 0.0, state.damping * 0.1)
    damping = jnp.where(accept, jnp.where(state.steps > 0, lowered, state.damping), _raised(state.damping))
    kept = (state.u, state.value, state.gradient, state.hessian)
    u, q, g, h = jax.tree.map(lambda new, old: jnp.where(accept, new, old), tried, kept)
    free = _free(g, u)
    move = _damped_step(g, h, damping, free)
    done = (accept & small) | stuck | ~jnp.any(free)
    trial = jnp.clip(u + move, 0.0, 1.0)
    return Climb(u, q, g, h, trial, jnp.all(jnp.isfinite(move)), damping, done, state.steps + 1)


def in_box(value: Callable[[Array], Array], start: Best, most: int, tolerance: float) -> Best:
    """A local maximum on the unit box, by damped projected Newton steps from `start.u`."""
    step = lambda state: climb_on(value, state, tolerance)  # noqa: E731
    return climbed_to(loops.until(lambda s: s.done | (s.steps > most), step, climb_from(start)))


def climbed_to(state: Climb) -> Best:
    """What a search has found."""
    return Best(state.value, state.u, (1.0 + state.u.shape[0]) ** 2 * state.steps.astype(state.value.dtype))


def _accepted(state: Climb, tried: tuple[Array, Array, Array, Array]) -> Bool[Array, ""]:
    """Whether a trial raises Q, or flattens it where it is as high to rounding."""
    u, q, g, h = tried
    noise = 1e-13 * jnp.maximum(1e-3, jnp.abs(state.value))
    flatter = _norm(g, u) < _norm(state.gradient, state.u)
    sound = jnp.isfinite(q) & jnp.all(jnp.isfinite(g)) & jnp.all(jnp.isfinite(h)) & state.usable
    return sound & ((q > state.value + noise) | ((q >= state.value - noise) & flatter))


def _raised(damping: Array) -> Array:
    return jnp.maximum(damping * 8, 1e-6)


def _free(gradient: Array, u: Array) -> Bool[Array, "m"]:
    """The coordinates that no bound holds."""
    return ~((u <= 0) & (gradient <= 0)) & ~((u >= 1) & (gradient >= 0))


def _norm(gradient: Array, u: Array) -> Array:
    return jnp.max(jnp.where(_free(gradient, u), jnp.abs(gradient), 0.0))


def _damped_step(gradient: Array, hessian: Array, damping: Array, free: Array) -> Float[Array, "m"]:
    """(D - H) p = g on the free coordinates; infinite where the matrix is not positive definite."""
    # an action whose bounds are equal, which changes nothing
    free = free & ((gradient != 0) | jnp.any(hessian != 0, axis=1))
    scale = jnp.maximum(jnp.abs(jnp.diagonal(hessian)), 1e-12)
    matrix = -hessian + damping * jnp.diag(scale)
    both = free[:, None] & free[None, :]
    matrix = jnp.where(both, matrix, jnp.eye(free.shape[0]))
    factor = jnp.linalg.cholesky(matrix)
    move = jax.scipy.linalg.cho_solve((factor, True), jnp.where(free, gradient, 0.0))
    return jnp.where(jnp.all(jnp.isfinite(factor)), move, jnp.inf)


def in_boxes(
    value: Callable[[Array, Array], Array], starts: Best, most: int, tolerance: float, size: int, damping: float
) -> Best:
    """Local maxima near many starts: groups of those that are not over yet, some steps at a time, so that nobody waits
    for the slowest.

    Args:
        value: of the number of a start, and u.
        starts: along a first axis.
        size: how many searches go on together.
        damping: that of the first step.
    """
    count = starts.value.shape[0]
    every, size = jnp.arange(count, dtype=jnp.int32), min(size, count)
    goes_on = lambda state: ~state.done & (state.steps <= most)  # noqa: E731

    def one(row: Array, state: Climb) -> Climb:
        new = climb_on(lambda u: value(row, u), state, tolerance)
        return jax.tree.map(lambda a, b: jnp.where(goes_on(state), a, b), new, state)

    def sweep(state: Climb) -> Climb:
        waits = goes_on(state)
        slot = jnp.where(waits, jnp.cumsum(waits, dtype=jnp.int32) - 1, 2 * count)
        rows = jnp.full(count + size, count, jnp.int32).at[slot].set(every, mode="drop")

        def part(carry: tuple[Array, Climb]) -> tuple[Array, Climb]:
            first, state = carry
            some = lax.dynamic_slice(rows, (first,), (size,))  # beyond the last of them rows that do not exist
            held = jnp.minimum(some, count - 1)
            own = jax.tree.map(lambda leaf: leaf[held], state)
            own = loops.repeat(_TOGETHER, lambda group: jax.vmap(one)(held, group), own)
            return first + size, jax.tree.map(lambda leaf, new: leaf.at[some].set(new, mode="drop"), state, own)

        many = jnp.sum(waits, dtype=jnp.int32)
        return loops.until(lambda carry: carry[0] >= many, part, (jnp.zeros((), jnp.int32), state))[1]

    first = jax.vmap(lambda start: climb_from(start, damping))(starts)
    last = loops.until(lambda state: ~jnp.any(goes_on(state)), sweep, first)
    return jax.vmap(lambda start, state: better_of(start, climbed_to(state)))(starts, last)


def better_of(start: Best, found: Best) -> Best:
    """What a search found, or the start, which is kept where nothing beats it: the safeguard where derivatives
    mislead."""
    slack = 1e-12 * jnp.maximum(1e-3, jnp.abs(start.value))
    better = (found.value >= start.value - slack) & worth_something(start)
    return Best(
        jnp.where(better, found.value, start.value),
        jnp.where(better, found.u, start.u),
        start.evaluations + found.evaluations,
    )


def worth_something(start: Best) -> Bool[Array, ""]:
    """Whether a start is one: something is allowed there, and pays more than minus infinity."""
    return start.value > 0.5 * barrier(start.value.dtype)
