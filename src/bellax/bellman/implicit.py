"""How an optimum moves: derivatives of u by the implicit function theorem, Q_uu du = -Q_up dp on the free coordinates.

They are those of the optimum, however it was found: nothing differentiates through a search. At a kink of Q the optimum
follows the kink (`sides`), and on the edge of a constraint it moves along it (`constrained`).
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.tree_util import Partial
from jaxtyping import Bool, Float, Int

from bellax.bellman.constrained import Edges, along_edges, edges, guard_inputs, size_of
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.sides import Conditions, Sides, Value, apart, conditions, sides, spoiled
from bellax.numerics import elimination
from bellax.problem.period import Combination

_NOISE = 32  # times the rounding of Q: a curvature below that is none


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
    """u itself, with the derivative that the implicit function theorem gives a maximum, and 0 at a bound."""
    return u


@moving.def_jvp
def _moving_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    u, objective, point, combination = primals
    _, t_objective, t_point, _ = tangents
    if u.shape[0] == 0:
        return u, jnp.zeros_like(u)
    inputs, still = (objective, point), lax.stop_gradient(u)
    held = lax.stop_gradient(held_by(still, objective, point, combination))
    q = value_of(held, combination)
    size = None if held is None else size_of(held, objective, point)
    at_kinks = sides(q, inputs, still, size=size) if objective.sided else None
    curved = _turned(at_kinks, q, inputs, still)
    sound = jnp.all(jnp.isfinite(curved.gradient)) & jnp.all(jnp.isfinite(curved.gap))
    masked = lambda found: jax.tree.map(lambda leaf: jnp.where(sound, leaf, 0.0), found)  # noqa: E731

    def obeyed(at: Array, at_kinks: Sides | None, held: Edges | None, *inputs: Any) -> tuple[Conditions, Array]:
        inputs = guard_inputs(sound, inputs)
        return _conditions(at_kinks, value_of(held, combination), inputs, at), _actions(held, inputs, at)

    # The primal through `moving` again, so that a second derivative passes here once more. jax may lose the rule on
    # the way (forward over reverse, inside a scan): then it differentiates what goes in, a step of Newton's method.
    here = obeyed(still, at_kinks, held, *inputs)
    away, aside = masked(jax.tree.map(lambda leaf: leaf - lax.stop_gradient(leaf), here))
    step, flat = _interior(*lax.stop_gradient((u, curved)), away, at_kinks, held, size)
    u = moving(still + _led(held, step) + aside, objective, point, combination)
    if held is not None:
        held = held_by(u, objective, point, combination)
        q = value_of(held, combination)
    if at_kinks is not None and u.shape[0] > 1:  # multipliers move, too
        at_kinks = sides(q, inputs, u, size=size)
    _, moved = eqx.filter_jvp(lambda *inputs: obeyed(u, at_kinks, held, *inputs), inputs, (t_objective, t_point))
    found = jnp.zeros_like(u)
    if any(leaf is not None for leaf in jax.tree.leaves(moved, is_leaf=lambda leaf: leaf is None)):
        moved, aside = masked(
            jax.tree.map(
                lambda leaf, of: jnp.zeros_like(of) if leaf is None else leaf,
                moved,
                here,
                is_leaf=lambda leaf: leaf is None,
            )
        )
        step, _ = _interior(u, _turned(at_kinks, q, inputs, u), moved, at_kinks, held, size)
        found = _led(held, step) + aside
    if at_kinks is not None:
        found = found + spoiled(at_kinks.unknown | at_kinks.broken, t_objective, t_point)
    if held is not None:
        found = found + spoiled(held.lost, t_objective, t_point)
    if u.shape[0] > 1:
        free = (u > 0) & (u < 1)
        found = found + spoiled(flat & free, t_objective, t_point)
    return u, jnp.where(sound, found, 0.0)


def held_by(u: Float[Array, "m"], objective: Objective, point: Point, combination: Combination) -> Edges | None:
    """The edges that hold an optimum; None where there are no smooth constraints on actions."""
    return edges(u, objective, point, combination) if objective.plan.limiting else None


def value_of(held: Edges | None, combination: Combination, judged: bool = False) -> Value:
    """Q, with no edge to fall off.

    Args:
        judged: the same where no edge holds it: it was chosen already, and a constraint must not judge rounding.
    """
    if held is not None:
        return Partial(along_edges, held)
    return Partial(_judged if judged else _value, combination)


def _value(combination: Combination, inputs: tuple, u: Array) -> Array:
    objective, point = inputs
    return objective(point, Decision(combination, u))


def _judged(combination: Combination, inputs: tuple, u: Array) -> Array:
    objective, point = inputs
    return Objective.judged(objective, point, Decision(combination, u))[0]


def _actions(held: Edges | None, inputs: tuple, u: Array) -> Array:
    """By how much edges move an action that stays where it is along them."""
    return jnp.zeros_like(u) if held is None else held.actions(inputs, u)


def _led(held: Edges | None, step: Float[Array, "m *d"]) -> Float[Array, "m *d"]:
    """A step along the edges, in actions."""
    return step if held is None else held.along @ step


def _conditions(at_kinks: Sides | None, q: Value, inputs: Any, u: Float[Array, "m"]) -> Conditions:
    """What is zero at an optimum between bounds: the gradient of Q; at kinks see `sides`."""
    if at_kinks is not None:
        return conditions(at_kinks, q, inputs, u)
    value, slopes = jax.vmap(lambda d: jax.jvp(lambda x: q(inputs, x), (u,), (d,)))(jnp.eye(u.shape[0]))
    return Conditions(value[0], slopes, jnp.zeros_like(slopes))


def _turned(at_kinks: Sides | None, q: Value, inputs: tuple, u: Float[Array, "m"]) -> Conditions:
    """How `_conditions` move with u, along a last axis."""
    if at_kinks is None:
        _, slopes, hessian = derivatives(lambda x: q(inputs, x), u)
        return Conditions(slopes, hessian, jnp.zeros_like(hessian))
    known = at_kinks
    return jax.jacfwd(lambda x: conditions(known, q, inputs, x))(u)


def drift(
    u: Float[Array, "m"],
    objective: Objective,
    point: Callable[[Array], Point],
    combination: Combination,
    coordinates: Float[Array, "d"],
) -> tuple[Float[Array, "m d"], Float[Array, "d"]]:
    """How an optimum moves with the coordinates of its state.

    Args:
        point: the state at coordinates y, shape (d,).
    Returns:
        du/dy, 0 where the theorem says nothing: the values of `jax.jacfwd` of `moving`, without what a second
        derivative would need. And dQ/dy with u held fixed, or along the edges that hold it, which the same pass gives;
        NaN where dQ/du is infinite.
    """
    actions, lines = u.shape[0], coordinates.shape[0]
    held = held_by(u, objective, point(coordinates), combination)
    q = value_of(held, combination)
    value = lambda coordinates, u: q((objective, point(coordinates)), u)  # noqa: E731
    size = None if held is None else size_of(held, objective, point(coordinates))
    at_kinks = sides(value, coordinates, u, moves=False, size=size) if objective.sided else None

    def obeyed(u: Array, coordinates: Array) -> tuple[Conditions, Array]:
        inputs = (objective, point(coordinates))
        return _conditions(at_kinks, value, coordinates, u), _actions(held, inputs, u)

    # the Hessian and the derivatives along the lines in one pass: the objective is written into the program once
    basis = jnp.eye(actions + lines)
    turned, aside = jax.vmap(lambda d: jax.jvp(obeyed, (u, coordinates), (d[:actions], d[actions:]))[1], out_axes=-1)(
        basis
    )
    own = jax.tree.map(lambda leaf: leaf[..., :actions], turned)
    along = jax.tree.map(lambda leaf: leaf[..., actions:], turned)
    move = lambda moved: _interior(u, own, moved, at_kinks, held, size)[0]  # noqa: E731
    found = _led(held, jax.vmap(move, in_axes=-1, out_axes=1)(along)) + aside[:, actions:]
    if at_kinks is not None:
        found = jnp.where((at_kinks.unknown | at_kinks.broken)[:, None], 0.0, found)
    slopes = along.value
    if held is not None:
        found, slopes = jnp.where(held.lost, 0.0, found), jnp.where(held.lost, jnp.nan, slopes)
    return jnp.where(jnp.isfinite(found), found, 0.0), slopes


def _interior(
    u: Float[Array, "m"],
    turned: Conditions,
    moved: Conditions,
    at_kinks: Sides | None,
    held: Edges | None,
    size: Array | None,
) -> tuple[Float[Array, "m"], Bool[Array, ""]]:
    """The move of u that keeps the conditions on the coordinates that are not at a bound, and whether nobody knows it,
    where it is zero.

    Args:
        turned: how the conditions move with u, along a last axis.
        moved: how they move with what Q sees.
        size: what Q and its slopes are sums of, where edges may hold u.
    """
    hessian, right, one = turned.gradient, moved.gradient, jnp.eye(u.shape[0])
    level = jnp.zeros((), bool)
    if held is not None and size is not None:
        own = jnp.abs(jnp.diagonal(hessian))
        some = own > _NOISE * float(jnp.finfo(u.dtype).eps) * size
        # where Q is level along an edge that several actions are on, nobody knows where the optimum goes
        apart_from = jnp.sum(jnp.abs(held.along), axis=1) - jnp.abs(jnp.diagonal(held.along))
        level = jnp.any((u > 0) & (u < 1) & ~some & (apart_from > 1e-6)) & ~jnp.any(some)
        # what would lead off the edges moves nothing: it stays where it is
        hessian = jnp.where(some[:, None] & some[None, :], hessian, 0.0) - jnp.max(own) * (one - held.along)
        hessian = jnp.where(jnp.any(some), hessian, 0.0)
    # where Q is flat along a coordinate, as between equal bounds, any u is optimal and stays
    if at_kinks is None:
        free = (u > 0) & (u < 1) & (jnp.diagonal(hessian) != 0)
    else:  # where it is piecewise linear a Hessian is rounding
        free = at_kinks.kinks | (at_kinks.free & (jnp.abs(jnp.diagonal(hessian)) > at_kinks.least))
    both = free[:, None] & free[None, :]
    if u.shape[0] == 1:
        if at_kinks is not None:
            hessian, right = jnp.where(at_kinks.kinks, turned.gap, hessian), jnp.where(at_kinks.kinks, moved.gap, right)
        matrix, right = jnp.where(both, hessian, -one), jnp.where(free, -right, 0.0)
        return elimination.solve(matrix, right), jnp.zeros((), bool)
    # in units in which Q is curved alike along all coordinates
    own = lax.stop_gradient(jnp.where(free, jnp.abs(jnp.diagonal(hessian)), 0.0))
    unit = jnp.where((own > 0) & jnp.isfinite(own), 1 / jnp.sqrt(jnp.where(own > 0, own, 1.0)), 1.0)
    hessian = jnp.where(both, unit[:, None] * hessian * unit[None, :], 0.0)
    right = jnp.where(free, unit * right, 0.0)
    across, ways = jnp.zeros_like(u), jnp.where(both, one, 0.0)
    if at_kinks is not None:  # first back to where the kinks are, then along them
        normals = jnp.where(at_kinks.kinks[:, None] & free[None, :], turned.gap * unit[None, :], 0.0)
        basis, inverse = apart(normals, at_kinks.kinks)
        across = -basis.T @ (inverse @ jnp.where(at_kinks.kinks, moved.gap, 0.0))
        ways = ways - basis.T @ basis
    curved = ways @ hessian @ ways - (one - ways)
    # where Q is flat along several coordinates together, rounding would say where the optimum goes
    flat = level | elimination.singular(lax.stop_gradient(curved))
    right = jnp.where(flat, 0.0, -(ways @ (right + hessian @ across)))
    return unit * (across + elimination.solve(jnp.where(flat, -one, curved), right)), flat
