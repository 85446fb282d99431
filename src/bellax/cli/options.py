"""--set, --solver and --grid: from what was typed to parameters and a solver."""

import ast
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import bellax as bx
from bellax.cli.failure import Refusal
from bellax.errors import listed, nearest
from bellax.model.parameters import entries
from bellax.numerics.scalar import numeric
from bellax.solve import choose_solver, usual_solver
from bellax.solvers.solver import Solver


def with_settings(
    model: Any, params: Mapping[str, Any], settings: Sequence[str], others: Iterable[str] = ()
) -> dict[str, Any]:
    """Parameters with those that `--set` gives in place of the model's own.

    Args:
        others: names of parameters beside those of the model.
    Raises:
        Refusal: for what is no NAME=NUMBER, or a parameter that the model does not have; it names the nearest.
    """
    known = {*others, *(e.name for e in entries(model))} | {f"{e.regime}.{e.name}" for e in entries(model) if e.regime}
    found = dict(params)
    for setting in settings:
        name, value = _pair(setting, "--set", "NAME=VALUE")
        if name not in known:
            close = nearest(name, known)
            raise Refusal(
                f"--set {setting}: the model has no parameter {name!r}.{close} It takes {listed(sorted(known))}."
            )
        regime, _, inner = name.rpartition(".")
        number = _number(value, setting)
        if regime:
            found[regime] = {**found.get(regime, {}), inner: number}
        else:
            found[name] = number
    return found


def chosen_solver(model: Any, recommended: Any, name: str | None, grid: Sequence[str]) -> tuple[Any, str]:
    """The solver to use, and why it is that one.

    Args:
        recommended: the one that the module of the model gives, or None.
        name: of a class of `bx.solvers`, from `--solver`; the module's grid, quadrature and maximiser are kept.
        grid: from `--grid`.
    Raises:
        Refusal: for an unknown solver or state, or a count that is no whole number.
    """
    solver, why = recommended, f"{type(recommended).__name__}: the model comes with it."
    if recommended is None:  # what is chosen by structure may not solve a model that comes with another solver
        solver, why = choose_solver(model) if isinstance(model, bx.DiffusionModel) else usual_solver(model)
    if name is not None:
        known = _solvers(not isinstance(model, bx.DiffusionModel))
        if name not in known:
            raise Refusal(f"--solver {name}: there is no such solver.{nearest(name, known)} There are {listed(known)}.")
        solver, why = _as(getattr(bx.solvers, name), solver), f"{name}: asked for."
    counts = dict(_count(model, each) for each in grid)
    if counts and not any(field.name == "grid" for field in dataclasses.fields(solver)):
        raise Refusal(f"--grid {grid[0]}: {type(solver).__name__} has no grid.")
    return (dataclasses.replace(solver, grid={**solver.grid, **counts}) if counts else solver), why


def _solvers(discrete: bool) -> list[str]:
    """Names of the solvers of discrete time, or of continuous time."""
    found = {name: getattr(bx.solvers, name) for name in bx.solvers.__all__}
    return [name for name, kind in found.items() if issubclass(kind, Solver) and kind.flows != discrete]


def _as(kind: Any, solver: Any) -> Any:
    """A solver of another class with the options that both have."""
    if type(solver) is kind:
        return solver
    options = [{field.name for field in dataclasses.fields(each)} for each in (kind, solver)]
    shared = ("grid", "quadrature", "interpolant", "maximiser", "memory", "outside")
    return kind(**{option: getattr(solver, option) for option in shared if all(option in own for own in options)})


def _count(model: Any, text: str) -> tuple[str, int]:
    name, value = _pair(text, "--grid", "STATE=COUNT")
    states = {state for graph in model.graphs.values() for state in graph.regime.states}
    if name not in states:
        raise Refusal(
            f"--grid {text}: the model has no state {name!r}.{nearest(name, states)} It has {listed(sorted(states))}."
        )
    if not value.isdecimal():
        raise Refusal(f"--grid {text}: {value!r} is no number of nodes.")
    return name, int(value)


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise Refusal(f"{option} {text}: write {option} {form}.")
    return name, value


def _number(text: str, setting: str) -> Any:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return numeric(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise Refusal(f"--set {setting}: {text!r} is no number or list of numbers.") from error
