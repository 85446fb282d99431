"""The exceptions of bellax, the nearest name for a misspelt one, and the checks of options that all layers share."""

import dataclasses
import difflib
import functools
import importlib.util
import inspect
import math
import numbers
import os
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class BellaxError(Exception):
    """Whatever bellax raises on purpose."""


class ModelError(BellaxError):
    """The model, or an option given beside it, contradicts itself; known before any number is computed."""


class ParameterError(BellaxError):
    """The parameters do not fit the model: missing, surplus, of the wrong shape or out of range."""


class UnknownName(ModelError, AttributeError):
    """A public module has no such name."""


class SolveError(BellaxError):
    """A solve ended without an answer: not converged, infeasible, not a number, or out of memory."""


class OutsideWarning(UserWarning):
    """A solution was asked outside its grid, where it is extrapolated."""


class CoarseWarning(UserWarning):
    """A comparison that sees continuous actions leaves a solve nothing better than to mask candidates with it."""


class KinkWarning(UserWarning):
    """A solver that follows derivatives ended next to a kink, and does not know what lies on its other side."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The clause ` Did you mean 'x'?` for the known name closest to `name` and other than it, or nothing."""
    match = difflib.get_close_matches(name, [other for other in known if other != name], n=1, cutoff=0.6)
    return f" Did you mean {match[0]!r}?" if match else ""


def listed(names: Iterable[str]) -> str:
    """Names in quotes, separated by commas; `none` where there are none."""
    return ", ".join(repr(name) for name in names) or "none"


def check_names(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raises ModelError for the first of `given` that is not among `known`.

    Args:
        given: names that a user wrote, in any order.
        known: names that exist.
        what: what such a name is, for the message: `grid of a state`.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise ModelError(f"{what} {name!r} is unknown.{nearest(name, known)} Known: {listed(known)}.")


class _Names(list[str]):
    """The public names of a package, which `from bellax import *` reads.

    `in` says no: `help(bellax)` asks it which classes to print in full, and its docstring has each name in one line.
    """

    def __contains__(self, name: object) -> bool:
        return False


def introduce(module: types.ModuleType, title: str, brief: bool = False) -> None:
    """Makes a public module show the names of its `__all__` alone, and answer another one with the nearest of them.

    Args:
        title: what users call it, such as `bx.shocks`.
        brief: whether `help` of it prints a line for each name instead of all that there is.
    """
    public = sorted(module.__all__)

    def unknown(name: str) -> Any:
        path = f"{module.__name__}.{name}"
        if brief and not name.startswith("_") and importlib.util.find_spec(path):
            raise UnknownName(f"{path} is a module of its own; write import {path} first.")
        raise UnknownName(f"{title} has no {name!r}.{nearest(name, public) or f' It has {listed(public)}.'}")

    module.__dict__.update(__getattr__=unknown, __dir__=lambda: public)
    if brief:
        width = max(map(len, public))
        lines = (f"{name:{width}}  {_first_line(getattr(module, name))}" for name in public)
        module.__dict__.update(__all__=_Names(public), __doc__="\n".join([module.__doc__ or "", "", *lines]))


def _first_line(value: Any) -> str:
    return (value.__doc__ or "").strip().partition("\n")[0]


def named_options(cls: type[T]) -> type[T]:
    """Class decorator, above `dataclass`: an unknown keyword raises ModelError with the nearest one that exists."""
    construct = cls.__init__
    known = [field.name for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]

    @functools.wraps(construct)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        check_names(kwargs, known, f"{cls.__name__}: option")
        construct(self, *args, **kwargs)

    cls.__init__ = checked  # type: ignore[method-assign]
    return cls


def named_arguments(function: F) -> F:
    """Decorator of a function: an unknown keyword raises ModelError with the nearest one that exists."""
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_names(kwargs, known, f"{function.__name__}: option")
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def check_left_out(given: Mapping[str, Any], what: str, why: str) -> None:
    """Raises ModelError for the first argument that is not None, and means nothing here.

    Args:
        given: arguments by name.
        what: whose they are: `simulate`.
        why: what they are instead: `of discrete time`.
    """
    for name, value in given.items():
        if value is not None:
            raise ModelError(f"{what}: {name}= is {why}; leave it out.")


def check_count(value: Any, what: str, least: int = 1) -> None:
    """Raises ModelError for what is no whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ModelError(f"{what} is {value!r}; give a whole number of at least {least}.")


def check_positive(value: Any, what: str, example: str = "1e-8") -> None:
    """Raises ModelError for what is no positive number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < float(value) < math.inf:
        raise ModelError(f"{what} is {value!r}; give a positive number, such as {example}.")


def check_not_negative(value: Any, what: str, example: str) -> None:
    """Raises ModelError for what is no number of at least zero."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:
        raise ModelError(f"{what} is {value!r}; give a number that is not negative, such as {example}.")


def check_mapping(value: Any, what: str, example: str) -> None:
    """Raises ModelError for what is no dict by name."""
    if not isinstance(value, Mapping):
        raise ModelError(f"{what} is {value!r}; give a dict by name, such as {example}.")


def check_widths(value: Any, what: str) -> None:
    """Raises ModelError for what is no tuple of widths of layers, each at least one."""
    if not isinstance(value, tuple | list):
        raise ModelError(f"{what} is {value!r}; give the widths of the layers, one by one, such as (16, 16).")
    for place, width in enumerate(value):
        check_count(width, what if len(value) == 1 else f"{what}[{place}]")


def check_share(value: Any, what: str, of: str) -> None:
    """Raises ModelError for what is no number from zero to one.

    Args:
        of: what it is a share of: `the points`.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise ModelError(f"{what} is {value!r}; give a share of {of}, a number between 0 and 1.")


def check_flag(value: Any, what: str) -> None:
    """Raises ModelError for what is neither True nor False."""
    if not isinstance(value, bool):
        raise ModelError(f"{what} is {value!r}; give True or False.")


def check_folder(value: Any, what: str) -> None:
    """Raises ModelError for what is no path, and not None."""
    if value is not None and not isinstance(value, str | os.PathLike):
        raise ModelError(f"{what} is {value!r}; give the path of a folder, or leave it out.")


def check_several(value: Any, what: str, example: str) -> None:
    """Raises ModelError for what is no tuple of names; a name goes by its letters."""
    if not isinstance(value, tuple | list) or not all(isinstance(name, str) for name in value):
        raise ModelError(f"{what} is {value!r}; give a tuple of names, such as {example}.")
