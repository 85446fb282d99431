"""Solutions in files: NetCDF that any tool reads, and that runs no code when it is loaded.

A file belongs to the model that was solved. It holds no function, so the model is given again on loading, and refused
where its fingerprint is another.
"""

import json
import os
import platform
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax import solvers
from bellax.bellman.configuration import decode, encode, owned
from bellax.bellman.continuation import Value
from bellax.bellman.setting import Setting
from bellax.errors import ModelError, SolveError, listed
from bellax.model.diffusion import DiffusionModel
from bellax.model.fingerprint import differences, fingerprint, parts
from bellax.model.model import Model
from bellax.model.quantity import ByPeriod
from bellax.numerics import archive
from bellax.numerics.archive import Variable
from bellax.numerics.pieces import Pieces
from bellax.solution.flow_record import values_of
from bellax.solution.flowing import FlowSolution
from bellax.solution.gridless import GridlessSetting, GridlessSolution
from bellax.solution.record import FORMAT, axis_names, of_regime
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Solution
from bellax.solvers.regimes import PreparedRegimes
from bellax.solvers.solver import Solver


def save(solution: Solution | GridlessSolution | RegimeSolution | FlowSolution, path: str | os.PathLike[str]) -> None:
    """Writes a solution, of one regime, of several, or in continuous time, to a NetCDF file, whole or not at all.

    Args:
        solution: what `bx.solve` returned.
        path: of the file; what is there is replaced once the new one is complete.
    Raises:
        ModelError: of a solution under a transformation of jax, or one that follows a rule; if a function reads what
            nobody can tell the contents of, so that another model could pass for this one.
        SolveError: if the file cannot be written.
    """
    solution.save(path)


def load(path: str | os.PathLike[str], model: Any, solver: Any = None) -> Any:
    """The solution in a file, whose value and policy are those that were saved, bit for bit.

    Args:
        path: of a file that `bx.save` wrote.
        model: the model that was solved.
        solver: by which; needed only where it holds functions or classes of your own, such as `outputs=` of a solver
            by nets or a scale for a grid, which are in no file.
    Returns:
        A `Solution`; of a solver without a grid a `GridlessSolution`, of a model with several regimes a
        `RegimeSolution`, of a `DiffusionModel` a `FlowSolution`.
    Raises:
        ModelError: if the file is another model's, and the message names the slots that differ; if the solver is
            another one, or is needed and not given.
        SolveError: if there is no such file, or it is none of bellax's, damaged, or of another format or precision.
    """
    if not isinstance(model, Model | DiffusionModel):
        raise ModelError(f"load takes the bx.Model or bx.DiffusionModel that was solved, not {model!r}.")
    stored = archive.read(path)
    _check_format(path, {*stored.attributes, *stored.variables}, stored.attributes)
    _check_model(path, stored.attributes, model)
    prepared = _prepared(path, stored.attributes["solver"], model, solver)
    if isinstance(model, DiffusionModel):
        return _of_flow(path, prepared, stored.variables)
    if model.regimes is not None:
        return _of_regimes(path, prepared, stored.variables)
    if isinstance(prepared, GridlessSetting):
        return _of_gridless(path, prepared, stored.variables)
    variables = stored.variables
    arguments, values = prepared.arguments(_parameters(variables)), _values(path, prepared, variables)
    code, stats = _code(variables), _stats(variables)
    return Solution(arguments=arguments, values=values, code=code, stats=stats, setting=prepared)


def _of_flow(path: Any, prepared: Any, variables: Mapping[str, Variable]) -> FlowSolution:
    """The solution in continuous time."""
    arguments = prepared.arguments(_parameters(variables))
    values = values_of(path, prepared, arguments, variables)
    return FlowSolution(arguments, values, _code(variables), _stats(variables), prepared)


def _of_gridless(path: Any, prepared: GridlessSetting, variables: Mapping[str, Variable]) -> GridlessSolution:
    """The solution without a grid."""
    arguments = prepared.arguments(_parameters(variables))
    values = values_of(path, prepared, arguments, variables)
    code, stats = _code(variables), _stats(variables)
    return GridlessSolution(arguments=arguments, values=values, code=code, stats=stats, setting=prepared)


def _of_regimes(path: Any, prepared: PreparedRegimes, variables: Mapping[str, Variable]) -> RegimeSolution:
    """The solution of several regimes, what is of each from under its name."""
    own = {regime: of_regime(regime, variables) for regime in prepared.model.graphs}
    arguments = prepared.arguments({regime: _parameters(stored) for regime, stored in own.items()})
    deciding = prepared.settings.deciding
    missing = [f"{regime}.{name}" for regime in deciding for name in ("value", "code") if name not in own[regime]]
    if missing:
        raise SolveError(f"{path} was not saved by bellax: it lacks {listed(missing)}.")
    values = {regime: _values(path, setting, own[regime]) for regime, setting in deciding.items()}
    codes = {regime: _code(own[regime]) for regime in deciding}
    stats: dict[str, Any] = {regime: _stats(own[regime]) for regime in deciding}
    stats |= _stats(variables)
    return RegimeSolution(arguments=arguments, values=values, codes=codes, stats=stats, settings=prepared.settings)


