"""The maximum of Q that a certificate believes in: a scan of every action, zoomed in on, whatever the solver did.

Candidates fill the whole box, shifted from point to point so that no ridge lies between them at all points, and then
ever smaller boxes around the best. Values alone are asked, which is exact for a maximum's value to twice the digits of
its place. Where smooth constraints leave less than the box, candidates beyond an edge are moved to it, on the way to a
point inside: values just short of an edge would be wrong by as much as they are short of it. One loop holds one copy of
the objective, which is most of what there is to compile.
"""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.decided import each
from bellax.bellman.maximisers.maximum import first_maximum, guarded
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.room import Room, room
from bellax.numerics import loops
from bellax.numerics.scalar import take
from bellax.problem.period import combinations
from bellax.problem.plan import Plan

_SIDES = {1: 48, 2: 14, 3: 7}  # candidates along each action
_SCATTERED = 512  # candidates of four and more actions
_RESOLUTION = 1e-6  # in u, at which zooming ends


def width(plan: Plan) -> int:
    """How many Q of one combination of discrete actions the scan asks for at once."""
    return len(lattice(len(plan.coordinates)))


def evaluations(plan: Plan) -> int:
    """How many Q of one combination of discrete actions the scan asks for."""
    return width(plan) * rounds(len(plan.coordinates))


def best(
    objective: Objective, point: Point, starts: Decision, own: Float[Array, "c"], shift: Float[Array, ""]
) -> Float[Array, "k"]:
    """The largest Q at a point of every combination of discrete actions, no smaller than those of `starts`.

    Args:
        starts: decisions that are known, along the first axis: one, or one of every combination.
        own: Q of them, as `guarded` has it.
        shift: in [0, 1), by which candidates are moved, as a share of their distance.
    """
    codes = jnp.arange(len(combinations(objective.plan)), dtype=jnp.int32)
    known = own if own.shape == codes.shape else jnp.where(codes == starts.combination[0], own[0], -jnp.inf)
    if not objective.plan.coordinates:
        q = jax.vmap(lambda k: guarded(objective, point, Decision(k, starts.u[0])))(codes)
        return jnp.maximum(known, q)
    shares = each(lambda one: objective.shares(point, one), starts)
    shares = jnp.broadcast_to(shares, (codes.shape[0], shares.shape[1]))
    plain = replace(objective, absolute=frozenset())
    return jax.vmap(lambda k, u, q: _zoomed(plain, point, k, u, q, shift))(codes, shares, known)


def _zoomed(
    objective: Objective, point: Point, combination: Array, u: Float[Array, "m"], value: Array, shift: Array
) -> Float[Array, ""]:
    """The largest Q of one combination, no smaller than `value`, which is that of `u`."""
    dimensions = u.shape[0]
    fixed = jnp.asarray(lattice(dimensions), u.dtype)
    distance = len(fixed) ** (-1 / dimensions)
    shifted = (fixed + shift * distance) % 1.0

    inside = room(objective, point, combination) if objective.plan.limiting else None

    def closer(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        u, value, middle, reach = state
        tried = jnp.clip(middle[None, :] + reach * (2 * shifted - 1), 0.0, 1.0)
        if inside is not None:
            tried = jax.vmap(lambda x: _allowed(inside, x, reach))(tried)
        q = jax.vmap(lambda x: guarded(objective, point, Decision(combination, x)))(tried)
        place = first_maximum(q)
        better = q[place] > value
        u, value = jnp.where(better, take(tried, place), u), jnp.where(better, q[place], value)
        return u, value, u, reach * min(3 * distance, 0.75)

    start = (u, value, jnp.full_like(u, 0.5), jnp.asarray(0.5, u.dtype))
    return loops.repeat(rounds(dimensions), closer, start)[1]


def _allowed(inside: Room, u: Float[Array, "m"], reach: Array) -> Float[Array, "m"]:
    """A candidate itself where it is allowed; else, in a scan of the whole box the point of the room that corresponds
    to it, of which there may be little, and closer the one at which the way there leaves the room."""
    return jnp.where(inside.holds(u), u, inside.filled(u, whole=reach >= 0.5))


def lattice(dimensions: int) -> np.ndarray:
    """Candidates in the unit box, shape (n, m): a lattice, or beyond three dimensions points of low discrepancy."""
    if dimensions == 0:
        return np.zeros((1, 0))
    if dimensions in _SIDES:
        side = (np.arange(_SIDES[dimensions]) + 0.5) / _SIDES[dimensions]
        return np.stack(np.meshgrid(*[side] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)
    return spread(np.arange(_SCATTERED), dimensions, np.zeros(dimensions))


def rounds(dimensions: int) -> int:
    """How often the scan looks closer."""
    if dimensions == 0:
        return 1
    shrink = 3 * len(lattice(dimensions)) ** (-1 / dimensions)
    return 1 + max(1, math.ceil(math.log(2 * _RESOLUTION) / math.log(min(shrink, 0.75))))


def spread(index: np.ndarray, dimensions: int, shift: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1), shape (n, d), of low discrepancy: frac(shift + n / phi^k), phi the root of x^(d+1) = x + 1.

    Source: Roberts (2018), "The unreasonable effectiveness of quasirandom sequences".
    """
    phi = 2.0
    for _ in range(60):
        phi = (1 + phi) ** (1 / (dimensions + 1))
    return (shift + (index[:, None] + 1) / phi ** np.arange(1, dimensions + 1)) % 1.0
