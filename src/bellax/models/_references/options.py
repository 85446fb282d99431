"""Bermudan puts by quadrature, exact to about rounding, on stocks whose log price moves by a mixture of normals.

Between two dates the log price x moves from regime i by N(m, s^2) into regime j with a probability p, one of several
such moves. In regime j the value at a date is K - S below the exercise boundary b_j, whose expectation is known in
closed form, and above it the continuation C_j, which is smooth, so that panels of Gauss-Legendre nodes as narrow as the
density integrate it spectrally,

    C_i(x) = e^(-r dt) sum over moves of p (int_{b_j}^inf C_j(y) phi(y; x) dy + int_{-inf}^{b_j} (K - e^y) phi(y; x) dy)

with K - e^{b_j} = C_j(b_j) and phi the normal density of mean x + m and variance s^2. The model of Black & Scholes has
one regime and one move; with Poisson jumps there is a move for each number of them.

Source: Andricopoulos, Widdicks, Duck & Newton (2003), "Universal option valuation using quadrature methods", Journal of
Financial Economics 67, with Gauss-Legendre in place of Simpson's rule and several moves in place of one.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bellax.models._references.european import poisson
from bellax.models._references.numbers import Numbers

_PANEL_WIDTH = 3.0  # in standard deviations of the narrowest move
_PANEL_NODES = 16
_TAIL = 6.0  # in standard deviations of the log return to maturity: both to rise and to fall by so much is rare


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
    return regime_switching_put(spot, strike, rate, (volatility,), np.ones((1, 1)), maturity, dates)[0]


def regime_switching_put(
    spot: Numbers,
    strike: float,
    rate: float,
    volatilities: Sequence[float],
    transition: Float[np.ndarray, "i j"],
    maturity: float,
    dates: int,
) -> Float[np.ndarray, "i ..."]:
    """Value of a put whose volatility is that of a regime, which changes at dates only, exact as `bermudan_put`.

    Args:
        spot: prices of the stock today, of any shape.
        strike: K.
        rate: r > 0, continuously compounded, per year.
        volatilities: of every regime, per square root of a year.
        transition: probabilities of tomorrow's regime, a row for today's.
        maturity: T in years.
        dates: n, the number of exercise dates after today.
    Returns:
        Values, by regime of today, along a first axis before those of `spot`.
    """
    dt = maturity / dates
    moves = [
        [Move(float(p), (rate - s**2 / 2) * dt, s * math.sqrt(dt), j) for j, p in enumerate(row)]
        for s, row in zip(volatilities, transition, strict=True)
    ]
    return _bermudan(spot, strike, rate, dt, dates, moves)


def jump_diffusion_put(
    spot: Numbers,
    strike: float,
    rate: float,
    volatility: float,
    intensity: float,
    jump_mean: float,
    jump_sd: float,
    maturity: float,
    dates: int,
) -> Numbers:
    """Value of a Bermudan put on a stock that jumps, as in `merton_series`, exact to about 1e-12 of the strike.

    Args:
        spot: prices of the stock today, of any shape.
        strike: K.
        rate: r > 0, continuously compounded, per year.
        volatility: sigma, per square root of a year.
        intensity: lambda, expected number of jumps a year.
        jump_mean: mu, mean of a jump of the log price.
        jump_sd: delta, its standard deviation.
        maturity: T in years.
        dates: n, the number of exercise dates after today.
    Returns:
        Values, of the shape of `spot`.
    """
    dt = maturity / dates
    drift = (rate - volatility**2 / 2 - intensity * math.expm1(jump_mean + jump_sd**2 / 2)) * dt
    moves = [
        Move(probability, drift + n * jump_mean, math.sqrt(volatility**2 * dt + n * jump_sd**2), 0)
        for n, probability in enumerate(poisson(intensity * dt))
        if probability > 1e-12
    ]
    return _bermudan(spot, strike, rate, dt, dates, [moves])[0]


class Move(NamedTuple):
    """One way in which the log price may move until the next date: by N(mean, sd^2), into a regime."""

    probability: float
    mean: float
    sd: float
    regime: int


class _Tail(NamedTuple):
    """The value at one date: K - S below the boundary, and above it the continuation at quadrature nodes."""

    boundary: float
    nodes: Float[np.ndarray, " y"]
    weighted: Float[np.ndarray, " y"]  # continuation times quadrature weight


def _bermudan(
    spot: Numbers, strike: float, rate: float, dt: float, dates: int, moves: Sequence[Sequence[Move]]
) -> Float[np.ndarray, "i ..."]:
    """Value of a put today, by regime: `moves` are those out of every regime."""
    spot = np.asarray(spot, dtype=float)
    every = [move for own in moves for move in own]
    spread = max(math.sqrt(sum(m.probability * (m.mean**2 + m.sd**2) for m in own)) for own in moves)
    drift = max(abs(sum(m.probability * m.mean for m in own)) for own in moves)
    top = math.log(strike) + drift * dates + _TAIL * spread * math.sqrt(dates)
    width = _PANEL_WIDTH * min(move.sd for move in every)
    tails = [_Tail(math.log(strike), np.empty(0), np.empty(0)) for _ in moves]
    steps = [_Step(strike, math.exp(-rate * dt), own) for own in moves]
    for _ in range(dates - 1):
        tails = [step.tail_before(tails, top, width) for step in steps]
    return np.stack([np.maximum(strike - spot, step.continuation(np.log(spot), tails)) for step in steps])


class _Step(NamedTuple):
    """The time between two dates, out of one regime."""

    strike: float
    discount: float
    moves: Sequence[Move]

    def continuation(self, x: Numbers, tails: Sequence[_Tail]) -> Numbers:
        """Value of waiting, at log prices x, if the next date's values are `tails`, one a regime."""
        from scipy.special import ndtr  # .1 s at import, which a solve of the model does not need

        value = np.zeros(np.shape(x))
        for probability, mean, sd, regime in self.moves:
            tail = tails[regime]
            centre = np.asarray(x) + mean
            distance = (tail.nodes - np.expand_dims(centre, -1)) / sd
            density = np.exp(-0.5 * distance**2) / (sd * math.sqrt(2 * math.pi))
            exercise = (tail.boundary - centre) / sd
            exercised = self.strike * ndtr(exercise) - np.exp(centre + sd**2 / 2) * ndtr(exercise - sd)
            value = value + probability * (exercised + density @ tail.weighted)
        return self.discount * value

    def tail_before(self, tails: Sequence[_Tail], top: float, width: float) -> _Tail:
        """The value one date earlier: its boundary, and its continuation at nodes from there up to `top`."""

        def gain(x: float) -> float:
            return self.strike - math.exp(x) - float(self.continuation(np.array(x), tails))

        from scipy.optimize import brentq  # as above

        boundary = brentq(gain, math.log(self.strike) - 5.0, math.log(self.strike), xtol=1e-14)
        nodes, weights = _panels(boundary, top, width)
        return _Tail(boundary, nodes, weights * self.continuation(nodes, tails))


def _panels(lower: float, upper: float, width: float) -> tuple[Float[np.ndarray, " y"], Float[np.ndarray, " y"]]:
    """Nodes and weights of Gauss-Legendre quadrature on panels of at most the given width."""
    nodes, weights = np.polynomial.legendre.leggauss(_PANEL_NODES)
    count = math.ceil((upper - lower) / width)
    half = 0.5 * (upper - lower) / count
    centres = lower + half * (2 * np.arange(count) + 1)
    return (centres[:, None] + half * nodes).ravel(), np.tile(half * weights, count)
