"""Nested tuples of texts that stand for values: equal for equal ones, in other processes too.

A function counts with its arguments, defaults, byte code, constants, and with what it reads around it: globals, what
it closes over, attributes of modules, functions and classes again included. An object counts with its class and all
that it holds, and one that says itself what it is made of, to be pickled, with that. What belongs to a library is known
by its name. What can be told in none of these ways is refused, since two of them might differ without a word.
"""

import contextlib
import copyreg
import enum
import functools
import hashlib
import importlib
import sys
import types
import weakref
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import jax
import numpy as np

from bellax.model import code_reads
from bellax.model.quantity import is_table

_DEPTH = 60
_LIBRARIES = {
    *sys.stdlib_module_names, "beartype", "bellax", "chex", "dags", "diffrax", "equinox", "flax", "jax", "jaxlib",
    "jaxtyping", "lineax", "matplotlib", "ml_dtypes", "networkx", "numba", "numpy", "optax", "optimistix", "pandas",
    "polars", "pytest", "quantecon", "scipy", "sklearn", "statsmodels", "sympy", "tensorflow", "torch",
    "typing_extensions", "xarray",
} - {"__main__"}  # fmt: skip
_OURS = f"{__name__.partition('.')[0]}.models"  # the gallery is written as users write
_UNSAID = {
    "__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__", "__annotations_cache__",
    "__classcell__", "__dataclass_fields__", "__dataclass_params__", "__dict__", "__doc__", "__firstlineno__",
    "__match_args__", "__module__", "__name__", "__orig_bases__", "__parameters__", "__qualname__", "__slots__",
    "__static_attributes__", "__type_params__", "__weakref__", "_abc_impl",
}  # fmt: skip
"""What a class or a function holds beside what it does."""
_SCALARS = (bool, int, float, complex, str, bytes, type(None))
_NAMED = (types.BuiltinFunctionType, types.WrapperDescriptorType, types.MethodDescriptorType)
_DESCRIPTORS = (types.GetSetDescriptorType, types.MemberDescriptorType)


class Untold(Exception):
    """A value of which nobody can say what it holds; the text names it."""


