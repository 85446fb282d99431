"""A local maximum within smooth constraints, at one state: sequential quadratic programming on the unit box.

Every iterate is allowed. A step solves the quadratic program of the Lagrangian's Hessian and the constraints' slopes,
damped as in `climb`; its end is put back on the edges that it follows, by Newton's method on these, and taken if Q
rises, or if it is as high to rounding and the Lagrangian is flatter. So the steps near the end are those of Newton's
method on the conditions of Karush, Kuhn and Tucker, whose multipliers come with them.
Source: Nocedal & Wright (2006), chapter 18; the correction of the end is that of section 18.3.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.bellman.implicit import derivatives
from bellax.bellman.maximisers.active import Answer, Program, on_edges, solve
from bellax.bellman.maximisers.climb import worth_something
from bellax.bellman.maximisers.maximum import Best
from bellax.bellman.room import Margins, slopes_of
from bellax.numerics import loops
from bellax.numerics.scalar import where

_BACK = 3  # steps of Newton's method from the end of a step to the edges


class Walk(NamedTuple):
    """A search within constraints.

    Attributes:
        u: where it is.
        values: Q there, and the numbers of the constraints after it; their gradients and Hessians.
        multipliers: of the constraints, that the last quadratic program gave.
        trial, usable, damping, done, steps: as of a `Climb`.
    """

    u: Float[Array, "m"]
    values: Float[Array, "f"]
    gradients: Float[Array, "m f"]
    hessians: Float[Array, "m m f"]
    multipliers: Float[Array, "j"]
    trial: Float[Array, "m"]
    usable: Bool[Array, ""]
    damping: Float[Array, ""]
    done: Bool[Array, ""]
    steps: Int[Array, ""]


def within(
    value: Callable[[Array], Array], margins: Margins, start: Best, nudged: Float[Array, "m"], most: int,
    tolerance: float,
) -> Best:  # fmt: skip
    """A local maximum on the unit box where the constraints hold.

    Args:
        value: Q, minus infinity where they do not.
        start: which is allowed.
        nudged: the same off the bounds a little, where a derivative may be infinite.
    """
    count = margins(start.u)[0].shape[0]
    together = lambda u: jnp.concatenate([value(u)[None], margins(u)[0]])  # noqa: E731
    size = nudged.shape[0]
    first = Walk(
        u=nudged,
        values=jnp.full(1 + count, jnp.finfo(nudged.dtype).min),
        gradients=jnp.zeros((size, 1 + count)),
        hessians=jnp.zeros((size, size, 1 + count)),
        multipliers=jnp.zeros(count),
        trial=nudged,
        usable=jnp.ones((), bool),
        damping=jnp.asarray(1e-3),
        done=~worth_something(start),
        steps=jnp.zeros((), jnp.int32),
    )
    step = lambda state: _step(together, margins, state, tolerance)  # noqa: E731
    last = loops.until(lambda s: s.done | (s.steps > most), step, first)
    return Best(last.values[0], last.u, (1.0 + size) ** 2 * last.steps.astype(last.values.dtype))


def _step(together: Callable[[Array], Array], margins: Margins, state: Walk, tolerance: float) -> Walk:
    tried = (state.trial, *derivatives(together, state.trial))
    accept = _accepted(state, tried)
    moved = jnp.max(jnp.abs(state.trial - state.u) / (jnp.abs(state.u) + 1e-8))
    small = (moved <= tolerance) & (state.steps > 0)
    stuck = ~accept & ((small & state.usable) | (state.damping > 1e12))
    lowered = jnp.where(state.damping < 1e-8, 0.0, state.damping * 0.1)
    damping = jnp.where(accept, jnp.where(state.steps > 0, lowered, state.damping), _raised(state.damping))
    kept = (state.u, state.values, state.gradients, state.hessians)
    u, values, gradients, hessians = jax.tree.map(lambda new, old: jnp.where(accept, new, old), tried, kept)
    free = _free(u, gradients, state.multipliers) & _moves(gradients, hessians)
    hessian = hessians[..., 0] + hessians[..., 1:] @ state.multipliers
    scale = jnp.maximum(jnp.abs(jnp.diagonal(hessian)), 1e-12)
    matrix = -hessian + damping * jnp.diag(scale)
    concave = definite(on_free(free, matrix))
    program = Program(matrix, gradients[:, 0], gradients[:, 1:].T, values[1:], -u, 1 - u, free)
    answer = solve(program)
    trial = put_back(margins, u, answer, scale, free)
    usable = concave & jnp.all(jnp.isfinite(trial)) & jnp.all(jnp.isfinite(answer.multipliers))
    multipliers = jnp.where(usable, answer.multipliers, state.multipliers)
    same = jnp.all(free == (_free(u, gradients, multipliers) & _moves(gradients, hessians)))
    done = (accept & small & same) | stuck | ~jnp.any(free)
    trial = jnp.where(usable, trial, u)
    return Walk(u, values, gradients, hessians, multipliers, trial, usable, damping, done, state.steps + 1)


def _accepted(state: Walk, tried: tuple[Array, Array, Array, Array]) -> Bool[Array, ""]:
    """Whether a trial raises Q, or flattens the Lagrangian where Q is as high to rounding."""
    u, values, gradients, hessians = tried
    noise = 1e-13 * jnp.maximum(1e-3, jnp.abs(state.values[0]))
    new = _norm(u, gradients, state.multipliers)
    flatter = new < _norm(state.u, state.gradients, state.multipliers)
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in (values, gradients, hessians)]
    sound = finite[0] & finite[1] & finite[2] & state.usable
    q, last = values[0], state.values[0]
    return sound & ((q > last + noise) | ((q >= last - noise) & flatter))


def _raised(damping: Array) -> Array:
    return jnp.maximum(damping * 8, 1e-6)


def _lagrangian(gradients: Array, multipliers: Array) -> Float[Array, "m"]:
    return gradients[:, 0] + gradients[:, 1:] @ multipliers


def _free(u: Array, gradients: Array, multipliers: Array) -> Bool[Array, "m"]:
    """The coordinates that no bound holds."""
    gradient = _lagrangian(gradients, multipliers)
    return ~((u <= 0) & (gradient <= 0)) & ~((u >= 1) & (gradient >= 0))


def _moves(gradients: Array, hessians: Array) -> Bool[Array, "m"]:
    """The coordinates that change something: an action whose bounds are equal does not."""
    return jnp.any(gradients != 0, axis=1) | jnp.any(hessians != 0, axis=(1, 2))


def _norm(u: Array, gradients: Array, multipliers: Array) -> Array:
    gradient = _lagrangian(gradients, multipliers)
    return jnp.max(jnp.where(_free(u, gradients, multipliers), jnp.abs(gradient), 0.0))


def on_free(free: Array, matrix: Array) -> Array:
    return jnp.where(free[:, None] & free[None, :], matrix, jnp.eye(free.shape[0]))


def definite(matrix: Array) -> Bool[Array, ""]:
    """Whether a matrix is positive definite: its pivots are. Without LAPACK, see `elimination`."""
    positive = jnp.ones((), bool)
    for k in range(matrix.shape[0]):
        pivot = matrix[k, k]
        positive = positive & (pivot > 0)
        matrix = matrix - matrix[:, k, None] * (matrix[k] / where(pivot > 0, pivot, 1.0))[None, :]
    return positive


def put_back(margins: Margins, u: Array, answer: Answer, scale: Array, free: Array) -> Float[Array, "m"]:
    """The end of a step, on the edges that it follows and none beyond another, where Newton's method leads there."""
    end = jnp.clip(u + answer.step, 0.0, 1.0)
    end = jnp.where(answer.at_low, 0.0, jnp.where(answer.at_high, 1.0, end))
    loose = free & (end > 0) & (end < 1)
    metric = jnp.diag(jnp.where(scale > 0, scale, 1.0))

    def closer(at: Array) -> Array:
        numbers, normals = slopes_of(margins, at)
        beyond = answer.held | (numbers < 0)
        move, _ = on_edges(metric, jnp.zeros_like(at), normals, numbers, loose, beyond)
        return jnp.where(jnp.all(jnp.isfinite(move)), jnp.clip(at + move, 0.0, 1.0), at)

    return loops.repeat(_BACK, closer, end)
