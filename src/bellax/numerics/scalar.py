"""The types of numbers, what is rounding, and the two operations that pointwise code does most, as single primitives.

`jnp.where` and indexing wrap several primitives and a call each; inside nested `vmap` and `jvp` that made tracing a
model twice as slow.
"""

import math
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int, Shaped

_ROW = lax.GatherScatterMode.PROMISE_IN_BOUNDS


def where(condition: Bool[Array, "..."], yes: Any, no: Any) -> Array:
    """`yes` where the condition holds, else `no`; numbers take the shape and type of the other one."""
    shape = jnp.shape(condition)
    like = yes if isinstance(yes, Array) else no
    dtype = like.dtype if isinstance(like, Array) else jnp.result_type(float)
    return lax.select(condition, _as(yes, shape, dtype), _as(no, shape, dtype))


def _as(value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    if isinstance(value, Array) and value.shape == shape:
        return value
    if isinstance(value, Array):
        return jnp.broadcast_to(value, shape)
    return lax.full(shape, value, dtype)


def numeric(value: Any) -> np.ndarray:
    """Numbers as an array of floats; neither text, which numpy would read, nor True and False.

    Raises:
        TypeError, ValueError: for what is none.
    """
    array = np.asarray(value)
    entries = array.ravel().tolist() if array.dtype.kind == "O" else []
    known = array.dtype.kind in "iufO" or jnp.issubdtype(array.dtype, jnp.floating)
    if not known or any(isinstance(entry, str | bytes | bool | np.bool_) for entry in entries):
        raise TypeError("neither text nor True and False are numbers.")
    return np.asarray(array, dtype=float)


def whole() -> Any:
    """The type of whole numbers that functions of a model see, 64 bits wide in 64-bit mode: what a user multiplies must
    not wrap. Places in tables, which nobody but the library sees, stay 32 bits wide.
    """
    return jnp.result_type(int)


def seen_type(values: np.ndarray) -> Any:
    """The type in which functions of a model see the values of categories."""
    return whole() if np.issubdtype(values.dtype, np.integer) else jnp.result_type(float)


def rounding(dtype: Any = None) -> float:
    """How large a number may be that would be zero but for rounding: between the precision and its root.

    Args:
        dtype: of the numbers; that of the process where it is not given.
    """
    return _rounding(jnp.result_type(float) if dtype is None else dtype)


@cache
def _rounding(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps) ** 0.75


def as_small(number: float, dtype: Any = None) -> float:
    """A tolerance that was chosen for 64 bits, as the same power of the precision of other numbers.

    Args:
        dtype: of the numbers; that of the process where it is not given.
    """
    return _as_small(number, jnp.result_type(float) if dtype is None else dtype)


@cache
def _as_small(number: float, dtype: Any) -> float:
    double, own = (math.log(float(jnp.finfo(each).eps)) for each in (np.float64, dtype))
    return number if own == double else math.exp(own * math.log(number) / double)


def put(value: Any, dtype: Any = None) -> Array:
    """Numbers as an array of jax; `jnp.asarray` would compile a program for every shape that it meets."""
    return jax.device_put(np.asarray(value, dtype))


def take(table: Shaped[Array, "n ..."], index: Int[Array, ""]) -> Array:
    """Entry `index` of the first axis; the index is known to be in bounds."""
    rest = table.shape[1:]
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(len(rest))), collapsed_slice_dims=(0,), start_index_map=(0,)
    )
    return lax.gather(table, index[None], numbers, slice_sizes=(1, *rest), mode=_ROW)


def pair(table: Float[Array, "n p"], index: Int[Array, ""]) -> tuple[dict[int, Array], dict[int, Array]]:
    """Rows `index` and `index + 1`, each as numbers by column, in one gather; both are known to be in bounds."""
    columns = table.shape[1]
    numbers = lax.GatherDimensionNumbers(offset_dims=(0, 1), collapsed_slice_dims=(), start_index_map=(0,))
    rows = lax.gather(table, index[None], numbers, slice_sizes=(2, columns), mode=_ROW)
    low, high = ({c: lax.reshape(lax.slice(rows, (k, c), (k + 1, c + 1)), ()) for c in range(columns)} for k in (0, 1))
    return low, high
