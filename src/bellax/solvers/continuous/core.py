"""Where a population lives, before anything is solved: the steady state without noise, and what noise makes of it.

At a steady state (y, q) of the characteristics of the Hamilton-Jacobi-Bellman equation,

    dH/dq = 0,    discount q = dH/dy,

the derivative X = dq/dy along which they stay there is the stable subspace of their linearisation, found by the sign of
a matrix. With q = q* + X (y - y*) the drift of mass is linear around the place where it is zero, and noise spreads the
population there with the covariance S of B S + S B' + D = 0 (Lyapunov). Howard's iteration starts from q, and the
density from this normal.

The *core* is where it lives: so many standard deviations, and of a state without noise of its own as far as others lead
it. Nets are trained on a box around the core: what V does at an edge that the domain goes on beyond is not known, and
is felt within a standard deviation of it.

Source: Roberts (1980) for the sign; Magill (1977) for the approximation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.learning import sampling
from bellax.learning.nets import Box
from bellax.numerics import loops
from bellax.solvers.continuous.pointwise import Pointwise

_STARTS, _STEPS, _SIGNS, _NEWTON = 32, 80, 60, 30
_CLOSE = 1e-8
_MARGIN = 1.0  # standard deviations beyond the core, where nets are trained and V is not told
_MOST = 3.0  # of log marginal values across the core, where they are taken for straight lines


class Core(NamedTuple):
    """Where a population lives.

    Attributes:
        box: where nets are trained, in coordinates.
        inner: the core itself, where V is told.
        domain: the whole domain.
        centre: where the mean drift is zero, shape (d,).
        marginal, tilt: V_x there, shape (d,), and its derivative in the coordinates, shape (d, d).
        precision: the inverse of the covariance of the coordinates; the identity where that has none.
        found: one where there is a steady state, which the policy returns to, else zero.
        spread: one where noise reaches all states, so that the normal has a density, else zero.
        beyond: by how much of its width a state's steady state is beyond its lower, and its upper edge, shape (2, d).
    """

    box: Box
    inner: Box
    domain: Box
    centre: Array
    marginal: Array
    tilt: Array
    precision: Array
    found: Array
    spread: Array
    beyond: Array

    def costate(self, y: Array) -> Array:
        """Marginal values to begin with, in units of the states: straight lines, or straight logarithms where these
        would change sign."""
        move = self.tilt @ (y - self.centre)
        reach = jnp.abs(self.tilt) @ (0.5 * (self.box.upper - self.box.lower))
        size = jnp.abs(self.marginal)
        bent = (reach >= size) & (reach <= _MOST * size)
        share = jnp.where(bent, move / jnp.where(size > 0, self.marginal, 1.0), 0.0)
        return jnp.where(bent, self.marginal * jnp.exp(share), self.marginal + move)

    def normal(self, y: Array) -> Array:
        """The logarithm of the normal density, up to a constant; zero where there is none."""
        away = y - self.centre
        return -0.5 * self.spread * (away @ self.precision @ away)


def core(point: Pointwise, reach: float, seed: int) -> Core:
    """Finds the core, inside a compiled program; without derivatives.

    Args:
        reach: standard deviations of the box.
    """
    lower, upper = point.domain()
    count = lower.shape[0]
    steady, residual = _steady(point, Box(lower, upper), seed)
    y, q = steady[:count], steady[count:]
    X = _stable(point, y, q)
    of = lambda x: point.drift(x, q + X @ (x - y))  # noqa: E731
    centre = _zero(of, y)
    B, D = jax.jacfwd(of)(centre), jnp.diag(point.spread(centre))
    eye = jnp.eye(count)
    system = jnp.kron(B, eye) + jnp.kron(eye, B)
    covariance = jnp.linalg.solve(system, -D.reshape(-1)).reshape(count, count)
    covariance = 0.5 * (covariance + covariance.T)
    every = jnp.concatenate([x.reshape(-1) for x in (X, centre, covariance, of(centre))])
    returns = jnp.all(jnp.linalg.eigvalsh(covariance) >= -1e-10 * jnp.trace(covariance))
    found = (residual < _CLOSE) & jnp.all(jnp.isfinite(every)) & (jnp.max(jnp.abs(of(centre))) < 1e-6) & returns
    clean = lambda x, other: jnp.where(found, jnp.nan_to_num(x), other)  # noqa: E731
    centre, covariance = clean(centre, 0.5 * (lower + upper)), clean(covariance, jnp.zeros((count, count)))
    half = _half(covariance, clean(B, eye), reach)
    wide = half > 1e-3 * (upper - lower)
    over = jnp.stack([lower - centre, centre - upper]) / (upper - lower)[None, :]
    # marginal values of the states as functions of coordinates
    along = lambda x: point.marginals(x, q + X @ (x - y))  # noqa: E731
    marginal, tilt = clean(along(centre), jnp.zeros(count)), clean(jax.jacfwd(along)(centre), jnp.zeros((count, count)))
    least = jnp.linalg.eigvalsh(covariance)[0]
    spread = found & (least > 1e-10 * jnp.trace(covariance)) & jnp.all(wide)
    precision = jnp.linalg.inv(jnp.where(spread, covariance, eye))
    whole, truth = Box(lower, upper), (found.astype(float), spread.astype(float))
    made = Core(whole, whole, whole, centre, marginal, tilt, precision, *truth, over)
    free = jnp.asarray([name not in point.flow.spreads for name in point.names])
    inner, box = (around(made, jnp.where(wide, size * half, jnp.inf), free) for size in (1.0, 1 + _MARGIN / reach))
    return lax.stop_gradient(made._replace(box=box, inner=inner))


def around(core: Core, half: Array, free: Array) -> Box:
    """The part of the domain that is no farther from the centre than half a side; of states without noise in logarithms
    where that is farther, since what the exponential of a shock leads is led farther away from zero than towards it."""
    lower, upper = core.domain.lower, core.domain.upper
    inside = jnp.clip(core.centre, lower, upper)
    size = jnp.abs(inside)
    bent = free & (half <= size)
    share = jnp.where(bent, half / jnp.where(bent, size, 1.0), 0.0)
    far = jnp.where(bent, size * jnp.expm1(share), half)
    return Box(
        jnp.maximum(inside - jnp.where(inside < 0, far, half), lower),
        jnp.minimum(inside + jnp.where(inside > 0, far, half), upper),
    )


def _half(covariance: Array, B: Array, reach: float) -> Array:
    """Half the sides of a box that is left by nobody: standard deviations, and for states without noise where others
    at the edges of the box lead them."""
    sd = reach * jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), 0.0))
    own = jnp.diagonal(B)
    led = jnp.abs(B / jnp.where(own == 0, 1.0, own)[:, None]) * (1 - jnp.eye(B.shape[0]))
    half = sd
    for _ in range(B.shape[0]):
        half = jnp.maximum(half, 1.25 * jnp.sum(led * half[None, :], axis=1))
    # what leads each other in a circle is bounded by its spread alone
    return jnp.where(half > 3 * sd, sd, half)


def _steady(point: Pointwise, domain: Box, seed: int) -> tuple[Array, Array]:
    """The steady state (y, q) whose equations are left the least, of several beginnings, and what is left."""
    count = domain.lower.shape[0]

    def equations(v: Array) -> Array:
        y, q = v[:count], v[count:]
        total = point.travelling(y, q)
        in_y, in_q = jax.grad(point.travelling, (0, 1))(y, q)
        rate, tilt = jax.value_and_grad(lambda y: point.discount(point.states(y)))(y)
        return jnp.concatenate([in_q / (domain.upper - domain.lower), rate * q - in_y + tilt * total / rate])

    draws = jnp.asarray(sampling.points(_STARTS, 2 * count, seed))

    def start(draw: Array) -> Array:
        y = domain.at(draw[:count])
        slope = point.metric(point.states(y)).slope
        sign = jnp.where(draw[count:] < 0.1, -1.0, 1.0)
        return jnp.concatenate([y, sign * jnp.exp(6 * draw[count:] - 3) / slope])

    def descend(v: Array) -> tuple[Array, Array]:
        def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            v, damping, loss = state
            matrix, right = jax.jacfwd(equations)(v), equations(v)
            square = matrix.T @ matrix + damping * jnp.diag(jnp.diagonal(matrix.T @ matrix) + 1e-12)
            trial = v - jnp.linalg.solve(square, matrix.T @ right)
            after = jnp.sum(equations(trial) ** 2)
            better = after < loss
            return (
                jnp.where(better, trial, v),
                jnp.where(better, damping / 4, damping * 5),
                jnp.where(better, after, loss),
            )

        v, _, loss = loops.repeat(_STEPS, step, (v, jnp.full((), 1e-2), jnp.sum(equations(v) ** 2)))
        return v, jnp.where(jnp.isfinite(loss), jnp.sqrt(loss), jnp.inf)

    found, left = jax.vmap(lambda draw: descend(start(draw)))(draws)
    size = domain.upper - domain.lower
    outside = lambda v: jnp.max(jnp.maximum(domain.lower - v[:count], v[:count] - domain.upper) / size)  # noqa: E731
    away = jax.vmap(outside)(found)
    # of those that are steady states the one that is most inside
    best = jnp.argmin(jnp.where(left < _CLOSE, jnp.maximum(away, 0.0), 1e6 * (1 + left)))
    return found[best], left[best]


def _stable(point: Pointwise, y: Array, q: Array) -> Array:
    """dq/dy along the characteristics that end at a steady state."""
    count = y.shape[0]

    def paths(v: Array) -> Array:
        y, q = v[:count], v[count:]
        in_y, in_q = jax.grad(point.travelling, (0, 1))(y, q)
        return jnp.concatenate([in_q, point.discount(point.states(y)) * q - in_y])

    matrix = jax.jacfwd(paths)(jnp.concatenate([y, q]))
    matrix = matrix - 0.5 * point.discount(point.states(y)) * jnp.eye(2 * count)
    step = lambda sign: 0.5 * (sign + jnp.linalg.inv(sign))  # noqa: E731
    sign = loops.repeat(_SIGNS, step, matrix) + jnp.eye(2 * count)
    return -jnp.linalg.lstsq(sign[:, count:], sign[:, :count])[0]


def _zero(of: Callable[[Array], Array], y: Array) -> Array:
    """Where a function is zero, by Newton's method."""
    return loops.repeat(_NEWTON, lambda x: x - jnp.linalg.solve(jax.jacfwd(of)(x), of(x)), y)
