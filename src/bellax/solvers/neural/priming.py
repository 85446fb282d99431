"""Critics that know a value before a training begins: Q of one period and of that value after it, by descent.

    Q(s, a) = r + d V(s'),    V of a net that was fitted to what is known.

Periods are drawn from anywhere in the box, by the actor with noise. Without this an actor that begins with a good
policy is led away from it by critics that know nothing.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.learning import nets
from bellax.learning.adam import Adam, Decay
from bellax.learning.nets import Shape
from bellax.solvers.neural.agent import CLIP, Training
from bellax.solvers.neural.roles import Weights

_STEPS = 2000
_LEFT = 0.05  # of the rate of learning in the end


class Priming(Training):
    """A training whose critics are told what V is."""

    def knowing(self, shape: Shape, value: Array) -> "Priming":
        """Itself, with the net of V, in units of the scale."""
        self.shape, self.value = shape, value
        return self

    def later(
        self, copies: Weights, number: Array, states: Mapping[str, Array], key: Array | None, depth: int
    ) -> Array:
        layers = nets.layers(self.shape, self.value)
        value = self.scale.level + self.scale.unit * nets.forward(layers, self.roles.see(self.seen, number, states))[0]
        if not self.problem.finite:
            return value
        period = self.problem.period(self.arguments, number)
        return jnp.where(number >= self.problem.clock.count, period.terminal(states), value)

    def critics(self, weights: Weights, seed: int) -> Array:
        """Critics to begin with.

        Args:
            weights: of the actor, which stays as it is, and of critics that know nothing.
        """
        recipe = self.recipe
        descent = Adam(Decay(recipe.rates[1], _LEFT, _STEPS), CLIP)

        def step(carry, key):  # type: ignore[no-untyped-def]
            critics, moments = carry
            begun, exploring, future = jax.random.split(key, 3)
            at = self.exploring.begin(begun, recipe.batch)
            rows, _, _ = self.exploring.step(at, weights, self.scale, jnp.asarray(recipe.noise[0]), exploring)
            keys = jax.random.split(future, recipe.batch)
            targets = jax.vmap(lambda row, own: self.target(weights, row, own))(rows, keys)
            targets = (targets - self.scale.level) / self.scale.unit
            slope = jax.grad(self.critics_loss)(critics, rows, targets)
            return descent.step(critics, slope, moments), None

        keys = jax.random.split(jax.random.key(seed), _STEPS)
        (critics, _), _ = lax.scan(step, (weights.critics, descent.init(weights.critics)), keys)
        return jnp.where(jnp.all(jnp.isfinite(critics)), critics, weights.critics)
