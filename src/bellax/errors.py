"""The exceptions of bellax, and the nearest name for a misspelt one."""

import difflib
from collections.abc import Iterable


class BellaxError(Exception):
    """Whatever bellax raises on purpose."""


class ModelError(BellaxError):
    """The model, or an option given beside it, contradicts itself; known before any number is computed."""


class ParameterError(BellaxError):
    """The parameters do not fit the model: missing, surplus, of the wrong shape or out of range."""


class SolveError(BellaxError):
    """A solve ended without an answer: not converged, infeasible, not a number, or out of memory."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The clause ` Did you mean 'x'?` for the known name closest to `name`, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
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
