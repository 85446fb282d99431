"""Parameters: what a model needs, and what a user gave, brought together.

Parameters are a dict that every solver takes as an argument. A model of regimes looks a name up in its
regime's own dict first, `params["retired"]["growth"]`, then in the outer one.
"""

import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from bellax.errors import ModelError, ParameterError, listed, nearest
from bellax.model.align import Categories, Passed, aligned, along_clock, floats
from bellax.model.boundaries import mapping_quantities, mappings, source_names
from bellax.model.graph import Graph
from bellax.model.quantity import ByAge, ByPeriod, Quantity, is_table
from bellax.model.regime import kinds
from bellax.model.spaces import Discrete, MarkovChain
from bellax.model.statement import Statement
from bellax.model.time import Clock
from bellax.numerics.programs import all_concrete

OWNED = "parameter_of_"
"""What the name of a parameter that belongs to another regime begins with in a graph."""


class Entry(NamedTuple):
    """One parameter of one regime."""

    regime: str
    name: str
    used_in: tuple[str, ...]
    default: Any
    has_default: bool
    annotation: str


def entries(model: Statement) -> list[Entry]:
    """Every parameter of every regime, in the order in which the model names them.

    Raises:
        ModelError: if a parameter has two defaults in one regime, is a state, an action, a shock or a
            function in another regime, or has the name of a regime.
    """
    elsewhere = kinds(graph.regime for graph in model.graphs.values()) if len(model.graphs) > 1 else {}
    return [
        _entry(regime, graph, name, uses, elsewhere, model.graphs)
        for regime, graph in model.graphs.items()
        for name, uses in _uses(model, regime, graph).items()
    ]


def _uses(model: Statement, regime: str, graph: Graph) -> dict[str, list[Quantity]]:
    used = {name: [slot.quantity for slot in slots] for name, slots in graph.parameter_names().items()}
    owned = mappings(graph, regime)
    for state, source, target, law in owned:
        # a law for every source reads what those have that reach here
        sources = [other for name, other, _, given in owned if name == state and given is law]
        known = source_names(graph).union(*(source_names(model.graphs[other]) for other in sources))
        for q in mapping_quantities(state, source, target, law).values():
            for name in q.names:
                if name not in known and not name.startswith("next_"):
                    used.setdefault(name, []).append(q)
    return used


def _entry(
    regime: str,
    graph: Graph,
    name: str,
    uses: list[Quantity],
    elsewhere: Mapping[str, str],
    graphs: Mapping[str, Graph],
) -> Entry:
    where = tuple(q.label.removeprefix(graph.where) for q in uses)
    if name in elsewhere:
        raise ModelError(
            f"{graph.where}{where[0]} names {name!r}, which is {_article(elsewhere[name])} of another regime and does "
            f"not exist here; one name has one meaning in a model. Here are {listed(_names(graph))}."
        )
    if name.startswith(OWNED):
        raise ModelError(f"{graph.where}{where[0]} names {name!r}; names that begin with {OWNED!r} are reserved.")
    if name in graphs:
        raise ModelError(
            f"{graph.where}{where[0]} names the parameter {name!r}, which is a regime. Rename one of them."
        )
    defaults = [q.defaults[name] for q in uses if name in q.defaults]
    if any(not np.array_equal(np.asarray(default), np.asarray(defaults[0])) for default in defaults):
        labels = listed(q.label for q in uses if name in q.defaults)
        raise ModelError(f"parameter {name!r} has different defaults in {labels}; give it one.")
    annotation = next((q.annotations[name] for q in uses if name in q.annotations), "")
    return Entry(regime, name, where, defaults[0] if defaults else None, bool(defaults), annotation)


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "action" else f"a {kind}"


def _names(graph: Graph) -> list[str]:
    return [*graph.kinds, *(name for name in graph.slots if ":" not in name and name not in graph.kinds)]


