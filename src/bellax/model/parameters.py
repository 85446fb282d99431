"""Parameters: what a model needs, and what a user gave, brought together.

Parameters are a dict that every solver takes as an argument. A model of regimes looks a name up in its regime's own
dict first, `params["retired"]["growth"]`, then in the outer one.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bellax.errors import ParameterError, listed, nearest
from bellax.model.graph import Graph
from bellax.model.quantity import ByAge, ByPeriod, Quantity, quantity
from bellax.model.regime import Regime
from bellax.model.spaces import Discrete, MarkovChain

if TYPE_CHECKING:
    from bellax.model.model import Model


class Entry(NamedTuple):
    """One parameter of one regime."""

    regime: str
    name: str
    used_in: tuple[str, ...]
    default: Any
    has_default: bool
    annotation: str


def entries(model: "Model") -> list[Entry]:
    """Every parameter of every regime, in the order in which the model names them."""
    return [entry for regime, graph in model.graphs.items() for entry in _of_graph(model, regime, graph)]


def _of_graph(model: "Model", regime: str, graph: Graph) -> Iterator[Entry]:
    used: dict[str, list[Quantity]] = {
        name: [slot.quantity for slot in slots] for name, slots in graph.parameter_names().items()
    }
    for boundary, source in _boundary_quantities(model, regime):
        known = set(graph.kinds) | set(graph.slots) | set(source.kinds) | set(source.slots)
        known |= {f"next_{state}" for state in source.regime.states}
        for name in boundary.names:
            if name not in known:
                used.setdefault(name, []).append(boundary)
    for name, quantities in used.items():
        defaults = [q.defaults[name] for q in quantities if name in q.defaults]
        if any(not _same(default, defaults[0]) for default in defaults):
            labels = listed(q.label for q in quantities if name in q.defaults)
            raise ParameterError(f"parameter {name!r} has different defaults in {labels}; give it one.")
        annotation = next((q.annotations[name] for q in quantities if name in q.annotations), "")
        where = tuple(q.label for q in quantities)
        yield Entry(regime, name, where, defaults[0] if defaults else None, bool(defaults), annotation)


def _boundary_quantities(model: "Model", regime: str) -> Iterator[tuple[Quantity, Graph]]:
    """Entry and exit laws that `regime` owns, each with the graph of the regime that the state leaves."""
    owner = model.all_regimes[regime]
    for slot in ("entry", "exit"):
        for state, laws in (getattr(owner, slot, None) or {}).items():
            for other, law in laws.items():
                source = model.graphs[other if slot == "entry" else regime]
                yield quantity(law, f"{slot}[{state!r}][{other!r}] of {regime!r}"), source


def _same(a: Any, b: Any) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


def template(model: "Model", regime: str | None = None) -> Any:
    """The parameters as a pandas DataFrame; see `Model.template`."""
    import pandas as pd  # costs .4 s at import, and a solve does not need it

    rows = [
        {
            **({"regime": e.regime} if model.regimes else {}),
            "name": e.name,
            "used in": ", ".join(e.used_in),
            "default": e.default if e.has_default else "",
            "annotation": e.annotation,
        }
        for e in entries(model)
        if regime in (None, e.regime)
    ]
    columns = (["regime"] if model.regimes else []) + ["name", "used in", "default", "annotation"]
    return pd.DataFrame(rows, columns=columns)


def parameters(model: "Model", given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as solvers take them; see `Model.parameters`."""
    if not isinstance(given, Mapping):
        raise ParameterError(f"parameters are {given!r}; give a dict by name, such as {{'discount': 0.96}}.")
    needed = entries(model)
    nested = {name: value for name, value in given.items() if name in model.all_regimes and isinstance(value, Mapping)}
    shared = {name: value for name, value in given.items() if name not in nested}
    _check_surplus(model, needed, shared, nested)
    missing = [
        e for e in needed if not (e.has_default or e.name in shared or e.name in nested.get(e.regime, {}))
    ]
    if missing:
        raise ParameterError(_missing_message(model, missing))
    found: dict[str, Any] = {}
    for e in needed:
        if e.name in nested.get(e.regime, {}):
            found.setdefault(e.regime, {})[e.name] = convert(model, e.name, nested[e.regime][e.name])
        elif e.name not in found:
            found[e.name] = convert(model, e.name, shared.get(e.name, e.default))
    return found


