"""Of which degree a function is as a polynomial in an argument, read off the operations that it is made of.

Sums have the larger degree of their parts, products the sum of both, and what is linear keeps it; everything else that
reads the argument, such as an exponential or a condition on it, makes what is no polynomial. The answer may be too
high, as where terms cancel, and is never too low.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from bellax.numerics.kinks import constants_inside, inside

MOST = 3
"""Stands for every higher degree, and for what is no polynomial."""

_KEEP = {
    "neg", "add", "sub", "add_any", "reshape", "broadcast_in_dim", "transpose", "squeeze", "expand_dims", "slice",
    "rev", "reduce_sum", "cumsum", "copy", "copy_p", "optimization_barrier", "split", "stack", "unstack", "tile", "pad",
    "concatenate", "device_put",
}  # fmt: skip
_PLACES = {"gather": 1, "dynamic_slice": 1, "dynamic_update_slice": 2, "scatter": 1, "scatter-add": 1}
"""Of operations that are linear but for where they look, the first input that says where."""


class Degree(NamedTuple):
    """What is known of a value.

    Attributes:
        degree: 0 to `MOST`.
        why: the operation that makes it no polynomial, or one of a high degree; empty where there is none.
        value: what it is, where it does not read the argument and that may be asked.
    """

    degree: int
    why: str = ""
    value: Callable[[], Any] | None = None


class Polynomial:
    """A function of constants and of an argument, both pytrees, looked at once for many constants.

    Args:
        function: of both.
        constants, argument: of the shapes that it will have.
    """

    def __init__(self, function: Callable[[Any, Any], Any], constants: Any, argument: Any) -> None:
        self.closed, shapes = jax.make_jaxpr(function, return_shape=True)(constants, argument)
        self.structure = jax.tree.structure(shapes)
        self.moving = len(jax.tree.leaves(argument))
        self.asked = False

    def degrees(self, constants: Any) -> Any:
        """A `Degree` for every leaf of what the function gives; `asked` says whether it took numbers of constants."""
        given = [self._constant(leaf) for leaf in jax.tree.leaves(constants)] + [Degree(1)] * self.moving
        own = [self._constant(leaf) for leaf in self.closed.consts]
        return jax.tree.unflatten(self.structure, _walk(self.closed.jaxpr, own, given))

    def _constant(self, leaf: Any) -> Degree:
        def value() -> Any:
            self.asked = True
            return leaf

        return Degree(0, value=value)


def _walk(jaxpr: Any, constants: Sequence[Degree], given: Sequence[Degree]) -> list[Degree]:
    """The degrees of what a program gives."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *given], strict=True))

    def read(var: Any) -> Degree:
        return Degree(0, value=lambda: var.val) if isinstance(var, core.Literal) else known[var]

    for equation in jaxpr.eqns:
        ins = [read(var) for var in equation.invars]
        outs = _constants(equation, ins) if all(own.degree == 0 for own in ins) else _moving(equation, ins)
        known |= dict(zip(equation.outvars, outs, strict=True))
    return [read(var) for var in jaxpr.outvars]


def _constants(equation: Any, ins: Sequence[Degree]) -> list[Degree]:
    """What an operation gives of constants: numbers, worked out when they are asked for."""
    if any(own.value is None for own in ins):
        return [Degree(0)] * len(equation.outvars)
    found: list[Any] = []

    def value(place: int) -> Any:
        if not found:
            functions, parameters = equation.primitive.get_bind_params(equation.params)
            outs = equation.primitive.bind(*functions, *(own.value() for own in ins if own.value), **parameters)
            found.extend(outs if equation.primitive.multiple_results else [outs])
        return found[place]

    return [Degree(0, value=partial(value, k)) for k in range(len(equation.outvars))]


def _moving(equation: Any, ins: Sequence[Degree]) -> list[Degree]:
    """The degrees of what an operation gives, some of whose inputs read the argument."""
    name = equation.primitive.name
    if name == "cond":
        if ins[0].degree == 0:
            ways = [_walk(way.jaxpr, _plain(way.consts), ins[1:]) for way in equation.params["branches"]]
            return [_highest(own) for own in zip(*ways, strict=True)]
    elif name == "scan":
        return _scanned(equation, ins)
    elif name == "while":
        return _while(equation, ins)
    elif name != "custom_linear_solve":
        programs = inside(equation)
        if len(programs) == 1 and len(programs[0].invars) == len(ins):
            return _walk(programs[0], _plain(constants_inside(equation)), ins)
    return [_of(name, equation, ins)] * len(equation.outvars)


