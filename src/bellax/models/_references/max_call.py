"""Calls on the dearest of several independent assets, exercised at a few dates, on a lattice.

Each asset moves by a binomial tree of its own with the right mean, so that a step of the lattice is one along each axis
after the other. Errors fall like 1 / steps, not smoothly.

Source: Boyle (1988), "A lattice framework for option pricing with two state variables", Journal of Financial and
Quantitative Analysis 23.
"""

import math

import numpy as np


def bermudan_max_call_lattice(
    spot: float,
    strike: float,
    rate: float,
    dividend: float,
    volatility: float,
    maturity: float,
    assets: int,
    dates: int,
    steps: int = 60,
) -> float:
    """Value of a call on the dearest of alike assets, that may be exercised today and at `dates` dates.

    Args:
        spot: price of every asset today.
        strike: K.
        rate, dividend: r and q, continuously compounded, per year.
        volatility: sigma, per square root of a year.
        maturity: T in years, the last date.
        assets: how many; three and more take too long.
        dates: equally spaced, the last at T.
        steps: of the trees between two dates.
    """
    dt = maturity / (dates * steps)
    up = math.exp(volatility * math.sqrt(dt))
    rise = (math.exp((rate - dividend) * dt) - 1 / up) / (up - 1 / up)
    discount = math.exp(-rate * dt)

    def payoff(step: int) -> np.ndarray:
        prices = spot * up ** np.arange(-step, step + 1.0, 2.0)
        axes = np.meshgrid(*[prices] * assets, indexing="ij", sparse=True)
        dearest = axes[0]
        for axis in axes[1:]:
            dearest = np.maximum(dearest, axis)
        return np.maximum(dearest - strike, 0.0)

    value = payoff(dates * steps)
    for step in reversed(range(dates * steps)):
        for axis in range(assets):
            value = np.moveaxis(value, axis, 0)
            value = np.moveaxis(rise * value[1:] + (1 - rise) * value[:-1], 0, axis)
        value = discount * value
        if step % steps == 0:
            value = np.maximum(value, payoff(step))
    return float(value.reshape(-1)[0])
