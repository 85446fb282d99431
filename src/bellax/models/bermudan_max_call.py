"""Bermudan max-call: when to exercise the right to buy the dearest of several assets at the strike.

    V_t(x) = max(max_i exp(x_i) - K, e^(-r dt) E V_{t+1}(x'))
    x'_i = x_i + (r - q - sigma^2/2) dt + sigma sqrt(dt) z_i

with x the logs of d prices, z independent standard normal, a payoff of at least zero, and exercise at t_k = k T / 9,
k = 0, ..., 9. Five assets are five states, too many for a grid. `RegressionMonteCarlo` finds a policy, and
`bx.certify` a bracket of the optimal value around what it earns.

The assets are alike, so that only the order of their prices matters.

Calibration: d = 5, K = 100, r = .05, q = .1, sigma = .2, T = 3, all prices 100.
Source: Andersen & Broadie (2004), "Primal-dual simulation algorithm for pricing multidimensional American options",
Management Science 50, whose numbers are given as they are commonly quoted; Broadie & Glasserman (2004) for two assets.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import bermudan_max_call_lattice

SOURCE = "Andersen & Broadie (2004), as quoted"
ASSETS = 5
DATES = 9

TABLE = {90.0: 16.64, 100.0: 26.15, 110.0: 36.78}
"""The value of five assets, by what all prices are today, as it is quoted."""
INTERVAL = (26.115, 26.164)
"""Their interval of 95 % at a price of 100."""

WIDE = 0.015
"""How wide a bracket may be, relative to the value: of one asset at a price of 90 it is .0124."""

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


@functools.cache
def bracket(assets: int, price: float, agents: int = 4000) -> tuple[float, float]:
    """Between what the value lies with a confidence of 95 %, if all prices are the same today."""
    solution = bx.solve(of_assets(assets), params, solver)
    today = {"log_price": np.full(assets, np.log(price))}
    return bx.certify(solution, points=20, agents=agents, start=today, seed=1).bracket.interval


def checks() -> list[Check]:
    """The bracket of five assets: how wide it is, and how far from the published interval."""
    found = bracket(ASSETS, 100.0)
    return [
        comparison.absolute("width of the bracket", found[1] - found[0], 0.0, 0.07, "none: less is better"),
        *comparison.bracketed("bracket of five assets, 100", found, INTERVAL, WIDE, SOURCE, 1e-9),
    ]


def long_checks() -> list[Check]:
    """Other prices against the published table, and one and two assets against lattices and grids."""
    of, found = comparison.bracketed, []
    for price, known in TABLE.items():
        own = bracket(ASSETS, price)
        found += of(f"bracket of five assets, {price:.0f}", own, (known, known), WIDE, SOURCE, 0.005)
    equispaced = bx.quadrature.Equispaced
    for assets, nodes, rule in ((1, 801, equispaced(61, width=5.0)), (2, 161, equispaced(41, width=5.0))):
        on_grid = bx.solvers.BackwardInduction(
            grid={"log_price": (nodes,) * assets},
            quadrature={"z": rule},
            interpolant=bx.interpolants.Hermite(),
        )
        solution = bx.solve(of_assets(assets), params, on_grid)
        for price in TABLE:
            own = bracket(assets, price)
            grid = float(solution.value(0, log_price=np.full(assets, np.log(price))))
            lattice = lattice_value(assets, price)
            label = f"bracket of {assets} asset{'s' * (assets > 1)}, {price:.0f}"
            found += of(f"{label}, grid", own, (grid, grid), WIDE, "BackwardInduction", 1e-9)
            found += of(f"{label}, lattice", own, (lattice, lattice), WIDE, "lattice, Boyle (1988)", 1e-9)
    return found


def lattice_value(assets: int, price: float) -> float:
    """The value of one or two assets on a lattice."""
    strike, rate, dividend, volatility = (params[name] for name in ("strike", "rate", "dividend", "volatility"))
    return bermudan_max_call_lattice(
        price, strike, rate, dividend, volatility, params["years"], assets=assets, dates=DATES
    )
