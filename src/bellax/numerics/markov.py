"""Finite Markov chains for the first-order autoregression

    z' = (1 - rho) mean + rho z + sigma eps,     eps standard normal,

whose mean is `mean` and whose standard deviation is sigma / sqrt(1 - rho^2). A chain is a pair (values,
transition), transition[i, j] being the probability of going from value i to value j; its stationary
distribution p solves p = p P.

Rouwenhorst's chain counts the heads among n - 1 independent coins, each of which keeps its side with
probability (1 + rho) / 2. Its stationary distribution is binomial, its mean, variance and autocorrelation are
those of the process for every n and rho (Kopecky and Suen 2010): the one to take for persistent processes.
Tauchen's chain moves to the nearest of equally spaced values. Its moments converge in n, slowly where rho is
near one, but its conditional distributions look normal with few values already. The chain of Farmer and Toda has
equally spaced values and those probabilities that are nearest to the conditional density and have its moments
(entropy.py).

Where rho, sigma and mean move with time, z' = (1 - rho_t) mean_t + rho_t z + sigma_t eps, or z does not start from
its stationary distribution, that of z moves with time: `moments` follows it from period 0. All chains then have the
same values in units of each period's standard deviation, and the transition from one period to the next is that of the
stationary chain whose rho is the correlation of the two (Fella, Gallipoli and Pan 2019).

The number of values is static. Chains are differentiable in rho, sigma and mean: the transition depends on
rho alone, the values are affine in mean and sigma.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, ArrayLike, Float, Int

from bellax.errors import ModelError
from bellax.numerics.entropy import matched

Scalar = float | int | Float[ArrayLike, ""]
Chain = tuple[Float[Array, "s"], Float[Array, "s s"]]


def rouwenhorst(count: int, rho: Scalar, sigma: Scalar, mean: Scalar = 0.0) -> Chain:
    """Rouwenhorst's chain: mean, variance and autocorrelation are exactly those of the process.

    Row i of the transition is the distribution of the heads among i coins of bias p and n - 1 - i coins of
    bias 1 - p, with p = (1 + rho) / 2: the coefficients of (1 - p + p x)^i (p + (1 - p) x)^(n - 1 - i).

    Args:
        count: the number of values n; one value stands for a process that stays at its mean.
        rho: autocorrelation, between -1 and 1.
        sigma: standard deviation of the innovation (conditional on today's value).
        mean: the unconditional mean.
    Returns:
        Values, increasing, shape (s,), and the transition, shape (s, s).
    Raises:
        ModelError: if count is below one.
    Assumes: |rho| < 1; values are infinite or nan otherwise.
    Source: Rouwenhorst (1995); Kopecky and Suen (2010), Review of Economic Dynamics 13, 701-714. Departs from
        their recursion in multiplying out the generating function of each row, one coin at a time.
    """
    rho, sigma, mean = _floats(rho, sigma, mean)
    units, transition = standard_rouwenhorst(count, rho)
    return mean + np.sqrt(count - 1.0).item() * sigma / shrink(rho) * units, transition


def standard_rouwenhorst(count: int, correlation: Scalar) -> Chain:
    """Rouwenhorst's chain between two periods of given correlation, its values from -1 to 1.

    A unit is sqrt(n - 1) standard deviations of the period.
    """
    (correlation,) = _floats(correlation)
    return _units("rouwenhorst", count), _coins(count, 0.5 * (1.0 + correlation))


@functools.partial(jax.jit, static_argnums=0)
def _coins(count: int, keep: Float[Array, ""]) -> Float[Array, "s s"]:
    """Distribution of the heads among count - 1 coins, row i after i of them showed heads."""
    heads = jnp.arange(count)[:, None]

    def add_coin(coin: Int[Array, ""], rows: Float[Array, "s s"]) -> Float[Array, "s s"]:
        tail = jnp.where(coin < heads, 1.0 - keep, keep)
        return tail * rows + (1.0 - tail) * jnp.pad(rows[:, :-1], ((0, 0), (1, 0)))

    nobody = jnp.zeros((count, count), float).at[:, 0].set(1.0)
    return jax.lax.fori_loop(0, count - 1, add_coin, nobody)


def tauchen(count: int, rho: Scalar, sigma: Scalar, mean: Scalar = 0.0, width: int | float = 3.0) -> Chain:
    """Tauchen's chain: equally spaced values, each reached with the probability of the points nearest to it.

    P_ij = Phi((z_j + h/2 - rho z_i) / sigma) - Phi((z_j - h/2 - rho z_i) / sigma), with h the spacing, z
    measured from its mean, and the first and the last interval unbounded.

    Args:
        count: the number of values n; one value stands for a process that stays at its mean.
        rho: autocorrelation, between -1 and 1.
        sigma: standard deviation of the innovation (conditional on today's value).
        mean: the unconditional mean.
        width: distance of the end values from the mean, in unconditional standard deviations.
    Returns:
        Values, increasing, shape (s,), and the transition, shape (s, s).
    Raises:
        ModelError: if count is below one.
    Assumes: |rho| < 1; values are infinite or nan otherwise.
    Source: Tauchen (1986), Economics Letters 20, 177-181, eq. (3).
    """
    rho, sigma, mean = _floats(rho, sigma, mean)
    units, transition = standard_tauchen(count, rho, width)
    return mean + width * sigma / shrink(rho) * units, transition


def standard_tauchen(count: int, correlation: Scalar, width: int | float = 3.0) -> Chain:
    """Tauchen's chain between two periods of given correlation, its values from -1 to 1.

    A unit is `width` standard deviations of the period.
    """
    (correlation,) = _floats(correlation)
    units = _units("tauchen", count)
    return units, _intervals(units, correlation, jnp.asarray(width, float))


def standard_farmer_toda(count: int, correlation: Scalar, moments: int = 2, width: int | float | None = None) -> Chain:
    """The chain of Farmer and Toda between two periods of given correlation, its values from -1 to 1.

    Its conditional means are those of the process, and so are its conditional variances wherever the values can have
    them: at sqrt(n - 1) standard deviations everywhere, where Rouwenhorst's chain has them, too.

    Args:
        count: the number of values n.
        moments: conditional moments to meet, 2 or 4; in rows that cannot have four, two.
        width: what a unit is, in standard deviations of the period; by default sqrt(n - 1).
    Source: Farmer and Toda (2017), Quantitative Economics 8, 651-683, on their even-spaced grid.
    """
    (correlation,) = _floats(correlation)
    units = _units("farmer_toda", count)
    width = np.sqrt(count - 1.0).item() if width is None else width
    return units, tilted_rows(units * width, correlation, moments)


@functools.partial(jax.jit, static_argnums=2)
def tilted_rows(nodes: Float[Array, "s"], rho: Float[Array, ""], moments: int) -> Float[Array, "s s"]:
    """Rows with the conditional moments of a process with nodes in its standard deviations."""
    return jax.vmap(lambda mean: matched(nodes, mean, shrink(rho), moments))(rho * nodes)


@jax.jit
def _intervals(units: Float[Array, "s"], rho: Float[Array, ""], width: Float[Array, ""]) -> Float[Array, "s s"]:
    """Probabilities of the intervals around each unit, row i given unit i today."""
    expected = rho * units[:, None]
    edges = 0.5 * (units[1:] + units[:-1])[None, :]
    edges = width * (edges - expected) / shrink(rho)
    below = jnp.pad(ndtr(edges), ((0, 0), (1, 1)), constant_values=(0.0, 1.0))
    above = jnp.pad(ndtr(-edges), ((0, 0), (1, 1)), constant_values=(1.0, 0.0))
    # Differences in the tail where the function is small: no probability is lost to cancellation against one.
    left = jnp.diff(below, axis=1)
    right = -jnp.diff(above, axis=1)
    return jnp.where(units[None, :] < expected, left, right)


def moments(
    rho: Float[Array, "t"],
    sigma: Float[Array, "t"],
    mean: Float[Array, "t"],
    start: tuple[Float[Array, ""], Float[Array, ""]] | None = None,
) -> tuple[Float[Array, "t+1"], Float[Array, "t+1"]]:
    """Mean and standard deviation of the process in each period, by the law of z' = mean_t + rho_t (z - mean_t) + ...

    Args:
        rho, sigma, mean: what moves the process from period t to t + 1.
        start: mean and standard deviation in period 0; those that are stationary under its own parameters by default.
    Returns:
        Mean and standard deviation in periods 0 to t.
    Assumes: |rho_0| < 1 without a start; later ones may be one, or beyond.
    Source: Fella, Gallipoli and Pan (2019), Review of Economic Dynamics 34, 183-201, who date a shock by its arrival.
    """
    first = (mean[0], sigma[0] / shrink(rho[0])) if start is None else start

    def move(now: tuple[Array, Array], law: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Any]:
        centre, spread = now
        rho, sigma, mean = law
        following = mean + rho * (centre - mean), _together(rho * spread, sigma)
        return following, following

    _, later = jax.lax.scan(move, first, (rho, sigma, mean))
    centre, spread = (jnp.concatenate([start[None], rest]) for start, rest in zip(first, later, strict=True))
    return centre, spread


def correlation(rho: Scalar, sigma: Scalar, spread: Scalar) -> Float[Array, ""]:
    """Correlation of z today, whose standard deviation is `spread`, and z tomorrow; short of one by rounding."""
    rho, sigma, spread = _floats(rho, sigma, spread)
    following = _together(rho * spread, sigma)
    moving = following > 0
    found = jnp.where(moving, rho * spread / jnp.where(moving, following, 1.0), 0.0)
    most = 1.0 - float(jnp.finfo(found.dtype).eps)
    return jnp.clip(found, -most, most)


def _together(a: Float[Array, ""], b: Float[Array, ""]) -> Float[Array, ""]:
    """sqrt(a^2 + b^2), with a derivative where both are zero."""
    size = a**2 + b**2
    spread = size > 0
    return jnp.where(spread, jnp.sqrt(jnp.where(spread, size, 1.0)), jnp.abs(a) + b)


@jax.jit
def stationary(transition: Float[Array, "s s"]) -> Float[Array, "s"]:
    """Stationary distribution p = p P, sum(p) = 1, by one linear solve; differentiable in the transition.

    One equation of the system is redundant; the sum replaces the last one. A derivative has meaning along
    directions in which the rows keep their sums.

    Args:
        transition: probabilities of going from a row to a column, shape (s, s).
    Returns:
        Probabilities of the states, shape (s,), non-negative, each good to the rounding of one: a state that
        is never visited may get 1e-16.
    Assumes: one recurrent class; with several the distribution is not unique, the outcome nan or arbitrary.
    """
    count = transition.shape[0]
    ones = jnp.ones((1, count), transition.dtype)
    system = jnp.concatenate([(jnp.eye(count, dtype=transition.dtype) - transition.T)[:-1], ones])
    solution = jnp.linalg.solve(system, jnp.zeros(count, transition.dtype).at[-1].set(1.0))
    # Rounding leaves -1e-17 where the probability is negligible. Clipping must not touch the derivative.
    clipped = jnp.maximum(solution, 0.0)
    return solution + jax.lax.stop_gradient(clipped / jnp.sum(clipped) - solution)


def _floats(*numbers: Scalar) -> list[Float[Array, ""]]:
    return [jnp.asarray(number, float) for number in numbers]


def _units(name: str, count: int) -> Float[Array, "s"]:
    """Equally spaced values from -1 to 1, or the one value 0."""
    if count < 1:
        raise ModelError(f"{name} was asked for {count} values, and a chain has at least one. Raise the count.")
    return jnp.asarray(np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1), float)


def shrink(rho: Float[Array, ""]) -> Float[Array, ""]:
    """Conditional over unconditional standard deviation, sqrt(1 - rho^2), without cancellation near one."""
    return jnp.sqrt((1.0 - rho) * (1.0 + rho))
