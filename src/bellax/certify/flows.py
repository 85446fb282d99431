"""The certificate of a solution in continuous time: residuals off the nodes, coarser grids, edges, and mass.

Each sees what the others cannot. A wrong branch of the equation may have no residual at all, and the same V on every
grid: its drift leads outward. A policy that is not the best one satisfies its own equation: a scan finds a better one.
A condition at an edge that does not hold is nowhere else to be seen. A box that is too narrow has mass at its edges.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellax.certify.certificate import quantiles
from bellax.certify.common import shown
from bellax.certify.crowd import crowd
from bellax.certify.edges import SIDES, at_edge, at_end
from bellax.certify.equation import look
from bellax.certify.flow_certificate import FlowCertificate
from bellax.certify.refinement import coarser, refinement
from bellax.errors import BellaxError, ModelError
from bellax.model.diffusion import Boundary, Natural, StateConstraint
from bellax.numerics.programs import all_concrete, quickly
from bellax.problem.flow import Arguments
from bellax.solution.flowing import FlowSetting, FlowSolution, Unstated
from bellax.solution.solution import Result

States = dict[str, np.ndarray]
_SHARE = 4  # of so many points one lies in a cell at an edge
_WORST = 40  # of so many points one is looked at more closely
_WRONG = ("residual", "missed", "stopping", "between")


def certify_flows(solution: FlowSolution, points: int, seed: int, grids: int, wider: float) -> FlowCertificate:
    """As `bx.certify`, of a solution in continuous time."""
    check(solution)
    setting, arguments = solution.setting, solution.arguments
    states, bulk = sample(setting, arguments, -(-points // 2), seed)
    first, edges, end = _examined(solution, states)
    closer = around(setting, arguments, states, np.abs(first.residual) / (1 + np.abs(first.value)), seed)
    second, _, _ = _examined(solution, closer)
    looked = jax.tree.map(lambda *parts: np.concatenate(parts), first, second)
    everywhere = {name: np.concatenate([own, closer[name]]) for name, own in states.items()}
    size = 1 + np.abs(looked.value)
    found = {name: np.abs(getattr(looked, name)) / size for name in _WRONG}
    fine = np.all([np.isfinite(own) for own in found.values()], axis=0)
    undefined = float(np.mean(~fine))
    largest = [np.max(np.abs(getattr(looked, name)[fine]), initial=0.0) for name in found]
    gaps = [own["gap"] for sides in edges.values() for own in sides.values()]
    beyond, words = _beyond(solution, states, first.value, edges, wider)
    bound = sum(largest) + max(gaps, default=0.0) + float(np.max(end, initial=0.0))
    bound += math.inf if words else beyond.get("max", 0.0)
    others, missing = coarser(solution, grids)
    solutions = [solution, *others]
    mass, massless = crowd(solutions)
    return FlowCertificate(
        residuals=_of(found["residual"], bulk),
        worst=_worst(setting, everywhere, found["residual"]),
        missed=_of(found["missed"], bulk),
        stopping=_of(found["stopping"], bulk) if setting.flow.stops else {},
        between=_of(found["between"], bulk),
        undefined=undefined,
        bound=float(bound) if undefined == 0 else math.inf,
        refinement=refinement(solutions, missing, states, first.value),
        edges=edges,
        end=quantiles(end) if setting.flow.timed else {},
        crowd=mass,
        crowd_missing=massless,
        wider=beyond,
        wider_missing=words,
        discount=float(np.min(looked.discount)),
        points=len(size),
    )


def check(solution: FlowSolution) -> None:
    """Raises ModelError for a solution that has nothing to certify."""
    if not all_concrete((solution.arguments, solution.values, solution.code)):
        raise ModelError("a solution that is being traced has no numbers yet; certify it outside the transformation.")
    solution.check_one()
    if solution.result != Result.successful:
        raise ModelError(f"the solve ended as {solution.result!s}; there is nothing to certify.")


def sample(setting: FlowSetting, arguments: Arguments, points: int, seed: int) -> tuple[States, int]:
    """Points between nodes, in time, too, where there is an end; and how many of them, the first ones, are spread
    evenly in the coordinates of the scales; the others lie in the cells at the edges, and at the ends.
    """
    lines, nodes = _lines(setting, arguments), setting.nodes(arguments)
    names = [*setting.flow.spaces, *(["time"] if setting.flow.timed else [])]
    bulk = points - points // _SHARE
    shares = _spread(points, len(names), seed)
    states: States = {}
    for place, name in enumerate(names):
        own = shares[:, place]
        if name in setting.flow.chains:
            values = np.asarray(nodes[name])
            states[name] = values[np.minimum((own * len(values)).astype(int), len(values) - 1)]
            continue
        y = np.asarray(lines[name].coordinates)
        at = y[0] + own * (y[-1] - y[0])
        number = np.arange(points) - bulk
        mine = (number >= 0) & (number // 2 % len(lines) == list(lines).index(name))
        at = np.where(mine & (number % 2 == 0), y[0] + own * (y[1] - y[0]), at)
        at = np.where(mine & (number % 2 == 1), y[-1] - own * (y[-1] - y[-2]), at)
        states[name] = _within(lines[name], at)
    return states, bulk


def _lines(setting: FlowSetting, arguments: Arguments) -> dict[str, Any]:
    """The lines of the continuous states, and of time where there is an end."""
    lines: dict[str, Any] = dict(setting.lines(arguments))
    return {**lines, "time": setting.timeline()} if setting.flow.timed else lines


def _spread(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Points that fill the unit cube evenly: multiples of the powers of a generalised golden ratio."""
    ratio = 2.0
    for _ in range(60):
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    steps = ratio ** -np.arange(1.0, dimensions + 1)
    return (np.random.default_rng(seed).random(dimensions) + np.arange(count)[:, None] * steps) % 1.0


