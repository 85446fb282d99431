"""An optimum on the edge of smooth constraints moves along it: a change of variables, after which there is no edge.

Where constraints g = 0 hold an optimum u*, numbers y beside it stand for the actions

    u(y) = u* + T (y - u*) + N^+ c  with  g(u(y)) = 0,

T the projection on what is along the edges, N = g_u, and N^+ its pseudoinverse. Q(u(y)) knows no edge. With l the
multipliers, Q_u + N'l = 0, it moves with parameters as V does, by Q_p + Q_u u_p = Q_p + l'g_p, what a wider edge is
worth; along the edges its Hessian is that of the Lagrangian Q + l'g; and its kinks are those that an optimum meets on
its way along them. So no multipliers are worked out. Two steps of Newton's method say c as exactly as second
derivatives need it.
Source: Fiacco (1983), sections 2.4 and 3.2; Gabay (1982), Journal of Optimization Theory and Applications 37.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.numerics import elimination
from bellax.problem.period import Combination

_NEAR = 4.0  # times what rounding may take a constraint below zero: as near to it an edge holds
_CLOSE = {8: 1e-10, 4: 1e-5}  # or by so little of u; by bytes of a number, since a constraint may have any unit
_ASIDE = {8: 1e-6, 4: 1e-3}  # where kinks of constraints are looked for, of the way to a bound
_TURNED = 1e-3  # of how steep a constraint is: by more than that only a kink turns it so near
_APART = {8: 1e-6, 4: 1e-3}  # of a normal, what has to be left of it beside those of other edges


class Edges(eqx.Module):
    """The edges that hold an optimum.

    Attributes:
        centre: the optimum.
        along: T.
        back: N^+ of the constraints that hold it, zero of the others.
        held: which ones these are.
        lost: whether nobody knows where an edge leads, which has a kink at the optimum or an infinite slope.
        combination: the discrete actions.
    """

    centre: Float[Array, "m"]
    along: Float[Array, "m m"]
    back: Float[Array, "m j"]
    held: Bool[Array, "j"]
    lost: Bool[Array, ""]
    combination: Combination

    def actions(self, inputs: tuple[Objective, Point], y: Float[Array, "m"]) -> Float[Array, "m"]:
        """u(y); the optimum itself is that of itself."""
        u = self.centre + self.along @ (y - self.centre)
        for _ in range(2):
            u = u - self.back @ self._numbers(inputs, u)
        return u

    def _numbers(self, inputs: Any, u: Float[Array, "m"]) -> Float[Array, "j"]:
        """The numbers of the constraints that hold, and zero; each by itself, as in `edges`."""

        def own(k: int) -> Array:
            objective, point, at = guard_inputs(self.held[k], (*inputs, u))
            number = Objective.limit(objective, k, point, Decision(self.combination, at))
            return jnp.where(self.held[k], number, 0.0)

        return jnp.stack([own(k) for k in range(self.held.shape[0])])


def edges(u: Float[Array, "m"], objective: Objective, point: Point, combination: Combination) -> Edges:
    """The edges that hold an optimum, without those that follow from others; differentiable."""
    values, slack, normals = lax.stop_gradient(_seen(u, objective, point, combination))
    inside = (u > 0) & (u < 1)
    # what a bound holds does not move along an edge
    normals = jnp.where(inside[None, :], normals, 0.0)
    known = jnp.all(jnp.isfinite(normals), axis=1)
    steep = jnp.sqrt(jnp.sum(jnp.where(known[:, None], normals, 0.0) ** 2, axis=1))
    near = jnp.abs(values) <= jnp.maximum(_NEAR * slack, _CLOSE[u.dtype.itemsize] * steep)
    lost = jnp.any(near & ~known)
    if objective.plan.kinked_limits:
        once, twice = lax.stop_gradient([_turned(u, inside, objective, point, combination, by) for by in (1, 2)])
        # as far again curvature turns it as much again, and a kink does not
        kinks = jnp.abs(once) > 3 * jnp.abs(twice - once) + _TURNED * steep[None, :, None]
        lost = lost | jnp.any(near & jnp.any(kinks, axis=(0, 2)))
    near = near & known

    def moving(k: int) -> Array:  # infinite slopes of others must not be met in reverse mode either
        own, here, at = guard_inputs(near[k], (objective, point, u))
        number = lambda at: Objective.limit(own, k, here, Decision(combination, at))  # noqa: E731
        normal = jax.vmap(lambda d: jax.jvp(number, (at,), (d,))[1])(jnp.eye(u.shape[0]))
        return jnp.where(inside & near[k], normal, 0.0)

    rows = jnp.stack([moving(k) for k in range(near.shape[0])])
    across, inverse = elimination.apart(rows, near, _APART[u.dtype.itemsize])
    held = jnp.any(lax.stop_gradient(across) != 0, axis=1)
    # at a vertex nothing is along the edges, and rounding must not say that something is
    vertex = jnp.sum(held) >= jnp.sum(inside)
    along = jnp.where(vertex, jnp.diag(jnp.where(inside, 0.0, 1.0)), jnp.eye(u.shape[0]) - across.T @ across)
    return Edges(u, along, across.T @ inverse, held, lost, combination)


def _seen(
    u: Float[Array, "m"], objective: Objective, point: Point, combination: Combination
) -> tuple[Float[Array, "j"], Float[Array, "j"], Float[Array, "j m"]]:
    """The numbers of the constraints, how far rounding may take them below zero, and how they move with u."""
    numbers = lambda at: objective.margins(point, Decision(combination, at))  # noqa: E731
    along = jax.vmap(lambda d: jax.jvp(numbers, (u,), (d,)), out_axes=((None, None), (1, None)))
    (values, slack), (normals, _) = along(jnp.eye(u.shape[0]))
    return values, slack, normals


def _turned(
    u: Float[Array, "m"],
    inside: Bool[Array, "m"],
    objective: Objective,
    point: Point,
    combination: Combination,
    by: int,
) -> Float[Array, "m j m"]:
    """How much constraints turn from one side of u to the other along each action."""
    aside = by * _ASIDE[u.dtype.itemsize] * jnp.diag(jnp.where(inside, jnp.minimum(u, 1 - u), 0.0))
    slopes = jax.vmap(lambda at: _seen(at, objective, point, combination)[2])
    found = slopes(u[None] + aside) - slopes(u[None] - aside)
    return jnp.where(inside[None, None, :], found, 0.0)


def along_edges(held: Edges, inputs: Any, y: Float[Array, "m"]) -> Float[Array, ""]:
    """Q(u(y)), whether or not it is allowed: chosen already, a constraint must not judge rounding."""
    objective, point = inputs
    u = held.actions(inputs, y)
    return Objective.judged(objective, point, Decision(held.combination, u))[0]


def size_of(held: Edges, objective: Objective, point: Point) -> Float[Array, ""]:
    """The size of Q and its slopes without edges, of which rounding is of what is left along these."""
    fixed, here, u = lax.stop_gradient((objective, point, held.centre))
    value = lambda at: Objective.judged(fixed, here, Decision(held.combination, at))[0]  # noqa: E731
    q, slopes = jax.vmap(lambda d: jax.jvp(value, (u,), (d,)), out_axes=(None, 0))(jnp.eye(u.shape[0]))
    found = jnp.abs(q) + jnp.max(jnp.where(jnp.isfinite(slopes), jnp.abs(slopes), 0.0))
    return jnp.where(jnp.isfinite(found), found, 0.0)


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
