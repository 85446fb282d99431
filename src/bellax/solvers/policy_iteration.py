"""Policy iteration (Howard 1960): improve the policy, then evaluate it, until V stops changing.

Evaluation solves V = r + b P V for the policy at hand. V and its slopes at the nodes, X, obey X = c + L X with L linear
in X, which `jax.linearize` gives with everything that does not depend on V computed once: cells, weights, rewards. It
is solved exactly, or approached by a number of steps X <- c + L X (modified policy iteration, Puterman & Shin 1978).
The slopes are total derivatives along the frozen policy, with its own slope from the implicit function theorem;
envelope slopes of a policy that is not yet optimal would feed back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Bool, Float

from bellax.bellman import finite
from bellax.bellman.continuation import Value
from bellax.bellman.setting import Arguments, Setting
from bellax.bellman.sweep import TALLY, Frozen, follow, improve
from bellax.errors import check_count, check_positive, named_options
from bellax.numerics import loops
from bellax.numerics.fixed_point import implicit, solve_once
from bellax.numerics.interpolate import barrier, is_barrier
from bellax.solvers.common import Run, Solver, faulty, latest, outcome, stats, tallied, tell
from bellax.solvers.progress import Report
from bellax.solvers.value_iteration import bellman, changed, check_stationary, reachable

_PATIENCE = 10  # improvements that may be slow before they count as going round in circles
_CONTRACTIONS = 5000
_HORIZON = 1000  # periods within which a policy's discounting has to fall below one where it depends on the state


@named_options
@dataclass(frozen=True, kw_only=True)
class PolicyIteration(Solver):
    """Howard's policy iteration for a stationary model. Options: see `GridSolver`, and

    Args:
        evaluation_steps: steps of evaluation after each improvement; None solves the linear system exactly.
        tolerance: on the largest change of V by an improvement relative to the size of V; at least 8 times the
            rounding of the precision.
        max_steps: improvements at most. Where they stop making progress, Bellman steps without evaluation follow, which
            always contract; up to 5,000 of them.
    Raises:
        ModelError: for a finite horizon.
    """

    evaluation_steps: int | None = None
    tolerance: float = 1e-10
    max_steps: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self.tolerance, "PolicyIteration: tolerance")
        check_count(self.max_steps, "PolicyIteration: max_steps")
        if self.evaluation_steps is not None:
            check_count(self.evaluation_steps, "PolicyIteration: evaluation_steps")

    def check(self, setting: Setting) -> None:
        check_stationary(setting, "PolicyIteration")

    def run(self, setting: Setting, arguments: Arguments, final: Value | None, report: Report | None) -> Run:
        fixed = jax.lax.stop_gradient(arguments)
        environment = setting.environment(fixed, 0)
        mesh = setting.mesh(environment)
        first = setting.zero(fixed)

        known = finite.plane(setting, fixed) if finite.applies(setting) else None

        def more(state: _State) -> _State:
            objective = setting.objective(environment, mesh.processes, state.value, mesh)
            optima = None if known is None else known.optima(state.value.levels)
            found, frozen = improve(setting.maximiser, objective, mesh, setting.memory, optima)
            scale = jnp.where(state.steps == 0, found.value.levels, state.first)
            change = changed(found.value.levels, state.value.levels, scale)
            tell(report, state.steps + 1, change)
            # A policy that goes round in circles, at a kink that no cubic holds, is left to the contraction.
            stalled = state.stalled | ((state.steps >= _PATIENCE) & (change > 0.5 * state.change))
            plain = (change <= reachable(self.tolerance)) | stalled
            value = lax.cond(plain, lambda: found.value, lambda: self._evaluate(setting, fixed, frozen, found.value))
            return _State(value, scale, change, state.steps + 1, stalled, latest(state.tally, tallied(found)))

        def done(state: _State) -> Array:
            most = jnp.where(state.stalled, self.max_steps + _CONTRACTIONS, self.max_steps)
            return (state.change <= reachable(self.tolerance)) | (state.steps >= most) | faulty(state.tally)

        if known is not None:
            first = known.first(first)
        none = jnp.zeros((), bool)
        start = _State(first, first.levels, jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32), none, jnp.zeros(len(TALLY)))
        last = loops.until(done, more, start)
        rule = setting.detached()
        value = implicit(lambda a, v: bellman(rule, a, v).value, arguments, last.value)
        code = outcome(last.tally, last.change <= reachable(self.tolerance))
        return Run(value, code, {"steps": last.steps, "residual": last.change, **stats(last.tally)})

    def _evaluate(self, setting: Setting, arguments: Arguments, frozen: Frozen, improved: Value) -> Value:
        """V of following a policy for ever; `improved` is the Bellman step that found it."""
        environment = setting.environment(arguments, 0)
        mesh = setting.mesh(environment)

        def operator(value: Value) -> Value:
            objective = setting.objective(environment, mesh.processes, value, mesh)
            return follow(frozen, objective, mesh, setting.memory)

        # a node at minus infinity stays there, as the barrier that stands for it
        lost = improved.levels == -jnp.inf
        low = barrier(improved.levels.dtype)
        start = _held(improved, lost, low)
        # at V itself: which slopes are limited depends on V, and to that extent L does, too
        reached, moved = jax.linearize(operator, start)
        constant = _held(jax.tree.map(jnp.subtract, reached, moved(start)), lost, low)
        linear = lambda x: _held(moved(x), lost, 0.0)  # noqa: E731
        ones = Value(jnp.ones_like(start.levels), jax.tree.map(jnp.zeros_like, start.slopes))
        weights = linear(ones)
        found = self._followed(constant, linear, start, jnp.mean(weights.levels, where=~lost))
        # A policy on the way may lead where V is minus infinity, or be worth nothing finite at all. What the Bellman
        # step gave stands there, so that V is never worse than that of plain value iteration.
        good = _shrinks(linear, weights) & jnp.isfinite(found.levels) & ~is_barrier(found.levels) & ~lost
        pick = lambda new, old: jnp.where(good, new, old)  # noqa: E731
        return Value(pick(found.levels, improved.levels), jax.tree.map(pick, found.slopes, improved.slopes))

    def _followed(
        self, constant: Value, linear: Callable[[Value], Value], start: Value, discount: Float[Array, ""]
    ) -> Value:
        if self.evaluation_steps is None:
            return _solved(linear, constant)
        advance = lambda x: jax.tree.map(jnp.add, constant, linear(x))  # noqa: E731
        before = loops.repeat(self.evaluation_steps - 1, advance, start)
        return _levelled(before, advance(before), discount)


class _State(NamedTuple):
    value: Value
    first: Array
    change: Array
    steps: Array
    stalled: Array
    tally: Array


def _held(value: Value, where: Array, level: float) -> Value:
    """V with some nodes at a given level, flat there."""
    return Value(jnp.where(where, level, value.levels), tuple(jnp.where(where, 0.0, slope) for slope in value.slopes))


def _shrinks(linear: Callable[[Value], Value], weights: Value) -> Bool[Array, ""]:
    """Whether what a policy discounts its future by falls below one after some periods.

    If it does not, V = c + L V may have a solution that is not the value of the policy.

    Args:
        weights: L 1, the discounted weights of tomorrow at every node.
    """

    def done(state: tuple[Value, Array]) -> Array:
        largest = jnp.max(jnp.abs(state[0].levels))
        return (largest < 1) | jnp.isnan(largest) | (state[1] >= _HORIZON)

    last, _ = loops.until(done, lambda s: (linear(s[0]), s[1] + 1), (weights, jnp.zeros((), jnp.int32)))
    return jnp.max(jnp.abs(last.levels)) < 1


def _levelled(before: Value, after: Value, discount: Float[Array, ""]) -> Value:
    """V after a step of evaluation, moved by the constant that the remaining steps would add.

    A change of V that is the same everywhere shrinks by the discount only, while differences die out sooner: the
    constant c with c (1 - b) equal to the middle of the last change is most of what is missing (MacQueen 1966).
    """
    change = after.levels - before.levels
    finite = jnp.isfinite(change) & ~is_barrier(after.levels)
    high, low = jnp.max(jnp.where(finite, change, -jnp.inf)), jnp.min(jnp.where(finite, change, jnp.inf))
    constant = discount * 0.5 * (high + low) / (1 - discount)
    return Value(after.levels + jnp.where(jnp.isfinite(constant), constant, 0.0), after.slopes)


def _solved(linear: Callable[[Value], Value], constant: Value) -> Value:
    """X with X = constant + linear(X)."""
    flat, restore = ravel_pytree(constant)
    return restore(solve_once(lambda x: x - ravel_pytree(linear(restore(x)))[0], flat))
