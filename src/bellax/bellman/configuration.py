"""A solver's configuration as text and back: a fixed list of bellax's own frozen dataclasses, and nothing else.

Each object becomes `{"class": "grids.Scaled", "count": 100, "scale": null}`. What is read is built by the constructors
of the classes named here (and of the solvers, which the reader passes), so a file can run no code of its own. Of
functions and classes of a user's own the hash is kept, `{"own": "scale of grids.Scaled", "hash": ...}`: a reader has to
have them.
"""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from bellax.bellman.maximisers.by_structure import ByStructure
from bellax.bellman.maximisers.egm import DCEGM, EGM
from bellax.bellman.maximisers.enumeration import Enumerate
from bellax.bellman.maximisers.golden import Golden
from bellax.bellman.maximisers.negm import NEGM
from bellax.bellman.maximisers.newton import Newton
from bellax.bellman.outside import Extrapolate, Nan
from bellax.errors import ModelError, SolveError
from bellax.model.fingerprint import hashed
from bellax.numerics import chains, draws, grids, interpolants, rules, scales, shares

_GROUPS: dict[str, tuple[type, ...]] = {
    "draws": (draws.Independent, draws.Sobol),
    "grids": (grids.Scaled, grids.Regular, grids.Given, *chains.CHAINS),
    "interpolants": (interpolants.Linear, interpolants.Hermite),
    "maximise": (ByStructure, Enumerate, Golden, Newton, EGM, DCEGM, NEGM),
    "outside": (Extrapolate, Nan),
    "quadrature": rules.RULES,
    "shares": (shares.Clipped, shares.Logistic),
    "scales": (scales.Linear, scales.Log, scales.Asinh, scales.Power, scales.Octave),
}
_CLASSES = {f"{group}.{kind.__name__}": kind for group, kinds in _GROUPS.items() for kind in kinds}
_LABELS = {kind: label for label, kind in _CLASSES.items()}
_PACKAGE = __name__.partition(".")[0]
_OWN = {"own", "hash"}


def encode(solver: Any) -> str:
    """A solver as JSON; of functions that a user gave, and of their own classes, the hash."""
    return json.dumps(_encoded(solver, "the solver"))


def owned(text: str) -> list[str]:
    """Which parts of what was encoded are a user's own: they are not in the text."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict) and set(value) == _OWN:
            found.append(str(value["own"]))
        elif isinstance(value, dict):  # a user's own names, one of which may be `own`, are in a dict of theirs
            for entry in (value["dict"] if set(value) == {"dict"} else value).values():
                walk(entry)
        elif isinstance(value, list):
            for entry in value:
                walk(entry)

    with contextlib.suppress(ValueError):  # which `decode` tells
        walk(json.loads(text))
    return found


def decode(text: str, solvers: Mapping[str, type]) -> Any:
    """What was encoded: a solver, if nobody changed the text.

    Args:
        text: what `encode` gave.
        solvers: the classes of solvers that may be built, by name.
    Raises:
        SolveError: if the text names anything else, or does not fit the constructors.
    """
    classes = {**_CLASSES, **{f"solvers.{name}": kind for name, kind in solvers.items()}}
    try:
        return _decoded(json.loads(text), classes)
    except (ValueError, TypeError, KeyError, AttributeError, ModelError) as error:
        raise SolveError(f"the solver in the file cannot be rebuilt: {error}. Solve again.") from error


def _encoded(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.integer | np.floating):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {"dict": {str(name): _encoded(entry, f"{where}[{name!r}]") for name, entry in value.items()}}
    if value in (scales.asinh, scales.power):
        return _encoded(value(), where)
    label = _label(type(value))
    if label is not None:
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"class": label, **{name: _encoded(entry, f"{name} of {label}") for name, entry in fields.items()}}
    if isinstance(value, tuple | list):
        return [_encoded(entry, where) for entry in value]
    return {"own": where, "hash": hashed(value)}


def _label(kind: type) -> str | None:
    if kind.__module__.startswith(f"{_PACKAGE}.solvers."):
        return f"solvers.{kind.__name__}"
    return _LABELS.get(kind)


def _decoded(value: Any, classes: Mapping[str, type]) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(entry, classes) for entry in value)
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {name: _decoded(entry, classes) for name, entry in value["dict"].items()}
    fields = dict(value)
    label = fields.pop("class")
    if label not in classes:
        raise KeyError(f"{label} is no class that a file may name")
    return classes[label](**{name: _decoded(entry, classes) for name, entry in fields.items()})
