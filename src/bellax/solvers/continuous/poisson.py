"""The mean of a quantity where a population does not move, by the Poisson equation.

With A the generator of the policy, the w and rho that solve A w - rho = -y have rho = E[y]: the mean of A w is zero.
The equation is linear, and solved by least squares on polynomials of the coordinates: it sees the drift of the policy
alone, and nothing of the density's errors.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.learning import cholesky, polynomials
from bellax.solvers.continuous.pointwise import Moving
from bellax.solvers.continuous.trained import Edges

_DEGREES = {1: (24,), 2: (14, 14), 3: (8, 8, 8)}
_RIDGE, _ROUNDS = 1e-13, 3
_STRAIGHT = 0.1  # what the condition at an edge counts for


def shares(edges: Edges, how: Callable[[Array], Moving], weight: Callable[[Array], Array]) -> Array:
    """What each point inside counts for in a mean, shape (n,); differentiable. Some are negative.

    Args:
        edges: the box, the points, and along which axes states diffuse.
        how: the coordinates' motion at a point.
        weight: what a point counts for in the least squares.
    """
    box, powers = edges.box, polynomials.powers(_DEGREES[edges.inside.shape[1]])
    basis = lambda y: polynomials.features(box.scaled(y), powers)  # noqa: E731

    def derivatives(y: Array) -> Any:
        one = lambda axis: jax.jvp(lambda y: jax.jvp(basis, (y,), (axis,))[1], (y,), (axis,))  # noqa: E731
        return jax.vmap(one)(jnp.eye(y.shape[0]))

    def inside(y: Array) -> tuple[Array, Array]:
        (first, second), move, share = derivatives(y), how(y), weight(y)
        row = jnp.sum(move.drift[:, None] * first + 0.5 * move.spread[:, None] * second, axis=0)
        return share * jnp.concatenate([row, -jnp.ones(1)]), share

    rows, counts = jax.vmap(inside)(edges.inside)
    parts = [rows]
    for axis, mirror, y in edges.diffusing:
        half = 0.5 * (box.upper - box.lower)[axis]

        def edge(y: Array, axis: int = axis, mirror: Array = mirror, half: Array = half) -> Array:
            first, second = derivatives(y)
            row = jnp.where(mirror, first[axis] * half, _STRAIGHT * second[axis] * half**2)
            return weight(y) * jnp.concatenate([row, jnp.zeros(1)])

        parts.append(jax.vmap(edge)(y))
    matrix = jnp.concatenate(parts)
    size = lax.stop_gradient(jnp.sqrt(jnp.sum(matrix**2, axis=0)))
    # of the least squares' solution the last number, rho, as a function of the right-hand side
    matrix = matrix / size[None, :]
    wanted = jnp.zeros(matrix.shape[1]).at[-1].set(1.0)
    factor = cholesky.factor(matrix.T @ matrix + _RIDGE * jnp.eye(matrix.shape[1]))
    found = jnp.zeros_like(wanted)
    for _ in range(_ROUNDS):  # what the ridge and rounding leave
        found = found + cholesky.solve(factor, wanted - matrix.T @ (matrix @ found))
    return -(matrix @ found)[: counts.shape[0]] * counts / size[-1]
