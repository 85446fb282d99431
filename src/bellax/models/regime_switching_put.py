"""Put under regime switching: the right to sell a stock whose volatility is that of a calm or of a turbulent market.

    V_t(x, i) = max(K - e^x, e^(-r dt) sum over j of P_ij E V_{t+1}(x + (r - s_i^2/2) dt + s_i sqrt(dt) z, j)),

with x the log of the price, z ~ N(0, 1), V_T = max(K - e^x, 0) and s_i the volatility until the next date. The market
moves from i to j at a date, by the Markov chain P, and is seen before the put is exercised or kept. A turbulent market
makes waiting worth more: there the put is kept at prices at which it is exercised in a calm one.

Calibration: K = 1, r = .05, volatilities .15 and .4, half a year, 25 dates, P = (.9 .1; .4 .6), that of bellgrid's
example; the market is calm four fifths of the time.
Source: Buffington & Elliott (2002), "American options with regime switching", International Journal of Theoretical and
Applied Finance 5.
"""

from enum import IntEnum
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import regime_switching_put, regime_switching_put_by_differences

DATES = 25


class Market(IntEnum):
    """What the volatility is."""

    calm = 0
    turbulent = 1


def payoff(log_price, strike):
    return jnp.maximum(strike - jnp.exp(log_price), 0.0)


def volatility(market, calm, turbulent):
    return jnp.where(market == Market.calm, calm, turbulent)


def next_log_price(log_price, z, rate, volatility, step):
    return log_price + (rate - volatility**2 / 2) * step + volatility * jnp.sqrt(step) * z


def lowest(strike, turbulent, years):
    return jnp.log(strike) - 4 * turbulent * jnp.sqrt(years)


def highest(strike, turbulent, years):
    return jnp.log(strike) + 4 * turbulent * jnp.sqrt(years)


model = bx.Model(
    states={
        "log_price": bx.Continuous(lowest, highest),
        "market": bx.MarkovChain(Market, transition="switching"),
    },
    shocks={"z": bx.shocks.Normal()},
    functions={"step": lambda years: years / DATES, "volatility": volatility},
    transitions={"log_price": next_log_price},
    reward=0.0,
    discount=lambda rate, step: jnp.exp(-rate * step),
    stop=payoff,
    terminal=payoff,
    horizon=DATES,
)
params: dict[str, Any] = {
    "strike": 1.0,
    "rate": 0.05,
    "calm": 0.15,
    "turbulent": 0.4,
    "switching": np.array([[0.9, 0.1], [0.4, 0.6]]),
    "years": 0.5,
}
solver = bx.solvers.BackwardInduction(
    grid={"log_price": 402},
    quadrature={"z": bx.quadrature.Equispaced(61, width=5.0)},
    interpolant=bx.interpolants.Hermite(),
)
start = {"log_price": 0.0, "market": Market.calm}
periods = None


def reference(given: dict[str, Any], log_price: Any, market: Any) -> dict[str, Any]:
    """Value of the put with the same dates, by panels of Gauss-Legendre nodes."""
    calm, turbulent = regime_switching_put(np.exp(log_price), **_contract(given))
    return {"value": np.where(np.asarray(market) == Market.calm, calm, turbulent)}


def _contract(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "strike": float(given["strike"]),
        "rate": float(given["rate"]),
        "volatilities": (float(given["calm"]), float(given["turbulent"])),
        "transition": np.asarray(given["switching"]),
        "maturity": float(given["years"]),
        "dates": DATES,
    }


def checks() -> list[Check]:
    """The value in both markets, against two methods that share nothing."""
    prices = params["strike"] * np.linspace(0.7, 1.3, 121)
    solution = bx.solve(model, params, solver)
    values = np.stack([solution.value(0, log_price=np.log(prices), market=market) for market in Market])
    exact = regime_switching_put(prices, **_contract(params))
    differences = regime_switching_put_by_differences(prices, **_contract(params))
    found = [
        comparison.absolute(f"V, {market.name}", values[market], exact[market], 1e-5, "quadrature at the same dates")
        for market in Market
    ]
    source = "finite differences, Crank-Nicolson"
    return [*found, comparison.absolute("V, both, differences", values, differences, 1e-4, source)]
