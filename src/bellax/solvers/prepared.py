"""What a solver makes of a model before it has numbers: checks, programs, and what is said of a failure.

The front door knows this alone: `check` what was given, `solve`, `explain`.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.checks import check_arguments, check_memory, sound
from bellax.bellman.chunks import Node, over_mesh
from bellax.bellman.continuation import Value
from bellax.bellman.decided import value_and_slopes
from bellax.bellman.diagnosis import first_failure
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.masked import warn_of_masks
from bellax.bellman.maximisers.maximum import cells
from bellax.bellman.regridded import regridded
from bellax.bellman.setting import Setting
from bellax.bellman.workload import mesh_shape
from bellax.errors import ModelError, check_names
from bellax.model.spaces import agree
from bellax.numerics.once import once
from bellax.numerics.programs import all_concrete, quickly_at_first
from bellax.numerics.shared import Shared
from bellax.problem.problem import Arguments
from bellax.solution.policy import Policy
from bellax.solution.query import Reading, reading, warn_of_reading
from bellax.solution.solution import Result, Solution
from bellax.solvers.driver import Run, drive
from bellax.solvers.progress import report

_LITTLE = 3_000_000
"""Evaluations of Q in a solve up to which it is over sooner than it is compiled well."""

_SOME = 300_000_000
"""The same, for code that is nearly good."""

_STEPS = 30
"""Bellman steps that a stationary model counts for: whether there will be ten or a hundred, nobody knows before."""


class Prepared(Setting):
    """A model under a solver on a grid."""

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError or ModelError for numbers that make no model, or do not fit in memory; says what will
        take long."""
        check_arguments(self, arguments)
        check_memory(self, arguments)
        warn_of_masks(self)

    @property
    def deciding(self) -> dict[str, Setting]:
        """Itself, under no name; of several regimes those in which something is decided."""
        return {"": self}

    @property
    def endogenous(self) -> bool:
        """Whether an endogenous grid solves it."""
        return self.numerics.maximiser.makes_pieces

    def sound(self, arguments: Arguments) -> Array:
        """Whether numbers make a model: what `check` raises for where they are known."""
        return self.program("sound", lambda: jax.jit(partial(sound, self.numerics)))(arguments)

    def solve(self, arguments: Arguments, final: Value | None, ticket: Any = None, well: bool = False) -> Solution:
        """Solves.

        Args:
            final: V after the last decision, or of a stationary model V to begin with, where it is given.
            ticket: of who is told of progress; None for nobody.
            well: whether quick code will not do even the first time.
        """
        known = all_concrete((arguments, final))
        quick = (False, False)
        if known and not well:
            quick = self.program("haste", lambda: haste([self.numerics], arguments))
        sane = np.asarray(True) if known and not well else self.sound(arguments)
        compiled = self._compiled(final is not None, ticket is not None, quick)
        found = compiled(arguments, final, np.asarray(0) if ticket is None else ticket, sane)
        return Solution(arguments=arguments, values=found.values, code=found.code, stats=found.stats, setting=self)

    def _compiled(self, given_final: bool, told: bool, quick: tuple[bool, bool]) -> Callable[..., Run]:
        solver: Any = self.options

        def run(arguments: Arguments, final: Value | None, ticket: Array, sane: Array) -> Run:
            self.programs["traces"] = self.programs.get("traces", 0) + 1
            arguments = differentiable(arguments, [self.numerics])
            iteration = solver.iteration(self.numerics, arguments, final, sane)
            found = drive(iteration, report(ticket) if told else None)
            return found._replace(code=jnp.where(sane, found.code, int(Result.nonfinite)).astype(jnp.int32))

        return self.program(("solve", given_final, told, quick), lambda: quickly_at_first(run, *quick))

    def final(self, arguments: Arguments, terminal: Any) -> Value:
        """The value of another solution, at its first period, and its slopes on this one's last mesh.

        Where that mesh reaches beyond the other's grid there is a warning, or what the other's `outside` says.
        """
        if not isinstance(terminal, Solution):
            raise ModelError(f"terminal is {terminal!r}; give the Solution whose value follows the last decision.")
        if self.plan.evaluate_terminal is not None:
            raise ModelError(
                "the model has a terminal value of its own; solve without terminal=, or remove it from the model."
            )
        if not self.problem.finite:
            raise ModelError(
                "terminal= is the value after the last decision; the horizon is infinite: give horizon= too."
            )
        if self.numerics.maximiser.makes_pieces:
            raise ModelError(
                f"{type(self.numerics.maximiser).__name__} takes no terminal=: what it knows of tomorrow lies between "
                "nodes, and terminal= gives V at nodes. Use bx.maximise.Newton(), or give the model a terminal value."
            )
        terminal.check_one()
        if all_concrete(terminal.code) and np.any(np.asarray(terminal.code) != int(Result.successful)):
            raise ModelError(f"the terminal solution ended as {terminal.result!r}; its value is none to go on from.")
        theirs = terminal.setting.plan.states
        check_names(theirs, self.plan.states, "state of the terminal solution")
        for name, space in theirs.items():
            if not agree(space, self.plan.states[name]):
                raise ModelError(f"state {name!r} of the terminal solution has other categories, or another shape.")
        build = lambda: Shared(partial(_on_last_mesh, self.numerics))  # noqa: E731
        value, found = self.program(("final", terminal.setting.numerics), build)(arguments, terminal.pointwise)
        if all_concrete(found):
            warn_of_reading(terminal, "terminal", found)
        return value

    def begun(self, arguments: Arguments, other: Solution) -> Value | None:
        """V to begin a stationary solve with, from a solution of the same model on other nodes; None where there is
        none."""
        solver: Any = self.options
        if self.problem.finite or not solver.begins:
            return None
        return regridded(other.values, jax.eval_shape(self.numerics.zero, arguments))

    def explain(self, solution: Solution) -> str:
        """Why a solve failed, or how it ended where it is worth nothing; empty where nothing is wrong."""
        result, solver = Result(int(solution.code)), self.options
        if result == Result.max_steps_reached:
            return solver.unconverged(self.follows, solution.stats, solution.leaving())  # type: ignore[attr-defined]
        if result != Result.successful:
            return first_failure(self.numerics, solution.arguments, solution.values)
        return _WORTHLESS if self._worthless(solution) else ""

    def _worthless(self, solution: Solution) -> bool:
        """Whether V is minus infinity at every node at which something was decided."""
        shape = solution.values.levels.shape
        decided = (shape[0] - 1, *shape[1:]) if self.problem.finite else shape
        return int(solution.stats["infinite_nodes"]) == math.prod(decided)


