"""Users' input: the period and the states that a query means, as functions of the model see them."""

import enum
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ModelError, ParameterError, check_names, listed, nearest
from bellax.model.spaces import Discrete, MarkovChain
from bellax.model.time import Clock
from bellax.numerics.programs import concrete
from bellax.problem.problem import Problem


def check_period(clock: Clock, period: Any, age: Any, last: bool) -> Any:
    """The period that a query means; where it is none ParameterError, and -1 of one that is traced.

    Args:
        last: whether the period after the last decision is one.
    """
    if not clock.finite:
        if period is not None or age is not None:
            raise ParameterError("the horizon is infinite, so value and policy take no period and no age.")
        return 0
    if (period is None) == (age is None):
        raise ParameterError(f"give period= (0 to {clock.count - 1}) or age=, one of them.")
    if age is not None:
        _check_number(age, f"age is {age!r}; it must be one number of years.")
        period = clock.period(age)
    complaint = f"period is {period!r}; it must be one whole number."
    number = _check_number(period, complaint)
    end = clock.count - (0 if last else 1)
    if not concrete(period):
        return jnp.where((number >= 0) & (number <= end) & (number == jnp.floor(number)), number, -1).astype(jnp.int32)
    if number != np.floor(number):
        raise ParameterError(complaint)
    if not 0 <= number <= end:
        raise ParameterError(f"period {number:.0f} does not exist: decisions are in periods 0 to {clock.count - 1}.")
    return int(number)


def _check_number(given: Any, complaint: str) -> Any:
    """One number, as an array; ParameterError for anything else."""
    number = np.asarray(given) if concrete(given) else given
    if number.dtype.kind not in "iuf" or number.ndim != 0:
        raise ParameterError(f"{complaint} Query several in a loop or vmap.")
    return number


def flattened(problem: Problem, states: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Queried states as arrays of one common batch axis, and the shape that they broadcast to."""
    plan = problem.plan
    check_names(states, plan.states, "state")
    missing = [name for name in plan.states if name not in states]
    if missing:
        hint = nearest(missing[0], states)
        raise ModelError(f"the query lacks the states {listed(missing)}; give every state by name.{hint}")
    arrays = {name: _seen(problem, name, states[name]) for name in plan.states}
    inner = {name: plan.graph.seen[name].shape for name in arrays}
    for name, array in arrays.items():
        if array.shape[array.ndim - len(inner[name]) :] != inner[name]:
            raise ModelError(f"state {name!r} has shape {array.shape}; its last axes must be {inner[name]}.")
    batch = {name: array.shape[: array.ndim - len(inner[name])] for name, array in arrays.items()}
    try:
        shape = np.broadcast_shapes(*batch.values())
    except ValueError as error:
        raise ModelError(f"the queried states have shapes {batch}, which do not broadcast.") from error
    wide = {name: (np if concrete(a) else jnp).broadcast_to(a, (*shape, *inner[name])) for name, a in arrays.items()}
    return {name: array.reshape(-1, *inner[name]) for name, array in wide.items()}, shape


def _seen(problem: Problem, name: str, value: Any) -> Array | np.ndarray:
    plan = problem.plan
    return as_seen(plan.states[name], value, plan.graph.seen[name].dtype, f"state {name!r}")


def as_seen(space: Any, value: Any, dtype: Any, what: str) -> Array | np.ndarray:
    """Values of a state from what a user gave, as functions see them: labels and members of an Enum become codes.

    Returns:
        An array of numpy, unless it is being traced: an operation of jax on its own is compiled on its own.

    Raises:
        ParameterError: for what is no number, not finite, or none of the categories.
    """
    array: Any = value
    if not isinstance(value, jax.Array):
        array = _decoded(space, np.asarray(value, dtype=object if isinstance(value, str | enum.Enum) else None), what)
        if array.dtype.kind not in "biuf":
            raise ParameterError(f"{what} is {value!r}, which is no number.")
    if concrete(array):
        array = np.asarray(array)
        _check_value(space, array, what)
    rounds = jnp.issubdtype(dtype, jnp.integer) and jnp.issubdtype(array.dtype, jnp.floating)
    if concrete(array):
        return np.asarray((array.round() if rounds else array).astype(dtype))  # of one number numpy makes a scalar
    if rounds:  # what is no whole number becomes -1, which is no category
        array = jnp.where(jnp.abs(array - array.round()) < 1e-5, array.round(), -1.0)
    return array.astype(dtype)


def _decoded(space: Any, array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype.kind not in "OUS":
        return array
    labels = list(space.labels or ()) if isinstance(space, Discrete | MarkovChain) else []

    def decode(entry: Any) -> Any:
        label = entry.name if isinstance(entry, enum.Enum) else entry
        if not isinstance(label, str):
            return entry
        if label not in labels:
            known = f" Categories: {listed(labels)}." if labels else " It takes numbers."
            raise ParameterError(f"{what} has {label!r}, which it does not know.{nearest(label, labels)}{known}")
        assert isinstance(space, Discrete | MarkovChain) and space.values is not None
        return space.values[labels.index(label)]

    return np.asarray([decode(entry) for entry in array.reshape(-1).tolist()]).reshape(array.shape)


def _check_value(space: Any, array: np.ndarray, what: str) -> None:
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        bad = array.reshape(-1)[~np.isfinite(array.reshape(-1))][0]
        raise ParameterError(f"{what} is {bad}; it must be finite.")
    known = space.values if isinstance(space, Discrete | MarkovChain) else None
    if known is not None:
        fits = np.isclose(array.reshape(-1, 1), known).any(axis=1)
        if not fits.all():
            bad = array.reshape(-1)[~fits][0]
            raise ParameterError(f"{what} is {bad}, which is none of its categories: {known.tolist()}.")
