"""What numbers are divided by at the least, so that nothing hangs on the units of rewards, states and actions.

A floor that is a number of its own, 1e-12 say, may be larger than all rewards are: utility of 50,000 dollars with a
risk aversion of five is 1e-19. Every floor here is a tiny part of what the same solve has found in the same units.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

TINY = 1e-12  # of what a number is compared with: rounding, and nothing else


def unless_nothing(unit: Float[Array, "*k"]) -> Float[Array, "*k"]:
    """Units; one where there is nothing to be measured."""
    return jnp.where(unit == 0, 1.0, unit)


def least_size(size: Float[Array, "n *k m"], width: Float[Array, "n *k m"]) -> Float[Array, "*k m"]:
    """A tiny part of what the most important of all actions costs and brings, for each of them.

    Args:
        size: of marginal terms at points.
        width: of the way between bounds, in which actions are compared with each other.
    """
    whole = jnp.where(jnp.isfinite(size * width), jnp.abs(size * width), 0.0)
    return unless_nothing(TINY * jnp.max(jnp.mean(whole, axis=0))) / jnp.mean(width, axis=0)
