"""A put under regime switching by finite differences, which share nothing with quadrature.

Between two dates the value in regime i follows Black & Scholes in the log price x, backward in time,

    V_t + (r - s_i^2/2) V_x + s_i^2/2 V_xx - r V = 0,

and at a date, going back, the value is first the mean over the regimes that may follow, and then at least K - e^x. The
scheme of Crank & Nicolson has four half steps of implicit Euler after each date, which damp what its kinks excite.

Source: Rannacher (1984), "Finite element solution of diffusion problems with irregular data", Numerische Mathematik 43;
Wilmott, Howison & Dewynne (1995), "The mathematics of financial derivatives", chapter 8.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from bellax.models._references.numbers import Numbers

_WIDTH = 6.0  # of the grid on either side of the strike, in standard deviations of the log price at maturity


def regime_switching_put_by_differences(
    spot: Numbers,
    strike: float,
    rate: float,
    volatilities: Sequence[float],
    transition: Float[np.ndarray, "i j"],
    maturity: float,
    dates: int,
    nodes: int = 2000,
    steps: int = 10,
) -> Float[np.ndarray, "i ..."]:
    """Value of a put whose volatility is that of a regime, which changes at dates only.

    Args:
        spot: prices of the stock today, of any shape.
        strike: K.
        rate: r, continuously compounded, per year.
        volatilities: of every regime, per square root of a year.
        transition: probabilities of tomorrow's regime, a row for today's.
        maturity: T in years.
        dates: n: it can be exercised today and at T/n, 2T/n, .., T.
        nodes: of the log price; errors fall with their square.
        steps: in time between two dates, beside the four half steps of implicit Euler.
    Returns:
        Values, by regime of today, along a first axis before those of `spot`.
    """
    reach = _WIDTH * max(volatilities) * math.sqrt(maturity)
    # the strike lies in the middle of a cell, where second differences of the payoff are off by least
    x = math.log(strike) + np.linspace(-reach, reach, nodes + nodes % 2)
    payoff = np.maximum(strike - np.exp(x), 0.0)
    value = np.tile(payoff, (len(volatilities), 1))
    dt = maturity / dates
    for _ in range(dates):
        after = np.asarray(transition) @ value
        held = [_held(own, x, strike, rate, s, dt, steps) for own, s in zip(after, volatilities, strict=True)]
        value = np.maximum(payoff, np.stack(held))
    from scipy.interpolate import CubicSpline

    return np.stack([CubicSpline(x, own)(np.log(spot)) for own in value])


def _held(
    value: Float[np.ndarray, " x"],
    x: Float[np.ndarray, " x"],
    strike: float,
    rate: float,
    volatility: float,
    dt: float,
    steps: int,
) -> Float[np.ndarray, " x"]:
    """The value one date earlier, if the put is not exercised."""
    h = x[1] - x[0]
    diffusion, drift = volatility**2 / 2 / h**2, (rate - volatility**2 / 2) / (2 * h)
    below, centre, above = diffusion - drift, -2 * diffusion - rate, diffusion + drift
    step = dt / (steps + 2)
    elapsed = 0.0
    from scipy.linalg import solve_banded

    for length, implicit in [(step / 2, 1.0)] * 4 + [(step, 0.5)] * steps:
        elapsed += length
        known = value.copy()
        slope = below * value[:-2] + centre * value[1:-1] + above * value[2:]
        known[1:-1] += (1 - implicit) * length * slope
        known[0], known[-1] = strike * math.exp(-rate * elapsed) - math.exp(x[0]), 0.0
        bands = np.zeros((3, len(x)))
        bands[1] = 1.0
        bands[0, 2:], bands[1, 1:-1] = -implicit * length * above, 1 - implicit * length * centre
        bands[2, :-2] = -implicit * length * below
        value = solve_banded((1, 1), bands, known)
    return value
