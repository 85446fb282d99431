"""The best action of a quadratic within bounds, by projected Newton steps.

    max over a of g'(a - u) + (a - u)'H (a - u) / 2,    lower <= a <= upper

An action is held at a bound where it is there and its slope points beyond; the others take a Newton step together, cut
off at their bounds. What is held follows its bound, where that names a state or another action.

Source: Bertsekas (1982), SIAM Journal on Control and Optimization 20, 221-246; Tassa, Mansard & Todorov (2014),
"Control-limited differential dynamic programming".
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from bellax.numerics import loops
from bellax.numerics.scalar import as_small, rounding
from bellax.solvers.quadratic.stage import Bounds, slack, units

_MOST = 100  # Newton steps of one period
_SHARES = 2.0 ** -np.arange(8.0)


class Held(NamedTuple):
    """Actions, and which of them are at a bound.

    Attributes:
        free: each action that is free; of one that is held how far it is from its bound, zero.
        side: -1 at the lower bound, 1 at the upper one, else 0.
    """

    free: Float[Array, "m"]
    side: Float[Array, "m"]


def actions(bounds: Bounds, x: Float[Array, "n"], held: Held) -> Float[Array, "m"]:
    """The actions at a state: free ones as they are, others at their bounds."""
    return bounds.within(x, lambda part, low, high: followed(held, part, low, high)).action


def followed(held: Held, part: slice, low: Array, high: Array) -> Array:
    """One action, not cut off: what is differentiated."""
    free, side = held.free[part], held.side[part]
    bound = jnp.where(side < 0, jnp.where(side < 0, low, 0.0), jnp.where(side > 0, high, 0.0))
    return free + bound


class Factor(NamedTuple):
    """A negative definite matrix of the free actions, ready to be solved with; those that are held have zeros."""

    lower: Float[Array, "m m"]
    free: Bool[Array, "m"]
    scale: Float[Array, "m"]
    sound: Bool[Array, ""]

    def ascent(self, right: Float[Array, "m ..."]) -> Array:
        """d with -H d = right among the free actions."""
        mask = jnp.where(self.free, self.scale, 0.0).reshape(-1, *(1,) * (right.ndim - 1))
        inner = jax.scipy.linalg.cho_solve((self.lower, True), mask * right)
        return mask * inner


def factored(hessian: Float[Array, "m m"], free: Bool[Array, "m"], damping: Array | float = 0.0) -> Factor:
    """The factor of -H + damping among the free actions, in units in which the diagonal is one.

    It is sound where the matrix is definite by more than rounding.
    """
    size = jnp.abs(jnp.diagonal(hessian))
    least = as_small(1e-12) * jnp.max(jnp.where(free, size, 0.0))
    size = jnp.maximum(size, jnp.where(least > 0, least, 1.0))
    scale = 1 / jnp.sqrt(jax.lax.stop_gradient(size))
    both = free[:, None] & free[None, :]
    eye = jnp.eye(size.shape[0])
    matrix = jnp.where(both, -hessian * scale[:, None] * scale[None] + damping * eye, eye)
    lower = jnp.linalg.cholesky(0.5 * (matrix + matrix.T))
    pivots = jnp.diagonal(lower)
    sound = jnp.all(pivots**2 > rounding())  # not a number is none
    return Factor(jnp.where(sound, lower, eye), free, scale, sound)


def best(
    bounds: Bounds, x: Float[Array, "n"], u: Float[Array, "m"], slope: Array, hessian: Array, damping: Array | float
) -> Held:
    """Which actions are held at bounds, and where the others are, at the best ones.

    Nothing here is differentiated. Where the quadratic is not concave the search stops, and whoever factorises it
    again sees that.
    """
    layout = bounds.layout
    if not layout.bounded:
        return Held(u, jnp.zeros_like(u))
    size = jnp.abs(jnp.diagonal(hessian))
    curved = hessian - damping * jnp.diag(size)
    value = lambda a: (a - u) @ (slope + 0.5 * (curved @ (a - u)))  # noqa: E731

    def sides(a: Array) -> tuple[Held, Array, Array]:
        _, low, high = bounds.box(x, a)
        below, above = a <= low + slack(low, low, high), a >= high - slack(high, low, high)
        near = Held(jnp.where(below | above, 0.0, a), jnp.where(below, -1.0, jnp.where(above, 1.0, 0.0)))
        gradient = slope + curved @ (a - u)
        if layout.linked:
            gradient = jax.grad(lambda free: gradient @ actions_of(free, near.side))(near.free)
        stuck = high <= low + slack(low, low, high)
        # between equal bounds an action follows the one that it would be held at if they parted
        free = jnp.where(stuck, -1.0, 0.0)
        side = jnp.where(below & (gradient < 0), -1.0, jnp.where(above & (gradient > 0), 1.0, free))
        return Held(jnp.where(side == 0, a, 0.0), side), *reduced(a, side)

    def actions_of(free: Array, side: Array) -> Array:
        return actions(bounds, x, Held(free, side))

    def reduced(a: Array, side: Array) -> tuple[Array, Array]:
        """Slope and curvature in what is free."""
        gradient = slope + curved @ (a - u)
        if not layout.linked:
            return gradient, curved
        free = jnp.where(side == 0, a, 0.0)
        law = jax.jacfwd(actions_of)(free, side)
        bent = jax.hessian(lambda free: gradient @ actions_of(free, side))(free)
        return law.T @ gradient, law.T @ curved @ law + bent

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        a, _, _, count = state
        held, gradient, bent = sides(a)
        found = factored(bent, held.side == 0)
        direction = found.ascent(gradient)

        def moved(share: Array) -> Array:
            wanted = Held(held.free + share * direction, held.side)
            cut = lambda part, low, high: jnp.clip(followed(wanted, part, low, high), low, high)  # noqa: E731
            return bounds.within(x, cut).action

        tried = jax.vmap(moved)(jnp.asarray(_SHARES))
        values = jax.vmap(value)(tried)
        place = jnp.argmax(jnp.where(jnp.isfinite(values), values, -jnp.inf))
        new = tried[place]
        better = (values[place] > value(a)) & found.sound
        _, low, high = bounds.box(x, a)
        far = jnp.any(jnp.abs(new - a) > as_small(1e-14) * units(a, low, high))
        return jnp.where(better, new, a), held, better & far, count + 1

    start = bounds.within(x, lambda part, low, high: jnp.clip(u[part], low, high)).action
    state = (start, Held(start, jnp.zeros_like(start)), jnp.ones((), bool), jnp.zeros((), jnp.int32))
    state = loops.until(lambda state: ~state[2] | (state[3] >= _MOST), step, state)
    return sides(state[0])[0]
