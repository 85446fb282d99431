"""Where a model comes from: a module of the gallery, or a file of the user."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import bellax as bx
from bellax import models
from bellax.cli.failure import Refusal, described
from bellax.cli.listing import description
from bellax.errors import nearest

PERIODS = 100


class Source(NamedTuple):
    """A model and what its module says about it.

    Attributes:
        name: for titles and the default folder.
        description: one line; empty where there is none.
        solver: the one that the module recommends, or None.
        start: states by name for the simulation, or None.
        periods: how long to simulate; None for the model's own horizon.
        reference: value and actions at a state of period 0 by other means, `reference(params, **states)`; or None. In
            continuous time of prices and aggregates, too.
        equilibrium: what `bx.equilibrium` takes by name beside model, parameters and solver; or None.
    """

    name: str
    description: str
    model: Any
    params: Mapping[str, Any]
    solver: Any
    start: Any
    periods: int | None
    reference: Callable[..., Mapping[str, Any]] | None
    equilibrium: Mapping[str, Any] | None


def is_file(given: str) -> bool:
    """Whether MODEL is a path and not a name of the gallery."""
    return given.endswith(".py") or "/" in given or "\\" in given


def check(given: str) -> str:
    """The name of the model, before anything is imported.

    Raises:
        Refusal: if there is no such file.
        ModelError: if the gallery has no such model.
    """
    if is_file(given):
        if not Path(given).is_file():
            raise Refusal(f"there is no file {given}.")
        return Path(given).stem
    if given not in models.names() and Path(f"{given}.py").is_file():
        raise Refusal(f"the gallery has no model {given!r}; for the file here write {given}.py.")
    models.check_name(given)
    return given


def load(given: str) -> Source:
    """The model that MODEL means.

    Raises:
        Refusal: if the file cannot be run, or does not define what is needed.
    """
    name = check(given)
    if not is_file(given):
        return _source(name, description(name), models.load(given))
    module = _executed(Path(given), name)
    for needed in ("model", "params"):
        if not hasattr(module, needed):
            close = nearest(needed, [key for key in vars(module) if not key.startswith("_")])
            raise Refusal(
                f"{given} does not define {needed!r}.{close} It needs model = bx.Model(...) and params = {{...}}."
            )
    if not isinstance(module.params, Mapping):
        raise Refusal(f"{given}: params is {module.params!r}; it must be a dict by name.")
    return _source(name, (module.__doc__ or "").strip().partition("\n")[0], module)


def _source(name: str, line: str, module: ModuleType) -> Source:
    if not isinstance(module.model, bx.Model | bx.DiffusionModel):
        kind = type(module.model).__name__
        raise Refusal(f"{name}: model is a {kind}; this version of bellax solves a bx.Model or a bx.DiffusionModel.")
    keys = ("solver", "start", "periods", "reference", "equilibrium")
    optional = {key: getattr(module, key, None) for key in keys}
    _check_equilibrium(name, module.model, optional["equilibrium"])
    return Source(name, line, module.model, module.params, **optional)


def _check_equilibrium(name: str, model: Any, given: Any) -> None:
    if given is None:
        return
    if not isinstance(model, bx.DiffusionModel):
        raise Refusal(f"{name}: equilibrium is given, and this version finds prices in a bx.DiffusionModel only.")
    if not isinstance(given, Mapping):
        raise Refusal(f"{name}: equilibrium is {given!r}; it must be a dict of unknowns, aggregates and conditions.")
    wanted = ("unknowns", "aggregates", "conditions")
    for key in wanted:
        if not isinstance(given.get(key), Mapping):
            raise Refusal(f"{name}: equilibrium has no dict {key!r}.{nearest(key, map(str, given))}")


def _executed(path: Path, name: str) -> ModuleType:
    """The module of a user's file, run with its own folder on the path."""
    file = path.resolve()
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        text = f": {error.text.strip()}" if error.text else ""
        where = path if error.filename == str(file) else error.filename
        raise Refusal(f"{where}, line {error.lineno}: {error.msg}{text}") from error
    except (Exception, SystemExit) as error:
        raise Refusal(f"{path} cannot be run. {described(error, str(path))}") from error
    finally:
        sys.path.remove(str(file.parent))
    return module
