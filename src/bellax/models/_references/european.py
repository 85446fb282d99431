"""European puts in closed form.

Black & Scholes (1973) for a log price of variance v at maturity, and the series of Merton (1976) for a price that
jumps, d log S = (r - sigma^2/2 - lambda kappa) dt + sigma dW + J dN, with N Poisson of intensity lambda, J ~
N(mu, delta^2) and kappa = exp(mu + delta^2/2) - 1: given n jumps the price is log-normal, so that the put is a Poisson
mixture of Black & Scholes puts,

    P = sum over n of e^(-lambda T) (lambda T)^n / n!  BS(S_n, sigma^2 T + n delta^2),
    S_n = S exp(n (mu + delta^2/2) - lambda kappa T).

Source: Merton (1976), "Option pricing when underlying stock returns are discontinuous", Journal of Financial
Economics 3.
"""

import math

import numpy as np

from bellax.models._references.numbers import Numbers

_NEGLIGIBLE = 1e-17  # probability of the jumps that are left out


def black_scholes_put(spot: Numbers, strike: float, rate: float, variance: float, maturity: float) -> Numbers:
    """Value of a European put.

    Args:
        spot: prices of the stock today, of any shape.
        strike: K.
        rate: r, continuously compounded, per year.
        variance: of the log price at maturity.
        maturity: T in years.
    Returns:
        Values, of the shape of `spot`.
    """
    from scipy.special import ndtr  # .1 s at import, which a solve of a model does not need

    deviation = math.sqrt(variance)
    d = (np.log(spot / strike) + rate * maturity + variance / 2) / deviation
    return strike * math.exp(-rate * maturity) * ndtr(deviation - d) - spot * ndtr(-d)


def merton_series(
    spot: Numbers,
    strike: float,
    rate: float,
    volatility: float,
    intensity: float,
    jump_mean: float,
    jump_sd: float,
    maturity: float,
) -> Numbers:
    """Value of a European put on a stock that jumps, to rounding.

    Args:
        spot: prices of the stock today, of any shape.
        strike: K.
        rate: r, continuously compounded, per year.
        volatility: sigma, per square root of a year.
        intensity: lambda, expected number of jumps a year.
        jump_mean: mu, mean of a jump of the log price.
        jump_sd: delta, its standard deviation.
        maturity: T in years.
    Returns:
        Values, of the shape of `spot`.
    """
    growth = jump_mean + jump_sd**2 / 2
    lost = intensity * math.expm1(growth) * maturity
    value = np.zeros(np.shape(spot))
    for jumps, probability in enumerate(poisson(intensity * maturity)):
        variance = volatility**2 * maturity + jumps * jump_sd**2
        given_jumps = np.asarray(spot) * math.exp(jumps * growth - lost)
        value = value + probability * black_scholes_put(given_jumps, strike, rate, variance, maturity)
    return value


def poisson(expected: float) -> list[float]:
    """Probabilities of 0, 1, 2, .. events, as far as they matter."""
    masses = [math.exp(-expected)]
    while masses[-1] > _NEGLIGIBLE or len(masses) <= expected:
        masses.append(masses[-1] * expected / len(masses))
    return masses