def template(model: Statement, regime: str | None = None) -> Any:
    """The parameters as a pandas DataFrame; see `Model.template`."""
    import pandas as pd  # costs .4 s at import, and a solve does not need it

    several = list(model.graphs) != [""]
    rows = [
        {
            **({"regime": e.regime} if several else {}),
            "name": e.name,
            "used in": ", ".join(e.used_in),
            "default": e.default if e.has_default else "",
            "annotation": e.annotation,
        }
        for e in entries(model)
        if regime in (None, e.regime)
    ]
    columns = (["regime"] if several else []) + ["name", "used in", "default", "annotation"]
    return pd.DataFrame(rows, columns=columns)


def parameters(model: Statement, given: Mapping[str, Any], clock: Clock | None = None) -> dict[str, Any]:
    """The parameters as solvers take them; see `Model.parameters`."""
    if not isinstance(given, Mapping):
        raise ParameterError(f"parameters are {given!r}; give a dict by name, such as {{'discount': 0.96}}.")
    clock = clock or model.clock
    needed = entries(model)
    nested = {name: value for name, value in given.items() if name in model.graphs and isinstance(value, Mapping)}
    shared = {name: value for name, value in given.items() if name not in nested}
    _check_surplus(model, needed, shared, nested)
    missing = [e for e in needed if not (e.has_default or e.name in shared or e.name in nested.get(e.regime, {}))]
    if missing:
        raise ParameterError(_missing_message(model, missing))
    found: dict[str, Any] = {}
    for e in needed:
        if e.name in nested.get(e.regime, {}):
            value = convert(model, e.name, nested[e.regime][e.name], clock, e)
            found.setdefault(e.regime, {})[e.name] = value
        elif e.name not in shared:  # regimes may have different defaults
            own = found.setdefault(e.regime, {}) if e.regime else found
            own[e.name] = convert(model, e.name, e.default, clock, e)
        elif e.regime and (is_table(shared[e.name]) or isinstance(shared[e.name], ByAge)):
            # labels mean what they mean in a regime: two may have the same in another order
            value = convert(model, e.name, shared[e.name], clock, e)
            if not _same(found.setdefault(e.name, value), value):
                found.setdefault(e.regime, {})[e.name] = value
        elif e.name not in found:
            found[e.name] = convert(model, e.name, shared[e.name], clock, e)
    _check_values(model, found)
    return found


def _same(a: Any, b: Any) -> bool:
    """Whether two values are known to be equal; of what is being traced nobody knows."""
    a, b = (value.values if isinstance(value, ByPeriod) else value for value in (a, b))
    return a is b or (all_concrete((a, b)) and np.array_equal(np.asarray(a), np.asarray(b)))


def lookup(found: Mapping[str, Any], regime: str) -> dict[str, Any]:
    """The parameters as one regime sees them: its own before the outer ones."""
    own = found.get(regime, {})
    return {**found, **own} if isinstance(own, Mapping) else dict(found)


def categories(model: Statement, regime: str = "") -> Categories:
    """Labels and values of every discrete state and action, those of one regime first."""
    found: dict[str, Any] = {}
    for key, graph in sorted(model.graphs.items(), key=lambda item: item[0] != regime):
        spaces = {**graph.regime.states, **getattr(graph.regime, "actions", {})}
        for name, space in spaces.items():
            if isinstance(space, Discrete | MarkovChain) and space.labels is not None:
                known = (space.labels, space.values)
                # a second set of categories of one name is found by its labels alone
                found[name if name not in found or found[name][0] == space.labels else f"{key}.{name}"] = known
    return found


def convert(model: Statement, name: str, value: Any, clock: Clock | None = None, entry: Entry | None = None) -> Any:
    """One value as a float array, or as one a period; tracers pass unchanged.

    Args:
        model: whose clock and categories values by age and labels refer to.
        name: of the parameter, for messages.
        value: what the user gave.
        clock: instead of the model's.
        entry: where it is used: labels are those of its regime, before those of others.
    """
    what = f"parameter {name!r}"
    if isinstance(value, ByAge | ByPeriod):
        return along_clock(what, value, clock or model.clock, _categories(model, value, entry), ParameterError)
    return floats(what, aligned(what, value, _categories(model, value, entry)) if is_table(value) else value)


