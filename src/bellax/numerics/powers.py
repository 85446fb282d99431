"""Powers in the hot loop as exp(y log x), two vectorised kernels, where XLA's are a call of the C library each.

Of u(c) = c^(1 - s)/(1 - s) and two derivatives the logarithm is the same. The error grows like |y log x|: a few units
of the last digit where c is not astronomical.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core
from jaxtyping import Float

from bellax.numerics.scalar import where

_CALLS = ("jit", "pjit", "closed_call", "core_call")


@jax.custom_jvp
def power(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    """x to the power of y, as `lax.pow` has it: one where y is zero, signed below zero where y is whole."""
    size = jnp.exp(y * jnp.log(jnp.abs(x)))
    half = 0.5 * y
    odd = where(jnp.floor(y) == y, -size, jnp.full_like(size, jnp.nan))
    return where(y == 0, 1.0, where(x < 0, where(jnp.floor(half) == half, size, odd), size))


@power.defjvp
def _power_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x, y), (dx, dy) = primals, tangents
    found = power(x, y)
    # at zero x^0 is one, and zero times infinity is none of its derivatives; elsewhere they move with the exponent
    by_x = y * power(where((x == 0) & (y == 0), 1.0, x), y - 1.0)
    # at zero a power above zero does not move with its exponent
    by_y = found * jnp.log(where((x == 0) & (y >= 0), 1.0, x))
    return found, by_x * dx + by_y * dy


def with_quick_powers(function: Callable[[Any], Array], argument: Any) -> Array:
    """A function of a pytree of arrays, of which every power is `power`."""
    closed = jax.make_jaxpr(function)(argument)
    return _run(closed.jaxpr, closed.consts, jax.tree.leaves(argument))[0]


def _run(jaxpr: Any, consts: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *given], strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, core.Literal) else known[var]

    for equation in jaxpr.eqns:
        ins, name = [read(var) for var in equation.invars], equation.primitive.name
        if name in _CALLS:
            inner = next(equation.params[key] for key in ("jaxpr", "call_jaxpr") if key in equation.params)
            outs = _run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), ins)
        elif name == "pow" and all(jnp.issubdtype(jnp.result_type(each), jnp.floating) for each in ins):
            outs = [power(*jnp.broadcast_arrays(*ins))]
        else:
            found = equation.primitive.bind(*ins, **equation.primitive.get_bind_params(equation.params))
            outs = found if equation.primitive.multiple_results else [found]
        known |= dict(zip(equation.outvars, outs, strict=True))
    return [read(var) for var in jaxpr.outvars]
