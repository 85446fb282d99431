"""Nets that see states as far apart as paths are: coordinates in which what is visited has no mean and unit spread.

    z = 0.4 M (u - c),    M cov(u) M' = 1,

for the first layer and the straight line alike. Where paths lead states go together (a country that is productive has
much capital), and a tenth of the box is all that a net with inputs scaled to the box would tell apart. Weights are
trained in these coordinates; what comes out is a net of the old ones, into which they are folded.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from bellax.learning import nets
from bellax.learning.nets import Layers, Shape

_SPREAD = 0.4  # standard deviation of an input: three of them are a little more than one
_RIDGE = 1e-4  # of the variance: directions in which nothing moves are not blown up


class Frame(NamedTuple):
    """Coordinates of the inputs of a net.

    Attributes:
        matrix, centre: what is seen is matrix (u - centre).
    """

    matrix: Float[Array, "i i"]
    centre: Float[Array, "i"]


def plain(size: int) -> Frame:
    """Inputs as they are."""
    return Frame(jnp.eye(size), jnp.zeros(size))


def around(seen: Float[Array, "n i"]) -> Frame:
    """Of inputs at visited states."""
    centre = jnp.mean(seen, axis=0)
    apart = seen - centre[None, :]
    covariance = apart.T @ apart / seen.shape[0]
    size = jnp.sqrt(jnp.diagonal(covariance))
    size = size + _RIDGE * jnp.max(size) + 1e-12
    factor = jnp.linalg.cholesky(covariance / jnp.outer(size, size) + _RIDGE * jnp.eye(seen.shape[1]))
    matrix = _SPREAD * jnp.linalg.inv(factor) / size[None, :]
    sound = jnp.all(jnp.isfinite(matrix)) & jnp.all(jnp.isfinite(centre))
    return Frame(jnp.where(sound, matrix, jnp.eye(seen.shape[1])), jnp.where(sound, centre, 0.0))


def folded(shape: Shape, weights: Float[Array, "w"], frame: Frame) -> Float[Array, "w"]:
    """Weights of the same function of inputs as they are."""
    found = nets.layers(shape, weights)
    first, line = found.weights[0] @ frame.matrix, found.skip @ frame.matrix
    biases = [found.biases[0] - first @ frame.centre, *found.biases[1:]]
    biases[-1] = biases[-1] - line @ frame.centre
    return ravel_pytree(Layers((first, *found.weights[1:]), tuple(biases), line))[0]
