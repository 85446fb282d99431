"""Polynomials on Chebyshev's nodes: differentiation, interpolation, quadrature, coefficients.

Nodes are x_j = -cos(pi j / (n - 1)), ends included, and what is known of a polynomial are its values there. Its
derivative at the nodes is D times its values; off them the second barycentric formula gives it,

    p(x) = sum_j (w_j / (x - x_j)) p_j / sum_j (w_j / (x - x_j)),    w_j = (-1)^j, half of that at the ends.

Of a function that is analytic around [-1, 1] coefficients, and with them all errors, fall geometrically in n.

Source: Trefethen (2000), "Spectral methods in MATLAB", chapters 6 and 12; Berrut & Trefethen (2004).
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

_NOTHING = 1e-30  # a distance


@cache
def nodes(count: int) -> np.ndarray:
    """The nodes, from -1 to 1, shape (n,)."""
    return np.sin(np.pi * np.arange(1 - count, count, 2) / (2 * (count - 1)))


@cache
def differentiation(count: int) -> np.ndarray:
    """D, which takes values to those of the derivative, shape (n, n); its rows sum to zero."""
    x, scale = nodes(count), _signs(count)
    apart = x[:, None] - x[None, :] + np.eye(count)
    found = scale[None, :] / scale[:, None] / apart
    np.fill_diagonal(found, 0.0)
    # so that the derivative of a constant is zero, and that of what is nearly one has little of rounding
    return found - np.diag(found.sum(axis=1))


@cache
def weights(count: int) -> np.ndarray:
    """Clenshaw and Curtis's weights of the integral over [-1, 1], exact for polynomials, shape (n,)."""
    integrals = np.zeros(count)
    integrals[::2] = 2 / (1.0 - np.arange(0, count, 2) ** 2)
    return coefficients(count).T @ integrals


@cache
def coefficients(count: int) -> np.ndarray:
    """The matrix that takes values to coefficients of T_0, T_1, ..., shape (n, n)."""
    last = count - 1
    angles = np.pi * np.outer(np.arange(count), np.arange(last, -1, -1)) / last
    found = 2 / last * np.cos(angles)
    found[:, [0, -1]] /= 2
    found[[0, -1]] /= 2
    return found


@cache
def integration(count: int) -> np.ndarray:
    """The matrix that takes values to those of the integral from -1, shape (n, n)."""
    series = np.zeros((count + 1, count))
    for degree, own in enumerate(np.eye(count)):
        whole = np.polynomial.chebyshev.chebint(own, lbnd=-1)
        series[: len(whole), degree] = whole
    return np.polynomial.chebyshev.chebvander(nodes(count), count) @ series @ coefficients(count)


def interpolation(count: int, points: np.ndarray) -> np.ndarray:
    """The matrix that takes values at the nodes to those at points inside, shape (m, n)."""
    degrees = np.arange(count)
    return np.cos(degrees * np.arccos(np.clip(points, -1.0, 1.0))[:, None]) @ coefficients(count)


@cache
def _signs(count: int) -> np.ndarray:
    """The weights of the barycentric formula."""
    found = (-1.0) ** np.arange(count)
    found[[0, -1]] /= 2
    return found


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def cardinal(x: Array, count: int) -> Float[Array, "n"]:
    """What each node's value counts in the value at x; 1 and zeros at a node."""
    apart = x - jnp.asarray(nodes(count), x.dtype)
    # at a node its share is all, whichever way a compiler rounds the distance each time that it needs it
    share = jnp.asarray(_signs(count), x.dtype) / jnp.where(apart == 0, _NOTHING, apart)
    return share / jnp.sum(share)


@cardinal.defjvp
def _cardinal_jvp(count: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    found = cardinal(x, count)
    return found, dx * (found @ jnp.asarray(differentiation(count), x.dtype))
