"""What a rule is worth, by least squares, and what would be better: how a policy of nets is judged.

    V(s) = E[r + d V(s')] under the rule,    gain(s) = max over tried a of E[r + d V(s')](s, a) - E[r + d V(s')](s, rule)

with the model's own expectations. What is left of the first says how far V is from what the rule is worth, and the gain
how far that is from the optimum: both are the loss of one period, and last for 1 / (1 - d) of them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import nets, training
from bellax.learning.levenberg import LevenbergMarquardt
from bellax.numerics import loops
from bellax.problem.averages import Averages
from bellax.problem.draws import Laws
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.neural.deciding import Trained
from bellax.solvers.neural.exploring import far
from bellax.solvers.neural.roles import Decided

States = Mapping[str, Array]
_AWAY = 1e-6  # the chance of getting far away from which on an action counts as one that does


class Looked(NamedTuple):
    """A point of a policy evaluation: what nets see there and tomorrow, and what is paid.

    Attributes:
        here, later: inputs, shape (i,) and (q, i).
        reward: expected.
        weights: of tomorrow's states, discounted, shape (q,); zero where V is known.
        last: of these, what the model says V is: after the last decision, or of stopping.
        away: the chance of a state beyond what nets tell apart.
        stop: whether it is stopped here; reward is then what that pays, and all the rest zero.
    """

    here: Array
    later: Array
    reward: Array
    weights: Array
    last: Array
    away: Array
    stop: Array


class Following:
    """A trained policy on a model; made inside a compiled program.

    Args:
        found: the policy; its V is not asked.
        given, degree: see `Averages`.
    """

    def __init__(
        self, problem: Problem, arguments: Arguments, found: Trained, given: Mapping[str, Any], degree: int | None
    ) -> None:
        self.problem, self.arguments, self.found = problem, arguments, found
        self.given, self.degree = given, degree
        self.roles, self.seen, self.scale = found.roles, found.inputs, found.scale

    # -- what it is worth

    def decided(self, number: Array, states: States) -> Decided:
        """What is done at one state."""
        return self.found.decided(self.problem.period(self.arguments, number), number, states)

    def look(self, number: Array, states: States, actions: Mapping[str, Array], stop: Array) -> Looked:
        """What V of a state is made of, where something is done."""
        following = number + 1 if self.problem.finite else number
        averages = Averages(self.problem, self.arguments, number, self.given, self.degree)
        found = averages.branches(states, actions)
        see = lambda states: self.roles.see(self.seen, following, states)  # noqa: E731
        chances = jnp.where(stop, 0.0, found.weights)
        weights, last = chances * found.outcome.discount, jnp.zeros(())
        reward = jnp.sum(jnp.where(chances == 0, 0.0, chances * found.outcome.reward))
        away = chances * jax.vmap(lambda states: far(self.seen, states))(found.following)
        period = self.problem.period(self.arguments, following)
        if self.roles.plan.evaluate_stop is not None:
            stops = jax.vmap(lambda states: self.decided(following, states).stop)(found.following)
            if self.problem.finite:
                stops = stops & (following < self.problem.clock.count)
            paid = jax.vmap(period.payoff)(found.following)
            last = jnp.sum(jnp.where(stops, weights * jnp.where(stops, paid, 0.0), 0.0))
            weights, away = jnp.where(stops, 0.0, weights), jnp.where(stops, 0.0, away)
            payoff = self.problem.period(self.arguments, number).payoff(states)
            reward = jnp.where(stop, payoff, reward)
        if self.problem.finite:
            over = following >= self.problem.clock.count
            last = last + jnp.where(over, jnp.sum(weights * jax.vmap(period.terminal)(found.following)), 0.0)
            weights, away = jnp.where(over, 0.0, weights), jnp.where(over, 0.0, away)
        here = self.roles.see(self.seen, number, states)
        return Looked(here, jax.vmap(see)(found.following), reward, weights, last, jnp.sum(away), stop)

    def looked(self, number: Array, states: States) -> Looked:
        """As `look`, of what the policy does."""
        decided = self.decided(number, states)
        return self.look(number, states, decided.acted.actions, decided.stop)

    def value(self, weights: Array, u: Array) -> Array:
        """V of what is seen."""
        return self.scale.level + self.scale.unit * nets.forward(nets.layers(self.found.shape, weights), u)[0]

    def right(self, weights: Array, row: Looked) -> Array:
        """E[r + d V(s')]."""
        return row.reward + row.last + jnp.sum(row.weights * jax.vmap(lambda u: self.value(weights, u))(row.later))

    def off(self, weights: Array, row: Looked) -> Array:
        """What is left of V = E[r + d V(s')], in units of V; nothing where it is stopped."""
        return jnp.where(row.stop, 0.0, (self.value(weights, row.here) - self.right(weights, row)) / self.scale.unit)

    def fitted(self, start: Array, rows: Looked, steps: int) -> Array:
        """Weights of V, by Levenberg and Marquardt."""
        method = LevenbergMarquardt(lambda frozen, number: [(self.off, rows)], lambda weights, frozen: frozen, (steps,))
        return training.run(method, method.init(start, None)).weights

    # -- where it leads

    def led(self, states: Any, numbers: Array, key: Array, steps: int) -> tuple[dict[str, Array], Array]:
        """States after some drawn periods; who got far away, or to the end, is where he was before."""

        def one(states: States, number: Array, own: Array) -> tuple[dict[str, Array], Array]:
            laws = Laws(self.problem, self.arguments, number)
            found = laws.advance(states, self.decided(number, states).acted.actions, own)
            return self.kept(states, number, found.following)

        def step(state: Any) -> Any:
            states, numbers, key = state
            key, now = jax.random.split(key)
            states, numbers = jax.vmap(one)(states, numbers, jax.random.split(now, numbers.shape[0]))
            return states, numbers, key

        states, numbers, _ = loops.repeat(steps, step, (states, numbers, key))
        return states, numbers

    def kept(self, states: States, number: Array, moved: States) -> tuple[dict[str, Array], Array]:
        """Tomorrow's state, or today's where that is far away, no number, or after the last decision."""
        following = number + 1 if self.problem.finite else number
        fine = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(moved)]
        stays = ~jnp.all(jnp.stack(fine)) | far(self.seen, moved)
        if self.problem.finite:
            stays = stays | (following >= self.problem.clock.count)
        found = {name: jnp.where(stays, states[name], moved[name]) for name in states}
        return found, jnp.where(stays, number, following)

    # -- what would be better

    def q(self, weights: Array, number: Array, states: States, actions: Mapping[str, Array]) -> Array:
        """E[r + d V(s')] of any actions; minus infinity of those that may not be taken, or lead who knows where."""
        period = self.problem.period(self.arguments, number)
        row = self.look(number, states, actions, jnp.zeros((), bool))
        found = self.right(weights, row)
        known = period.feasible(states, actions) & (row.away <= _AWAY) & ~jnp.isnan(found)
        return jnp.where(known, found, -jnp.inf)

    def tried(self, weights: Array, number: Array, states: States, outputs: Float[Array, "k c m"]) -> Array:
        """The best of E[r + d V(s')] over actions that are tried, of every combination as many, and of stopping."""
        period = self.problem.period(self.arguments, number)

        def one(place: Array, own: Array) -> Array:
            acted = self.roles.head.act(period, states, own, place)
            fits = jnp.all(acted.lower <= acted.upper)
            return jnp.where(fits, self.q(weights, number, states, acted.actions), -jnp.inf)

        places = jnp.arange(self.roles.count, dtype=jnp.int32)
        found = jax.vmap(lambda place, rows: jax.vmap(lambda own: one(place, own))(rows))(places, outputs)
        best = jnp.max(found)
        return jnp.maximum(best, period.payoff(states)) if self.roles.plan.evaluate_stop is not None else best
