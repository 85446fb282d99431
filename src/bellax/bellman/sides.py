"""The sides of a kink of Q, and what an optimum at one obeys.

Near an optimum u at kinks Q is the least of smooth pieces. Weights of the pieces at which the mean of their gradients
is zero make a smooth function of it, with theta the multiplier of "the k-th kink stays where it is",

    L = f + sum_k theta_k K_k,    K_k = f on one side of kink k - f on the other,    L_u = 0,    K_k = 0.

V moves as L does with u held fixed, V_p = L_p, and u as the conditions demand; of one action with sides f1 and f2

    V_p = w f1_p + (1 - w) f2_p,  w f1_u + (1 - w) f2_u = 0,    (f1 - f2)_u du = -(f1 - f2)_p dp,

which is the envelope theorem of a saddle point (Milgrom & Segal 2002, Econometrica 70). Where there is no kink, L is Q.

A piece is known by Q a little way off the kink, at h and 2 h, continued to u: f = 2 f(h) - f(2 h), an error of h^2.
Beside the k-th action all others are moved off as well, by less, so that no place is on another kink, and a kink that
is oblique to all of them is met along the one that crosses it best. Places at which several kinks are met along every
action look like one kink that does not hold the optimum: nobody knows what moves there.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float

from bellax.numerics import elimination
from bellax.numerics.scalar import where

_ASIDE, _NARROW = 1e-7, 1e-3
"""h, as a share of the way between the bounds: in double precision and in single."""

_NEAREST = 0.05  # times that beside a bound, where Q may have an infinite slope

_NOISE, _FLAT = 1024, 32
"""Times the rounding of Q: a kink of slopes is one above the first, and below the second nothing but rounding."""

_BENT = 0.1  # a kink turns the slope by more than this share of what curvature does between h and 2 h

_LOST = 1e-3  # of how steep Q is: a slope of L above this is no optimum's, and nobody knows how V moves


_ALIKE = {8: 1e-4, 4: 3e-2}
"""Of the turn of slopes at a kink, what has to be left of it beside others: less, and several actions meet one kink."""

Value = Callable[[Any, Array], Array]
"""Q, of what it sees and of u."""


class Sides(NamedTuple):
    """What is known of an optimum that may be at kinks.

    Attributes:
        offsets: places where Q is looked at, from u; zero where there is no kink.
        weights: of Q at these places, of which L is the sum.
        kinks: the actions along which there is a kink at which the optimum stays.
        unknown: those of which nobody can tell where they go.
        broken: whether nobody can tell where V goes: Q jumps at the optimum, or kinks were seen that do not hold it.
        free: the actions that no bound holds.
        least: a curvature below which Q is flat along an action, which then stays where it is.
    """

    offsets: Float[Array, "p m"]
    weights: Float[Array, "p"]
    kinks: Bool[Array, "m"]
    unknown: Bool[Array, "m"]
    broken: Bool[Array, ""]
    free: Bool[Array, "m"]
    least: Float[Array, "m"]


def sides(value: Value, inputs: Any, u: Float[Array, "m"], moves: bool = True, size: Array | None = None) -> Sides:
    """The sides of Q at an optimum u.

    Args:
        value: Q, a pytree.
        moves: whether the weights are to move with what Q sees and with u; all else stays.
        size: what Q and its slopes are sums of, where u may be on an edge: beside it Q that is no number is not just
            beyond a bound. None where that is to be seen.
    """
    pattern = _pattern(u.shape[0])
    still = lambda leaf: lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf  # noqa: E731
    q_held, held, at = jax.tree.map(still, (value, inputs, u))
    inside, beside = (at > 0) & (at < 1), at * (1 - at)
    h = (_ASIDE if u.dtype == jnp.float64 else _NARROW) * jnp.clip(4 * beside, _NEAREST, 1.0)
    offsets = h[None] * pattern.towards(at, inside)
    looked, sizes = _looked(q_held, held, at, offsets, size)
    rounding = float(jnp.finfo(u.dtype).eps) * sizes
    noise, slack = _NOISE * rounding, _FLAT * rounding
    pieces, base = pattern.pieces(looked)
    slopes, turned = _own(pieces), jnp.abs(_own(pattern.turned(looked)))
    left, right = slopes[0], slopes[1]
    bent, steep, drop = turned[0] + turned[1], jnp.abs(left) + jnp.abs(right), left - right
    gap = jnp.abs(pieces[0, :, 0] - pieces[1, :, 0])
    whole = gap <= h * (steep + 2 * bent) + noise

    peak = inside & (left > -slack) & (right < slack)
    if u.shape[0] == 1:  # a kink on a bound goes on inside where the bound moves away from it
        peak |= ~inside & (left > slack) & (right < -slack)
    active = peak & whole & (drop > _BENT * bent + slack)
    kinks = active & (drop > _BENT * bent + noise)
    doubtful = active & ~kinks
    crossing = Crossing(active, inside | active)
    weights = crossing.weights(pieces, base)
    broken = jnp.any(inside & ~whole & ((size is not None) | jnp.isfinite(gap)))
    if u.shape[0] > 1:
        # between kinks of several actions a search may end before the optimum: no derivative is known there
        uphill = jnp.abs(weights @ looked[:, 1:])
        off = inside & (uphill > 1e-5 * bent / h + noise + 1e-6 * steep)
        doubtful = jnp.broadcast_to(jnp.any(doubtful | off), kinks.shape)
        broken |= jnp.any(kinks) & jnp.any(off & (uphill > _LOST * steep))
    # where there is no kink all places are u: what is beyond a bound, or not smooth, is not looked at
    offsets = where(jnp.broadcast_to(jnp.any(active), offsets.shape), offsets, 0.0)
    weights = _moving(weights, value, inputs, u, offsets, crossing) if moves else weights
    return Sides(offsets, weights, kinks, doubtful, broken, inside, slack)


def mean(sides: Sides, value: Value, inputs: Any, u: Float[Array, "m"]) -> Float[Array, ""]:
    """L, which is as large as V and moves with `inputs` as V does."""
    q = jax.vmap(lambda offset: value(inputs, u + offset))(sides.offsets)
    return sides.weights @ q


class Conditions(NamedTuple):
    """L, and what is zero at an optimum: its gradient, and how far the pieces beside each kink are apart; or how these
    move."""

    value: Float[Array, "*n"]
    gradient: Float[Array, "m *n"]
    gap: Float[Array, "m *n"]


def conditions(sides: Sides, value: Value, inputs: Any, u: Float[Array, "m"]) -> Conditions:
    """What is zero at the optimum: the gradient of L, and that the optimum is where the kinks are."""
    looked = _seen(value, inputs, u[None] + sides.offsets)
    total = sides.weights @ looked
    pieces, _ = _pattern(u.shape[0]).pieces(looked)
    return Conditions(total[0], total[1:], pieces[0, :, 0] - pieces[1, :, 0])


def spoiled(bad: Bool[Array, "*m"], objective: Any, point: Any) -> Float[Array, "*m"]:
    """What makes a derivative NaN where it is bad, and nothing elsewhere, whatever Q sees of what moves.

    A factor would do it in forward mode. In reverse mode nothing comes through it to what a jump alone reads.

    Args:
        objective, point: the directions in which they move.
    """
    moved = [
        jnp.sum(t) for t in jax.tree.leaves((objective.period.environment, point.values)) if eqx.is_inexact_array(t)
    ]
    return unknown(bad, sum(moved, jnp.zeros(())))


def unknown(bad: Bool[Array, "*m"], move: Float[Array, ""]) -> Float[Array, "*m"]:
    """NaN where it is bad and something moves, else zero; linear in the move, and zero of what is not asked for.

    NaN times zero would be NaN: in reverse mode what is asked of one answer alone would be none for all.
    """
    big = 1e200 if move.dtype == jnp.float64 else 1e20
    more, less = (where(bad, jnp.asarray(size, move.dtype), 0.0) for size in (big, 0.5 * big))
    # infinite less infinite; a product of three, since the last one and the difference may be rounded together
    return more * (more * (more * move)) - less * (less * (less * move))


class _Pattern(NamedTuple):
    """Where to look, in h, and what to make of it. Row 0 is u; each piece has two rows, at h and at 2 h.

    Attributes:
        ahead: along the actions, shape (p, m).
        aside: towards the middle between the bounds, shape (p, m).
        continued: weights of the rows that continue the pieces to u: left of each action, right of each, and the one
            that L starts from, shape (2 m + 1, p).
        steps: weights that say how the pieces beside each action turn between h and 2 h, shape (2 m, p).
    """

    ahead: np.ndarray
    aside: np.ndarray
    continued: np.ndarray
    steps: np.ndarray

    def towards(self, u: Float[Array, "m"], inside: Bool[Array, "m"]) -> Float[Array, "p m"]:
        if u.shape[0] == 1:
            return jnp.asarray(self.ahead, u.dtype)
        # along an action that is held by a bound there is nothing to see
        return where(inside, 1.0, 0.0)[None] * self.ahead + where(u > 0.5, -1.0, 1.0)[None] * self.aside

    def pieces(self, looked: Float[Array, "p n"]) -> tuple[Float[Array, "2 m n"], Float[Array, "n"]]:
        """What was seen of the pieces on both sides along each action, and of the one that L starts from, at u."""
        found = _times(self.continued, looked)
        return found[:-1].reshape(2, -1, looked.shape[1]), found[-1]

    def turned(self, looked: Float[Array, "p n"]) -> Float[Array, "2 m n"]:
        return _times(self.steps, looked).reshape(2, -1, looked.shape[1])

    def weights(self, multipliers: Float[Array, "m"]) -> Float[Array, "p"]:
        """Of the rows, in L."""
        actions = multipliers.shape[0]
        apart = self.continued[:actions] - self.continued[actions:-1]
        return jnp.asarray(self.continued[-1], multipliers.dtype) + _times(apart.T, multipliers)


@cache
def _pattern(actions: int) -> _Pattern:
    shift, axes = (1 - 0.1 * np.arange(actions) / actions) / (4 * actions), np.eye(actions)
    none = np.zeros(actions)
    pieces = [(sign * axis, shift * (axis == 0)) for sign in (-1, 1) for axis in axes]
    pieces += [] if actions == 1 else [(none, shift)]
    rows = [(none, none), *((times * ahead, times * aside) for ahead, aside in pieces for times in (1, 2))]
    one = np.eye(len(rows))
    near, far = one[1::2], one[2::2]
    continued = 2 * near - far
    # of one action, L starts from the right side
    continued = np.concatenate([continued, continued[1:]]) if actions == 1 else continued
    ahead, aside = (np.array([row[k] for row in rows]) for k in (0, 1))
    return _Pattern(ahead, aside, continued, (near - far)[: 2 * actions])


def _times(matrix: np.ndarray, vector: Float[Array, "p *n"]) -> Float[Array, "r *n"]:
    return jnp.matmul(matrix.astype(vector.dtype), vector, precision="highest")


def _own(pieces: Float[Array, "2 m n"]) -> Float[Array, "2 m"]:
    """Beside each action, the slope along it, of levels and slopes."""
    return jnp.sum(pieces[:, :, 1:] * np.eye(pieces.shape[1], dtype=pieces.dtype)[None], axis=-1)


def _seen(value: Value, inputs: Any, places: Float[Array, "p m"]) -> Float[Array, "p n"]:
    """Q and its gradient at places, n = 1 + m."""
    basis = np.eye(places.shape[1], dtype=places.dtype)
    along = jax.vmap(lambda at, d: jax.jvp(lambda x: value(inputs, x), (at,), (d,)), in_axes=(None, 0))
    q, slopes = jax.vmap(along, in_axes=(0, None))(places, basis)
    return jnp.concatenate([q[:, :1], slopes], axis=1)


def _looked(
    value: Value, inputs: Any, u: Float[Array, "m"], offsets: Float[Array, "p m"], size: Array | None
) -> tuple[Float[Array, "p n"], Float[Array, "m"]]:
    """Q and its gradient at places, and along each action the size of what they are sums of.

    The slopes of an optimum are what is left of terms that cancel. How large these are shows elsewhere along the
    action, unless it is known; a level that the reward has anyway is no measure of a kink.
    """
    count, actions = offsets.shape
    if size is not None:
        return _seen(value, inputs, u[None] + offsets), jnp.broadcast_to(size, (actions,))
    axes = np.eye(actions, dtype=u.dtype)
    far = [u[None] * (1 - axes) + share * axes for share in (0.25, 0.75)]
    found = _seen(value, inputs, jnp.concatenate([u[None] + offsets, *far]))
    sizes = jnp.abs(found)
    sizes = where(sizes < jnp.inf, sizes, 0.0)
    # beside an action how steep it is there; far along it, too
    mask = np.concatenate([np.ones((count, actions)), axes, axes]).astype(u.dtype)
    return found[:count], jnp.max(mask * (sizes[:, :1] + sizes[:, 1:]), axis=0)


def apart(across: Float[Array, "m m"], kinks: Bool[Array, "m"]) -> tuple[Float[Array, "m m"], Float[Array, "m m"]]:
    """`elimination.apart` of the directions across kinks, of which several actions may meet one."""
    return elimination.apart(across, kinks, _ALIKE[across.dtype.itemsize])


class Crossing(NamedTuple):
    """Along which actions there are kinks, and which actions move."""

    active: Bool[Array, "m"]
    moves: Bool[Array, "m"]

    def weights(self, pieces: Float[Array, "2 m n"], base: Float[Array, "n"]) -> Float[Array, "p"]:
        """The weights at which L has no slope along the actions that move."""
        actions = self.active.shape[0]
        across = pieces[0, :, 1:] - pieces[1, :, 1:]
        if actions == 1:
            drop = where(self.active, across[0], 1.0)
            multipliers = where(self.active, -base[1:] / drop, 0.0)
        else:
            across = where(self.active[:, None] & self.moves[None], across, 0.0)
            slope = where(self.moves & jnp.any(self.active), base[1:], 0.0)
            basis, inverse = apart(across, self.active)
            multipliers = -inverse.T @ (basis @ slope)
        # between zero and one of a kink that one action alone meets, and sums of those that several meet
        least = 0.0 if actions == 1 else -float(actions)
        weights = _pattern(actions).weights(jnp.clip(multipliers, least, float(actions)))
        alone = jnp.broadcast_to(~jnp.any(self.active), weights.shape)
        return where(alone, jnp.asarray(np.eye(weights.shape[0])[0], weights.dtype), weights)


@eqx.filter_custom_jvp
def _moving(weights: Array, value: Value, inputs: Any, u: Array, offsets: Array, crossing: Crossing) -> Array:
    """The weights, whose derivatives are worked out where they are asked for."""
    return weights


@_moving.def_jvp
def _moving_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    weights, value, inputs, u, offsets, crossing = primals
    _, t_value, t_inputs, t_u, _, _ = tangents

    def again(value: Value, inputs: Any, u: Array) -> Array:
        pieces, base = _pattern(u.shape[0]).pieces(_seen(value, inputs, u[None] + offsets))
        return crossing.weights(pieces, base)

    found, moved = eqx.filter_jvp(again, (value, inputs, u), (t_value, t_inputs, t_u))
    # as in `implicit.moving`: jax may lose the rule
    weights = lax.stop_gradient(weights) + found - lax.stop_gradient(found)
    moved = jnp.zeros_like(weights) if moved is None else moved
    return _moving(weights, value, inputs, u, offsets, crossing), moved
