"""Backward induction: V_T = terminal, V_t(s) = max over a of E[r + b V_{t+1}(s')] for t = T-1, ..., 0.

One compiled scan over the periods. It is differentiable in both modes, through the recursion.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.setting import Arguments, Setting
from bellax.bellman.sweep import step
from bellax.errors import ModelError, named_options
from bellax.numerics import loops
from bellax.solvers.common import Run, Solver, outcome, stats, tallied, tell
from bellax.solvers.progress import Report


@named_options
@dataclass(frozen=True, kw_only=True)
class BackwardInduction(Solver):
    """Solves a finite horizon from its end. Options: see `GridSolver`.

    Raises:
        ModelError: for an infinite horizon.
    """

    def check(self, setting: Setting) -> None:
        if not setting.model.clock.finite:
            raise ModelError(
                "BackwardInduction starts from the last period, and the horizon is infinite. Use "
                "bx.solvers.PolicyIteration or ValueIteration, or solve with horizon=T."
            )

    def run(
        self, setting: Setting, arguments: Arguments, final: Value | None, report: Report | None, sane: Array
    ) -> Run:
        count = setting.model.clock.count
        last = setting.terminal(arguments, count) if final is None else final

        def backward(value: Value, period: Array) -> tuple[Value, tuple[Value, Array]]:
            today = setting.environment(arguments, period)
            mesh = setting.mesh(today)
            tomorrow = setting.mesh(setting.environment(arguments, period + 1))
            objective = setting.objective(today, mesh.processes, value, tomorrow)
            found = step(setting.maximiser, objective, mesh, setting.memory)
            tell(report, count - period, jnp.nan)
            return found.value, (found.value, tallied(found))

        _, (values, tallies) = loops.backward(backward, last, count)
        values = jax.tree.map(lambda all_but_last, end: jnp.concatenate([all_but_last, end[None]]), values, last)
        total = jnp.sum(tallies, axis=0)
        return Run(
            values, outcome(total, jnp.ones((), bool)), {"periods": jnp.asarray(count), **stats(total, setting.plan)}
        )
