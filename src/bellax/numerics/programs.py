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

_HASTY: list[dict[str, Any]] = [
    {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False},
    {"xla_backend_optimization_level": 0},
]
"""Options of XLA for quick code; its version may not know those that come first."""


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
    well = Shared(function)
    if not little:
        return well
    hasty = [Shared(function, compiler_options=options) for options in _HASTY] + [well]

    def run(*arguments: Any) -> Any:
        while True:
            try:
                return hasty[0](*arguments)
            except jax.errors.JaxRuntimeError as error:
                if "No such compile option" not in str(error) or len(hasty) == 1:
                    raise
                del hasty[0]

    return run


def quickly_at_first(function: Callable[..., Any], little: bool) -> Callable[..., Any]:
    """A compiled function that is often called once and sometimes for ever: quick code first, then good code.

    The two differ by rounding. Under a transformation the code is good.

    Args:
        little: whether there is so little to do that quick code pays; else the code is always good.
    """
    well, hasty = Shared(function), quickly(function, True)
    left = itertools.count(HASTE if little else 0, -1)

    def run(*arguments: Any) -> Any:
        if not all_concrete(arguments):
            return well(*arguments)
        return (hasty if next(left) > 0 else well)(*arguments)

    return run
