"""Chebyshev polynomials of a point of [-1, 1]^d: a basis for least squares.

T_n(u) = T_n1(u_1) ... T_nd(u_d), of all n whose shares of the highest degrees have squares that sum to one at most; the
constant is left out.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float


def powers(top: Sequence[int]) -> np.ndarray:
    """The degrees n, shape (f, d), lower ones first.

    Args:
        top: the highest degree along each axis.
    """
    highest = np.asarray(top)
    every = np.stack(np.meshgrid(*[np.arange(n + 1) for n in top], indexing="ij"), axis=-1).reshape(-1, len(highest))
    share = np.sum((every / highest) ** 2, axis=1)
    kept = (share <= 1 + 1e-9) & (np.sum(every, axis=1) > 0)
    return every[kept][np.argsort(share[kept], kind="stable")]


def features(u: Float[Array, "d"], degrees: np.ndarray) -> Float[Array, "f"]:
    """Their numbers at a point.

    Args:
        degrees: n, shape (f, d).
    """
    found = jnp.ones(degrees.shape[0])
    for axis in range(degrees.shape[1]):
        top = int(degrees[:, axis].max())
        # a product instead of a look-up, whose transpose adds numbers one by one
        chosen = (np.arange(top + 1)[:, None] == degrees[None, :, axis]).astype(float)
        found = found * (chebyshev(u[axis], top) @ chosen)
    return found


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def chebyshev(u: Array, top: int) -> Array:
    """T_0(u) to T_top(u); derivatives are combinations of lower ones, one product each instead of the recursion's."""
    terms = [jnp.ones_like(u), u]
    for _ in range(2, top + 1):
        terms.append(2 * u * terms[-1] - terms[-2])
    return jnp.stack(terms[: top + 1])


@chebyshev.defjvp
def _slopes(top: int, given: tuple[Array], moves: tuple[Array]) -> tuple[Array, Array]:
    terms = chebyshev(given[0], top)
    lower = [np.polynomial.chebyshev.chebder(row, axis=0) for row in np.eye(top + 1)]
    matrix = np.stack([np.pad(row, (0, top + 1 - row.size)) for row in lower])
    return terms, (jnp.asarray(matrix) @ terms) * moves[0]
