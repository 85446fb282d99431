"""What is decided at one state, and what it is worth; V is differentiated by the envelope theorem."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.bellman.implicit import guard_inputs, moving
from bellax.bellman.maximisers.maximum import Maximiser, Optimum, guarded, maximum
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.numerics.interpolate import is_barrier
from bellax.numerics.scalar import where


def unchosen(objective: Objective, point: Point) -> Optimum:
    """The optimum where there is nothing to choose: Q is evaluated once, with its derivative."""
    nothing = Decision(jnp.zeros((), jnp.int32), jnp.zeros(0))
    one = jnp.ones(())
    return Optimum(None, nothing, one[None], nothing.u[None], objective.period.feasible(point.values, {}), one)


def optimum_at(maximiser: Maximiser, objective: Objective, point: Point) -> Optimum:
    """The optimum at one state; its u is differentiable by the implicit function theorem where `maximiser.smooth`.

    Where a maximiser is `given` what is done, that is returned as it is.
    """
    given = maximiser.given(objective, point)
    if given is not None:
        return given
    fixed_objective, fixed_point = jax.tree.map(lax.stop_gradient, (objective, point))
    optimum = jax.tree.map(lax.stop_gradient, maximum(maximiser, fixed_objective, fixed_point))
    if not maximiser.smooth:
        return optimum
    combination, u = optimum.decision
    return optimum._replace(decision=Decision(combination, moving(u, objective, point, combination)))


def decided(objective: Objective, point: Point, optimum: Optimum) -> Array:
    """V of following a decision at one state, or of stopping where that is better; minus infinity if infeasible."""
    if optimum.value is None:
        value = guarded(objective, point, optimum.decision)
    else:
        value = envelope(optimum.value, objective, point, optimum.decision)
    return or_stopped(value, objective, point, optimum)


def or_stopped(value: Array, objective: Objective, point: Point, optimum: Optimum) -> Array:
    """V from Q of a decision: that, what stopping pays where it is better, or minus infinity if infeasible."""
    value = where(optimum.feasible, value, -jnp.inf)
    if objective.plan.evaluate_stop is not None:
        payoff = objective.period.payoff(point.values)
        better = (payoff >= value) | jnp.isnan(payoff)
        value = where(better if optimum.stop is None else optimum.stop, payoff, value)
    return where(is_barrier(value), -jnp.inf, value)


@eqx.filter_custom_jvp
def envelope(value: Array, objective: Objective, point: Point, decision: Decision) -> Array:
    """Q of a decision, known as `value`; its derivative is that of the objective at the decision."""
    return value


@envelope.def_jvp
def _envelope_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    value, objective, point, decision = primals
    _, t_objective, t_point, t_decision = tangents

    sound = jnp.isfinite(value) & ~is_barrier(value)

    def q(*inputs: Any) -> Array:
        # chosen already: a constraint must not judge rounding
        return Objective.judged(*guard_inputs(sound, inputs))[0]

    reached, moved = eqx.filter_jvp(q, (objective, point, decision), (t_objective, t_point, t_decision))
    # The primal through `envelope` again, so that a second derivative passes here once more. jax may lose the rule on
    # the way (forward over reverse, inside a scan): then it differentiates what goes in, which moves as Q does.
    differentiable = lax.stop_gradient(value) + where(sound, reached - lax.stop_gradient(reached), 0.0)
    moved = jnp.zeros_like(value) if moved is None else where(sound, moved, 0.0)
    return envelope(differentiable, objective, point, decision), moved


def stopping(objective: Objective, point: Point, optimum: Optimum, level: Array | None = None) -> Array:
    """Whether stopping is optimal; it wins ties.

    Args:
        level: V, which is what stopping pays where it is optimal; needed where Q is not known.
    """
    if objective.plan.evaluate_stop is None:
        return jnp.zeros((), bool)
    if optimum.stop is not None:
        return optimum.stop
    going_on = level if optimum.value is None else optimum.value
    assert going_on is not None
    return objective.period.payoff(point.values) >= going_on


def value_and_slopes(
    value: Callable[[Array], Array], coordinates: Array, slopes: bool
) -> tuple[Array, tuple[Array, ...]]:
    """A function of coordinates and its partial derivatives at one node; slopes are zero where it is infinite."""
    if not slopes or coordinates.shape[0] == 0:
        return value(coordinates), ()
    # one forward pass a line: the values are common, and a few passes compile faster than a batch of them
    passes = [jax.jvp(value, (coordinates,), (direction,)) for direction in jnp.eye(coordinates.shape[0])]
    level = passes[0][0]
    return level, tuple(where(jnp.isfinite(level), steep, 0.0) for _, steep in passes)
