"""Backward induction over several regimes, each on a grid of its own.

V_t,r(s) = max over a of E[ reward + discount * sum over r' of p(r') V_t+1,r'(s') ]. Periods in which the same regimes
are active are of one kind; a step is compiled for each kind, and one scan runs over them all.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.bellman.checks import check_arguments, check_memory, sound
from bellax.bellman.continuation import Value
from bellax.bellman.diagnosis import first_failure
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.options import GridSolver
from bellax.bellman.setting import Setting
from bellax.bellman.sweep import step
from bellax.errors import ModelError
from bellax.model import crossing
from bellax.model.boundaries import targets
from bellax.model.model import Model
from bellax.model.parameters import convert
from bellax.numerics.programs import all_concrete, quickly_at_first
from bellax.problem.problem import Arguments, Problem
from bellax.solution.regimes import RegimeSolution, Settings
from bellax.solution.solution import Result
from bellax.solvers.common import outcome, stats, tallied, untallied
from bellax.solvers.driver import Iteration, Run, drive
from bellax.solvers.prepared import haste
from bellax.solvers.progress import report

_BY_REGIME = ("grid", "quadrature")


class PreparedRegimes:
    """A model of several regimes under backward induction.

    Which regimes may be reached from which may depend on the shapes of parameters, so that the numerics of regimes are
    made when these are known.

    Args:
        model: of several regimes, over a finite horizon.
        options: the solver; its dicts by name may first be keyed by regime.
    """

    def __init__(self, model: Model, options: GridSolver) -> None:
        self.model, self.options = model, options
        self.programs: dict[Any, Any] = {}

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Arguments]:
        """What the compiled programs take: by regime, checked parameters and literals."""
        found = self.model.parameters(params)
        settings = self._settings(found)
        by_regime = {}
        for name, setting in settings.regimes.items():
            own = crossing.arguments(self.model, name, self.programs["crossings", settings][name], found)
            with jax.ensure_compile_time_eval():
                literals = {k: convert(self.model, k, v) for k, v in setting.plan.graph.literals().items()}
            by_regime[name] = {**literals, **own}
        self.programs["latest"] = settings
        return by_regime

    def _settings(self, found: Mapping[str, Any]) -> Settings:
        graphs = self.model.graphs
        reached = {name: tuple(targets(self.model, name, found) or ()) for name in graphs}
        key = ("settings", tuple(reached.items()))
        if key not in self.programs:
            crossings = {name: crossing.crossing(self.model, name, reached[name]) for name in graphs}
            regimes = {name: self._setting(name, found) for name, found in crossings.items()}
            for name, setting in regimes.items():
                others = [other for other in crossings[name].targets if other != name]
                setting.numerics.others = {other: regimes[other].numerics for other in others}
                gridded = [other for other in others if not regimes[other].numerics.ends]
                setting.plan.elsewhere = {other: regimes[other].plan.labels for other in gridded}
                active = {key: self.model.active_periods.get(key) for key in (name, *others)}
                # after the last decision a regime exists that did until then
                setting.numerics.active = {k: np.append(own, own[-1]) for k, own in active.items() if own is not None}
            settings = Settings(self.model, regimes)
            self.programs["crossings", settings] = crossings
            self.programs[key] = settings
        return self.programs[key]

    def _setting(self, name: str, found: crossing.Crossing) -> Setting:
        problem = Problem(found.graph, self.model.clock, name, found.arrivals)
        return Setting(self.model, self._options(name, problem), problem=problem)

    def _options(self, name: str, problem: Problem) -> GridSolver:
        """The solver's options as one regime sees them: what is keyed by it before what is for all."""
        regimes = self.model.graphs
        given: dict[str, Any] = {}
        for option in _BY_REGIME:
            asked: Mapping[str, Any] = getattr(self.options, option)
            shared = {key: value for key, value in asked.items() if key not in regimes}
            known = problem.plan.states if option == "grid" else problem.plan.graph.regime.shocks
            elsewhere = {key for graph in regimes.values() for key in (*graph.regime.states, *graph.regime.shocks)}
            shared = {key: value for key, value in shared.items() if key in known or key not in elsewhere}
            given[option] = {**shared, **asked.get(name, {})}
        maximiser: Any = self.options.maximiser
        if isinstance(maximiser, Mapping):
            unknown = [key for key in maximiser if key not in regimes]
            if unknown:
                raise ModelError(f"maximiser= names the regime {unknown[0]!r}, which does not exist.")
            maximiser = maximiser.get(name)
        decides = "slot:reward" in problem.plan.graph.slots
        given["maximiser"] = maximiser if decides else None
        return replace(self.options, **given)

    @property
    def settings(self) -> Settings:
        """Those of the parameters that came last."""
        return self.programs["latest"]

    def check(self, arguments: dict[str, Arguments]) -> None:
        """Raises ParameterError or ModelError for numbers that make no model, or do not fit in memory."""
        for setting in self._deciding(self.settings).values():
            check_arguments(setting, arguments)
            check_memory(setting, arguments)

    def solve(
        self, arguments: dict[str, Arguments], final: None, ticket: Any = None, well: bool = False
    ) -> RegimeSolution:
        """Solves; see `Prepared.solve`."""
        settings = self.settings
        numerics = {name: setting.numerics for name, setting in self._deciding(settings).items()}

        def run(arguments: dict[str, Arguments], ticket: Array) -> Any:
            self.programs["traces"] = self.programs.get("traces", 0) + 1
            sane = reduce(jnp.logical_and, [sound(own, arguments) for own in numerics.values()])
            iteration = _Regimes(numerics, self.model.active_periods, arguments)
            found = drive(iteration, report(ticket) if told else None)
            failed = jnp.asarray(int(Result.nonfinite), jnp.int32)
            return found._replace(code={name: jnp.where(sane, code, failed) for name, code in found.code.items()})

        told = ticket is not None
        quick = (False, False)
        if all_concrete(arguments) and not well:
            quick = haste(numerics.values(), arguments)
        name = ("solve", settings, told, quick)
        if name not in self.programs:
            self.programs[name] = quickly_at_first(run, *quick)
        found = self.programs[name](arguments, np.asarray(0) if ticket is None else ticket)
        return RegimeSolution(arguments, found.values, found.code, found.stats, settings)

    def final(self, arguments: Any, terminal: Any) -> None:
        """Refused: what follows the last decision is said by each regime."""
        raise ModelError("terminal= is for a model of one regime; say what follows by the terminal= of each regime.")

    def explain(self, solution: RegimeSolution) -> str:
        """Why a solve failed, or nothing."""
        failed = [name for name, code in solution.codes.items() if int(code) != int(Result.successful)]
        if not failed:
            return ""
        active = {name: self.model.active_periods.get(name, (True,) * self.model.clock.count) for name in failed}

        def latest(name: str) -> int:
            """The last period without a number: what is before it in another regime may come from there."""
            levels = np.asarray(solution.values[name].levels)[: self.model.clock.count]
            bad = np.isnan(levels.reshape(len(levels), -1)).any(axis=1) & np.asarray(active[name])
            return int(np.flatnonzero(bad).max(initial=-1))

        name = max(failed, key=latest)
        numerics = solution.settings.regimes[name].numerics
        why = first_failure(numerics, solution.arguments, solution.values, active[name])
        return why if why.startswith(numerics.plan.graph.where) else f"{numerics.plan.graph.where}{why}"

    @staticmethod
    def _deciding(settings: Settings) -> dict[str, Setting]:
        return {name: setting for name, setting in settings.regimes.items() if not setting.numerics.ends}


