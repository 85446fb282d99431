"""What iterations towards the fixed point of a stationary Bellman operator share: when they are there, or lost."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.frozen import follow, improve
from bellax.bellman.maximisers.maximum import Optimum
from bellax.bellman.sweep import step
from bellax.errors import ModelError
from bellax.numerics.fixed_point import implicit
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.common import outcome, stats
from bellax.solvers.driver import Iteration, Run

State = TypeVar("State", bound=Any)


class Stationary(Iteration[State]):
    """A run whose states have `value`, `change`, `steps`, `tally` and `pace`.

    Args:
        solver: has a `tolerance`.
        sane: whether the arguments make a model.
        begun: V to begin with; None begins with zero.
    Attributes:
        problem, mesh: the problem that recurs, given V, and its nodes.
        plane: what the maximiser works out before the iteration.
    """

    def __init__(
        self, solver: Any, numerics: Discretisation, arguments: Arguments, sane: Array, begun: Value | None = None
    ) -> None:
        self.solver, self.numerics, self.arguments, self.sane = solver, numerics, arguments, sane
        self.begun = begun
        self.fixed = jax.lax.stop_gradient(arguments)
        self.problem, self.mesh = numerics.recurring(self.fixed)
        self.plane = numerics.maximiser.plane(self.problem, self.mesh, numerics.memory)

    @property
    def tolerance(self) -> float:
        """The solver's, or what rounding leaves of it."""
        return reachable(self.solver.tolerance)

    def optima(self, value: Value) -> Optimum | None:
        """The optima at all nodes, where the plane has them."""
        return None if self.plane is None else self.plane.optima(value.levels)

    def changed(self, new: Value, state: Any) -> tuple["Change", Array]:
        """The change of V by a step, and V after the first one."""
        first = jnp.where(state.steps == 0, new.levels, state.first)
        return changed(new.levels, state.value.levels, first, len(self.mesh.lines)), first

    @abstractmethod
    def converged(self, state: State) -> Array:
        """Whether V is the fixed point."""

    def told(self, state: State, number: Array) -> tuple[Any, Any]:
        return state.steps, state.change

    def result(self, state: State, kept: None) -> Run:
        step: Any = partial(bellman, self.numerics)
        rough = self.numerics.plan.kinked or self.numerics.maximiser.makes_pieces
        nearby: Any = None if rough else partial(following, self.numerics)
        value = implicit(step, nearby, self.arguments, state.value)
        code = outcome(state.tally, self.converged(state), state.pace.diverges)
        numbers = {"steps": state.steps, "residual": state.change, **stats(state.tally, self.numerics.plan)}
        return Run(value, code, numbers)


def bellman(numerics: Discretisation, arguments: Arguments, value: Value) -> Value:
    """One step of the stationary Bellman operator."""
    problem, mesh = numerics.recurring(arguments)
    return step(numerics.maximiser, problem(value), mesh, numerics.memory).value


def following(numerics: Discretisation, arguments: Arguments, value: Value) -> Callable[[Value], Value]:
    """The derivative in V of following the best policy, which does not move with V.

    At the fixed point it is that of the Bellman operator: by the envelope theorem for levels, and for slopes because a
    Hessian is symmetric: what V moves u by, times Q_uy, is what it adds to Q_u, times the drift du/dy. Not at a kink.
    """
    problem, mesh = numerics.recurring(arguments)
    found, frozen = improve(numerics.maximiser, problem(value), mesh, numerics.memory)
    lost = found.value.levels == -jnp.inf
    _, moved = jax.linearize(lambda v: follow(frozen, problem(v), mesh, numerics.memory), value)
    return lambda x: jax.tree.map(lambda leaf: jnp.where(lost, 0.0, leaf), moved(x))


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


class Pace(NamedTuple):
    """Whether an iteration still gets anywhere.

    Twice as many steps on, a contraction has made the change smaller, however near one its modulus is.

    Attributes:
        change, size: the change of V and its size when that was last asked.
        asked: after how many steps that was.
        lost: whether it does not.
        diverges: whether V has grown meanwhile.
    """

    change: Array
    size: Array
    asked: Array
    lost: Array
    diverges: Array

    def after(self, change: Array, levels: Array, steps: Array, shrunk: float = 0.999) -> "Pace":
        """The pace after a step; a change has shrunk that is this share of what it was."""
        due = steps >= 2 * self.asked
        size = jnp.max(jnp.where(jnp.isfinite(levels), jnp.abs(levels), 0.0))
        lost = self.lost | (due & (change >= shrunk * self.change))
        diverges = self.diverges | (lost & (size > 2 * self.size))
        change, size = jnp.where(due, change, self.change), jnp.where(due, size, self.size)
        return Pace(change, size, jnp.where(due, steps, self.asked), lost, diverges)


def off_the_mark(asked: int = 100) -> Pace:
    """The pace before the first step.

    Args:
        asked: half of the steps after which it is first asked.
    """
    no = jnp.zeros((), bool)
    return Pace(jnp.asarray(jnp.inf), jnp.asarray(jnp.inf), jnp.asarray(asked, jnp.int32), no, no)


class Rest(NamedTuple):
    """Whether the change that is left is rounding.

    A category whose V is zero has the rounding of those that it may move to, and its relative change never falls. What
    is as small as rounding of the largest category may also be the slow end of a contraction, of a category that never
    moves there. That one shrinks, however slowly.

    Attributes:
        steps: in a row that changed V by no more than such rounding.
        pace: of these.
    """

    steps: Array
    pace: Pace

    def after(self, small: Array, change: Array, levels: Array) -> "Rest":
        """The rest after a step; `small` says whether the change was as small as rounding may be."""
        steps = jnp.where(small, self.steps + 1, 0)
        pace, anew = self.pace.after(change, levels, steps, shrunk=1.0), at_rest().pace
        return Rest(steps, jax.tree.map(lambda found, first: jnp.where(small, found, first), pace, anew))


def at_rest() -> Rest:
    """Before the first step."""
    return Rest(jnp.zeros((), jnp.int32), off_the_mark(8))
