"""Gas storage: when to inject, wait and withdraw as a price comes back to its mean, at rates that volume limits.

    V_t(v, x) = max over r of -e^x r - s |r| + beta E V_{t+1}(v + r, x'),    -out(v) <= r <= in(v),
    in(v) = min(i (1 - v / 2C), C - v),    out(v) = min(o (.3 + .7 v / C), v),
    x' = m + rho (x - m) + sigma e,    V_T(v, x) = k e^x v,

with v the volume in a cavern that holds C, x the log of the price and s the cost of moving a unit. Injection slows as
pressure rises, and withdrawal as it falls. One injects up to some volume, waits, or withdraws down to another; where a
rate limits that V has kinks in v. What storage is worth is the spread of the price, so that a chain in place of the
process must have its distribution between nodes, too, and not only two moments.

Calibration (ours): C = 10, i = 2, o = 3, s = .1; rho = .9, sigma = .15, m = 1; k = .5, beta = .995, 30 periods.
Source: Boogert & De Jong (2008), "Gas storage valuation using a Monte Carlo method", Journal of Derivatives 15;
Carmona & Ludkovski (2010), "Valuation of energy storage: an optimal switching approach", Quantitative Finance 10.
"""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import Cavern, Storage
from bellax.models.references import storage as by_density

SOURCE = "421 volumes by 601 log prices in numpy, the density of the process integrated"
HORIZON = 30


def most_in(volume, injection, capacity):
    return jnp.minimum(injection * (1 - volume / (2 * capacity)), capacity - volume)


def most_out(volume, withdrawal, capacity):
    return jnp.minimum(withdrawal * (0.3 + 0.7 * volume / capacity), volume)


def earned(rate, log_price, cost):
    return -jnp.exp(log_price) * rate - cost * jnp.abs(rate)


model = bx.Model(
    states={
        "volume": bx.Continuous(0.0, "capacity"),
        "log_price": bx.AR1("persistence", "volatility", mean="mean_log_price"),
    },
    actions={"rate": bx.Continuous(lambda most_out: -most_out, "most_in")},
    functions={"most_in": most_in, "most_out": most_out},
    transitions={"volume": lambda volume, rate: volume + rate},
    reward=earned,
    terminal=lambda volume, log_price, salvage: salvage * jnp.exp(log_price) * volume,
    horizon=HORIZON,
)
params: dict[str, Any] = {
    "capacity": 10.0,
    "injection": 2.0,
    "withdrawal": 3.0,
    "cost": 0.1,
    "persistence": 0.9,
    "volatility": 0.15,
    "mean_log_price": 1.0,
    "salvage": 0.5,
    "discount": 0.995,
}
LOG_PRICES = bx.grids.FarmerToda(81, width=4.0)
"""The chain that stands for the log price; of seven nodes of Rouwenhorst V would be off by two hundredths."""
TOLERANCE = 2e-3
"""Of max(1, |V|)."""
solver = bx.solvers.BackwardInduction(
    grid={"volume": 201, "log_price": LOG_PRICES},
    interpolant=bx.interpolants.Linear(),
    maximiser=bx.maximise.Newton(grid={"rate": 7}),
)
start = {"volume": 5.0, "log_price": 1.0}
periods = None


def reference(given: dict[str, Any], volume: Any, log_price: Any) -> dict[str, Any]:
    """Value and rate, of the process itself; volume and log price may be arrays."""
    known = solved(tuple(float(given[name]) for name in params))
    at = (0, np.asarray(volume), np.asarray(log_price))
    return {"value": known.value(*at), "rate": known.rate(*at)}


@functools.lru_cache(maxsize=2)  # sixty megabytes each
def solved(given: tuple[float, ...]) -> Storage:
    """The reference of parameters in the order of `params`."""
    by_name = dict(zip(params, given, strict=True))
    cavern = Cavern(*(by_name[name] for name in ("capacity", "injection", "withdrawal", "cost")))
    process = (by_name["persistence"], by_name["volatility"], by_name["mean_log_price"])
    return by_density(cavern, *process, by_name["discount"], by_name["salvage"], HORIZON)


def checks() -> list[Check]:
    """V from empty to full at prices within two standard deviations, between nodes, and what is done there.

    Rates are compared on average: where one begins to wait they go over from all to nothing within a small range.
    """
    solution = bx.solve(model, params, solver)
    spread = params["volatility"] / np.sqrt(1 - params["persistence"] ** 2)
    volumes = np.linspace(0.0, params["capacity"], 83)[:, None]
    log_prices = params["mean_log_price"] + spread * np.linspace(-2.0, 2.0, 79)
    exact = reference(params, volumes, log_prices)
    values = solution.value(0, volume=volumes, log_price=log_prices)
    rates = np.asarray(solution.policy(0, volume=volumes, log_price=log_prices)["rate"])
    wrong = float(np.abs(rates - exact["rate"]).mean())
    return [
        comparison.of_value("V", values, exact["value"], TOLERANCE, SOURCE),
        comparison.absolute("rate, mean error", wrong, 0.0, 0.01, SOURCE),
    ]
