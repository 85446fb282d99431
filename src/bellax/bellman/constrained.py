"""How an optimum on the edge of smooth constraints moves, and what the edge is worth.

At an optimum Q_u + N'l = 0 on the free coordinates, with N = g_u and l the multipliers of the constraints g = 0 that
hold it. So (H N'; N 0)(du; dl) = -(L_up; g_p) dp with H the Hessian of the Lagrangian L = Q + l'g, and V_p = Q_p +
l'g_p: with u held fixed the derivative of Q alone misses what a wider edge is worth.
Source: Fiacco (1983), sections 2.4 and 3.2.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.bellman.implicit import derivatives, guard_inputs
from bellax.bellman.maximisers.active import on_edges
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.sides import spoiled, unknown
from bellax.numerics import elimination
from bellax.numerics.scalar import where

_NEAR = 4.0  # times what rounding may take a constraint below zero: as near to it an edge holds
_ASIDE, _NOISE = 1e-7, 1024  # in u, and times the rounding of Q, as in `implicit`


def multipliers(
    u: Float[Array, "m"], objective: Objective, point: Point, combination: Int[Array, ""], sound: Bool[Array, ""]
) -> Float[Array, "j"]:
    """The multipliers of the smooth constraints at an optimum, by Q_u + N'l = 0; differentiable.

    Args:
        sound: whether there is an optimum; else they are zero. At a kink of Q they are NaN.
    """

    def together(at: Array) -> Array:
        return _together(at, guard_inputs(sound, (objective, point)), combination)

    values, gradients = jax.vmap(lambda d: jax.jvp(together, (u,), (d,)))(jnp.eye(u.shape[0]))
    held, free = _edges(u, values[0], gradients, objective, point, combination)
    found = _multipliers(gradients, held, free)
    found = jnp.where(sound & jnp.isfinite(found), found, 0.0)
    if not objective.sided:
        return found
    # at a kink of Q the gradient is that of one side, and nobody knows what an edge is worth
    here = lambda at: _together(at, lax.stop_gradient((objective, point)), combination)  # noqa: E731
    _, _, hessians = lax.stop_gradient(derivatives(here, u))
    kink = jnp.any(held) & _at_kink(here, u, hessians, found, held, free)
    return jnp.where(kink, jnp.nan, found)


@eqx.filter_custom_jvp
def shadow(prices: Float[Array, "j"], objective: Objective, point: Point, decision: Decision) -> Float[Array, ""]:
    """Zero, with the derivative l'dg: what V gains where the edges that hold a decision move away.

    Args:
        prices: the multipliers.
    """
    return jnp.zeros(())


@shadow.def_jvp
def _shadow_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    prices, objective, point, decision = primals

    def worth(*inputs: Any) -> Array:
        numbers, _ = Objective.margins(*guard_inputs(jnp.any(prices != 0), inputs))
        asked = where((prices != 0) & ~jnp.isnan(prices), prices, 0.0)
        return jnp.sum(asked * (numbers - lax.stop_gradient(numbers)))

    # The primal can be differentiated as it stands, see `implicit.moving`; where nothing is, nothing is worked out.
    # as in `envelope`, V moves as Q and l'g do with u held fixed
    moves = jax.tree.map(lambda _: None, decision)
    total, moved = eqx.filter_jvp(worth, (objective, point, decision), (*tangents[1:3], moves))
    moved = jnp.zeros_like(total) if moved is None else moved
    return total, moved + spoiled(jnp.any(jnp.isnan(prices)), *tangents[1:3])


@eqx.filter_custom_jvp
def moving(u: Float[Array, "m"], objective: Objective, point: Point, combination: Int[Array, ""]) -> Float[Array, "m"]:
    """u itself, with the derivative of an optimum within bounds and smooth constraints; NaN at a kink of Q."""
    return u


@moving.def_jvp
def _moving_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    u, objective, point, combination = primals
    _, t_objective, t_point, _ = tangents
    inputs, t_inputs = (objective, point), (t_objective, t_point)
    here = lambda at: _together(at, inputs, combination)  # noqa: E731
    values, gradients, hessians = lax.stop_gradient(derivatives(here, u))
    sound = jnp.isfinite(values[0]) & jnp.all(jnp.isfinite(gradients)) & jnp.all(jnp.isfinite(hessians))
    held, free = _edges(u, values, gradients, objective, point, combination)

    def conditions(at: Array, prices: Array, *inputs: Any) -> tuple[Array, Array, Array]:
        """L_u, g, and Q itself."""
        found = lambda x: _together(x, guard_inputs(sound, inputs), combination)  # noqa: E731
        values, gradients = jax.vmap(lambda d: jax.jvp(found, (at,), (d,)))(jnp.eye(at.shape[0]))
        return gradients[:, 0] + gradients[:, 1:] @ prices, values[0, 1:], values[0, 0]

    # see `implicit.moving` for why the primal passes through `moving` again
    prices = _multipliers(gradients, held, free)
    fixed = lax.stop_gradient(u)
    away = jax.tree.map(lambda leaf: leaf - lax.stop_gradient(leaf), conditions(fixed, prices, *inputs))
    step, flat = _moves(away[:2], gradients, hessians, prices, held, free, sound)
    u = moving(fixed + step, *inputs, combination)
    prices = multipliers(u, objective, point, combination, sound)
    _, moved = eqx.filter_jvp(lambda *given: conditions(u, prices, *given), inputs, t_inputs)
    if all(leaf is None for leaf in moved):
        return u, jnp.zeros_like(u)
    gradient, number, seen = (
        jnp.zeros_like(of) if leaf is None else leaf for leaf, of in zip(moved, away, strict=True)
    )
    _, gradients, hessians = derivatives(lambda at: _together(at, inputs, combination), u)
    found, _ = _moves((gradient, number), gradients, hessians, prices, held, free, sound)
    found = found + unknown(flat, seen)
    if objective.sided:
        kink = _at_kink(here, u, hessians, prices, held, free)
        # in reverse mode no number is one for all that Q sees
        found = jnp.where(kink, 0.0, found) + unknown(kink, seen)
    return u, jnp.where(sound, found, 0.0)


def drift(
    u: Float[Array, "m"],
    objective: Objective,
    point: Callable[[Array], Point],
    combination: Int[Array, ""],
    coordinates: Float[Array, "d"],
) -> tuple[Float[Array, "m d"], Float[Array, "d"]]:
    """How an optimum moves with the coordinates of its state, and how V does; see `implicit.drift`."""
    actions = u.shape[0]

    def gradient(u: Array, coordinates: Array) -> tuple[Array, Array]:
        found = lambda x: _together(x, (objective, point(coordinates)), combination)  # noqa: E731
        values, gradients = jax.vmap(lambda d: jax.jvp(found, (u,), (d,)))(jnp.eye(actions))
        return values[0], gradients

    basis = jnp.eye(actions + coordinates.shape[0])
    (values, _), (slopes, along) = jax.vmap(
        lambda d: jax.jvp(gradient, (u, coordinates), (d[:actions], d[actions:])), out_axes=(None, 0)
    )(basis)
    gradients, hessians = slopes[:actions], along[:actions]
    here = point(coordinates)
    held, free = _edges(u, values, gradients, objective, here, combination)
    prices = _multipliers(gradients, held, free)
    prices = jnp.where(jnp.isfinite(prices), prices, 0.0)

    def moves(values: Array, mixed: Array) -> Array:
        moved = (mixed[:, 0] + mixed[:, 1:] @ prices, values[1:])
        return _moves(moved, gradients, hessians, prices, held, free, jnp.ones((), bool))[0]

    found = jax.vmap(moves, out_axes=1)(slopes[actions:], along[actions:])
    if objective.sided:
        kink = _at_kink(lambda x: _together(x, (objective, here), combination), u, hessians, prices, held, free)
        found = jnp.where(kink, 0.0, found)
        prices = jnp.where(kink & jnp.any(held), jnp.nan, prices)
    total = slopes[actions:, 0] + slopes[actions:, 1:] @ prices
    return jnp.where(jnp.isfinite(found), found, 0.0), total


def _together(u: Array, inputs: tuple, combination: Array) -> Float[Array, "f"]:
    """Q, whether or not u is allowed, and the numbers of the constraints after it."""
    objective, point = inputs
    decision = Decision(combination, u)
    # chosen already: a constraint must not judge rounding
    return jnp.concatenate([objective.judged(point, decision)[0][None], objective.margins(point, decision)[0]])


def _edges(
    u: Array, values: Array, gradients: Array, objective: Objective, point: Point, combination: Array
) -> tuple[Bool[Array, "j"], Bool[Array, "m"]]:
    """Which constraints hold an optimum, without those that follow from others, and which coordinates are free."""
    slack = objective.margins(point, Decision(combination, u))[1]
    u, values, gradients, slack = lax.stop_gradient((u, values, gradients, slack))
    free = (u > 0) & (u < 1) & jnp.any(gradients != 0, axis=1)
    held: list[Array] = []
    known: list[Array] = []
    for number, normal, least in zip(values[1:], gradients.T[1:], slack, strict=True):
        across = rest = jnp.where(free, normal, 0.0)
        for other in known:
            rest = rest - (other @ rest) * other
        size = jnp.sqrt(rest @ rest)
        own = (number <= _NEAR * least) & (size > 1e-6 * jnp.sqrt(across @ across))
        held.append(own)
        known.append(jnp.where(own, rest / jnp.where(size > 0, size, 1.0), 0.0))
    return jnp.stack(held), free


def _multipliers(gradients: Array, held: Array, free: Array) -> Float[Array, "j"]:
    """l with Q_u + N'l = 0 on the free coordinates, zero of constraints that do not hold the optimum."""
    normals = jnp.where(held[:, None] & free[None, :], gradients[:, 1:].T, 0.0)
    push = normals @ jnp.where(free, gradients[:, 0], 0.0)
    matrix = normals @ normals.T + jnp.diag(jnp.where(held, 0.0, 1.0))
    return jnp.where(held, elimination.solve(matrix, -push), 0.0)


