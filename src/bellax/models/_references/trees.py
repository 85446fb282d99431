"""Puts on a stock that follows d log S = (r - sigma^2/2) dt + sigma dW under the pricing measure, on binomial trees.

The tree of Cox, Ross & Rubinstein converges slowly and irregularly (off by 1e-4 at 5,000 steps), because its last step
sees the kink of the payoff from a different side as the number of steps grows. Broadie & Detemple take the value of
Black & Scholes one step before maturity: then errors fall smoothly like 1 / steps, and extrapolation to none works.

Source: Cox, Ross & Rubinstein (1979), "Option pricing: a simplified approach", Journal of Financial Economics 7;
Broadie & Detemple (1996), "American option valuation: new bounds, approximations, and a comparison of existing
methods", Review of Financial Studies 9.
"""

import math

import numpy as np

from bellax.models._references.european import black_scholes_put
from bellax.models._references.numbers import Numbers


def crr_tree(
    spot: Numbers,
    strike: float,
    rate: float,
    volatility: float,
    maturity: float,
    steps: int = 5000,
    american: bool = True,
    smooth: bool = False,
) -> Numbers:
    """Value of a put on the binomial tree u = exp(sigma sqrt(dt)), d = 1/u, p = (exp(r dt) - d) / (u - d).

    Args:
        spot: prices of the stock today, of any shape.
        strike: K.
        rate: r, continuously compounded, per year.
        volatility: sigma, per square root of a year.
        maturity: T in years.
        steps: periods of the tree.
        american: whether exercise is allowed at every step, today included; otherwise only at T.
        smooth: whether the last step is that of Black & Scholes instead of the tree's.
    Returns:
        Values, of the shape of `spot`.
    """
    dt = maturity / steps
    up = math.exp(volatility * math.sqrt(dt))
    rise = (math.exp(rate * dt) - 1 / up) / (up - 1 / up)
    discount_up, discount_down = math.exp(-rate * dt) * rise, math.exp(-rate * dt) * (1 - rise)
    price = np.asarray(spot, dtype=float)[..., None] * up ** np.arange(-steps, steps + 1.0)
    value = np.maximum(strike - price[..., ::2], 0.0)
    for step in reversed(range(steps)):
        now = price[..., steps - step : steps + step + 1 : 2]
        if smooth and step == steps - 1:
            value = np.asarray(black_scholes_put(now, strike, rate, volatility**2 * dt, dt))
        else:
            value = discount_up * value[..., 1:] + discount_down * value[..., :-1]
        if american:
            np.maximum(value, strike - now, out=value)
    return value[..., 0]


def american_put_tree(
    spot: Numbers, strike: float, rate: float, volatility: float, maturity: float, steps: int = 1000
) -> Numbers:
    """Value of an American put, extrapolated from smoothed trees of `steps` and twice as many: 2 V_2n - V_n.

    Args:
        spot: prices of the stock today, of any shape.
        strike: K.
        rate: r, continuously compounded, per year.
        volatility: sigma, per square root of a year.
        maturity: T in years.
        steps: n.
    Returns:
        Values, of the shape of `spot`, good to about 1e-5 for n = 1000.
    """
    coarse, fine = (
        crr_tree(spot, strike, rate, volatility, maturity, count, smooth=True) for count in (steps, 2 * steps)
    )
    return np.maximum(strike - np.asarray(spot), 2 * fine - coarse)
