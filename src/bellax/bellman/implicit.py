"""How an optimum moves: derivatives of u by the implicit function theorem, Q_uu du = -Q_up dp on the free coordinates.

They are those of the optimum, however it was found: nothing differentiates through a search. At a kink of Q the optimum
follows the kink.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
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
    _, _, curved = derivatives(lambda x: objective(point, Decision(combination, x)), u)
    sound = jnp.all(jnp.isfinite(curved))

    def gradient(u: Array, objective: Objective, point: Point) -> Array:
        def value(u: Array) -> Array:
            return objective(point, Decision(combination, u))

        return jax.vmap(lambda d: jax.jvp(value, (u,), (d,))[1])(jnp.eye(u.shape[0]))

    def along(at: Array, *inputs: Any) -> Array:
        return gradient(at, *guard_inputs(sound, inputs))

    # The primal through `moving` again, so that a second derivative passes here once more. jax may lose the rule on
    # the way (forward over reverse, inside a scan): then it differentiates what goes in, a step of Newton's method.
    here = along(lax.stop_gradient(u), objective, point)
    step = _interior(lax.stop_gradient((u, curved)), jnp.where(sound, here - lax.stop_gradient(here), 0.0))
    u = moving(lax.stop_gradient(u) + step, objective, point, combination)
    _, moved = eqx.filter_jvp(lambda *inputs: along(u, *inputs), (objective, point), (t_objective, t_point))
    if moved is None:  # nothing that the gradient sees moves, but a kink may
        if not objective.plan.kinked:
            return u, jnp.zeros_like(u)
        moved = jnp.zeros_like(u)
    _, _, hessian = derivatives(lambda x: objective(point, Decision(combination, x)), u)
    found = _interior((u, hessian), jnp.where(sound, moved, 0.0))
    if objective.plan.kinked:

        def beside(at: Array) -> Array:
            q = lambda *inputs: _value(at, inputs, combination)  # noqa: E731
            along = eqx.filter_jvp(q, (objective, point), (t_objective, t_point))[1]
            return jnp.zeros(()) if along is None else along

        found = _at_kinks(found, lambda x: objective(point, Decision(combination, x)), u, hessian, beside)
    return u, jnp.where(sound, found, 0.0)


def _value(u: Array, inputs: tuple, combination: Array) -> Array:
    objective, point = inputs
    return objective(point, Decision(combination, u))


_ASIDE = 1e-7
"""In u: one-sided derivatives are taken this far off an optimum that may be a kink."""

_NOISE, _FLAT = 1024, 32
"""Times the rounding of Q: a kink of slopes is one above the first, and below the second nothing but rounding."""


def _at_kinks(
    move: Float[Array, "m"],
    value: Callable[[Array], Array],
    u: Float[Array, "m"],
    hessian: Float[Array, "m m"],
    moved: Callable[[Array], Array],
) -> Float[Array, "m"]:
    """The move of an optimum, which at a kink of Q follows the kink: (f1 - f2)_u du = -(f1 - f2)_p dp.

    f1 is Q on the left of the kink and f2 on the right. The Hessian of a side says nothing of the kink, and where Q is
    piecewise linear it is rounding. Where rounding may be taken for a kink, and with several actions of which some are
    at a kink, the move is NaN.

    Args:
        move: where there is no kink.
        value: Q as a function of u.
        moved: the derivative of Q, of u held fixed, along dp.
    """
    aside = _ASIDE if u.dtype == jnp.float64 else 1e-3
    steps = aside * jnp.eye(u.shape[0])
    left, right, size = _one_sided(value, u, steps)
    drop = left - right
    smooth = 3 * 2 * aside * jnp.abs(jnp.diagonal(hessian))
    rounding = float(jnp.finfo(u.dtype).eps) * size
    between = (u > aside) & (u < 1 - aside)
    peak = between & (left > 0) & (right < 0)
    kink = peak & (drop > smooth + _NOISE * rounding)
    doubtful = peak & ~kink & (drop > smooth + _FLAT * rounding)
    unknown = doubtful
    if u.shape[0] > 1:
        # between kinks of several actions a search may end before the optimum: no derivative is known there
        steep = jnp.maximum(jnp.abs(left), jnp.abs(right))
        bent = 1e-5 * jnp.abs(jnp.diagonal(hessian)) + _NOISE * rounding
        off = between & (jnp.abs(0.5 * (left + right)) > bent + 1e-6 * steep)
        unknown = jnp.broadcast_to(jnp.any(kink | doubtful | off), kink.shape)
    apart = jax.vmap(lambda step: moved(u - step) - moved(u + step))(steps)
    followed = jnp.where(kink | unknown, -apart / jnp.where(kink, drop, 1.0), move)
    # in reverse mode a factor is NaN for all that Q sees, which `move` may not
    return followed * jnp.where(unknown, jnp.nan, 1.0)


def _one_sided(
    value: Callable[[Array], Array], u: Float[Array, "m"], steps: Float[Array, "m m"]
) -> tuple[Float[Array, "m"], Float[Array, "m"], Float[Array, "m"]]:
    """Slopes of Q on the left and on the right along each action, and the size of what Q and they are sums of.

    The slopes of an optimum are what is left of terms that cancel. How large these are shows elsewhere along the
    action; a level that the reward has anyway is no measure of a kink.
    """
    basis = jnp.eye(u.shape[0])
    far = [jnp.where(basis > 0, share, u[None]) for share in (0.25, 0.75)]
    places = jnp.stack([u[None] - steps, u[None] + steps, *far])
    along = jax.vmap(lambda at, direction: jax.jvp(value, (at,), (direction,)))
    q, slopes = jax.vmap(lambda at: along(at, basis))(places)
    sizes = lax.stop_gradient(jnp.abs(q) + jnp.abs(slopes))
    return slopes[0], slopes[1], jnp.max(jnp.where(jnp.isfinite(sizes), sizes, 0.0), axis=0)


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

    def value(u: Array, coordinates: Array) -> Array:
        return objective(point(coordinates), Decision(combination, u))

    def gradient(u: Array, coordinates: Array) -> tuple[Array, Array]:
        q, g = jax.vmap(lambda d: jax.jvp(lambda x: value(x, coordinates), (u,), (d,)))(jnp.eye(actions))
        return q[0], g

    # the Hessian and the derivatives along the lines in one pass: the objective is written into the program once
    basis = jnp.eye(actions + lines)
    slopes, along = jax.vmap(lambda d: jax.jvp(gradient, (u, coordinates), (d[:actions], d[actions:]))[1])(basis)
    hessian, moved = along[:actions], along[actions:].T
    found = jax.vmap(lambda column: _interior((u, hessian), column), in_axes=1, out_axes=1)(moved)
    if objective.plan.kinked:

        def followed(column: Array, direction: Array) -> Array:
            beside = lambda at: jax.jvp(lambda y: value(at, y), (coordinates,), (direction,))[1]  # noqa: E731
            return _at_kinks(column, lambda x: value(x, coordinates), u, hessian, beside)

        found = jax.vmap(followed, in_axes=(1, 0), out_axes=1)(found, jnp.eye(coordinates.shape[0]))
    return jnp.where(jnp.isfinite(found), found, 0.0), slopes[actions:]


def _interior(at: tuple[Array, Array], gradient: Float[Array, "m"]) -> Float[Array, "m"]:
    """The move -H^-1 g on the coordinates that are not at a bound; `at` is u and the Hessian H there."""
    u, hessian = at
    # where Q is flat along a coordinate, as between equal bounds, any u is optimal and stays
    free = (u > 0) & (u < 1) & (jnp.diagonal(hessian) != 0)
    both = free[:, None] & free[None, :]
    matrix, right = jnp.where(both, hessian, -jnp.eye(u.shape[0])), jnp.where(free, -gradient, 0.0)
    return elimination.solve(matrix, right)


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
