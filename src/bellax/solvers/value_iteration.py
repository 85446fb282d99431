"""Value iteration: V <- T V until the largest change of V is below a tolerance.

T contracts with modulus b: the error of V is at most b/(1-b) times the last change. At the fixed point derivatives come
from the implicit function theorem.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.sweep import step
from bellax.errors import ModelError, check_count, check_positive, named_options
from bellax.numerics.fixed_point import implicit
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.common import (
    Pace,
    Rest,
    Solver,
    at_rest,
    faulty,
    latest,
    off_the_mark,
    outcome,
    stats,
    tallied,
    untallied,
)
from bellax.solvers.driver import Iteration, Run


@named_options
@dataclass(frozen=True, kw_only=True)
class ValueIteration(Solver):
    """Iterates the Bellman operator of a stationary model from V = 0. Options: see `GridSolver`, and

    Args:
        tolerance: on the largest change of V relative to its size (see `changed`); at least 8 times the rounding of
            the precision.
        max_steps: Bellman steps at most.
    Raises:
        ModelError: for a finite horizon.
    """

    elsewhere: ClassVar[str] = ", or use bx.solvers.PolicyIteration"

    tolerance: float = 1e-8
    max_steps: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.tolerance, "ValueIteration: tolerance")
        check_count(self.max_steps, "ValueIteration: max_steps")

    def check(self, problem: Problem) -> None:
        check_stationary(problem, "ValueIteration")

    def iteration(
        self, numerics: Discretisation, arguments: Arguments, final: Value | None, sane: Array
    ) -> Iteration[Any]:
        return _Steps(self, numerics, arguments, sane)


class _State(NamedTuple):
    value: Value
    first: Array
    change: Array
    steps: Array
    tally: Array
    pace: Pace
    rest: Rest


class _Steps(Iteration[_State]):
    def __init__(self, solver: ValueIteration, numerics: Discretisation, arguments: Arguments, sane: Array) -> None:
        self.solver, self.numerics, self.arguments, self.sane = solver, numerics, arguments, sane
        self.fixed = jax.lax.stop_gradient(arguments)
        self.problem, self.mesh = numerics.recurring(self.fixed)
        self.plane = numerics.maximiser.plane(self.problem, self.mesh, numerics.memory)

    def init(self) -> _State:
        first, plan = self.numerics.zero(self.fixed), self.numerics.plan
        none = jnp.zeros((), jnp.int32)
        return _State(first, first.levels, jnp.asarray(jnp.inf), none, untallied(plan), off_the_mark(), at_rest())

    def step(self, state: _State, number: Array) -> tuple[_State, None]:
        optima = None if self.plane is None else self.plane.optima(state.value.levels)
        found = step(self.numerics.maximiser, self.problem(state.value), self.mesh, self.numerics.memory, optima)
        levels, steps = found.value.levels, state.steps + 1
        scale = jnp.where(state.steps == 0, levels, state.first)
        change = changed(levels, state.value.levels, scale, len(self.mesh.lines))
        rest = state.rest.after(change.beyond_rounding <= self._tolerance, change.largest, levels)
        pace = state.pace.after(change.largest, levels, steps)
        tally = latest(state.tally, tallied(found))
        return _State(found.value, scale, change.largest, steps, tally, pace, rest), None

    @property
    def _tolerance(self) -> float:
        return reachable(self.solver.tolerance)

    def _converged(self, state: _State) -> Array:
        return (state.change <= self._tolerance) | state.rest.pace.lost

    def done(self, state: _State) -> Array:
        over = (state.steps >= self.solver.max_steps) | state.pace.lost | ~self.sane
        return self._converged(state) | over | faulty(state.tally)

    def told(self, state: _State, number: Array) -> tuple[Any, Any]:
        return state.steps, state.change

    def result(self, state: _State, kept: None) -> Run:
        return fixed_point(self.numerics, self.arguments, state, self._converged(state))


def fixed_point(numerics: Discretisation, arguments: Arguments, state: Any, converged: Array) -> Run:
    """What comes out of an iteration that looked for the fixed point of the Bellman operator."""
    value = implicit(lambda a, v: bellman(numerics, a, v), arguments, state.value)
    code = outcome(state.tally, converged, state.pace.diverges)
    numbers = {"steps": state.steps, "residual": state.change, **stats(state.tally, numerics.plan)}
    return Run(value, code, numbers)


def bellman(numerics: Discretisation, arguments: Arguments, value: Value) -> Value:
    """One step of the stationary Bellman operator."""
    problem, mesh = numerics.recurring(arguments)
    return step(numerics.maximiser, problem(value), mesh, numerics.memory).value


class Change(NamedTuple):
    """How much V changed, relative to its size; infinite nodes that stay are no change.

    Where V has one sign, as with most powers, it may span many orders of magnitude, and each node is measured by its
    own size; else by the largest of the line around it, since V passes zero somewhere. What rounding leaves of the
    values next to a node is no change either: where nothing is left to gain V is zero, and never more exact than its
    neighbours.

    Attributes:
        largest: of all nodes.
        beyond_rounding: the same, without what rounding of the largest category would explain.
    """

    largest: Array
    beyond_rounding: Array


def changed(new: Array, old: Array, first: Array, lines: int) -> Change:
    """The change of V by a step.

    Args:
        first: V after the first step, the size of rewards: a value that falls to zero is measured by these.
        lines: how many of the axes, the last ones, are lines; the others are categories.
    """
    difference = jnp.where(new == old, 0.0, jnp.abs(new - old))
    finite = jnp.isfinite(new)
    own = jnp.where(finite, jnp.abs(new), 0.0)
    near = _around(own, lines, lambda count: 1)
    rounding = 8 * float(jnp.finfo(new.dtype).eps)
    size = jnp.where(finite, jnp.maximum(own, jnp.where(jnp.isfinite(first), jnp.abs(first), 0.0)), 0.0)
    one_sign = jnp.all(~finite | (new >= 0)) | jnp.all(~finite | (new <= 0))
    size = jnp.where(one_sign, size, _around(size, lines, lambda count: -(-count // 16)))

    def largest(noise: Array) -> Array:
        left = jnp.where(difference <= rounding * noise, 0.0, difference)
        return jnp.max(jnp.where(left > 0, left / jnp.where(size > 0, size, 1.0), left))

    categories = tuple(range(new.ndim - lines))
    every = jnp.broadcast_to(jnp.max(near, axis=categories, keepdims=True), near.shape) if categories else near
    return Change(largest(near), largest(every))


def _around(sizes: Array, lines: int, reach: Callable[[int], int]) -> Array:
    """The largest of the sizes around a node, along each line, as many nodes away as `reach` says of its length."""
    window = [1 + 2 * reach(count) if axis >= sizes.ndim - lines else 1 for axis, count in enumerate(sizes.shape)]
    return lax.reduce_window(sizes, 0.0, lax.max, window, [1] * sizes.ndim, "SAME")


def reachable(tolerance: float) -> float:
    """The tolerance, or what rounding leaves of it."""
    return max(tolerance, 8 * float(jnp.finfo(jnp.result_type(float)).eps))


def check_stationary(problem: Problem, what: str) -> None:
    """Raises ModelError for a finite horizon."""
    if problem.finite:
        raise ModelError(
            f"{what} looks for a stationary value, and the horizon is finite. Use bx.solvers.BackwardInduction."
        )
