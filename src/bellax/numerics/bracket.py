"""The place between two others at which a number changes its sign: secants that are kept in a bracket."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from bellax.numerics import loops

_STEPS = 100


class _Bracket(NamedTuple):
    """Both ends, the last place, and the function at all three.

    What was found at a place is decided upon in the next step, out of the loop's state: XLA may compute a number anew
    for all that reads it, with other rounding, and where it is nearly zero an end would move without its number.
    """

    steps: Array
    low: Array
    high: Array
    below: Array
    above: Array
    place: Array
    here: Array


def root(
    of: Callable[[Array], Array], low: Array, high: Array, ends: tuple[Array, Array], done: Array | bool = False
) -> tuple[Array, Array]:
    """Where a function that rises is zero, and whether there is such a place; without derivatives.

    Args:
        of: the function; what is no number counts as too low.
        low, high: the ends of the bracket.
        ends: the function there.
        done: where nothing is sought.
    """
    clean = lambda found: jnp.where(jnp.isnan(found), -jnp.inf, found)  # noqa: E731
    below, above = (clean(end) for end in ends)
    fine = (below <= 0) & (above >= 0)

    def narrowed(state: _Bracket) -> _Bracket:
        lower, place, here = state.here <= 0, state.place, state.here
        low, high = jnp.where(lower, place, state.low), jnp.where(lower, state.high, place)
        below, above = jnp.where(lower, here, state.below), jnp.where(lower, state.above, here)
        return state._replace(low=low, high=high, below=below, above=above)

    def step(state: _Bracket) -> _Bracket:
        new = narrowed(state)
        secant = new.low - new.below * (new.high - new.low) / (new.above - new.below)
        inside = jnp.isfinite(secant) & (secant > new.low) & (secant < new.high) & (new.steps % 3 != 2)
        place = jnp.where(inside, secant, 0.5 * (new.low + new.high))
        return new._replace(steps=new.steps + 1, place=place, here=clean(of(place)))

    def over(state: _Bracket) -> Array:
        size = jnp.maximum(jnp.abs(state.low), jnp.abs(state.high))
        close = state.high - state.low <= 4 * jnp.finfo(state.low.dtype).eps * size
        zero = (state.below == 0) | (state.above == 0) | (state.here == 0)
        return done | ~fine | close | (zero & (state.steps > 0)) | (state.steps > _STEPS)

    # before the first step the last place is the lower end
    first = _Bracket(jnp.zeros((), jnp.int32), low, high, below, above, low, below)
    last = narrowed(loops.until(over, step, first))
    return jnp.where(-last.below <= last.above, last.low, last.high), fine