def _moves(
    moved: tuple[Array, Array], gradients: Array, hessians: Array, prices: Array, held: Array, free: Array, sound: Array
) -> tuple[Float[Array, "m"], Bool[Array, "m"]]:
    """du from the derivatives of L_u and g along dp, and of which coordinates nobody knows it."""
    along, numbers = (jnp.where(sound, leaf, 0.0) for leaf in moved)
    gradients, hessians, prices = (jnp.where(sound, leaf, 0.0) for leaf in (gradients, hessians, prices))
    hessian = hessians[..., 0] + hessians[..., 1:] @ prices
    # where nothing curves Q along a coordinate, and no edge turns with it, any u is optimal and stays
    loose = free & (jnp.any(hessian != 0, axis=1) | jnp.any(held[None, :] & (gradients[:, 1:] != 0), axis=1))
    right = jnp.where(loose, along, 0.0)
    flat = _flat(*lax.stop_gradient((hessian, gradients)), held, loose)
    hessian, right = jnp.where(flat, -jnp.eye(len(right)), hessian), jnp.where(flat, 0.0, right)
    return on_edges(-hessian, right, gradients[:, 1:].T, numbers, loose, held)[0], flat & loose


def _flat(hessian: Array, gradients: Array, held: Array, loose: Array) -> Bool[Array, ""]:
    """Whether the Lagrangian is flat along the edges, to rounding: then any of many u is optimal."""
    ways = _ways(gradients, held, loose)
    scale = jnp.max(jnp.where(loose, jnp.abs(jnp.diagonal(hessian)), 0.0))
    curved = ways.T @ hessian @ ways / jnp.where(scale > 0, scale, 1.0)
    across = jnp.eye(len(loose)) - ways
    return jnp.isfinite(scale) & elimination.singular(curved - across, relative=False)