def _categories(model: Statement, value: Any, entry: Entry | None) -> Categories:
    """Labels that a value may have. A mapping reads states of two regimes: there no label may have two places."""
    if isinstance(value, ByPeriod):
        return {}
    found = categories(model, "" if entry is None else entry.regime)
    if entry is None or not any(label.startswith("the mapping of") for label in entry.used_in):
        return found
    orders: dict[frozenset[str], tuple[str, ...]] = {}
    for labels, _ in found.values():
        if orders.setdefault(frozenset(labels), labels) != labels:
            raise ParameterError(
                f"parameter {entry.name!r} is used in a mapping between regimes, and the labels {listed(labels)} stand "
                "in another order elsewhere, so that a table cannot be aligned. Give its numbers: .to_numpy()."
            )
    return found


_PASSED: weakref.WeakKeyDictionary[Any, Passed] = weakref.WeakKeyDictionary()


def _check_values(model: Statement, found: dict[str, Any]) -> None:
    """What a slot demands of its value, where a parameter is that value."""
    passed = _PASSED.setdefault(model, Passed())
    for regime, graph in model.graphs.items():
        values = lookup(found, regime)
        for slot in graph.slots.values():
            name = slot.quantity.names[0] if slot.quantity.alias else ""
            if name not in values or (f"{regime}.{slot.node}", values[name]) in passed:
                continue
            problem, tidied = slot.problem(values[name]), slot.tidied(values[name])
            if not problem:
                passed.add(f"{regime}.{slot.node}", tidied)
            if tidied is not values[name]:
                (found[regime] if name in found.get(regime, {}) else found)[name] = tidied
            if problem:
                label = slot.quantity.label.removeprefix(graph.where)
                where = f" in regime {regime!r}" if regime else ""
                whole = not isinstance(values[name], ByPeriod) and np.ndim(values[name]) > len(slot.shape or ())
                hint = " For one value a period use bx.by_period(...)." if whole else ""
                raise ParameterError(f"parameter {name!r}, the {label}{where}, {problem}{hint}")


def _check_surplus(model: Statement, needed: list[Entry], shared: Mapping, nested: Mapping) -> None:
    takers: dict[str, list[str]] = {}
    for e in needed:
        takers.setdefault(e.name, []).append(e.regime)
    groups = [("", shared, {*takers})]
    groups += [(f" of regime {r!r}", group, {n for n in takers if r in takers[n]}) for r, group in nested.items()]
    for where, group, known in groups:
        for name in group:
            if name in known:
                continue
            hint = nearest(str(name), {*known, *(() if where else model.graphs)})
            if where and name in takers:
                hint = f" It belongs to {listed(takers[name])}."
            raise ParameterError(
                f"parameter {name!r}{where} is not used by the model.{hint} It takes {listed(sorted(known))}."
            )


def _missing_message(model: Statement, missing: list[Entry]) -> str:
    parts = []
    for e in missing:
        where = f" in regime {e.regime!r}" if e.regime else ""
        parts.append(
            f"{e.name!r} (named by {', '.join(e.used_in)}{where}){nearest(e.name, _names(model.graphs[e.regime]))}"
        )
    text = "; ".join(parts)
    end = "" if text.endswith("?") else "."
    return f"missing parameters: {text}{end} A name that is no state, action, shock or function is a parameter."


def signature(found: Mapping[str, Any], regime: str) -> tuple[Any, ...]:
    """The shapes of the parameters of one regime, on which the shapes of its slots depend."""
    return tuple(
        (
            name,
            isinstance(value, ByPeriod),
            value.values.shape if isinstance(value, ByPeriod) else value.shape,
        )
        for name, value in lookup(found, regime).items()
        if not isinstance(value, Mapping)
    )
