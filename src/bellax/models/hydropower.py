"""Reservoirs of pumped storage that sell to one market: water waits for dear months, and rain may fill what is full.

    V_t(x, p) = max over w, u of p g - k g^2 / 2 - sum_i (c u_i^2 + s w_i^2) / 2 + beta E V_{t+1}(x', p')
    x_i' = x_i - w_i - u_i + m_i (1 + a cos(2 pi t / 12)) + sigma (sqrt(1 - h) e_i + sqrt(h) e),    0 <= w_i <= x_i
    p' = pbar + rho (p - pbar) + b cos(2 pi (t + 1) / 12) + tau n,    x_i - w_i - C_i <= u_i <= x_i - w_i
    V_T(x, p) = sum_i (pbar x_i - d x_i^2 / 2)

with water x in each of N reservoirs, of which w is spilled and u runs through the turbines, upwards where it is
negative: what is left is between nothing and the capacity C. The market's price falls with what is generated in all,
g = sum u, which is what ties reservoirs together, and rain is common to them in part. Twelve months, from the wettest.

Rewards are quadratic, laws linear and bounds too, but these bind, so that nothing is known in closed form: the
reference is a bracket of the optimal value, and of one reservoir a grid. Calibration (ours): capacities and inflows of
five reservoirs differ by half.
Source: Pereira & Pinto (1991), "Multi-stage stochastic optimization applied to energy planning", Mathematical
Programming 52, for the problem; Brown & Smith (2014), Operations Research 62, for the bracket.
"""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

SOURCE = "BackwardInduction on a grid"
RESERVOIRS, HORIZON, MONTHS = 5, 12, 12
MEAN = 2.0  # of the price


def generated(released):
    return jnp.sum(released)


def revenue(price, generated, slope, released, spilled, losses, erosion):
    wasted = losses * jnp.sum(released**2) + erosion * jnp.sum(spilled**2)
    return price * generated - 0.5 * slope * generated**2 - 0.5 * wasted


def room(storage, spilled, capacity):
    return storage - spilled - capacity


def rest(storage, spilled):
    return storage - spilled


def inflow(rain, wetness, season, period):
    return wetness * (1 + season * jnp.cos(2 * jnp.pi * period / MONTHS)) + rain


def next_storage(rest, released, inflow):
    return rest - released + inflow


def next_price(price, demand, persistence, swing, unrest, period):
    seasonal = swing * jnp.cos(2 * jnp.pi * (period + 1) / MONTHS)
    return MEAN + persistence * (price - MEAN) + seasonal + unrest * demand


def kept(storage, surfeit):
    return jnp.sum(MEAN * storage - 0.5 * surfeit * storage**2)


def covariance(reservoirs: int):
    """Of rain, which reservoirs have in common in part."""
    return lambda sigma, common: sigma**2 * ((1 - common) * jnp.eye(reservoirs) + common)


def hydropower(reservoirs: int) -> bx.Model:
    """The model of so many reservoirs."""
    shape = (reservoirs,)
    return bx.Model(
        states={"storage": bx.Continuous(0.0, 6.0, shape=shape), "price": bx.Continuous(-1.0, 5.0)},
        actions={
            "spilled": bx.Continuous(0.0, "storage", shape=shape),
            "released": bx.Continuous(room, "rest", shape=shape),
        },
        shocks={
            "rain": bx.shocks.MultivariateNormal(covariance=covariance(reservoirs), size=reservoirs),
            "demand": bx.shocks.Normal(),
        },
        functions={"generated": generated, "rest": rest, "inflow": inflow},
        transitions={"storage": next_storage, "price": next_price},
        reward=revenue,
        terminal=kept,
        horizon=HORIZON,
    )


def calibration(reservoirs: int) -> dict[str, Any]:
    """Parameters for so many reservoirs, which the market is as large as."""
    own = np.ones(1) if reservoirs == 1 else np.linspace(0.8, 1.2, reservoirs)
    return {
        "discount": 0.99,
        "slope": 1.0 / reservoirs,
        "losses": 0.4,
        "erosion": 0.1,
        "capacity": 2.0 * own,
        "wetness": own,
        "season": 0.5,
        "sigma": 0.07,
        "common": 0.5,
        "persistence": 0.7,
        "swing": -0.6,
        "unrest": 0.3,
        "surfeit": 0.8,
    }


def beginning(reservoirs: int) -> dict[str, Any]:
    """Reservoirs half full, and a price as on average."""
    return {"storage": 1.5 * np.asarray(calibration(reservoirs)["wetness"]), "price": MEAN}


model = hydropower(RESERVOIRS)
params = calibration(RESERVOIRS)
start = beginning(RESERVOIRS)
solver = bx.solvers.ILQG(start=start)
trained = bx.solvers.PolicyGradient(
    start=start,
    hidden=(16,),
    critic=(16,),
    points=1000,
    budget=200,
    finish=150,
    box={"storage": (0.2, 4.5), "price": (-1.0, 5.0)},
)
"""A policy of nets, along simulated paths. Shares are smooth: cut off ones show no gradient at bounds, of which every
reservoir has several, and a training from random weights is caught there."""
periods = None


def bracket(reservoirs: int, own: Any, agents: int = 2000) -> Any:
    """Between what the value at the start lies, with the policy and the penalty of a solver."""
    begin = beginning(reservoirs)
    solution = bx.solve(hydropower(reservoirs), calibration(reservoirs), replace(own, start=begin))
    return bx.certify(solution, points=20, start=begin, agents=agents, seed=1).bracket


def on_a_grid(nodes: int = 41) -> float:
    """The value of one reservoir at the start."""
    grid = {"storage": (nodes,), "price": (nodes,)}
    fine = {"rain": 5, "demand": 5}
    boxed = replace(
        hydropower(1),
        states={"storage": bx.Continuous(0.2, 4.0, shape=(1,)), "price": bx.Continuous(-1.0, 5.0)},
    )
    solution = bx.solve(boxed, calibration(1), bx.solvers.BackwardInduction(grid=grid, quadrature=fine))
    return float(solution.value(0, **beginning(1)))


def checks() -> list[Check]:
    """How wide the bracket of one reservoir is."""
    return [narrow("1 reservoir", bracket(1, solver), 0.005)]


def long_checks() -> list[Check]:
    """The brackets of five reservoirs, from trajectories and from nets, and that of one beside the value of a grid."""
    one, known = bracket(1, solver), on_a_grid()
    return [
        *comparison.bracketed("bracket of one reservoir", one.interval, (known, known), 0.005, SOURCE, 1e-9),
        narrow("5 reservoirs", bracket(RESERVOIRS, solver), 0.005),
        narrow("5 reservoirs, nets", bracket(RESERVOIRS, trained), 0.01),
    ]


def narrow(what: str, found: Any, most: float) -> Check:
    """How wide a bracket is, relative to its middle."""
    low, high = found.interval
    width = (high - low) / abs((low + high) / 2)
    return comparison.absolute(f"width of the bracket, {what}, relative", width, 0.0, most, "none: less is better")
