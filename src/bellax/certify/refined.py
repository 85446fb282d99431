"""What a refined solve would change: V beside V with more of all that the solver had.

Nodes of states, processes and shocks and candidates of actions are more at once, and where paths leave the grid it
reaches further. Where errors halve with the distance of nodes, the error is twice what changes by half the distance;
where they fall faster it is less. Unlike residuals it is no bound: what both solves get wrong does not show.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bellax.bellman.options import GridSolver
from bellax.bellman.setting import Setting
from bellax.certify.examine import Sample, points_of
from bellax.errors import ModelError, ParameterError
from bellax.model.shocks import Categorical
from bellax.model.spaces import AR1, IID, VAR
from bellax.numerics import grids
from bellax.numerics.programs import quickly
from bellax.numerics.rules import RULES
from bellax.problem.problem import Arguments
from bellax.solution.solution import Result, Solution

_MOST = 4.0
"""So many times as many nodes in all, about."""

_WIDER = 0.25
"""Of the length of a line, by which it goes on where paths leave it."""


Sides = Mapping[str, Mapping[str, float]]


class Refined(NamedTuple):
    """What a refined solve says of the error of V.

    Attributes:
        error: estimate of the largest |V - V*|, in units of the reward; NaN where there is none.
        words: what it rests on, or why there is none.
        where: the state in period 0 at which most changes, by name; empty where there is no estimate.
    """

    error: float
    words: str
    where: Mapping[str, np.ndarray] = MappingProxyType({})


def refined(solution: Solution, looked: Sample, leaving: Sides, discount: float) -> Refined:
    """The estimate, in period 0 at the states of a sample.

    Args:
        leaving: by line, `below` and `above`: how often it is left.
        discount: the largest expected one.
    """
    setting, arguments = solution.setting, solution.arguments
    if setting.follows:
        return Refined(math.nan, "none, since a rule is followed")
    if _ends_by_another(solution):
        return Refined(math.nan, "none, since V after the last decision was given")
    ratio = min(2.0, _MOST ** (1 / max(1, len(setting.plan.lines))))
    sides = {label: {side: _WIDER for side, p in own.items() if p > 0} for label, own in leaving.items()}
    found = _solved(setting, arguments, _finer(setting, arguments, ratio, sides))
    words = ""
    if isinstance(found, str) and any(sides.values()):
        words = f"on no wider grid, as there {found}"
        found = _solved(setting, arguments, _finer(setting, arguments, ratio, {}))
    if isinstance(found, str):
        return Refined(math.nan, f"none: on a finer grid {found}")
    states = _states(solution, looked)
    value, other = (_value(one, states) for one in (solution, found))
    both = np.isfinite(value) & np.isfinite(other)
    alone = float(np.mean(np.isfinite(value) ^ np.isfinite(other)))
    if not both.any():
        return Refined(math.nan, "none: V is nowhere a number on both grids")
    if alone > 0:
        words += f"{'; ' if words else ''}without {alone:.2%} of the states, where V is a number on one grid alone"
    value, other, clock = np.where(both, value, 0.0), np.where(both, other, 0.0), setting.problem.clock
    apart = np.where(both, np.abs(value - other), -1.0)
    steps = clock.count if clock.finite else 1 / max(1 - discount, 1e-16)
    added = float(np.finfo(value.dtype).eps * steps * np.abs(value).max())
    where = {name: own[apart.argmax()] for name, own in states.items()}
    return Refined(float(apart.max() / (1 - 1 / ratio)) + added, words, where)


def _ends_by_another(solution: Solution) -> bool:
    """Whether V after the last decision is that of another solution."""
    setting = solution.setting
    if not setting.problem.finite or setting.plan.evaluate_terminal is not None:
        return False
    return bool(np.any(np.asarray(solution.values.levels)[-1]))


def _finer(setting: Setting, arguments: Arguments, ratio: float, sides: Sides) -> GridSolver:
    """The solver with more of everything, and a tenth of its tolerance."""
    found: Any = resized(setting, arguments, ratio, sides)
    return replace(found, tolerance=0.1 * found.tolerance) if hasattr(found, "tolerance") else found


def resized(setting: Setting, arguments: Arguments, ratio: float, sides: Sides) -> GridSolver:
    """The solver with `ratio` times as many nodes along every line, of all draws together, and candidates.

    Args:
        sides: by line, by how much of its length it goes on `below` and `above`.
    """
    numerics, plan = setting.numerics, setting.plan
    reach = [(line[0], sides.get(label, {})) for label, line in zip(plan.labels, plan.lines, strict=True)]
    draws = _drawn(setting, arguments, ratio)
    grid: dict[str, Any] = {}
    for name, space in plan.states.items():
        given: Any = numerics.grid.get(name)
        if name in plan.continuous:
            own = [grids.resized(spec, ratio, numerics.interpolant.least) for spec in given]
            ends = [by for of, by in reach if of == name]
            grid[name] = tuple(grids.Wider(spec, **by) if by else spec for spec, by in zip(own, ends, strict=True))
        elif isinstance(space, AR1):
            grid[name] = grids.resized(given, ratio)
        elif isinstance(space, VAR) and isinstance(given, tuple):
            grid[name] = tuple(grids.resized(part, ratio) for part in given)
        elif name in draws:
            grid[name] = draws.pop(name)
    # Newton's method needs few candidates where Q has one maximum
    smooth = numerics.maximiser.smooth and not plan.rugged and not numerics.maximiser.makes_pieces
    maximiser = numerics.maximiser if smooth and ratio > 1 else numerics.maximiser.resized(plan, ratio)
    interpolant = None if maximiser.makes_pieces else numerics.interpolant
    quadrature = {**numerics.quadrature, **draws}
    return replace(setting.options, grid=grid, quadrature=quadrature, maximiser=maximiser, interpolant=interpolant)


def _drawn(setting: Setting, arguments: Arguments, ratio: float) -> dict[str, Any]:
    """The rule of every shock, and of every state that is drawn afresh, of which there are some nodes of many."""
    numerics, shocks = setting.numerics, setting.plan.graph.regime.shocks
    found = {n: (shocks[n], numerics.quadrature.get(n), r.weights.shape[0]) for n, r in _rules(setting, arguments)}
    for name, space in setting.plan.states.items():
        if isinstance(space, IID):
            count = numerics.mesh(arguments, 0).processes[name].count
            found[name] = (space.distribution, numerics.grid.get(name), count)
    found = {name: own for name, own in found.items() if not isinstance(own[0], Categorical)}
    dimensions = sum(max(1, math.prod(distribution.shape)) for distribution, _, _ in found.values())
    each = ratio ** min(1.0, 2 / max(1, dimensions))
    return {
        name: replace(given, count=_count(given.count, each))
        if isinstance(given, RULES)
        else _count(distribution.each_dimension(nodes), each)
        for name, (distribution, given, nodes) in found.items()
    }


def _rules(setting: Setting, arguments: Arguments) -> Any:
    return setting.numerics.shock_nodes(arguments).items()


def _count(nodes: int, ratio: float) -> int:
    return max(nodes + 1, round(ratio * nodes)) if ratio > 1 else max(1, round(ratio * nodes))


def _solved(setting: Setting, arguments: Arguments, options: Any) -> Solution | str:
    """The same problem by another solver, or why not."""
    try:
        prepared = options.prepare(setting.model)
        prepared.check(arguments)
    except (ModelError, ParameterError) as error:
        return str(error)
    found = prepared.solve(arguments, None)
    return found if int(found.code) == int(Result.successful) else f"the solve ends as {found.result!r}"


def _states(solution: Solution, looked: Sample) -> dict[str, np.ndarray]:
    """The states of a sample, all of them taken for ones of period 0."""
    setting = solution.setting
    today = looked._replace(periods=jnp.zeros_like(looked.periods))
    run = setting.program(("points of", looked.shifts.shape), lambda: quickly(points_of(setting.numerics), True))
    found = run(solution.arguments, today)
    return {name: np.asarray(own).reshape(-1, *own.shape[2:]) for name, own in found.items()}


def _value(solution: Solution, states: Mapping[str, np.ndarray]) -> np.ndarray:
    when = {"period": 0} if solution.setting.problem.finite else {}
    return np.asarray(solution.value(**when, **states))
