"""Functions of a model along simulated paths.

States and actions are known there, and what was drawn is drawn again: by the key of the panel, of the agent, of the
period and of its name it is the same number. So a function may read shocks and `next_<state>`, too.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ModelError, listed, nearest
from bellax.model import codes, shapes
from bellax.model.graph import Graph
from bellax.model.quantity import Quantity, quantity
from bellax.problem.draws import Laws
from bellax.problem.problem import Arguments, Problem

_ROWS = 2**18  # at once

Asked = Mapping[str, Quantity]
"""What is evaluated, by the name that it gets."""


def asked(extra: Any) -> dict[str, Quantity]:
    """What a user asks for: names of functions of the model, or a dict of names and functions of names."""
    if isinstance(extra, str):
        raise ModelError(f"extra is {extra!r}; give a list of names, [{extra!r}], or a dict of functions.")
    if not isinstance(extra, Mapping | Iterable):
        raise ModelError(f"extra is {extra!r}; give a list of names, or a dict of functions.")
    given = extra if isinstance(extra, Mapping) else {name: name for name in extra}
    return {str(name): quantity(what, f"extra[{name!r}]") for name, what in given.items()}


def missing(problem: Problem, arguments: Arguments, q: Quantity) -> str | None:
    """The first name that a quantity reads and the model does not have; None where it has all."""
    known = _known(problem, arguments)
    return next((name for name in q.names if name not in known and name not in q.defaults), None)


def check_known(problems: Iterable[Problem], arguments: Arguments, extra: Asked) -> None:
    """Raises ModelError for what reads a name that no regime has."""
    regimes = list(problems)
    for label, q in extra.items():
        lacking = [missing(problem, arguments, q) for problem in regimes]
        if all(name is not None for name in lacking):
            known = {name for problem in regimes for name in _known(problem, arguments)}
            names = listed(sorted({name for problem in regimes for name in problem.plan.graph.regime.functions}))
            raise ModelError(
                f"extra: {label!r} needs {lacking[0]!r}, which the model does not have."
                f"{nearest(str(lacking[0]), known)} Its functions are {names}; states, actions, shocks, next_<state> "
                "and parameters have a value, too."
            )


def _known(problem: Problem, arguments: Arguments) -> set[str]:
    graph = problem.plan.graph
    parameters = set(problem.own(arguments)) & set(graph.parameter_names())
    kinds = {name for name, kind in graph.kinds.items() if kind != "clock" or problem.finite}
    lawful = {"discount"} if "slot:discount" in graph.slots else set()
    return kinds | parameters | lawful | {node for node in graph.slots if ":" not in node}


def along(problem: Problem, arguments: Arguments, extra: Asked, key: Array, rows: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for at each row: an agent in a period.

    Args:
        extra: whose names the model has.
        key: of the panel.
        rows: `agents`, `periods`, and by name `states` and `actions`, one row each.
    Returns:
        Arrays of numpy by label, rows along the first axis.
    """
    if not extra:
        return {}
    graph = problem.plan.graph
    codes.check(graph, shapes.environment(graph, None, problem.regime), extra.values())
    names = {name for q in extra.values() for name in q.names if name in _known(problem, arguments)}
    nodes = {name: f"slot:{name}" if _is_discount(graph, name) else name for name in sorted(names)}
    random = any(graph.is_random(node) for node in nodes.values())
    evaluate = graph.compose(nodes.values())

    def at(row: Mapping[str, Any]) -> dict[str, Array]:
        laws = Laws(problem, arguments, row["periods"])
        own = jax.random.fold_in(jax.random.fold_in(key, row["agents"]), row["periods"] + 1)
        drawn = laws.realise(row["states"], row["actions"], own)[0] if random else {}
        found = evaluate(**{**laws.today.environment, **row["states"], **row["actions"], **drawn})
        values = {name: found[node] for name, node in nodes.items()}
        given = {label: {n: values[n] for n in q.names if n in values} for label, q in extra.items()}
        return {label: jnp.asarray(q.node()(**given[label])) for label, q in extra.items()}

    compiled = jax.jit(jax.vmap(at))
    parts = [jax.tree.map(np.asarray, compiled(part)) for part in _parts(rows)]
    count = len(rows["agents"])
    return {label: np.concatenate([part[label] for part in parts])[:count] for label in extra}


def _is_discount(graph: Graph, name: str) -> bool:
    """Whether `discount` is the factor itself and no parameter, function or state of that name."""
    other = set(graph.slots) | set(graph.kinds) | set(graph.parameter_names())
    return name == "discount" and name not in other


def _parts(rows: Mapping[str, Any]) -> Iterator[Any]:
    """Rows in parts of one length; the last row fills the last of them."""
    count = len(rows["agents"])
    size = min(_ROWS, max(1, count))
    for first in range(0, max(1, count), size):
        places = np.minimum(np.arange(first, first + size), max(0, count - 1))
        yield jax.tree.map(
            lambda leaf, places=places: leaf[places] if count else np.zeros((1, *leaf.shape[1:]), leaf.dtype), rows
        )
