"""Bermudan max-call: when to exercise the right to buy the dearest of several assets at the strike.

    V_t(x) = max(max_i exp(x_i) - K, e^(-r dt) E V_{t+1}(x')),    x'_i = x_i + (r - q - sigma^2/2) dt + sigma sqrt(dt) z_i

with x the logs of d prices, z independent standard normal, a payoff of at least zero, and exercise at t_k = k T / 9,
k = 0, ..., 9. Five assets are five states, too many for a grid. `RegressionMonteCarlo` finds a policy, and
`bx.certify` a bracket of the optimal value around what it earns.

The assets are alike, so that only the order of their prices matters.

Calibration: d = 5, K = 100, r = .05, q = .1, sigma = .2, T = 3, all prices 100.
Source: Andersen & Broadie (2004), "Primal-dual simulation algorithm for pricing multidimensional American options",
Management Science 50, table 2; Broadie & Glasserman (2004) for two assets.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx

ASSETS = 5
DATES = 9

TABLE = {90.0: 16.64, 100.0: 26.15, 110.0: 36.78}
"""Andersen & Broadie (2004): the value of five assets, by what all prices are today."""
INTERVAL = (26.115, 26.164)
"""Their interval of 95 % at a price of 100."""

REACH = 4.0
"""From the strike to the bounds of a log price, in standard deviations at maturity."""


def payoff(log_price, strike):
    return jnp.maximum(jnp.max(jnp.exp(log_price)) - strike, 0.0)


def next_log_price(log_price, z, rate, dividend, volatility, step):
    return log_price + (rate - dividend - volatility**2 / 2) * step + volatility * jnp.sqrt(step) * z


def lowest(strike, volatility, years):
    return jnp.log(strike) - REACH * volatility * jnp.sqrt(years)


def highest(strike, volatility, years):
    return jnp.log(strike) + REACH * volatility * jnp.sqrt(years)


@functools.cache
def of_assets(count: int) -> bx.Model:
    """The call on the dearest of so many assets."""
    return bx.Model(
        states={"log_price": bx.Continuous(lowest, highest, shape=(count,))},
        shocks={"z": bx.shocks.Normal(shape=(count,))},
        functions={"step": lambda years: years / DATES},
        transitions={"log_price": next_log_price},
        reward=0.0,
        discount=lambda rate, step: jnp.exp(-rate * step),
        stop=payoff,
        terminal=payoff,
        horizon=DATES,
    )


model = of_assets(ASSETS)
params: dict[str, Any] = {
    "strike": 100.0,
    "rate": 0.05,
    "dividend": 0.1,
    "volatility": 0.2,
    "years": 3.0,
}
solver = bx.solvers.RegressionMonteCarlo(exchangeable=("log_price",))
start = {"log_price": np.full(ASSETS, np.log(100.0))}
periods = None