def _of(name: str, equation: Any, ins: Sequence[Degree]) -> Degree:
    """The degree of an operation without another program in it."""
    first, parameters = ins[0], equation.params
    if name in _KEEP:
        return _highest(ins)
    if name in ("mul", "dot_general", "conv_general_dilated"):
        return _times(first, ins[1])
    if name == "square":
        return _power(first, 2)
    if name == "integer_pow" and parameters["y"] >= 0:
        return _power(first, parameters["y"])
    if name == "pow" and ins[1].degree == 0 and ins[1].value is not None:
        exponents = np.asarray(ins[1].value())
        if np.all(exponents == exponents.flat[0]) and float(exponents.flat[0]) in (1.0, 2.0):
            return _power(first, int(exponents.flat[0]))
    if name == "reduce_prod":
        shape = equation.invars[0].aval.shape
        return _power(first, int(np.prod([shape[axis] for axis in parameters["axes"]], dtype=int)))
    if name == "convert_element_type" and jnp.issubdtype(parameters["new_dtype"], jnp.inexact):
        return first
    if name == "div" and ins[1].degree == 0:
        return first
    if name == "select_n" and first.degree == 0:
        return _highest(ins[1:])
    if name == "triangular_solve" and first.degree == 0:
        return ins[1]
    if name == "custom_linear_solve":
        count = sum(parameters["const_lengths"])
        if all(own.degree == 0 for own in ins[:count]):
            return _highest(ins[count:])
    if name in _PLACES:
        where = _PLACES[name]
        places = ins[where : where + 1] if name.startswith("scatter") else ins[where:]
        if all(own.degree == 0 for own in places):
            return _highest([own for own in ins if own not in places])
    return Degree(MOST, next((own.why for own in ins if own.why), name))


def _scanned(equation: Any, ins: Sequence[Degree]) -> list[Degree]:
    """Of a loop of a known length: what is carried has the degree that one more turn does not raise."""
    parameters = equation.params
    inner, constants = parameters["jaxpr"], parameters["num_consts"]
    held, carried = _unknown(ins[:constants]), _unknown(ins[constants : constants + parameters["num_carry"]])
    rows = _unknown(ins[constants + len(carried) :])
    while True:
        outs = _walk(inner.jaxpr, _plain(inner.consts), [*held, *carried, *rows])
        after = [_highest(pair) for pair in zip(carried, outs, strict=False)]
        if [own.degree for own in after] == [own.degree for own in carried]:
            return [*after, *outs[len(carried) :]]
        carried = after


def _while(equation: Any, ins: Sequence[Degree]) -> list[Degree]:
    """Of a loop whose end must not read the argument."""
    parameters = equation.params
    first, second = parameters["cond_nconsts"], parameters["body_nconsts"]
    asked, body = parameters["cond_jaxpr"], parameters["body_jaxpr"]
    told, held, carried = (_unknown(own) for own in (ins[:first], ins[first : first + second], ins[first + second :]))
    while True:
        outs = _walk(body.jaxpr, _plain(body.consts), [*held, *carried])
        after = [_highest(pair) for pair in zip(carried, outs, strict=True)]
        if [own.degree for own in after] == [own.degree for own in carried]:
            break
        carried = after
    (ends,) = _walk(asked.jaxpr, _plain(asked.consts), [*told, *after])
    return after if ends.degree == 0 else [Degree(MOST, "while")] * len(after)


def _plain(constants: Sequence[Any]) -> list[Degree]:
    """Constants of a program, whose numbers are known."""
    return [Degree(0, value=partial(_itself, leaf)) for leaf in constants]


def _itself(leaf: Any) -> Any:
    return leaf


def _unknown(own: Sequence[Degree]) -> list[Degree]:
    """Without their numbers, which differ from turn to turn."""
    return [one._replace(value=None) for one in own]


def _highest(own: Sequence[Degree]) -> Degree:
    most = max(own, key=lambda one: one.degree)
    return Degree(most.degree, most.why)


def _times(one: Degree, other: Degree) -> Degree:
    if one.degree + other.degree >= MOST:
        return Degree(MOST, one.why or other.why or "a product of three")
    return Degree(one.degree + other.degree)


def _power(one: Degree, exponent: int) -> Degree:
    if one.degree * exponent >= MOST:
        return Degree(MOST, one.why or f"a power of {exponent * one.degree}")
    return Degree(one.degree * exponent)
