"""Probabilities of given points with the moments of a normal variable: those that are nearest to its density.

Of x ~ N(m, s^2) on points x_1 < ... < x_n, with u = (x - m) / s, the probabilities that minimise the relative entropy
to the density q_j ~ exp(-u_j^2 / 2) subject to the first L moments of u are

    p_j ~ q_j exp(sum over l of lambda_l (u_j^l - E u^l)),

and lambda is the minimum of the logarithm of the sum of the right-hand side, which is convex: Newton's method. Two
moments can be met exactly where the variance is at least that of the two points around the mean, which is the least
that a distribution on the points can have with that mean; where it is not, these two points are the nearest.

Source: Tanaka and Toda (2013), Economics Letters 118, 445-450; Farmer and Toda (2017), Quantitative Economics 8,
651-683. Departs from them where two moments are not feasible: they take one moment then, and a larger variance.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logsumexp
from jaxtyping import Bool, Float, Int

from bellax.numerics import loops
from bellax.numerics.scalar import rounding

_NORMAL = np.array([0.0, 1.0, 0.0, 3.0])  # moments of a standard normal variable
_STEPS = 80  # of Newton's method at most, close to where two moments cease to be feasible
_EXACT = 8  # roundings by which moments may be missed
_NEAR = 0.1  # Newton's decrement from which on whole steps converge


def matched(
    nodes: Float[Array, "n"], mean: Float[Array, ""], deviation: Float[Array, ""], moments: int = 2
) -> Float[Array, "n"]:
    """Probabilities of nodes with the mean, the variance and, of four moments, skewness and kurtosis of a normal.

    Where four moments cannot be met there are two, and where the variance is less than the nodes can have the two
    nodes around the mean: the mean is met everywhere.

    Args:
        nodes: increasing, at least two; the mean lies between the first and the last.
        moments: 2 or 4.
    """
    u = (nodes - mean) / deviation
    spacing = jnp.max(jnp.diff(nodes)) / deviation
    wide = jnp.maximum(1.0, spacing)  # a start in which several nodes count
    found, fine = _tilted(u, jnp.stack([jnp.zeros_like(wide), 0.5 - 0.5 / wide**2]))
    fine = fine & (_least_variance(u) < 1.0) & (-u[0] * u[-1] > 1.0)
    best = jnp.where(fine, _probabilities(u, found, fine), _around(u))
    if moments == 2:
        return best
    more, also = _tilted(u, jnp.concatenate([jnp.where(fine, found, 0.0), jnp.zeros(2, u.dtype)]))
    also = also & fine
    return jnp.where(also, _probabilities(u, more, also), best)


def narrowed(
    nodes: Float[Array, "n"], probabilities: Float[Array, "n"], variance: Float[Array, ""]
) -> tuple[Float[Array, "n"], Bool[Array, ""]]:
    """Probabilities of nodes with the same mean and another variance, as far as they can have it; and whether they do.

    What lies between two nodes and is shared out to them spreads. A factor that is quadratic in the distance from the
    mean takes that back, as far as no probability becomes negative.
    """
    off = nodes - probabilities @ nodes
    second, third, fourth = (probabilities @ off**k for k in (2, 3, 4))
    there = second > 0
    second_or_one = jnp.where(there, second, 1.0)
    spare = fourth - second**2 - third**2 / second_or_one
    can = there & (spare > rounding(nodes.dtype) * second_or_one**2)
    bend = jnp.where(can, (variance - second) / jnp.where(can, spare, 1.0), 0.0)
    change = probabilities * bend * (off**2 - off * third / second_or_one - second)
    taken = (change < 0) & (probabilities > 0)
    most = jnp.min(jnp.where(taken, probabilities / jnp.where(taken, -change, 1.0), jnp.inf))
    close = jnp.abs(variance - second) <= rounding(nodes.dtype) * jnp.maximum(variance, second)
    return probabilities + jnp.minimum(1.0, most) * change, (can & (most >= 1)) | close


def _statistics(u: Float[Array, "n"], count: int) -> Float[Array, "n l"]:
    """Powers of u, less their means."""
    return jnp.stack([u**k for k in range(1, count + 1)], axis=1) - jnp.asarray(_NORMAL[None, :count], u.dtype)


def _curvature(
    u: Float[Array, "n"], tilt: Float[Array, "l"]
) -> tuple[Float[Array, "n"], Float[Array, "l"], Float[Array, "l l"]]:
    """Probabilities, the moments that they miss, and the derivative of these in the tilt."""
    powers = _statistics(u, tilt.shape[0])
    p = jax.nn.softmax(powers @ tilt - 0.5 * u**2)
    missed = p @ powers
    return p, missed, (p[:, None] * powers).T @ powers - jnp.outer(missed, missed)


class _Search(NamedTuple):
    """A tilt, the largest moment that it misses, and how many steps are left."""

    tilt: Float[Array, "l"]
    missed: Float[Array, ""]
    left: Int[Array, ""]


def _tilted(u: Float[Array, "n"], start: Float[Array, "l"]) -> tuple[Float[Array, "l"], Bool[Array, ""]]:
    """The tilt that meets the moments, and whether there is one. It has no derivative."""
    u, start = jax.lax.stop_gradient((u, start))
    powers = _statistics(u, start.shape[0])
    shares = jnp.asarray(0.5 ** np.arange(16), u.dtype)

    def step(state: _Search) -> _Search:
        tilt = state.tilt
        _, missed, curvature = _curvature(u, tilt)
        ridge = float(jnp.finfo(u.dtype).eps) * jnp.trace(curvature) * jnp.eye(len(tilt), dtype=u.dtype)
        newton = _solved(curvature + ridge, missed)
        tried = tilt[None] - shares[:, None] * newton[None]
        heights = logsumexp(tried @ powers.T - 0.5 * u[None] ** 2, axis=1)
        best = tried[jnp.argmin(jnp.where(jnp.isnan(heights), jnp.inf, heights))]
        following = jnp.where(missed @ newton < _NEAR, tried[0], best)
        known = jnp.all(jnp.isfinite(following))
        following = jnp.where(known, following, tilt)
        missed = jnp.max(jnp.abs(_curvature(u, following)[1]))
        return _Search(following, missed, state.left - jnp.where(known, 1, _STEPS))

    def done(state: _Search) -> Array:
        return (state.missed <= _EXACT * float(jnp.finfo(u.dtype).eps)) | (state.left <= 0)

    first = _Search(start, jnp.max(jnp.abs(_curvature(u, start)[1])), jnp.asarray(_STEPS))
    found = loops.until(done, step, first)
    return found.tilt, found.missed <= rounding(u.dtype)


def _solved(matrix: Float[Array, "l l"], right: Float[Array, "l"]) -> Float[Array, "l"]:
    """The solution of a positive definite system, written out: so few unknowns compile to less than a factorisation."""
    size = right.shape[0]
    rows = [[matrix[i, j] for j in range(size)] + [right[i]] for i in range(size)]
    for i in range(size):
        for k in range(i + 1, size):
            share = rows[k][i] / rows[i][i]
            rows[k] = [below - share * above for below, above in zip(rows[k], rows[i], strict=True)]
    found: list[Array] = []
    for i in reversed(range(size)):
        known = sum((rows[i][size - 1 - j] * x for j, x in enumerate(found)), jnp.zeros((), right.dtype))
        found.append((rows[i][size] - known) / rows[i][i])
    return jnp.stack(found[::-1])


def _probabilities(u: Float[Array, "n"], tilt: Float[Array, "l"], fine: Bool[Array, ""]) -> Float[Array, "n"]:
    """Probabilities of a tilt. It moves with u by the implicit function theorem: a last step of Newton's method, which
    changes nothing else."""
    tilt = jnp.where(fine, tilt, 0.0)
    _, missed, curvature = _curvature(u, tilt)
    missed = jnp.where(fine, missed, 0.0)
    safe = jnp.where(fine, jax.lax.stop_gradient(curvature), jnp.eye(len(tilt), dtype=u.dtype))
    return _curvature(u, tilt - _solved(safe, missed))[0]


def _cell(u: Float[Array, "n"]) -> Array:
    """The node below zero."""
    return jnp.clip(jnp.sum(u <= 0) - 1, 0, u.shape[0] - 2)


def _least_variance(u: Float[Array, "n"]) -> Float[Array, ""]:
    """The least variance of a distribution on the nodes whose mean is zero."""
    k = _cell(u)
    return -u[k] * u[k + 1]


def _around(u: Float[Array, "n"]) -> Float[Array, "n"]:
    """The two nodes around zero, with the mean zero."""
    k = _cell(u)
    above = jnp.clip(-u[k] / (u[k + 1] - u[k]), 0.0, 1.0)
    return jnp.zeros_like(u).at[k].set(1.0 - above).at[k + 1].set(above)
