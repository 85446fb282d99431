"""A local maximum of several actions where Q has kinks across them, at one state: along a ridge as along an edge.

Near an optimum at kinks Q is the least of smooth pieces. Parabolas of Q where it has been are models of the pieces on
whose side that was; a step maximises the least of them, by a quadratic program with the height as one more number,
and where it ends there is one more parabola. With one on each side of a kink that is Newton's method on the conditions
of an optimum on it, wherever it goes. Every iterate is allowed, and none is worse than the one before.
The idea is that of Mifflin & Sagastizabal (2005), Mathematical Programming 104, with parabolas, as pieces are few.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.bellman.implicit import derivatives
from bellax.bellman.maximisers.active import Answer, Program, solve
from bellax.bellman.maximisers.climb import worth_something
from bellax.bellman.maximisers.maximum import Best
from bellax.bellman.maximisers.walk import definite, on_free, put_back
from bellax.bellman.room import Margins
from bellax.numerics import elimination, loops

_PIECES = 2  # that are kept, of every action
_ALIKE = 1e-2  # two pieces whose slopes differ by less than this share of them are one
_SAID = 0.3  # of what one piece says wrongly of another's place, what a third one may say wrongly that is alike
_LACKS = 0.1  # of the same, what a parabola may be below Q
_CURVES = 0.1  # of the height, which is a straight line, that a program may be one of a parabola
_NEAR, _CLOSER = 1e-3, 0.1  # from u: farther pieces are looked at again, that share of the way to them
_LEAST = 1e-9  # damping
_FAR = 1e30


class Piece(NamedTuple):
    """Q and the numbers of the constraints after it at a place, with their gradients and Hessians."""

    u: Float[Array, "*b m"]
    values: Float[Array, "*b f"]
    gradients: Float[Array, "*b m f"]
    hessians: Float[Array, "*b m m f"]


class Ridge(NamedTuple):
    """A search.

    Attributes:
        here: where it is.
        others: pieces that were seen elsewhere, along a first axis.
        known: which of them there are.
        weights: of these, in the last program, which add up with that of `here` to one.
        prices: the multipliers of the constraints there.
        trial: where it goes next.
        usable: whether that is a number.
        size: of the step there.
        asked: the place of a piece that is looked at again there, closer; none of them else.
        failed: how many trials in a row were no better.
        damping, done, steps: as of a `Climb`.
    """

    here: Piece
    others: Piece
    known: Bool[Array, "b"]
    weights: Float[Array, "b"]
    prices: Float[Array, "j"]
    trial: Float[Array, "m"]
    usable: Bool[Array, ""]
    size: Float[Array, ""]
    asked: Bool[Array, "b"]
    failed: Int[Array, ""]
    damping: Float[Array, ""]
    done: Bool[Array, ""]
    steps: Int[Array, ""]


def along(value: Callable[[Array], Array], margins: Margins | None, start: Best, most: int, tolerance: float) -> Best:
    """A local maximum on the unit box where the constraints hold.

    Args:
        value: Q, minus infinity where they do not.
        margins: of the constraints; None where there are none.
        start: which is allowed.
    """
    size = start.u.shape[0]
    count = 0 if margins is None else margins(start.u)[0].shape[0]

    def together(u: Array) -> Array:
        return value(u)[None] if margins is None else jnp.concatenate([value(u)[None], margins(u)[0]])

    here = Piece(
        start.u,
        jnp.full(1 + count, jnp.finfo(start.u.dtype).min),
        jnp.zeros((size, 1 + count)),
        jnp.zeros((size, size, 1 + count)),
    )
    others = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (_PIECES * size, *leaf.shape)), here)
    none = jnp.zeros(_PIECES * size)
    first = Ridge(
        here, others, none > 0, none, jnp.zeros(count), start.u, jnp.ones((), bool), jnp.asarray(jnp.inf),
        none > 0, jnp.zeros((), jnp.int32), jnp.asarray(1e-6), ~worth_something(start), jnp.zeros((), jnp.int32),
    )  # fmt: skip
    step = lambda state: _step(together, margins, state, tolerance)  # noqa: E731
    last = loops.until(lambda s: s.done | (s.steps > most), step, first)
    return Best(last.here.values[0], last.here.u, (1.0 + size) ** 2 * last.steps.astype(last.here.values.dtype))


def _step(together: Callable[[Array], Array], margins: Margins | None, state: Ridge, tolerance: float) -> Ridge:
    tried = Piece(state.trial, *derivatives(together, state.trial))
    sound = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in tried])) & state.usable
    q, last = tried.values[0], state.here.values[0]
    noise = 1e-14 * jnp.maximum(1e-3, jnp.abs(last))
    moved = jnp.max(jnp.abs(state.trial - state.here.u) / (jnp.abs(state.here.u) + 1e-8))
    # near the end Q is flat to rounding, and steps that shrink are those of Newton's method
    shrinks = (q >= last - noise) & (moved <= 0.5 * state.size) & (state.steps > 0)
    accept = sound & ((q > last + noise) | shrinks)
    here = _pick(accept, tried, state.here)
    others, known, fresh = _kept(state, _pick(accept, state.here, tried), here, sound & (state.steps > 0))
    damping = jnp.where(accept, jnp.maximum(0.1 * state.damping, _LEAST), state.damping)
    fresh |= jnp.any(state.asked)
    failed = jnp.where(accept, 0, state.failed + 1)
    # more pieces than are kept may take turns
    damping = jnp.where(
        accept | (fresh & (failed <= 2 * known.shape[0])), damping, jnp.maximum(16 * state.damping, 1e-4)
    )
    answer, gain, weights, prices, usable = _program(state, here, others, known, damping)
    small = (moved <= tolerance) & state.usable
    over = (state.steps > 0) & ((accept & small) | (~accept & ~fresh & (small | (damping > 1e8))))
    trial = jnp.clip(here.u + answer.step, 0.0, 1.0)
    trial = jnp.where(answer.at_low, 0.0, jnp.where(answer.at_high, 1.0, trial))
    if margins is not None:
        scale = jnp.maximum(jnp.abs(jnp.diagonal(here.hessians[..., 0])), 1e-12)
        trial = put_back(margins, here.u, answer, scale, _moves(here, others, known))
    usable &= jnp.all(jnp.isfinite(trial))
    trial = jnp.where(usable, trial, here.u)
    weights, prices = jnp.where(usable, weights, state.weights), jnp.where(usable, prices, state.prices)
    over |= usable & (gain <= 0.01 * noise) & ~fresh & (state.steps > 0)
    over |= ~sound & (state.steps == 0)  # as where a derivative is infinite
    size = jnp.where(accept, jnp.minimum(moved, 1.0), state.size)
    # what was seen from afar and is in the way is looked at from nearby before the search is over
    away = jnp.max(jnp.abs(others.u - here.u[None]), axis=1)
    doubtful = known & (weights > 0) & (away > _NEAR)
    again = over & jnp.any(doubtful)
    asked = again & (jnp.arange(len(away)) == jnp.argmax(jnp.where(doubtful, away, 0.0)))
    closer = here.u + _CLOSER * jnp.sum(jnp.where(asked[:, None], others.u - here.u[None], 0.0), axis=0)
    trial, usable, over = jnp.where(again, closer, trial), usable | again, over & ~again
    return Ridge(
        here, others, known, weights, prices, trial, usable, size, asked, failed, damping, over, state.steps + 1
    )


def _pick(yes: Array, new: Piece, old: Piece) -> Piece:
    return jax.tree.map(lambda a, b: jnp.where(yes, a, b), new, old)


def _at(piece: Piece, u: Array) -> tuple[Array, Array]:
    """The parabola of Q of a piece at u, and its slope there."""
    away, slope, bend = u - piece.u, piece.gradients[..., 0], piece.hessians[..., 0]
    return piece.values[0] + slope @ away + 0.5 * away @ bend @ away, slope + bend @ away


def _model(piece: Piece, here: Piece) -> tuple[Array, Array, Array]:
    """What a piece says of Q here, its slope here, and whether it is a parabola that says so.

    One that was seen from too far away may say less than Q is, which the least of several pieces is not. Then its
    tangent says more, as that of what is concave.
    """
    level, slope = _at(piece, here.u)
    jump = jnp.abs(_at(here, piece.u)[0] - piece.values[0])
    holds = here.values[0] - level <= _LACKS * jump
    tangent = piece.values[0] + piece.gradients[..., 0] @ (here.u - piece.u)
    return jnp.where(holds, level, tangent), jnp.where(holds, slope, piece.gradients[..., 0]), holds


def _kept(state: Ridge, found: Piece, here: Piece, sound: Array) -> tuple[Piece, Array, Array]:
    """The pieces elsewhere with one more, in the place of one that is alike or else counts least, and whether that is
    one that nobody knew of; none where it is like the one here."""
    own = here.gradients[:, 0]
    _, slope, _ = _model(found, here)
    _, slopes, _ = jax.vmap(_model, in_axes=(0, None))(state.others, here)
    # those that are, seen from where the search is now, on its own side are none
    known = state.known & ~state.asked & ~jax.vmap(lambda other: _alike(other, own))(slopes)
    # of one side, too, is what the parabola from elsewhere on it explains and the one from here does not
    heights, _ = jax.vmap(_at, in_axes=(0, None))(state.others, found.u)
    jump = jnp.abs(_at(here, found.u)[0] - found.values[0])
    alike = jax.vmap(lambda other: _alike(other, slope))(slopes) | (jnp.abs(heights - found.values[0]) < _SAID * jump)
    alike = known & alike
    rank = jnp.where(state.asked, -3.0, jnp.where(alike, -2.0, jnp.where(known, jnp.abs(state.weights), -1.0)))
    other = sound & ~_alike(slope, own)
    place = (jnp.arange(rank.shape[0]) == jnp.argmin(rank)) & other
    others = jax.tree.map(
        lambda leaf, one: jnp.where(place.reshape(-1, *[1] * one.ndim), one[None], leaf), state.others, found
    )
    return others, (known & ~(alike & other)) | place, other & ~jnp.any(alike)


def _alike(one: Array, other: Array) -> Bool[Array, ""]:
    size = jnp.max(jnp.abs(one)) + jnp.max(jnp.abs(other))
    return ~(jnp.max(jnp.abs(one - other)) > _ALIKE * size)


def _moves(here: Piece, others: Piece, known: Array) -> Bool[Array, "m"]:
    """The coordinates that change something: an action whose bounds are equal does not."""

    def bends(piece: Piece) -> Array:
        return jnp.any(piece.gradients != 0, axis=1) | jnp.any(piece.hessians != 0, axis=(1, 2))

    return bends(here) | jnp.any(known[:, None] & jax.vmap(bends)(others), axis=0)


def _program(
    state: Ridge, here: Piece, others: Piece, known: Array, damping: Array
) -> tuple[Answer, Array, Array, Array, Array]:
    """The step of the actions, what it is to gain, the weights of the pieces elsewhere and the prices of constraints in
    its program, and whether it is of use."""
    size, count = here.u.shape[0], known.shape[0]
    levels, slopes, curved = jax.vmap(_model, in_axes=(0, None))(others, here)
    own, near = here.gradients[:, 0], known & curved
    unit = jnp.maximum(jnp.max(jnp.abs(own)), jnp.max(jnp.where(near[:, None], jnp.abs(slopes), 0.0), initial=0.0))
    unit = jnp.where(unit > 0, unit, 1.0)
    weights = jnp.where(near, jnp.clip(state.weights, 0.0, 1.0), 0.0)
    weights = weights / jnp.maximum(1.0, jnp.sum(weights))
    bends = others.hessians[..., 0] - here.hessians[None, ..., 0]
    hessian = here.hessians[..., 0] + jnp.tensordot(weights, bends, 1) + here.hessians[..., 1:] @ state.prices
    scale = jnp.maximum(jnp.abs(jnp.diagonal(hessian)), unit)
    matrix = (damping * jnp.diag(scale) - hessian) / unit
    whole = jnp.zeros((size + 1, size + 1)).at[:size, :size].set(matrix).at[size, size].set(_CURVES)
    free = jnp.append(_moves(here, others, known), True)
    # the height is no more than any piece: here, elsewhere, and what is not known is far above
    heights = -jnp.ones((1 + count, 1))
    rows = jnp.concatenate([jnp.stack([own, *slopes]) / unit, heights], axis=1)
    room = jnp.append(0.0, jnp.maximum(levels - here.values[0], 0.0) / unit)
    seen = jnp.append(True, known)
    rows, room = jnp.where(seen[:, None], rows, jnp.append(jnp.zeros(size), -1.0)), jnp.where(seen, room, _FAR)
    edges = jnp.concatenate([here.gradients[:, 1:].T, jnp.zeros((len(here.values) - 1, 1))], axis=1)
    low, high = jnp.append(-here.u, -_FAR), jnp.append(1 - here.u, _FAR)
    height = jnp.asarray(np.eye(size + 1)[size])
    answer = solve(
        Program(whole, height, jnp.concatenate([rows, edges]), jnp.append(room, here.values[1:]), low, high, free),
        elimination.in_a_loop,
    )
    usable = definite(on_free(free, whole)) & jnp.all(jnp.isfinite(answer.multipliers))
    step = Answer(
        answer.step[:size], answer.multipliers[1 + count :] * unit, answer.held[1 + count :], answer.at_low[:size],
        answer.at_high[:size],
    )  # fmt: skip
    return step, answer.step[size] * unit, answer.multipliers[1 : 1 + count], step.multipliers, usable
