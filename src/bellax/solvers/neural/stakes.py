"""What decisions are about: by how much the best action of a state is better than any, on average, in a period.

A large part of a reward that nothing moves makes V's spread as large as one likes, and every error in its units small.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

_NOTHING = 1e-9  # of V's spread: so little is rounding, where nothing hangs on what is done


def decisive(spread: Float[Array, ""], stakes: Float[Array, "*n"]) -> Float[Array, ""]:
    """A unit of errors in a period: V's spread, or what decisions are about where that is less.

    Args:
        spread: for a period.
        stakes: at states.
    """
    stake = jnp.mean(jnp.where(jnp.isfinite(stakes), stakes, 0.0))
    return jnp.where(stake > _NOTHING * spread, jnp.minimum(spread, stake), spread)


def mean_of_finite(values: Float[Array, "k"]) -> Float[Array, ""]:
    """The mean of what is worth a number."""
    known = jnp.isfinite(values)
    total = jnp.sum(jnp.where(known, values, 0.0))
    return total / jnp.maximum(jnp.sum(known.astype(total.dtype)), 1.0)
