"""`bellax run` of a model with several regimes: one file, figure and certificate for all of them."""

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

import bellax as bx
from bellax.certify.common import middle_of_first, shown
from bellax.cli.sources import Source
from bellax.cli.staging import Staging
from bellax.cli.work import Stage
from bellax.solve import prepare


def computed(
    source: Source,
    params: Mapping[str, Any],
    solver: Any,
    stage: Stage,
    staging: Staging,
    agents: int,
    seed: int,
    accuracy: float | None,
) -> dict[str, Any]:
    """What was found, under the names of a report."""
    prepared = prepare(source.model, solver)
    arguments = prepared.arguments(params)
    start = middle_of_first(prepared.settings, arguments) if source.start is None else source.start
    stage.enter("solving", source.model.clock.count)
    watch = time.perf_counter()
    solution = bx.solve(source.model, params, solver, accuracy=accuracy)
    seconds = {"solve": time.perf_counter() - watch}
    stage.enter("simulating")
    panel = bx.simulate(solution, agents, start, seed)
    stage.enter("certifying")
    certificate = bx.certify(solution, seed=seed, panel=panel)
    stage.enter("drawing")
    if any(setting.plan.states for setting in solution.settings.deciding.values()):
        bx.plot(solution).savefig(staging.path("figure.png"), dpi=110)
    solution.save(staging.path("solution.nc"))
    staging.path("certificate.json").write_text(json.dumps(certificate.as_dict(), indent=2) + "\n")
    staging.path("shares.csv").write_text(_shares(panel))
    place, value, policy = _first(solution, panel)
    return {
        "parameters": {name: solution[name].params for name in solution.regimes},
        "result": solution.result.name,
        "start": place,
        "value": value,
        "policy": policy,
        "reference": {},
        "stats": solution.stats,
        "certificate": certificate.as_dict(),
        "certified": str(certificate),
        "refinement": "" if solution.refinement is None else str(solution.refinement),
        "seconds": seconds,
    }


def _first(solution: bx.RegimeSolution, panel: bx.RegimePanel) -> tuple[dict[str, Any], float, dict[str, Any]]:
    """Where the first agent starts, and value and policy there."""
    regime = panel.regimes[int(np.asarray(panel.regime)[0, 0])]
    plan = solution[regime].setting.plan
    states = {name: np.asarray(panel.states[regime][name])[0, 0] for name in plan.states}
    chosen = solution[regime].policy(period=0, **states)
    value = float(solution[regime].value(period=0, **states))
    place = {"regime": regime} | {name: shown(plan.states[name], value) for name, value in states.items()}
    policy = {name: shown(plan.actions.get(name), np.asarray(action)) for name, action in chosen.items()}
    return place, value, policy


def _shares(panel: bx.RegimePanel) -> str:
    """The share of agents in each regime by age, as a table with commas."""
    shares = {name: np.asarray(panel.share(name)) for name in panel.regimes}
    clock = next(iter(panel.problems.regimes.values())).clock
    rows = [",".join(["age", *shares])]
    for period in range(panel.periods):
        numbers = (clock.age(period), *(own[period] for own in shares.values()))
        rows.append(",".join(f"{number:g}" for number in numbers))
    return "\n".join(rows) + "\n"
