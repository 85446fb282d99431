"""Keys of a training, by what is drawn with them: what is drawn for one purpose has nothing to do with another."""

import jax
import jax.numpy as jnp
from jax import Array

STEP, FIXED, VALUE, FINAL, VERDICT, VISITED, ROUND, SIGNS = range(8)
"""Paths of a step; those of all steps, where these have none of their own; those on which V is found between rounds,
and at last; those of the verdict; where paths begin; the key of the next round; signs of
what is summed up."""


def key_for(data: Array, purpose: int) -> Array:
    """A key for one purpose.

    Args:
        data: of the key of a round.
    """
    return jax.random.fold_in(jax.random.wrap_key_data(data), purpose)


def either(one: Array, yes: Array, no: Array) -> Array:
    """One of two keys."""
    return jax.random.wrap_key_data(jnp.where(one, jax.random.key_data(yes), jax.random.key_data(no)))
