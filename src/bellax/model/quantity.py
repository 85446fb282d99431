"""Quantities: wherever a model takes a number it takes a number, a name, or a function of names.

A `Quantity` is the common form of the three: the names it needs, and a function of them. A literal number
needs no names; its value travels to the compiled program as an argument, under the label of its slot, like
any parameter.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import dags
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ModelError
from bellax.numerics.scalar import numeric

QuantityLike: TypeAlias = Any
"""A number, an array, a name, a function of names, `by_period(...)` or `by_age(...)`."""


class ByPeriod(eqx.Module):
    """A value that differs from period to period: functions see this period's.

    Attributes:
        values: one value a period along the first axis, shape (t, ...).
    """

    values: Array | np.ndarray

    def at(self, period: Array | int) -> Array:
        """The value of `period`, shape (...); the last one afterwards."""
        return jnp.asarray(self.values)[jnp.minimum(jnp.asarray(period), len(self.values) - 1)]


@dataclass(frozen=True, eq=False)
class ByAge:
    """A pandas Series or DataFrame whose rows are ages; `Model.parameters` lays it along the model's ages."""

    series: Any


def by_period(values: Any) -> ByPeriod:
    """Marks an array as one value a period. Functions see that of their period; a plain array is seen whole.

    Args:
        values: shape (t, ...), t the horizon, or one more for what is worth something after the last decision.
    """
    array = values if isinstance(values, jax.Array) else read(values, "by_period")
    if array.ndim == 0:
        raise ModelError("by_period takes one value a period, and this is a single number; give the number itself.")
    return ByPeriod(array)


def by_age(series: Any) -> ByAge:
    """Marks a pandas Series or DataFrame, indexed by age in years, as one value an age.

    Functions see the value of their age: a number of a Series, an array of a DataFrame or of a Series with
    further levels, such as (age, health), whose labels are aligned with the categories. A row for the age after the
    last decision is for what is worth something then; without one the last row counts.
    """
    if not is_table(series):
        raise ModelError("by_age takes a pandas Series indexed by age; for an array by period use bx.by_period.")
    return ByAge(series)


def is_table(value: Any) -> bool:
    """True for a pandas Series or DataFrame, without importing pandas, which costs .4 s."""
    return callable(getattr(value, "reindex", None)) and hasattr(value, "axes")


@dataclass(frozen=True, eq=False)
class Quantity:
    """One slot of a model, in the common form.

    Attributes:
        label: the slot, as a user would name it: `reward`, `upper bound of 'wealth'`.
        names: what the quantity needs, in the order of its arguments.
        function: called with those names as keywords; None for a literal.
        literal: the number of a literal, else None.
        defaults: parameters with a default, and the default.
        annotations: annotated shapes or types, as text, by name.
        local: further arguments, which whoever evaluates the quantity supplies; its value is then a function
            of them.
        alias: True where the user gave a name and not a function.
    """

    label: str
    names: tuple[str, ...] = ()
    function: Callable[..., Any] | None = None
    literal: Any = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    local: tuple[str, ...] = ()
    alias: bool = False

    @property
    def key(self) -> str:
        """Under what name a literal travels among the arguments: an identifier, as dags takes no other.

        It is the same in every regime, whose arguments are its own.
        """
        return "literal_" + re.sub(r"\W+", "_", re.sub(r"^regime ('.*?'|\".*?\"): ", "", self.label))

    def node(self) -> Callable[..., Any]:
        """This quantity as a function that dags composes."""
        if self.function is None:
            return dags.with_signature(args=[self.key])(_identity)
        call = _free_call(self.function)
        if self.local:
            call = functools.partial(functools.partial, call)
        return dags.with_signature(args=list(self.names))(call)


def _identity(**arguments: Any) -> Any:
    return next(iter(arguments.values()))


def _free_call(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` under jax's ordinary promotion of dtypes and ranks, whatever the library runs under."""

    def call(**arguments: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            return function(**arguments)

    return call


def quantity(value: QuantityLike, label: str, local: tuple[str, ...] = ()) -> Quantity:
    """The common form of a number, a name or a function of names.

    Args:
        value: the number, name or function.
        label: the slot, for messages.
        local: arguments of the function that are supplied where it is evaluated, and are no names of the
            model.
    Raises:
        ModelError: if a function has positional-only or variadic arguments, or the value is none of
            the three.
    """
    if isinstance(value, str):
        if not value.isidentifier():
            raise ModelError(f"{label} is the string {value!r}, which is no name. Give a number, a name or a function.")
        return Quantity(label, (value,), _identity, alias=True)
    if isinstance(value, ByPeriod | ByAge):
        return Quantity(label, literal=value)
    if isinstance(value, type):
        raise ModelError(f"{label} is the class {value.__name__}; give a number, a name or a function of names.")
    if callable(value):
        return _from_function(value, label, local)
    if is_table(value):
        raise ModelError(
            f"{label} is a pandas object. Make it a parameter, whose labels are aligned with the categories, or give "
            "its .to_numpy()."
        )
    return Quantity(label, literal=read(value, label))


def is_literal(value: QuantityLike) -> bool:
    """True for a number or an array, the same in every period."""
    return not (isinstance(value, str | ByPeriod | ByAge) or callable(value) or value is None)


def read(value: Any, label: str) -> Array | np.ndarray:
    """A number or an array that a user wrote into a model; ModelError for what is none."""
    if isinstance(value, jax.core.Tracer):
        return value
    try:
        array = numeric(value)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{label} is {value!r}, which is neither a number, a name, nor a function of names."
        ) from error
    if np.isnan(array).any():
        raise ModelError(f"{label} contains NaN.")
    return value if isinstance(value, jax.Array) else array


def _from_function(function: Callable[..., Any], label: str, local: tuple[str, ...]) -> Quantity:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{label}: the arguments of {function!r} cannot be read; wrap it in a def.") from error
    names, defaults, annotations = [], {}, {}
    for name, parameter in signature.parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ModelError(
                f"{label} has the argument {parameter}, whose names cannot be read. Name every argument: each is a "
                "state, an action, a shock, next_<state>, a function of the model, period, age, or a parameter."
            )
        if name in local:
            continue
        names.append(name)
        if parameter.default is not parameter.empty:
            defaults[name] = parameter.default
        if parameter.annotation is not parameter.empty:
            annotations[name] = _annotation(parameter.annotation)
    used = tuple(name for name in local if name in signature.parameters)
    return Quantity(label, tuple(names), function, None, defaults, annotations, used)


def _annotation(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if hasattr(annotation, "dim_str"):  # jaxtyping: its own name spells out the module of the array
        return f"{annotation.dtype.__name__}[{annotation.dim_str}]"
    return getattr(annotation, "__name__", str(annotation))