def _check_surplus(model: "Model", needed: list[Entry], shared: Mapping, nested: Mapping) -> None:
    names = {e.name for e in needed}
    groups = [("", shared, names)]
    groups += [(f" of regime {r!r}", group, {e.name for e in needed if e.regime == r}) for r, group in nested.items()]
    for where, group, known in groups:
        for name in group:
            if name not in known:
                raise ParameterError(
                    f"parameter {name!r}{where} is not used by the model.{nearest(str(name), known)} "
                    f"It takes {listed(sorted(known))}."
                )


def _missing_message(model: "Model", missing: list[Entry]) -> str:
    parts = []
    for e in missing:
        graph = model.graphs[e.regime]
        hint = nearest(e.name, [*graph.kinds, *(s for s in graph.slots if ":" not in s)])
        parts.append(f"{e.name!r} (named by {', '.join(e.used_in)}){hint}")
    return f"missing parameters: {'; '.join(parts)}. A name that is no state, action, shock or function is a parameter."


def convert(model: "Model", name: str, value: Any) -> Any:
    """One value as a float array, or as one a period; tracers pass unchanged."""
    if isinstance(value, ByAge):
        value = ByPeriod(_along_ages(model, name, value.series))
    if isinstance(value, ByPeriod):
        if not model.clock.finite:
            raise ParameterError(f"parameter {name!r} is given by period or age, and the horizon is infinite.")
        if len(value.values) < model.clock.count:
            raise ParameterError(
                f"parameter {name!r} has {len(value.values)} periods, and the model has {model.clock.count}."
            )
        return ByPeriod(_floats(name, value.values))
    if isinstance(value, jax.Array):
        return _floats(name, value)
    if hasattr(value, "index") and hasattr(value, "to_numpy"):
        value = _aligned(model, name, value)
    return _floats(name, value)


def _floats(name: str, value: Any) -> jax.Array:
    if isinstance(value, jax.core.Tracer):
        return value.astype(jnp.result_type(float))
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"parameter {name!r} is {value!r}, which is no number or array of numbers.") from error
    if np.isnan(array).any():
        raise ParameterError(f"parameter {name!r} contains NaN.")
    return jnp.asarray(array, dtype=jnp.result_type(float))


def _along_ages(model: "Model", name: str, series: Any) -> np.ndarray:
    if not model.clock.finite:
        raise ParameterError(f"parameter {name!r} is given by age, and the horizon is infinite.")
    ages = [model.clock.age(period) for period in range(model.clock.count)]
    known = {float(age): value for age, value in zip(series.index, series.to_numpy(), strict=True)}
    missing = [age for age in ages if not any(abs(age - other) < 1e-9 for other in known)]
    if missing:
        raise ParameterError(f"parameter {name!r} has no value at age {missing[0]:g} (and {len(missing) - 1} more).")
    return np.asarray([next(v for other, v in known.items() if abs(age - other) < 1e-9) for age in ages], dtype=float)


def _aligned(model: "Model", name: str, value: Any) -> np.ndarray:
    """A Series or DataFrame in the order of the categories that its labels name, else in its own."""
    for axis in ("index", "columns"):
        labels = getattr(value, axis, None)
        if labels is None or not all(isinstance(label, str) for label in labels):
            continue
        order = _category_order(model, name, set(labels))
        value = value.reindex(order) if axis == "index" else value.reindex(columns=order)
    return value.to_numpy()


def _category_order(model: "Model", name: str, labels: set[str]) -> list[str]:
    known: list[tuple[str, ...]] = []
    for regime in model.all_regimes.values():
        spaces = [*regime.states.values(), *regime.actions.values()] if isinstance(regime, Regime) else []
        known += [s.labels for s in spaces if isinstance(s, Discrete | MarkovChain) and s.labels is not None]
    for order in known:
        if set(order) == labels:
            return list(order)
    raise ParameterError(
        f"parameter {name!r} is labelled {listed(sorted(labels))}, which are the categories of no state or action. "
        f"Categories: {'; '.join(listed(order) for order in dict.fromkeys(known)) or 'none'}."
    )
