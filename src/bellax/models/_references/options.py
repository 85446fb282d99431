"""Puts on a stock that follows d log S = (r - sigma^2/2) dt + sigma dW under the pricing measure.

Two methods that share nothing. The binomial tree of Cox, Ross & Rubinstein converges slowly and irregularly
to the American value (off by 1e-4 at 5,000 steps). A Bermudan value, with exercise on n dates, is exact to
rounding by quadrature: below the exercise boundary b_k of a date the value is K - S, whose expectation is
known in closed form, and above it the continuation C_k is smooth, so that panels of Gauss-Legendre nodes as
narrow as the density integrate it spectrally,

    C_{k-1}(x) = e^(-r dt) (int_{b_k}^inf C_k(y) phi(y; x) dy + int_{-inf}^{b_k} (K - e^y) phi(y; x) dy),

with K - e^{b_k} = C_k(b_k), x = log S and phi the normal density of mean x + (r - sigma^2/2) dt and
variance sigma^2 dt.

Source: Cox, Ross & Rubinstein (1979), "Option pricing: a simplified approach", Journal of Financial
Economics 7; the quadrature is that of Andricopoulos, Widdicks, Duck & Newton (2003), "Universal option
valuation using quadrature methods", ibid. 67, with Gauss-Legendre in place of Simpson's rule.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bellax.models._references.numbers import Numbers

_PANEL_WIDTH = 2.0  # in standard deviations of the log return between two dates
_PANEL_NODES = 16
_TAIL = 9.0  # in standard deviations of the log return to maturity


def crr_tree(
    spot: Numbers,
    strike: float,
    rate: float,
    volatility: float,
    maturity: float,
    steps: int = 5000,
    american: bool = True,
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
        value = discount_up * value[..., 1:] + discount_down * value[..., :-1]
        if american:
            np.maximum(value, strike - price[..., steps - step : steps + step + 1 : 2], out=value)
    return value[..., 0]


def bermudan_put(
    spot: Numbers,
    strike: float,
    rate: float,
    volatility: float,
    maturity: float,
    dates: int,
) -> Numbers:
    """Value of a put that can be exercised today and at T/n, 2T/n, .., T, exact to about 1e-12 of the strike.

    Args:
        spot: prices of the stock today, of any shape.
        strike: K.
        rate: r > 0, continuously compounded, per year.
        volatility: sigma, per square root of a year.
        maturity: T in years.
        dates: n, the number of exercise dates after today.
    Returns:
        Values, of the shape of `spot`.
    """
    spot = np.asarray(spot, dtype=float)
    step = _Step(strike, rate, volatility, maturity / dates)
    drift = abs(rate - 0.5 * volatility**2) * maturity
    top = math.log(strike) + drift + _TAIL * volatility * math.sqrt(maturity)
    tail = _Tail(math.log(strike), np.empty(0), np.empty(0))
    for _ in range(dates - 1):
        tail = step.tail_before(tail, top)
    return np.maximum(strike - spot, step.continuation(np.log(spot), tail))


class _Tail(NamedTuple):
    """The value at one date: K - S below the boundary, and above it the continuation at quadrature nodes."""

    boundary: float
    nodes: Float[np.ndarray, " y"]
    weighted: Float[np.ndarray, " y"]  # continuation times quadrature weight


class _Step(NamedTuple):
    """The time between two dates."""

    strike: float
    rate: float
    volatility: float
    dt: float

    def continuation(self, x: Numbers, tail: _Tail) -> Numbers:
        """Value of waiting, at log prices x, if the next date's value is `tail`."""
        deviation = self.volatility * math.sqrt(self.dt)
        mean = x + (self.rate - 0.5 * self.volatility**2) * self.dt
        distance = (tail.nodes - np.expand_dims(mean, -1)) / deviation
        density = np.exp(-0.5 * distance**2) / (deviation * math.sqrt(2 * math.pi))
        exercise = (tail.boundary - mean) / deviation
        discount = math.exp(-self.rate * self.dt)
        from scipy.special import ndtr  # .1 s at import, which a solve of the model does not need

        exercised = discount * self.strike * ndtr(exercise) - np.exp(x) * ndtr(exercise - deviation)
        return exercised + discount * (density @ tail.weighted)

    def tail_before(self, tail: _Tail, top: float) -> _Tail:
        """The value one date earlier: its boundary, and its continuation at nodes from there up to `top`."""

        def gain(x: float) -> float:
            return self.strike - math.exp(x) - float(self.continuation(np.array(x), tail))

        from scipy.optimize import brentq  # as above

        boundary = brentq(gain, math.log(self.strike) - 5.0, math.log(self.strike), xtol=1e-14)
        nodes, weights = _panels(boundary, top, _PANEL_WIDTH * self.volatility * math.sqrt(self.dt))
        return _Tail(boundary, nodes, weights * self.continuation(nodes, tail))


def _panels(lower: float, upper: float, width: float) -> tuple[Float[np.ndarray, " y"], Float[np.ndarray, " y"]]:
    """Nodes and weights of Gauss-Legendre quadrature on panels of at most the given width."""
    nodes, weights = np.polynomial.legendre.leggauss(_PANEL_NODES)
    count = math.ceil((upper - lower) / width)
    half = 0.5 * (upper - lower) / count
    centres = lower + half * (2 * np.arange(count) + 1)
    return (centres[:, None] + half * nodes).ravel(), np.tile(half * weights, count)
