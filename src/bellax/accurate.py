"""Solving to an accuracy: more nodes where the error comes from, until V stays.

A round is two solves, one with twice the nodes, draws and candidates of the other, on longer lines where paths leave.
In the first round the finer one has as many as the solver takes by itself, for the coarser one costs little beside it.
Where what V changes by is more than what was asked for, each of these is doubled by itself, and what changes V most has
two or four times as many in the next round. Where errors at least halve as nodes double, the error of the finer solve
is no more than the change; it is the one that is returned. What both solves overlook shows in Bellman's equation, which
has to hold between the nodes, too.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bellax.bellman.checks import work_of
from bellax.certify.compared import owner, parts, places, values
from bellax.certify.otherwise import lengthened
from bellax.certify.refined import plenty, resized
from bellax.certify.scanned import Scanned, scanned
from bellax.certify.sources import BOUNDS, CANDIDATES, remedy
from bellax.certify.stretch import BySides, longer
from bellax.errors import ModelError, ParameterError, SolveError
from bellax.numerics.scalar import put
from bellax.solution.refinement import Refinement
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Result
from bellax.solve import prepare, run

_LOG = logging.getLogger("bellax")

_POINTS = 1000
"""States at which V is compared, about, of every regime and period."""
_DOUBLINGS = 2  # of one thing from round to round, at most

_EXTENSIONS = 4  # times, at most, that lines become longer by themselves

_WIDER = (0.25, 0.05)
"""Of the length of a line, by which it goes on at first where paths leave it; the less where the more is infeasible."""

_SELDOM = 1e-4
"""Of the accuracy: a share of nodes of which the next state may leave the grid."""

_TOLERANCE = 1e-3
"""The tolerance of a stationary solve, of the accuracy: its error is that over one less the discount."""


class Given(NamedTuple):
    """What every solve is given; see `solve`."""

    params: Mapping[str, Any]
    terminal: Any
    progress: Any


def refined_to(first: Any, given: Given, accuracy: float, seconds: float, started: float, throw: bool) -> Any:
    """The finest of the solutions that it took to be as accurate as that, with what it took.

    Args:
        first: the solution by the solver as it stands.
        given, accuracy, seconds, throw: as of `solve`.
        started: when the first solve began.
    """
    return _Rounds(first, given, accuracy, seconds, started).solution(throw)


class _Level(NamedTuple):
    """How many times as many nodes there are than at first, by name, and by regime by how much lines are longer."""

    ratio: dict[str, float]
    sides: BySides

    def times(self, by: Mapping[str, float]) -> "_Level":
        return self._replace(ratio={**self.ratio, **{name: self.ratio.get(name, 1.0) * f for name, f in by.items()}})


class _Tried(NamedTuple):
    """A solve, and V at the places at which solves are compared, by place."""

    level: _Level
    solution: Any
    values: list[np.ndarray]


class _Round(NamedTuple):
    """What is kept of a round; see `Refinement`."""

    nodes: dict[str, int]
    change: float
    sources: dict[str, float]
    scan: Scanned
    seconds: float


class _Rounds:
    """The rounds of one solve to an accuracy.

    Args:
        first: the solution by the solver as it stands.
        given: parameters, `terminal` and `progress`, as of `solve`.
        accuracy: asked for.
        seconds: after how long no solve is begun.
        started: when the first solve began.
    """

    def __init__(self, first: Any, given: Given, accuracy: float, seconds: float, started: float) -> None:
        self.first = first
        self.params, self.terminal, self.progress = given
        self.accuracy, self.seconds, self.started = accuracy, seconds, started
        self.places = places(first, _POINTS, later=True)
        self.names = plenty(first)
        self.stationary = not first.model.clock.finite
        self.rounds: list[_Round] = []
        self.grown: dict[str, float] = {}
        self.sources: dict[str, float] = {}
        self.walls: set[tuple[str, str, str]] = set()
        self.seldom = _SELDOM * accuracy
        self.spent = False
        self.solved = [first]  # the last of those that were, and the first: a stationary solve begins with their V
        self.beyond = 0.0
        self.settled = False

    def solution(self, throw: bool) -> Any:
        """The finest solution that was compared with another, with what it took."""
        now, why = self._wide_enough(self._coarser()), ""
        best = self.first
        while not why:
            then = self._finer(now)
            if isinstance(then, str):
                why = then
                break
            best, change = then.solution, self._apart(now, then) / self._order + self.beyond
            scan = scanned(then.solution, then.level.sides) if change <= self.accuracy else Scanned()
            self._note(then, change, scan)
            if scan.agrees(self.accuracy):
                why = self._walled(then)
                if not why:
                    return self._with(then.solution, True)
                break
            found = self._next(now, then, change, scan)
            now, why = (now, found) if isinstance(found, str) else (found, "")
        _LOG.info("%s", self._words(why))
        if throw:
            raise SolveError(self._words(why))
        return self._with(best, False)

    def _coarser(self) -> _Tried:
        """Half as many of all as the solver takes by itself; those themselves where half of them are no solution."""
        first = _Tried(_Level({}, {}), self.first, values(self.first, self.places))
        half = self._attempt(first.level.times({name: 1 / self._twice(name) for name in self.names}))
        return first if isinstance(half, str) else half

    def _wide_enough(self, now: _Tried) -> _Tried:
        """On lines so long that V stays on longer ones, where there are several lines that paths leave: so many more
        nodes cost less before all else is finer. As it was where V does not stay."""
        first = now
        if all(len(own.setting.plan.lines) < 2 for own in parts(now.solution).values()):
            return first
        for _ in range(_EXTENSIONS):
            sides, walls, _ = longer(self.first, now.solution, now.level.sides, _WIDER[0], self.seldom)
            if walls or sides == now.level.sides:
                return first
            then = self._attempt(now.level._replace(sides=sides))
            if isinstance(then, str):
                return first
            change = self._apart(now, then)
            _LOG.info("longer lines alone: V changes by %.2g", change)
            if change <= 0.25 * self.accuracy:
                self.beyond, self.settled = change, True
                return now
            now = then
        return first

    def _finer(self, now: _Tried) -> _Tried | str:
        """Twice as many of all, on longer lines where paths leave them; less long where the solve fails there."""
        level = now.level.times({name: self._twice(name) for name in self.names})
        if self.settled:
            return self._attempt(level)
        then: _Tried | str = ""
        for first in _WIDER:
            sides, self.walls, blocked = longer(self.first, now.solution, now.level.sides, first, self.seldom)
            if blocked:
                return self._walled(now)
            then = self._attempt(level._replace(sides=sides))
            if not isinstance(then, str) or sides == now.level.sides or self.spent:
                return then
        leaving = " ".join(own.leaving().strip() for own in parts(now.solution).values())
        return f"{leaving} What that costs a longer grid would tell, and there {then}"

    def _walled(self, then: _Tried) -> str:
        """Where paths still leave for states in which nothing can be done, in words; empty where they do not."""
        for regime, own in parts(then.solution).items():
            for (label, side), share in own.left.items():
                if share > self.seldom and (*owner(regime, label), side) in self.walls:
                    return (
                        f"the optimal next state leaves the grid {side} {label} at {share:.2g} of the nodes, and no "
                        "action was found that is feasible there, so that V there is not known. Give an action that "
                        "is always possible, or a bound that is not left"
                    )
        return ""

    @property
    def _order(self) -> float:
        """Change over the error that is left, at least, if errors are of order one: one where there is twice of all."""
        return min((self._twice(name) for name in self.names), default=2.0) - 1

    def _twice(self, name: str) -> float:
        """By how much more is finer: of lines so that there are about four times as many nodes in all."""
        settings = [own.setting for own in parts(self.first).values()]
        lines = max((len(s.plan.lines) for s in settings if name in s.plan.labels), default=1)
        return min(2.0, 4.0 ** (1 / lines))

    def _next(self, now: _Tried, then: _Tried, change: float, scan: Scanned) -> _Tried | str:
        """Where the next round begins: more of what V changes by."""
        if scan.missed > self.accuracy:
            self.names |= {CANDIDATES}
            return self._attempt(now.level.times({CANDIDATES: 4.0}))
        if scan.beyond > self.accuracy:  # lines alone go on, until paths that leave them find V as it is there
            self.settled, walled = False, self._walled(then)
            if walled or then.level.sides != now.level.sides:
                return walled or self._attempt(now.level._replace(sides=then.level.sides))
        if scan.gained > self.accuracy and scan.sides:
            return self._attempt(now.level._replace(sides=lengthened(then.level.sides, scan.sides)))
        if math.isinf(scan.residual):
            return "no number of nodes mends that"
        if scan.known:  # both grids overlook something
            return then
        finer = {name: now.level.times({name: self._twice(name)}) for name in sorted(self.names)}
        if then.level.sides != now.level.sides:
            finer[BOUNDS] = now.level._replace(sides=then.level.sides)
        sources = self._expected(finer, change)
        if not sources:
            for name, level in finer.items():
                alone = self._attempt(level)
                if isinstance(alone, str):
                    return alone
                sources[name] = self._apart(now, alone)
                _LOG.info("twice the %s alone: V changes by %.2g", name, sources[name])
            self.rounds[-1] = self.rounds[-1]._replace(sources=sources)
        self.sources = sources
        return self._grown(now, then, sources)

    def _expected(self, finer: Mapping[str, Any], change: float) -> dict[str, float]:
        """By how much V changes by more of each, where that is known without more solves; else nothing.

        Of one thing it is the whole change. Of several it is what it was in the round before over the square of what
        there is more, if together they explain the change.
        """
        if len(finer) == 1:
            return dict.fromkeys(finer, change)
        if not finer.keys() <= self.sources.keys():
            return {}
        found = {name: self.sources[name] / self.grown.get(name, 1.0) ** 2 for name in finer}
        return found if 0.5 * change <= sum(found.values()) <= 4 * change else {}

    def _grown(self, now: _Tried, then: _Tried, sources: Mapping[str, float]) -> _Tried | str:
        """The next round, given by how much V changes by twice as many of each."""
        some = 0.1 * self.accuracy / len(sources)
        each = self.accuracy / max(1, sum(change > some for change in sources.values()))
        by = {name: self._factor(name, change / each) for name, change in sources.items() if name != BOUNDS}
        sides = then.level.sides if sources.get(BOUNDS, 0.0) > each else now.level.sides
        level = now.level.times({name: factor for name, factor in by.items() if factor > 1})._replace(sides=sides)
        if level in (now.level, then.level):  # the sources together may change V by more than each of them
            level = then.level
        self.grown = {name: count / now.level.ratio.get(name, 1.0) for name, count in level.ratio.items()}
        return then if level == then.level else self._attempt(level)

    def _factor(self, name: str, excess: float) -> float:
        """How many times as many a change that is so many times too large asks for, if its order is two."""
        twice = self._twice(name)
        if excess <= 1:
            return 1.0
        doublings = round(0.5 * math.log2(excess)) if math.isfinite(excess) else _DOUBLINGS
        return twice ** min(max(doublings, 1), _DOUBLINGS)

    def _attempt(self, level: _Level) -> _Tried | str:
        """A solve, or why there is none."""
        if time.perf_counter() - self.started > self.seconds:
            self.spent = True
            return f"seconds={self.seconds:g} are over; more of them would go on"
        if not level.sides and not self.stationary and all(math.isclose(each, 1.0) for each in level.ratio.values()):
            return _Tried(level, self.first, values(self.first, self.places))
        options = _options(self.first, level, _TOLERANCE * self.accuracy)
        try:
            prepared = prepare(self.first.model, options)
            arguments = prepared.arguments(self.params)
            work = sum(work_of(s, arguments).seconds for s in prepared.deciding.values())
            left = self.seconds - (time.perf_counter() - self.started)
            if work > left:
                self.spent = True
                return (
                    f"the next solve takes about {work:.2g} s, and {left:.2g} of seconds={self.seconds:g} are left; "
                    "more of them would go on"
                )
            solution = run(prepared, arguments, self.terminal, False, self.progress, self.solved)
        except (ModelError, ParameterError) as error:
            return str(error)
        if int(solution.code) != int(Result.successful):
            return prepared.explain(solution)
        self.solved = [solution, *self.solved[-1:]]
        return _Tried(level, solution, values(solution, self.places))

    def _apart(self, now: _Tried, then: _Tried) -> float:
        """By how much V differs, over max(1, |V|); infinite where it is a number in one of both alone."""
        most = 0.0
        for a, b in zip(now.values, then.values, strict=True):
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            with np.errstate(invalid="ignore"):
                off = np.where(same, 0.0, np.abs(a - b) / np.maximum(1.0, np.abs(b)))
            most = max(most, float(np.where(np.isfinite(off), off, np.inf).max(initial=0.0)))
        return most

    def _note(self, then: _Tried, change: float, scan: Scanned) -> None:
        seconds = time.perf_counter() - self.started
        self.rounds.append(_Round(_nodes(then.solution), change, {}, scan, seconds))
        _LOG.info("round %d after %.3g seconds: V changes by %.2g", len(self.rounds), seconds, change)

    def _with(self, solution: Any, reached: bool) -> Any:
        """The solution with what it took."""
        table = self._table(reached)
        if reached:
            return replace(solution, refinement=table)
        code = put(int(Result.inaccurate), jnp.int32)
        if isinstance(solution, RegimeSolution):
            return replace(solution, codes=dict.fromkeys(solution.codes, code), refinement=table)
        return replace(solution, code=code, refinement=table)

    def _table(self, reached: bool) -> Refinement:
        def column(numbers: Any) -> Any:
            return put(np.asarray(numbers, float))

        def by_name(of: Callable[[_Round], Mapping[str, float]]) -> dict[str, Any]:
            names = {name: None for row in self.rounds for name in of(row)}
            return {name: column([of(row).get(name, math.nan) for row in self.rounds]) for name in names}

        return Refinement(
            accuracy=put(self.accuracy, float),
            reached=put(reached, bool),
            nodes=by_name(lambda row: row.nodes),
            change=column([row.change for row in self.rounds]),
            sources=by_name(lambda row: row.sources),
            overlooked=column([row.scan.excess(1.0) for row in self.rounds]),
            seconds=column([row.seconds for row in self.rounds]),
        )

    def _words(self, why: str) -> str:
        """What was reached, and what stands in the way."""
        if not self.rounds:
            return (
                f"accuracy={self.accuracy:g} was not reached: nothing is known of the error of the first solve. {why}"
            )
        last = self.rounds[-1]
        sources = {name: change for row in self.rounds for name, change in row.sources.items()}
        most = max(sources, key=lambda name: sources[name], default="")
        where = (
            f" Most of it comes from the {most}, and {remedy(most)} lowers it." if most and sources[most] > 0 else ""
        )
        lost = last.scan.words(self.accuracy)
        return (
            f"accuracy={self.accuracy:g} was not reached in {len(self.rounds)} rounds: twice the nodes still change V "
            f"by {last.change:.2g} of max(1, |V|).{where}{lost} What stands in the way: {why}. `throw=False` returns "
            "the finest solution that there is."
        )


def _options(first: Any, level: _Level, tolerance: float) -> Any:
    """The solver of a level."""
    found: Any = resized(first, level.ratio, level.sides)
    if hasattr(found, "tolerance"):
        return replace(found, tolerance=min(found.tolerance, max(tolerance, 1e-13)))
    return found


def _nodes(solution: Any) -> dict[str, int]:
    """How many nodes there are, by name."""
    found: dict[str, int] = {}
    for regime, own in parts(solution).items():
        numerics, work = own.setting.numerics, work_of(own.setting, own.arguments)
        counts = {**work.states, **work.shocks, **numerics.maximiser.sizes(own.setting.plan)}
        found |= {f"{regime}: {name}" if regime else name: count for name, count in counts.items()}
    return found
