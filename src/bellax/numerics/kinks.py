"""Whether a function has kinks or steps in an argument, read off the operations that it is made of, and between which
of them the argument lies.

A maximum, an absolute value, a rounding or a condition that depends on the argument makes one; what does not depend on
it, such as a condition on a category, makes none. The answer may be yes where there is no kink, and never the reverse.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core
from jaxtyping import Float

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


def sides(function: Callable[[Array], Any], argument: Float[Array, ""]) -> Array:
    """A whole number that changes where a function passes a kink or a step in its argument.

    It is made of the outcomes of all comparisons, maxima and roundings of what depends on the argument. Loops, sorts
    and branches are not looked into.
    """
    closed = jax.make_jaxpr(function)(argument)
    seen: list[Array] = []
    _evaluate(closed.jaxpr, closed.consts, [argument], [True], seen)
    total = jnp.zeros((), jnp.uint32)
    for found in seen:
        flat = jnp.ravel(found)
        weights = 2 * jnp.arange(flat.shape[0], dtype=jnp.uint32) + 1
        total = total * jnp.uint32(2654435761) + jnp.sum(flat * weights, dtype=jnp.uint32)
    return total


def _evaluate(
    jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any], depends: Sequence[bool], seen: list[Array]
) -> tuple[list[Any], list[bool]]:
    """The outputs of operations, and whether each depends on the argument; what they are decided by goes to `seen`."""
    values = dict(zip(jaxpr.constvars, consts, strict=True)) | dict(zip(jaxpr.invars, arguments, strict=True))
    moving = {var for var, does in zip(jaxpr.invars, depends, strict=True) if does}
    for equation in jaxpr.eqns:
        given = [v.val if isinstance(v, core.Literal) else values[v] for v in equation.invars]
        reads = [not isinstance(v, core.Literal) and v in moving for v in equation.invars]
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if inner is not None and equation.primitive.name in _CALLS:
            own = getattr(inner, "jaxpr", inner)
            found, does = _evaluate(own, getattr(inner, "consts", ()), given, reads, seen)
        else:
            bound = equation.primitive.bind(*given, **equation.params)
            found = list(bound) if equation.primitive.multiple_results else [bound]
            does = [any(reads)] * len(found)
            if any(reads):
                seen += _decided(equation, given, found)
        values |= dict(zip(equation.outvars, found, strict=True))
        moving |= {var for var, moves in zip(equation.outvars, does, strict=True) if moves}
    outputs = [v.val if isinstance(v, core.Literal) else values[v] for v in jaxpr.outvars]
    return outputs, [not isinstance(v, core.Literal) and v in moving for v in jaxpr.outvars]


_CALLS = {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint"}


def _decided(equation: Any, given: list[Any], found: list[Any]) -> list[Array]:
    """What an operation decides by, as whole numbers."""
    name = equation.primitive.name
    if name in ("max", "min"):
        return [_whole(given[0] >= given[1])]
    if name in ("abs", "sign"):
        return [_whole(given[0] >= 0)]
    if name == "clamp":
        return [_whole(given[1] >= given[0]), _whole(given[1] > given[2])]
    rounds = name == "convert_element_type" and not jnp.issubdtype(equation.params["new_dtype"], jnp.inexact)
    compared = name in ("eq", "ne", "lt", "le", "gt", "ge", "floor", "ceil", "round", "argmax", "argmin")
    return [_whole(found[0])] if rounds or compared else []


def _whole(value: Any) -> Array:
    return jnp.asarray(value).astype(jnp.int32).astype(jnp.uint32)
