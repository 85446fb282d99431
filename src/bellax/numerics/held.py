"""Numbers that do not move with parameters, and say so where a derivative is asked for."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from bellax.errors import ModelError


def held(x: Array, cause: Any, complaint: str) -> Array:
    """x, whose derivatives in what it was found for are refused instead of being zero.

    Args:
        cause: a pytree of what it was found for, such as the parameters. Derivatives in anything else pass.
        complaint: of the ModelError.
    """
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        return x
    return _held(x, [leaf for leaf in map(jnp.asarray, jax.tree.leaves(cause))], complaint)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _held(x: Array, cause: list[Array], complaint: str) -> Array:
    return x


def _moved(complaint: str, primals: tuple, tangents: tuple) -> tuple:
    x, _ = primals
    by_x, by_cause = tangents
    moving = [t for t in by_cause if not isinstance(t, SymbolicZero) and t.dtype != jax.dtypes.float0]
    if moving:
        raise ModelError(complaint)
    return x, jnp.zeros_like(x) if isinstance(by_x, SymbolicZero) else by_x


_held.defjvp(_moved, symbolic_zeros=True)
