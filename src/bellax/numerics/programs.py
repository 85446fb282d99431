"""Programs of jax, compiled in haste or well: what runs once or twice should be ready soon, the rest run fast."""

import itertools
from collections.abc import Callable
from typing import Any

import jax

from bellax.numerics.shared import Shared

LITTLE = 20_000
"""Candidates over all states up to which compiling well takes longer than a thousand answers of bad code."""

HASTE = 4
"""Solves of a program in quick code; the next one has it compiled again, well, which takes as long as what that saves
in a hundred of them."""

_NO_EMITTERS = {"xla_cpu_use_fusion_emitters": False}
_HASTY: list[dict[str, Any]] = [
    {"xla_backend_optimization_level": 0, **_NO_EMITTERS},
    {"xla_backend_optimization_level": 0},
]
"""Options of XLA for quick code, ready in half of the time; its version may not know those that come first."""

_SOON: list[dict[str, Any]] = [_NO_EMITTERS]
"""The same for code that is ready in two thirds of the time, and hardly slower but in planes of candidates."""


def concrete(value: Any) -> bool:
    """False for a value that is being traced."""
    return not isinstance(value, jax.core.Tracer)


def all_concrete(tree: Any) -> bool:
    """False where some leaf is being traced."""
    return all(concrete(leaf) for leaf in jax.tree.leaves(tree))


def quickly(function: Callable[..., Any], little: bool) -> Callable[..., Any]:
    """A compiled function; with a little to do its code need not be good, and is ready in half of the time.

    Args:
        little: whether there is, and no transformation around: the options are for programs of their own.
    """
    return _with_options(function, _HASTY) if little else Shared(function)


def quickly_at_first(function: Callable[..., Any], little: bool, soon: bool = False) -> Callable[..., Any]:
    """A compiled function that is often called once and sometimes for ever: quick code first, then good code.

    The two differ by rounding. Under a transformation the code is good.

    Args:
        little: whether there is so little to do that quick code pays at first.
        soon: whether, else, code pays that is a little quicker to compile than good code.
    """
    well = Shared(function)
    first = _with_options(function, _HASTY if little else _SOON)
    left = itertools.count(HASTE if little or soon else 0, -1)

    def run(*arguments: Any) -> Any:
        if not all_concrete(arguments):
            return well(*arguments)
        return (first if next(left) > 0 else well)(*arguments)

    return run


def _with_options(function: Callable[..., Any], options: list[dict[str, Any]]) -> Callable[..., Any]:
    """A compiled function, by the first of these options of XLA that its version knows; by none if it knows none."""
    programs = [*(Shared(function, compiler_options=each) for each in options), Shared(function)]

    def run(*arguments: Any) -> Any:
        while True:
            try:
                return programs[0](*arguments)
            except jax.errors.JaxRuntimeError as error:
                if "No such compile option" not in str(error) or len(programs) == 1:
                    raise
                del programs[0]

    return run
