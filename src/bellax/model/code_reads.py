"""What a function reads by name, told from its byte code: globals, what it closes over, and modules it imports.

`rates.low` reads the attribute `low` of the module `rates`, and a global of the function's own module that happens to
be called `low` is another thing. Functions within a function count as parts of it.
"""

import dis
import types
from collections.abc import Iterator
from importlib.util import resolve_name
from typing import Any, NamedTuple

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")


class Read(NamedTuple):
    """A name that is loaded, and the attributes that are asked for at once, one of the other."""

    name: str
    attributes: tuple[str, ...]
    closed: bool
    """Whether it is a name of the function around."""


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function, and of those within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def reads(code: types.CodeType) -> set[Read]:
    """All names that a function takes from around it."""
    found = set()
    for each in codes(code):
        steps = list(dis.get_instructions(each))
        for place, step in enumerate(steps):
            if step.opname in _LOADS and (step.opname != "LOAD_DEREF" or step.argval in each.co_freevars):
                found.add(Read(step.argval, _chain(steps, place + 1), "DEREF" in step.opname))
    return found


def _chain(steps: list[dis.Instruction], place: int) -> tuple[str, ...]:
    names = []
    while place < len(steps) and steps[place].opname in _ATTRIBUTES:
        names.append(steps[place].argval)
        place += 1
    return tuple(names)


def imports(function: types.FunctionType) -> set[str]:
    """Full names of the modules that a function imports when it is called."""
    found = set()
    for each in codes(function.__code__):
        steps = list(dis.get_instructions(each))
        for place, step in enumerate(steps):
            if step.opname == "IMPORT_NAME":
                level = steps[place - 2].argval
                package = function.__globals__.get("__package__") or ""
                found.add(resolve_name("." * level + step.argval, package) if level else step.argval)
    return found


def attribute_names(code: types.CodeType) -> set[str]:
    """All names of attributes, globals and imports in a function, for modules that go by another name in it."""
    return {name for each in codes(code) for name in each.co_names}


def around(function: types.FunctionType, read: Read) -> list[Any]:
    """What a name stands for around a function; nothing where it is a builtin, or is not there yet."""
    if not read.closed:
        return [function.__globals__[read.name]] if read.name in function.__globals__ else []
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    return contents(cells[read.name]) if read.name in cells else []


def contents(cell: types.CellType) -> list[Any]:
    """What is in a cell; nothing where it is still empty."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []
