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

from bellax.bellman.discretisation import Discretisation
from bellax.bellman.options import GridSolver
from bellax.bellman.setting import Setting
from bellax.certify.compared import Place, owner, parts, places, states_of, values
from bellax.certify.examine import Sample
from bellax.certify.scanned import scanned
from bellax.certify.sources import BOUNDS, CANDIDATES, DRAWS
from bellax.certify.stretch import BySides, Sides, stretch
from bellax.errors import ModelError, ParameterError
from bellax.model.shocks import Categorical
from bellax.model.spaces import AR1, IID, VAR
from bellax.numerics import grids
from bellax.numerics.rules import RULES, recounted
from bellax.problem.problem import Arguments
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Result, Solution

BY_SOURCE = "by source"

_MOST = 4.0
"""So many times as many nodes in all, about."""

_WIDER = 0.25
"""Of the length of a line, by which it goes on where paths leave it."""


class Refined(NamedTuple):
    """What a refined solve says of the error of V.

    Attributes:
        error: estimate of the largest |V - V*|, in units of the reward; NaN where there is none.
        words: what it rests on, or why there is none.
        where: the state in period 0 at which most changes, by name; empty where there is no estimate.
        sources: the same of a solve with more of one thing alone, by its name.
    """

    error: float
    words: str
    where: Mapping[str, np.ndarray] = MappingProxyType({})
    sources: Mapping[str, float] = MappingProxyType({})


def refined(solution: Solution, looked: Sample, leaving: Sides, discount: float, by_source: bool) -> Refined:
    """The estimate, in period 0 at the states of a sample.

    Args:
        leaving: by line, `below` and `above`: how often it is left.
        discount: the largest expected one.
        by_source: whether to solve with more of one thing alone, too, one after another.
    """
    setting = solution.setting
    if setting.follows:
        return Refined(math.nan, "none, since a rule is followed")
    if _ends_by_another(solution):
        return Refined(math.nan, "none, since V after the last decision was given")
    left = {("", label, side) for label, own in leaving.items() for side, p in own.items() if p > 0}
    return _estimate(solution, [Place("", 0, _states(solution, looked))], left, discount, by_source)


def refined_regimes(solution: RegimeSolution, points: int, discount: float, by_source: bool) -> Refined:
    """The estimate of several regimes, each in its first period.

    Args:
        points: about how many states of each.
        discount, by_source: as of `refined`.
    """
    if any(setting.follows for setting in solution.settings.deciding.values()):
        return Refined(math.nan, "none, since a rule is followed")
    left = {
        (*owner(regime, label), side)
        for regime, own in parts(solution).items()
        for (label, side), share in own.left.items()
        if share > 0
    }
    return _estimate(solution, places(solution, points, later=False), left, discount, by_source)


def _estimate(
    solution: Any, where: list[Place], left: set[tuple[str, str, str]], discount: float, by_source: bool
) -> Refined:
    """What V differs by from that of a finer grid, and more where it may still move."""
    lines = max(len(own.setting.plan.lines) for own in parts(solution).values())
    ratio = min(2.0, _MOST ** (1 / max(1, lines)))
    sides, words = _longer_lines(solution, left)
    found = _solved(solution, _finer(solution, ratio, sides))
    if isinstance(found, str) and sides:
        words, sides = [*words, f"on no wider grid, as there {found}"], {}
        found = _solved(solution, _finer(solution, ratio, sides))
    if isinstance(found, str):
        return Refined(math.nan, f"none: on a finer grid {found}")
    own = values(solution, where)
    pairs = list(zip(own, values(found, where), strict=True))
    both = np.concatenate([np.isfinite(a) & np.isfinite(b) for a, b in pairs])
    if not both.any():
        return Refined(math.nan, "none: V is nowhere a number on both grids")
    alone = float(np.mean(np.concatenate([np.isfinite(a) ^ np.isfinite(b) for a, b in pairs])))
    if alone > 0:
        words = [*words, f"without {alone:.2%} of the states, where V is a number on one grid alone"]
    clock = solution.model.clock
    steps = clock.count if clock.finite else 1 / max(1 - discount, 1e-16)
    size = max(float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in own)
    added = float(np.finfo(own[0].dtype).eps * steps * size)
    apart = [_apart(a, b) for a, b in pairs]
    most = max(range(len(where)), key=lambda k: float(apart[k].max()))
    at = {name: states[apart[most].argmax()] for name, states in where[most].states.items()}
    named = {"regime": where[most].regime} if where[most].regime else {}
    scale = 1 - 1 / ratio
    sources = {}
    for name, options in _one_by_one(solution, ratio, sides).items() if by_source else ():
        other = _solved(solution, options)
        pairs = [] if isinstance(other, str) else list(zip(own, values(other, where), strict=True))
        sources[name] = max((float(_apart(a, b).max()) for a, b in pairs), default=math.nan) / scale
    return Refined(float(apart[most].max() / scale) + added, "; ".join(words), named | at, sources)


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|V - V| where both are numbers, and less than nothing elsewhere."""
    both = np.isfinite(a) & np.isfinite(b)
    return np.where(both, np.abs(np.where(both, a, 0.0) - np.where(both, b, 0.0)), -1.0)


def _longer_lines(solution: Any, left: set[tuple[str, str, str]]) -> tuple[BySides, list[str]]:
    """By how much lines that are left go on, as far as something is feasible there, and what is to be said of it."""
    sides: BySides = {}
    words = []
    for regime, label, side in sorted(left):
        setting = parts(solution)[regime].setting
        longer, _ = stretch(setting, solution.arguments, label, side, (0.0, _WIDER))
        if longer > 0:
            sides.setdefault(regime, {}).setdefault(label, {})[side] = longer
        else:
            words.append(f"on a grid no wider {side} {label}, where no action was found")
    return sides, words


def _one_by_one(solution: Any, ratio: float, sides: BySides) -> dict[str, GridSolver]:
    """The solver with more of one thing alone, by its name."""
    found = {name: resized(solution, {name: ratio}, {}) for name in sorted(plenty(solution))}
    return {**found, BOUNDS: resized(solution, {}, sides)} if sides else found


def plenty(solution: Any) -> set[str]:
    """What there may be more of: lines and chains by name, `DRAWS`, and `CANDIDATES` where they matter."""
    found: set[str] = set()
    for own in parts(solution).values():
        plan, maximiser = own.setting.plan, own.setting.numerics.maximiser
        found |= set(plan.labels)
        found |= {name for name, space in plan.states.items() if isinstance(space, AR1 | VAR)}
        shocks = {**{n: plan.graph.regime.shocks[n] for n in plan.shocks}, **plan.drawn}
        drawn = [*shocks.values(), *(s.distribution for s in plan.states.values() if isinstance(s, IID))]
        found |= {DRAWS} if any(not isinstance(each, Categorical) for each in drawn) else set()
        searched = plan.actions and (plan.rugged or not maximiser.smooth or maximiser.makes_pieces)
        found |= {CANDIDATES} if searched else set()
    return found


def estimated(certificate: Any, solution: Any, found: Refined, missed: float) -> Any:
    """A certificate with the estimate. What a maximiser misses on one grid it may miss on another, and what both grids
    overlook Bellman's equation sees: V is off by half of its residual at least, and by what it is where paths go.

    Args:
        missed: by the maximiser, in units of the reward.
    """
    error, words = found.error, found.words
    if not math.isnan(error):
        scan = scanned(solution, {}, relative=False)
        # states at which V is infinite are told by the words
        first, end, beyond = (x if math.isfinite(x) else 0.0 for x in (scan.first, scan.end, scan.beyond))
        error = max(error, missed, first / (1 + min(certificate.discount, 1.0)), end) + beyond
        more = "most of it where paths go that leave the grid" if beyond > 0.5 * error else ""
        if scan.gained > error:
            error, more = scan.gained, "simple rules that are held on to pay so much more than V"
        words = "; ".join(filter(None, [words, more]))
    return replace(
        certificate,
        estimate=error,
        estimate_words=words,
        estimate_at=dict(found.where),
        sources=dict(found.sources),
    )


def _ends_by_another(solution: Solution) -> bool:
    """Whether V after the last decision is that of another solution."""
    setting = solution.setting
    if not setting.problem.finite or setting.plan.evaluate_terminal is not None:
        return False
    return bool(np.any(np.asarray(solution.values.levels)[-1]))


def _finer(solution: Any, ratio: float, sides: BySides) -> GridSolver:
    """The solver with more of everything, and a tenth of its tolerance."""
    found: Any = resized(solution, ratio, sides)
    return replace(found, tolerance=0.1 * found.tolerance) if hasattr(found, "tolerance") else found


def resized(solution: Any, ratio: float | Mapping[str, float], sides: BySides) -> GridSolver:
    """A solution's solver with `ratio` times the nodes along every line, of all draws together, and the candidates.

    Args:
        ratio: one for all, or by line, by chain, and of `DRAWS` and `CANDIDATES`; what is not named stays as it is.
        sides: by regime and by line, by how much of its length it goes on `below` and `above`.
    """
    arguments, options = solution.arguments, {}
    for name, own in parts(solution).items():
        options[name] = _resized(own.setting, arguments, ratio, sides.get(name, {}))
    if not isinstance(solution, RegimeSolution):
        return options[""]
    both: Any = {
        what: {name: getattr(own, what) for name, own in options.items()}
        for what in ("grid", "quadrature", "maximiser")
    }
    return replace(solution.settings.options, **both)


def _resized(setting: Setting, arguments: Arguments, ratio: float | Mapping[str, float], sides: Sides) -> GridSolver:
    """As `resized`, of one regime."""
    numerics, plan = setting.numerics, setting.plan
    by = (lambda name: ratio.get(name, 1.0)) if isinstance(ratio, Mapping) else (lambda _: ratio)
    reach = [(line[0], by(label), sides.get(label, {})) for label, line in zip(plan.labels, plan.lines, strict=True)]
    draws = _drawn(setting, arguments, by(DRAWS))
    grid: dict[str, Any] = {}
    for name, space in plan.states.items():
        given: Any = numerics.grid.get(name)
        if name in plan.continuous:
            ends = [(times, side) for of, times, side in reach if of == name]
            own = [
                grids.resized(s, times, numerics.interpolant.least) for s, (times, _) in zip(given, ends, strict=True)
            ]
            grid[name] = tuple(
                grids.Wider(spec, **side) if side else spec for spec, (_, side) in zip(own, ends, strict=True)
            )
        elif isinstance(space, AR1):
            grid[name] = grids.resized(given, by(name))
        elif isinstance(space, VAR) and isinstance(given, tuple):
            grid[name] = tuple(grids.resized(part, by(name)) for part in given)
        elif name in draws:
            grid[name] = draws.pop(name)
    # Newton's method needs few candidates where Q has one maximum
    smooth = numerics.maximiser.smooth and not plan.rugged and not numerics.maximiser.makes_pieces
    times = 1.0 if smooth and ratio == by(CANDIDATES) > 1 else by(CANDIDATES)
    if numerics.maximiser.makes_pieces:  # its own nodes are spread over the line
        times *= _longer(numerics, arguments, sides)
    maximiser = numerics.maximiser.resized(plan, times)
    interpolant = None if maximiser.makes_pieces else numerics.interpolant
    quadrature = {**numerics.quadrature, **draws}
    return replace(setting.options, grid=grid, quadrature=quadrature, maximiser=maximiser, interpolant=interpolant)


_LONGER = 8.0
"""By so many times as much, at most, nodes of savings become more where a line goes on."""


def _longer(numerics: Discretisation, arguments: Arguments, sides: Sides) -> float:
    """How many times as long lines are, in units of the state, that go on."""
    most = 1.0
    for label, line in zip(numerics.plan.labels, numerics.mesh(arguments, 0).lines, strict=True):
        own, (low, high) = sides.get(label, {}), np.asarray(line.coordinates)[[0, -1]]
        ends = np.array([low - own.get("below", 0.0) * (high - low), high + own.get("above", 0.0) * (high - low)])
        lengths = [
            float(np.diff(np.asarray(line.scale.inverse(jnp.asarray(y))))[0]) for y in (np.array([low, high]), ends)
        ]
        most = max(most, lengths[1] / lengths[0])
    return min(most, _LONGER)


def _drawn(setting: Setting, arguments: Arguments, ratio: float) -> dict[str, Any]:
    """The rule of every shock, and of every state that is drawn afresh, of which there are some nodes of many."""
    numerics, shocks = setting.numerics, setting.plan.graph.regime.shocks
    found = {n: (shocks[n], numerics.quadrature.get(n), r.weights.shape[0]) for n, r in _rules(setting, arguments)}
    for name, space in setting.plan.states.items():
        if isinstance(space, IID):
            count = numerics.mesh(arguments, 0).processes[name].count
            found[name] = (space.distribution, numerics.grid.get(name), count)
    entering = {n: own for n, own in setting.plan.drawn.items() if not isinstance(own, Categorical)}
    for name, distribution in entering.items():
        given = numerics.quadrature.get(name)
        found[name] = (distribution, given, distribution.rule(given, {}).weights.shape[0])
    found = {name: own for name, own in found.items() if not isinstance(own[0], Categorical)}
    dimensions = sum(max(1, math.prod(distribution.shape)) for distribution, _, _ in found.values())
    each = ratio ** min(1.0, 2 / max(1, dimensions))
    return {
        name: recounted(given, _count(given.count, each))
        if isinstance(given, RULES)
        else _count(distribution.each_dimension(nodes), each)
        for name, (distribution, given, nodes) in found.items()
    }


def _rules(setting: Setting, arguments: Arguments) -> Any:
    return setting.numerics.shock_nodes(arguments).items()


def _count(nodes: int, ratio: float) -> int:
    return max(nodes + 1, round(ratio * nodes)) if ratio > 1 else max(1, round(ratio * nodes))


def _solved(solution: Any, options: Any) -> Any:
    """The same problem by another solver, or why not."""
    try:
        prepared = options.prepare(solution.model)
        if isinstance(solution, RegimeSolution):
            prepared.reach(solution.settings.reached)
        prepared.check(solution.arguments)
    except (ModelError, ParameterError) as error:
        return str(error)
    found = prepared.solve(solution.arguments, None)
    return found if int(found.code) == int(Result.successful) else f"the solve ends as {found.result!r}"


def _states(solution: Solution, looked: Sample) -> dict[str, np.ndarray]:
    """The states of a sample, all of them taken for ones of period 0."""
    today = looked._replace(periods=jnp.zeros_like(looked.periods))
    return {name: own.reshape(-1, *own.shape[2:]) for name, own in states_of(solution, today).items()}
