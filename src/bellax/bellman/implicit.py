"""How an optimum moves: derivatives of u by the implicit function theorem, Q_uu du = -Q_up dp on the free coordinates.

They are those of the optimum, however it was found: nothing differentiates through a search. At a kink of Q the optimum
follows the kink (`sides`).
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import Partial
from jaxtyping import Bool, Float, Int

from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.sides import Sides, Value, conditions, sides, spoiled
from bellax.numerics import elimination


def derivatives(value: Callable[[Array], Array], u: Float[Array, "m"]) -> tuple[Array, Array, Array]:
    """Q, its gradient and its Hessian, forward over forward: the fastest to compile for a few actions."""
    basis = jnp.eye(u.shape[0])

    def gradient(u: Array) -> tuple[Array, Array]:
        q, g = jax.vmap(lambda d: jax.jvp(value, (u,), (d,)))(basis)
        return q[0], g

    (q, g), (_, h) = jax.vmap(lambda d: jax.jvp(gradient, (u,), (d,)), out_axes=0)(basis)
    return q[0], g[0], h


@eqx.filter_custom_jvp
def moving(u: Float[Array, "m"], objective: Objective, point: Point, combination: Int[Array, ""]) -> Float[Array, "m"]:
    """u itself, with the derivative that the implicit function theorem gives an interior maximum, and 0 at a bound."""
    return u


@moving.def_jvp
def _moving_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    u, objective, point, combination = primals
    _, t_objective, t_point, _ = tangents
    if u.shape[0] == 0:
        return u, jnp.zeros_like(u)
    inputs, still = (objective, point), lax.stop_gradient(u)
    q = Partial(_value, combination)
    at_kinks = sides(q, inputs, still) if objective.sided else None
    curved = _hessian(at_kinks, q, inputs, u)
    sound = jnp.all(jnp.isfinite(curved))

    def along(at: Array, at_kinks: Sides | None, *inputs: Any) -> Array:
        return _gradient(at_kinks, q, guard_inputs(sound, inputs), at)

    # The primal through `moving` again, so that a second derivative passes here once more. jax may lose the rule on
    # the way (forward over reverse, inside a scan): then it differentiates what goes in, a step of Newton's method.
    here = along(still, at_kinks, *inputs)
    away = jnp.where(sound, here - lax.stop_gradient(here), 0.0)
    step, flat = _interior(lax.stop_gradient((u, curved)), away, at_kinks)
    u = moving(still + step, objective, point, combination)
    if at_kinks is not None and u.shape[0] > 1:  # multipliers move, too
        at_kinks = sides(q, inputs, u)
    _, moved = eqx.filter_jvp(lambda *inputs: along(u, at_kinks, *inputs), inputs, (t_objective, t_point))
    found = jnp.zeros_like(u)
    if moved is not None:
        found, _ = _interior((u, _hessian(at_kinks, q, inputs, u)), jnp.where(sound, moved, 0.0), at_kinks)
    if at_kinks is not None:
        found = found + spoiled(at_kinks.unknown | at_kinks.broken, t_objective, t_point)
    if u.shape[0] > 1:
        free = (u > 0) & (u < 1)
        found = found + spoiled(flat & free, t_objective, t_point)
    return u, jnp.where(sound, found, 0.0)


def _value(combination: Array, inputs: tuple, u: Array) -> Array:
    objective, point = inputs
    return objective(point, Decision(combination, u))


def _gradient(at_kinks: Sides | None, q: Value, inputs: tuple, u: Float[Array, "m"]) -> Float[Array, "m"]:
    """What is zero at an optimum between bounds: the gradient of Q; at kinks see `conditions`."""
    if at_kinks is not None:
        return conditions(at_kinks, q, inputs, u)[1]
    return jax.vmap(lambda d: jax.jvp(lambda x: q(inputs, x), (u,), (d,))[1])(jnp.eye(u.shape[0]))


def _hessian(at_kinks: Sides | None, q: Value, inputs: tuple, u: Float[Array, "m"]) -> Float[Array, "m m"]:
    """The derivative of `_gradient` by u."""
    if at_kinks is None:
        return derivatives(lambda x: q(inputs, x), u)[2]
    known = at_kinks
    return jax.jacfwd(lambda x: conditions(known, q, inputs, x)[1])(u)


def drift(
    u: Float[Array, "m"],
    objective: Objective,
    point: Callable[[Array], Point],
    combination: Int[Array, ""],
    coordinates: Float[Array, "d"],
) -> tuple[Float[Array, "m d"], Float[Array, "d"]]:
    """How an optimum moves with the coordinates of its state.

    Args:
        point: the state at coordinates y, shape (d,).
    Returns:
        du/dy, 0 where the theorem says nothing: the values of `jax.jacfwd` of `moving`, without what a second
        derivative would need. And dQ/dy with u held fixed, which the same pass gives; NaN where dQ/du is infinite.
    """

    actions, lines = u.shape[0], coordinates.shape[0]

    def value(coordinates: Array, u: Array) -> Array:
        return objective(point(coordinates), Decision(combination, u))

    at_kinks = sides(value, coordinates, u, moves=False) if objective.sided else None

    def gradient(u: Array, coordinates: Array) -> tuple[Array, Array]:
        if at_kinks is not None:
            return conditions(at_kinks, value, coordinates, u)
        q, g = jax.vmap(lambda d: jax.jvp(lambda x: value(coordinates, x), (u,), (d,)))(jnp.eye(actions))
        return q[0], g

    # the Hessian and the derivatives along the lines in one pass: the objective is written into the program once
    basis = jnp.eye(actions + lines)
    slopes, along = jax.vmap(lambda d: jax.jvp(gradient, (u, coordinates), (d[:actions], d[actions:]))[1])(basis)
    hessian, moved = along[:actions], along[actions:].T
    found = jax.vmap(lambda column: _interior((u, hessian), column, at_kinks)[0], in_axes=1, out_axes=1)(moved)
    if at_kinks is not None:
        found = jnp.where((at_kinks.unknown | at_kinks.broken)[:, None], 0.0, found)
    return jnp.where(jnp.isfinite(found), found, 0.0), slopes[actions:]


def _interior(
    at: tuple[Array, Array], gradient: Float[Array, "m"], at_kinks: Sides | None = None
) -> tuple[Float[Array, "m"], Bool[Array, ""]]:
    """The move -H^-1 g on the coordinates that are not at a bound, and whether nobody knows it, where it is zero; `at`
    is u and the Hessian H there."""
    u, hessian = at
    # where Q is flat along a coordinate, as between equal bounds, any u is optimal and stays
    if at_kinks is None:
        free = (u > 0) & (u < 1) & (jnp.diagonal(hessian) != 0)
    else:  # where it is piecewise linear a Hessian is rounding
        free = at_kinks.kinks | (at_kinks.free & (jnp.abs(jnp.diagonal(hessian)) > at_kinks.least))
    both = free[:, None] & free[None, :]
    matrix, right = jnp.where(both, hessian, -jnp.eye(u.shape[0])), jnp.where(free, -gradient, 0.0)
    if u.shape[0] == 1:
        return elimination.solve(matrix, right), jnp.zeros((), bool)
    # where Q is flat along several coordinates together, rounding would say where the optimum goes
    flat = elimination.singular(lax.stop_gradient(matrix))
    matrix, right = jnp.where(flat, -jnp.eye(u.shape[0]), matrix), jnp.where(flat, 0.0, right)
    return elimination.solve(matrix, right), flat


_SMALL = 256


def guard_inputs(moves: Bool[Array, ""], inputs: Any) -> Any:
    """Inputs of a function, held fixed where they must not move.

    An infinite derivative times zero is NaN, in reverse mode before anything can mask it. A select on the way in can.
    Arrays of more than 256 numbers, such as V itself, are left alone: each point would hold a copy.
    """

    def hold(leaf: Any) -> Any:
        if not eqx.is_inexact_array(leaf) or leaf.size > _SMALL:
            return leaf
        return jnp.where(moves, leaf, lax.stop_gradient(leaf))

    return jax.tree.map(hold, inputs)
