"""What a rule is worth, by least squares, and what would be better: how a policy of nets is judged.

    V(s) = E[r + d V(s')] under the rule,    gain(s) = max over tried a of E[r + d V(s')](s, a) - E[r + d V(s')](s, rule)

with the model's own expectations. What is left of the first says how far V is from what the rule is worth, and the gain
how far that is from the optimum: both are the loss of one period, and last for 1 / (1 - d) of them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import nets, training
from bellax.learning.levenberg import LevenbergMarquardt
from bellax.learning.nets import Shape
from bellax.problem.averages import Averages, Branches
from bellax.problem.draws import Laws
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.neural.exploring import far
from bellax.solvers.neural.inputs import Inputs
from bellax.solvers.neural.roles import Roles, Scale

States = Mapping[str, Array]


class Done(NamedTuple):
    """What a rule does at one state: the actions, and whether to stop."""

    actions: dict[str, Array]
    stop: Array


Rule = Callable[[Array, States], Done]


class Looked(NamedTuple):
    """A point of a policy evaluation: what nets see there and tomorrow, and what is paid.

    Attributes:
        here, later: inputs, shape (i,) and (q, i).
        reward: expected.
        weights: of tomorrow's states, discounted, shape (q,).
        last: of these, what the model says V is after the last decision.
        away: the chance of a state beyond what nets tell apart.
    """

    here: Array
    later: Array
    reward: Array
    weights: Array
    last: Array
    away: Array


class Following:
    """A rule on a model; made inside a compiled program.

    Args:
        shape: of the net that V is.
        given, degree: see `Averages`.
    """

    def __init__(
        self,
        problem: Problem,
        arguments: Arguments,
        roles: Roles,
        seen: Inputs,
        scale: Scale,
        shape: Shape,
        given: Mapping[str, Any],
        degree: int | None,
    ) -> None:
        self.problem, self.arguments, self.roles, self.seen = problem, arguments, roles, seen
        self.scale, self.shape, self.given, self.degree = scale, shape, given, degree

    # -- what it is worth

    def branches(self, number: Array, states: States, actions: Mapping[str, Array]) -> Branches:
        """Everything that may happen."""
        return Averages(self.problem, self.arguments, number, self.given, self.degree).branches(states, actions)

    def look(self, number: Array, states: States, done: Done) -> Looked:
        """What V of a state is made of."""
        following = number + 1 if self.problem.finite else number
        found = self.branches(number, states, done.actions)
        see = lambda states: self.roles.see(self.seen, following, states)  # noqa: E731
        weights, last = found.weights * found.outcome.discount, jnp.zeros(())
        reward = jnp.sum(jnp.where(found.weights == 0, 0.0, found.weights * found.outcome.reward))
        away = jnp.sum(found.weights * jax.vmap(lambda states: far(self.seen, states))(found.following))
        if self.problem.finite:
            period, over = self.problem.period(self.arguments, following), following >= self.problem.clock.count
            last = jnp.where(over, jnp.sum(weights * jax.vmap(period.terminal)(found.following)), 0.0)
            weights, away = jnp.where(over, 0.0, weights), jnp.where(over, 0.0, away)
        if self.roles.plan.evaluate_stop is not None:
            payoff = self.problem.period(self.arguments, number).payoff(states)
            reward, last = jnp.where(done.stop, payoff, reward), jnp.where(done.stop, 0.0, last)
            weights, away = jnp.where(done.stop, 0.0, weights), jnp.where(done.stop, 0.0, away)
        here = self.roles.see(self.seen, number, states)
        return Looked(here, jax.vmap(see)(found.following), reward, weights, last, away)

    def value(self, weights: Array, u: Array) -> Array:
        """V of what is seen."""
        return self.scale.level + self.scale.unit * nets.forward(nets.layers(self.shape, weights), u)[0]

    def right(self, weights: Array, row: Looked) -> Array:
        """E[r + d V(s')]."""
        return row.reward + row.last + jnp.sum(row.weights * jax.vmap(lambda u: self.value(weights, u))(row.later))

    def fitted(self, start: Array, rows: Looked, steps: int) -> Array:
        """Weights of V under the rule, by Levenberg and Marquardt."""
        off = lambda weights, row: (self.value(weights, row.here) - self.right(weights, row)) / self.scale.unit  # noqa: E731
        method = LevenbergMarquardt(lambda frozen, number: [(off, rows)], lambda weights, frozen: frozen, (steps,))
        return training.run(method, method.init(start, None)).weights

    # -- where it leads

    def led(self, rule: Rule, states: Any, numbers: Array, key: Array, steps: int) -> tuple[dict[str, Array], Array]:
        """States after some drawn periods under the rule; who got far away, or to the end, is where he was before."""

        def one(states: States, number: Array, own: Array) -> tuple[dict[str, Array], Array]:
            found = Laws(self.problem, self.arguments, number).advance(states, rule(number, states).actions, own)
            return self.kept(states, number, found.following)

        for _ in range(steps):
            key, now = jax.random.split(key)
            states, numbers = jax.vmap(one)(states, numbers, jax.random.split(now, numbers.shape[0]))
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
        row = self.look(number, states, Done(dict(actions), jnp.zeros((), bool)))
        found = self.right(weights, row)
        known = period.feasible(states, actions) & (row.away <= 1e-6) & ~jnp.isnan(found)
        return jnp.where(known, found, -jnp.inf)

    def tried(self, weights: Array, number: Array, states: States, outputs: Float[Array, "k c m"]) -> Array:
        """The best of E[r + d V(s')] over actions that are tried, of every combination as many."""
        period = self.problem.period(self.arguments, number)

        def one(place: Array, own: Array) -> Array:
            acted = self.roles.head.act(period, states, own, place)
            fits = jnp.all(acted.lower <= acted.upper)
            return jnp.where(fits, self.q(weights, number, states, acted.actions), -jnp.inf)

        places = jnp.arange(self.roles.count, dtype=jnp.int32)
        found = jax.vmap(lambda place, rows: jax.vmap(lambda own: one(place, own))(rows))(places, outputs)
        best = jnp.max(found)
        return jnp.maximum(best, period.payoff(states)) if self.roles.plan.evaluate_stop is not None else best
