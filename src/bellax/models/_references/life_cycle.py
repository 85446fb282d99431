"""Consumption and saving over a life with income risk and no borrowing, by an endogenous grid.

    V_t(m) = max over 0 < c <= m of c^(1-gamma) / (1-gamma) + beta sum_q w_q V_{t+1}(R (m - c) + y_{t+1,q}).

Timing: m_t is cash on hand, income of the period included; c_t is chosen; then income y_{t+1} is drawn. As
V_T = 0, the last decision consumes everything. For assets a = m - c >= 0 that are saved, the Euler equation
inverts in closed form,

    c_t(a) = (beta R sum_q w_q c_{t+1}(R a + y_{t+1,q})^(-gamma))^(-1/gamma),    m_t(a) = a + c_t(a),

and cash on hand below m_t(0) is consumed whole. With income on nodes c_t is only piecewise smooth: it has a
kink at m_t(0), and one wherever next period's cash on hand, at some income node, meets a kink of c_{t+1};
the probability of that node bounds how much of the kink is left. All but the weakest kinks are made nodes,
so that linear interpolation converges at second order.

Source: Carroll (2006), "The method of endogenous gridpoints for solving dynamic stochastic optimization
problems", Economics Letters 91; the problem is that of Deaton (1991), "Saving and liquidity constraints",
Econometrica 59.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bellax.models._references.numbers import Numbers

_WEAKEST_KINK = 1e-4  # as a share of the first, where the constraint starts to bind


class _Period(NamedTuple):
    """One period's solution at its endogenous nodes, the first of which is zero."""

    gamma: float
    weight: float  # sum of beta^i over the remaining life
    cash: Float[np.ndarray, " s"]
    consumption: Float[np.ndarray, " s"]
    equivalent: Float[np.ndarray, " s"]  # the constant consumption that is worth the value
    continuation: float  # discounted expected value of saving nothing
    kinks: Float[np.ndarray, " k"]  # in cash on hand
    strengths: Float[np.ndarray, " k"]  # of the kinks, as a share of the first

    def consume(self, m: Numbers) -> Numbers:
        return _interpolate(m, self.cash, self.consumption)

    def value(self, m: Numbers) -> Numbers:
        saving = self.weight * _utility(_interpolate(m, self.cash, self.equivalent), self.gamma)
        return np.where(m <= self.cash[1], _utility(m, self.gamma) + self.continuation, saving)


class LifeCycleSolution(NamedTuple):
    """Consumption and value at any cash on hand; calling it gives consumption."""

    periods: tuple[_Period, ...]

    def __call__(self, t: int, m: Numbers) -> Numbers:
        """Consumption in period t with cash on hand m."""
        return self.periods[t].consume(np.asarray(m, dtype=float))

    def value(self, t: int, m: Numbers) -> Numbers:
        """Value in period t with positive cash on hand m, in utils."""
        return self.periods[t].value(np.asarray(m, dtype=float))


def lognormal_incomes(
    profile: Float[np.ndarray, " t"], sigma: float, nodes: Float[np.ndarray, " q"]
) -> Float[np.ndarray, "t q"]:
    """Income y_{t,q} = profile_t exp(sigma z_q - sigma^2 / 2), of mean profile_t for nodes z of a N(0, 1).

    Args:
        profile: mean income by period, shape (t,).
        sigma: standard deviation of log income.
        nodes: nodes z of the quadrature, shape (q,).
    Returns:
        Incomes, shape (t, q).
    """
    return profile[:, None] * np.exp(sigma * nodes - 0.5 * sigma**2)


def carroll_deaton_egm(
    gamma: float,
    discount: float,
    gross_return: float,
    incomes: Float[np.ndarray, "t q"],
    weights: Float[np.ndarray, " q"],
    top: float = 200.0,
    nodes: int = 40_000,
) -> LifeCycleSolution:
    """Consumption c(t, m) over a finite life without borrowing, by an endogenous grid.

    Args:
        gamma: relative risk aversion, positive; 1 is log utility.
        discount: beta, positive.
        gross_return: R, positive.
        incomes: income y_{t,q} by period and node, positive, shape (t, q); the row of period 0 is not used.
        weights: probabilities of the income nodes, shape (q,).
        top: the largest assets saved at a node, far above what is asked; the policy is linear beyond.
        nodes: asset nodes, evenly spaced in log(1 + 10 a); the error, about 3e-9 of c at 40,000, falls with
            their square.
    Returns:
        A callable c(t, m) for t in 0..T-1 and m > 0, with a method `value(t, m)`.
    """
    spread = 0.1
    grid = spread * np.expm1(np.linspace(0.0, np.log1p(top / spread), nodes))
    ends = np.array([0.0, top])
    none = np.empty(0)
    periods = [_Period(gamma, 1.0, ends, ends, ends, continuation=0.0, kinks=none, strengths=none)]
    for income in incomes[:0:-1]:
        periods.append(_step(periods[-1], grid, discount, gross_return, income, weights))
    return LifeCycleSolution(tuple(reversed(periods)))


def _step(
    later: _Period,
    grid: Float[np.ndarray, " s"],
    discount: float,
    gross_return: float,
    income: Float[np.ndarray, " q"],
    weights: Float[np.ndarray, " q"],
) -> _Period:
    """The period before `later`, whose income is `income`."""
    gamma = later.gamma
    kinks, strengths = _preimages_of_kinks(later, gross_return, income, weights)
    assets = np.unique(np.concatenate([grid, kinks]))
    marginal, continuation = np.zeros_like(assets), np.zeros_like(assets)
    for y, probability in zip(income, weights, strict=True):
        cash_next = gross_return * assets + y
        marginal += probability * later.consume(cash_next) ** -gamma
        continuation += discount * probability * later.value(cash_next)
    consumption = (discount * gross_return * marginal) ** (-1 / gamma)
    cash, weight = assets + consumption, 1 + discount * later.weight
    value = _utility(consumption, gamma) + continuation
    return _Period(
        gamma=gamma,
        weight=weight,
        cash=np.append(0.0, cash),
        consumption=np.append(0.0, consumption),
        equivalent=np.append(0.0, _consumption_worth(value / weight, gamma)),
        continuation=float(continuation[0]),
        kinks=np.append(cash[0], np.interp(kinks, assets, cash)),
        strengths=np.append(1.0, strengths),
    )


def _preimages_of_kinks(
    later: _Period, gross_return: float, income: Float[np.ndarray, " q"], weights: Float[np.ndarray, " q"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Assets from which some income leads to a kink, and how strong that kink still is."""
    assets = ((later.kinks[:, None] - income) / gross_return).ravel()
    strengths = (later.strengths[:, None] * weights).ravel()
    kept = (assets > 0) & (strengths > _WEAKEST_KINK)
    return assets[kept], strengths[kept]


def _interpolate(m: Numbers, nodes: Float[np.ndarray, " s"], values: Float[np.ndarray, " s"]) -> Numbers:
    """Linear between the nodes and, with the slope of the last piece, beyond them."""
    slope = (values[-1] - values[-2]) / (nodes[-1] - nodes[-2])
    return np.interp(m, nodes, values) + slope * np.maximum(m - nodes[-1], 0.0)


def _utility(consumption: Numbers, gamma: float) -> Numbers:
    return np.log(consumption) if gamma == 1 else consumption ** (1 - gamma) / (1 - gamma)


def _consumption_worth(utility: Numbers, gamma: float) -> Numbers:
    return np.exp(utility) if gamma == 1 else ((1 - gamma) * utility) ** (1 / (1 - gamma))
