"""A model of several regimes under a solver, each regime on a grid of its own."""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
from jax import Array

from bellax.bellman.checks import check_arguments, check_memory, sound
from bellax.bellman.diagnosis import first_failure
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.masked import warn_of_masks
from bellax.bellman.maximisers.follow import Functions
from bellax.bellman.options import GridSolver, key
from bellax.bellman.setting import Setting, Settings
from bellax.errors import ModelError, listed, nearest
from bellax.model import crossing, shapes, tables
from bellax.model.boundaries import targets
from bellax.model.model import Model
from bellax.model.quantity import ByPeriod
from bellax.model.rule import Rule
from bellax.model.spaces import AR1, IID, MarkovChain
from bellax.numerics.programs import all_concrete, quickly_at_first
from bellax.problem.problem import Arguments, Problem
from bellax.problem.processes import chain
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Result
from bellax.solvers import entering
from bellax.solvers.driver import Iteration, drive
from bellax.solvers.families import families, seen_alike
from bellax.solvers.prepared import differentiable, haste
from bellax.solvers.progress import report
from bellax.solvers.recursions import Backward, Endless

_BY_REGIME = ("grid", "quadrature")


class PreparedRegimes:
    """A model of several regimes under backward induction, or under value iteration where there is no end.

    Which regimes may be reached from which may depend on the shapes of parameters, so that the numerics of regimes are
    made when these are known.

    Args:
        model: of several regimes.
        options: the solver; its dicts by name may first be keyed by regime.
        rule: what is followed, where nothing is maximised.
    """

    def __init__(self, model: Model, options: GridSolver, rule: Rule | None = None) -> None:
        self.model, self.options, self.rule = model, options, rule
        self.statement = model if rule is None else rule
        self.programs: dict[Any, Any] = {}

    def arguments(self, params: Mapping[str, Any]) -> dict[str, Arguments]:
        """What the compiled programs take: by regime, checked parameters and literals."""
        found = self.statement.parameters(params)
        settings = self._settings(found)
        by_regime = {}
        for name, setting in settings.regimes.items():
            own = crossing.arguments(self.statement, name, self.programs["crossings", settings][name], found)
            by_regime[name] = {**setting.literals, **own}
        self.programs["latest"] = settings
        self._check_mappings(settings, by_regime)
        entering.check_laws(settings.regimes, by_regime)
        return by_regime

    def _check_mappings(self, settings: Settings, by_regime: dict[str, Arguments]) -> None:
        """What mappings give has the shape of their states, and chains that go on have the same categories."""
        shaped = tuple((name, key, np.shape(_leaf(v))) for name, own in by_regime.items() for key, v in own.items())
        if ("mappings", settings, shaped) not in self.programs:
            for name, setting in settings.regimes.items():
                shapes.check(setting.plan.graph, by_regime[name])
            self.programs["mappings", settings, shaped] = True
        if not all_concrete(by_regime):
            return
        for name, setting in settings.regimes.items():
            if ("tables", settings, shaped) not in self.programs:
                tables.check(setting.plan.graph, by_regime[name])
            for other, arrivals in setting.plan.arrivals.items():
                for state in (state for state, arrival in arrivals.items() if arrival.way == "carried"):
                    self._check_chain(settings, by_regime, state, name, other)
        self.programs["tables", settings, shaped] = True

    def _check_chain(self, settings: Settings, arguments: Any, state: str, source: str, target: str) -> None:
        """Raises ModelError for a chain whose categories parameters give, and give otherwise in another regime."""
        both = [settings.regimes[name] for name in (source, target)]
        spaces = [setting.plan.states.get(state) for setting in both]
        if not all(isinstance(space, MarkovChain) and not space.known for space in spaces):
            return
        environments = [setting.problem.environment(arguments, 0) for setting in both]
        values = [chain(s.plan, state, now)[0] for s, now in zip(both, environments, strict=True)]
        if values[0].shape != values[1].shape or not np.array_equal(values[0], values[1]):
            raise ModelError(
                f"the chain {state!r} has other categories in {source!r} than in {target!r}, so that it does not go on "
                f"by itself. Give a mapping: entry={{{state!r}: {{{source!r}: f}}}} on {target!r}."
            )

    def reach(self, reached: Mapping[str, tuple[str, ...]]) -> None:
        """Takes the settings in which regimes lead to given ones, as parameters that are known do."""
        self.programs["latest"] = self._reaching(reached)

    def _settings(self, found: Mapping[str, Any]) -> Settings:
        return self._reaching({name: tuple(targets(self.model, name, found) or ()) for name in self.model.graphs})

    def _reaching(self, reached: Mapping[str, tuple[str, ...]]) -> Settings:
        graphs = self.model.graphs
        key = ("settings", tuple(reached.items()))
        if key not in self.programs:
            crossings = {name: crossing.crossing(self.model, name, reached[name]) for name in graphs}
            problems = {
                name: Problem(found.graph, self.model.clock, name, found.arrivals) for name, found in crossings.items()
            }
            following = nx.DiGraph([(name, other) for name, found in crossings.items() for other in found.targets])
            for name, problem in problems.items():
                later = nx.descendants(following, name) if name in following else ()
                problem.plan.rugged_elsewhere = any(problems[other].plan.rugged_here for other in later)
            drawn = {state for problem in problems.values() for state in problem.plan.drawn}
            regimes = {
                name: Setting(
                    self.model, self._options(name, problem, drawn), self._source(name), self.statement, problem
                )
                for name, problem in problems.items()
            }
            for name, setting in regimes.items():
                others = [other for other in crossings[name].targets if other != name]
                setting.numerics.others = {other: regimes[other].numerics for other in others}
                gridded = [other for other in others if not regimes[other].numerics.ends]
                setting.plan.elsewhere = {other: regimes[other].plan.labels for other in gridded}
                active = {key: self.model.active_periods.get(key) for key in (name, *others)}
                # after the last decision a regime exists that did until then
                setting.numerics.active = {k: np.append(own, own[-1]) for k, own in active.items() if own is not None}
            for name, setting in regimes.items():
                setting.numerics.alike = seen_alike(setting, regimes)
                self._check_end(name, setting)
            settings = Settings(self.model, self.options, regimes, reached)
            self.programs["crossings", settings] = crossings
            self.programs["families", settings] = [] if self.rule is not None else families(regimes)
            self.programs[key] = settings
        return self.programs[key]

    def _source(self, name: str) -> Functions | None:
        """Where the actions of a regime come from; None where they are sought, or there are none."""
        nodes = () if self.rule is None else self.rule.nodes(name)
        return Functions(self.rule.graphs[name], nodes) if self.rule is not None and nodes else None

    def _check_end(self, name: str, setting: Setting) -> None:
        """Raises ModelError for a regime that ceases to exist and does not say what becomes of who is in it."""
        active = self.model.active_periods.get(name)
        if active is None or setting.plan.moves_on or setting.numerics.ends:
            return
        for period, (now, then) in enumerate(zip(active, active[1:], strict=False)):
            if now and not then:
                age = self.model.clock.age(period + 1)
                raise ModelError(
                    f"regime {name!r} is not active at age {age:g}, and has no next_regime: nobody could be in it "
                    "then. Say which regime follows."
                )

    def _options(self, name: str, problem: Problem, drawn: set[str]) -> GridSolver:
        """The solver's options as one regime sees them: what is keyed by it before what is for all.

        Args:
            drawn: states that enter some regime by a distribution, which has a quadrature.
        """
        regimes = self.model.graphs
        given: dict[str, Any] = {}
        for option in _BY_REGIME:
            asked: Mapping[str, Any] = getattr(self.options, option)
            shared = {key: value for key, value in asked.items() if key not in regimes}
            for other in (other for other, value in shared.items() if isinstance(value, Mapping)):
                raise ModelError(
                    f"{option}: there is no regime {other!r}.{nearest(str(other), regimes)} Regimes: {listed(regimes)}."
                )
            slot = "states" if option == "grid" else "shocks"
            known = {*getattr(problem.plan.graph.regime, slot), *(problem.plan.drawn if slot == "shocks" else ())}
            elsewhere = {key for graph in regimes.values() for key in getattr(graph.regime, slot)} | drawn
            shared = {key: value for key, value in shared.items() if key in known or key not in elsewhere}
            own = asked.get(name, {})
            if not isinstance(own, Mapping):
                raise ModelError(
                    f"{option}: {name!r} is a regime and is given {own!r}; give a dict by name, {option}={{{name!r}: "
                    "{...}}."
                )
            given[option] = {**shared, **own}
        maximiser: Any = self.options.maximiser
        if isinstance(maximiser, Mapping):
            unknown = [key for key in maximiser if key not in regimes]
            if unknown:
                raise ModelError(
                    f"maximiser: there is no regime {unknown[0]!r}.{nearest(str(unknown[0]), regimes)} Regimes: "
                    f"{listed(regimes)}."
                )
            maximiser = maximiser.get(name)
        decides = "slot:reward" in problem.plan.graph.slots
        given["maximiser"] = self._own_maximiser(maximiser, problem) if decides else None
        return replace(self.options, **given)

    def _own_maximiser(self, maximiser: Any, problem: Problem) -> Any:
        """The maximiser of a regime, without the candidates of actions that only others have."""
        grid = getattr(maximiser, "grid", None)
        if not grid:
            return maximiser
        elsewhere = {action for graph in self.model.graphs.values() for action in getattr(graph.regime, "actions", {})}
        here = {name: spec for name, spec in grid.items() if name in problem.plan.actions or name not in elsewhere}
        return replace(maximiser, grid=here)

    @property
    def settings(self) -> Settings:
        """Those of the parameters that came last."""
        return self.programs["latest"]

    @property
    def deciding(self) -> dict[str, Setting]:
        """Those of regimes in which something is decided."""
        return self.settings.deciding

    @property
    def endogenous(self) -> bool:
        """Whether endogenous grids solve a regime."""
        return any(own.numerics.maximiser.makes_pieces for own in self.settings.deciding.values())

    def check(self, arguments: dict[str, Arguments]) -> None:
        """Raises ParameterError or ModelError for numbers that make no model, or do not fit in memory."""
        for setting in self.settings.deciding.values():
            check_arguments(setting, arguments)
            check_memory(setting, arguments)
            warn_of_masks(setting)
        _check_ends(self.settings, arguments)
        entering.check_numbers(self.settings.regimes, arguments)

    def solve(
        self, arguments: dict[str, Arguments], final: None, ticket: Any = None, well: bool = False
    ) -> RegimeSolution:
        """Solves; see `Prepared.solve`."""
        settings = self.settings
        numerics = {name: setting.numerics for name, setting in settings.deciding.items()}

        def run(arguments: dict[str, Arguments], ticket: Array) -> Any:
            self.programs["traces"] = self.programs.get("traces", 0) + 1
            arguments = differentiable(arguments, numerics.values())
            sane = reduce(jnp.logical_and, [sound(own, arguments) for own in numerics.values()])
            found = drive(self._iteration(numerics, arguments, sane), report(ticket) if told else None)
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
        return RegimeSolution(
            arguments=arguments, values=found.values, codes=found.code, stats=found.stats, settings=settings
        )

    def _iteration(self, numerics: dict[str, Discretisation], arguments: Any, sane: Array) -> Iteration[Any]:
        several = self.programs["families", self.settings]
        if self.model.clock.finite:
            return Backward(numerics, several, self.model.active_periods, arguments)
        return Endless(self.options, numerics, several, arguments, sane)

    def final(self, arguments: Any, terminal: Any) -> None:
        """Refused: what follows the last decision is said by each regime."""
        raise ModelError("terminal= is for a model of one regime; say what follows by the terminal= of each regime.")

    def begun(self, arguments: Any, other: Any) -> None:
        """Nothing: several regimes begin with V = 0."""
        return None

    def explain(self, solution: RegimeSolution) -> str:
        """Why a solve failed, or nothing."""
        failed = [name for name, code in solution.codes.items() if int(code) != int(Result.successful)]
        if not failed:
            return ""
        if not self.model.clock.finite:
            return self._unconverged(solution, failed[0])
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

    def _unconverged(self, solution: RegimeSolution, name: str) -> str:
        if int(solution.codes[name]) == int(Result.max_steps_reached):
            options: Any = self.options
            return options.unconverged(self.rule is not None, solution.stats[name], solution.leaving())
        numerics = solution.settings.regimes[name].numerics
        zeros = {name: own.numerics.zero(solution.arguments) for name, own in solution.settings.deciding.items()}
        return f"{numerics.plan.graph.where}{first_failure(numerics, solution.arguments, zeros)}"


