"""What a trained actor is worth, by least squares, where it leads, and what would be better: how it is judged.

    W_k(s) = E[r + d V(s')] with the actor's actions of k,    gain(s) = max over tried a of E[r + d V(s')](s, a) - V(s)

with the model's own expectations. What is left of the first says how far V is from what the policy is worth, and the
gain how far that is from the optimum: both are the loss of one period, and last for 1 / (1 - d) of them. The least
squares go in rounds, between which the combinations that V takes are chosen anew (Howard).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import training
from bellax.learning.levenberg import LevenbergMarquardt
from bellax.numerics import loops
from bellax.problem.averages import Averages
from bellax.problem.draws import Laws
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.neural.deciding import Decided, Trained
from bellax.solvers.neural.exploring import far
from bellax.solvers.neural.stakes import mean_of_finite

States = Mapping[str, Array]
_AWAY = 1e-6  # the chance of getting far away from which on an action counts as one that does


class Later(NamedTuple):
    """Tomorrow's states of a point, along a first axis.

    Attributes:
        u: what nets see there, shape (q, i).
        weights: their chances, discounted, shape (q,); zero after the last decision.
        allowed: which combinations may be chosen, shape (q, k).
        payoff: what stopping pays, shape (q,); -inf where the model has none.
    """

    u: Array
    weights: Array
    allowed: Array
    payoff: Array


class Looked(NamedTuple):
    """A point, and one combination of discrete actions there.

    Attributes:
        u, place: what nets see, and the combination.
        fits: whether it may be chosen.
        paid: expected, what the model says V is after the last decision among it.
        later: tomorrow.
        away: the chance of a state beyond what nets tell apart.
    """

    u: Array
    place: Array
    fits: Array
    paid: Array
    later: Later
    away: Array


class Following:
    """A trained policy on a model; made inside a compiled program.

    Args:
        found: the policy.
        averages: of a period, ready to be averaged over.
    """

    def __init__(
        self, problem: Problem, arguments: Arguments, found: Trained, averages: Callable[[Array], Averages]
    ) -> None:
        self.problem, self.arguments, self.found, self.averages = problem, arguments, found, averages
        self.roles, self.seen, self.scale = found.roles, found.inputs, found.scale

    def knowing(self, worth: Array) -> "Following":
        """The same with other weights of W."""
        found = replace(self.found, worth=worth)
        return Following(self.problem, self.arguments, found, self.averages)

    def after(self, number: Array) -> Array:
        """The next period."""
        return number + 1 if self.problem.finite else number

    def decided(self, number: Array, states: States) -> Decided:
        """What is done at one state."""
        return self.found.decided(self.problem.period(self.arguments, number), number, states)

    # -- what is seen of a period

    def look(self, number: Array, states: States, outputs: Float[Array, "m"], place: Array) -> Looked:
        """What is ahead where a combination is chosen, with these outputs of an actor."""
        period, following = self.problem.period(self.arguments, number), self.after(number)
        acted = self.roles.head.act(period, states, outputs, place)
        fits = period.feasible(states, acted.actions) & ~jnp.any(acted.lower > acted.upper)
        found = self.averages(number).branches(states, acted.actions)
        weights = found.weights * found.outcome.discount
        away = jnp.where(jax.vmap(lambda states: far(self.seen, states))(found.following), found.weights, 0.0)
        # what cannot happen may be worth no number
        paid = jnp.sum(jnp.where(found.weights == 0, 0.0, found.weights * found.outcome.reward))
        tomorrow = self.problem.period(self.arguments, following)
        if self.problem.finite:
            over = following >= self.problem.clock.count
            last = jnp.sum(jnp.where(weights == 0, 0.0, weights * jax.vmap(tomorrow.terminal)(found.following)))
            paid = paid + jnp.where(over, last, 0.0)
            weights, away = jnp.where(over, 0.0, weights), jnp.where(over, 0.0, away)

        def ahead(states: States, weight: Array) -> Later:
            u = self.roles.see(self.seen, following, states)
            allowed = self.roles.allowed(tomorrow, states, self.roles.candidates(self.found.actor, u))
            # what may not be done, or not happen, may lead to no number, and has no slope then either
            return Later(jnp.where(fits & (weight != 0), u, 0.0), weight, allowed, tomorrow.payoff(states))

        later = jax.vmap(ahead)(found.following, weights)
        return Looked(self.roles.see(self.seen, number, states), place, fits, paid, later, jnp.sum(away))

    def looked(self, number: Array, states: States) -> Looked:
        """As `look`, of every combination with the actor's outputs, along a first axis."""
        x = self.roles.candidates(self.found.actor, self.roles.see(self.seen, number, states))
        places = jnp.arange(self.roles.count, dtype=jnp.int32)
        return jax.vmap(lambda own, place: self.look(number, states, own, place))(x, places)

    # -- what it is worth

    def choices(self, later: Later) -> Array:
        """What is chosen tomorrow, shape (q,): the place of a combination, and after the last of them stopping."""
        values = jnp.where(later.allowed, jax.vmap(self.found.said)(later.u), -jnp.inf)
        return jnp.argmax(jnp.concatenate([values, later.payoff[:, None]], axis=1), axis=1)

    def right(self, row: Looked, choices: Array) -> Array:
        """E[r + d V(s')]."""
        values = jnp.concatenate([jax.vmap(self.found.said)(row.later.u), row.later.payoff[:, None]], axis=1)
        taken = jnp.take_along_axis(values, choices[:, None], axis=1)[:, 0]
        return row.paid + jnp.sum(jnp.where(row.later.weights == 0, 0.0, row.later.weights * taken))

    def ahead(self, row: Looked) -> Array:
        """As `right`, where the best is chosen tomorrow."""
        return self.right(row, self.choices(row.later))

    def fitted(self, rows: Looked, budgets: tuple[int, ...]) -> Array:
        """Weights of W, by Levenberg and Marquardt in rounds.

        Args:
            rows: combinations of points, along a first axis.
        """

        def off(worth: Array, row: tuple[Looked, Array]) -> Array:
            looked, choices = row
            own = self.knowing(worth)
            left = (own.found.said(looked.u)[looked.place] - own.right(looked, choices)) / self.scale.unit
            return jnp.where(looked.fits, left, 0.0)

        def refresh(worth: Array, frozen: Any) -> Array:
            return jax.vmap(self.knowing(worth).choices)(rows.later)

        method = LevenbergMarquardt(lambda frozen, number: [(off, (rows, frozen))], refresh, budgets)
        return training.run(method, method.init(self.found.worth, refresh(self.found.worth, None))).weights

    def taught(self, u: Array, values: Array, steps: int) -> Array:
        """Weights of W that come near given values, shape (n, k), at what is seen, shape (n, i); those that are no
        number do not count."""

        def off(worth: Array, row: tuple[Array, Array]) -> Array:
            left = (self.knowing(worth).found.said(row[0]) - row[1]) / self.scale.unit
            return jnp.where(jnp.isfinite(row[1]), left, 0.0)

        rows = (u, values)
        method = LevenbergMarquardt(lambda frozen, number: [(off, rows)], lambda worth, frozen: frozen, (steps,))
        return training.run(method, method.init(self.found.worth, None)).weights

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
        following = self.after(number)
        fine = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(moved)]
        stays = ~jnp.all(jnp.stack(fine)) | far(self.seen, moved)
        if self.problem.finite:
            stays = stays | (following >= self.problem.clock.count)
        found = {name: jnp.where(stays, states[name], moved[name]) for name in states}
        return found, jnp.where(stays, number, following)

    # -- what would be better

    def tried(self, number: Array, states: States, outputs: Float[Array, "k c m"]) -> tuple[Array, Array]:
        """The best of E[r + d V(s')] over actions that are tried, of every combination as many, and of stopping; and by
        how much that is better than their mean."""

        def one(place: Array, own: Array) -> Array:
            row = self.look(number, states, own, place)
            found = self.ahead(row)
            # what leads who knows where promises nothing
            return jnp.where(row.fits & (row.away <= _AWAY) & ~jnp.isnan(found), found, -jnp.inf)

        places = jnp.arange(self.roles.count, dtype=jnp.int32)
        found = jax.vmap(lambda place, rows: jax.vmap(lambda own: one(place, own))(rows))(places, outputs)
        every = jnp.append(jnp.ravel(found), self.problem.period(self.arguments, number).payoff(states))
        return jnp.max(every), jnp.max(every) - mean_of_finite(every)