_WORTHLESS = (
    "V is minus infinity at every node. Likely causes: a reward of minus infinity that no action avoids, or a "
    "grid with a node of minus infinity, such as log 0, that every state may move next to: a cell with such a "
    "node is minus infinity. Raise the lower bound of the state, or that of the action."
)


def differentiable(arguments: Any, numerics: Iterable[Discretisation]) -> Any:
    """Arguments of a solve; with kinks in actions of which second derivatives are refused through several periods.

    What follows a kink of tomorrow's V moves by a rule that jax loses in second derivatives.

    Args:
        numerics: of every regime.
    """
    several = [own for own in numerics if not (own.problem.finite and own.problem.clock.count == 1)]
    return once(arguments, "V of several periods with kinks in actions") if any(n.sided for n in several) else arguments


def haste(numerics: Iterable[Discretisation], arguments: Arguments) -> tuple[bool, bool]:
    """Whether quick code pays for the first solves, and whether code does that is nearly good.

    Args:
        numerics: of every regime.
    """
    evaluations = sum(_evaluations(own, arguments) for own in numerics)
    return evaluations <= _LITTLE, evaluations <= _SOME


def _evaluations(numerics: Discretisation, arguments: Arguments) -> int:
    """How many candidates a solve evaluates, about."""
    clock = numerics.problem.clock
    shocks = jax.eval_shape(numerics.shock_nodes, arguments).values()
    nodes = math.prod(mesh_shape(numerics, arguments)) * math.prod(rule.weights.shape[0] for rule in shocks)
    periods = clock.count if clock.finite else _STEPS
    return nodes * cells(numerics.maximiser, numerics.plan) * periods


def _on_last_mesh(numerics: Discretisation, arguments: Arguments, terminal: Policy) -> tuple[Value, Reading]:
    """The value that another policy has at its first period, on the last mesh, and whether it knows V there."""
    mesh, rule = numerics.mesh(arguments, numerics.problem.clock.count), terminal.at(0)

    def at(node: Node) -> Value:
        value = lambda coordinates: rule(mesh.point(node.codes, coordinates).values).value  # noqa: E731
        return Value(*value_and_slopes(value, node.coordinates, numerics.interpolant.needs_slopes))

    other = terminal.numerics
    value = over_mesh(at, mesh, cells(other.maximiser, other.plan), numerics.memory)
    return value, reading(terminal, 0, mesh)
