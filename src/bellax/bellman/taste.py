"""Taste shocks: what the maximum over discrete actions becomes when each of them has a shock of its own.

Shocks e are seen with the state, before the decision. They are extreme value of type I with scale s and *mean zero*,
one for each combination g of the actions that they are `over`; Q_k is the value of a combination k of all discrete
actions with its best continuous ones:

    V = E[max over g of (M_g + e_g)] = s log sum over g of exp(M_g / s),   M_g = max over k in g of Q_k
    P_g = exp((M_g - V) / s)

There is no Euler constant, since the mean is zero. As s goes to 0, V goes to the maximum; at s = 0 it is the maximum.
dV = sum over g of P_g dM_g + H ds, with H the entropy of P: the envelope theorem holds combination by combination.

Source: McFadden (1973); Rust (1987).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.maximisers.maximum import highest
from bellax.problem.period import Period, taste_groups


class Smoothed(NamedTuple):
    """The expected maximum under taste shocks, and what is chosen.

    Attributes:
        value: the log-sum.
        probabilities: of every combination; within a group only the first of the best is ever chosen. They sum to one.
    """

    value: Float[Array, ""]
    probabilities: Float[Array, "k"]


def chosen(period: Period, values: Float[Array, "k"]) -> Smoothed:
    """The expected maximum, and what is chosen, in a period with taste shocks; see `smoothed`."""
    return smoothed(values, period.taste_scale(), taste_groups(period.plan))


def expected(period: Period, values: Float[Array, "k"], probabilities: Float[Array, "k"]) -> Float[Array, ""]:
    """What choosing with given probabilities is worth: sum P Q - s sum P log P.

    The mean of the shock of k where k is chosen is -s log P_k; `smoothed` has the probabilities for which it is the
    largest. It is linear in the values.
    """
    ever = probabilities != 0
    logs = jnp.log(jnp.where(ever, probabilities, 1.0))
    return jnp.sum(jnp.where(ever, probabilities * (values - period.taste_scale() * logs), 0.0))


def smoothed(values: Float[Array, "k"], scale: Float[Array, ""], groups: tuple[int, ...]) -> Smoothed:
    """The log-sum over groups of the maximum within each, and the probability of every combination.

    The maximum is taken out first, so that nothing overflows. It is differentiable in values and scale, any number of
    times; derivatives are NaN where the value is.

    Args:
        values: of the combinations; minus infinity is never chosen, unless nothing else is there.
        scale: of the shocks. At zero the value is the maximum and the first of the best is chosen; NaN below zero.
        groups: of every combination the place of its group, 0 to g - 1, equally many combinations in each. Static.
    """
    return Smoothed(*_smoothed(values, scale, groups))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _smoothed(values: Array, scale: Array, groups: tuple[int, ...]) -> tuple[Array, Array]:
    order, back = _layout(groups)
    laid = values[order]
    best, places = jax.vmap(highest)(laid)
    inner = places[:, None] == jnp.arange(order.shape[1], dtype=places.dtype)[None, :]
    top, winner = highest(best)
    known = scale > 0
    # equal ones first: what is infinite has no difference from itself
    distance = jnp.where(best == top, 0.0, jnp.where(best == -jnp.inf, -jnp.inf, (best - top) / _safe(scale)))
    exponentials = jnp.exp(distance)
    total = jnp.sum(exponentials)
    first = (jnp.arange(best.shape[0], dtype=places.dtype) == winner).astype(best.dtype)
    shares = jnp.where(known & (top > -jnp.inf), exponentials / total, first)
    value = jnp.where(known & (top > -jnp.inf), top + scale * jnp.log(total), top)
    sound = (scale >= 0) & ~jnp.isnan(top)
    probabilities = jnp.where(inner, shares[:, None], 0.0).reshape(-1)[back]
    return jnp.where(sound, value, jnp.nan), jnp.where(sound, probabilities, jnp.nan)


@_smoothed.defjvp
def _smoothed_jvp(groups: tuple[int, ...], primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    values, scale = primals
    t_values, t_scale = tangents
    value, p = _smoothed(values, scale, groups)
    chosen = (p > 0) & (values > -jnp.inf)
    # as a factor it is in derivatives in reverse mode, too
    lost = jnp.where(jnp.isnan(value), jnp.nan, 1.0)
    # what is never chosen moves nothing, however steep it is
    moved = jnp.where(chosen | jnp.isnan(value), t_values, 0.0)
    logs = jnp.log(jnp.where(chosen, p, 1.0))
    weights = jnp.where(chosen, p, 0.0) * lost
    entropy = -jnp.sum(weights * logs)
    along = jnp.sum(weights * moved)
    t_p = jnp.where(scale > 0, weights * (moved - along - (logs + entropy) * t_scale) / _safe(scale), 0.0)
    return (value, p), (along + entropy * t_scale, t_p * lost)


def _safe(scale: Array) -> Array:
    return jnp.where(scale > 0, scale, 1.0)


@functools.cache
def _layout(groups: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The combinations of every group, shape (g, j), and the place of every combination in that table, shape (k,)."""
    order = np.argsort(np.asarray(groups), kind="stable")
    return order.reshape(max(groups) + 1, -1), np.argsort(order, kind="stable")
