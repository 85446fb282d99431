"""A durable, without and with a cost of trading it; u(c, d) = (c^a d^(1-a))^(1-g)/(1-g), log income normal.

Without a cost only x = m + d counts:

    v_t(x) = max over c + e + s = x, s >= 0, of u(c, e) + beta E v_{t+1}(R s + (1 - delta) e + y').

Where s > 0 the two first-order conditions give e/c = ((1 - a)/a) / (1 - (1 - delta)/R), and where s = 0
u_c - u_e = beta (1 - delta) E v'. In both cases A = R s + (1 - delta) e, what is carried over, gives c, e and x: an
endogenous grid of A, for c, e and v of x.

With a cost the last period but one is solved as it stands: V of the last is known in closed form, so that a search over
plans has no grid of states.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.interpolate import CubicHermiteSpline


class Frictionless(NamedTuple):
    """V and the durable of every period as functions of wealth m + d."""

    values: list[CubicHermiteSpline]
    durables: list[tuple[np.ndarray, np.ndarray]]

    def value(self, t: int, wealth: np.ndarray) -> np.ndarray:
        """V_t."""
        return self.values[t](wealth)

    def durable(self, t: int, wealth: np.ndarray) -> np.ndarray:
        """What is bought in t."""
        return np.interp(wealth, *self.durables[t])


class Best(NamedTuple):
    """What is best in the last period but one, by state."""

    value: np.ndarray
    trades: np.ndarray
    durable: np.ndarray
    consumption: np.ndarray


class Economy(NamedTuple):
    """The parameters of the model, by its names."""

    discount: float
    risk_aversion: float
    share: float
    interest: float
    depreciation: float
    spread: float
    cost: float

    @property
    def gross(self) -> float:
        """What one unit of savings becomes."""
        return 1 + self.interest

    @property
    def kept(self) -> float:
        """What is left of one unit of the durable."""
        return 1 - self.depreciation

    def utility(self, c: np.ndarray, e: np.ndarray) -> np.ndarray:
        """Of consumption and the durable."""
        return (c**self.share * e ** (1 - self.share)) ** (1 - self.risk_aversion) / (1 - self.risk_aversion)


def incomes_of(spread: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of income with mean one, and weights."""
    nodes, weights = hermegauss(count)
    return np.exp(spread * nodes - spread**2 / 2), weights / weights.sum()


def frictionless_durable(params: Mapping[str, float], incomes: int, horizon: int, nodes: int = 3000) -> Frictionless:
    """The solution without a cost.

    Args:
        params: by the names of the model; the cost is zero.
        incomes: nodes of income.
        nodes: of what is carried over; the error falls with the square of their number.
    """
    economy = Economy(**params)
    assert economy.cost == 0.0
    u, discount, gross, kept = economy.utility, economy.discount, economy.gross, economy.kept
    income, weights = incomes_of(economy.spread, incomes)
    a, g = economy.share, economy.risk_aversion
    ratio = (1 - a) / a

    def marginal(c: np.ndarray, e: np.ndarray) -> np.ndarray:
        return a * (c**a * e ** (1 - a)) ** (1 - g) / c

    # the last period: everything is spent, in fixed shares
    x = np.geomspace(1e-3, 80.0, nodes)
    values = [CubicHermiteSpline(x, u(a * x, (1 - a) * x), marginal(a * x, (1 - a) * x))]
    durables = [(x, (1 - a) * x)]
    carried = np.geomspace(1e-3, 40.0, nodes)
    for _ in range(horizon - 1):
        later = values[0]
        reached = carried[:, None] + income
        slope, worth = later(reached, 1) @ weights, later(reached) @ weights
        # free to save: e = k c, and a (k^(1-a) c)^(1-g) / c = beta R E v'
        k = ratio / (1 - kept / gross)
        c = (discount * gross * slope / (a * k ** ((1 - a) * (1 - g)))) ** (-1 / g)
        e, saved = k * c, (carried - kept * k * c) / gross
        # not free: e is what is carried, and u_c - u_e = beta (1 - delta) E v'
        bound = saved < 0
        fixed = carried / kept
        low, high = np.full(nodes, 1e-9), np.full(nodes, 1e3)
        for _ in range(200):
            middle = np.sqrt(low * high)
            gap = marginal(middle, fixed) * (1 - ratio * middle / fixed) - discount * kept * slope
            low, high = np.where(gap > 0, middle, low), np.where(gap > 0, high, middle)
        c, e, saved = np.where(bound, low, c), np.where(bound, fixed, e), np.where(bound, 0.0, saved)
        x = c + e + saved
        values.insert(0, CubicHermiteSpline(x, u(c, e) + discount * worth, marginal(c, e)))
        durables.insert(0, (x, e))
    return Frictionless(values, durables)


def costly_durable(params: Mapping[str, float], incomes: int, cash: np.ndarray, durable: np.ndarray) -> Best:
    """The best plan of two periods from each state, among candidates around which the search closes in.

    Args:
        params: by the names of the model.
        incomes: nodes of income.
        cash, durable: states, of one shape.
    """
    economy = Economy(**params)
    u, discount, gross, kept = economy.utility, economy.discount, economy.gross, economy.kept
    income, weights = incomes_of(economy.spread, incomes)
    a, cost = economy.share, economy.cost

    def worth(saved: np.ndarray, e: np.ndarray) -> np.ndarray:
        """What follows: keep and consume everything, or trade and split it."""
        m, d = gross * saved[..., None] + income, kept * e[..., None]
        x = m + (1 - cost) * d
        return discount * np.maximum(u(m, d), u(a * x, (1 - a) * x)) @ weights

    rows = []
    for m, d in zip(np.ravel(cash), np.ravel(durable), strict=True):
        x = m + (1 - cost) * d

        def keep(c: np.ndarray, e: np.ndarray, m: float = m, d: float = d) -> np.ndarray:
            own = np.full_like(c, d)
            return u(c * m, own) + worth((1 - c) * m, own)

        def trade(c: np.ndarray, e: np.ndarray, x: float = x) -> np.ndarray:
            return u(c * (1 - e) * x, e * x) + worth((1 - c) * (1 - e) * x, e * x)

        kept_value, kept_c, _ = _closing_in(keep, 400, 1)
        value, c, e = _closing_in(trade, 120, 120)
        traded = value > kept_value
        rows.append((value, 1, e * x, c * (1 - e) * x) if traded else (kept_value, 0, d, kept_c * m))
    return Best(*(np.asarray(column) for column in zip(*rows, strict=True)))


_FINE = 24  # candidates of a share once the search closes in


def _closing_in(value: Callable[..., np.ndarray], first: int, second: int) -> tuple[float, float, float]:
    """The maximum over two shares: the best of a grid of so many candidates of each, then of finer ones around it."""
    low, high = np.full(2, 1e-6), np.array([1.0, 1 - 1e-6])
    counts, width = np.array([first, second]), (high - low) * 10 / np.array([first, second])
    for _ in range(24):
        c, e = np.linspace(low[0], high[0], counts[0]), np.linspace(low[1], high[1], counts[1])
        found = value(*np.meshgrid(c, e, indexing="ij"))
        row, column = np.unravel_index(np.argmax(found), found.shape)
        top = np.array([c[row], e[column]])
        low, high = np.maximum(top - width / 2, 1e-6), np.minimum(top + width / 2, [1.0, 1 - 1e-6])
        counts, width = np.minimum(counts, _FINE), width / 2
    return float(found[row, column]), float(top[0]), float(top[1])
