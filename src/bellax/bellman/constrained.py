"""An optimum on the edge of smooth constraints moves along it: a change of variables, after which there is no edge.

Where constraints g = 0 hold an optimum u*, numbers y beside it stand for the actions

    u(y) = u* + T (y - u*) + N^+ c  with  g(u(y)) = 0,

T the projection on what is along the edges, N = g_u, and N^+ its pseudoinverse. Q(u(y)) knows no edge. With l the
multipliers, Q_u + N'l = 0, it moves with parameters as V does, by Q_p + Q_u u_p = Q_p + l'g_p, what a wider edge is
worth; along the edges its Hessian is that of the Lagrangian Q + l'g; and its kinks are those that an optimum meets on
its way along them. So nothing else about derivatives has to know of edges. Two steps of Newton's method say c as
exactly as second derivatives need it.
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
_APART = {8: 1e-6, 4: 1e-3}  # of a normal, what has to be left of it beside those of other edges


class Edges(eqx.Module):
    """The edges that hold an optimum.

    Attributes:
        centre: the optimum.
        along: T.
        back: N^+ of the constraints that hold it, zero of the others.
        held: which ones these are.
        combination: the discrete actions.
    """

    centre: Float[Array, "m"]
    along: Float[Array, "m m"]
    back: Float[Array, "m j"]
    held: Bool[Array, "j"]
    combination: Combination

    def actions(self, inputs: tuple[Objective, Point], y: Float[Array, "m"]) -> Float[Array, "m"]:
        """u(y); the optimum itself is that of itself."""
        objective, point = inputs
        u = self.centre + self.along @ (y - self.centre)
        for _ in range(2):
            numbers = Objective.margins(objective, point, Decision(self.combination, u))[0]
            u = u - self.back @ jnp.where(self.held, numbers, 0.0)
        return u


def edges(u: Float[Array, "m"], objective: Objective, point: Point, combination: Combination) -> Edges:
    """The edges that hold an optimum, without those that follow from others; differentiable."""
    numbers = lambda at: objective.margins(point, Decision(combination, at))  # noqa: E731
    (values, slack), (normals, _) = jax.vmap(
        lambda d: jax.jvp(numbers, (u,), (d,)), out_axes=((None, None), (1, None))
    )(jnp.eye(u.shape[0]))
    steep = jnp.sqrt(jnp.sum(normals**2, axis=1))
    close = jnp.maximum(_NEAR * slack, _CLOSE[u.dtype.itemsize] * steep)
    near = lax.stop_gradient((values <= close) & jnp.all(jnp.isfinite(normals)))
    # what a bound holds does not move along an edge
    normals = jnp.where(((u > 0) & (u < 1))[None, :], normals, 0.0)
    across, inverse = elimination.apart(normals, near, _APART[u.dtype.itemsize])
    held = jnp.any(lax.stop_gradient(across) != 0, axis=1)
    return Edges(u, jnp.eye(u.shape[0]) - across.T @ across, across.T @ inverse, held, combination)


def on_edges(edges: Edges, inputs: Any, y: Float[Array, "m"]) -> Float[Array, ""]:
    """Q(u(y)), whether or not it is allowed: chosen already, a constraint must not judge rounding."""
    objective, point = inputs
    u = edges.actions(inputs, y)
    return Objective.judged(objective, point, Decision(edges.combination, u))[0]
