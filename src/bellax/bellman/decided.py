"""What is decided at one state, and what it is worth; V is differentiated by the envelope theorem.

Under taste shocks V is the log-sum of what every combination of discrete actions is worth, each with its own best
continuous actions; `Optimum.decision` is then the most probable one.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.bellman.constrained import Edges, guard_inputs, size_of
from bellax.bellman.implicit import held_by, moving, value_of
from bellax.bellman.maximisers.maximum import Maximiser, Optimum, guarded, maximum
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.sides import mean, sides, spoiled
from bellax.bellman.taste import chosen
from bellax.numerics.interpolate import is_barrier
from bellax.numerics.scalar import take, where

T = TypeVar("T")


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
    found = jax.tree.map(lax.stop_gradient, maximum(maximiser, fixed_objective, fixed_point))
    return differentiable(maximiser, objective, point, found)


def differentiable(maximiser: Maximiser, objective: Objective, point: Point, optimum: Optimum) -> Optimum:
    """What was found at a state, whose u moves by the implicit function theorem where `maximiser.smooth`."""
    if not maximiser.smooth:
        return optimum

    def at(one: Decision, value: Array) -> tuple[Array, Edges | None]:
        place = objective.period.place(one.combination)
        u = moving(one.u, objective, point, place)
        known, here = guard_inputs(_sound(value), (objective, point))
        return u, held_by(u, known, here, place)

    combination = optimum.decision.combination
    if objective.plan.taste_shocks is None:
        assert optimum.value is not None
        u, held = at(optimum.decision, optimum.value)
        return optimum._replace(decision=Decision(combination, u), edges=held)
    shares, held = jax.vmap(at)(combinations_of(optimum), optimum.choice_values)
    u = take(shares, objective.period.place(combination))
    return optimum._replace(decision=Decision(combination, u), shares=shares, edges=held)


def _sound(value: Array) -> Array:
    return jnp.isfinite(value) & ~is_barrier(value)


def decided(objective: Objective, point: Point, optimum: Optimum) -> Array:
    """V of following a decision at one state, or of stopping where that is better; minus infinity if infeasible."""
    if optimum.value is None:  # a rule that does not see taste shocks gets their mean, which is zero
        value = guarded(objective, point, optimum.decision)
    elif objective.plan.taste_shocks is not None:
        value = chosen(objective.period, worth(objective, point, optimum)).value
    else:
        value = envelope(optimum.value, objective, point, optimum.decision, optimum.edges)
    return or_stopped(value, objective, point, optimum)


def worth(objective: Objective, point: Point, optimum: Optimum) -> Float[Array, "k"]:
    """Q of every combination of discrete actions that was sought, each with its own best continuous actions."""
    limited, several = optimum.edges is not None, objective.plan.taste_shocks is not None

    def known(value: Array, one: Decision, held: Edges | None) -> Array:
        if limited and not several:  # those of the decision alone are known
            whole, here = guard_inputs(_sound(value), (objective, point))
            held = held_by(one.u, whole, here, objective.period.place(one.combination))
        return envelope(value, objective, point, one, held)

    return jax.vmap(known)(optimum.choice_values, combinations_of(optimum), optimum.edges if several else None)


def combinations_of(optimum: Optimum) -> Decision:
    """The decision of every combination that was sought, along the first axis."""
    return Decision(jnp.arange(optimum.shares.shape[0], dtype=jnp.int32), optimum.shares)


def followed(objective: Objective, point: Point, optimum: Optimum) -> tuple[Decision, Float[Array, "c"]]:
    """The decisions that may be taken, along a first axis, and the probability of each: one without taste shocks."""
    if optimum.value is None or objective.plan.taste_shocks is None:
        return jax.tree.map(lambda leaf: leaf[None], optimum.decision), jnp.ones(1)
    return combinations_of(optimum), chosen(objective.period, worth(objective, point, optimum)).probabilities


def each(function: Callable[[Decision], T], decisions: Decision) -> T:
    """`function` of every decision along the first axis; of a single one it costs no more than that."""
    if decisions.u.shape[0] == 1:
        only = function(jax.tree.map(lambda leaf: leaf[0], decisions))
        return jax.tree.map(lambda leaf: leaf[None], only)
    return jax.vmap(function)(decisions)


def averaged(function: Callable[[Decision], T], objective: Objective, point: Point, optimum: Optimum) -> T:
    """What `function` says of the decision that is taken, on average over taste shocks where there are any."""
    if optimum.value is None or objective.plan.taste_shocks is None:
        return function(optimum.decision)
    decisions, probabilities = followed(objective, point, optimum)

    def mean(leaf: Array) -> Array:
        weights = probabilities.reshape(-1, *(1,) * (leaf.ndim - 1))
        return jnp.sum(jnp.where(weights != 0, weights * leaf, 0.0), axis=0)

    return jax.tree.map(mean, jax.vmap(function)(decisions))


def or_stopped(value: Array, objective: Objective, point: Point, optimum: Optimum) -> Array:
    """V from Q of a decision: that, what stopping pays where it is better, or minus infinity if infeasible."""
    value = where(optimum.feasible, value, -jnp.inf)
    if objective.plan.evaluate_stop is not None:
        payoff = objective.period.payoff(point.values)
        better = (payoff >= value) | jnp.isnan(payoff)
        value = where(better if optimum.stop is None else optimum.stop, payoff, value)
    return where(is_barrier(value), -jnp.inf, value)


@eqx.filter_custom_jvp
def envelope(value: Array, objective: Objective, point: Point, decision: Decision, held: Edges | None) -> Array:
    """Q of a decision, known as `value`; its derivative is that of the objective at the decision, or along the edges
    that hold it."""
    return value


@envelope.def_jvp
def _envelope_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    value, objective, point, decision, held = primals
    t_objective, t_point = tangents[1:3]

    sound = _sound(value)
    known = value_of(held, decision.combination, judged=True)
    size = None if held is None else size_of(held, objective, point)
    at_kinks = sides(known, (objective, point), decision.u, size=size) if objective.sided else None

    def q(*inputs: Any) -> Array:
        objective, point, u = guard_inputs(sound, inputs)
        return known((objective, point), u) if at_kinks is None else mean(at_kinks, known, (objective, point), u)

    # V moves as if the optimum stayed, also where nobody knows how that moves
    reached, moved = eqx.filter_jvp(q, (objective, point, decision.u), (t_objective, t_point, None))
    # The primal through `envelope` again, so that a second derivative passes here once more. jax may lose the rule on
    # the way (forward over reverse, inside a scan): then it differentiates what goes in, which moves as Q does.
    differentiable = lax.stop_gradient(value) + where(sound, reached - lax.stop_gradient(reached), 0.0)
    moved = jnp.zeros_like(value) if moved is None else where(sound, moved, 0.0)
    if at_kinks is not None:  # where an optimum moves with a jump nobody knows by how much
        moved = moved + spoiled(sound & at_kinks.broken, t_objective, t_point)
    if held is not None:
        moved = moved + spoiled(sound & held.lost, t_objective, t_point)
    return envelope(differentiable, objective, point, decision, held), moved


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
