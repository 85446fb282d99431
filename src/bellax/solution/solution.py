"""What a solve returns: value and policy everywhere, how it ended, and what it took.

A grid policy re-maximises at the queried point from the next value, so that it is as good off the grid as on it, and
nothing of the size states x actions is kept. `tabulate` trades that for interpolation.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.chunks import over_batch
from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.leaving import SIDES
from bellax.bellman.maximisers.maximum import cells
from bellax.bellman.reach import first_outside, reach, warn_once
from bellax.bellman.setting import Setting
from bellax.errors import ModelError
from bellax.numerics import archive
from bellax.numerics.programs import LITTLE, all_concrete, concrete, quickly
from bellax.numerics.scalar import put
from bellax.problem.period import combinations
from bellax.problem.problem import Arguments
from bellax.problem.reading import check_period, flattened
from bellax.solution.policy import Policy, Queried
from bellax.solution.query import (
    Remaximising,
    asked_outside,
    check_active,
    choose,
    ending,
    in_its_period,
    undifferentiable,
)
from bellax.solution.record import record
from bellax.solution.refinement import Refinement
from bellax.solution.result import Result, check_single, unless_failed
from bellax.solution.seeded import seeded
from bellax.solution.tabulated import Tabulated, tabulated

FOLLOWED = (
    "this solution follows a rule, and a file holds no function. Save the parameters, and evaluate the rule again by "
    "bx.evaluate; or save a panel: bx.simulate(solution, ...).frame()."
)


class Solution(Queried):
    """Value and policy of a model, and how they were found.

    Attributes:
        arguments: parameters and literals that were solved for.
        values: V at the nodes; with a finite horizon one a period, 0 to T, along the first axis. Of one regime among
            several, a dict of them by regime: today's value of one is made of tomorrow's of others.
        code: how the solve ended; see `result`.
        stats: numbers about the solve, by name.
        setting: the model and its numerics.
        refinement: the rounds of a solve with `accuracy=`; a file does not keep them.
    """

    arguments: Arguments
    values: Any
    code: Array
    stats: dict[str, Array]
    setting: Setting = eqx.field(static=True)
    refinement: Refinement | None = None

    @property
    def own(self) -> Value:
        """V at the nodes of its own regime."""
        regime = self.setting.problem.regime
        return self.values[regime] if regime else self.values

    @property
    def model(self) -> Any:
        """The model that was solved."""
        return self.setting.model

    @property
    def result(self) -> Result | Array:
        """How the solve ended; under a transformation, and of what `vmap` gave, the code of it."""
        return self.code if isinstance(self.code, jax.core.Tracer) or self.code.ndim else Result(int(self.code))

    def __str__(self) -> str:
        if self.setting.numerics.ends:
            return f"The regime {self.setting.problem.regime}, which ends the problem: a function of its states."
        setting, numerics, clock = self.setting, self.setting.numerics, self.setting.problem.clock
        length = f"{clock.count} periods" if clock.finite else "stationary"
        result = self.result.name if isinstance(self.result, Result) else "traced"
        result = f"a batch of shape {self.code.shape}" if self.code.ndim else result
        axes = [*setting.plan.processes, *setting.plan.discrete, *(line.name for line in setting.plan.lines)]
        shape = self.own.levels.shape
        nodes = _listed(axes, shape[len(shape) - len(axes) :])
        tried = numerics.maximiser.tried(setting.plan)
        known = f"interpolant {type(numerics.interpolant).__name__}"
        known = "V in pieces" if numerics.maximiser.makes_pieces else known
        drawn = _shock_nodes(self)
        how = "Follows a rule" if setting.follows else f"Maximiser {type(numerics.maximiser).__name__}"
        return (
            f"Solution by {type(setting.options).__name__} ({length}): {result}. {how}"
            f"{f' ({tried})' if tried else ''}, {known}, nodes: {nodes}{f', of shocks: {drawn}' if drawn else ''}."
            f"{self.leaving()}{_refined(self.refinement)}"
        )

    def leaving(self) -> str:
        """A sentence on the nodes whose optimal next state leaves the grid; empty where there are none."""
        if self.setting.numerics.ends or self.code.ndim or not concrete(self.code):
            return ""
        shares = sorted(f"{side} {label} at {share:.2g}" for (label, side), share in self.left.items() if share > 0)
        if not shares:
            return ""
        return f" The optimal next state leaves the grid {', '.join(shares)} of the nodes, where V is a guess."

    @property
    def left(self) -> dict[tuple[str, str], float]:
        """By line and side, at what share of the nodes the optimal next state leaves the grid."""
        clock = self.setting.problem.clock
        periods = clock.count if clock.finite else 1
        active = self.setting.model.active_periods.get(self.setting.problem.regime, [True] * periods)
        count = self.own.levels.size // (periods + clock.finite) * max(sum(active[:periods]), 1)
        lines = self.setting.plan.reached
        return {(label, side): float(self.stats[f"{side}:{label}"]) / count for label in lines for side in SIDES}

    @property
    def params(self) -> Arguments:
        """The parameters that were solved for."""
        own = self.setting.problem.own(self.arguments)
        return {name: value for name, value in own.items() if self.setting.is_parameter(name)}

    # -- questions ------------------------------------------------------------------------------------------------

    def value(self, period: Any = None, *, age: Any = None, **states: Any) -> Array:
        """V at any states, at the nodes or between them.

        Beyond the bounds of a state V of tomorrow is extrapolated, as the interpolant says, and no certificate covers
        it: an `OutsideWarning`, once a solution, unless the solver's `outside` says what is wanted.

        Args:
            period: which period, 0 to the horizon; absent for an infinite horizon.
            age: instead of `period`, in years.
            **states: every state by name, arrays that broadcast (a vector state has its own axes last).
        Returns:
            The broadcast shape, in units of the reward.
        """
        period = check_period(self.setting.problem.clock, period, age, last=True)
        check_active(self.setting, period)
        if self.setting.numerics.ends:
            return self._ask("terminal", period, states)
        if concrete(period) and self.setting.problem.clock.finite and int(period) == self.setting.problem.clock.count:
            return self._ask("terminal", period, states)
        if not concrete(period):
            count = self.setting.problem.clock.count
            last, before = self._ask("terminal", period, states), self._ask("value", period, states)
            return jnp.where(period == count, last, before)
        return self._ask("value", period, states)

    def policy(self, period: Any = None, *, age: Any = None, **states: Any) -> dict[str, Array]:
        """The optimal actions at any states, by name, and `stop` (true where stopping is optimal) in a stopping
        problem. Under taste shocks they are those of the most probable combination of discrete actions: the best on
        average. Where there is none to give, a number is NaN, a category -1, and `stop` false: no action is allowed,
        V is NaN, or a period that is traced has no decision.

        Args:
            period, age, **states: as in `value`; the period is one with a decision.
        Raises:
            ModelError: when it is differentiated and the maximiser only enumerates candidates.
        """
        self._check_decides()
        period = check_period(self.setting.problem.clock, period, age, last=False)
        check_active(self.setting, period)
        chosen = self._ask("policy", period, states)
        if not self.smooth and self.setting.plan.controls:
            chosen = {name: undifferentiable(x, self.arguments) for name, x in chosen.items()}
        return chosen

    def choice_values(self, period: Any = None, *, age: Any = None, **states: Any) -> Array:
        """The value of every combination of discrete actions, each with its best continuous actions; of a rule, with
        the rule's own.

        Returns:
            The broadcast shape and one axis of combinations, in the order of `combinations`.
        """
        self._check_decides()
        period = check_period(self.setting.problem.clock, period, age, last=False)
        check_active(self.setting, period)
        return self._ask("choices", period, states)

    def choice_probabilities(self, period: Any = None, *, age: Any = None, **states: Any) -> Array:
        """The probability with which every combination of discrete actions is chosen, over the taste shocks.

        Over actions that no shock is over only the best is chosen. Without taste shocks, and of a rule, which does not
        see them, one combination has it all. NaN where `policy` has no answer, and zero where it stops.

        Returns:
            The broadcast shape and one axis of combinations, in the order of `combinations`.
        """
        self._check_decides()
        period = check_period(self.setting.problem.clock, period, age, last=False)
        check_active(self.setting, period)
        return self._ask("probabilities", period, states)

    def action_probabilities(self, period: Any = None, *, age: Any = None, **states: Any) -> dict[str, Array]:
        """As `choice_probabilities`, by discrete action: the probability of each of its categories, along a last axis
        in their order."""
        joint = self.choice_probabilities(period, age=age, **states)
        table, found = combinations(self.setting.plan), {}
        for place, (name, space) in enumerate(self.setting.plan.choices.items()):
            belongs = table[:, place][:, None] == np.arange(len(space.values))
            found[name] = jnp.matmul(joint, jnp.asarray(belongs, joint.dtype), precision="highest")
        return found

    @property
    def combinations(self) -> list[dict[str, str]]:
        """Labels of the discrete actions of every combination, in the order of `choice_values` and
        `choice_probabilities`."""
        names = list(self.setting.plan.choices.items())
        return [
            {name: space.labels[code] for (name, space), code in zip(names, row, strict=True)}
            for row in combinations(self.setting.plan)
        ]

    # -- how ------------------------------------------------------------------------------------------------------

    @property
    def pointwise(self) -> Remaximising:
        """The policy, as simulations and certificates ask it."""
        self._check_decides()
        return Remaximising(arguments=self.arguments, values=self.values, numerics=self.setting.numerics)

    def for_many(self) -> Policy:
        """The policy, with a table from which its search starts where the maximiser can start from one."""
        sought, numerics = self.pointwise, self.setting.numerics
        if numerics.follows or self.setting.problem.regime or not numerics.maximiser.starts_near(self.setting.plan):
            return sought
        return seeded(self.setting, sought, self.tabulate().table)

    @property
    def smooth(self) -> bool:
        """Whether continuous actions can be differentiated."""
        return self.pointwise.smooth

    def tabulate(self) -> Tabulated:
        """The policy at the nodes, interpolated between them: much faster to query, exact only at the nodes.

        Raises:
            ModelError: of a rule, which is a function already.
        """
        self.check_one()
        self._check_decides()
        if self.setting.follows:
            raise ModelError(
                "this solution follows a rule, which is a function already; a table of it would be less exact. Ask the "
                "solution itself."
            )
        return tabulated(self.setting, self.arguments, self.values)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the solution to a NetCDF file, whole or not at all; `bx.load(path, model)` reads it back.

        Raises:
            ModelError: if it follows a rule, or is one regime of several.
            SolveError: if the file cannot be written.
        """
        self.check_one()
        if self.setting.problem.regime:
            raise ModelError("this is one regime of several, whose V is made of theirs: save the whole solution.")
        if self.setting.follows:
            raise ModelError(FOLLOWED)
        archive.write(path, record(self.setting, self.arguments, self.values, self.code, self.stats))

    def check_one(self) -> None:
        """Raises ModelError for a batch of solutions."""
        check_single(self.code)

    def _check_decides(self) -> None:
        """Raises ModelError for a regime in which nothing is."""
        if self.setting.numerics.ends:
            raise ModelError(f"the regime {self.setting.problem.regime!r} ends the problem: nothing is decided in it.")

    def _ask(self, what: str, period: Any, states: Mapping[str, Any]) -> Any:
        self.check_one()
        arrays, shape = flattened(self.setting.problem, states)
        setting, numerics = self.setting, self.setting.numerics
        build = _final if what == "terminal" else _answers
        arrays = arrays or {"nothing": np.zeros(1)}  # of a model without states one answer, too
        count = math.prod(shape)
        known = all_concrete((arrays, self.arguments, self.values, period))
        if count and known:
            arrays = {name: _padded(np.asarray(array), _batch(count)) for name, array in arrays.items()}
        little = known and _batch(count) * cells(numerics.maximiser, setting.plan) <= LITTLE
        compiled = setting.program((build.__name__, little), lambda: quickly(build(numerics), little))
        found = compiled(
            self.arguments,
            self.values,
            jnp.asarray(period, jnp.int32) if not concrete(period) else np.asarray(period, np.int32),
            arrays,
        )
        answer = found[what]
        if known and "outside" in found:
            warn_once(self, first_outside(setting.plan, found["ends"], found["outside"], arrays))
        if known:
            answer = jax.tree.map(np.asarray, answer)  # an operation of jax on its own is compiled on its own
        answer = jax.tree.map(lambda leaf: leaf[:count].reshape((*shape, *leaf.shape[1:])), answer)
        answer = answer if what == "terminal" else in_its_period(setting.problem.clock, period, answer)
        answer = jax.tree.map(put, answer) if known else answer
        if what == "policy" or not isinstance(self.code, jax.core.Tracer):
            return answer
        # under a transformation nothing has raised: of a failed solve a value is NaN even where no action is feasible
        return answer * unless_failed(self.code)


