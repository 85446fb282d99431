"""Fifty periods of work and saving under risk: `DCEGM` beside enumeration, and what each takes to be equally exact.

Two choices with small taste shocks, 11 states of persistent income, 7 nodes of transitory income. Errors are those of V
in the first period, at wealth from poor to rich and at the nodes of income, against `DCEGM` on 1,000 nodes of savings;
all share the nodes of income, so that they differ by what a method does along wealth. Enumeration has as many
candidates as nodes. How long `DCEGM` takes to be as exact as enumeration is read off a line through two of its sizes,
and what enumeration takes to be as exact as `DCEGM` off how its error and its time go on from its last two sizes.
"""

import time
from enum import IntEnum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx

PERIODS, INCOMES, TRANSITORY = 50, 11, 7
NODES, FEWER, SIZES = 1000, (25, 50, 100), (100, 200, 400)
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
    incomes = np.linspace(-1.0, 1.0, INCOMES)[1:-1:2] * np.sqrt(INCOMES - 1) * spread
    return np.stack([np.asarray(solution.value(0, wealth=WEALTH, income=income)) for income in incomes])


def measured(options: Any) -> tuple[float, float, np.ndarray]:
    """CPU seconds and seconds of a warm solve, and V."""
    run = bx.compile(model, options)
    jax.block_until_ready(run(PARAMS).values)
    wall, cpu = time.perf_counter(), time.process_time()
    solution = run(PARAMS)
    jax.block_until_ready(solution.values)
    return time.process_time() - cpu, time.perf_counter() - wall, answers(solution)


def through(xs: Any, ys: Any, x: float) -> float:
    """A power law through the two points nearest to x, at x."""
    first, second = np.argsort(np.abs(np.log(np.asarray(xs) / x)))[:2]
    order = np.log(ys[second] / ys[first]) / np.log(xs[second] / xs[first])
    return float(ys[first] * (x / xs[first]) ** order)


def test_lifecycle(record):
    group = "fifty periods, two choices, risk"
    cpu, wall, exact = measured(endogenous(NODES))
    record(group, f"DCEGM, {NODES} nodes", cpu, "the reference", f"CPU seconds; {wall:.2f} s of wall clock")
    found: dict[str, list[tuple[float, float]]] = {}
    contenders = {"DCEGM": (endogenous, FEWER), "Newton": (newton, SIZES[:2]), "Enumerate": (enumerated, SIZES)}
    for name, (options, sizes) in contenders.items():
        for size in sizes:
            cpu, wall, values = measured(options(size))
            error = float(np.max(np.abs(values - exact) / np.maximum(1.0, np.abs(exact))))
            found.setdefault(name, []).append((error, cpu))
            record(group, f"{name}, {size}", cpu, f"V {error:.1e}", f"CPU seconds; {wall:.2f} s of wall clock")
    ours, theirs = zip(*found["DCEGM"], strict=True), zip(*found["Enumerate"], strict=True)
    (our_errors, our_times), (their_errors, their_times) = ours, theirs
    as_they = through(our_errors, our_times, their_errors[-1])
    record(group, "DCEGM as exact as the last", as_they, "", f"{their_times[-1] / as_they:.0f} times faster")
    as_we = through(their_errors, their_times, our_errors[-1])
    record(group, f"Enumerate as exact as DCEGM, {FEWER[-1]}", as_we, "", f"{as_we / our_times[-1]:.2g} times slower")
    assert our_errors[-1] < 1e-5
