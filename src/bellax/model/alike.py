"""Whether two regimes say the same, so that one program serves both and only parameters differ.

In doubt they do not: functions are the same object, or the same code with the same defaults and the same objects
around it, as those that a loop makes.
"""

import enum
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from bellax.model.regime import Slots

_PACKAGE = __name__.partition(".")[0]


def alike(one: Slots, other: Slots, but: Sequence[str] = ()) -> bool:
    """Whether two regimes have the same slots.

    Args:
        but: slots that may differ.
    """
    return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(Slots) if f.name not in but)


def same(one: Any, other: Any) -> bool:
    """Whether two parts of a model are the same in all that they do."""
    return one is other or (type(one) is type(other) and _equal(one, other))


@singledispatch
def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, type) or not is_dataclass(one):
        return False
    names, ours = {f.name for f in fields(one)}, type(one).__module__.partition(".")[0] == _PACKAGE
    if not ours and any(getattr(each, "__slots__", ()) or set(vars(each)) != names for each in (one, other)):
        return False  # it knows more than its fields
    return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))


@_equal.register(int | float | complex | str | bytes | enum.Enum)
def _(one: Any, other: Any) -> bool:
    return bool(one == other)


@_equal.register
def _(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@_equal.register
def _(one: Mapping, other: Mapping) -> bool:
    return list(one) == list(other) and all(same(one[name], other[name]) for name in one)


@_equal.register
def _(one: tuple | list, other: Any) -> bool:
    return len(one) == len(other) and all(map(same, one, other))


@_equal.register
def _(one: types.FunctionType, other: types.FunctionType) -> bool:
    def around(function: types.FunctionType) -> list[Any]:
        return [cell.cell_contents for cell in function.__closure__ or ()]

    if _names_itself(one) or _names_itself(other):
        return False
    plain = one.__code__ is other.__code__ and one.__globals__ is other.__globals__ and not (vars(one) or vars(other))
    given = same(one.__defaults__, other.__defaults__) and same(one.__kwdefaults__, other.__kwdefaults__)
    return plain and given and same(around(one), around(other))


def _names_itself(function: types.FunctionType) -> bool:
    """Whether what a function closes over leads back to it, or is not there yet: then nobody can say what it does."""
    seen, left = set(), [function]
    while left:
        for cell in left.pop().__closure__ or ():
            try:
                inner = cell.cell_contents
            except ValueError:
                return True
            if inner is function:
                return True
            if isinstance(inner, types.FunctionType) and inner not in seen:
                seen.add(inner)
                left.append(inner)
    return False
