"""Small nets: tanh layers beside a polynomial, on inputs that a box scales to [-1, 1].

    f(u) = W_n tanh(... tanh(W_1 u + b_1) ...) + b_n + S P(u)

P are Chebyshev polynomials, each over the square of its degree; of the first degree they are a straight line.

A policy should be a feasible share of what there is, and not a level: a level traps what a share does not. Weights are
one flat vector where they are trained, since least squares want columns.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from bellax.learning import polynomials


class Layers(NamedTuple):
    """Weights of a net.

    Attributes:
        weights: of each layer, shape (out, in).
        biases: of each layer, shape (out,).
        skip: coefficients of the polynomials, shape (out, f).
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    skip: Array


class Box(eqx.Module):
    """Where inputs come from, and how they are scaled.

    Attributes:
        lower, upper: corners, shape (d,).
    """

    lower: Float[Array, "d"]
    upper: Float[Array, "d"]

    def scaled(self, y: Float[Array, "d"]) -> Float[Array, "d"]:
        """In [-1, 1] inside the box."""
        return 2 * (y - self.lower) / (self.upper - self.lower) - 1

    def at(self, share: Float[Array, "d"]) -> Float[Array, "d"]:
        """The point at these shares of the sides."""
        return self.lower + share * (self.upper - self.lower)


class Shape(NamedTuple):
    """Of a net: how many inputs, the width of every hidden layer, how many outputs, and the highest degree of
    the polynomial along each input, one where there are none."""

    inputs: int
    hidden: tuple[int, ...]
    outputs: int = 1
    degrees: tuple[int, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.inputs, *self.hidden, self.outputs

    @property
    def powers(self) -> np.ndarray:
        return polynomials.powers(self.degrees or (1,) * self.inputs)


def initial(shape: Shape, seed: int) -> Layers:
    """Weights to begin with: uniform, of variance 2 / (in + out); no polynomial, and next to nothing in the end."""
    draws = np.random.default_rng(seed)
    pairs = list(zip(shape.sizes[:-1], shape.sizes[1:], strict=True))
    weights, biases = [], []
    for number, (into, out) in enumerate(pairs):
        reach = np.sqrt(6 / (into + out)) * (0.1 if number == len(pairs) - 1 else 1.0)
        weights.append(jnp.asarray(draws.uniform(-reach, reach, (out, into)), float))
        spread = 0.0 if number == len(pairs) - 1 else 1.0
        biases.append(jnp.asarray(spread * draws.uniform(-1.0, 1.0, out), float))
    return Layers(tuple(weights), tuple(biases), jnp.zeros((shape.outputs, len(shape.powers)), float))


def forward(shape: Shape, weights: Float[Array, "w"], u: Float[Array, "d"]) -> Float[Array, "o"]:
    """The outputs at scaled inputs."""
    own, powers = layers(shape, weights), shape.powers
    hidden = u
    for weight, bias in zip(own.weights[:-1], own.biases[:-1], strict=True):
        hidden = jnp.tanh(weight @ hidden + bias)
    beside = polynomials.features(u, powers) / np.sum(powers, axis=1, dtype=float) ** 2
    return own.weights[-1] @ hidden + own.biases[-1] + own.skip @ beside


def flat(shape: Shape, seed: int) -> Float[Array, "w"]:
    """`initial` as one vector."""
    return ravel_pytree(initial(shape, seed))[0]


def layers(shape: Shape, weights: Float[Array, "w"]) -> Layers:
    """What a vector of weights says."""
    sizes, at = shape.sizes, 0
    found: dict[str, list[Array]] = {"weights": [], "biases": []}
    counts: list[tuple[str, tuple[int, ...]]] = [
        ("weights", (o, i)) for i, o in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    counts += [("biases", (o,)) for o in sizes[1:]]
    for what, own in counts:
        size = int(np.prod(own))
        found[what].append(weights[at : at + size].reshape(own))
        at += size
    return Layers(tuple(found["weights"]), tuple(found["biases"]), weights[at:].reshape(sizes[-1], -1))


def share(x: Array, lower: Array | float, upper: Array | float) -> Array:
    """Any number, as one between bounds."""
    return lower + (upper - lower) * jax.nn.sigmoid(x)


def positive(x: Array, least: float = 0.0) -> Array:
    """Any number, as one above `least`."""
    return least + jax.nn.softplus(x)
