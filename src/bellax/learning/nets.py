"""Small nets: tanh layers beside a straight line or a polynomial, on inputs that a box scales to [-1, 1].

    f(u) = W_n tanh(... tanh(W_1 u + b_1) ...) + b_n + S P(u)

P(u) is u itself or, where a shape has degrees, Chebyshev polynomials, each over the square of its degree.

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
        skip: what inputs or polynomials count for, shape (out, f).
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
    the polynomial along each input; without one a straight line stands there."""

    inputs: int
    hidden: tuple[int, ...]
    outputs: int = 1
    degrees: tuple[int, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.inputs, *self.hidden, self.outputs

    @property
    def beside(self) -> int:
        """How many functions of the inputs stand beside the hidden layers: polynomials, or the inputs themselves."""
        return len(polynomials.powers(self.degrees)) if self.degrees else self.inputs

    @property
    def weights(self) -> int:
        """How many weights it has."""
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        return sum(into * out + out for into, out in pairs) + self.beside * self.outputs


def initial(shape: Shape, seed: int, gain: float = 1.0) -> Layers:
    """Weights to begin with: uniform, of variance 2 / (in + out); nothing beside them, and next to nothing in the end.

    Args:
        gain: times which those of hidden layers are larger. Least squares want functions that bend: of straight ones
            most are combinations of others.
    """
    draws = np.random.default_rng(seed)
    pairs = list(zip(shape.sizes[:-1], shape.sizes[1:], strict=True))
    weights, biases = [], []
    for number, (into, out) in enumerate(pairs):
        reach = np.sqrt(6 / (into + out)) * (0.1 if number == len(pairs) - 1 else gain)
        weights.append(jnp.asarray(draws.uniform(-reach, reach, (out, into)), float))
        spread = 0.0 if number == len(pairs) - 1 else 1.0
        biases.append(jnp.asarray(spread * draws.uniform(-1.0, 1.0, out), float))
    return Layers(tuple(weights), tuple(biases), jnp.zeros((shape.outputs, shape.beside), float))


def forward(layers: Layers, u: Float[Array, "d"], degrees: tuple[int, ...] = ()) -> Float[Array, "o"]:
    """The outputs at scaled inputs.

    Args:
        degrees: those of the net's `Shape`.
    """
    hidden = u
    for weight, bias in zip(layers.weights[:-1], layers.biases[:-1], strict=True):
        hidden = jnp.tanh(weight @ hidden + bias)
    return layers.weights[-1] @ hidden + layers.biases[-1] + layers.skip @ _beside(u, degrees)


def _beside(u: Float[Array, "d"], degrees: tuple[int, ...]) -> Float[Array, "f"]:
    """What stands beside the hidden layers: polynomials over the squares of their degrees, or the inputs themselves,
    of which there may be many."""
    if not degrees:
        return u
    powers = polynomials.powers(degrees)
    return polynomials.features(u, powers) / np.sum(powers, axis=1, dtype=float) ** 2


def flat(shape: Shape, seed: int, gain: float = 1.0) -> Float[Array, "w"]:
    """`initial` as one vector."""
    return ravel_pytree(initial(shape, seed, gain))[0]


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
