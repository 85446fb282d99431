"""Agents that try what they do not know: parallel environments, with noise on what the actor would do.

Each draws its own periods from the model's laws. Some begin again anywhere in the box, with a small chance in every
period, and those who left it far behind, or are at the end of time, do at once.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.problem.draws import Laws
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.neural.inputs import Inputs
from bellax.solvers.neural.roles import WIDE, Roles, Scale, Weights

_EDGE = 0.01  # how near a share that is tried comes to a bound that none should reach


class Row(NamedTuple):
    """A period as it was: what is kept in the ring.

    Attributes:
        states, number: where, and in which period.
        outputs, place: what was done, as the actor would have said it, and of which combination.
        reward, discount, following: what it brought.
    """

    states: dict[str, Array]
    number: Array
    outputs: Array
    place: Array
    reward: Array
    discount: Array
    following: dict[str, Array]


class Travellers(NamedTuple):
    """Where the environments are: states and periods, one row each."""

    states: dict[str, Array]
    numbers: Array


class Exploring:
    """The environments of a model; made inside a compiled program.

    Args:
        restarts: the chance of a new start in every period.
    """

    def __init__(self, problem: Problem, arguments: Arguments, roles: Roles, seen: Inputs, restarts: float) -> None:
        self.problem, self.arguments, self.roles, self.seen = problem, arguments, roles, seen
        self.restarts = restarts
        self.edges = roles.edges(_EDGE)

    def anywhere(self, key: Array) -> tuple[dict[str, Array], Array]:
        """A state in the box, and a period."""
        return self.seen.state(jax.random.uniform(key, (self.roles.layout.columns,)))

    def begin(self, key: Array, count: int) -> Travellers:
        """Environments anywhere in the box."""
        return Travellers(*jax.vmap(self.anywhere)(jax.random.split(key, count)))

    def step(
        self, at: Travellers, weights: Weights, scale: Scale, noise: Array, key: Array
    ) -> tuple[Row, Travellers, Array]:
        """A period of every environment: what happened, where they are now, and whether all of it is a number.

        Args:
            noise: the standard deviation of what is added to shares, and the chance of another combination.
        """
        keys = jax.random.split(key, at.numbers.shape[0])
        one = lambda states, number, own: self.one(states, number, weights, scale, noise, own)  # noqa: E731
        rows, moved, numbers, fine = jax.vmap(one)(at.states, at.numbers, keys)
        return rows, Travellers(moved, numbers), jnp.all(fine)

    def one(
        self, states: Mapping[str, Array], number: Array, weights: Weights, scale: Scale, noise: Array, key: Array
    ) -> Any:
        """As `step`, of one environment."""
        tried, own, again, where = jax.random.split(key, 4)
        outputs, place = self.tried(states, number, weights, scale, noise, tried)
        laws = Laws(self.problem, self.arguments, number)
        acted = self.roles.head.act(laws.today, states, outputs, place)
        found = laws.advance(states, acted.actions, own)
        row = Row(dict(states), number, outputs, place, found.reward, found.discount, found.following)
        numbers = [found.reward, found.discount, *jax.tree.leaves(found.following)]
        fine = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in numbers]))
        following = number + 1 if self.problem.finite else number
        anew = ~fine | (jax.random.uniform(again) < self.restarts) | far(self.seen, found.following)
        if self.problem.finite:
            anew = anew | (following >= self.problem.clock.count)
        begun, first = self.anywhere(where)
        moved = jax.tree.map(lambda new, old: jnp.where(anew, new, old), begun, found.following)
        return row, moved, jnp.where(anew, first, following), fine

    def tried(
        self, states: Mapping[str, Array], number: Array, weights: Weights, scale: Scale, noise: Array, key: Array
    ) -> tuple[Array, Array]:
        """The actor's outputs with noise, and a combination, which with some chance is any that may be chosen."""
        roles, period = self.roles, self.problem.period(self.arguments, number)
        decided = roles.decide(weights, scale, self.seen, period, number, states)
        moved, other, any_of = jax.random.split(key, 3)
        place, outputs = decided.place, decided.outputs
        if roles.count > 1:
            chance = jnp.where(jnp.isfinite(decided.values), jax.random.gumbel(any_of, (roles.count,)), -jnp.inf)
            place = jnp.where(jax.random.uniform(other) < noise, jnp.argmax(chance).astype(jnp.int32), place)
            outputs = roles.candidates(weights.actor, roles.see(self.seen, number, states))[place]
        if roles.numbers:
            step = noise * jax.random.normal(moved, (roles.numbers,))
            shares = jnp.clip(roles.shares(outputs) + step, self.edges, 1 - self.edges)
            outputs = jnp.where(jnp.asarray(roles.bounded), roles.outputs_of(shares), outputs + 2 * step)
        return outputs, place


def far(seen: Inputs, states: Mapping[str, Array]) -> Array:
    """Whether a state is beyond what nets tell apart."""
    return jnp.any(jnp.abs(seen.box.scaled(seen.coordinates(states))) > WIDE)
