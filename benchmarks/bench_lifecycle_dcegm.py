"""Fifty periods of work and saving under risk: `DCEGM` beside enumeration, and at which sizes they are equally exact.

Two choices with small taste shocks, 1,000 nodes of savings, 11 states of persistent income, 7 nodes of transitory
income. Errors are those of V in the first period, at wealth from poor to rich and every state of income, against
`DCEGM` on twice as many nodes; all share the nodes of income, so that they differ by what a method does along wealth.

Enumeration as exact as that is out of reach. Its error is taken at sizes that are not (as many candidates as nodes),
and goes on as the last two of them say, as does its time.
"""

import time
from enum import IntEnum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx

PERIODS, INCOMES, TRANSITORY = 50, 11, 7
NODES, SIZES = 1000, (100, 200, 400)
TWICE = 2  # times as many nodes know better
WEALTH = np.geomspace(0.5, 60.0, 60)
Labor = IntEnum("Labor", {"rest": 0, "work": 1})
PARAMS = {
    "discount": 0.96,
    "interest": 0.03,
    "risk_aversion": 1.5,
    "effort": 0.4,
    "benefit": 0.3,
    "rho": 0.95,
    "sigma": 0.12,
    "spread": 0.1,
    "scale": 0.05,
}

model = bx.Model(
    states={"wealth": bx.Continuous(0.1, 100.0, scale=bx.scales.log), "income": bx.AR1("rho", "sigma")},
    actions={"labor": bx.Discrete(Labor), "consumption": bx.Continuous(1e-4, "wealth")},
    shocks={"luck": bx.shocks.Normal()},
    functions={
        "savings": lambda wealth, consumption: wealth - consumption,
        "pay": lambda labor, income, luck, spread, benefit: jnp.where(
            labor == Labor.work, jnp.exp(income + spread * luck), benefit
        ),
    },
    transitions={"wealth": lambda savings, pay, interest: (1 + interest) * savings + pay},
    reward=lambda consumption, labor, risk_aversion, effort: (
        consumption ** (1 - risk_aversion) / (1 - risk_aversion) - effort * (labor == Labor.work)
    ),
    taste_shocks=bx.ExtremeValue("scale", over=("labor",)),
    horizon=PERIODS,
)


def solver(maximiser: Any, **grid: Any) -> bx.solvers.BackwardInduction:
    return bx.solvers.BackwardInduction(
        grid={"income": INCOMES, **grid}, quadrature={"luck": TRANSITORY}, maximiser=maximiser
    )


def endogenous(nodes: int) -> Any:
    return solver(bx.maximise.DCEGM(grid={"savings": nodes}), wealth=4)


def enumerated(size: int) -> Any:
    return solver(bx.maximise.Enumerate(grid={"consumption": size}), wealth=size)


def newton(size: int) -> Any:
    return solver(bx.maximise.Newton(), wealth=size)


def answers(solution: Any) -> np.ndarray:
    """V in the first period."""
    spread = PARAMS["sigma"] / np.sqrt(1 - PARAMS["rho"] ** 2)
    incomes = np.linspace(-1.5, 1.5, 5) * spread
    return np.stack([np.asarray(solution.value(0, wealth=WEALTH, income=income)) for income in incomes])


def measured(options: Any, rounds: int = 2) -> tuple[float, float, np.ndarray]:
    """CPU seconds and seconds of the fastest warm solve, and V."""
    run = bx.compile(model, options)
    solution = run(PARAMS)
    jax.block_until_ready(solution.values)
    found = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(PARAMS).values)
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return *min(found), answers(solution)


def test_lifecycle(record):
    group = "fifty periods, two choices, risk"
    exact = answers(bx.compile(model, endogenous(TWICE * NODES))(PARAMS))
    off = lambda values: float(np.max(np.abs(values - exact) / np.maximum(1.0, np.abs(exact))))  # noqa: E731

    def shown(name: str, cpu: float, wall: float, error: float, note: str = "") -> None:
        record(group, name, cpu, f"V {error:.1e}", f"CPU seconds; {wall:.2f} s of wall clock{note}")

    cpu, wall, values = measured(endogenous(NODES))
    ours, spent = off(values), cpu
    shown(f"DCEGM, {NODES} nodes", cpu, wall, ours)
    for size in SIZES[:-1]:
        cpu, wall, values = measured(newton(size), 1)
        shown(f"Newton, {size} nodes", cpu, wall, off(values))
    errors, times = [], []
    for size in SIZES:
        cpu, wall, values = measured(enumerated(size), 1)
        errors.append(off(values))
        times.append(cpu)
        shown(f"Enumerate, {size} x {size}", cpu, wall, errors[-1])
    order = np.log(errors[-2] / errors[-1]) / np.log(SIZES[-1] / SIZES[-2])
    growth = np.log(times[-1] / times[-2]) / np.log(SIZES[-1] / SIZES[-2])
    factor = (errors[-1] / ours) ** (1 / order)
    needed = times[-1] * factor**growth
    note = f"extrapolated: error of order {order:.2f}, time of order {growth:.2f}; {needed / spent:.0f} times ours"
    record(group, f"Enumerate, {factor * SIZES[-1]:.2g} squared", needed, f"V {ours:.1e}", note)
    assert ours < 1e-5
