"""When a solve is over: V no longer moves, relative to how far it is apart.

Neither units of rewards nor constants in them matter then: a regulator whose rewards are counted in billions, or earn a
billion besides, takes the steps of any other.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

_SAME = 1e-3  # of V itself, where it is nearly the same everywhere
_STALLED = 3  # steps that bring no better one: rounding


class Settled(NamedTuple):
    """How far a solve is.

    Attributes:
        change: of the last step, relative to how far V is apart; see `apart`.
        best, stalled: the smallest change, and for how many steps none was half of it.
        over: whether there is no more to be had.
    """

    change: Array
    best: Array
    stalled: Array
    over: Array


def unsettled(change: Array) -> Settled:
    """Before the first step.

    Args:
        change: that counts as the last one.
    """
    zero = jnp.zeros((), jnp.int32)
    return Settled(change, jnp.full((), jnp.inf, change.dtype), zero, zero > 0)


def settled(last: Settled, before: Array, after: Array, tolerance: float, least: Array | float = 0.0) -> Settled:
    """After a step.

    Args:
        before, after: V.
        least: the change that counts at the least, where the step may not be the last one.
    """
    moved = jnp.abs(after - before)
    small = jnp.max(moved / (1 + jnp.abs(after))) <= tolerance
    change = jnp.maximum(jnp.max(moved / apart(after)), least)
    change = jnp.where(jnp.isnan(change), jnp.inf, change)
    stalled = jnp.where(change < 0.5 * last.best, 0, last.stalled + 1)
    # what is left of a V that is nearly the same everywhere may be rounding
    over = (change <= tolerance) | (small & (jnp.asarray(least) == 0) & (stalled >= _STALLED))
    return Settled(change, jnp.minimum(change, last.best), stalled, over)


def apart(value: Array) -> Array:
    """What a change of V is measured by at every node: how far V there is from its mean, and others are on average, and
    a thousandth of V."""
    away = jnp.abs(value - jnp.mean(value))
    return away + jnp.mean(away) + _SAME * jnp.abs(value) + jnp.finfo(value.dtype).tiny


def span(value: Array) -> Array:
    """About the range of V, by which errors of V as a whole are measured."""
    return 2 * jnp.max(jnp.abs(value - jnp.mean(value))) + _SAME * jnp.max(jnp.abs(value))
