"""Categories: the place of what functions see among those that a discrete state or action may have."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Int

from bellax.model.spaces import Discrete
from bellax.numerics.scalar import seen_type, take, whole


def category(space: Any, value: Any) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """The place of the category of a `Discrete` that a law gives, and whether it is one; the nearest if it is none."""
    assert isinstance(space, Discrete)
    known, value = space.values, jnp.asarray(value)
    value = value.astype(whole()) if jnp.issubdtype(value.dtype, jnp.integer) else value
    if np.issubdtype(known.dtype, np.integer):  # 0, 1, 2, ...: the value is the place
        number = value if jnp.issubdtype(value.dtype, jnp.integer) else jnp.round(value.astype(jnp.result_type(float)))
        place = jnp.clip(number, 0, len(known) - 1).astype(jnp.int32)
        return place, close(value, place)
    place = nearest_place(as_seen(known), value)
    return place, close(value, take(as_seen(known), place))


def close(value: Array, known: Array) -> Bool[Array, ""]:
    """Whether a computed number is a category, up to rounding."""
    if jnp.issubdtype(value.dtype, jnp.integer) and jnp.issubdtype(known.dtype, jnp.integer):
        return value.astype(whole()) == known.astype(whole())
    value, known = (x.astype(jnp.result_type(float)) for x in (value, known))
    return jnp.abs(value - known) <= 1e-5 * jnp.maximum(1.0, jnp.abs(known))


def nearest_place(known: Array, value: Array) -> Int[Array, ""]:
    """The place of the category that functions see as `value`; the nearest one."""
    if jnp.issubdtype(known.dtype, jnp.integer):
        value = jnp.asarray(value)
        value = value if jnp.issubdtype(value.dtype, jnp.integer) else jnp.round(value)
        known, value = known.astype(whole()), value.astype(whole())
    else:
        value = jnp.asarray(value).astype(known.dtype)
    distance = jnp.abs(known - value)
    return jnp.argmin(jnp.sum(distance.reshape(distance.shape[0], -1), axis=1)).astype(jnp.int32)


def as_seen(values: np.ndarray) -> Array:
    """Values of categories in the type that functions see."""
    return jnp.asarray(values, seen_type(values))
