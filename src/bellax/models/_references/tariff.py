"""Electricity under a tariff of three blocks, out of wealth that lasts some periods: closed form.

    V_t(w) = max over q of log q + beta V_{t+1}(R (w - T(q))),    V_T(w) = A log w,

T is convex: it rises at p_1 up to q_1, at p_2 up to q_2, and at p_3 from there. No limit on debt ever binds, so that
the marginal value of wealth moves as V_t' = V_0' / (beta R)^t, and is 1 / m_t, say. Where q lies within block i it is
m_t / p_i, and it is q_1 as long as p_1 q_1 <= m_t <= p_2 q_1, and q_2 as long as p_2 q_2 <= m_t <= p_3 q_2. So what is
spent on it is piecewise linear in m_0, and so is what is left, A m_T: the budget

    w = sum over t of R^-t T(q(m_t)) + R^-T A m_T,    m_t = (beta R)^t m_0,

is a strictly increasing, piecewise linear equation in m_0, which is solved by interpolation between its corners.

Source: Hausman (1985), "The econometrics of nonlinear budget sets", Econometrica 53; Reiss & White (2005), "Household
electricity demand, revisited", Review of Economic Studies 72. Here the budget is one of several periods.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class Path(NamedTuple):
    """From each wealth, shape (w,): V_0, its slopes by the name of what moves, and what is used, shape (w, t).

    Attributes:
        marginal: V_0'(w).
        by_wealth: the slope of the first use in wealth.
        prices: slopes of V_0 in p_1, p_2 and p_3, shape (w, 3).
        limits: slopes of V_0 in q_1 and q_2, shape (w, 2).
        kinked: whether the use of a period is one of q_1 and q_2, for a whole range of wealth, shape (w, t).
    """

    value: Float[np.ndarray, " w"]
    used: Float[np.ndarray, "w t"]
    marginal: Float[np.ndarray, " w"]
    by_wealth: Float[np.ndarray, " w"]
    prices: Float[np.ndarray, "w 3"]
    limits: Float[np.ndarray, "w 2"]
    kinked: Bool[np.ndarray, "w t"]


class Tariff(NamedTuple):
    """Marginal prices, increasing, and the two quantities at which they rise."""

    prices: Float[np.ndarray, "3"]
    limits: Float[np.ndarray, "2"]

    def bill(self, q: np.ndarray) -> np.ndarray:
        """T(q), any shape."""
        return self.portions(q) @ self.prices

    def portions(self, q: np.ndarray) -> np.ndarray:
        """How much of q lies in each block, which are the slopes of T in prices, a last axis of three."""
        ends = np.concatenate([[0.0], self.limits, [np.inf]])
        return np.clip(q[..., None], ends[:-1], ends[1:]) - ends[:-1]

    def demand(self, m: np.ndarray) -> np.ndarray:
        """q at which log q - T(q) / m is largest, any shape."""
        first, second = self.limits
        inner = np.maximum(np.minimum(m / self.prices[0], first), np.minimum(m / self.prices[1], second))
        return np.maximum(inner, m / self.prices[2])

    def corners(self) -> np.ndarray:
        """m at which demand has its kinks, increasing."""
        return np.repeat(self.limits, 2) * np.repeat(self.prices, [1, 2, 1])


def tariff(
    wealth: Float[np.ndarray, " w"],
    own: Tariff,
    gross_return: float,
    discount: float,
    weight: float,
    horizon: int,
) -> Path:
    """The solution from period 0 on; later periods are those of a shorter horizon.

    Args:
        wealth: w, positive, shape (w,).
        gross_return, discount: R and beta.
        weight: A, positive.
        horizon: T, at least 1.
    """
    t = np.arange(horizon)
    growth, worth = (discount * gross_return) ** t, gross_return ** -t.astype(float)
    left = weight * discount**horizon  # R^-T A m_T, over m_0

    def spent(m: np.ndarray) -> np.ndarray:
        return own.bill(own.demand(m[:, None] * growth)) @ worth + left * m

    corners = np.unique(own.corners()[:, None] / growth)
    top = max(corners[-1], float(np.max(wealth)) / left) * 2  # at which more than w is spent
    nodes = np.concatenate([[0.0], corners, [top]])
    m = np.interp(wealth, np.concatenate([[0.0], spent(nodes[1:])]), nodes)
    m_t = m[:, None] * growth
    used = own.demand(m_t)
    kinked = (used[..., None] == own.limits).any(axis=-1)
    slope = np.where(kinked, 0.0, discount**t).sum(axis=1) + left  # of the budget in m_0
    first_price = own.prices[(used[:, :1] > own.limits).sum(axis=1)]
    final = weight * m * (discount * gross_return) ** horizon
    return Path(
        value=np.log(used) @ discount**t + discount**horizon * weight * np.log(final),
        used=used,
        marginal=1 / m,
        by_wealth=np.where(kinked[:, 0], 0.0, 1 / (first_price * slope)),
        prices=-np.einsum("wti,t->wi", own.portions(used), worth) / m[:, None],
        limits=np.einsum("wti,t->wi", _relief(own, used, m_t), discount**t),
        kinked=kinked,
    )


def _relief(own: Tariff, used: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Slope of max log q - T(q) / m in q_1 and q_2: of a bill beyond a limit, or of a use that moves with it."""
    rise = np.diff(own.prices)
    at = 1 / own.limits - own.prices[:-1] / m[..., None]
    beyond = rise / m[..., None]
    return np.where(used[..., None] > own.limits, beyond, np.where(used[..., None] == own.limits, at, 0.0))
