"""Two periods, and a rate for debt above that for savings: consumption, value and their slopes in closed form.

    V(w) = max over c of u(c) + beta u(R(a) a + y),    a = w - c,    R(a) = R_b where a < 0, R_l where a > 0,

u(c) = c^(1-g) / (1-g). Who has w < y (beta R_b)^(-1/g) borrows, and who has w > y (beta R_l)^(-1/g) lends, each so that
c_2 = (beta R)^(1/g) c_1. In between w is consumed, and a is zero: there c follows w one to one and nothing else, and V
neither rate.

Source: Fisher (1930), "The theory of interest"; with two rates Hirshleifer (1958), "On the theory of optimal investment
decision", Journal of Political Economy 66.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class TwoRates(NamedTuple):
    """At each wealth, shape (w,): what is best, and the slopes of V and of c by the name of what moves."""

    value: Float[np.ndarray, " w"]
    consumption: Float[np.ndarray, " w"]
    value_by: dict[str, Float[np.ndarray, " w"]]
    consumption_by: dict[str, Float[np.ndarray, " w"]]


def thresholds(g: float, discount: float, borrowing: float, lending: float, income: float) -> tuple[float, float]:
    """Wealth below which one borrows, and above which one lends."""
    below, above = (income * (discount * (1 + rate)) ** (-1 / g) for rate in (borrowing, lending))
    return below, above


def two_rates(
    wealth: Float[np.ndarray, " w"], g: float, discount: float, borrowing: float, lending: float, income: float
) -> TwoRates:
    """The closed form; on a threshold slopes are those from between.

    Args:
        wealth: w, shape (w,), above -y / (1 + borrowing).
        g: risk aversion, positive; one is the logarithm.
        discount: beta.
        borrowing, lending: rates r_b >= r_l.
        income: y, of the second period, positive.
    """
    w = np.asarray(wealth, float)
    below, above = thresholds(g, discount, borrowing, lending, income)
    debt, savings = w < below, w > above
    moves = debt | savings
    R = 1 + np.where(debt, borrowing, lending)
    growth = (discount * R) ** (1 / g)
    c = np.where(moves, (R * w + income) / (R + growth), w)
    later = np.where(moves, R * (w - c) + income, income)
    today, tomorrow = c**-g, discount * later**-g  # marginal utilities
    by_R = (w - c - c * growth / (g * R)) / (R + growth)
    by_growth = np.where(moves, -c * growth / (R + growth), 0.0)
    value_by = {
        "wealth": today,
        "income": tomorrow,
        "discount": _utility(later, g),
        "borrowing": np.where(debt, tomorrow * (w - c), 0.0),
        "lending": np.where(savings, tomorrow * (w - c), 0.0),
    }
    consumption_by = {
        "wealth": np.where(moves, R / (R + growth), 1.0),
        "income": np.where(moves, 1 / (R + growth), 0.0),
        "discount": by_growth / (g * discount),
        "borrowing": np.where(debt, by_R, 0.0),
        "lending": np.where(savings, by_R, 0.0),
        "risk_aversion": -by_growth * np.log(discount * R) / g**2,
    }
    return TwoRates(_utility(c, g) + discount * _utility(later, g), c, value_by, consumption_by)


def _utility(c: np.ndarray, g: float) -> np.ndarray:
    return np.log(c) if g == 1 else c ** (1 - g) / (1 - g)
