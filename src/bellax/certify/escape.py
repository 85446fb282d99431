"""Escape: how probable it is that the optimal next state leaves the grid, where V is extrapolated, and how much of V
is a guess there.

Beyond the grid nothing is solved: V is continued from its last nodes. Where paths come back at once, these know how V
goes on, and what may be wrong is how it bends: the difference between the solver's extrapolation and the straight line
through the last tenth of the grid. Where paths stay outside, V and its slope at the end themselves rest on what is
beyond, and all of V's move past the end is a guess, which a V that agrees with itself does not show. Both are,
discounted, what T V may be off by, as a residual is. No bound follows: nothing that a grid holds can say what V is
beyond it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.leaving import coordinates, off_grid
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Outcome
from bellax.certify.stage import Stage
from bellax.numerics.interpolate import is_barrier

_DEPTH = 0.1  # of a line, through which the straight line is laid
_STEP = 0.02  # of the way between the bounds of an action


class Escape(NamedTuple):
    """What the action taken at one point leads to.

    Attributes:
        below, above: of each line, the probability that the next state lies before its first node, or after its last.
        discount: expected discount, whose largest value is the modulus of the Bellman operator.
        guess: how much of the discounted V of tomorrow is a guess, because it lies off the grid, if paths come back at
            once, and how much more if they do not; the most among the actions that are as good as the optimum for all
            that the solver's maximiser knows.
    """

    below: Float[Array, "d"]
    above: Float[Array, "d"]
    discount: Float[Array, ""]
    guess: Float[Array, "2"]


def escape(asked: Stage, point: Point, decision: Decision) -> Escape:
    """Escape probabilities, the expected discount after a decision, and what of V is a guess."""
    numerics, lines = asked.numerics, asked.mesh_next.lines

    def at(u: Array) -> Escape:
        actions, allowed = asked.objective.actions(point, Decision(decision.combination, u))
        weights, outcome = asked.fine.outcomes(point, actions)
        stays = weights * outcome.staying(asked.objective.regime)
        off = off_grid(numerics.plan, lines, stays, outcome.following)
        discount = jnp.sum(weights * outcome.discount)
        guess = jnp.zeros(2)
        if lines:
            known = allowed & asked.objective.period.feasible(point.values, actions)
            moves = jax.vmap(lambda node: _guess(asked, point, node))(outcome)
            counted = jnp.where(known & (stays > 0), stays * outcome.discount, 0.0)
            guess = jnp.sum(counted[:, None] * moves, axis=0)
        return Escape(off[:, 0], off[:, 1], discount, guess)

    near = numerics.maximiser.nearby(numerics.plan, decision.u)
    found = jax.vmap(at)(jnp.concatenate([near, _moved(asked, decision.u)]))
    own = jax.tree.map(lambda leaf: leaf[0], found)
    alike = jnp.max(found.guess[: near.shape[0]], axis=0)
    return own._replace(guess=jnp.where(jnp.any(alike > 0), alike, jnp.max(found.guess, axis=0)))


def _moved(asked: Stage, u: Float[Array, "m"]) -> Float[Array, "n m"]:
    """Actions a little away: an optimum may stop at the end of the grid for nothing but a kink of V there."""
    if asked.numerics.follows or asked.objective.absolute:
        return u[None][:0]  # a rule is what it is, and candidates that are values have others beside them
    step = _STEP * jnp.eye(u.shape[0])
    return jnp.clip(jnp.concatenate([u[None] - step, u[None] + step]), 0.0, 1.0)


def _guess(asked: Stage, point: Point, outcome: Outcome) -> Float[Array, "2"]:
    """How far V bends, and how far it moves, from the end of the grid to one next state; zero on the grid and where V
    is infinite."""
    plan, lines = asked.numerics.plan, asked.mesh_next.lines
    there = coordinates(plan, lines, outcome.following)
    first, last = (jnp.stack([line.coordinates[end] for line in lines]) for end in (0, -1))
    end = jnp.clip(there, first, last)
    off = jnp.abs(there - end)
    # inwards along the same way, until one line is a tenth of it deep
    deeper = jnp.min(jnp.where(off > 0, _DEPTH * (last - first) / jnp.where(off > 0, off, 1.0), jnp.inf))
    leaves = jnp.isfinite(deeper) & (deeper > 0)
    deeper = jnp.where(leaves, deeper, 1.0)
    inner = jnp.where(leaves, end - deeper * (there - end), end)
    places = jax.vmap(lambda y: _states(asked, y))(jnp.stack([there, end, inner]))

    def value(states: Mapping[str, Array]) -> Array:
        return asked.fine.continuation(point, {**outcome.following, **states}, outcome.weights)

    own, at_end, before = jax.vmap(value)(places)
    barred = is_barrier(own) | is_barrier(at_end) | is_barrier(before)
    own, line = own - at_end, (at_end - before) / deeper
    moved = jnp.stack([jnp.abs(own - line), jnp.abs(own) + jnp.abs(line)])
    return jnp.where(leaves & ~barred & jnp.all(jnp.isfinite(moved)), moved, 0.0)


def _states(asked: Stage, y: Float[Array, "d"]) -> dict[str, Array]:
    """Continuous states by name from coordinates along the lines."""
    numbers = jnp.stack([line.number(y[k]) for k, line in enumerate(asked.mesh_next.lines)])
    states, start = {}, 0
    for name, space in asked.numerics.plan.continuous.items():
        states[name] = numbers[start : start + space.size].reshape(space.shape)
        start += space.size
    return states
