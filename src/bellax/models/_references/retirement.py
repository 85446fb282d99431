"""Consumption and the date of retirement, without borrowing and without risk, by enumerating plans.

    V_t(w) = max over 0 < c <= w and d of log c - effort d + beta V_{t+1}(R (w - c) + y d),

in periods 0..T-1, V_T = 0; d is to work, and who once does not work never does again. An optimal plan is one of
finitely many, each in closed form:

(a) work for n periods, then never, with assets that are never zero before the end. Consumption grows by beta R and
    exhausts w + y (R^-1 + ... + R^-n), so that c_t is that sum over 1 + beta + ... + beta^(T-t-1).
(b) work up to some period s at whose end assets are zero for the first time. Consumption grows by beta R up to s and
    exhausts w + y (R^-1 + ... + R^-(s-t)); from s + 1 on the plan is the best one of a worker who has y.

A plan that would borrow is dropped. Each plan that is left can be carried out and so is worth no more than V, and the
best plan is among them. (b) needs V_s(y) only, a number for each period.

Source: Iskhakov, Jorgensen, Rust & Schjerning (2017), "The endogenous grid method for discrete-continuous dynamic
choice models with (or without) taste shocks", Quantitative Economics 8, theorem 1, which has the best of these plans by
wealth where beta R <= 1.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bellax.models._references.numbers import Numbers


class Plans(NamedTuple):
    """Value and first consumption of every plan at every wealth, shape (w, p), and whether it works at first."""

    value: Float[np.ndarray, "w p"]
    consumption: Float[np.ndarray, "w p"]
    works: Bool[np.ndarray, " p"]


class Retirement(NamedTuple):
    """The problem, and V_t(y) of a worker by period, shape (t,)."""

    horizon: int
    discount: float
    gross_return: float
    income: float
    effort: float
    of_income: Float[np.ndarray, " t"]

    def value(self, t: int, wealth: Numbers, working: bool) -> Float[np.ndarray, " w"]:
        """V_t of a worker, or of one who is retired."""
        return self.plans(t, wealth, working).value.max(axis=-1)

    def consumption(self, t: int, wealth: Numbers, working: bool) -> Float[np.ndarray, " w"]:
        """Consumption of the best plan."""
        plans = self.plans(t, wealth, working)
        best = plans.value.argmax(axis=-1)[:, None]
        return np.take_along_axis(plans.consumption, best, axis=-1)[:, 0]

    def plans(self, t: int, wealth: Numbers, working: bool) -> Plans:
        """Every plan from period t on; minus infinity where it would borrow. Of the retired there is one."""
        w, left = np.atleast_1d(np.asarray(wealth, float)), self.horizon - t
        found = [self._plan(w, works=0, periods=left)]
        if working:
            found += [self._plan(w, works=n, periods=left) for n in range(1, left)]
            for periods in range(1, left):
                value, consumption = self._plan(w, works=periods, periods=periods)
                found.append((value + self.discount**periods * self.of_income[t + periods], consumption))
        value, consumption = (np.stack(column, axis=-1) for column in zip(*found, strict=True))
        return Plans(value, consumption, np.arange(len(found)) > 0)

    def _plan(self, w: Float[np.ndarray, " w"], works: int, periods: int) -> tuple[np.ndarray, np.ndarray]:
        """Value and first consumption of working for `works` periods and exhausting everything in `periods`."""
        patience = self.discount ** np.arange(periods)
        earned = np.append(0.0, self.income * np.cumsum(self.gross_return ** -np.arange(1.0, periods)))
        earned = np.where(np.arange(periods) <= works, earned, earned[min(works, periods - 1)])
        first = (w + earned[-1]) / patience.sum()
        growth = np.log(self.discount * self.gross_return) * np.arange(periods)
        value = patience.sum() * np.log(first) + patience @ growth - self.effort * patience[:works].sum()
        # assets at the end of each period but the last, in units of period t
        assets = w[:, None] + earned[:-1] - first[:, None] * np.cumsum(patience)[:-1]
        return np.where((assets >= -1e-12 * first[:, None]).all(axis=1), value, -np.inf), first


def retirement(horizon: int, discount: float, interest: float, income: float, effort: float) -> Retirement:
    """The best plan from any period and wealth, exactly.

    Args:
        horizon: T, at least 1.
        discount: beta, positive.
        interest: R - 1.
        income: y, earned by working in one period and received in the next, positive.
        effort: cost of working for a period, in utils, positive: then nobody works in the last one.
    Returns:
        Value, consumption and plans as functions of period and wealth.
    """
    found = Retirement(horizon, discount, 1 + interest, income, effort, np.full(horizon, np.nan))
    for t in reversed(range(horizon)):
        found.of_income[t] = found.value(t, income, working=True)[0]
    return found
