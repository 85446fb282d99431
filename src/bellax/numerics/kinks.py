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
        for inner in inside(equation):
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


def inside(equation: Any) -> list[Any]:
    """The operations inside an equation."""
    found = [equation.params.get(key) for key in ("jaxpr", "call_jaxpr", "fun_jaxpr")]
    found = [*found, *equation.params.get("branches", ())]
    return [getattr(inner, "jaxpr", inner) for inner in found if inner is not None]


_MARKS: dict[str, Callable[..., Any]] = {
    # a tie is a side of its own, at which the derivative is that of neither
    "max": lambda ins, outs: jnp.sign(ins[0] - ins[1]),
    "min": lambda ins, outs: jnp.sign(ins[0] - ins[1]),
    "abs": lambda ins, outs: jnp.sign(ins[0]),
    "sign": lambda ins, outs: outs[0],
    "floor": lambda ins, outs: outs[0],
    "ceil": lambda ins, outs: outs[0],
    "round": lambda ins, outs: outs[0],
    "rem": lambda ins, outs: jnp.floor(ins[0] / ins[1]),
    "clamp": lambda ins, outs: jnp.sign(ins[1] - ins[0]) + jnp.sign(ins[1] - ins[2]),
    "argmax": lambda ins, outs: outs[0],
    "argmin": lambda ins, outs: outs[0],
    "convert_element_type": lambda ins, outs: outs[0],
    "cond": lambda ins, outs: ins[0],
} | {name: lambda ins, outs: outs[0] for name in ("eq", "ne", "lt", "le", "gt", "ge")}
"""Which side of a kink or step operands are on. What a condition chooses is known from the condition."""


def branch(function: Callable[[Any], Any], argument: Any) -> Any:
    """A whole number that changes where the argument passes a kink or a step of a function, loops left out."""
    closed = jax.make_jaxpr(function)(argument)
    marks: list[Any] = []
    _run(closed.jaxpr, closed.consts, jax.tree.leaves(argument), [True] * len(closed.jaxpr.invars), marks)
    total = jnp.zeros((), jnp.uint32)
    for place, mark in enumerate(marks):
        flat = jnp.ravel(mark).astype(jnp.int32).astype(jnp.uint32)
        each = (2 * jnp.arange(flat.size, dtype=jnp.uint32) + 1) * jnp.uint32((2246822519 * (2 * place + 1)) % 2**32)
        total = total + jnp.sum(flat * each, dtype=jnp.uint32)
    return total


def _run(
    jaxpr: Any, consts: Sequence[Any], given: Sequence[Any], depends: Sequence[bool], marks: list[Any]
) -> tuple[list[Any], list[bool]]:
    """What a program gives, and which of that depends on the argument; the sides of kinks are added to `marks`."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *given], strict=True))
    moving = {var for var, does in zip(jaxpr.invars, depends, strict=True) if does}

    def read(var: Any) -> tuple[Any, bool]:
        return (var.val, False) if isinstance(var, core.Literal) else (known[var], var in moving)

    for equation in jaxpr.eqns:
        ins, reads = zip(*map(read, equation.invars), strict=True) if equation.invars else ((), ())
        name, inner = equation.primitive.name, inside(equation)
        if len(inner) == 1 and len(inner[0].invars) == len(ins) and name not in ("scan", "while", "cond"):
            outs, moved = _run(inner[0], constants_inside(equation), ins, reads, marks)
        else:
            outs = equation.primitive.bind(*ins, **equation.params)
            outs = outs if equation.primitive.multiple_results else [outs]
            moved = [any(reads)] * len(outs)
            if any(reads) and name in _MARKS and _is_kink(equation, list(reads)):
                marks.append(_MARKS[name](ins, outs))
        known |= dict(zip(equation.outvars, outs, strict=True))
        moving |= {var for var, does in zip(equation.outvars, moved, strict=True) if does}
    found = [read(var) for var in jaxpr.outvars]
    return [value for value, _ in found], [does for _, does in found]


def constants_inside(equation: Any) -> Sequence[Any]:
    """The constants of the program inside an equation."""
    found = (equation.params.get(key) for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"))
    return next((inner.consts for inner in found if isinstance(inner, core.ClosedJaxpr)), ())
