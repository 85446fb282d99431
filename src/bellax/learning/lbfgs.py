"""The method of Broyden, Fletcher, Goldfarb and Shanno with a short memory, one evaluation a step.

    x' = x - a H g,    H from the last pairs s = x' - x, y = g' - g,

where a step that does not lower the objective enough (Armijo) is shortened by the parabola through what is known. The
objective is evaluated outside, once a step, so that a program holds one copy of it whatever else is done with it.

Source: Nocedal & Wright (2006), "Numerical optimization", algorithms 7.4 and 3.5.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.numerics import loops

_ENOUGH = 1e-4  # of what the slope promises: a step that lowers the objective by less is too long
_PAIRS = 20
_CURVED = 1e-12  # relative to the lengths of step and change: less curvature is none
_SHORT = 1e-14  # a step that is too short to go on from


class Descent(NamedTuple):
    """A running descent.

    Attributes:
        trial: where the objective is to be evaluated next, shape (w,).
        point, value, slope: the best so far.
        moves, changes: the last steps and changes of the slope, shape (k, w), the latest last.
        direction, step: `trial` is `point` and so much of the direction.
        stuck: whether there is no way down.
    """

    trial: Float[Array, "w"]
    point: Float[Array, "w"]
    value: Float[Array, ""]
    slope: Float[Array, "w"]
    moves: Float[Array, "k w"]
    changes: Float[Array, "k w"]
    direction: Float[Array, "w"]
    step: Float[Array, ""]
    stuck: Array


def begin(point: Float[Array, "w"], pairs: int = _PAIRS) -> Descent:
    """A descent before its first evaluation."""
    nothing, zero = jnp.zeros((pairs, point.shape[0])), jnp.zeros(())
    return Descent(
        point, point, jnp.asarray(jnp.inf), jnp.zeros_like(point), nothing, nothing, jnp.zeros_like(point), zero,
        jnp.zeros((), bool),
    )  # fmt: skip


def step(state: Descent, value: Float[Array, ""], slope: Float[Array, "w"]) -> Descent:
    """The next trial, from the objective and its slope at the last one. A value that is no number is too high."""
    promised = jnp.vdot(state.slope, state.direction) * state.step
    first = ~jnp.isfinite(state.value)
    fine = jnp.isfinite(value) & jnp.all(jnp.isfinite(slope))
    better = fine & (first | (value <= state.value + _ENOUGH * promised))
    return lax.cond(better, lambda: _accepted(state, value, slope, first), lambda: _shortened(state, value))


def _accepted(state: Descent, value: Array, slope: Array, first: Array) -> Descent:
    move, change = state.trial - state.point, slope - state.slope
    curvature = jnp.vdot(move, change)
    keep = ~first & (curvature > _CURVED * jnp.linalg.norm(move) * jnp.linalg.norm(change))
    add = lambda rows, new: jnp.where(keep, jnp.concatenate([rows[1:], new[None]]), rows)  # noqa: E731
    moves, changes = add(state.moves, move), add(state.changes, change)
    direction = -inverse(moves, changes, slope)
    down = jnp.vdot(direction, slope)
    direction = jnp.where(down < 0, direction, -slope)
    size = jnp.linalg.norm(slope)
    known = jnp.any(moves[-1] != 0)
    length = jnp.where(known, 1.0, 1 / jnp.maximum(size, 1.0))
    return Descent(
        state.trial + length * direction, state.trial, value, slope, moves, changes, direction, length, size == 0
    )


def _shortened(state: Descent, value: Array) -> Descent:
    slope = jnp.vdot(state.slope, state.direction)
    bend = value - state.value - slope * state.step
    least = -slope * state.step**2 / (2 * jnp.where(bend > 0, bend, 1.0))
    length = jnp.where(
        jnp.isfinite(value) & (bend > 0), jnp.clip(least, 0.1 * state.step, 0.5 * state.step), 0.1 * state.step
    )
    size = jnp.linalg.norm(state.point) + 1
    stuck = length * jnp.linalg.norm(state.direction) <= _SHORT * size
    return state._replace(trial=state.point + length * state.direction, step=length, stuck=stuck)


def inverse(moves: Float[Array, "k w"], changes: Float[Array, "k w"], slope: Float[Array, "w"]) -> Float[Array, "w"]:
    """The inverse of the Hessian that the pairs tell of, times a slope; pairs of zeros tell nothing."""
    products = jnp.sum(moves * changes, axis=1)
    told = products > 0
    inverse_products = jnp.where(told, 1 / jnp.where(told, products, 1.0), 0.0)

    def down(q: Array, pair: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        move, change, weight = pair
        share = weight * jnp.vdot(move, q)
        return q - share * change, share

    def up(r: Array, pair: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        move, change, weight, share = pair
        return r + (share - weight * jnp.vdot(change, r)) * move, None

    q, shares = loops.over(down, slope, (moves, changes, inverse_products), reverse=True)
    size = jnp.sum(changes[-1] ** 2)
    scale = jnp.where(told[-1], products[-1] / jnp.where(size > 0, size, 1.0), 1.0)
    return loops.over(up, scale * q, (moves, changes, inverse_products, shares))[0]