class _Regimes(Iteration[dict[str, Value]]):
    """The state is V of the period after, by regime; NaN where a regime is not active."""

    def __init__(
        self, numerics: dict[str, Discretisation], active: Mapping[str, tuple[bool, ...]], arguments: Any
    ) -> None:
        self.numerics, self.arguments = numerics, arguments
        self.count = self.length = next(iter(numerics.values())).problem.clock.count
        always = (True,) * self.length
        self.active = {name: active.get(name, always) for name in numerics}
        kinds = [tuple(name for name in numerics if self.active[name][t]) for t in range(self.length)]
        self.kinds = list(dict.fromkeys(kinds))
        self.kind = np.asarray([self.kinds.index(kind) for kind in kinds], np.int32)

    def init(self) -> dict[str, Value]:
        last = {name: own.terminal(self.arguments) for name, own in self.numerics.items()}
        return {name: value if self.active[name][-1] else _nowhere(value) for name, value in last.items()}

    def step(self, state: dict[str, Value], number: Array) -> tuple[dict[str, Value], Any]:
        branches = [lambda state, number, kind=kind: self._step(kind, state, number) for kind in self.kinds]
        if len(branches) == 1:
            found = branches[0](state, number)
        else:
            found = lax.switch(jnp.asarray(self.kind)[number], branches, state, number)
        return found[0], found

    def _step(self, kind: tuple[str, ...], state: dict[str, Value], number: Array) -> tuple[Any, Any]:
        values, tallies = {}, {}
        for name, own in self.numerics.items():
            if name not in kind:
                values[name], tallies[name] = _nowhere(state[name]), untallied(own.plan)
                continue
            objective, mesh = own.one_period(self.arguments, state, number)
            found = step(own.maximiser, objective, mesh, own.memory)
            values[name], tallies[name] = found.value, tallied(found)
        return values, tallies

    def told(self, state: dict[str, Value], number: Array) -> tuple[Any, Any]:
        return self.count - number, jnp.nan

    def result(self, state: dict[str, Value], kept: Any) -> Run:
        before, tallies = kept
        values = jax.tree.map(lambda each, end: jnp.concatenate([each, end[None]]), before, self.init())
        codes, numbers = {}, {}
        for name, own in self.numerics.items():
            total = jnp.sum(tallies[name], axis=0)
            codes[name] = outcome(total, jnp.ones((), bool))
            numbers[name] = {"periods": jnp.asarray(self.length), **stats(total, own.plan)}
        return Run(values, codes, numbers)


def _nowhere(value: Value) -> Value:
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), value)
