"""Q at one state and action to second order, where tomorrow's V is quadratic.

    Q(x, u) = E[r + beta V'(f)],    V'(y) = level + slope'(y - at) + (y - at)'curvature (y - at) / 2

With f = f(x, u, w) the second derivatives are those of E[r + beta (V'(f0) + V''(f0)'(f - f0))], f0 held fixed, and
E[beta f_z'V''' f_z]. Products of derivatives of r, beta, f and of probabilities are in the former.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.solvers.quadratic.stage import Lottery, Outcomes


class Quadratic(NamedTuple):
    """V near a state.

    Attributes:
        at: the state.
        level, slope, curvature: V there and its derivatives.
    """

    at: Float[Array, "n"]
    level: Float[Array, ""]
    slope: Float[Array, "n"]
    curvature: Float[Array, "n n"]

    def __call__(self, x: Float[Array, "n"]) -> Float[Array, ""]:
        away = x - self.at
        return self.level + away @ (self.slope + 0.5 * (self.curvature @ away))


class Expansion(NamedTuple):
    """Q near a state x and an action u.

    Attributes:
        level: Q there.
        by_state, by_action: its gradient.
        states, mixed, actions: second derivatives; rows of `mixed` are actions.
    """

    level: Float[Array, ""]
    by_state: Float[Array, "n"]
    by_action: Float[Array, "m"]
    states: Float[Array, "n n"]
    mixed: Float[Array, "m n"]
    actions: Float[Array, "m m"]


def expand(lottery: Lottery, x: Float[Array, "n"], u: Float[Array, "m"], later: Quadratic) -> Expansion:
    """Q to second order in the state and the action, for tomorrow's V."""
    count = x.shape[0]
    point = jnp.concatenate([x, u])
    of = lambda z: lottery(z[:count], z[count:])  # noqa: E731
    here = of(point)
    away = here.following - later.at[None]
    bent = away @ later.curvature
    slopes = later.slope[None] + bent
    worth = later.level + away @ later.slope + 0.5 * jnp.sum(away * bent, axis=1)

    def linear(z: Array) -> Array:
        found: Outcomes = of(z)
        tomorrow = worth + jnp.sum(slopes * (found.following - here.following), axis=1)
        return jnp.sum(found.weights * (found.rewards + found.discounts * tomorrow))

    gradient = jax.grad(linear)
    hessian = jax.jacfwd(gradient)(point) + _carried(of, point, here, later)
    by = gradient(point)
    level = jnp.sum(here.weights * (here.rewards + here.discounts * worth))
    states, actions = slice(None, count), slice(count, None)
    return Expansion(
        level, by[states], by[actions], hessian[states, states], hessian[actions, states], hessian[actions, actions]
    )


def _carried(of: Callable[[Array], Outcomes], point: Array, here: Outcomes, later: Quadratic) -> Float[Array, "z z"]:
    """What the curvature of V brings: E[beta f_z' V'' f_z]."""
    shares = here.weights * here.discounts
    laws = jax.jacfwd(lambda z: of(z).following)(point)  # (q, n, z)
    first = laws[0]
    bent, total = later.curvature @ first, jnp.sum(shares)
    if len(laws) == 1:
        return total * (first.T @ bent)
    # laws that noise is added to are alike, and are carried once
    apart = laws - first[None]
    cross = bent.T @ jnp.tensordot(shares, apart, 1)

    def spread(apart: Array) -> Array:
        rows = (-1, point.shape[0])
        scaled = shares[:, None, None] * (later.curvature @ apart)
        return apart.reshape(rows).T @ scaled.reshape(rows)

    # its derivative is zero, too, where nothing is apart
    more = lax.cond(jnp.any(apart != 0), spread, lambda apart: jnp.zeros_like(cross), apart)
    return total * (first.T @ bent) + cross + cross.T + more


def terminal(value: Callable[[Array], Array], x: Float[Array, "n"]) -> Quadratic:
    """A function of the state to second order."""
    return Quadratic(x, value(x), jax.grad(value)(x), jax.hessian(value)(x))
