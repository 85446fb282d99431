"""A finite chain for the vector autoregression

    z' = mean + A (z - mean) + e,     e ~ N(0, S),     S = L L'.

In x = L^-1 (z - mean) the law is x' = B x + u with B = L^-1 A L and independent standard normal u, so that given x the
components of x' are independent. The nodes are a tensor of equally spaced ones along each component, as far as its
stationary deviation, and the transition from a node is the product over components of the probabilities that are
nearest to their densities and have their means and variances (entropy.py). In z the conditional means and covariances
are then those of the process. They are not where a component is expected beyond its nodes, in a corner of the tensor,
from which it goes to the last one; nor where its innovation is small beside the distance of its nodes, between two of
which its variance is larger. So a law whose eigenvalues are far apart or complex needs more nodes.

Source: Farmer and Toda (2017), Quantitative Economics 8, 651-683, section 3.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bellax.numerics.covariance import factor
from bellax.numerics.entropy import matched


@dataclass(frozen=True)
class Corners:
    """Stands where a vector needs no nodes: two of them, which say how far it is expected to go, of any size.

    Attributes:
        span: in stationary deviations.
    """

    span: float = 3.0

    def of(self, rho: Float[Array, "n n"], covariance: Float[Array, "n n"], mean: Float[Array, "n"]) -> Array:
        """The lower and the upper corner, shape (2, n)."""
        deviations = jnp.sqrt(jnp.diagonal(stationary_covariance(rho, covariance)))
        return jnp.stack([mean - self.span * deviations, mean + self.span * deviations])


class Tensor(NamedTuple):
    """A chain on a tensor of nodes, the last component fastest.

    Attributes:
        values: what z is at the nodes, shape (s, n).
        transition: rows today, columns tomorrow, shape (s, s).
        factor: L, by which x becomes z.
        lines: the nodes of each component of x.
    """

    values: Float[Array, "s n"]
    transition: Float[Array, "s s"]
    factor: Float[Array, "n n"]
    lines: tuple[Float[Array, "_"], ...]


def farmer_toda(
    rho: Float[Array, "n n"],
    covariance: Float[Array, "n n"],
    mean: Float[Array, "n"],
    counts: Sequence[int],
    spans: Sequence[float],
    moments: Sequence[int],
) -> Tensor:
    """The chain of a vector autoregression.

    Args:
        rho: A; its powers vanish.
        covariance: of the innovations, positive definite.
        mean: unconditional.
        counts, spans, moments: of each component, the number of nodes, how far they reach in its stationary deviations,
            and the conditional moments that are met.
    """
    lower = jnp.asarray(factor(covariance))
    law = jax.scipy.linalg.solve_triangular(lower, rho @ lower, lower=True)
    deviations = jnp.sqrt(jnp.diagonal(stationary_covariance(law, jnp.eye(len(mean), dtype=law.dtype))))
    lines = tuple(
        span * deviations[k] * jnp.asarray(np.linspace(-1.0, 1.0, count), law.dtype)
        for k, (count, span) in enumerate(zip(counts, spans, strict=True))
    )
    x = jnp.stack([axis.ravel() for axis in jnp.meshgrid(*lines, indexing="ij")], axis=1)
    expected = x @ law.T
    one = jnp.ones((), law.dtype)
    rows = [
        jax.vmap(functools.partial(_row, line, one, count))(expected[:, k])
        for k, (line, count) in enumerate(zip(lines, moments, strict=True))
    ]
    together = functools.reduce(lambda a, b: (a[:, :, None] * b[:, None, :]).reshape(len(x), -1), rows)
    return Tensor(mean[None, :] + x @ lower.T, together, lower, lines)


def _row(line: Float[Array, "m"], one: Float[Array, ""], moments: int, expected: Float[Array, ""]) -> Float[Array, "m"]:
    return matched(line, expected, one, moments)


def stationary_covariance(rho: Float[Array, "n n"], covariance: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """V = A V A' + S, by one linear system."""
    size = rho.shape[0]
    system = jnp.eye(size**2, dtype=rho.dtype) - jnp.kron(rho, rho)
    return jnp.linalg.solve(system, covariance.reshape(-1)).reshape(size, size)
