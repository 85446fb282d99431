"""Value iteration: V <- T V until the largest change of V is below a tolerance.

T contracts with modulus b: the error of V is at most b/(1-b) times the last change. At the fixed point derivatives come
from the implicit function theorem.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.maximisers.maximum import Plane
from bellax.bellman.setting import Arguments, Setting
from bellax.bellman.sweep import Step, step
from bellax.errors import ModelError, check_count, check_positive, named_options
from bellax.numerics import loops
from bellax.numerics.fixed_point import implicit
from bellax.solvers.common import (
    Pace,
    Run,
    Solver,
    faulty,
    latest,
    off_the_mark,
    outcome,
    plane,
    stats,
    tallied,
    tell,
    untallied,
)
from bellax.solvers.progress import Report


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

    tolerance: float = 1e-8
    max_steps: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.tolerance, "ValueIteration: tolerance")
        check_count(self.max_steps, "ValueIteration: max_steps")

    def check(self, setting: Setting) -> None:
        check_stationary(setting, "ValueIteration")

    def run(
        self, setting: Setting, arguments: Arguments, final: Value | None, report: Report | None, sane: Array
    ) -> Run:
        fixed = jax.lax.stop_gradient(arguments)
        environment = setting.environment(fixed, 0)
        first = setting.zero(fixed)

        known = plane(setting, environment, setting.mesh(environment))

        def more(state: _State) -> _State:
            found = bellman(setting, fixed, state.value, known)
            scale = jnp.where(state.steps == 0, found.value.levels, state.first)
            change = changed(found.value.levels, state.value.levels, scale, discrete)
            steps = state.steps + 1
            tell(report, steps, change)
            pace = state.pace.after(change, found.value.levels, steps)
            return _State(found.value, scale, change, steps, latest(state.tally, tallied(found)), pace)

        def done(state: _State) -> Array:
            over = (state.steps >= self.max_steps) | state.pace.lost | ~sane
            return (state.change <= reachable(self.tolerance)) | over | faulty(state.tally)

        none = jnp.zeros((), jnp.int32)
        discrete = first.levels.ndim - len(setting.plan.lines)
        start = _State(first, first.levels, jnp.asarray(jnp.inf), none, untallied(setting.plan), off_the_mark())
        last = loops.until(done, more, start)
        rule = setting.detached()
        value = implicit(lambda a, v: bellman(rule, a, v).value, arguments, last.value)
        code = outcome(last.tally, last.change <= reachable(self.tolerance), last.pace.diverges)
        return Run(value, code, {"steps": last.steps, "residual": last.change, **stats(last.tally, setting.plan)})


class _State(NamedTuple):
    value: Value
    first: Array
    change: Array
    steps: Array
    tally: Array
    pace: Pace


def bellman(setting: Setting, arguments: Arguments, value: Value, known: Plane | None = None) -> Step:
    """One step of the stationary Bellman operator.

    Args:
        known: Q as a function of V, where it was worked out before.
    """
    environment = setting.environment(arguments, 0)
    mesh = setting.mesh(environment)
    objective = setting.objective(environment, mesh.processes, value, mesh)
    optima = None if known is None else known.optima(value.levels)
    return step(setting.maximiser, objective, mesh, setting.memory, optima)


def changed(new: Array, old: Array, first: Array, discrete: int) -> Array:
    """The largest change of V relative to its size; infinite nodes that stay are no change.

    Where V has one sign, as with most powers, it may span many orders of magnitude, and each node is measured by its
    own size. Else the largest size measures all. What rounding leaves of the values next to a node is no change either:
    where nothing is left to gain V is zero, and never more exact than its neighbours.

    Args:
        first: V after the first step, the size of rewards: a value that falls to zero is measured by these.
        discrete: how many of the axes are categories; the rest are lines.
    """
    difference = jnp.where(new == old, 0.0, jnp.abs(new - old))
    finite = jnp.isfinite(new)
    rounding = 8 * float(jnp.finfo(new.dtype).eps) * _around(jnp.where(finite, jnp.abs(new), 0.0), discrete)
    difference = jnp.where(difference <= rounding, 0.0, difference)
    size = jnp.where(finite, jnp.maximum(jnp.abs(new), jnp.where(jnp.isfinite(first), jnp.abs(first), 0.0)), 0.0)
    one_sign = jnp.all(~finite | (new >= 0)) | jnp.all(~finite | (new <= 0))
    size = jnp.where(one_sign, size, jnp.max(size))
    return jnp.max(jnp.where(difference > 0, difference / jnp.where(size > 0, size, 1.0), difference))


def _around(sizes: Array, discrete: int) -> Array:
    """The largest of the sizes at a node, its neighbours along each line, and all categories beside it."""
    if discrete:
        sizes = jnp.broadcast_to(jnp.max(sizes, axis=tuple(range(discrete)), keepdims=True), sizes.shape)
    for axis in range(discrete, sizes.ndim):
        wide = jnp.pad(sizes, [(1, 1) if k == axis else (0, 0) for k in range(sizes.ndim)])
        ahead, behind = (jax.lax.slice_in_dim(wide, k, k + sizes.shape[axis], axis=axis) for k in (2, 0))
        sizes = jnp.maximum(sizes, jnp.maximum(ahead, behind))
    return sizes


def reachable(tolerance: float) -> float:
    """The tolerance, or what rounding leaves of it."""
    return max(tolerance, 8 * float(jnp.finfo(jnp.result_type(float)).eps))


def check_stationary(setting: Setting, what: str) -> None:
    """Raises ModelError for a finite horizon."""
    if setting.model.clock.finite:
        raise ModelError(
            f"{what} looks for a stationary value, and the horizon is finite. Use bx.solvers.BackwardInduction."
        )
