"""Backward induction: V_T = terminal, V_t(s) = max over a of E[r + b V_{t+1}(s')] for t = T-1, ..., 0.

One compiled scan over the periods. It is differentiable in both modes, through the recursion.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.sweep import step
from bellax.errors import ModelError, named_options
from bellax.model.model import Model
from bellax.model.rule import Rule
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.common import BellmanSolver, outcome, stats, tallied
from bellax.solvers.driver import Iteration, Run
from bellax.solvers.regimes import PreparedRegimes, prepared_regimes


@named_options
@dataclass(frozen=True, kw_only=True)
class BackwardInduction(BellmanSolver):
    """Solves a finite horizon from its end. Options: see `GridSolver`.

    Raises:
        ModelError: for an infinite horizon.
    """

    def check(self, problem: Problem) -> None:
        if not problem.finite:
            raise ModelError(
                "BackwardInduction starts from the last period, and the horizon is infinite. Use "
                "bx.solvers.PolicyIteration or ValueIteration, or solve with horizon=T."
            )

    def prepare_regimes(self, model: Model, rule: Rule | None = None) -> PreparedRegimes:
        if not model.clock.finite:
            raise ModelError(
                "BackwardInduction starts from the last period, and the horizon is infinite. Use "
                "bx.solvers.ValueIteration for several regimes without end, or solve with horizon=T."
            )
        return prepared_regimes(model, self, rule)

    def iteration(
        self, numerics: Discretisation, arguments: Arguments, final: Value | None, sane: Array
    ) -> Iteration[Any]:
        return _Backward(numerics, arguments, numerics.terminal(arguments) if final is None else final)


class _Backward(Iteration[Value]):
    """The state is V of the period after; V and the tally of every period are kept."""

    def __init__(self, numerics: Discretisation, arguments: Arguments, last: Value) -> None:
        self.numerics, self.arguments, self.last = numerics, arguments, last
        self.length = numerics.problem.clock.count

    def init(self) -> Value:
        return self.last

    def step(self, state: Value, number: Array) -> tuple[Value, tuple[Value, Array]]:
        numerics = self.numerics
        objective, mesh = numerics.one_period(self.arguments, state, number)
        found = step(numerics.maximiser, objective, mesh, numerics.memory)
        return found.value, (found.value, tallied(found))

    def told(self, state: Value, number: Array) -> tuple[Any, Any]:
        return self.numerics.problem.clock.count - number, jnp.nan

    def result(self, state: Value, kept: Any) -> Run:
        before, tallies = kept
        values = jax.tree.map(lambda each, end: jnp.concatenate([each, end[None]]), before, self.last)
        total = jnp.sum(tallies, axis=0)
        numbers = {"periods": jnp.asarray(self.length), **stats(total, self.numerics.plan)}
        return Run(values, outcome(total, jnp.ones((), bool)), numbers)
