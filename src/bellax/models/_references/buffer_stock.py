"""Consumption of a buffer stock saver by an endogenous grid in numpy, with cubic splines of known slopes.

    u'(c(m)) = R beta E (G psi)^(-rho) c(m')^(-rho),    m = a + c,    m' = R / (G psi) a + theta,    u'(c) = c^(-rho),

in units of permanent income. Where theta may be zero nobody saves nothing, and c is smooth: slopes follow from the
derivative of the same equation, and the error falls with the fourth power of the distance of nodes.

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
        permanent, transitory: psi and theta; theta is zero with some probability.
    """
    from scipy.interpolate import CubicHermiteSpline  # .2 s at import, which a solve of the model does not need
    from scipy.optimize import brentq

    rho, (psi, p), (theta, q) = risk_aversion, permanent, transitory
    weights = np.outer(p, q).ravel()
    returns = np.repeat(gross_return / (growth * psi), len(theta))
    factor = np.repeat(gross_return * discount * (growth * psi) ** -rho, len(theta)) * weights
    income = np.tile(theta, len(psi))
    saved = np.geomspace(1e-5, 60.0, nodes)
    cash = returns[:, None] * saved + income[:, None]
    m, c, slope = np.append(0.0, saved), np.append(0.0, saved), np.ones(nodes + 1)
    for _ in range(10_000):
        later = _spline(CubicHermiteSpline, m, c, slope)
        ahead, steep = later(cash)
        marginal = factor @ ahead**-rho
        bend = factor @ (-rho * ahead ** (-rho - 1) * steep * returns[:, None])
        consumed = marginal ** (-1 / rho)
        rises = consumed * bend / (-rho * marginal)  # dc/da
        change = np.max(np.abs(consumed / c[1:] - 1))
        m, c = np.append(0.0, saved + consumed), np.append(0.0, consumed)
        slope = np.append(0.0, rises / (1 + rises))
        slope[0] = c[1] / m[1]
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
    """c and its slope; beyond the last node it goes on straight."""
    inner = kind(m, c, slope)
    steep, end, top = inner.derivative(), m[-1], slope[-1]

    def at(x: Numbers) -> tuple[Numbers, Numbers]:
        held = np.minimum(x, end)
        return inner(held) + top * (x - held), np.where(x > end, top, steep(held))

    return at
