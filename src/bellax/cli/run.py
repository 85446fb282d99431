"""`bellax run`: solve, simulate, certify, draw, write, and say what was found."""

import contextlib
import dataclasses
import gc
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bellax as bx
from bellax.cli import flows, regimes, sources
from bellax.cli.failure import Refusal, one_line
from bellax.cli.options import chosen_solver, with_settings
from bellax.cli.report import plain, show
from bellax.cli.sources import Source
from bellax.cli.staging import Staging
from bellax.cli.work import Stage, interruptible
from bellax.model.spaces import Continuous, Discrete, MarkovChain
from bellax.problem.starts import starting_states
from bellax.solution.record import axis_states, mesh_nodes, moving_axes
from bellax.solve import prepare

_AGENTS = 1000


class Request(NamedTuple):
    """What was asked on the command line."""

    model: str
    settings: tuple[str, ...]
    solver: str | None
    grid: tuple[str, ...]
    out: Path | None
    seed: int
    agents: int | None
    check: bool
    accuracy: float | None = None


class Results(NamedTuple):
    """What was computed."""

    source: Source
    solution: Any
    why: str
    start: Mapping[str, Any]
    certificate: Any
    answers: Mapping[str, Any]
    reference: Mapping[str, Any]
    seconds: Mapping[str, float]


def run(request: Request, as_json: bool) -> None:
    """Runs a model and prints the report."""
    started, stage = time.perf_counter(), Stage()
    with one_line(request.model if sources.is_file(request.model) else ""):
        name = sources.check(request.model)
        staging = Staging(request.out if request.out is not None else Path(name))
        try:
            with _quiet(as_json), _seldom_collecting():
                report = interruptible(lambda: _computed(request, stage, staging), stage, staging.discard)
            files = {file.name: str(file) for file in staging.publish()}
        finally:
            staging.discard()
        report["files"] = files
        report["seconds"]["total"] = time.perf_counter() - started
        if as_json:
            print(json.dumps(report, indent=2, allow_nan=False))
        else:
            show(report)


