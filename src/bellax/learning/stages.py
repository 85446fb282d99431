"""Nets whose last layer, and straight line, are of each period their own.

    f_t(u) = W_t tanh(... tanh(W_1 u + b_1) ...) + b_t + S_t u

What is seen of a state is common to all periods, and what is made of it is not: where a policy moves with time, a net
that has the period as one more input would have to learn products of it with all others.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from bellax.learning import nets
from bellax.learning.nets import Layers, Shape


class Stages(NamedTuple):
    """Of such a net: its shape in one period, and how many periods there are."""

    shape: Shape
    periods: int = 1

    @property
    def weights(self) -> int:
        """How many weights it has."""
        return self._common + self.periods * self._own

    @property
    def _wide(self) -> int:
        """How many numbers the last layer sees."""
        return self.shape.sizes[-2]

    @property
    def _own(self) -> int:
        """How many weights each period has."""
        return self.shape.outputs * (self._wide + 1 + self.shape.inputs)

    @property
    def _common(self) -> int:
        return self.shape.weights - self._own

    def flat(self, seed: int) -> Float[Array, "w"]:
        """Weights to begin with, one vector: those of `nets.initial`, the same in every period."""
        return self.alike(nets.flat(self.shape, seed))

    def alike(self, weights: Float[Array, "v"]) -> Float[Array, "w"]:
        """Weights of a net without periods, as those of one that is the same in every period."""
        first = nets.layers(self.shape, weights)
        last = ravel_pytree((first.weights[-1], first.biases[-1], first.skip))[0]
        hidden = [jnp.ravel(leaf) for leaf in (*first.weights[:-1], *first.biases[:-1])]
        return jnp.concatenate([*hidden, jnp.tile(last, self.periods)])

    def at(self, weights: Float[Array, "w"], number: Array | int) -> Layers:
        """The net of a period; of the only one where there is but one."""
        sizes, at = self.shape.sizes, 0
        found: list[Array] = []
        hidden = list(zip(sizes[1:-1], sizes[:-2], strict=True))
        for own in (*hidden, *((out,) for out, _ in hidden)):
            size = own[0] * own[1] if len(own) == 2 else own[0]
            found.append(weights[at : at + size].reshape(own))
            at += size
        every = weights[at:].reshape(self.periods, self._own)
        last = every[0] if self.periods == 1 else every[jnp.clip(jnp.asarray(number), 0, self.periods - 1)]
        out, wide = self.shape.outputs, self._wide
        weight, bias, skip = jnp.split(last, [out * wide, out * wide + out])
        layers = len(hidden)
        return Layers(
            (*found[:layers], weight.reshape(out, wide)), (*found[layers:], bias), skip.reshape(out, self.shape.inputs)
        )
