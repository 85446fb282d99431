"""The training of an actor by critics: what agents have seen is kept, and equations are asked to hold on it.

    critics:  Q(s, a) = r + d V(s'),    V of slowly following copies of actor and critics,
    actor:    max over a of Q(s, a) / spread(Q).

The right side is what was drawn, or with the model's own expectation E[r + d V(s')]; and with `depth` k > 1 the periods
from the second to the k-th are drawn anew with what the copies do, and V stands at their end.

Source: Lillicrap et al. (2016), "Continuous control with deep reinforcement learning", ICLR; Feinberg et al. (2018),
"Model-based value expansion for efficient model-free reinforcement learning", for k > 1. Departs from them in: noise
without memory; several environments at once; an actor that is averaged over its steps.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.learning import replay
from bellax.learning.adam import Adam, Decay
from bellax.learning.replay import Replay
from bellax.learning.training import Method
from bellax.problem.averages import Averages
from bellax.problem.draws import Laws
from bellax.problem.period import as_float
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.neural.exploring import Exploring, Row, Travellers
from bellax.solvers.neural.inputs import Inputs
from bellax.solvers.neural.roles import Roles, Scale, Weights

CLIP = 10.0  # largest norm of a gradient
_FOLLOWED = 0.01  # how fast the loss that is told follows that of the steps


class Recipe(NamedTuple):
    """How it is trained.

    Attributes:
        steps: of the training.
        batch: rows of a step.
        soft: by which part copies follow in every step.
        rates: of learning, of the actor and of the critics, in the beginning.
        decay: what is left of them in the end.
        noise: in the beginning and in the end.
        wait: steps before the actor learns.
        averaged: steps over which the actor is averaged.
        restarts: see `Exploring`.
        depth, expected, through: how many periods of the model stand in an equation, whether the first of them is an
            expectation, and whether the actor is improved through it.
    """

    steps: int
    batch: int
    soft: float
    rates: tuple[float, float]
    decay: float
    noise: tuple[float, float]
    wait: int
    averaged: int
    restarts: float
    depth: int = 1
    expected: bool = False
    through: bool = False


class Running(NamedTuple):
    """A training.

    Attributes:
        own, copies: actor and critics, and what follows them.
        actor: the averaged one.
        moments: of the descents of both.
        replay: what was seen.
        at: where the environments are.
        key: of the next step, as numbers.
        step, loss: how many were done, and the mean square of what is left of the critics' equation.
        drawn, diverged: the first step in which the model, or a weight, was no number; -1.
    """

    own: Weights
    copies: Weights
    actor: Array
    moments: tuple[Any, Any]
    replay: Replay
    at: Travellers
    key: Array
    step: Array
    loss: Array
    drawn: Array
    diverged: Array


class Training(Method):
    """Made inside a compiled program.

    Args:
        averages: of a period, ready to be averaged over.
    """

    def __init__(
        self,
        problem: Problem,
        arguments: Arguments,
        roles: Roles,
        seen: Inputs,
        scale: Scale,
        recipe: Recipe,
        averages: Callable[[Array], Averages],
    ) -> None:
        self.problem, self.arguments, self.roles, self.seen = problem, arguments, roles, seen
        self.scale, self.recipe, self.averages = scale, recipe, averages
        self.exploring = Exploring(problem, arguments, roles, seen, recipe.restarts)
        self.descents = [Adam(Decay(rate, recipe.decay, recipe.steps), CLIP) for rate in recipe.rates]

    def begin(self, weights: Weights, environments: int, capacity: int, seed: int) -> Running:
        """The first state."""
        first, key = jax.random.split(jax.random.key(seed))
        at = self.exploring.begin(first, environments)
        noise = jnp.zeros(())
        row = jax.eval_shape(lambda: self.exploring.step(at, weights, self.scale, noise, first)[0])
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), row)
        moments = tuple(descent.init(own) for descent, own in zip(self.descents, weights, strict=True))
        zero, none = jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32)
        ring = replay.empty(one, capacity)
        loss = jnp.ones(())
        return Running(
            weights, weights, weights.actor, moments, ring, at, jax.random.key_data(key), zero, loss, none, none
        )

    # -- what `training` asks

    def done(self, state: Running) -> Array:
        return (state.step >= self.recipe.steps) | (state.drawn >= 0) | (state.diverged >= 0)

    def told(self, state: Running) -> tuple[Array, Array]:
        return state.step, state.loss

    def step(self, state: Running) -> Running:
        recipe, scale = self.recipe, self.scale
        key, exploring, drawing, future = jax.random.split(jax.random.wrap_key_data(state.key), 4)
        done = as_float(state.step) / recipe.steps
        noise = recipe.noise[0] * (recipe.noise[1] / recipe.noise[0]) ** done
        rows, at, fine = self.exploring.step(state.at, state.own, scale, noise, exploring)
        ring = replay.pushed(state.replay, rows)
        batch = replay.drawn(ring, drawing, recipe.batch)
        own, moments, loss = self.learnt(state, batch, future)
        soft = lambda old, new, part: old + part * (new - old)  # noqa: E731
        copies = jax.tree.map(lambda old, new: soft(old, new, recipe.soft), state.copies, own)
        # the mean of all steps at first, so that the weights to begin with are forgotten
        part = 1 / as_float(jnp.clip(state.step - recipe.wait + 1, 1, recipe.averaged))
        told = soft(state.loss, loss, jnp.where(state.step == 0, 1.0, _FOLLOWED))
        sane = jnp.isfinite(loss) & jnp.all(jnp.isfinite(own.actor)) & jnp.all(jnp.isfinite(own.critics))
        first = lambda known, wrong: jnp.where((known < 0) & wrong, state.step, known)  # noqa: E731
        return Running(
            own,
            copies,
            soft(state.actor, own.actor, part),
            moments,
            ring,
            at,
            jax.random.key_data(key),
            state.step + 1,
            told,
            first(state.drawn, ~fine),
            first(state.diverged, fine & ~sane),
        )

    # -- learning

    def learnt(self, state: Running, batch: Row, key: Array) -> tuple[Weights, tuple[Any, Any], Array]:
        """Weights and moments after a step of both descents, and the critics' loss."""
        keys = jax.random.split(key, self.recipe.batch)
        targets = jax.vmap(lambda row, own: self.target(state.copies, row, own))(batch, keys)
        targets = lax.stop_gradient((targets - self.scale.level) / self.scale.unit)
        loss, slope = jax.value_and_grad(self.critics_loss)(state.own.critics, batch, targets)
        critics, second = self.descents[1].step(state.own.critics, slope, state.moments[1])
        if not self.roles.numbers:
            return Weights(state.own.actor, critics), (state.moments[0], second), loss
        slope = jax.grad(self.actor_loss)(state.own.actor, Weights(state.own.actor, critics), batch)
        actor, first = self.descents[0].step(state.own.actor, slope, state.moments[0])
        learns = state.step >= self.recipe.wait
        kept = lambda new, old: jax.tree.map(lambda a, b: jnp.where(learns, a, b), new, old)  # noqa: E731
        actor, first = kept(actor, state.own.actor), kept(first, state.moments[0])
        return Weights(actor, critics), (first, second), loss

    def critics_loss(self, critics: Array, batch: Row, targets: Array) -> Array:
        """The mean square of what is left of the critics' equation."""

        def one(row: Row, target: Array) -> Array:
            x = jnp.broadcast_to(row.outputs, (self.roles.count, self.roles.numbers))
            said = self.roles.q(critics, self.roles.see(self.seen, row.number, row.states), x)
            return jnp.sum((said[:, row.place] - target) ** 2)

        return jnp.mean(jax.vmap(one)(batch, targets))

    def actor_loss(self, actor: Array, weights: Weights, batch: Row) -> Array:
        """Minus Q of what the actor does, of every combination that may be chosen, in units of its spread."""
        roles = self.roles

        def one(row: Row) -> tuple[Array, Array]:
            u = roles.see(self.seen, row.number, row.states)
            x = roles.candidates(actor, u)
            excess = jnp.sum(jax.vmap(roles.beyond)(x) ** 2)
            if self.recipe.through:
                return self._through(lax.stop_gradient(weights), row, x), excess
            return self.scale.unit * jnp.mean(roles.q(weights.critics, u, x), axis=0), excess

        values, excess = jax.vmap(one)(batch)
        values = jnp.where(jnp.isfinite(values), values, 0.0)
        spread = lax.stop_gradient(jnp.std(values, axis=0)) + 1e-6 * self.scale.unit
        return jnp.mean(excess) - jnp.sum(jnp.mean(values, axis=0) / spread)

    def _through(self, weights: Weights, row: Row, x: Array) -> Array:
        """E[r + d V(s')] of every combination with these outputs, shape (k,); zero where it may not be chosen."""
        roles = self.roles
        allowed = roles.allowed(self.problem.period(self.arguments, row.number), row.states, lax.stop_gradient(x))
        x = jnp.where(allowed[:, None], x, 0.0)  # no derivative comes from where there may be no number
        places = jnp.arange(roles.count, dtype=jnp.int32)
        found = jax.vmap(lambda own, k: self.expected(weights, row, own, k, None))(x, places)
        return jnp.where(allowed, found, 0.0)

    # -- what is aimed at

    def target(self, copies: Weights, row: Row, key: Array) -> Array:
        """What Q of a row should be."""
        if self.recipe.expected:
            return self.expected(copies, row, row.outputs, row.place, key)
        later = self.later(copies, self.following(row.number), row.following, key, self.recipe.depth - 1)
        return row.reward + row.discount * later

    def expected(self, copies: Weights, row: Row, outputs: Array, place: Array, key: Array | None) -> Array:
        """E[r + d V(s')] by the nodes of the model, of one combination with these outputs."""
        averages = self.averages(row.number)
        acted = self.roles.head.act(averages.today, row.states, outputs, place)
        found = averages.branches(row.states, acted.actions, cut=self.recipe.through)
        following = self.following(row.number)
        depth = 0 if key is None else self.recipe.depth - 1
        later = jax.vmap(lambda states: self.later(copies, following, states, key, depth))(found.following)
        # what cannot happen may be worth no number
        worth = jnp.where(found.weights == 0, 0.0, found.outcome.reward + found.outcome.discount * later)
        return jnp.sum(found.weights * worth)

    def later(
        self, copies: Weights, number: Array, states: Mapping[str, Array], key: Array | None, depth: int
    ) -> Array:
        """V at a state, after some drawn periods in which the copies decide."""
        period = self.problem.period(self.arguments, number)
        if not depth or key is None:
            value = self.roles.worth(copies, self.scale, self.seen, period, number, states)
        else:
            now, then = jax.random.split(key)
            decided = self.roles.decide(copies, self.scale, self.seen, period, number, states)
            acted = self.roles.head.act(period, states, decided.outputs, decided.place)
            found = Laws(self.problem, self.arguments, number).advance(states, acted.actions, now)
            value = self.later(copies, self.following(number), found.following, then, depth - 1)
            value = found.reward + found.discount * value
            if self.roles.plan.evaluate_stop is not None:
                value = jnp.where(decided.stop, period.payoff(states), value)
        if not self.problem.finite:
            return value
        return jnp.where(number >= self.problem.clock.count, period.terminal(states), value)

    def following(self, number: Array) -> Array:
        return number + 1 if self.problem.finite else number
