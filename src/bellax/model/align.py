"""What users give, as arrays: tables laid along the clock, labels in the order of the categories, floats.

A Series or a DataFrame says with its labels which entry is which. Labels are the names or the members of an
IntEnum; their order is the order of the codes, so that `table[health]` finds the entry that the label meant.
"""

import enum
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellax.errors import BellaxError, ParameterError, listed, nearest
from bellax.model.quantity import ByAge, ByPeriod, is_table
from bellax.model.time import Clock
from bellax.numerics.scalar import numeric, put

Categories = Mapping[str, tuple[tuple[str, ...], np.ndarray]]
"""Labels and values of the categories of each discrete state and action, by its name."""


def floats(what: str, value: Any, error: type[BellaxError] = ParameterError) -> jax.Array:
    """`value` as an array of floats; tracers pass, numbers are checked."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value)):
        traced = jnp.asarray(value)
        if traced.dtype == bool:
            raise error(f"{what} is an array of True and False; give numbers.")
        return traced.astype(jnp.result_type(float))
    if value is None:
        raise error(f"{what} is None; give it a number or an array.")
    if ("numbers", value) in _NUMBERS:
        return value
    array = _read(what, value, error)
    if np.isnan(array).any():
        raise error(f"{what} contains NaN.")
    if not isinstance(value, jax.Array):
        return put(array, jnp.result_type(float))
    found = jnp.asarray(value, dtype=jnp.result_type(float))
    if found is value:
        _NUMBERS.add("numbers", value)
    return found


def _read(what: str, value: Any, error: type[BellaxError]) -> np.ndarray:
    try:
        return numeric(value)
    except (TypeError, ValueError) as cause:
        raise error(
            f"{what} is {value!r}, which is no number or array of numbers; text, True and False are not read as one."
        ) from cause


class Passed:
    """Large arrays that passed a check: they do not change, and reading them again takes as long as a solve."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def __contains__(self, entry: tuple[str, Any]) -> bool:
        check, array = entry
        return isinstance(array, jax.Array) and (check, id(array)) in self._known

    def add(self, check: str, array: Any) -> None:
        """Remembers that `array` passed `check`, as long as it lives."""
        if isinstance(array, jax.Array) and not isinstance(array, jax.core.Tracer) and array.size > 10_000:
            key = (check, id(array))
            self._known[key] = weakref.ref(array, lambda _: self._known.pop(key, None))


_NUMBERS = Passed()


def each_period(value: Any) -> Iterable[np.ndarray]:
    """The numbers that a slot will see, one array a period where they differ; none of a tracer."""
    if isinstance(value, ByPeriod):
        values = value.values
        return () if isinstance(values, jax.core.Tracer) else [np.asarray(row) for row in np.asarray(values)]
    return () if isinstance(value, jax.core.Tracer) else [np.asarray(value)]


def along_clock(
    what: str, value: ByPeriod | ByAge, clock: Clock | None, categories: Categories, error: type[BellaxError]
) -> ByPeriod:
    """One value a period of `clock`, from one that is given by period or by age."""
    if clock is None or not clock.finite:
        raise error(
            f"{what} is given by period or by age, and the horizon is infinite. Give one number for all periods."
        )
    if isinstance(value, ByAge):
        return ByPeriod(floats(what, _along_ages(what, value.series, clock, categories, error), error))
    if len(value.values) < clock.count:
        raise error(f"{what} has {len(value.values)} periods, and the model has {clock.count}.")
    if len(value.values) > clock.count + 1:
        raise error(
            f"{what} has {len(value.values)} periods, and the model has {clock.count}: nobody would see the last ones. "
            f"Give {clock.count} values, or one more for what is worth something after the last decision."
        )
    return ByPeriod(floats(what, value.values, error))


def _along_ages(what: str, table: Any, clock: Clock, categories: Categories, error: type[BellaxError]) -> np.ndarray:
    index = table.index
    given = np.unique(index.get_level_values(0).to_numpy(dtype=float))
    ages = clock.age(np.arange(clock.count + 1))
    if np.abs(given - ages[-1]).min() > 1e-9:
        ages = ages[:-1]  # the age after the last decision may be left out
    nearest_given = np.asarray([given[np.argmin(np.abs(given - age))] for age in ages])
    missing = ages[np.abs(nearest_given - ages) > 1e-9]
    if missing.size:
        more = f" (and at {missing.size - 1} more ages)" if missing.size > 1 else ""
        raise error(f"{what} has no value at age {missing[0]:g}{more}. Its ages: {given[0]:g} to {given[-1]:g}.")
    if index.nlevels == 1 and index.has_duplicates:
        raise error(f"{what} has two values at age {index[index.duplicated()][0]}.")
    rest = (lambda row: row) if index.nlevels > 1 else (lambda row: row.iloc[0])
    rows = [table[index.get_level_values(0) == age] for age in nearest_given]
    if index.nlevels > 1:
        rows = [row.droplevel(0) for row in rows]
    return np.stack([aligned(what, rest(row), categories, error) for row in rows])


def aligned(what: str, value: Any, categories: Categories, error: type[BellaxError] = ParameterError) -> np.ndarray:
    """A number, a Series or a DataFrame as an array, one axis for each level of its labels."""
    if not is_table(value):
        return _read(what, value, error)
    shape: list[int] = []
    for axis in range(value.ndim):
        index = value.axes[axis]
        if index.has_duplicates:
            raise error(f"{what} has two values labelled {index[index.duplicated()][0]!r}.")
        orders = [
            _order(
                what,
                list(dict.fromkeys(index.get_level_values(level))),
                index.names[level],
                categories,
                error,
            )
            for level in range(index.nlevels)
        ]
        shape += [len(order) for order in orders]
        if len(index) != np.prod([len(order) for order in orders]):
            raise error(f"{what} lacks some combinations of its labels: {len(index)} of {shape} are there.")
        wanted = type(index).from_product(orders) if index.nlevels > 1 else orders[0]
        value = value.reindex(wanted, axis=axis)
    return _read(what, value.to_numpy(), error).reshape(shape)


def _order(what: str, labels: list[Any], name: Any, categories: Categories, error: type[BellaxError]) -> list[Any]:
    """`labels` in the order in which functions index them."""
    names = {label.name if isinstance(label, enum.Enum) else label: label for label in labels}
    named = [known for key, known in categories.items() if key == name or key.endswith(f".{name}")]
    candidates = named or list(categories.values())
    if all(isinstance(label, str) for label in names):
        for known, _ in candidates:
            if set(known) == set(names):
                return [names[label] for label in known]
        raise error(_label_message(what, sorted(names), [known for known, _ in candidates]))
    if all(isinstance(label, (int, float, np.number)) for label in labels):
        if sorted(labels) == list(range(len(labels))):
            return sorted(labels)
        for _, values in candidates:
            if set(values.tolist()) == set(labels):
                return values.tolist()
    raise error(
        f"{what} is labelled {listed(map(str, labels[:3]))}{', ...' if len(labels) > 3 else ''}, which are neither "
        "categories nor 0, 1, 2, ... For one value an age use bx.by_age(series); for values in order use .to_numpy()."
    )


def _label_message(what: str, labels: list[str], known: list[tuple[str, ...]]) -> str:
    everything = [label for group in known for label in group]
    unknown = next((label for label in labels if label not in everything), "")
    hint = nearest(unknown, everything) if unknown else ""
    groups = "; ".join(listed(group) for group in dict.fromkeys(known)) or "none"
    return (
        f"{what} is labelled {listed(labels)}, which are not the categories of one state or action.{hint} Categories: "
        f"{groups}."
    )