def _code(variables: Mapping[str, Variable]) -> Array:
    return jnp.asarray(variables["code"].array)


def _stats(variables: Mapping[str, Variable]) -> dict[str, Array]:
    return {name: jnp.asarray(variable.array) for name, variable in _group(variables, "stat").items()}


def _prepared(path: Any, text: str, model: Any, given: Any) -> Any:
    """The model under the solver in the file, or the one that is given, if it is the same."""
    own = ", ".join(dict.fromkeys(owned(text)))
    if given is None:
        if own:
            raise ModelError(
                f"{path} was solved with functions or classes of your own, which are in no file: {own}. Give "
                "the solver, bx.load(path, model, solver)."
            )
        return _solver(text).prepare(model)
    if not isinstance(given, Solver):
        raise ModelError(f"load: solver is {given!r}; give the solver that the model was solved by, or leave it out.")
    prepared = given.prepare(model)
    if encode(prepared.stored if isinstance(prepared, GridlessSetting) else prepared.options) != text:
        raise ModelError(
            f"{path} was solved by another solver, or with other functions than {type(given).__name__} has here: "
            f"{text}. Functions are compared by byte code, which differs between versions of Python."
        )
    return prepared


def _solver(text: str) -> Solver:
    solver = decode(text, {name: getattr(solvers, name) for name in solvers.__all__})
    if not isinstance(solver, Solver):
        raise SolveError(f"the file holds {solver!r} in place of a solver. Solve again.")
    return solver


def _check_format(path: Any, names: set[str], attributes: Mapping[str, str]) -> None:
    needed = ["format", "solver", "fingerprint", "model", "python"]
    needed += [] if "regimes" in attributes else ["code"]
    missing = [name for name in needed if name not in names]
    if missing:
        raise SolveError(f"{path} was not saved by bellax: it lacks {listed(missing)}.")
    if attributes["format"] != FORMAT:
        raise SolveError(
            f"{path} has format {attributes['format']}, and this version of bellax reads format {FORMAT}. Load it with "
            "the version that saved it, or solve again."
        )


def _check_model(path: Any, attributes: Mapping[str, str], model: Model | DiffusionModel) -> None:
    if attributes["fingerprint"] == fingerprint(model):
        return
    ours = ", ".join(model.regimes or ()) if isinstance(model, Model) else ""
    theirs = attributes.get("regimes", "")
    if set(ours.split(", ")) != set(theirs.split(", ")):
        has, holds = (f"the regimes {found}" if found else "one regime" for found in (ours, theirs))
        raise ModelError(f"{path} holds a solution of a model with {holds}, and the one that is given has {has}.")
    different = differences(parts(model), json.loads(attributes["model"]))
    here, there = ".".join(platform.python_version_tuple()[:2]), attributes["python"]
    note = "Give the model that was solved, or solve this one."
    if here != there:
        note += (
            f" The file was written under Python {there} and this is {here}: functions are compared by byte code, "
            "which differs between the two; load it under the same version."
        )
    if "horizon" in different:
        note += " After bx.solve(..., horizon=T) it is dataclasses.replace(model, horizon=T)."
    raise ModelError(f"{path} holds a solution of another model: {', '.join(different)} differ. {note}")


def _parameters(variables: Mapping[str, Variable]) -> dict[str, Any]:
    return {
        name: ByPeriod(variable.array) if "by_period" in variable.attributes else variable.array
        for name, variable in _group(variables, "parameter").items()
    }


def _values(path: Any, setting: Setting, variables: Mapping[str, Variable]) -> Value:
    if "value" not in variables:
        raise SolveError(f"{path} was not saved by bellax: it lacks 'value'.")
    levels = variables["value"].array
    here = np.dtype(jnp.result_type(float))
    if levels.dtype != here:
        raise SolveError(
            f"{path} is in {levels.dtype} and this process computes in {here}; set JAX_ENABLE_X64="
            f"{int(levels.dtype == np.float64)} to load it."
        )
    axes = axis_names(setting.problem)
    lines = axes[len(axes) - len(setting.plan.lines) :] if setting.numerics.interpolant.needs_slopes else []
    slopes = tuple(jnp.asarray(variables[f"slope:{name}"].array) for name in lines)
    pieces = {name: jnp.asarray(variable.array) for name, variable in _group(variables, "pieces").items()}
    return Value(jnp.asarray(levels), slopes, Pieces(**pieces) if pieces else None)


def _group(variables: Mapping[str, Variable], prefix: str) -> dict[str, Variable]:
    return {name.partition(":")[2]: variable for name, variable in variables.items() if name.startswith(f"{prefix}:")}