class Tokens:
    """Makes tokens of values, each object once: what is met again counts by the hash of its token.

    An object that leads back to itself is, where that happens, known by how many objects lie between.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, Any]] = {}  # the object is kept, so that its number is not given again
        self._open: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """The token of a value."""
        kind = type(value)
        if kind in _SCALARS:
            return (kind.__name__, repr(value))
        if kind is tuple:
            return ("list", *map(self.of, value))
        if id(value) in self._known:
            return self._known[id(value)][0]
        if id(value) in self._open:
            return ("again", len(self._open) - list(self._open).index(id(value)))
        if len(self._open) > _DEPTH:
            raise Untold(f"{named(value)}, which lies more than {_DEPTH} objects deep")
        self._open[id(value)] = value
        try:
            token = self._composed(value)
        finally:
            del self._open[id(value)]
        self._known[id(value)] = (hashlib.sha256(repr(token).encode()).hexdigest(), value)
        return self._known[id(value)][0]

    def _composed(self, value: Any) -> Any:
        if isinstance(value, jax.core.Tracer):
            raise Untold(f"a number that jax traces, {value}")
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            return self._array(value)
        if isinstance(value, enum.Enum):
            number = repr(int(value)) if isinstance(value, int) else None
            return ("int", number) if number else ("member", self.of(type(value)), value.name)
        if isinstance(value, list | tuple | set | frozenset | Mapping | int | float | complex | str | bytes):
            return self._collection(value)
        if is_table(value) and not isinstance(value, type):
            return ("table", *(self.of(axis.tolist()) for axis in value.axes), self.of(value.to_numpy()))
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        return self._callable_or_object(value)

    def _array(self, value: Any) -> Any:
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            return ("key", str(value.dtype), self._array(jax.random.key_data(value)))
        array = np.asarray(value)
        if array.dtype.hasobject:
            return ("array", array.dtype.name, array.shape, self.of(array.tolist()))
        digits = hashlib.sha256(array.tobytes()).hexdigest()
        return ("array", array.dtype.name, array.dtype.str, repr(array.dtype.names), array.shape, digits)

    def _collection(self, value: Any) -> Any:
        kind = type(value)
        own = () if kind.__module__ in ("builtins", "types") else (self.of(kind), self._held(value))
        if isinstance(value, Mapping):
            # in the order of their texts, and each by itself, since an address in a text would move it
            pairs = ((repr(Tokens().of(name)), entry) for name, entry in value.items())
            entries = [(name, self.of(entry)) for name, entry in sorted(pairs, key=lambda pair: pair[0])]
            return ("dict", *own, *entries)
        if isinstance(value, tuple | list):
            return ("list", *own, *(self.of(entry) for entry in value))
        if isinstance(value, set | frozenset):
            return ("set", *own, *sorted(repr(Tokens().of(entry)) for entry in value))
        plain = next(each for each in (int, float, complex, str, bytes) if isinstance(value, each))
        return (plain.__name__, repr(plain(value)), *own)

    def _module(self, value: types.ModuleType) -> Any:
        if not _of_a_library(value.__name__):
            raise Untold(
                f"the module {value.__name__!r} as a whole, of which nobody can say which part counts: read its "
                "attributes in the function, or hold these"
            )
        return ("name", value.__name__)

    def _class(self, value: type) -> Any:
        if issubclass(value, enum.Enum):
            return ("enum", value.__name__, *((member.name, self.of(member.value)) for member in value))
        if _of_a_library(value.__module__):
            return ("name", value.__module__, value.__qualname__)
        return ("class", value.__name__, *map(self.of, value.__bases__), self._said(vars(value)))

    def _said(self, held: Mapping[str, Any], but: tuple[str, ...] = ()) -> Any:
        """What an object or a class holds by name."""
        names = sorted(name for name in held if name not in _UNSAID and name not in but)
        return tuple((name, self.of(held[name])) for name in names if not isinstance(held[name], _DESCRIPTORS))

    def _held(self, value: Any) -> Any:
        """The attributes of an object, in a dict and in slots, without what a property keeps once it was asked."""
        kept = tuple(
            name
            for each in type(value).__mro__
            for name, entry in vars(each).items()
            if isinstance(entry, functools.cached_property)
        )
        slots = {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
        return (self._said(getattr(value, "__dict__", {}), kept), self._said(slots))

    def _callable_or_object(self, value: Any) -> Any:
        if _is_librarys(value):
            return ("name", value.__module__, getattr(value, "__qualname__", value.__name__))
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return ("method", self.of(value.__self__), self.of(value.__func__))
        if isinstance(value, _NAMED):
            owner = getattr(value, "__self__", None)
            owned = None if owner is None or isinstance(owner, types.ModuleType) else self.of(owner)
            return ("name", getattr(value, "__module__", None), value.__qualname__, owned)
        if isinstance(value, functools.partial):
            return ("partial", *(self.of(part) for part in (value.func, value.args, value.keywords)))
        if isinstance(value, weakref.ReferenceType):
            return ("weak", self.of(value()))
        if isinstance(value, property):
            return ("property", *(self.of(part) for part in (value.fget, value.fset, value.fdel)))
        if isinstance(value, functools.cached_property):
            return ("property", self.of(value.func))
        if isinstance(value, staticmethod | classmethod):
            return (type(value).__name__, self.of(value.__func__))
        return self._object(value)

    def _object(self, value: Any) -> Any:
        kind = type(value)
        if value is np.random.mtrand._rand:  # of all of numpy: what it gives next is nobody's law
            return ("name", "numpy.random")
        if is_dataclass(kind):
            foreign = _of_a_library(kind.__module__)  # what such a class adds to its arguments follows from them
            said = tuple(
                (f.name, self.of(getattr(value, f.name, None))) for f in fields(value) if f.init or not foreign
            )
            return (self.of(kind), said, () if foreign else self._held(value))
        if not _of_a_library(kind.__module__) or kind is types.SimpleNamespace:
            if _opaque(kind):
                return self._pickled(value)
            return (self.of(kind), self._held(value))
        if hasattr(value, "__wrapped__"):  # jax.jit, functools.lru_cache
            return (kind.__qualname__, self.of(value.__wrapped__), self._held(value))
        return self._pickled(value)

    def _pickled(self, value: Any) -> Any:
        """What an object of a library says that it is made of."""
        try:
            known = copyreg.dispatch_table.get(type(value))
            reduced = known(value) if known else value.__reduce_ex__(4)
        except Exception as error:
            raise Untold(named(value)) from error
        if isinstance(reduced, str):
            if "(vectorized)" in reduced:  # numpy.frompyfunc: the function in it is not to be had
                raise Untold(named(value))
            return ("name", type(value).__module__, reduced)
        made, given, *rest = reduced
        state, entries, pairs = (*rest, None, None, None)[:3]
        some = [[] if each is None else list(each) for each in (entries, pairs)]
        return (type(value).__qualname__, self.of(made), self.of(given), self.of(state), *map(self.of, some))

    def _function(self, function: types.FunctionType) -> Any:
        code = function.__code__
        held = (function.__defaults__, function.__kwdefaults__, self._said(vars(function), ("__wrapped__",)))
        cells = [code_reads.contents(cell) for cell in function.__closure__ or ()]
        own = [[self.of(entry) for entry in cell if not isinstance(entry, types.ModuleType)] for cell in cells]
        said = ("function", self._code(code, function.__doc__), self.of(held), self.of(own))
        if _of_a_library(function.__globals__.get("__name__", "")):
            return (*said, function.__module__, function.__qualname__)
        return (*said, *sorted(self._read(function), key=lambda entry: entry[0]))

    def _read(self, function: types.FunctionType) -> list[tuple[str, Any]]:
        """What a function reads around it, by name; of a module, the attributes that it asks for."""
        found: dict[str, Any] = {}
        asked = code_reads.attribute_names(function.__code__)
        for read in code_reads.reads(function.__code__):
            for value in code_reads.around(function, read):
                name, chain = read.name, list(read.attributes)
                while isinstance(value, types.ModuleType) and chain and not _of_a_library(value.__name__):
                    name, value = f"{name}.{chain[0]}", getattr(value, chain.pop(0), None)
                if isinstance(value, types.ModuleType):
                    found |= self._by_names(name, value, asked)
                elif not read.closed or "." in name:
                    found[name] = value
        for name in filter(lambda name: not _of_a_library(name), code_reads.imports(function)):
            with contextlib.suppress(ImportError):  # one that the function would not find, either
                importlib.import_module(name)
                for each in {name.partition(".")[0], name}:
                    found |= self._by_names(each, sys.modules[each], asked)
        return [(name, self.of(found[name])) for name in sorted(found)]

    def _by_names(self, name: str, module: types.ModuleType, asked: set[str], around: tuple = ()) -> dict[str, Any]:
        """What a function may read of a module that it gives another name: whatever is called as one of its names."""
        if _of_a_library(module.__name__):
            return {name: module}
        found: dict[str, Any] = {}
        for each in sorted(asked & set(vars(module))):
            value, label = vars(module)[each], f"{name}.{each}"
            if not isinstance(value, types.ModuleType):
                found[label] = value
            elif value not in (*around, module):
                found |= self._by_names(label, value, asked, (*around, module))
        return found

    def _code(self, code: types.CodeType, documentation: str | None = None) -> Any:
        constants = [None if constant is documentation else constant for constant in code.co_consts]
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        told = [self._code(each) if isinstance(each, types.CodeType) else self.of(each) for each in constants]
        return ("code", arguments, code.co_code, tuple(told), code.co_names, code.co_freevars)


def named(value: Any) -> str:
    """An object in words, for a message: `<class>` and its text."""
    text = repr(value)
    text = text if len(text) < 80 else f"{text[:77]}..."
    return f"{text} (of the class {type(value).__module__}.{type(value).__qualname__})"


def _of_a_library(module: Any) -> bool:
    name = module if isinstance(module, str) else ""
    return name.partition(".")[0] in _LIBRARIES and not f"{name}.".startswith(f"{_OURS}.")


def _is_librarys(value: Any) -> bool:
    """Whether a function, or an object that is called like one, is what a library has under its name."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", getattr(value, "__name__", None))
    if not (isinstance(module, str) and isinstance(name, str) and _of_a_library(module)):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def _slots(kind: type) -> list[str]:
    said = [vars(each).get("__slots__", ()) for each in kind.__mro__]
    names = [name for slots in said for name in ((slots,) if isinstance(slots, str) else slots)]
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def _opaque(kind: type) -> bool:
    """Whether objects of a class are larger than their dict and slots: compiled code keeps something in them."""
    pointer = tuple.__itemsize__
    own = len(_slots(kind)) + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    return kind.__basicsize__ > object.__basicsize__ + pointer * own or kind.__itemsize__ > 0
