"""The shapes of what the slots give, found by evaluating them on shapes alone: no number is computed.

This is what a model cannot know before it has parameters: whether a reward is a single number, whether a law
gives its state's shape, which regimes `next_regime` names.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellax.errors import ModelError, ParameterError
from bellax.model.codes import Misuse, marked
from bellax.model.graph import Graph, Slot
from bellax.model.quantity import ByPeriod

Shapes = dict[str, Any]


def check(graph: Graph, parameters: Mapping[str, Any], regime: str = "") -> None:
    """Every slot evaluates, and has the shape that it must have.

    Raises:
        ParameterError: if one does not, and reads a parameter that is an array.
        ModelError: if one does not otherwise.
    """
    env = environment(graph, parameters, regime)
    slots = [slot for slot in graph.slots.values() if not slot.quantity.local]
    try:
        found = evaluate(graph, [slot.node for slot in slots], env)
    except Exception:  # whatever the user's functions raise; the culprit is found one by one
        found = {slot.node: _one(graph, slot, env) for slot in slots}
    for slot in slots:
        if slot.shape is None:
            continue
        problem: str | None
        shape = getattr(found[slot.node], "shape", None)
        if shape is None:
            kind = f"a {type(found[slot.node]).__name__}" if found[slot.node] is not None else "None"
            problem = f"gives {kind}, which is no array; give a number or jnp.array([...])."
        elif jnp.issubdtype(found[slot.node].dtype, jnp.complexfloating):
            problem = "gives complex numbers; keep the arguments of its roots positive."
        else:
            problem = slot.misfit(shape)
        if problem:
            raise _error(graph, slot, env, problem)
        mistyped = slot.mistyped(found[slot.node].dtype) if slot.mistyped is not None else None
        if mistyped:
            raise ModelError(f"{slot.quantity.label} {mistyped}")


def keys(graph: Graph, node: str, parameters: Mapping[str, Any] | None, regime: str = "") -> list[str] | None:
    """The keys of the dict that a slot gives; None where only parameters can tell.

    Raises:
        ModelError: if it gives no dict.
    """
    env = environment(graph, parameters, regime)
    try:
        found = evaluate(graph, [node], env)[node]
    except Exception:  # a table indexed by a state is no single number, which is what a parameter counts as
        if parameters is None:
            return None
        found = _one(graph, graph.slots[node], env)
    if not isinstance(found, Mapping):
        raise ModelError(f"{graph.slots[node].quantity.label} gives no dict by regime, such as {{'retired': p}}.")
    return list(found)


def environment(graph: Graph, parameters: Mapping[str, Any] | None, regime: str = "") -> Shapes:
    """Shape and type of every leaf; a parameter not given has its default's shape, else one number."""
    env: Shapes = dict(graph.seen)
    env |= {key: shape_of(value) for key, value in graph.literals().items()}
    given = {} if parameters is None else {**parameters, **_nested(parameters, regime)}
    for name, slots in graph.parameter_names().items():
        default = next((s.quantity.defaults[name] for s in slots if name in s.quantity.defaults), 0.0)
        env[name] = shape_of(given.get(name, default))
    return env


def _nested(parameters: Mapping[str, Any], regime: str) -> Mapping[str, Any]:
    own = parameters.get(regime, {})
    return own if isinstance(own, Mapping) else {}


def evaluate(graph: Graph, nodes: Iterable[str], env: Shapes) -> dict[str, Any]:
    """Shape and type of what some nodes give, from those of every leaf."""
    return jax.eval_shape(lambda env: graph.compose(nodes)(**marked(graph, env)), env)


def shape_of(value: Any) -> jax.ShapeDtypeStruct:
    """Shape and type of what a function sees of a value, which is one period of what differs by period."""
    shape = value.values.shape[1:] if isinstance(value, ByPeriod) else np.shape(value)
    return jax.ShapeDtypeStruct(shape, jnp.result_type(float))


def _one(graph: Graph, slot: Slot, env: Shapes) -> Any:
    try:
        return evaluate(graph, [slot.node], env)[slot.node]
    except Misuse as error:
        raise ModelError(f"{slot.quantity.label} {error}") from error
    except Exception as error:
        raise _error(graph, slot, env, f"cannot be evaluated: {_why(error)}") from error


def _why(error: Exception) -> str:
    """What an exception of a user's function means, and what to write instead where that is known."""
    if isinstance(error, jax.errors.TracerBoolConversionError):
        instead = "In place of `if`, `and`, `or`, `in` write jnp.where(condition, a, b), &, |."
        return f"it asks whether an array is true. {instead}"
    if isinstance(error, jax.errors.TracerArrayConversionError | jax.errors.ConcretizationTypeError):
        return (
            "it needs a number and sees an array of jax. Use jax.numpy (jnp.log, jnp.array([a, b])[code]) in place of "
            "numpy and math."
        )
    if isinstance(error, jax.errors.TracerIntegerConversionError):
        return "it looks a list up by an array of jax. In place of [a, b][code] write jnp.array([a, b])[code]."
    if isinstance(error, TypeError) and "unhashable type" in str(error):
        return "it looks a dict up by an array of jax. In place of {0: a, 1: b}[code] write jnp.array([a, b])[code]."
    if isinstance(error, TypeError) and "not a valid JAX type" in str(error):
        kind = str(error).partition("of type ")[2].partition(" at")[0]
        return f"it gives {kind or 'something'}, which is no number and no array."
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0].rstrip('.')}."


def _error(graph: Graph, slot: Slot, env: Shapes, problem: str) -> Exception:
    names = graph.parameter_names()
    read = [name for name in (*slot.quantity.names, *sorted(graph.reach(slot.node))) if name in names]
    arrays = {name: env[name].shape for name in read if env[name].shape}
    if not arrays:
        return ModelError(f"{slot.quantity.label} {problem}")
    listed = ", ".join(f"{name!r} has shape {shape}" for name, shape in arrays.items())
    return ParameterError(
        f"{slot.quantity.label} {problem} Of the parameters that it reads, {listed}. A function sees an array whole; "
        "for one value a period use bx.by_period(...)."
    )


def sizes(graph: Graph, nodes: Iterable[str], parameters: Mapping[str, Any]) -> dict[str, int]:
    """How many numbers each of some nodes is."""
    found = evaluate(graph, nodes, environment(graph, parameters))
    return {name: math.prod(shape.shape) for name, shape in found.items()}