def around(setting: FlowSetting, arguments: Arguments, states: States, wrong: np.ndarray, seed: int) -> States:
    """As many points again, all within a cell of those at which most is wrong."""
    draws, lines = np.random.default_rng(seed), _lines(setting, arguments)
    ranked = np.argsort(-np.where(np.isfinite(wrong), wrong, -1.0))[: max(1, len(wrong) // _WORST)]
    place = ranked[np.arange(len(wrong)) % len(ranked)]
    found = {name: own[place] for name, own in states.items()}
    for name, line in lines.items():
        y, width = np.asarray(line.coordinates), np.diff(np.asarray(line.coordinates))
        at = np.asarray(line.scale.forward(jnp.asarray(found[name])))
        cell = np.clip(np.searchsorted(y, at) - 1, 0, len(width) - 1)
        moved = np.clip(at + draws.uniform(-1.0, 1.0, len(at)) * width[cell], y[0], y[-1])
        found[name] = _within(line, moved)
    return found


def _within(line: Any, coordinates: np.ndarray) -> np.ndarray:
    """What lies at coordinates, not beyond the ends by rounding."""
    return np.clip(np.asarray(line.scale.inverse(jnp.asarray(coordinates))), *np.asarray(line.nodes)[[0, -1]])


def _examined(solution: FlowSolution, states: States) -> tuple[Any, dict[str, Any], np.ndarray]:
    """What was found at the points, at the edges, and at the end."""
    setting, arguments, values = solution.setting, solution.arguments, solution.values
    nodes, conditions = setting.nodes(arguments), setting.edges_of(solution)

    def run(arguments: Arguments, values: Any, states: Any, edges: Any) -> Any:
        least = jnp.min(jax.vmap(lambda point: setting.flow.discount(arguments, point))(states))
        looked = jax.vmap(lambda point: look(setting, arguments, values, point, least))(states)
        found = {}
        for name in setting.flow.continuous:
            for side, holds in zip(SIDES, conditions[name], strict=True):
                at, place = {**states, name: edges[f"{name} {side}"]}, (name, side)
                of = partial(at_edge, setting, arguments, values, place=place, condition=holds, least=least)
                found[f"{name} {side}"] = jax.vmap(of)(at)
        ended = lambda point: at_end(setting, arguments, values, point)  # noqa: E731
        return looked, found, jax.vmap(ended)(states) if setting.flow.timed else jnp.zeros(0)

    count = len(next(iter(states.values())))
    edges = {
        f"{name} {side}": np.full(count, np.asarray(nodes[name])[which])
        for name in setting.flow.continuous
        for side, which in zip(SIDES, (0, -1), strict=True)
    }
    kinds = tuple(type(side) for sides in conditions.values() for side in sides)
    program = setting.program(("examine", count, kinds), lambda: quickly(run, True))
    looked, found, end = jax.tree.map(np.asarray, program(arguments, values, states, edges))
    at_edges = {
        name: {
            side: {"condition": _named(holds), **_largest(found[f"{name} {side}"])}
            for side, holds in zip(SIDES, conditions[name], strict=True)
        }
        for name in setting.flow.continuous
    }
    return looked, at_edges, np.nan_to_num(end, nan=np.inf)


def _named(condition: Boundary) -> str:
    kind = type(condition)
    return "no condition" if kind is Unstated else kind.__name__


def _largest(edge: Any) -> dict[str, float]:
    """What is no number is as wrong as can be."""
    return {what: float(np.max(np.nan_to_num(getattr(edge, what), nan=np.inf))) for what in edge._fields}


def _of(values: np.ndarray, bulk: int) -> dict[str, float]:
    return quantiles(values[:bulk]) | {"max": quantiles(values)["max"]}


def _worst(setting: FlowSetting, states: States, residual: np.ndarray) -> dict[str, Any]:
    place = int(np.where(np.isfinite(residual), residual, -1.0).argmax())
    where = {name: shown(space, states[name][place]) for name, space in setting.flow.spaces.items()}
    where |= {"time": float(states["time"][place])} if setting.flow.timed else {}
    return where | {"residual": float(residual[place])}


def _beyond(
    solution: FlowSolution, states: States, value: np.ndarray, edges: Mapping[str, Any], share: float
) -> tuple[dict[str, float], str]:
    """Quantiles of the change of V at the points when the box goes on beyond the edges that are said to be never
    reached, or of which nothing is said, where a state diffuses; or why that is not known.

    What a solver takes for V there is its own choice, which V satisfies: no residual shows it.
    """
    setting, conditions = solution.setting, solution.setting.edges_of(solution)
    across = [
        (name, side, which)
        for name, sides in edges.items()
        for side, which in zip(SIDES, (0, -1), strict=True)
        if sides[side]["spread"] > 0
    ]
    for name, side, which in across:
        if isinstance(conditions[name][which], StateConstraint):
            return {}, f"{name!r} diffuses at its {side} edge, where a constraint keeps a drift and no diffusion"
    there = [(name, which) for name, _, which in across if isinstance(conditions[name][which], Natural)]
    if not there:
        return {}, ""
    if share == 0:
        return {}, "a wider box was not asked for"
    try:
        other, arguments = setting.wider(solution.arguments, there, share)
        other.check(arguments)
    except BellaxError as error:
        return {}, str(error)
    found = other.solve(arguments)
    if int(found.code) != int(Result.successful):
        return {}, f"the solve in a wider box fails: {other.explain(found)}"
    return quantiles(np.abs(np.asarray(found.value(**states)) - value)), ""
