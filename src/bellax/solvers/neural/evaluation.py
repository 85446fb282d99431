"""Policy evaluation by nets: V under given actions, as least squares on V = E[r + b V(s')].

Expectations are exact, by chains and quadrature, so that the square of what is left of the equation has no bias. What
is paid and where one is tomorrow does not move with V: it is looked at once for all steps of a fit.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import nets
from bellax.learning.nets import Shape
from bellax.solvers.neural.euler import Euler, States, Worth
from bellax.solvers.neural.floors import unless_nothing
from bellax.solvers.neural.inputs import Inputs
from bellax.solvers.neural.wiring import Whole, Wiring

Rule = Callable[[Array, States], dict[str, Array]]
"""Actions in a period and a state."""


class Looked(NamedTuple):
    """A point of a policy evaluation: what nets see there and tomorrow, and what is paid.

    Attributes:
        here, later: inputs, shape (i,) and (q, i).
        reward: expected.
        weights: of tomorrow's states, discounted, shape (q,).
        last: of these, what the model says V is after the last decision.
    """

    here: Array
    later: Array
    reward: Array
    weights: Array
    last: Array


class Scale(NamedTuple):
    """V is a net times the unit, beside the level."""

    level: Float[Array, ""]
    unit: Float[Array, ""]


class Evaluation:
    """The residuals of V under given actions; made inside a compiled program.

    Args:
        shape, wiring: of the net.
    """

    def __init__(self, euler: Euler, seen: Inputs, shape: Shape, scale: Scale, wiring: Wiring | None = None) -> None:
        self.euler, self.seen, self.shape, self.scale = euler, seen, shape, scale
        self.wiring = Whole() if wiring is None else wiring

    def look(self, states: States, number: Array, actions: Mapping[str, Array]) -> Looked:
        """What is paid, and where one is tomorrow, at one state."""
        euler, problem = self.euler, self.euler.problem
        found, following = euler.averages(number).branches(states, actions), euler.following(number)
        later = jax.vmap(lambda states: self.seen.of(following, states))(found.following)
        weights, last = found.weights * found.outcome.discount, jnp.zeros(())
        if problem.finite:
            period, over = problem.period(euler.arguments, following), following >= problem.clock.count
            last = jnp.where(over, jnp.sum(weights * jax.vmap(period.terminal)(found.following)), 0.0)
            weights = jnp.where(over, 0.0, weights)
        return Looked(self.seen.of(number, states), later, jnp.sum(found.weights * found.outcome.reward), weights, last)

    def value(self, weights: Array, u: Array) -> Float[Array, ""]:
        """V at inputs."""
        return self.scale.level + self.scale.unit * self.wiring.worth(nets.layers(self.shape, weights), u)

    def worth(self, weights: Array) -> Worth:
        """V in a period and a state."""
        return lambda number, states: self.value(weights, self.seen.of(number, states))

    def residual(self, weights: Array, row: Looked) -> Float[Array, ""]:
        """What is left of the equation at one point, in units of V."""
        later = jnp.sum(row.weights * jax.vmap(lambda u: self.value(weights, u))(row.later))
        return (self.value(weights, row.here) - row.reward - row.last - later) / self.scale.unit


def measure(euler: Euler, rule: Rule, states: Any, periods: Array) -> tuple[Scale, Float[Array, ""]]:
    """A level and a unit for V: of what is paid at points, for ever, and in the end; and for how many periods."""
    problem = euler.problem

    def paid(states: dict[str, Array], number: Array) -> tuple[Array, Array, Array]:
        found, period = euler.averages(number).branches(states, rule(number, states)), euler.averages(number).today
        ends = jnp.stack([period.payoff(states), period.terminal(states)])
        return jnp.sum(found.weights * found.outcome.reward), jnp.sum(found.weights * found.outcome.discount), ends

    reward, discount, ends = jax.vmap(paid)(states, periods)
    left = 1 / jnp.maximum(1 - jnp.mean(discount), 1 / max(problem.clock.count, 1) if problem.finite else 1e-3)
    spread = jnp.std(reward) + 1e-3 * jnp.abs(jnp.mean(reward))
    unit = jnp.maximum(spread * jnp.sqrt(left), _apart(ends))
    return Scale(jnp.mean(reward) * left, unless_nothing(unit)), left


def _apart(ends: Float[Array, "n e"]) -> Float[Array, ""]:
    """The spread of what is paid where something ends."""
    known = jnp.isfinite(ends)
    centre = jnp.mean(ends, axis=0, where=known, keepdims=True)
    return jnp.sqrt(jnp.max(jnp.mean(jnp.where(known, ends - centre, 0.0) ** 2, axis=0)))
