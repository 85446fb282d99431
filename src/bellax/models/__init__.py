"""The gallery: one classic model a file, with its reference.

Every module here defines `model`, `params`, `solver` (the one that suits it), `start` (states by name, for
simulation), `periods` (how long to simulate, or None for the model's own horizon), and `checks()`, which
solves the model and compares it with its reference, a `Check` for each quantity. It may define
`long_checks()`, more of them, which take a minute or more and are made where they are asked for; and
`reference(params, **states)`: value and actions at a state of period 0 by name, computed otherwise, which
`bellax run` prints beside its own; where that has a discretisation in common with the solver, `truth(params, **states)`
is the value without it. A model in continuous time may come with `equilibrium`, a dict of what
`bx.equilibrium` takes beside model, parameters and solver: `params` then lacks the unknowns, which a run finds, and
`reference` may say them and the aggregates, too.
"""

import difflib
import importlib
import pkgutil
from types import ModuleType

from bellax import ModelError
from bellax.models.check import Check

_HELPERS = ("check", "comparison", "references")


def names() -> tuple[str, ...]:
    """The models of the gallery, in alphabetical order."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if not name.startswith("_") and name not in _HELPERS))


def load(name: str) -> ModuleType:
    """The module of one model.

    Raises:
        ModelError: if the gallery has no model of that name; the message names the nearest.
    """
    check_name(name)
    return importlib.import_module(f"{__name__}.{name}")


def checks(name: str, long: bool = False) -> list[Check]:
    """Solves one model and compares it with its reference.

    Args:
        name: of the model.
        long: whether its long checks are made, too.
    Raises:
        ModelError: if the gallery has no model of that name.
    """
    module = load(name)
    more = vars(module).get("long_checks", list) if long else list
    return [*module.checks(), *more()]


def check_name(name: str) -> None:
    """Raises ModelError, with the nearest name, where the gallery has no such model."""
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ModelError(f"the gallery has no model {name!r}.{hint} It has {', '.join(known) or 'none'}.")
