"""The maximum of Q over many continuous actions, as a certificate believes in it: ever smaller moves all around.

Up to three actions have the lattice of scan.py. Of more, no lattice fills the box: in each round every action is moved
by itself, those moves that pay are made together, and all are moved in random directions and along the gradient, which
is no more than one of the candidates. Values alone decide.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.maximisers.maximum import first_maximum
from bellax.certify.scan import lattice, rounds
from bellax.numerics import loops
from bellax.numerics.scalar import take

_FEW = 3  # actions that have a lattice
_ROUNDS, _SHRINK = 12, 0.6
_DIRECTIONS, _STEPS = 16, 8

Score = Callable[[Float[Array, "m"]], Float[Array, ""]]


def evaluations(dimensions: int) -> int:
    """How many Q are asked for."""
    if dimensions == 0:
        return 1
    if dimensions <= _FEW:
        return rounds(dimensions) * len(lattice(dimensions))
    return _ROUNDS * (dimensions + _DIRECTIONS + _STEPS + 8)


def highest(score: Score, u: Float[Array, "m"], key: Array) -> Float[Array, ""]:
    """The largest Q that is found in the unit box, no smaller than that of `u`.

    Args:
        score: Q of shares of the way between bounds.
        key: of what is random.
    """
    score = _known(score)
    if u.shape[0] == 0:
        return score(u)
    return _by_lattice(score, u, key) if u.shape[0] <= _FEW else _by_moves(score, u, key)


def _by_lattice(score: Score, u: Float[Array, "m"], key: Array) -> Float[Array, ""]:
    dimensions = u.shape[0]
    fixed = jnp.asarray(lattice(dimensions), u.dtype)
    distance = len(fixed) ** (-1 / dimensions)
    shifted = (fixed + jax.random.uniform(key) * distance) % 1.0

    def closer(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        u, value, middle, reach = state
        u, value = _best(score, u, value, middle[None] + reach * (2 * shifted - 1))
        return u, value, u, reach * min(3 * distance, 0.75)

    start = (u, score(u), jnp.full_like(u, 0.5), jnp.asarray(0.5, u.dtype))
    return loops.repeat(rounds(dimensions), closer, start)[1]


def _by_moves(score: Score, u: Float[Array, "m"], key: Array) -> Float[Array, ""]:
    dimensions = u.shape[0]
    sizes = 0.5 ** jnp.arange(_STEPS, dtype=u.dtype)

    def closer(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        u, value, reach, number = state
        own = jax.random.split(jax.random.fold_in(key, number), 2)
        moves = reach * jax.random.uniform(own[0], (dimensions,), u.dtype, -1.0, 1.0)
        single = u[None] + jnp.diag(moves)
        paid = jax.vmap(lambda x: score(jnp.clip(x, 0.0, 1.0)))(single) > value
        together = u[None] + jnp.asarray([1.0, 0.5, 0.25])[:, None] * jnp.where(paid, moves, 0.0)[None]
        around = u[None] + reach * jax.random.normal(own[1], (_DIRECTIONS, dimensions)) / jnp.sqrt(1.0 * dimensions)
        slope = jax.grad(score)(u)
        slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
        steep = slope / jnp.maximum(jnp.max(jnp.abs(slope)), 1e-300)
        along = u[None] + reach * sizes[:, None] * steep[None]
        u, value = _best(score, u, value, jnp.concatenate([single, together, around, along]))
        return u, value, reach * _SHRINK, number + 1

    start = (u, score(u), jnp.asarray(0.5, u.dtype), jnp.zeros((), jnp.int32))
    return loops.repeat(_ROUNDS, closer, start)[1]


def _best(score: Score, u: Array, value: Array, tried: Float[Array, "c m"]) -> tuple[Array, Array]:
    """The better of what there is and of candidates, which are cut off at the edges of the box."""
    inside = jnp.clip(tried, 0.0, 1.0)
    found = jax.vmap(score)(inside)
    place = first_maximum(found)
    better = found[place] > value
    return jnp.where(better, take(inside, place), u), jnp.where(better, found[place], value)


def _known(score: Score) -> Score:
    """The same, minus infinity where it is not a number."""

    def known(u: Array) -> Array:
        value = score(u)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    return known