def _batch(count: int) -> int:
    """How many states are asked at once: one of a few sizes, so that most questions share a compiled program."""
    return next((size for size in (256, 1024, 4096) if size >= count), count)


def _padded(array: np.ndarray, count: int) -> np.ndarray:
    """The array with its last row repeated up to `count` rows."""
    return np.concatenate([array, np.repeat(array[-1:], count - len(array), axis=0)])


def _listed(names: Sequence[str], counts: Sequence[int]) -> str:
    """How many there are by name: `wealth 100, stocks 20 x 20`, a vector having one count for each of its numbers."""
    found: dict[str, list[str]] = {}
    for name, count in zip(names, counts, strict=True):
        found.setdefault(name, []).append(str(count))
    return ", ".join(f"{name} {' x '.join(own)}" for name, own in found.items())


def _shock_nodes(solution: Solution) -> str:
    """How many nodes each scanned shock has, all its dimensions together."""
    rules = solution.setting.numerics.shock_nodes
    for _ in range(solution.code.ndim):
        rules = jax.vmap(rules)
    found = jax.eval_shape(rules, solution.arguments)
    return _listed(list(found), [rule.weights.shape[-1] for rule in found.values()])


def _refined(refinement: Refinement | None) -> str:
    return "" if refinement is None else f"\n{refinement}"