def _ways(gradients: Array, held: Array, free: Array) -> Float[Array, "m m"]:
    """The projection on what is along the edges."""
    normals = jnp.where(held[:, None] & free[None, :], gradients[:, 1:].T, 0.0)
    matrix = normals @ normals.T + jnp.diag(jnp.where(held, 0.0, 1.0))
    basis = jnp.diag(jnp.where(free, 1.0, 0.0))
    return basis - normals.T @ elimination.solve(matrix, normals @ basis)


def _at_kink(
    together: Callable[[Array], Array], u: Array, hessians: Array, prices: Array, held: Array, free: Array
) -> Bool[Array, ""]:
    """Whether the Lagrangian has a kink at u along the edges, or is not flat there: then the optimum does not move as
    its Hessian says."""
    u, prices = lax.stop_gradient((u, prices))
    size = u.shape[0]
    aside = _ASIDE if u.dtype == jnp.float64 else 1e-3
    value = lambda x: together(x)[0] + together(x)[1:] @ prices  # noqa: E731
    _, gradients = jax.vmap(lambda d: jax.jvp(together, (u,), (d,)))(jnp.eye(size))
    ways = _ways(gradients, held, free)  # one a column
    hessian = hessians[..., 0] + hessians[..., 1:] @ prices

    def kink(way: Array) -> Array:
        (low, left), (high, right) = (jax.jvp(value, (u + sign * aside * way,), (way,)) for sign in (-1.0, 1.0))
        scale = jnp.maximum(jnp.abs(low), jnp.abs(high)) + jnp.maximum(jnp.abs(left), jnp.abs(right))
        rounding = _NOISE * float(jnp.finfo(u.dtype).eps) * (scale + jnp.max(jnp.abs(gradients[:, 0])))
        drop, bent = left - right, jnp.abs(way @ hessian @ way)
        kink = (left > 0) & (right < 0) & (drop > 6 * aside * bent + rounding)
        # a search may end before a kink: no derivative is known there
        steep = 1e-6 * jnp.maximum(jnp.abs(left), jnp.abs(right))
        return kink | (jnp.abs(0.5 * (left + right)) > 1e-5 * bent + steep + rounding)

    return jnp.any(jax.vmap(kink, in_axes=1)(ways))
