"""The place between two others at which a number changes its sign: secants that are kept in a bracket."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from bellax.numerics import loops

_STEPS = 100


def root(of: Callable[[Array], Array], low: Array, high: Array, done: Array | bool = False) -> tuple[Array, Array]:
    """Where a function that rises is zero, and whether there is such a place; without derivatives.

    Args:
        of: the function; what is no number counts as too low.
        low, high: the ends of the bracket.
        done: where nothing is sought.
    """

    def clean(place: Array) -> Array:
        found = of(place)
        return jnp.where(jnp.isnan(found), -jnp.inf, found)

    below, above = clean(low), clean(high)
    fine = (below <= 0) & (above >= 0)

    def step(state: tuple) -> tuple:
        count, low, high, below, above = state
        secant = low - below * (high - low) / (above - below)
        inside = jnp.isfinite(secant) & (secant > low) & (secant < high) & (count % 3 != 2)
        place = jnp.where(inside, secant, 0.5 * (low + high))
        here = clean(place)
        lower = here <= 0
        return (
            count + 1,
            jnp.where(lower, place, low),
            jnp.where(lower, high, place),
            jnp.where(lower, here, below),
            jnp.where(lower, above, here),
        )

    def over(state: tuple) -> Array:
        count, low, high, below, above = state
        close = high - low <= 4 * jnp.finfo(low.dtype).eps * jnp.maximum(jnp.abs(low), jnp.abs(high))
        return done | ~fine | close | (below == 0) | (above == 0) | (count > _STEPS)

    _, low, high, below, above = loops.until(over, step, (jnp.zeros((), jnp.int32), low, high, below, above))
    return jnp.where(-below <= above, low, high), fine