Program = Callable[[Arguments, Any, Array, dict[str, Array]], dict[str, Any]]


def _answers(numerics: Discretisation) -> Program:
    """A program that answers every question at a batch of states, shape (n,): one to compile, whatever is asked."""
    plan = numerics.plan

    def ask(arguments: Arguments, values: Any, period: Array, states: dict[str, Array]) -> dict[str, Any]:
        objective, today = numerics.solved_period(arguments, values, period)

        def at(states: dict[str, Array]) -> dict[str, Any]:
            chosen = choose(numerics, objective, today, states)
            stop = {"stop": chosen.stop} if plan.evaluate_stop is not None else {}
            answers = {"value": chosen.value, "policy": chosen.actions | stop}
            answers |= {"choices": chosen.choice_values, "probabilities": chosen.probabilities}
            return answers | asked_outside(numerics, today, states)

        answers = over_batch(at, states, cells(numerics.maximiser, plan), numerics.memory)
        return answers | {"ends": reach(today)}

    return ask


def _final(numerics: Discretisation) -> Program:
    """A program for V after the last decision: the model's function, or the value that was given to the solve."""

    def ask(arguments: Arguments, values: Any, period: Array, states: dict[str, Array]) -> dict[str, Any]:
        own = values[numerics.problem.regime] if numerics.problem.regime and not numerics.ends else values
        last = None if numerics.ends else jax.tree.map(lambda leaf: leaf[-1], own)
        answer = {"terminal": jax.vmap(ending(numerics, arguments, last, period if numerics.ends else None))(states)}
        if numerics.plan.evaluate_terminal is not None:
            return answer  # exact everywhere
        mesh = numerics.mesh(arguments, numerics.problem.clock.count)
        beside = jax.vmap(lambda states: asked_outside(numerics, mesh, states))(states)
        return answer | beside | {"ends": reach(mesh)}

    return ask
