"""`bellax run` in continuous time: value, policy, density, and the price where the module says what clears."""

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

import bellax as bx
from bellax.cli.failure import Refusal
from bellax.cli.report import plain
from bellax.cli.sources import Source
from bellax.cli.staging import Staging
from bellax.cli.work import Stage
from bellax.errors import BellaxError, listed
from bellax.flow_figures import at_nodes
from bellax.model import frozen
from bellax.model.quantity import quantity
from bellax.model.spaces import MarkovChain
from bellax.population.density import ATOM
from bellax.solve import prepare


def others(source: Source) -> Iterable[str]:
    """Parameters of conditions, which the model need not have."""
    if source.equilibrium is None:
        return set()
    conditions = source.equilibrium["conditions"]
    named = {needed for name, given in conditions.items() for needed in quantity(given, f"conditions[{name!r}]").names}
    return named - set(source.equilibrium["aggregates"])


def check(source: Source, params: Mapping[str, Any]) -> None:
    """No function of the model draws a random number or reads a clock in Python; see `Model.check`."""
    frozen.check(source.model.graphs[""], source.model.parameters(_own(source, params)))


def computed(
    source: Source, params: Mapping[str, Any], solver: Any, stage: Stage, staging: Staging, seed: int
) -> dict[str, Any]:
    """What was found, under the names of a report."""
    setting = prepare(source.model, solver)
    arguments = setting.arguments(_own(source, params))
    place = _place(setting, arguments, source.start)  # a wrong start is known before the solve
    sought = _sought(source, params)
    stage.enter("finding prices" if sought else "solving")
    watch = time.perf_counter()
    if sought:
        found: Any = bx.equilibrium(source.model, params, **(source.equilibrium or {}), solver=solver)
        solution, density, why = found.solution, found.density, ""
    else:
        found, solution = None, bx.solve(source.model, _own(source, params), solver)
        density, why = _density(solution)
    seconds = {"solve": time.perf_counter() - watch}
    answers = {name: _shown(value) for name, value in _asked(solution, place).items()}
    stage.enter("certifying")
    certificate, certified = _certified(solution, seed, staging)
    stage.enter("drawing")
    _written(staging, solution, density, found)
    own = {name: value for name, value in solution.params.items() if name not in sought}
    reference = {} if source.reference is None else source.reference({**params, **own}, **place)
    spaces = setting.flow.spaces
    return {
        "parameters": {**params, **solution.params},
        "result": solution.result.name,
        "start": {name: _labelled(spaces[name], value) for name, value in place.items()},
        "value": answers.pop("value"),
        "policy": answers,
        **_cleared(found),
        "density": {"none": why} if density is None else _described(density),
        "reference": reference,
        "stats": solution.stats,
        "certificate": certificate,
        "certified": certified,
        "seconds": seconds,
    }


def _certified(solution: Any, seed: int, staging: Staging) -> tuple[dict[str, Any], str]:
    """The certificate as numbers and as text; or why there is none: what was found is not lost for that."""
    try:
        found = bx.certify(solution, seed=seed)
    except BellaxError as error:
        return {}, str(error)
    staging.path("certificate.json").write_text(json.dumps(found.as_dict(), indent=2) + "\n")
    return found.as_dict(), str(found)


# -- what is asked -----------------------------------------------------------------------------------------------------


def _sought(source: Source, params: Mapping[str, Any]) -> tuple[str, ...]:
    """Unknowns to be found: all of them, or none where `--set` gives them."""
    unknowns = () if source.equilibrium is None else tuple(source.equilibrium["unknowns"])
    given = [name for name in unknowns if name in params]
    if given and len(given) < len(unknowns):
        left = [name for name in unknowns if name not in params]
        raise Refusal(f"{listed(given)} is given, and {listed(left)} is not: give all unknowns by --set, or none.")
    return () if given else unknowns


