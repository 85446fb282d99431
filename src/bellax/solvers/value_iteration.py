"""Value iteration: V <- T V until the largest change of V is below a tolerance.

T contracts with modulus b: the error of V is at most b/(1-b) times the last change. At the fixed point derivatives come
from the implicit function theorem.

The policy of an endogenous grid is there long before V is, whose change is nearly the same everywhere by then. Where
the change shrinks by b each time and lies between d_0 and d_1, V is still to move by b/(1-b) times something between
them: V is moved by the middle of it at once (MacQueen 1966, Porteus 1971). What is moved is where T starts from, and no
answer.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
from jax import Array

from bellax.bellman.continuation import Value, lifted
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.sweep import step
from bellax.errors import ModelError, check_count, check_positive, named_options
from bellax.model.model import Model
from bellax.model.rule import Rule
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.common import BellmanSolver, faulty, latest, tallied, untallied
from bellax.solvers.driver import Iteration
from bellax.solvers.regimes import PreparedRegimes, prepared_regimes
from bellax.solvers.stationary import Pace, Rest, Stationary, at_rest, check_stationary, off_the_mark


@named_options
@dataclass(frozen=True, kw_only=True)
class ValueIteration(BellmanSolver):
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

    def prepare_regimes(self, model: Model, rule: Rule | None = None) -> PreparedRegimes:
        if model.clock.finite:
            raise ModelError(
                "ValueIteration looks for a stationary value, and the horizon is finite. Use "
                "bx.solvers.BackwardInduction."
            )
        return prepared_regimes(model, self, rule)

    def iteration(
        self, numerics: Discretisation, arguments: Arguments, final: Value | None, sane: Array
    ) -> Iteration[Any]:
        return _Steps(self, numerics, arguments, sane)


_MOVES = 30  # at most; then T alone, which contracts


class _Level(NamedTuple):
    """What is known of how far V is still to move everywhere.

    Attributes:
        change: the middle of the last change; NaN where V was moved meanwhile.
        moves: how often V was moved.
    """

    change: Array
    moves: Array

    def moved(self, new: Value, old: Array, on: Array) -> tuple[Value, "_Level"]:
        """V moved to where it is going, where that is known and `on` says so.

        Args:
            old: its levels before the step.
        """
        finite = jnp.isfinite(new.levels) & jnp.isfinite(old)
        change = jnp.where(finite, new.levels - jnp.where(finite, old, 0.0), 0.0)
        most = jnp.max(jnp.where(finite, change, -jnp.inf))
        least = jnp.min(jnp.where(finite, change, jnp.inf))
        middle = 0.5 * (most + least)
        modulus = middle / jnp.where(self.change != 0, self.change, jnp.inf)
        known = (modulus > 0) & (modulus < 0.9999) & (most - least < 0.5 * jnp.abs(middle)) & (self.moves < _MOVES) & on
        by = jnp.where(known, middle * modulus / (1 - jnp.where(known, modulus, 0.0)), 0.0)
        return lifted(new, by), _Level(jnp.where(known, jnp.nan, middle), self.moves + known.astype(jnp.int32))


class _State(NamedTuple):
    value: Value
    first: Array
    change: Array
    steps: Array
    tally: Array
    pace: Pace
    rest: Rest
    level: _Level


class _Steps(Stationary[_State]):
    def init(self) -> _State:
        first, plan = self.numerics.zero(self.fixed), self.numerics.plan
        none = jnp.zeros((), jnp.int32)
        far, level = jnp.asarray(jnp.inf), _Level(jnp.asarray(jnp.nan), none)
        return _State(first, first.levels, far, none, untallied(plan), off_the_mark(), at_rest(), level)

    def step(self, state: _State, number: Array) -> tuple[_State, None]:
        optima = self.optima(state.value)
        found = step(self.numerics.maximiser, self.problem(state.value), self.mesh, self.numerics.memory, optima)
        levels, steps = found.value.levels, state.steps + 1
        change, first = self.changed(found.value, state)
        rest = state.rest.after(change.beyond_rounding <= self.tolerance, change.largest, levels)
        pace = state.pace.after(change.largest, levels, steps)
        tally = latest(state.tally, tallied(found))
        value, level = found.value, state.level
        if self.numerics.maximiser.makes_pieces:
            value, level = level.moved(value, state.value.levels, change.largest > self.tolerance)
        return _State(value, first, change.largest, steps, tally, pace, rest, level), None

    def converged(self, state: _State) -> Array:
        return (state.change <= self.tolerance) | state.rest.pace.lost

    def done(self, state: _State) -> Array:
        over = (state.steps >= self.solver.max_steps) | state.pace.lost | ~self.sane
        return self.converged(state) | over | faulty(state.tally)
