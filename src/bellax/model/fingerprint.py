"""The fingerprint of a model: equal for equal models, in other processes too, and different where a law differs.

Each slot of each regime is hashed by itself, so that a mismatch can be named. `model/tokens.py` says what counts: a
function with all that it reads, and not with its docstring, name or place in a file; an object with all that it holds.
Byte code differs between versions of Python, and so do fingerprints.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

from bellax.errors import ModelError
from bellax.model.diffusion import DiffusionModel
from bellax.model.model import Model
from bellax.model.regime import Slots
from bellax.model.tokens import Tokens, Untold


def fingerprint(model: Model | DiffusionModel) -> str:
    """SHA-256 of a model, as 64 hexadecimal digits."""
    return hashlib.sha256(repr(sorted(parts(model).items())).encode()).hexdigest()


def parts(model: Model | DiffusionModel) -> dict[str, str]:
    """A hash of every slot, by its label: `horizon`, `reward`, `states['wealth']`, `regime 'retired': reward`."""
    found = {"horizon": _hashed("horizon", model.horizon)}
    for regime, graph in model.graphs.items():
        where = f"regime {regime!r}: " if regime else ""
        for name in _slots(model):
            value = getattr(graph.regime, name)
            if not isinstance(value, Mapping):
                found[f"{where}{name}"] = _hashed(f"{where}{name}", value)
                continue
            for key, entry in value.items():
                label = f"{where}{name}[{key!r}]"
                found[label] = _hashed(label, entry)
    return found


def _slots(model: Model | DiffusionModel) -> list[str]:
    """What a model, or each of its regimes, says, but for the horizon."""
    said = DiffusionModel if isinstance(model, DiffusionModel) else Slots
    return [slot.name for slot in dataclasses.fields(said) if slot.init and slot.name != "horizon"]


def differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Labels of the slots that two models do not share, or that differ."""
    return sorted(label for label in {*ours, *theirs} if ours.get(label) != theirs.get(label))


def hashed(value: Any) -> str:
    """16 hexadecimal digits of any value: numbers, arrays, functions, objects and collections of these.

    Raises:
        ModelError: if nobody can say what some object in it holds.
    """
    return _hashed("what is to be told apart", value)


def _hashed(label: str, value: Any) -> str:
    try:
        return hashlib.sha256(repr(Tokens().of(value)).encode()).hexdigest()[:16]
    except (Untold, RecursionError) as untold:
        what = untold if isinstance(untold, Untold) else "objects that lie too deep in each other"
        raise ModelError(
            f"{label} reads {what}. What it holds cannot be told, so that a solution of this model could be taken "
            "for one of another; hence it is neither saved, nor loaded, nor kept in checkpoints. Let functions read "
            "numbers, arrays, and objects that hold these."
        ) from untold
