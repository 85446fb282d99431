"""Values that Python computes while jax traces: drawn, read from a clock or a counter, and the same ever after.

`np.random.normal()` in a reward is evaluated once, when the function is traced, and is a constant of the compiled
program. Two traces of one function show it: their equations and constants differ.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from bellax.errors import ModelError
from bellax.model import shapes
from bellax.model.graph import Graph


def check(graph: Graph, parameters: Mapping[str, Any], regime: str = "") -> None:
    """Every function gives the same each time that it is traced.

    Args:
        graph: the names of a regime.
        parameters: as `Model.parameters` returns them.
        regime: its name.
    Raises:
        ModelError: if one does not.
    """
    env = shapes.environment(graph, parameters, regime)
    slots = [
        s for s in graph.slots.values() if not (s.quantity.local or s.quantity.alias or s.quantity.function is None)
    ]
    env |= shapes.evaluate(graph, [slot.node for slot in slots], env)
    for slot in slots:
        first, second = (_constants(graph, slot.node, {name: env[name] for name in slot.quantity.names}) for _ in "12")
        if len(first) == len(second) and all(map(_same, first, second)):
            continue
        pairs = [(a, b) for a, b in zip(first, second, strict=False) if _are_numbers(a, b) and not _same(a, b)]
        seen = f"{float(pairs[0][0])}, then {float(pairs[0][1])}" if pairs else "by other numbers or equations"
        raise ModelError(
            f"{slot.quantity.label} differs each time that it is traced ({seen}): it draws a "
            "random number, or reads a clock or a counter, in Python, which happens once and is a constant of the "
            "compiled program. What is random is a shock, shocks={'e': bx.shocks.Normal()}; what is set is a parameter."
        )


def _constants(graph: Graph, node: str, env: Mapping[str, Any]) -> list[Any]:
    def traced(env: dict[str, Any]) -> Any:  # a new function each time: jax remembers what it has traced
        return graph.nodes[node](**env)

    closed = jax.make_jaxpr(traced)(dict(env))
    return list(_walked(closed))


def _walked(value: Any) -> Iterator[Any]:
    """Names of operations, numbers and arrays, in order; options that are functions or other objects are left out."""
    if isinstance(value, ClosedJaxpr):
        yield from value.consts
        value = value.jaxpr  # itself, in versions of jax in which the two are one
    if isinstance(value, Jaxpr):
        for equation in value.eqns:
            yield equation.primitive.name
            yield from (atom.val for atom in equation.invars if isinstance(atom, Literal))
            yield from _walked([equation.params[key] for key in sorted(equation.params)])
        yield from (atom.val for atom in value.outvars if isinstance(atom, Literal))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _walked(each)
    elif isinstance(value, int | float | np.ndarray | np.generic):
        yield value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return bool(a == b)
    a, b = (jax.random.key_data(each) if _is_key(each) else each for each in (a, b))
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def _is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)


def _are_numbers(*values: Any) -> bool:
    return all(not isinstance(value, str) and not _is_key(value) and np.ndim(value) == 0 for value in values)
