"""Actor and critic by gradients: the square of V's equation with a target net, and the actor up along Q.

    critic:  least E[(V(s) - E[r + b V'(s')])^2],    V' the target: V' <- V' + tau (V - V') after every step,
    actor:   most E[Q(s, pi(s))],    Q with the critic held.

States of every step are drawn anew in the box; expectations within a period are exact, so that one square is enough.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.learning.adam import Adam, Decay
from bellax.numerics.scalar import take
from bellax.problem.period import over_combinations
from bellax.solvers.neural.bellman import ActorCritic, Bellman


class Descending(NamedTuple):
    """A running training.

    Attributes:
        actor, critic, target: weights.
        moments: of the steps of the actor and of the critic.
        key: of draws, as data.
        step: how many there were.
        loss: the square of V's equation in the last one, in units of V.
    """

    actor: Float[Array, "w"]
    critic: Float[Array, "v"]
    target: Float[Array, "v"]
    moments: Any
    key: Array
    step: Array
    loss: Array


class Descent(ActorCritic):
    """The training; made inside a compiled program.

    Args:
        recipe: a `Gradients`.
    """

    def __init__(self, bellman: Bellman, recipe: Any, seed: int) -> None:
        self.bellman, self.recipe, self.seed = bellman, recipe, seed
        self.adam = Adam(Decay(recipe.rate, recipe.decay, recipe.steps), recipe.clip)

    def begin(self, actor: Array, critic: Array) -> Descending:
        key = jax.random.key_data(jax.random.key(self.seed))
        moments = (self.adam.init(actor), self.adam.init(critic))
        return Descending(actor, critic, critic, moments, key, jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf))

    def weights(self, state: Descending) -> tuple[Array, Array]:
        return state.actor, state.critic

    def done(self, state: Descending) -> Array:
        return (state.step >= self.recipe.steps) | jnp.isnan(state.loss)

    def told(self, state: Descending) -> tuple[Array, Array]:
        return state.step, jnp.sqrt(state.loss)

    def step(self, state: Descending) -> Descending:
        recipe, seen = self.recipe, self.bellman.seen
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        shares = jax.random.uniform(key, (recipe.batch, seen.layout.columns))
        states, periods = jax.vmap(seen.state)(shares)
        loss, slope = jax.value_and_grad(self._square)(state.critic, state.actor, state.target, states, periods)
        of_actor, of_critic = state.moments
        critic, of_critic = self.adam.step(state.critic, slope, of_critic)
        actor = state.actor
        if self.bellman.head.size:
            up = jax.grad(self._worth)(actor, critic, states, periods)
            actor, of_actor = self.adam.step(actor, jax.tree.map(jnp.negative, up), of_actor)
        target = state.target + recipe.averaged * (critic - state.target)
        return Descending(actor, critic, target, (of_actor, of_critic), state.key, state.step + 1, loss)

    def _square(self, critic: Array, actor: Array, target: Array, states: Any, periods: Array) -> Array:
        """The mean square of V's equation, with the target's V tomorrow."""
        bellman = self.bellman

        def one(states: Any, number: Array) -> Array:
            found = bellman.greedy(number, states, bellman.outputs(actor)(number, states), target)
            aim = bellman.worth(found.row, target)
            own = bellman.evaluation.worth(critic)(number, states)
            return (own - lax.stop_gradient(aim)) / bellman.evaluation.scale.unit

        return jnp.mean(jax.vmap(one)(states, periods) ** 2)

    def _worth(self, actor: Array, critic: Array, states: Any, periods: Array) -> Array:
        """The mean Q of the actor's actions, of all combinations that are feasible, in units of V."""
        bellman = self.bellman

        def one(states: Any, number: Array) -> Array:
            outputs = bellman.outputs(actor)(number, states)

            def of(combination: Any) -> Array:
                x = take(outputs, bellman.place(number, combination))
                feasible = bellman.option(number, states, combination, lax.stop_gradient(x)).feasible
                # no derivative comes from where there may be no number
                option = bellman.option(number, states, combination, jnp.where(feasible, x, 0.0))
                return jnp.where(feasible, bellman.worth(option.row, critic), 0.0)

            return jnp.sum(over_combinations(bellman.plan, of)) / bellman.evaluation.scale.unit

        return jnp.mean(jax.vmap(one)(states, periods))
