"""Consumption of a buffer stock saver by an endogenous grid in numpy, with cubic splines of known slopes.

    u'(c(m)) = R beta E (G psi)^(-rho) c(m')^(-rho),    m = a + c,    m' = R / (G psi) a + theta,    u'(c) = c^(-rho),

in units of permanent income. Where theta may be zero nobody saves nothing, and c is smooth: slopes follow from the
derivative of the same equation, and the error falls with the fourth power of the distance of nodes. Where it may not,
all is consumed up to the m of a = 0, where c has a kink.

Source: Carroll (2006), "The method of endogenous gridpoints for solving dynamic stochastic optimization problems",
Economics Letters 91.
"""

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from bellax.models._references.numbers import Numbers

Atoms = tuple[np.ndarray, np.ndarray]
"""Values and their probabilities, shape (q,)."""


class BufferStock(NamedTuple):
    """Consumption, and where the ratio of cash to permanent income stays.

    Attributes:
        consumption: c(m).
        target: m that is expected to stay as it is.
        steady_state: m at which total cash is expected to grow like permanent income.
    """

    consumption: Callable[[Numbers], Numbers]
    target: float
    steady_state: float


def equiprobable(sigma: float, count: int) -> Atoms:
    """Means of a log-normal of mean one between quantiles of equal probability."""
    normal = NormalDist()
    cuts = [normal.cdf(normal.inv_cdf(k / count) - sigma) for k in range(1, count)]
    below = np.array([0.0, *cuts, 1.0])
    return count * np.diff(below), np.full(count, 1 / count)


def gauss_hermite(sigma: float, count: int) -> Atoms:
    """A log-normal of mean one on the nodes of Gauss and Hermite."""
    z, weights = np.polynomial.hermite_e.hermegauss(count)
    return np.exp(sigma * z - sigma**2 / 2), weights / weights.sum()


def unemployed(wages: Atoms, probability: float) -> Atoms:
    """Wages, or nothing with a probability, of the same mean."""
    values, weights = wages
    return np.append(0.0, values / (1 - probability)), np.append(probability, weights * (1 - probability))


def buffer_stock(
    discount: float,
    risk_aversion: float,
    gross_return: float,
    growth: float,
    permanent: Atoms,
    transitory: Atoms,
    nodes: int = 600,
) -> BufferStock:
    """The solution.

    Args:
        permanent, transitory: psi and theta.
    """
    from scipy.interpolate import CubicHermiteSpline  # .2 s at import, which a solve of the model does not need
    from scipy.optimize import brentq

    rho, (psi, p), (theta, q) = risk_aversion, permanent, transitory
    weights = np.outer(p, q).ravel()
    returns = np.repeat(gross_return / (growth * psi), len(theta))
    factor = np.repeat(gross_return * discount * (growth * psi) ** -rho, len(theta)) * weights
    income = np.tile(theta, len(psi))
    binds = theta.min() > 0
    saved = np.append(0.0, np.geomspace(1e-5, 60.0, nodes - 1)) if binds else np.geomspace(1e-5, 60.0, nodes)
    first = int(not binds)  # at m = 0 nothing is consumed
    cash = returns[:, None] * saved + income[:, None]
    m, c, slope = np.append(0.0, saved)[1 - first :], np.append(0.0, saved)[1 - first :], np.ones(nodes + first)
    if binds:
        m, c = m + 0.5, c + 0.5
    for _ in range(10_000):
        later = _spline(CubicHermiteSpline, m, c, slope)
        ahead, steep = later(cash)
        marginal = factor @ ahead**-rho
        bend = factor @ (-rho * ahead ** (-rho - 1) * steep * returns[:, None])
        consumed = marginal ** (-1 / rho)
        rises = consumed * bend / (-rho * marginal)  # dc/da
        change = np.max(np.abs(consumed / c[first:] - 1))
        m, c, slope = saved + consumed, consumed, rises / (1 + rises)
        if not binds:
            m, c, slope = np.append(0.0, m), np.append(0.0, c), np.append(c[0] / m[0], slope)
        if change < 1e-13:
            break
    policy = _spline(CubicHermiteSpline, m, c, slope)

    def consumption(cash: Numbers) -> Numbers:
        return policy(np.asarray(cash, float))[0]

    def growing(m: float, by: np.ndarray) -> float:
        """How much cash is expected to change."""
        ahead = returns * (m - float(consumption(np.asarray(m)))) + income
        return float(weights @ (by * ahead) - m)

    shares = np.repeat(psi, len(theta))
    target, steady = (brentq(growing, 0.5, 20.0, args=(by,), xtol=1e-14) for by in (np.ones_like(shares), shares))
    return BufferStock(consumption, target, steady)


def _spline(
    kind: type, m: np.ndarray, c: np.ndarray, slope: np.ndarray
) -> Callable[[Numbers], tuple[Numbers, Numbers]]:
    """c and its slope; beyond the last node it goes on straight, and before the first all is consumed."""
    inner = kind(m, c, slope)
    steep, begin, end, top = inner.derivative(), m[0], m[-1], slope[-1]

    def at(x: Numbers) -> tuple[Numbers, Numbers]:
        held = np.clip(x, begin, end)
        found = inner(held) + top * np.maximum(x - end, 0.0), np.where(x > end, top, steep(held))
        return np.where(x < begin, x, found[0]), np.where(x < begin, 1.0, found[1])

    return at
