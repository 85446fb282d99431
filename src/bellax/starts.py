"""The states in which a simulation starts, from what a user gave: numbers, labels, arrays or a DataFrame."""

import enum
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.plan import Plan
from bellax.bellman.query import concrete
from bellax.bellman.setting import Setting
from bellax.errors import ParameterError, check_names, listed, nearest
from bellax.model.quantity import is_table
from bellax.model.slots import view
from bellax.model.spaces import Discrete, MarkovChain

AGENTS = 10_000


def starting_states(setting: Setting, start: Any, agents: int | None) -> tuple[dict[str, Array], int]:
    """The given states, one row an agent, and how many agents there are.

    Raises:
        ModelError: for an unknown state.
        ParameterError: if a state that is no process is missing, or a start does not fit its state.
    """
    plan = setting.plan
    given = _columns(start, plan) if is_table(start) else start
    if not isinstance(given, Mapping):
        raise ParameterError(f"start is {start!r}; give a dict by state, such as {{'wealth': 10.0}}, or a DataFrame.")
    check_names(given, plan.states, "start: state")
    missing = [name for name in plan.states if name not in given and name not in plan.processes]
    if missing:
        raise ParameterError(
            f"start lacks the states {listed(missing)}.{nearest(missing[0], given)} Give each a number, or one an "
            "agent; only processes are drawn by themselves."
        )
    arrays = {name: _seen(plan, name, value) for name, value in given.items()}
    count = _count(plan, arrays, agents)
    return {name: _rows(plan, name, array, count) for name, array in arrays.items()}, count


def _columns(frame: Any, plan: Plan) -> dict[str, Any]:
    """A DataFrame as a dict; columns `name[0]`, `name[1]`, ... make one vector."""
    found: dict[str, Any] = {column: frame[column].to_numpy() for column in frame.columns}
    for name in plan.states:
        shape = view(plan.states[name]).shape
        parts = [f"{name}[{', '.join(map(str, place))}]" for place in np.ndindex(shape)] if shape else []
        if parts and all(part in found for part in parts):
            found[name] = np.stack([found.pop(part) for part in parts], axis=1).reshape(-1, *shape)
    return found


def _seen(plan: Plan, name: str, value: Any) -> Array:
    """A start as functions see it; labels and members become codes."""
    space, seen = plan.states[name], view(plan.states[name])
    array: Any = value
    if not isinstance(value, jax.Array):
        array = _decoded(name, space, np.asarray(value, dtype=object if _labelled(value) else None))
        if array.dtype.kind not in "biuf":
            raise ParameterError(f"start of {name!r} is {value!r}, which is no number.")
    if concrete(array):
        _check(name, space, np.asarray(array))
    return jnp.asarray(array).astype(seen.dtype)


def _labelled(value: Any) -> bool:
    return isinstance(value, str | enum.Enum)


def _decoded(name: str, space: Any, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "OUS":
        return array
    labels = list(space.labels or ()) if isinstance(space, Discrete | MarkovChain) else []

    def decode(entry: Any) -> Any:
        label = entry.name if isinstance(entry, enum.Enum) else entry
        if not isinstance(label, str):
            return entry
        if label not in labels:
            known = f" Categories: {listed(labels)}." if labels else " It takes numbers."
            hint = nearest(label, labels)
            raise ParameterError(f"start of {name!r} has {label!r}, which it does not know.{hint}{known}")
        assert isinstance(space, Discrete | MarkovChain) and space.values is not None
        return space.values[labels.index(label)]

    return np.asarray([decode(entry) for entry in array.reshape(-1).tolist()]).reshape(array.shape)


def _check(name: str, space: Any, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        bad = array.reshape(-1)[~np.isfinite(array.reshape(-1))][0]
        raise ParameterError(f"start of {name!r} is {bad}; it must be finite.")
    known = space.values if isinstance(space, Discrete | MarkovChain) else None
    if known is not None:
        fits = np.isclose(array.reshape(-1, 1), known).any(axis=1)
        if not fits.all():
            bad = array.reshape(-1)[~fits][0]
            raise ParameterError(f"start of {name!r} is {bad}, which is none of its categories: {known.tolist()}.")


def _count(plan: Plan, arrays: Mapping[str, Array], agents: int | None) -> int:
    if agents is not None and (isinstance(agents, bool) or not isinstance(agents, int | np.integer) or agents < 1):
        raise ParameterError(f"agents is {agents!r}; give a whole number of at least 1.")
    lengths = {}
    for name, array in arrays.items():
        shape = view(plan.states[name]).shape
        if array.shape != shape:
            if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
                wanted = f"{shape} for all agents or {('agents', *shape)}".replace("'", "")
                raise ParameterError(f"start of {name!r} has shape {array.shape}; it must be {wanted}.")
            lengths[name] = array.shape[0]
    if agents is None:
        agents = next(iter(lengths.values()), AGENTS)
    wrong = {name: length for name, length in lengths.items() if length != agents}
    if wrong:
        name, length = next(iter(wrong.items()))
        raise ParameterError(f"start of {name!r} has {length} rows, and there are {agents} agents.")
    return int(agents)


def _rows(plan: Plan, name: str, array: Array, count: int) -> Array:
    shape = view(plan.states[name]).shape
    return jnp.broadcast_to(array, (count, *shape)) if array.shape == shape else array
