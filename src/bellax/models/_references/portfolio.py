"""Consumption out of risky wealth (Merton 1969, in discrete time): everything in closed form.

    V_t(w) = max_c u(c) + beta E V_{t+1}(w'),    w' = (w - c) exp(mu + sigma z),    z ~ N(0, 1).

All wealth is in the one asset. The consumption share s = c / w does not depend on wealth: it is 1 - beta for
u = log c, and for u = c^(1-gamma) / (1-gamma), where V_t(w) = a_t w^(1-gamma) / (1-gamma), it follows from

    a_t = s_t^(-gamma),    s_t = 1 / (1 + (M a_{t+1})^(1/gamma)),
    M = beta E exp((1-gamma) (mu + sigma z)) = beta exp((1-gamma) mu + (1-gamma)^2 sigma^2 / 2),

the envelope theorem and the first-order condition s^(-gamma) = M a' (1-s)^(-gamma). With no last period
s = 1 - M^(1/gamma).

Source: Samuelson (1969), "Lifetime portfolio selection by dynamic stochastic programming", Review of
Economics and Statistics 51; Merton (1969), "Lifetime portfolio selection under uncertainty: the
continuous-time case", ibid.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


def merton_log(discount: float, mu: float) -> tuple[float, float]:
    """Value of log Merton, V(w) = A + B log w, where consumption is (1 - beta) w.

    B = 1 / (1-beta) and A = log(1-beta) / (1-beta) + beta (log beta + mu) / (1-beta)^2; sigma does not enter.

    Args:
        discount: beta, in (0, 1).
        mu: mean of the log return.
    Returns:
        The pair A, B.
    """
    impatience = 1 - discount
    intercept = math.log(impatience) / impatience + discount * (math.log(discount) + mu) / impatience**2
    return intercept, 1 / impatience


class MertonCRRA(NamedTuple):
    """Consumption share, value coefficient, and their derivatives: shape (t,), or () with no last period."""

    share: Float[np.ndarray, "*t"]
    coefficient: Float[np.ndarray, "*t"]
    share_by_sigma: Float[np.ndarray, "*t"]
    share_by_discount: Float[np.ndarray, "*t"]
    coefficient_by_sigma: Float[np.ndarray, "*t"]
    coefficient_by_discount: Float[np.ndarray, "*t"]


def merton_crra(
    gamma: float,
    discount: float,
    mu: float,
    sigma: float,
    horizon: int | None = None,
    terminal: float = 0.0,
) -> MertonCRRA:
    """Consumption share s_t, and a_t of V_t(w) = a_t w^(1-gamma) / (1-gamma), with their derivatives.

    The derivatives were derived by hand, in log M, which moves by (1-gamma)^2 sigma with sigma and by
    1/beta with beta. With h = (M a')^(1/gamma): dh = (h / gamma) (1 + dlog a'), ds = -s^2 dh, dlog a =
    -gamma ds / s.

    Args:
        gamma: relative risk aversion, positive and not 1.
        discount: beta, positive; without a last period M must be below 1.
        mu: mean of the log return.
        sigma: standard deviation of the log return.
        horizon: T, for decisions in periods 0..T-1; none for the stationary problem.
        terminal: a_T, at least 0 and a constant under the derivatives; 0 consumes everything in period T-1.
    Returns:
        Arrays of shape (t,) for periods 0..T-1, or of shape () without a horizon.
    Raises:
        ValueError: if gamma is 1, or the stationary value is infinite.
    """
    if gamma == 1:
        raise ValueError("gamma is 1: utility is log c, use merton_log")
    factor = discount * math.exp((1 - gamma) * mu + 0.5 * ((1 - gamma) * sigma) ** 2)
    if horizon is None:
        share, share_by_factor = _stationary_share(gamma, factor)
    else:
        share, share_by_factor = _share_by_period(gamma, factor, horizon, terminal)
    coefficient = share**-gamma
    coefficient_by_factor = -gamma * coefficient / share * share_by_factor
    by_sigma, by_discount = (1 - gamma) ** 2 * sigma, 1 / discount
    return MertonCRRA(
        share=share,
        coefficient=coefficient,
        share_by_sigma=share_by_factor * by_sigma,
        share_by_discount=share_by_factor * by_discount,
        coefficient_by_sigma=coefficient_by_factor * by_sigma,
        coefficient_by_discount=coefficient_by_factor * by_discount,
    )


def _stationary_share(gamma: float, factor: float) -> tuple[Float[np.ndarray, ""], Float[np.ndarray, ""]]:
    """The share 1 - M^(1/gamma) and its derivative in log M."""
    if factor >= 1:
        raise ValueError(f"M = beta E[R^(1-gamma)] is {factor:.6g}, not below 1: the value is infinite")
    saved = factor ** (1 / gamma)
    return np.array(1 - saved), np.array(-saved / gamma)


def _share_by_period(
    gamma: float, factor: float, horizon: int, terminal: float
) -> tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """Shares of periods 0..T-1 and their derivatives in log M, by the backward recursion from a_T."""
    share, slope = np.empty(horizon), np.empty(horizon)
    coefficient, log_coefficient_slope = terminal, 0.0
    for t in reversed(range(horizon)):
        ratio = (factor * coefficient) ** (1 / gamma)
        share[t] = 1 / (1 + ratio)
        slope[t] = -(share[t] ** 2) * ratio / gamma * (1 + log_coefficient_slope)
        coefficient = share[t] ** -gamma
        log_coefficient_slope = -gamma * slope[t] / share[t]
    return share, slope


class TwoAssets(NamedTuple):
    """Portfolio, shape (n,), and consumption share and value coefficient by period, shape (t,)."""

    portfolio: Float[np.ndarray, " n"]
    share: Float[np.ndarray, " t"]
    coefficient: Float[np.ndarray, " t"]


def two_asset_merton(
    gamma: float,
    discount: float,
    risk_free: float,
    mean: Float[np.ndarray, " n"],
    covariance: Float[np.ndarray, "n n"],
    horizon: int,
    terminal: float,
    nodes: int,
) -> TwoAssets:
    """Portfolio of lognormal assets and a safe one, by its first-order condition E[R^(-gamma) (R_i - R_f)] = 0.

    With V_T = a_T w^(1-gamma) / (1-gamma) consumption and value are those of `merton_crra` at
    M = beta E R^(1-gamma).

    Args:
        gamma: relative risk aversion, positive and not 1.
        discount: beta, positive.
        risk_free: gross return of the safe asset.
        mean: of the log returns, shape (n,).
        covariance: of the log returns, shape (n, n).
        horizon: T, for decisions in periods 0..T-1.
        terminal: a_T.
        nodes: Gauss-Hermite nodes for each return, laid along the Cholesky factor of the covariance.
    Returns:
        The portfolio, whose shares are not bounded, and consumption shares and coefficients a_t by period.
    Raises:
        ValueError: if the root is not found.
    """
    from scipy.optimize import root  # .2 s at import, which a solve of the model does not need

    line, mass = np.polynomial.hermite_e.hermegauss(nodes)
    standard = np.stack(np.meshgrid(*[line] * len(mean), indexing="ij"), axis=-1).reshape(-1, len(mean))
    weights = np.prod(np.stack(np.meshgrid(*[mass] * len(mean), indexing="ij")), axis=0).ravel()
    weights = weights / weights.sum()
    excess = np.exp(mean + standard @ np.linalg.cholesky(covariance).T) - risk_free

    def condition(portfolio: np.ndarray) -> np.ndarray:
        return (weights * (risk_free + excess @ portfolio) ** -gamma) @ excess

    def slope(portfolio: np.ndarray) -> np.ndarray:
        bent = -gamma * weights * (risk_free + excess @ portfolio) ** (-gamma - 1)
        return (bent[:, None] * excess).T @ excess

    found = root(condition, np.full(len(mean), 0.1), jac=slope, tol=1e-15)
    gross = risk_free + excess @ found.x
    # by the size of what cancels: without an optimum marginal utility itself tends to zero
    size = (weights * np.abs(gross) ** -gamma) @ np.abs(excess)
    if not (np.all(gross > 0) and np.all(np.abs(found.fun) < 1e-12 * size)):
        raise ValueError(f"no portfolio was found that solves the first-order condition: {found.message}")
    factor = discount * float(weights @ gross ** (1 - gamma))
    share, _ = _share_by_period(gamma, factor, horizon, terminal)
    return TwoAssets(found.x, share, share**-gamma)
