"""A quadratic program of few numbers, by a primal active set: max g'p - p'Mp/2 with l <= p <= h and r + Np >= 0.

From p = 0, which is allowed, a step to the optimum on the constraints that are held; it stops at the first that is in
its way, which is held from then on. Where none is, the one whose multiplier is most negative is let go.
Source: Nocedal & Wright (2006), algorithm 16.3.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from bellax.numerics import elimination, loops
from bellax.numerics.scalar import where


class Program(NamedTuple):
    """A quadratic program.

    Attributes:
        matrix: M, positive definite on the free numbers.
        gradient: g.
        normals, room: N and r, which is not negative.
        low, high: l and h, on both sides of zero.
        free: numbers that move; the others stay where they are.
    """

    matrix: Float[Array, "m m"]
    gradient: Float[Array, "m"]
    normals: Float[Array, "j m"]
    room: Float[Array, "j"]
    low: Float[Array, "m"]
    high: Float[Array, "m"]
    free: Bool[Array, "m"]


class Answer(NamedTuple):
    """Its solution: the step, the multipliers of the constraints, which of them are held, and which bounds."""

    step: Float[Array, "m"]
    multipliers: Float[Array, "j"]
    held: Bool[Array, "j"]
    at_low: Bool[Array, "m"]
    at_high: Bool[Array, "m"]


class _Search(NamedTuple):
    step: Array
    multipliers: Array
    held: Array
    at_low: Array
    at_high: Array
    done: Array
    steps: Array


Linear = Callable[[Array, Array], Array]
"""What solves a linear system of one right side."""


def solve(program: Program, linear: Linear = elimination.solve) -> Answer:
    """The solution, or after many steps a point on the way to it, which is better than zero and allowed."""
    sizes = jnp.where(program.free, jnp.abs(jnp.diagonal(program.matrix)), 1.0)
    scale = 1 / jnp.sqrt(jnp.where(sizes > 0, sizes, 1.0))  # of the numbers, so that M has ones on its diagonal
    free = program.free
    matrix = program.matrix * scale[:, None] * scale[None, :]
    gradient = jnp.where(free, program.gradient * scale, 0.0)
    normals = jnp.where(free[None, :], program.normals * scale[None, :], 0.0)
    length = jnp.sqrt(jnp.sum(normals * normals, axis=1))
    length = jnp.where(length > 0, length, 1.0)
    scaled = Program(
        jnp.where(free[:, None] & free[None, :], matrix, jnp.eye(free.shape[0])),
        gradient,
        normals / length[:, None],
        jnp.maximum(program.room, 0.0) / length,
        program.low / scale,
        program.high / scale,
        free,
    )
    count, own = program.normals.shape[0], free.shape[0]
    none = jnp.zeros(own, bool)
    start = _Search(
        jnp.zeros_like(gradient), jnp.zeros_like(length), jnp.zeros(count, bool), none, none,
        jnp.zeros((), bool), jnp.zeros((), jnp.int32),
    )  # fmt: skip
    most = 4 * (count + own) + 2
    found = loops.until(lambda s: s.done | (s.steps >= most), lambda s: _moved(scaled, s, linear), start)
    step = jnp.clip(found.step * scale, program.low, program.high)
    step = jnp.where(found.at_low, program.low, jnp.where(found.at_high, program.high, step))
    return Answer(step, found.multipliers / length, found.held, found.at_low, found.at_high)


def on_edges(
    matrix: Float[Array, "m m"], right: Float[Array, "m"], normals: Float[Array, "j m"], room: Float[Array, "j"],
    free: Bool[Array, "m"], held: Bool[Array, "j"], linear: Linear = elimination.solve,
) -> tuple[Float[Array, "m"], Float[Array, "j"]]:  # fmt: skip
    """p and the multipliers l with Mp - N'l = g on the free numbers and Np = -r on the held constraints.

    Args:
        right: g of the free numbers, and of the others what they are.
        held: not more of them than free numbers, with normals that are linearly independent there.
    """
    size = right.shape[0]
    both = free[:, None] & free[None, :]
    across = jnp.where(held[:, None] & free[None, :], normals, 0.0)
    fixed = jnp.where(free, 0.0, right)
    top = jnp.where(both, matrix, jnp.eye(size))
    whole = jnp.block([[top, -across.T], [across, jnp.diag(jnp.where(held, 0.0, 1.0))]])
    left = jnp.where(free, right - matrix @ fixed, right)
    found = linear(whole, jnp.concatenate([left, jnp.where(held, -room - normals @ fixed, 0.0)]))
    return found[:size], found[size:]


def _moved(program: Program, state: _Search, linear: Linear) -> _Search:
    """One step, to a constraint that is in the way, or to where one is let go."""
    still = ~program.free | state.at_low | state.at_high
    fixed = jnp.where(state.at_low, program.low, jnp.where(state.at_high, program.high, 0.0))
    right = jnp.where(still, fixed, program.gradient)
    target, multipliers = on_edges(program.matrix, right, program.normals, program.room, ~still, state.held, linear)
    way = target - state.step
    # where bounds and edges leave no way to go, rounding does: numbers are scaled, so that steps are as large as slopes
    tiny = 1e-13 * jnp.max(jnp.abs(way)) + 1e-14 * jnp.max(jnp.abs(program.gradient))
    outward = program.normals @ way
    to_low = jnp.where(~still & (way < -tiny), (program.low - state.step) / where(way < 0, way, -1.0), jnp.inf)
    to_high = jnp.where(~still & (way > tiny), (program.high - state.step) / where(way > 0, way, 1.0), jnp.inf)
    rest = jnp.maximum(program.room + program.normals @ state.step, 0.0)
    to_edge = jnp.where(~state.held & (outward < -tiny), rest / where(outward < 0, -outward, 1.0), jnp.inf)
    # of several at once a bound is held, which hides those that are no more than that bound
    ways = jnp.maximum(jnp.concatenate([to_low, to_high, to_edge * (1 + 1e-12)]), 0.0)
    first, size = jnp.argmin(ways), way.shape[0]
    blocked = jnp.min(ways) < 1
    taken = jnp.arange(ways.shape[0], dtype=first.dtype) == first
    # what it would gain to be let go, of what is held
    push = program.gradient - program.matrix @ target + program.normals.T @ multipliers
    signs = [jnp.where(state.at_low, -push, jnp.inf), jnp.where(state.at_high, push, jnp.inf)]
    gains = jnp.concatenate([*signs, jnp.where(state.held, multipliers, jnp.inf)])
    worst = jnp.argmin(gains)
    over = jnp.min(gains) >= -1e-12 * jnp.max(jnp.abs(program.gradient))
    dropped = jnp.arange(ways.shape[0], dtype=worst.dtype) == worst
    held = jnp.concatenate([state.at_low, state.at_high, state.held])
    held = jnp.where(blocked, held | taken, held & ~(dropped & ~over))
    step = jnp.where(blocked, state.step + jnp.clip(jnp.min(ways), 0.0, 1.0) * way, target)
    sound = jnp.all(jnp.isfinite(target)) & jnp.all(jnp.isfinite(multipliers))
    return _Search(
        jnp.where(sound, step, state.step),
        jnp.where(sound & ~blocked, multipliers, state.multipliers),
        held[2 * size :],
        held[:size],
        held[size : 2 * size],
        (~blocked & over) | ~sound,
        state.steps + 1,
    )
