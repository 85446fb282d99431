"""Gauss's elimination of a few unknowns, the same at every node of a grid, without LAPACK.

LAPACK is called once for every node, with a call's cost each, and batched calls of it that stand side by side in one
program may wait for each other for ever on a machine of few cores (jaxlib 0.10). Up to `FEW` unknowns the steps are
written out; a division is all that is left of one.
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

FEW = 4  # unknowns up to which steps are written out: of eight they take longer to compile than LAPACK to solve


def solve(matrix: Float[Array, "n n"], right: Float[Array, "n ..."]) -> Float[Array, "n ..."]:
    """x with matrix x = right; no number, or infinite, where the matrix is singular.

    Args:
        right: one column, shape (n,), or several, shape (n, k).
    """
    count = matrix.shape[0]
    if count > FEW:
        return jnp.linalg.solve(matrix, right)
    columns = right.reshape(count, -1)
    rows = [(matrix[i], columns[i]) for i in range(count)]
    for k in range(count - 1):
        rows = _largest_first(rows, k)
        left, own = rows[k]
        for i in range(k + 1, count):
            times = rows[i][0][k] / left[k]
            rows[i] = (rows[i][0] - times * left, rows[i][1] - times * own)
    found: list[Array] = [jnp.zeros(())] * count
    for i in reversed(range(count)):
        left, own = rows[i]
        for j in range(i + 1, count):
            own = own - left[j] * found[j]
        found[i] = own / left[i]
    return jnp.stack(found).reshape(right.shape)


def in_a_loop(matrix: Float[Array, "n n"], right: Float[Array, "n"]) -> Float[Array, "n"]:
    """The same for one column, of which a step stands in the program once, and never LAPACK."""
    count = matrix.shape[0]
    rows = jnp.arange(count)

    def step(number: Array, whole: Array) -> Array:
        k = jnp.asarray(number, rows.dtype)
        here = (rows == k)[:, None]
        first = jnp.argmax(jnp.where(rows >= k, jnp.abs(jnp.take(whole, k, axis=1)), -1.0)).astype(rows.dtype)
        pivot, own = jnp.take(whole, first, axis=0), jnp.take(whole, k, axis=0)
        whole = jnp.where(here, pivot[None], jnp.where((rows == first)[:, None], own[None], whole))
        times = jnp.where(rows == k, 0.0, jnp.take(whole, k, axis=1) / jnp.take(pivot, k))
        return whole - times[:, None] * pivot[None]

    whole = lax.fori_loop(0, count, step, jnp.concatenate([matrix, right[:, None]], axis=1))
    return whole[:, count] / jnp.diagonal(whole)


def apart(
    rows: Float[Array, "j m"], counts: Bool[Array, "j"], least: float
) -> tuple[Float[Array, "j m"], Float[Array, "j j"]]:
    """Directions at right angles to each other that span rows, and how far along them numbers lead; differentiable.

    With `basis, inverse` of it x = basis.T @ inverse @ g is the shortest x with rows @ x = g, but for the rows that do
    not count and those that follow from others: zero rows stand for these in both.

    Args:
        counts: which rows do.
        least: of the length of a row, what has to be left of it beside those before it.
    """
    basis: list[Array] = []
    inverse: list[Array] = []
    for rest, own, counted in zip(rows, jnp.eye(rows.shape[0], dtype=rows.dtype), counts, strict=True):
        whole = rest @ rest
        for other, known in zip(basis, inverse, strict=True):
            length = other @ rest
            rest, own = rest - length * other, own - length * known
        left = rest @ rest
        holds = counted & lax.stop_gradient(left > least**2 * whole)
        size = jnp.sqrt(jnp.where(holds, left, 1.0))
        basis.append(jnp.where(holds, rest / size, 0.0))
        inverse.append(jnp.where(holds, own / size, 0.0))
    return jnp.stack(basis), jnp.stack(inverse)


_LEFT = {8: 1e-11, 4: 1e-4}
"""Of a number on the diagonal, what is no more than rounding: by bytes of a number."""


def singular(matrix: Float[Array, "n n"]) -> Bool[Array, ""]:
    """Whether a symmetric matrix of numbers up to about one is singular to rounding: elimination leaves nothing of a
    number on its diagonal."""
    least, found = _LEFT[matrix.dtype.itemsize], jnp.zeros((), bool)
    for k in range(matrix.shape[0]):
        found = found | ~(jnp.abs(matrix[k, k]) > least)
        if k + 1 < matrix.shape[0]:
            times = matrix[:, k] / matrix[k, k]
            matrix = matrix - times[:, None] * matrix[k][None]
    return found


def _largest_first(rows: list[tuple[Array, Array]], k: int) -> list[tuple[Array, Array]]:
    """Rows, the k-th of which has the largest number of those from there on in column k."""
    for i in range(k + 1, len(rows)):
        swaps = jnp.abs(rows[i][0][k]) > jnp.abs(rows[k][0][k])
        first = tuple(jnp.where(swaps, b, a) for a, b in zip(rows[k], rows[i], strict=True))
        second = tuple(jnp.where(swaps, a, b) for a, b in zip(rows[k], rows[i], strict=True))
        rows[k], rows[i] = (first[0], first[1]), (second[0], second[1])
    return rows
