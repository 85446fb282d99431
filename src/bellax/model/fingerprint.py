"""The fingerprint of a model: equal for equal models, in other processes too, and different where a law differs.

Each slot of each regime is hashed by itself, so that a mismatch can be named. A function counts with its arguments,
defaults, byte code, constants, closure, and those globals of its own package that it reads, functions again included;
not with its docstring, name or place in a file. Byte code differs between versions of Python, and so do fingerprints.
"""

import dataclasses
import enum
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from bellax.model.diffusion import DiffusionModel
from bellax.model.model import Model
from bellax.model.quantity import is_table
from bellax.model.regime import Slots

_DEPTH = 24
_LIBRARIES = ("builtins", "equinox", "jax", "jaxlib", "math", "numpy", "pandas", "scipy")


def fingerprint(model: Model | DiffusionModel) -> str:
    """SHA-256 of a model, as 64 hexadecimal digits."""
    return hashlib.sha256(repr(sorted(parts(model).items())).encode()).hexdigest()


def parts(model: Model | DiffusionModel) -> dict[str, str]:
    """A hash of every slot, by its label: `horizon`, `reward`, `states['wealth']`, `regime 'retired': reward`."""
    found = {"horizon": hashed(model.horizon)}
    for regime, graph in model.graphs.items():
        where = f"regime {regime!r}: " if regime else ""
        for name in _slots(model):
            value = getattr(graph.regime, name)
            if not isinstance(value, Mapping):
                found[f"{where}{name}"] = hashed(value)
                continue
            for key, entry in value.items():
                found[f"{where}{name}[{key!r}]"] = hashed(entry)
    return found


def _slots(model: Model | DiffusionModel) -> list[str]:
    """What a model, or each of its regimes, says, but for the horizon."""
    said = DiffusionModel if isinstance(model, DiffusionModel) else Slots
    return [slot.name for slot in dataclasses.fields(said) if slot.init and slot.name != "horizon"]


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Labels of the slots that two models do not share, or that differ."""
    return sorted(label for label in {*ours, *theirs} if ours.get(label) != theirs.get(label))


def hashed(value: Any) -> str:
    """16 hexadecimal digits of any value: numbers, arrays, functions, dataclasses and collections of these."""
    return hashlib.sha256(repr(_token(value, ())).encode()).hexdigest()[:16]


def _token(value: Any, seen: tuple[int, ...]) -> Any:
    """A nested tuple of texts that stands for a value; `seen` holds the functions around it, which may recur."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return (type(value).__name__, repr(int(value) if isinstance(value, enum.IntEnum) else value))
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        return (
            "array",
            array.dtype.name,
            array.shape,
            hashlib.sha256(array.tobytes()).hexdigest(),
        )
    if isinstance(value, Mapping):
        return ("dict", *sorted((repr(name), _token(entry, seen)) for name, entry in value.items()))
    if isinstance(value, tuple | list):
        return ("list", *(_token(entry, seen) for entry in value))
    if isinstance(value, set | frozenset):
        return ("set", *sorted(repr(_token(entry, seen)) for entry in value))
    if is_table(value):
        return (
            "table",
            *(_token(axis.tolist(), seen) for axis in value.axes),
            _token(value.to_numpy(), seen),
        )
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
        return _class(value, seen)
    return _callable_or_object(value, seen)


def _class(value: Any, seen: tuple[int, ...]) -> Any:
    if isinstance(value, type) and issubclass(value, enum.Enum):
        return ("enum", *((member.name, _token(member.value, seen)) for member in value))
    return ("name", value.__name__)


def _callable_or_object(value: Any, seen: tuple[int, ...]) -> Any:
    if id(value) in seen or len(seen) > _DEPTH:
        return ("again",)
    seen = (*seen, id(value))
    module = getattr(value, "__module__", None)
    if callable(value) and isinstance(module, str) and module.partition(".")[0] in _LIBRARIES:
        return ("name", module, getattr(value, "__qualname__", type(value).__qualname__))
    if isinstance(value, types.FunctionType):
        return _function(value, seen)
    if isinstance(value, types.MethodType):
        return ("method", _token(value.__self__, seen), _token(value.__func__, seen))
    if isinstance(value, functools.partial):
        return ("partial", *(_token(part, seen) for part in (value.func, value.args, value.keywords)))
    kind = type(value).__qualname__
    if dataclasses.is_dataclass(value):
        fields = ((f.name, _token(getattr(value, f.name), seen)) for f in dataclasses.fields(value))
        return (kind, *fields, _own_call(value, seen))
    if hasattr(value, "__wrapped__"):
        return (kind, _token(value.__wrapped__, seen))
    return (kind, getattr(value, "__name__", ""), _own_call(value, seen))


def _own_call(value: Any, seen: tuple[int, ...]) -> Any:
    """What an object does when it is called, where a user wrote that."""
    call = type(value).__call__ if callable(value) else None
    return _token(call, seen) if isinstance(call, types.FunctionType) else ()


def _function(function: types.FunctionType, seen: tuple[int, ...]) -> Any:
    code = function.__code__
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    read = {name: function.__globals__[name] for name in sorted(_names(code)) if name in function.__globals__}
    module = function.__module__ or ""
    home = module.rpartition(".")[0] or module
    return (
        "function",
        _code(code, function.__doc__),
        _token((function.__defaults__, function.__kwdefaults__, cells), seen),
        tuple((name, _global(value, home, seen)) for name, value in read.items()),
    )


def _global(value: Any, home: str, seen: tuple[int, ...]) -> Any:
    """A global that a function reads: its contents, but only the name of a function of another package."""
    module = getattr(value, "__module__", None)
    if callable(value) and isinstance(module, str) and not f"{module}.".startswith(f"{home}."):
        return ("name", module, getattr(value, "__qualname__", type(value).__qualname__))
    return _token(value, seen)


def _names(code: types.CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return set(code.co_names).union(*(_names(each) for each in inner))


def _code(code: types.CodeType, documentation: str | None = None) -> Any:
    constants = [None if constant is documentation else constant for constant in code.co_consts]
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    tokens = tuple(_code(each) if isinstance(each, types.CodeType) else _token(each, ()) for each in constants)
    return ("code", arguments, code.co_code, tokens, code.co_names)