def prepared_regimes(model: Model, solver: GridSolver, rule: Rule | None = None) -> PreparedRegimes:
    """A model of several regimes under a solver, made once for equal configurations and kept on the model; of a rule
    it is not kept."""
    if rule is not None:
        return PreparedRegimes(model, solver, rule)
    name = ("prepared", key(solver))
    if name not in model.programs:
        model.programs[name] = PreparedRegimes(model, solver)
    return model.programs[name]


def _leaf(value: Any) -> Any:
    return value.values if isinstance(value, ByPeriod) else value


def _check_ends(settings: Settings, arguments: dict[str, Arguments]) -> None:
    """Raises ModelError for a process whose nodes reach beyond those that it has in a regime where it goes on."""
    for source, setting in settings.regimes.items():
        for target, arrivals in setting.plan.arrivals.items():
            other = settings.regimes[target]
            if other.numerics.ends:
                continue
            for state in (state for state, arrival in arrivals.items() if arrival.way == "carried"):
                if not (
                    isinstance(setting.plan.states[state], AR1 | IID) and isinstance(other.plan.states[state], AR1)
                ):
                    continue
                ours, theirs = (_ends(own, arguments, state) for own in (setting, other))
                slack = 1e-9 * (theirs[:, 1] - theirs[:, 0])
                beyond = (ours[:, 0] < theirs[:, 0] - slack) | (ours[:, 1] > theirs[:, 1] + slack)
                if beyond.any():
                    (low, high), (first, last) = ours[beyond.argmax()], theirs[beyond.argmax()]
                    raise ModelError(
                        f"the nodes of {state!r} reach from {low:.4g} to {high:.4g} in {source!r}, and in {target!r}, "
                        f"where it goes on, from {first:.4g} to {last:.4g}: beyond them V is not known. Give more "
                        f"nodes there, grid={{{target!r}: {{{state!r}: n}}}}."
                    )


def _ends(setting: Setting, arguments: dict[str, Arguments], state: str) -> np.ndarray:
    """First and last node of a process in every period, shape (t, 2); without end there is one."""
    count = setting.problem.clock.count + 1 if setting.problem.finite else 1

    def at(arguments: dict[str, Arguments], period: Array) -> Array:
        return setting.numerics.mesh(arguments, period).processes[state].values[np.array([0, -1])]

    build = lambda: jax.jit(jax.vmap(at, in_axes=(None, 0)))  # noqa: E731
    found = setting.program(("ends", state), build)(arguments, np.arange(count, dtype=np.int32))
    return np.asarray(found)
