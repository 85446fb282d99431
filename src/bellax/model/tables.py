"""Tables read by codes: what a slot gives depends on no entry that does not exist.

`wages[health]` with two wages and three categories is the second wage in the third, since jax takes the nearest entry.
Every slot that reads discrete names is tried on all combinations of their categories (numerics/reads.py), and is judged
by its result: a read past the end that the result does not depend on, behind a condition or times zero, is no fault.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from bellax.errors import ModelError, ParameterError
from bellax.model import codes, shapes
from bellax.model.graph import Graph
from bellax.model.parameters import lookup
from bellax.model.quantity import ByPeriod, is_literal
from bellax.model.shocks import Categorical
from bellax.numerics.reads import Read, Term, Walk, constant

_COMBINATIONS = 4096


def check(graph: Graph, parameters: Mapping[str, Any], regime: str = "") -> None:
    """No slot depends on an entry past the end of an array that it looks up by a discrete name.

    Args:
        graph: the names of a regime.
        parameters: numbers, as `Model.parameters` returns them.
        regime: its name.
    Raises:
        ParameterError: if one does, and the array is a parameter.
        ModelError: if one does otherwise.
    """
    slots = [s for s in graph.slots.values() if s.scope != "function" and not s.quantity.local]
    spaces = codes.discrete(graph)
    judged = [s.node for s in slots if not s.quantity.alias and not spaces.keys().isdisjoint(graph.reach(s.node))]
    if not judged:
        return
    reached = set(judged).union(*(graph.reach(node) for node in judged))
    env = shapes.environment(graph, parameters, regime)
    found = shapes.evaluate(graph, [name for name in graph.slots if name.endswith(".probabilities")], env)
    leaves = [name for name in spaces if name in reached and name in graph.kinds]
    seen = _few({name: _values(name, spaces[name], found) for name in leaves})
    if not seen:
        return
    nodes = [name for name in graph.slots if name in reached]
    for exact in (False, True):  # exactly only where it may acquit: that compiles
        past, reads = _tried(graph, nodes, env, seen, lookup(parameters, regime), exact)
        wrong = [node for node in judged if past[node].any()]
        if not wrong:
            return
    culprits = [name for name in graph.reach(wrong[0]) | {wrong[0]} if name in past and past[name].any()]
    own = {name: graph.slots[name].quantity for name in culprits}
    first = next(name for name in culprits if own.keys().isdisjoint(own[name].names))
    raise _error(graph, own[first].label, reads[int(past[first].max()) - 1], seen)


def _few(values: Mapping[str, np.ndarray | None]) -> dict[str, np.ndarray]:
    """The values that are known, of the longest their ends alone where there are too many combinations."""
    seen = {name: value for name, value in values.items() if value is not None}
    for name in sorted(seen, key=lambda name: -len(seen[name])):
        if math.prod(len(value) for value in seen.values()) > _COMBINATIONS:
            seen[name] = seen[name][[0, -1]]
    return seen if math.prod(len(value) for value in seen.values()) <= _COMBINATIONS else {}


def _values(name: str, space: Any, found: Mapping[str, Any]) -> np.ndarray | None:
    """What functions see of each category; None where a parameter says it."""
    if not isinstance(space, Categorical):
        return space.values
    if space.values is not None:
        return np.asarray(space.values) if is_literal(space.values) else None
    nodes = f"shock:{name}.probabilities", f"process:{name.removeprefix('next_')}.probabilities"
    return next((np.arange(found[node].shape[0], dtype=np.int32) for node in nodes if node in found), None)


def _tried(
    graph: Graph,
    nodes: Iterable[str],
    env: Mapping[str, Any],
    seen: Mapping[str, np.ndarray],
    parameters: Mapping[str, Any],
    exact: bool,
) -> tuple[dict[str, np.ndarray], list[Read]]:
    """For each node the reads past the end that it depends on, and all of these reads."""
    walk = Walk([len(value) for value in seen.values()], exact)
    places = np.meshgrid(*(np.arange(len(value)) for value in seen.values()), indexing="ij")
    terms = {
        name: Term(value[place.ravel()].astype(env[name].dtype))
        for (name, value), place in zip(seen.items(), places, strict=True)
    }
    for name, value in parameters.items():
        if name in env:
            known = Term() if isinstance(value, ByPeriod) else constant(value, env[name].dtype)
            terms[name] = known._replace(name=name)
    traced, given = jax.make_jaxpr(lambda env: graph.compose(nodes)(**env), return_shape=True)(dict(env))
    inputs = [terms.get(name, Term()) for name in sorted(env)]
    outputs = walk.run(traced.jaxpr, traced.consts, inputs)
    past = {name: np.zeros(1, int) for name in given}
    for (path, _), term in zip(jax.tree.flatten_with_path(given)[0], outputs, strict=True):
        if term.past is not None:
            past[path[0].key] = np.concatenate([past[path[0].key], term.past.ravel()])
    return past, walk.reads


def _error(graph: Graph, label: str, read: Read, seen: Mapping[str, np.ndarray]) -> Exception:
    name, at = next((name, at) for name, at in zip(seen, read.categories, strict=True) if at.any())
    space: Any = codes.discrete(graph)[name]
    value = seen[name][int(np.argmax(at))]
    labels = getattr(space, "labels", None)
    where = f"{name} = {labels[list(space.values).index(value)] if labels else value}"
    array = f"parameter {read.array!r}" if read.array else "an array"
    text = (
        f"{label} reads outside of {array}, which has length {read.length}, where {where}. Give it an entry for every "
        "category: jax would take the nearest one in silence. Where that is meant, write "
        "jnp.take(array, index, mode='clip')."
    )
    return ParameterError(text) if read.array else ModelError(text)
