"""Put on a stock that jumps: the log price is moved by small shocks all the time and by rare large ones.

    V_t(x) = max(K - e^x, e^(-r dt) E V_{t+1}(x + (r - sigma^2/2 - lambda kappa) dt + sigma sqrt(dt) z + j)),

with z ~ N(0, 1), j the sum of a Poisson number of jumps, lambda dt on average, each N(mu, delta^2), and V_T =
max(K - e^x, 0). kappa = exp(mu + delta^2/2) - 1 is what a jump adds to the price on average: without its drift the
discounted price would not be a martingale. The European put, which waits for T, has a closed form.

Two jumps between two dates are counted, more have a probability of 2e-7. A jump is spread much wider than the normal
shock is, so that its nodes have to be close, too.

Calibration: K = 1, r = .05, sigma = .15, lambda = .5, mu = -.1, delta = .2, one year, 50 dates, that of bellgrid's
example.
Source: Merton (1976), "Option pricing when underlying stock returns are discontinuous", Journal of Financial
Economics 3.
"""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import jump_diffusion_put, merton_series

DATES = 50


def payoff(log_price, strike):
    return jnp.maximum(strike - jnp.exp(log_price), 0.0)


def drift(rate, volatility, intensity, jump_mean, jump_sd):
    return rate - volatility**2 / 2 - intensity * jnp.expm1(jump_mean + jump_sd**2 / 2)


def next_log_price(log_price, z, jump, drift, volatility, step):
    return log_price + drift * step + volatility * jnp.sqrt(step) * z + jump


def lowest(strike):
    return jnp.log(strike) - 1.75


def highest(strike):
    return jnp.log(strike) + 1.0


model = bx.Model(
    states={"log_price": bx.Continuous(lowest, highest)},
    shocks={
        "z": bx.shocks.Normal(),
        "jump": bx.shocks.Jump(lambda intensity, step: intensity * step, mean="jump_mean", sd="jump_sd", largest=2),
    },
    functions={"step": lambda years: years / DATES, "drift": drift},
    transitions={"log_price": next_log_price},
    reward=0.0,
    discount=lambda rate, step: jnp.exp(-rate * step),
    stop=payoff,
    terminal=payoff,
    horizon=DATES,
)
european = replace(model, stop=None)
params: dict[str, Any] = {
    "strike": 1.0,
    "rate": 0.05,
    "volatility": 0.15,
    "intensity": 0.5,
    "jump_mean": -0.1,
    "jump_sd": 0.2,
    "years": 1.0,
}
solver = bx.solvers.BackwardInduction(
    grid={"log_price": 402},
    quadrature={"z": bx.quadrature.Equispaced(31, width=5.0), "jump": bx.quadrature.Equispaced(17, width=4.0)},
    interpolant=bx.interpolants.Hermite(),
)
start = {"log_price": 0.0}
periods = None


def reference(given: dict[str, Any], log_price: Any) -> dict[str, Any]:
    """Value of the put with the same dates, by panels of Gauss-Legendre nodes."""
    return {"value": jump_diffusion_put(np.exp(log_price), **_contract(given), dates=DATES)}


def _contract(given: dict[str, Any]) -> dict[str, Any]:
    names = ("strike", "rate", "volatility", "intensity", "jump_mean", "jump_sd")
    return {name: float(given[name]) for name in names} | {"maturity": float(given["years"])}


def checks() -> list[Check]:
    """The European put against the series of Merton, the Bermudan one against quadrature at the same dates."""
    prices = params["strike"] * np.linspace(0.7, 1.3, 121)
    bermudan, to_maturity = (
        np.asarray(bx.solve(kind, params, solver).value(0, log_price=np.log(prices))) for kind in (model, european)
    )
    series = merton_series(prices, **_contract(params))
    exact = jump_diffusion_put(prices, **_contract(params), dates=DATES)
    return [
        comparison.absolute("V, European", to_maturity, series, 1e-5, "series, Merton (1976)"),
        comparison.absolute("V, 50 dates", bermudan, exact, 1e-5, "quadrature at the same dates"),
    ]