@contextlib.contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    """Sends what the user's file prints to stderr, where stdout is for JSON alone."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Lets the collector of cycles look less often: it takes a tenth of the time that tracing takes."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _computed(request: Request, stage: Stage, staging: Staging) -> dict[str, Any]:
    source = sources.load(request.model)
    _import_early()  # after the file, which may bring a folder into the path of imports for a while
    if isinstance(source.model, bx.DiffusionModel):
        return _of_flows(request, source, stage, staging)
    params = with_settings(source.model, source.params, request.settings)
    if request.check:
        source.model.check(params)
    # what comes with a model fixes nodes, and an accuracy asks how many are needed
    own = source.solver if request.accuracy is None else None
    solver, why = chosen_solver(source.model, own, request.solver, request.grid)
    if source.model.regimes is not None:
        sizes = (request.agents or _AGENTS, request.seed, request.accuracy)
        found = regimes.computed(source, params, solver, stage, staging, *sizes)
        return _head(source, solver, why) | {name: plain(value) for name, value in found.items()}
    setting = prepare(source.model, solver)
    start = _middle(setting, params) if source.start is None else source.start
    starting_states(setting.problem, start, None)  # a wrong start is known before the solve
    clock = source.model.clock
    stage.enter("solving", clock.count if clock.finite else None)
    watch = time.perf_counter()
    told = stage.report if sys.stderr.isatty() else None
    solution = bx.solve(source.model, params, solver, progress=told, accuracy=request.accuracy)
    seconds = {"solve": time.perf_counter() - watch}
    place = _place(solution, start)
    with ThreadPoolExecutor(1) as second:  # what remains is mostly compilation, which threads share
        asked = second.submit(_answers, solution, place)
        stage.enter("simulating")
        panel = bx.simulate(solution, request.agents or _AGENTS, start, request.seed, _periods(source))
        drawn = second.submit(_written, solution, panel, staging)
        stage.enter("certifying")
        certificate = bx.certify(solution, seed=request.seed, panel=panel)
        stage.enter("drawing")
        drawn.result()
    staging.path("certificate.json").write_text(json.dumps(certificate.as_dict(), indent=2) + "\n")
    reference = {} if source.reference is None else source.reference(solution.params, **place)
    spaces = solution.setting.plan.states
    labels = {name: _labelled(spaces[name], value) for name, value in place.items()}
    return _report(Results(source, solution, why, labels, certificate, asked.result(), reference, seconds))


def _of_flows(request: Request, source: Source, stage: Stage, staging: Staging) -> dict[str, Any]:
    """The report of a model in continuous time."""
    if request.agents is not None:
        raise Refusal("--agents: a run in continuous time has the density of all agents, and simulates none.")
    if request.accuracy is not None:
        raise Refusal("--accuracy: it refines grids in discrete time, and time is continuous here.")
    params = with_settings(source.model, source.params, request.settings, flows.others(source))
    if request.check:
        flows.check(source, params)
    solver, why = chosen_solver(source.model, source.solver, request.solver, request.grid)
    found = flows.computed(source, params, solver, stage, staging, request.seed)
    return _head(source, solver, why) | {name: plain(value) for name, value in found.items()}


def _periods(source: Source) -> int | None:
    return None if source.model.clock.finite else source.periods or sources.PERIODS


def _written(solution: Any, panel: Any, staging: Staging) -> None:
    solution.save(staging.path("solution.nc"))
    bx.plot(solution, panel).savefig(staging.path("figure.png"), dpi=110)


def _import_early() -> None:
    """Imports what drawing and saving need, in the background: they wait while the solve compiles."""

    def load() -> None:
        import matplotlib.backends.backend_agg  # noqa: F401
        import matplotlib.figure  # noqa: F401
        import xarray  # noqa: F401

    threading.Thread(target=load, daemon=True).start()


def _middle(setting: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """The middle of the grid in period 0, for every state that is no process."""
    nodes = _first_nodes(setting, setting.arguments(params))
    found = {}
    for name, space in setting.plan.states.items():
        if name not in setting.plan.processes:
            middle = [line[len(line) // 2] for line in nodes[name]]
            vector = isinstance(space, Continuous) and space.shape != ()
            found[name] = np.asarray(middle).reshape(space.shape) if vector else middle[0]
    return found


def _first_nodes(setting: Any, arguments: Any) -> dict[str, list[np.ndarray]]:
    """Nodes of every state in period 0, one array for each of its numbers."""
    moving = moving_axes(setting.problem, arguments)
    found: dict[str, list[np.ndarray]] = {name: [] for name in setting.plan.states}
    for state, (axis, nodes) in zip(axis_states(setting.problem), mesh_nodes(setting, arguments).items(), strict=True):
        found[state].append(nodes[0] if axis in moving else nodes)
    return found


def _place(solution: Any, start: Any) -> dict[str, Any]:
    """The state in which the first agent starts, processes without a start at their middle node."""
    given = starting_states(solution.setting.problem, start, None)
    place = {name: np.asarray(array[0]) for name, array in given.states.items()}
    nodes = _first_nodes(solution.setting, solution.arguments)
    for name in solution.setting.plan.processes:
        place.setdefault(name, nodes[name][0][len(nodes[name][0]) // 2])
    return place


def _answers(solution: Any, place: Mapping[str, Any]) -> dict[str, Any]:
    """Value and policy at a state of period 0."""
    when = {"period": 0} if solution.model.clock.finite else {}
    answers = {"value": solution.value(**when, **place), **solution.policy(**when, **place)}
    return {name: _labelled(solution.setting.plan.actions.get(name), value) for name, value in answers.items()}


def _labelled(space: Any, value: Any) -> Any:
    """The label of a category of an Enum; else a number or a list of numbers."""
    if isinstance(space, Discrete | MarkovChain) and isinstance(space.categories, type):
        return (space.labels or ())[int(value)]
    return np.asarray(value).tolist()


def _head(source: Source, solver: Any, why: str) -> dict[str, Any]:
    """What a report says of what was asked."""
    options = {field.name: getattr(solver, field.name) for field in dataclasses.fields(solver)}
    return {
        "model": source.name,
        "description": source.description,
        "solver": type(solver).__name__,
        "options": {name: plain(value) for name, value in options.items()},
        "why": why,
    }


def _report(results: Results) -> dict[str, Any]:
    source, solution = results.source, results.solution
    policy = {name: value for name, value in results.answers.items() if name != "value"}
    return _head(source, solution.setting.options, results.why) | {
        "parameters": plain({name: _values(value) for name, value in solution.params.items()}),
        "result": solution.result.name,
        "start": plain(results.start),
        "value": plain(results.answers["value"]),
        "policy": plain(policy),
        "reference": plain(results.reference),
        "stats": plain(solution.stats),
        "certificate": results.certificate.as_dict(),
        "certified": str(results.certificate),
        "refinement": "" if solution.refinement is None else str(solution.refinement),
        "seconds": dict(results.seconds),
    }


def _values(value: Any) -> Any:
    return getattr(value, "values", value)