def _own(source: Source, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of the model alone, with some number for unknowns that are sought."""
    unknowns = {} if source.equilibrium is None else source.equilibrium["unknowns"]
    middle = {name: float(np.mean(bracket)) for name, bracket in unknowns.items()}
    known = set(source.model.template()["name"])
    extra = set(others(source)) - known
    return {name: value for name, value in {**middle, **params}.items() if name not in extra}


def _place(setting: Any, arguments: Any, start: Any) -> dict[str, Any]:
    """The state at which value and policy are reported: `start`, or the middle of the grid."""
    if start is None:
        start = {name: np.asarray(nodes)[len(nodes) // 2] for name, nodes in setting.nodes(arguments).items()}
    if not isinstance(start, Mapping):
        raise Refusal(f"start is {start!r}; in continuous time it must be a dict of states by name.")
    states, shape = setting.read({**start, "time": 0.0} if setting.flow.timed else start)
    states = {name: states[name] for name in setting.flow.spaces}
    if shape != ():
        raise Refusal(f"start has shape {shape}; in continuous time give one state.")
    return {name: np.asarray(value)[0] for name, value in states.items()}


def _density(solution: Any) -> tuple[Any, str]:
    """The stationary density, or why there is none: a value may be all that a model is about."""
    try:
        return bx.stationary(solution), ""
    except (bx.ModelError, bx.SolveError) as error:
        return None, str(error)


def _asked(solution: Any, place: Mapping[str, Any]) -> dict[str, Any]:
    when = {"time": 0.0} if solution.setting.flow.timed else {}
    return {"value": solution.value(**when, **place), **solution.policy(**when, **place)}


# -- what is said ------------------------------------------------------------------------------------------------------


def _cleared(found: Any) -> dict[str, Any]:
    """Prices, and what they clear."""
    if found is None:
        return {"prices": {}, "residuals": {}, "aggregates": {}}
    parts = {"prices": found.unknowns, "residuals": found.residuals, "aggregates": found.aggregates}
    return {name: {key: float(value) for key, value in part.items()} for name, part in parts.items()}


def _described(density: Any) -> dict[str, Any]:
    """Mass, atoms, and means and standard deviations of continuous states."""
    flow = density.solution.setting.flow
    mean, sd = {}, {}
    for name in flow.continuous:
        nodes, mass = (np.asarray(part) for part in density.marginal(name))
        mean[name] = float(mass @ nodes)
        sd[name] = float(np.sqrt(mass @ (nodes - mean[name]) ** 2))
    atoms = density.atoms()
    return {
        "mass": float(np.sum(np.asarray(density.mass))),
        "least": float(np.min(np.asarray(density.mass))),
        "in atoms": sum(mass for _, mass in atoms),
        "atoms": [
            {"at": {name: _labelled(flow.spaces[name], value) for name, value in at.items()}, "mass": mass}
            for at, mass in atoms
        ],
        "at edges": _at_edges(density),
        "mean": mean,
        "sd": sd,
    }


def _at_edges(density: Any) -> list[dict[str, Any]]:
    """The mass of the atoms at every edge that has some: along it there may be many."""
    flow, found = density.solution.setting.flow, []
    for name in flow.continuous:
        nodes = np.asarray(density.solution.nodes()[name])
        for edge in (nodes[0], nodes[-1]):
            masses = [mass for at, mass in density.atoms() if at[name] == edge]
            if masses:
                found.append({"at": {name: float(edge)}, "mass": sum(masses), "nodes": len(masses)})
    return found


def _labelled(space: Any, value: Any) -> Any:
    """The label of a category of an Enum, else a number."""
    enum = isinstance(space, MarkovChain) and isinstance(space.categories, type)
    return (space.labels or ())[int(value)] if enum else float(value)


def _shown(value: Any) -> Any:
    return np.asarray(value).tolist()


# -- files -------------------------------------------------------------------------------------------------------------


def _written(staging: Staging, solution: Any, density: Any, found: Any) -> None:
    figure = bx.plot(found) if found is not None else bx.plot(solution, density)
    figure.savefig(staging.path("figure.png"), dpi=110)
    solution.save(staging.path("solution.nc"))
    if density is not None:
        staging.path("density.csv").write_text(_table(solution, density))
    if found is not None:
        cleared = {**_cleared(found), "density": _described(density)}
        staging.path("equilibrium.json").write_text(json.dumps(plain(cleared), indent=2) + "\n")


def _table(solution: Any, density: Any) -> str:
    """A row for every node: states, mass, whether that is an atom, value and actions, as a table with commas."""
    nodes = {name: np.asarray(values) for name, values in solution.nodes().items()}
    laid = dict(zip(nodes, np.meshgrid(*nodes.values(), indexing="ij"), strict=True))
    mass = np.asarray(density.mass)
    columns = {**laid, "mass": mass, "atom": np.asarray(density.held) & (mass > ATOM), **at_nodes(solution)}
    rows = np.stack([np.asarray(column, float).reshape(-1) for column in columns.values()], axis=1)
    lines = [",".join(f"{number:.10g}" for number in row) for row in rows.tolist()]
    return "\n".join([",".join(columns), *lines]) + "\n"
