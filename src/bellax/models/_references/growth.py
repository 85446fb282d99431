"""Stochastic growth with logarithmic utility and full depreciation: everything in closed form.

    V(k, z) = max_c weight log c + beta sum over z' of P(z, z') V(z k^alpha - c, z').

Productivity z of the period is seen before the choice. The agent consumes the share 1 - alpha beta of
output, and V(k, z) = A(z) + B log k with B = weight alpha / (1 - alpha beta) and, in vectors over z,

    (I - beta P) A = weight log((1 - alpha beta) z) + beta B log(alpha beta z).

With n kinds of capital, y = A (k_1 ... k_n)^(alpha/n) and no chance, each investment is beta alpha / n y, and the value
is a + b (log k_1 + ... + log k_n).

Source: Brock & Mirman (1972), "Optimal economic growth and uncertainty: the discounted case", Journal of
Economic Theory 4; several kinds of capital: Long & Plosser (1983), "Real business cycles", Journal of Political
Economy 91.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bellax.models._references.numbers import Numbers


class BrockMirman(NamedTuple):
    """Closed form at any capital k; arrays over productivity have shape (z,)."""

    intercepts: Float[np.ndarray, " z"]
    slope: float
    levels: Float[np.ndarray, " z"]
    alpha: float
    discount: float

    def value(self, k: Numbers) -> Float[np.ndarray, "... z"]:
        """A(z) + B log k, with productivity as the last axis."""
        return self.intercepts + self.slope * np.log(k)[..., None]

    def consumption(self, k: Numbers) -> Float[np.ndarray, "... z"]:
        """(1 - alpha beta) z k^alpha, with productivity as the last axis."""
        return (1 - self.alpha * self.discount) * self.levels * np.power(k, self.alpha)[..., None]

    def capital_next(self, k: Numbers) -> Float[np.ndarray, "... z"]:
        """alpha beta z k^alpha, with productivity as the last axis."""
        return self.alpha * self.discount * self.levels * np.power(k, self.alpha)[..., None]


def brock_mirman(
    alpha: float,
    discount: float,
    levels: Float[np.ndarray, " z"],
    transition: Float[np.ndarray, "z z"],
    weight: float = 1.0,
) -> BrockMirman:
    """Policy and value of the growth model of the module's docstring.

    Args:
        alpha: capital's share of output.
        discount: beta.
        levels: productivity z, shape (z,).
        transition: P, each row a probability, shape (z, z).
        weight: multiplies log c; Aruoba & Fernandez-Villaverde (2015) take 1 - beta.
    Returns:
        Intercepts A(z), slope B, and the policy and value as functions of capital.
    """
    invested = alpha * discount
    slope = weight * alpha / (1 - invested)
    flow = weight * np.log((1 - invested) * levels) + discount * slope * np.log(invested * levels)
    intercepts = np.linalg.solve(np.eye(len(levels)) - discount * transition, flow)
    return BrockMirman(intercepts, slope, levels, alpha, discount)


class Sectors(NamedTuple):
    """Closed form at any capital, of which the last axis is the sectors."""

    intercept: float
    slope: float
    share: float
    exponent: float
    productivity: float

    def value(self, k: Float[np.ndarray, "... n"]) -> Numbers:
        """a + b sum log k."""
        return self.intercept + self.slope * np.log(k).sum(axis=-1)

    def investment(self, k: Float[np.ndarray, "... n"]) -> Numbers:
        """beta alpha / n y, the same in each sector."""
        return self.share * self.productivity * np.prod(k, axis=-1) ** self.exponent


def sectors(alpha: float, discount: float, count: int, productivity: float = 1.0) -> Sectors:
    """Policy and value of growth with several kinds of capital; see the module's docstring.

    From log c = log((1 - alpha beta) y) the slope is b = alpha / n (1 + beta n b), and a follows likewise.

    Args:
        alpha: the share of all capital in output.
        discount: beta.
        count: n.
        productivity: A.
    """
    invested, exponent = alpha * discount, alpha / count
    slope = exponent / (1 - invested)
    share = invested / count
    of_capital = discount * count * slope * np.log(share * productivity)
    intercept = (np.log((1 - invested) * productivity) + of_capital) / (1 - discount)
    return Sectors(float(intercept), slope, share, exponent, productivity)


class PartialDepreciation(NamedTuple):
    """Consumption as polynomials in log k, one for each productivity."""

    coefficients: Float[np.ndarray, "n z"]
    lower: float
    upper: float

    def consumption(self, k: Numbers) -> Float[np.ndarray, "... z"]:
        """Consumption at capital k, with productivity as the last axis."""
        return np.exp(self._polynomials(np.asarray(k)) @ self.coefficients)

    def _polynomials(self, k: np.ndarray) -> np.ndarray:
        low, high = np.log(self.lower), np.log(self.upper)
        return np.polynomial.chebyshev.chebvander(2 * (np.log(k) - low) / (high - low) - 1, len(self.coefficients) - 1)


def partial_depreciation(
    alpha: float,
    discount: float,
    depreciation: float,
    levels: Float[np.ndarray, " z"],
    transition: Float[np.ndarray, "z z"],
    wide: tuple[float, float],
    degree: int = 12,
) -> PartialDepreciation:
    """The growth model with logarithmic utility and any depreciation: the Euler equation by Chebyshev collocation.

        1/c(k, z) = beta sum over z' of P(z, z') (alpha z' k'^(alpha - 1) + 1 - delta) / c(k', z'),
        k' = z k^alpha + (1 - delta) k - c(k, z)

    Args:
        wide: least and largest capital.
        degree: of the polynomials of log c in log k.
    Source: Judd (1992), "Projection methods for solving aggregate growth models", Journal of Economic Theory 58.
    """
    from scipy.optimize import root

    points = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    capital = np.exp(np.log(wide[0]) + 0.5 * (points + 1) * (np.log(wide[1]) - np.log(wide[0])))
    output = capital[:, None] ** alpha * levels
    wealth = output + (1 - depreciation) * capital[:, None]

    def left(flat: np.ndarray) -> np.ndarray:
        found = PartialDepreciation(flat.reshape(degree + 1, -1), *wide)
        consumed = found.consumption(capital)
        later = wealth - consumed
        returns = alpha * levels * later[..., None] ** (alpha - 1) + 1 - depreciation
        expected = np.einsum("zy,nzy->nz", transition, returns / found.consumption(later))
        return (discount * expected * consumed - 1).ravel()

    start = np.log(np.clip(0.5 * wealth, None, wealth - 0.5 * capital.min()))
    for _ in range(400):  # time iteration, with tomorrow's capital inside, until Newton's method knows the way
        coefficients = np.linalg.solve(np.polynomial.chebyshev.chebvander(points, degree), start)
        known = PartialDepreciation(coefficients, *wide)
        consumed = np.exp(start)
        later = np.clip(wealth - consumed, *wide)
        returns = alpha * levels * later[..., None] ** (alpha - 1) + 1 - depreciation
        expected = np.einsum("zy,nzy->nz", transition, returns / known.consumption(later))
        start = 0.7 * start + 0.3 * np.log(np.clip(1 / (discount * expected), 0.01 * wealth, wealth - 0.9 * wide[0]))
    with np.errstate(all="ignore"):  # of trials that lead nowhere
        found = root(left, coefficients.ravel(), method="hybr", options={"xtol": 1e-14})
    if np.max(np.abs(left(found.x))) > 1e-9:
        raise ValueError(f"Chebyshev collocation did not converge: {found.message}")
    return PartialDepreciation(found.x.reshape(degree + 1, -1), *wide)
