"""One brute-force Bellman step: ns per (state, action, shock node).

    V_t(w) = max over c of log c + beta sum over q of weight_q V_{t+1}((w - c) exp(mu + sigma z_q))

on 512 states x 1000 actions x 7 nodes, with user functions, the maximising action included. What is timed is
`BackwardInduction` over 10 periods with `Enumerate`, whole, divided by the number of cells, 10 x 512 x 1000 x
7. The peer is one period of the same in numpy, one (state, action) plane a node, with `numpy.interp`. A
published torch implementation of such a step (bellgrid) states 16 to 22 ns per cell.

Wall-clock time uses every core that XLA finds; the note gives CPU time, which another process disturbs less.

Run as a program it prints its own measurements as JSON: `JAX_ENABLE_X64=0 python bench_bellman_step.py` for
float32.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

STATES, ACTIONS, NODES, PERIODS = 512, 1000, 7, 10
LOWER, UPPER = 1e-3, 200.0
DISCOUNT, MU, SIGMA = 0.96, 0.04, 0.15
SLOPE = 1 / (1 - DISCOUNT)
INTERCEPT = SLOPE * np.log(1 - DISCOUNT) + DISCOUNT * SLOPE**2 * (np.log(DISCOUNT) + MU)
PARAMS = {"mu": MU, "sigma": SIGMA, "discount": DISCOUNT, "intercept": INTERCEPT, "slope": SLOPE}
ROUNDS = 7


def octaves(x):
    """The coordinate of the octave scale: log2 at powers of two, linear between them."""
    mantissa, exponent = np.frexp(x)
    return exponent - 1 + (2 * mantissa - 1)


class Case(NamedTuple):
    """A scale of ours, and the same coordinate in numpy."""

    scale: Any
    forward: Any


CASES = {
    "linear": Case(bx.scales.linear, lambda x: x),
    "octave": Case(bx.scales.octave, octaves),
    "log": Case(bx.scales.log, lambda x: np.log(np.maximum(x, 1e-300))),
    "asinh": Case(bx.scales.asinh(0.1), lambda x: np.arcsinh(x / 0.1)),
    "power": Case(bx.scales.power(3.0), np.cbrt),
}


def merton(scale: Any) -> bx.Model:
    """Log Merton with a grid of wealth in one of the scales."""
    return bx.Model(
        states={"wealth": bx.Continuous(LOWER, UPPER, scale=scale)},
        actions={"consumption": bx.Continuous(1e-6, "wealth")},
        shocks={"z": bx.shocks.Normal()},
        transitions={
            "wealth": lambda wealth, consumption, z, mu, sigma: (wealth - consumption) * jnp.exp(mu + sigma * z)
        },
        reward=lambda consumption: jnp.log(consumption),
        terminal=lambda wealth, intercept, slope: intercept + slope * jnp.log(wealth),
        horizon=PERIODS,
    )


def brute_force(scale: Any) -> Any:
    """A compiled function of parameters: 10 Bellman steps."""
    solver = bx.solvers.BackwardInduction(
        grid={"wealth": STATES},
        quadrature={"z": NODES},
        interpolant=bx.interpolants.Linear(),
        maximiser=bx.maximise.Enumerate(grid={"consumption": ACTIONS}),
    )
    return bx.compile(merton(scale), solver)


def in_three_states() -> Any:
    """64 x 16 x 16 states x 100 actions x 7 nodes, 3 periods: wealth, log income and a habit."""
    model = bx.Model(
        states={
            "wealth": bx.Continuous(0.1, UPPER, scale=bx.scales.octave),
            "income": bx.Continuous(-1.0, 1.0),
            "habit": bx.Continuous(-3.0, 4.0),
        },
        actions={"consumption": bx.Continuous(1e-3, "wealth")},
        shocks={"z": bx.shocks.Normal()},
        transitions={
            "wealth": lambda wealth, consumption, income, z, mu, sigma: (
                (wealth - consumption) * jnp.exp(mu + sigma * z) + jnp.exp(income)
            ),
            "income": lambda income, z, persistence: persistence * income + 0.1 * z,
            "habit": lambda habit, consumption: 0.8 * habit + 0.2 * jnp.log(consumption),
        },
        reward=lambda consumption, habit, gamma: jnp.log(consumption) - gamma * habit,
        horizon=3,
    )
    solver = bx.solvers.BackwardInduction(
        grid={"wealth": 64, "income": 16, "habit": 16},
        quadrature={"z": NODES},
        interpolant=bx.interpolants.Linear(),
        maximiser=bx.maximise.Enumerate(grid={"consumption": 100}),
    )
    return bx.compile(model, solver)


PARAMS_OF_THREE = {"mu": 0.03, "sigma": SIGMA, "discount": 0.95, "persistence": 0.9, "gamma": 0.3}
CELLS = PERIODS * STATES * ACTIONS * NODES
CELLS_OF_THREE = 3 * 64 * 16 * 16 * 100 * NODES


def numpy_step(nodes, y, forward, value, shock, weight, u) -> tuple[Any, Any]:
    """One Bellman step, vectorised over (state, action), a loop over nodes of the shock: V and consumption."""
    consumption = (1 - u) * 1e-6 + u * nodes[:, None]
    saved = nodes[:, None] - consumption
    expected = np.zeros_like(saved)
    for z, w in zip(shock, weight, strict=True):
        expected += w * np.interp(forward(saved * np.exp(MU + SIGMA * z)), y, value)
    q = np.log(consumption) + DISCOUNT * expected
    best = q.argmax(axis=1)
    rows = np.arange(len(nodes))
    return q[rows, best], consumption[rows, best]


def wealth_nodes(case: Case) -> tuple[Any, Any]:
    """Nodes, equally spaced in the coordinate, and the coordinate."""
    y = np.linspace(case.forward(LOWER), case.forward(UPPER), STATES)
    fine = np.geomspace(LOWER / 2, UPPER * 2, 400_001)
    nodes = np.asarray(case.scale.inverse(jnp.asarray(y)), float)
    assert np.allclose(np.interp(nodes, fine, case.forward(fine)), y, atol=1e-3)
    return nodes, y


def one_step_error(value, nodes) -> float:
    """|V - V*| after one step from the exact value of the next period, in utils, where no node is off the grid."""
    inside = (nodes >= 1.0) & (nodes <= 100.0)
    return float(np.max(np.abs(value - INTERCEPT - SLOPE * np.log(nodes))[inside]))


@pytest.mark.parametrize("name", CASES)
def test_step(name, in_turn, timed, record, benchmark):
    case = CASES[name]
    run = brute_force(case.scale)
    nodes, y = wealth_nodes(case)
    shock, weight = np.polynomial.hermite_e.hermegauss(NODES)
    given = (
        nodes,
        y,
        case.forward,
        INTERCEPT + SLOPE * np.log(nodes),
        shock,
        weight / weight.sum(),
        np.linspace(0, 1, ACTIONS),
    )

    cpu = []

    def ours(params):
        started = time.process_time()
        found = jax.block_until_ready(run(params))
        cpu.append(time.process_time() - started)
        return found

    medians = in_turn({"bellax": timed(ours, PARAMS), "numpy": timed(numpy_step, *given)}, rounds=ROUNDS)
    levels = np.asarray(run(PARAMS).values.levels)[PERIODS - 1]
    theirs = numpy_step(*given)[0]
    error, error_theirs = one_step_error(levels, nodes), one_step_error(theirs, nodes)
    inside = (nodes >= 1.0) & (nodes <= 100.0)
    assert np.max(np.abs(levels - theirs)[inside]) < 1e-8

    ns, ns_theirs = medians["bellax"] / CELLS * 1e9, medians["numpy"] / CELLS * PERIODS * 1e9
    ns_cpu = statistics.median(cpu[1:]) / CELLS * 1e9
    group = f"Bellman step, {STATES} x {ACTIONS} x {NODES}, {name} grid, float64"
    record(*_row(group, "bellax", ns, f"V {error:.1e}", f"{ns_cpu:.2f} ns of CPU time a cell"))
    record(*_row(group, "numpy", ns_theirs, f"V {error_theirs:.1e}", "one period, one core"))
    benchmark.extra_info |= {"ns_a_cell": ns, "numpy_ns_a_cell": ns_theirs, "error": error, "ratio": ns_theirs / ns}


def test_step_in_three_states(in_turn, timed, record, benchmark):
    run = in_three_states()
    medians = in_turn({"bellax": timed(run, PARAMS_OF_THREE)}, rounds=3)
    ns = medians["bellax"] / CELLS_OF_THREE * 1e9
    group = f"Bellman step, 64 x 16 x 16 x 100 x {NODES}, octave and linear grids, float64"
    record(*_row(group, "bellax", ns, "", "trilinear"))
    benchmark.extra_info["ns_a_cell"] = ns


def test_step_in_single_precision(record):
    environment = os.environ | {"JAX_ENABLE_X64": "0"}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["dtype"] == "float32"
    group = f"Bellman step, {STATES} x {ACTIONS} x {NODES}, float32"
    for name, (ns, ns_cpu, error) in found["steps"].items():
        record(*_row(group, f"bellax, {name} grid", ns, f"V {error:.1e}", f"{ns_cpu:.2f} ns of CPU time a cell"))
    record(*_row(group, "bellax, 64 x 16 x 16 x 100, octave grid", found["three"], ""))


def _row(group: str, contender: str, ns: float, accuracy: str, note: str = "") -> Any:
    return (group, contender, ns * 1e-9, accuracy, note, f"{ns:.2f} ns a cell")


def measure() -> dict[str, Any]:
    """Every scale and three states, in the precision of this process."""
    steps = {}
    for name, case in CASES.items():
        wall, cpu = _seconds(brute_force(case.scale), PARAMS, ROUNDS)
        nodes, _ = wealth_nodes(case)
        levels = np.asarray(brute_force(case.scale)(PARAMS).values.levels, float)[PERIODS - 1]
        steps[name] = (wall / CELLS * 1e9, cpu / CELLS * 1e9, one_step_error(levels, nodes))
    wall, _ = _seconds(in_three_states(), PARAMS_OF_THREE, 3)
    return {"dtype": str(jnp.zeros(()).dtype), "steps": steps, "three": wall / CELLS_OF_THREE * 1e9}


def _seconds(run: Any, params: dict[str, float], rounds: int) -> tuple[float, float]:
    jax.block_until_ready(run(params))
    wall, cpu = [], []
    for _ in range(rounds):
        started, started_cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(params))
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - started_cpu)
    return statistics.median(wall), statistics.median(cpu)


if __name__ == "__main__":
    print(json.dumps(measure()))
