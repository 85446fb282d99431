"""American put: when to exercise the right to sell a stock at the strike.

    V_t(x) = max(K - e^x, e^(-r dt) E V_{t+1}(x + (r - sigma^2/2) dt + sigma sqrt(dt) z)),    z ~ N(0, 1),

with x the log of the price and V_T = max(K - e^x, 0). A model with dates a step of dt apart is a Bermudan put. The
American one, exercised at any time, is the limit of many dates; the error of waiting falls like 1 / dates, so that
twice the value with 2n dates less that with n is better than either. At the price where exercise begins today it does
not fall so smoothly, because who waits there waits for a whole step: the dates of `bunched` are closer today.

The payoff has its kink at the strike, and each date leaves another at the price where exercise begins. The shock has
equally spaced nodes, which bear kinks, where Gauss-Hermite nodes would jump over them. In a cell of width h a kink at
the fraction f is off by (f/2 - 1/12 - f^2/2) h^2 in the integral of a cubic with the right slopes at both ends. That is
zero at f = (3 - sqrt 3) / 6, where the grid has the strike; at a node or in the middle of a cell it is not.

Calibration: K = 40, r = .06, sigma = .2, one year, 50 dates.
Source: Longstaff & Schwartz (2001), "Valuing American options by simulation: a simple least-squares approach", Review
of Financial Studies 14, table 1; Broadie & Detemple (1996), Review of Financial Studies 9, for the tree.
"""

import functools
import math
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import american_put_tree, bermudan_put

TABLE = (4.478, 3.250, 2.314)
"""Longstaff & Schwartz (2001), table 1, finite differences: one year, at prices 36, 38 and 40."""


def payoff(log_price, strike):
    return jnp.maximum(strike - jnp.exp(log_price), 0.0)


def next_log_price(log_price, z, rate, volatility, step):
    return log_price + (rate - volatility**2 / 2) * step + volatility * jnp.sqrt(step) * z


NODES = 721
REACH = 4.0
"""From the lowest node to the strike, in standard deviations of the log price at maturity."""
CELL = REACH / ((NODES - 1) / 2 + (3 - math.sqrt(3)) / 6)
"""Width of a cell, in the same unit: half of the nodes lie below the strike, which lies in a cell as said above."""


def lowest(strike, volatility, years):
    return jnp.log(strike) - REACH * volatility * jnp.sqrt(years)


def highest(strike, volatility, years):
    return lowest(strike, volatility, years) + (NODES - 1) * CELL * volatility * jnp.sqrt(years)


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


@functools.cache
def bunched(dates: int) -> bx.Model:
    """The same with dates at T (k / n)^1.5: the first step is T / n^1.5, the last 1.5 T / n."""

    def step(years, period):
        return years * (((period + 1) / dates) ** 1.5 - (period / dates) ** 1.5)

    return replace(with_dates(dates), functions={"step": step})


model = with_dates(50)
params: dict[str, Any] = {"strike": 40.0, "rate": 0.06, "volatility": 0.2, "years": 1.0}
solver = bx.solvers.BackwardInduction(
    grid={"log_price": NODES},
    quadrature={"z": bx.quadrature.Equispaced(161, width=5.0)},
    interpolant=bx.interpolants.Hermite(),
)
start = {"log_price": float(np.log(36.0))}
periods = None

many_dates = replace(solver, quadrature={"z": bx.quadrature.Equispaced(61, width=5.0)})
"""Enough where dates are close: the kinks that a date leaves are in proportion to the square root of the step."""


def american(price: Any, given: dict[str, Any] = params, dates: int = 100) -> np.ndarray:
    """The American value, extrapolated from puts with `dates` and twice as many exercise dates.

    Args:
        price: of the stock, any shape.
        given: parameters.
        dates: of the coarser put.
    """
    coarse, fine = (
        np.asarray(bx.solve(bunched(count), given, many_dates).value(0, log_price=np.log(price)))
        for count in (dates, 2 * dates)
    )
    return np.maximum(given["strike"] - np.asarray(price), 2 * fine - coarse)


def reference(given: dict[str, Any], log_price: Any) -> dict[str, Any]:
    """Value of the put with the same dates, by panels of Gauss-Legendre nodes."""
    return {"value": bermudan_put(np.exp(log_price), **_contract(given), dates=model.clock.count)}


def _contract(given: dict[str, Any]) -> dict[str, Any]:
    return {name: float(given[name]) for name in ("strike", "rate", "volatility")} | {"maturity": float(given["years"])}


def checks() -> list[Check]:
    """The Bermudan put against a published table and quadrature at the same dates, the American one against trees.

    Next to the price where exercise begins, 33.0, neither ours nor the tree can be extrapolated well.
    """
    prices = np.append([36.0, 38.0, 40.0], params["strike"] * np.linspace(0.8, 1.2, 81))
    ours = np.asarray(bx.solve(model, params, solver).value(0, log_price=np.log(prices)))
    exact = bermudan_put(prices, **_contract(params), dates=model.clock.count)
    any_time, tree = american(prices), np.asarray(american_put_tree(prices, **_contract(params), steps=2000))
    near = prices < 0.84 * params["strike"]
    table, quadrature = "Longstaff & Schwartz (2001), table 1", "quadrature at the same dates"
    trees = "trees of 2,000 and 4,000 steps, extrapolated, Broadie & Detemple (1996)"
    return [
        comparison.absolute("V, 50 dates, table", ours[:3], TABLE, 1e-3, table),
        comparison.absolute("V, 50 dates", ours, exact, 1e-5, quadrature),
        comparison.absolute("V, American", any_time[~near], tree[~near], 5e-5, trees),
        comparison.absolute("V, American, where exercise begins", any_time[near], tree[near], 1e-3, trees),
    ]
