"""Whether a function has kinks or steps in an argument, read off the operations that it is made of.

A maximum, an absolute value, a rounding or a condition that depends on the argument makes one; what does not depend on
it, such as a condition on a category, makes none. The answer may be yes where there is no kink, and never the reverse.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

_KINKS = {
    "max", "min", "abs", "sign", "floor", "ceil", "round", "clamp", "rem", "argmax", "argmin", "sort", "reduce_max",
    "reduce_min", "cummax", "cummin", "eq", "ne", "lt", "le", "gt", "ge",
}  # fmt: skip


def kinked(function: Callable[[Any], Any], argument: Any) -> bool:
    """Whether a function of a pytree of arrays, or of their shapes, has kinks or steps in it."""
    closed = jax.make_jaxpr(function)(argument)
    return _walk(closed.jaxpr, [True] * len(closed.jaxpr.invars))[0]


def _walk(jaxpr: Any, depends: Sequence[bool]) -> tuple[bool, list[bool]]:
    """Whether there is a kink, and which outputs depend on the argument.

    Args:
        depends: which inputs depend on it.
    """
    moving = {var for var, does in zip(jaxpr.invars, depends, strict=True) if does}
    for equation in jaxpr.eqns:
        reads = [not isinstance(v, core.Literal) and v in moving for v in equation.invars]
        if not any(reads):
            continue
        if _is_kink(equation, reads):
            return True, []
        outputs = [True] * len(equation.outvars)
        for inner in _inner(equation):
            plain = len(inner.invars) == len(reads) and equation.primitive.name != "scan"
            found, own = _walk(inner, reads if plain else [True] * len(inner.invars))
            if found:
                return True, []
            outputs = own if plain and len(own) == len(outputs) else outputs
        moving |= {var for var, does in zip(equation.outvars, outputs, strict=True) if does}
    return False, [not isinstance(v, core.Literal) and v in moving for v in jaxpr.outvars]


def _is_kink(equation: Any, reads: list[bool]) -> bool:
    """Whether an operation whose inputs `reads` says depend on the argument makes a kink or a step."""
    name = equation.primitive.name
    if name in ("select_n", "cond"):  # one that chooses by what does not depend on it makes none
        return reads[0]
    if name in ("gather", "dynamic_slice"):
        return any(reads[1:])
    if name == "convert_element_type":
        return not jnp.issubdtype(equation.params["new_dtype"], jnp.inexact)
    return name in _KINKS or name == "while"


def _inner(equation: Any) -> list[Any]:
    """The operations inside an equation."""
    found = [equation.params.get(key) for key in ("jaxpr", "call_jaxpr", "fun_jaxpr")]
    found = [*found, *equation.params.get("branches", ())]
    return [getattr(inner, "jaxpr", inner) for inner in found if inner is not None]
