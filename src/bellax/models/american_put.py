"""American put: when to exercise the right to sell a stock at the strike.

    V_t(x) = max(K - e^x, e^(-r dt) E V_{t+1}(x + (r - sigma^2/2) dt + sigma sqrt(dt) z)),    z ~ N(0, 1),

with x the log of the price and V_T = max(K - e^x, 0). A model with dates a step of dt apart is a Bermudan put. The
American one, exercised at any time, is the limit of many dates; the error of waiting falls like 1 / dates, so that
twice the value of going on with 2n dates less that with n is better than either.

The strike is a node of the grid, where the payoff has its kink. Each date leaves another, at the price where exercise
begins: the shock has equally spaced nodes, which bear kinks, where Gauss-Hermite nodes would jump over them.

Calibration: K = 40, r = .06, sigma = .2, one year, 50 dates.
Source: Longstaff & Schwartz (2001), "Valuing American options by simulation: a simple least-squares approach", Review
of Financial Studies 14, table 1; Cox, Ross & Rubinstein (1979), Journal of Financial Economics 7, for the tree.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import bermudan_put, crr_tree

TABLE = {1: (4.478, 3.250, 2.314), 2: (4.840, 3.745, 2.885)}
"""Longstaff & Schwartz (2001), table 1, finite differences: by years to maturity, at prices 36, 38 and 40."""


def payoff(log_price, strike):
    return jnp.maximum(strike - jnp.exp(log_price), 0.0)


def next_log_price(log_price, z, rate, volatility, step):
    return log_price + (rate - volatility**2 / 2) * step + volatility * jnp.sqrt(step) * z


def lowest(strike, volatility, years):
    return jnp.log(strike) - 4 * volatility * jnp.sqrt(years)


def highest(strike, volatility, years):
    return jnp.log(strike) + 4 * volatility * jnp.sqrt(years)


@functools.cache
def with_dates(dates: int) -> bx.Model:
    """The put that can be exercised today and at `dates` equally spaced dates, the last at maturity."""
    return bx.Model(
        states={"log_price": bx.Continuous(lowest, highest)},
        shocks={"z": bx.shocks.Normal()},
        functions={"step": lambda years: years / dates},
        transitions={"log_price": next_log_price},
        reward=0.0,
        discount=lambda rate, step: jnp.exp(-rate * step),
        stop=payoff,
        terminal=payoff,
        horizon=dates,
    )


model = with_dates(50)
params: dict[str, Any] = {"strike": 40.0, "rate": 0.06, "volatility": 0.2, "years": 1.0}
solver = bx.solvers.BackwardInduction(
    grid={"log_price": 321},
    quadrature={"z": bx.quadrature.Equispaced(31)},
    interpolant=bx.interpolants.Hermite(),
)
start = {"log_price": float(np.log(36.0))}
periods = None


def american(price: Any, given: dict[str, Any] = params, dates: int = 100) -> np.ndarray:
    """The American value, extrapolated from puts with `dates` and twice as many exercise dates.

    Args:
        price: of the stock, any shape.
        given: parameters.
    """
    coarse, fine = (_going_on(price, given, count) for count in (dates, 2 * dates))
    return np.maximum(given["strike"] - np.asarray(price), 2 * fine - coarse)


def _going_on(price: Any, given: dict[str, Any], dates: int) -> np.ndarray:
    solution = bx.solve(with_dates(dates), given, solver)
    return np.asarray(solution.choice_values(0, log_price=np.log(price)))[..., 0]


def reference(given: dict[str, Any], log_price: Any) -> dict[str, Any]:
    """Value of the put with the same dates, by panels of Gauss-Legendre nodes."""
    strike, rate, volatility, years = (float(given[name]) for name in ("strike", "rate", "volatility", "years"))
    return {"value": bermudan_put(np.exp(log_price), strike, rate, volatility, years, model.clock.count)}


def checks() -> list[Check]:
    """Bermudan puts of one and two years against the published table, and the American one against a tree."""
    prices = np.array([36.0, 38.0, 40.0])
    published = "Longstaff & Schwartz (2001), table 1"
    found = []
    for years, values in TABLE.items():
        solution = bx.solve(with_dates(50 * years), params | {"years": float(years)}, solver)
        ours = solution.value(0, log_price=np.log(prices))
        found.append(comparison.absolute(f"V, 50 dates a year, {years} years", ours, values, 1e-3, published))
    prices = params["strike"] * np.linspace(0.8, 1.2, 81)
    tree = crr_tree(prices, params["strike"], params["rate"], params["volatility"], params["years"], steps=5000)
    source = "binomial tree of 5,000 steps, Cox, Ross & Rubinstein (1979)"
    return [*found, comparison.of_value("V, American", american(prices), tree, 2e-4, source)]
