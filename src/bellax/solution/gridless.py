"""Solutions without a grid: a policy and a value that are functions of states, such as nets, feedback rules or
trajectories with feedback.

What a solver finds is a `Behaviour`, pointwise from states to what is done and what that is worth. Simulation,
certificates and figures ask it as they ask the policy of a grid. The bounds of states are where it is meant to be
asked.
"""

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.maximum import Best, Maximiser
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Objective
from bellax.bellman.options import GridSolver
from bellax.bellman.reach import first_outside, numbers, outside, reach, warn_once
from bellax.bellman.setting import Setting
from bellax.errors import ModelError, ParameterError
from bellax.model.model import Model
from bellax.model.spaces import VAR, Continuous
from bellax.numerics import archive
from bellax.numerics.programs import all_concrete, concrete, quickly
from bellax.numerics.scalar import put
from bellax.numerics.vector import Corners
from bellax.problem.averages import Rules
from bellax.problem.period import Combination, Period, combinations
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments
from bellax.problem.reading import check_period, flattened
from bellax.solution.beginning import beyond, check_begins
from bellax.solution.gridless_record import record_gridless
from bellax.solution.policy import Chosen, Policy, Queried
from bellax.solution.query import in_its_period, masked, undifferentiable
from bellax.solution.result import Result, check_single, unless_failed

_UNSEEN = "beyond all states that the solver has simulated in that period"
_WIDER = (
    "There is no answer there but NaN, and no action. Let its paths begin farther apart: several start= in the solver, "
    "one a path."
)
_ENDS = 5  # nodes of every state, of which only the ends mean something


