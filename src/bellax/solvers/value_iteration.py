"""Value iteration: V <- T V until the largest change of V is below a tolerance.

T contracts with modulus b: the error of V is at most b/(1-b) times the last change. At the fixed point derivatives come
from the implicit function theorem.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman import finite
from bellax.bellman.continuation import Value
from bellax.bellman.setting import Arguments, Setting
from bellax.bellman.sweep import TALLY, Step, step
from bellax.errors import ModelError, check_count, check_positive, named_options
from bellax.numerics import loops
from bellax.numerics.fixed_point import implicit
from bellax.solvers.common import Run, Solver, faulty, latest, outcome, stats, tallied, tell
from bellax.solvers.progress import Report


@named_options
@dataclass(frozen=True, kw_only=True)
class ValueIteration(Solver):
    """Iterates the Bellman operator of a stationary model from V = 0. Options: see `GridSolver`, and

    Args:
        tolerance: on the largest change of V, divided by the largest |V| where that exceeds one.
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

    def run(self, setting: Setting, arguments: Arguments, final: Value | None, report: Report | None) -> Run:
        fixed = jax.lax.stop_gradient(arguments)
        first = setting.zero(fixed) if final is None else jax.lax.stop_gradient(final)

        known = finite.plane(setting, fixed) if finite.applies(setting) else None

        def more(state: _State) -> _State:
            found = bellman(setting, fixed, state.value, known)
            change = changed(found.value.levels, state.value.levels)
            tell(report, state.steps + 1, change)
            return _State(found.value, change, state.steps + 1, latest(state.tally, tallied(found)))

        def done(state: _State) -> Array:
            return (state.change <= self.tolerance) | (state.steps >= self.max_steps) | faulty(state.tally)

        last = loops.until(
            done, more, more(_State(first, jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32), jnp.zeros(len(TALLY))))
        )
        rule = setting.detached()
        value = implicit(lambda a, v: bellman(rule, a, v).value, arguments, last.value)
        code = outcome(last.tally, last.change <= self.tolerance)
        return Run(value, code, {"steps": last.steps, "residual": last.change, **stats(last.tally)})


class _State(NamedTuple):
    value: Value
    change: Array
    steps: Array
    tally: Array


def bellman(setting: Setting, arguments: Arguments, value: Value, known: finite.Plane | None = None) -> Step:
    """One step of the stationary Bellman operator.

    Args:
        known: Q as a function of V, where it was worked out before.
    """
    environment = setting.environment(arguments, 0)
    mesh = setting.mesh(environment)
    objective = setting.objective(environment, mesh.processes, value, mesh)
    optima = None if known is None else known.optima(value.levels)
    return step(setting.maximiser, objective, mesh, setting.memory, optima)


def changed(new: Array, old: Array) -> Array:
    """The largest change of V, divided by the largest |V| where that exceeds one; infinite nodes that stay are none."""
    difference = jnp.where(new == old, 0.0, jnp.abs(new - old))
    size = jnp.max(jnp.where(jnp.isfinite(new), jnp.abs(new), 0.0))
    return jnp.max(difference) / jnp.maximum(1.0, size)


def check_stationary(setting: Setting, what: str) -> None:
    """Raises ModelError for a finite horizon."""
    if setting.model.clock.finite:
        raise ModelError(
            f"{what} looks for a stationary value, and the horizon is finite. Use bx.solvers.BackwardInduction."
        )