class Behaviour(eqx.Module):
    """What is done in every state, and what that is worth. A pytree of arrays.

    Derivatives in parameters pass through its leaves, which the solver gives them.
    """

    @property
    @abstractmethod
    def smooth(self) -> bool:
        """Whether continuous actions move with states and parameters, so that they can be differentiated."""

    @abstractmethod
    def chosen(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> Chosen:
        """What is chosen at one state.

        Args:
            period: today, pointwise.
            number: of the period; 0 where there is no end.
        """

    def beyond(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> dict[str, Array]:
        """By state, whether it is beyond all that the solver has seen in this period, so that nothing is known there;
        empty where the bounds of states are all that there is to know."""
        return {}


def certain(plan: Plan, value: Array, actions: Mapping[str, Array]) -> Chosen:
    """What is chosen where there is but one combination of discrete actions, and nobody may stop."""
    one = jnp.ones((len(combinations(plan)),))
    return Chosen(value, dict(actions), jnp.zeros((), bool), value * one, one)


class GridlessPolicy(Policy):
    """A `Behaviour` as simulations and certificates ask it."""

    arguments: Arguments
    behaviour: Behaviour
    numerics: Discretisation = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        return self.behaviour.smooth

    @property
    def last(self) -> None:
        """None: after the last decision V is the model's own."""

    def at(self, period: Any) -> Callable[[Mapping[str, Array]], Chosen]:
        today = self.numerics.problem.period(self.arguments, period)
        return lambda states: self.behaviour.chosen(today, period, states)


@dataclass(frozen=True)
class Nothing(Maximiser):
    """Stands where nothing is sought, as what is done is known."""

    @property
    def smooth(self) -> bool:
        return True

    def check(self, plan: Plan) -> None:
        pass

    def best(self, objective: Objective, point: Point, combination: Combination) -> Best:
        raise NotImplementedError("nothing is sought without a grid")

    def cells(self, plan: Plan) -> int:
        return 1


class GridlessSetting(Setting):
    """A model under a solver without a grid. Its `numerics` know where the bounds of states are, and no more.

    Args:
        options: the solver.
    """

    endogenous = False
    options: Any

    def __init__(self, model: Model, options: Any) -> None:
        continuous = {
            name: _ENDS if space.shape == () else (_ENDS,) * space.size
            for name, space in model.graph.regime.states.items()
            if isinstance(space, Continuous)
        }
        vectors = {n: Corners() for n, space in model.graph.regime.states.items() if isinstance(space, VAR)}
        super().__init__(model, GridSolver(grid={**continuous, **vectors}, maximiser=Nothing()))  # type: ignore[abstract]
        self.options = options
        self.numerics.memory = self.numerics.budget  # nothing is looked up between nodes

    def final(self, arguments: Arguments, terminal: Any) -> None:
        raise ModelError(
            f"{type(self.options).__name__} takes no terminal=: give the model a terminal value of its own."
        )

    def begins(self) -> Mapping[str, np.ndarray]:
        """Where the solver itself begins, by state, one row each, or one in all; nothing of states that begin
        anywhere."""
        return {}

    def beginning(self) -> Mapping[str, Any]:
        """Where the solver itself begins, by state, where that is one state for all paths."""
        return {name: rows[0] for name, rows in self.begins().items() if (rows == rows[:1]).all()}

    def check_begins(self, arguments: Arguments) -> None:
        """Raises ParameterError where the solver would begin outside the bounds of a state."""
        check_begins(self, arguments, self.begins())

    def doubts(self, solution: Any) -> str:
        """What its user should know of a solution that was found, in words; mostly nothing."""
        return ""

    @property
    def rules(self) -> Rules | None:
        """By which the solver takes expectations, as `Averages` takes them; None from one that draws."""
        return None

    def conditions(
        self, arguments: Arguments, behaviour: Behaviour, rules: Rules | None = None
    ) -> Callable[[Array, Mapping[str, Array]], Array] | None:
        """What is left of the first-order conditions of a behaviour in a period and a state, one number for each of the
        continuous actions, without units; None from a solver that does not know.

        Args:
            rules: by which expectations are taken; by default those by which the solver judges itself.
        """
        return None

    @property
    def stored(self) -> Any:
        """The solver as a file keeps it."""
        return self.options

    def structure(self, arguments: Arguments) -> Behaviour:
        """What a solve makes, with the shapes of its arrays in their place, for who reads a file."""
        raise ModelError(f"what {type(self.options).__name__} makes is not kept in files.")


class GridlessSolution(Queried):
    """Policy and value of a model that was solved without a grid, and how they were found.

    Attributes:
        arguments: parameters and literals that were solved for.
        values: what is done everywhere, and what it is worth.
        code: how the solve ended; see `result`.
        stats: numbers about the solve, by name.
        setting: the model, and the solver.
    """

    arguments: Arguments
    values: Behaviour
    code: Array
    stats: dict[str, Array]
    setting: GridlessSetting = eqx.field(static=True)

    @property
    def model(self) -> Model:
        """The model that was solved."""
        return self.setting.model

    @property
    def params(self) -> Arguments:
        """The parameters that were solved for."""
        return {name: value for name, value in self.arguments.items() if self.setting.is_parameter(name)}

    @property
    def result(self) -> Result | Array:
        """How the solve ended; under a transformation the code of it."""
        return self.code if isinstance(self.code, jax.core.Tracer) or self.code.ndim else Result(int(self.code))

    @property
    def pointwise(self) -> GridlessPolicy:
        """The policy, as simulations and certificates ask it."""
        return GridlessPolicy(arguments=self.arguments, behaviour=self.values, numerics=self.setting.numerics)

    @property
    def smooth(self) -> bool:
        """Whether continuous actions can be differentiated."""
        return self.values.smooth

    def leaving(self) -> str:
        """Nothing: there are no nodes."""
        return ""

    def __str__(self) -> str:
        result = self.result.name if isinstance(self.result, Result) else "traced"
        clock = self.setting.problem.clock
        length = f"{clock.count} periods" if clock.finite else "infinite horizon"
        what = ", ".join(
            f"{name.replace('_', ' ')} {float(value):.3g}"
            for name, value in self.stats.items()
            if concrete(value) and value.ndim == 0
        )
        doubts = self.setting.doubts(self) if isinstance(self.result, Result) else ""
        said = f" But {doubts}" if doubts else ""
        return f"Solution by {type(self.setting.options).__name__} ({length}): {result}. {what}.{said}"

    def check_start(self, given: Mapping[str, Array], entry: Array, states: Mapping[str, Array]) -> None:
        if not all_concrete((self.arguments, self.values, states, entry)):
            return
        run = self.setting.program("beyond", lambda: quickly(beyond, True))
        for name, strange in run(self.pointwise, entry, states).items():
            rows = np.flatnonzero(np.asarray(strange))
            if name in given and len(rows):
                value = np.array2string(np.asarray(states[name])[rows[0]], precision=6)
                raise ParameterError(f"start: state {name!r} of agent {rows[0]} is {value}, {_UNSEEN}. {_WIDER}")

    # -- questions

    def value(self, period: Any = None, *, age: Any = None, **states: Any) -> Array:
        """V at any states: what following the policy is worth, as the solver knows it.

        Args:
            period: which period, 0 to the horizon; absent for an infinite horizon.
            age: instead of `period`, in years.
            **states: every state by name, arrays that broadcast (a vector state has its own axes last).
        Returns:
            The broadcast shape, in units of the reward; NaN from a solver that finds no value.
        """
        period = check_period(self.setting.problem.clock, period, age, last=True)
        return self._ask("value", period, states)

    def policy(self, period: Any = None, *, age: Any = None, **states: Any) -> dict[str, Array]:
        """The actions at any states, by name, and `stop` (true where stopping is optimal) in a stopping problem.

        Args:
            period, age, **states: as in `value`; the period is one with a decision.
        Raises:
            ModelError: when it is differentiated and the solver says of no derivative.
        """
        period = check_period(self.setting.problem.clock, period, age, last=False)
        found = self._ask("policy", period, states)
        if not self.smooth:
            found = {name: undifferentiable(x, self.arguments) for name, x in found.items()}
        return found

    def tabulate(self) -> NoReturn:
        """Of a solution on a grid."""
        raise ModelError(
            f"tabulate is of a solution on a grid, and {type(self.setting.options).__name__} has none: policy and "
            "value are functions already. Ask solution.policy(...) at an array of states."
        )

    def choice_values(self, *_: Any, **__: Any) -> NoReturn:
        """Of a solution on a grid."""
        self._on_a_grid("choice_values")

    def choice_probabilities(self, *_: Any, **__: Any) -> NoReturn:
        """Of a solution on a grid."""
        self._on_a_grid("choice_probabilities")

    def action_probabilities(self, *_: Any, **__: Any) -> NoReturn:
        """Of a solution on a grid."""
        self._on_a_grid("action_probabilities")

    def combinations(self) -> NoReturn:
        """Of a solution on a grid."""
        self._on_a_grid("combinations")

    def _on_a_grid(self, what: str) -> NoReturn:
        raise ModelError(
            f"{what} is of a solution on a grid, where every discrete alternative has a value of its own; "
            f"{type(self.setting.options).__name__} is judged by the best one alone. Ask solution.policy(...) for that "
            "and solution.value(...) for what it is worth, or solve on a grid: bx.solvers.BackwardInduction()."
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the solution to a NetCDF file, whole or not at all; `bx.load(path, model)` reads it back.

        Raises:
            ModelError: of a batch of solutions, or under a transformation of jax.
            SolveError: if the file cannot be written.
        """
        self.check_one()
        archive.write(path, record_gridless(self))

    def check_one(self) -> None:
        """Raises ModelError for a batch of solutions."""
        check_single(self.code)

    def _ask(self, what: str, period: Any, states: Mapping[str, Any]) -> Any:
        self.check_one()
        setting = self.setting
        arrays, shape = flattened(setting.problem, states)
        arrays = arrays or {"nothing": np.zeros(1)}
        known = all_concrete((arrays, self.arguments, self.values, period))
        clock = setting.problem.clock
        ended = concrete(period) and clock.finite and int(period) == clock.count
        name = ("asked", what, ended, known)
        run = setting.program(name, lambda: quickly(_answers(setting, what, ended), known))
        when = np.asarray(period, np.int32) if concrete(period) else jnp.asarray(period, jnp.int32)
        found = run(self.pointwise, when, arrays)
        if known:
            self._warn(found, arrays)
            found = jax.tree.map(np.asarray, found)
        answer = jax.tree.map(lambda leaf: leaf.reshape((*shape, *leaf.shape[1:])), found["answer"])
        answer = in_its_period(clock, period, answer) if what == "policy" else answer
        answer = jax.tree.map(put, answer) if known else answer
        return answer if what == "policy" else answer * unless_failed(self.code)

    def _warn(self, found: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        for name, strange in found["beyond"].items():
            if strange.any():
                value = np.asarray(arrays[name])[np.flatnonzero(strange)[0]]
                return warn_once(self, f"state {name!r} is {np.array2string(value, precision=6)}, {_UNSEEN}", _WIDER)
        if self.setting.numerics.outside is None:
            warn_once(self, first_outside(self.setting.plan, found["ends"], found["outside"], arrays))


def _answers(setting: GridlessSetting, what: str, ended: bool) -> Callable[..., dict[str, Any]]:
    """A program that answers at all points."""
    numerics, plan = setting.numerics, setting.plan

    def ask(policy: GridlessPolicy, period: Array, states: dict[str, Array]) -> dict[str, Any]:
        today = numerics.problem.period(policy.arguments, period)
        mesh = numerics.nodes(today.environment)
        ends = reach(mesh)

        def unknown(states: dict[str, Array]) -> dict[str, Array]:
            return {} if ended else policy.behaviour.beyond(today, period, states)

        def at(states: dict[str, Array]) -> Any:
            if ended:
                return today.terminal(states)
            shown = ~jnp.any(jnp.stack([jnp.zeros((), bool), *unknown(states).values()]))
            chosen = policy.behaviour.chosen(today, period, states)
            if what == "value":
                value = masked(shown, chosen.value)
                if not numerics.problem.finite:
                    return value
                # a period that is traced may be the one after the last decision, or none
                over = period >= numerics.problem.clock.count
                return jnp.where(period < 0, jnp.nan, jnp.where(over, today.terminal(states), value))
            stop = {"stop": chosen.stop} if plan.evaluate_stop is not None else {}
            return {name: masked(shown, leaf) for name, leaf in (chosen.actions | stop).items()}

        off = jax.vmap(lambda states: outside(ends, numbers(plan, states)))(states)
        # after the last decision V is the model's own
        over = period >= numerics.problem.clock.count if numerics.problem.finite else jnp.zeros((), bool)
        strange = {name: own & ~over for name, own in jax.vmap(unknown)(states).items()}
        return {"answer": jax.vmap(at)(states), "outside": off, "ends": ends, "beyond": strange}

    return ask
