"""The buffer stock: bellax's endogenous grid beside HARK's, warm solves in turn, with the Euler errors of both.

    python benchmarks/bench_buffer_stock.py                     # bellax alone
    python benchmarks/bench_buffer_stock.py --peer /path/python # of an environment with econ-ark

HARK runs in a process of its own, which prints its seconds and its consumption at given cash.
"""

import argparse
import json
import subprocess
import time

import jax
import numpy as np

import bellax as bx
from bellax.models import buffer_stock

_HARK = """
import json, sys, time
import numpy as np
from HARK.ConsumptionSaving.ConsIndShockModel import IndShockConsumerType
given = json.load(sys.stdin)
agent = IndShockConsumerType(
    cycles=0, CRRA=2.0, Rfree=[1.04], DiscFac=0.96, LivPrb=[1.0], PermGroFac=[1.03], PermShkStd=[0.1],
    PermShkCount=7, TranShkStd=[0.1], TranShkCount=7, UnempPrb=0.005, IncUnemp=0.0, BoroCnstArt=0.0,
    aXtraMin=0.001, aXtraMax=20.0, aXtraCount=given["nodes"], aXtraNestFac=3, vFuncBool=False, CubicBool=False,
    tolerance=given["tolerance"])
seconds = []
for _ in range(given["rounds"]):
    start = time.perf_counter()
    agent.solve()
    seconds.append(time.perf_counter() - start)
found = np.asarray(agent.solution[0].cFunc(np.asarray(given["cash"])), float)
print(json.dumps({"seconds": min(seconds), "consumption": found.tolist()}))
"""


def places(cash: np.ndarray, consumption: np.ndarray) -> np.ndarray:
    """Tomorrow's cash, one row a point and one column an outcome."""
    given = buffer_stock.params
    returns = given["gross_return"] / (given["growth"] * given["permanent"])
    ahead = (cash - consumption)[:, None, None] * returns[:, None] + given["transitory"]
    return ahead.reshape(len(cash), -1)


def asked(consumption_ahead: np.ndarray) -> np.ndarray:
    """Today's consumption by the Euler equation."""
    given, rho = buffer_stock.params, buffer_stock.params["risk_aversion"]
    factor = (given["growth"] * given["permanent"]) ** -rho * given["permanent_probabilities"]
    weights = np.outer(factor, given["transitory_probabilities"]).ravel()
    return (given["gross_return"] * given["patience"] * consumption_ahead**-rho @ weights) ** (-1 / rho)


def savings(nodes: int) -> bx.grids.Given:
    """Nodes that are quadratic near the borrowing limit and thin out like a harmonic series far from it."""
    return bx.grids.Given(0.25 * np.tan(np.linspace(0.0, np.arctan(np.sqrt(20.0 / 0.25)), nodes)) ** 2)


def bellax_solve(nodes: int, tolerance: float, rounds: int) -> tuple[float, bx.Solution]:
    """Seconds of the fastest warm solve, and the solution."""
    grid = bx.maximise.EGM(grid={"savings": savings(nodes)})
    solve = bx.compile(buffer_stock.model, bx.solvers.ValueIteration(maximiser=grid, tolerance=tolerance))
    solution, seconds = solve(buffer_stock.params), []
    for _ in range(rounds):
        start = time.perf_counter()
        solution = solve(buffer_stock.params)
        jax.block_until_ready(solution.values.levels)
        seconds.append(time.perf_counter() - start)
    return min(seconds), solution


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[48, 200])
    parser.add_argument("--tolerance", type=float, default=1e-10)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--peer", help="python of an environment with econ-ark")
    options = parser.parse_args()
    cash = np.geomspace(0.3, 5.0, 200)
    exact = buffer_stock.exact(buffer_stock.params)
    for nodes in options.nodes:
        seconds, solution = bellax_solve(nodes, options.tolerance, options.rounds)
        ours = np.asarray(solution.policy(cash=cash)["consumption"])
        ahead = places(cash, ours)
        following = np.asarray(solution.policy(cash=np.maximum(ahead, 1e-3))["consumption"])
        show("bellax", nodes, seconds, ours, asked(following), exact.consumption(cash))
        if options.peer is None:
            continue
        peer = hark(options.peer, nodes, options.tolerance, options.rounds, cash)
        theirs = np.asarray(peer["consumption"])
        following = np.asarray(
            hark(options.peer, nodes, options.tolerance, 1, places(cash, theirs).ravel())["consumption"]
        )
        show("HARK", nodes, peer["seconds"], theirs, asked(following.reshape(len(cash), -1)), exact.consumption(cash))
        print(f"ratio {peer['seconds'] / seconds:.1f}")


def show(name: str, nodes: int, seconds: float, consumption: np.ndarray, asked: np.ndarray, exact: np.ndarray) -> None:
    """A line of the table."""
    euler = np.log10(np.max(np.abs(asked / consumption - 1)))
    error = np.max(np.abs(consumption / exact - 1))
    print(
        f"{name:7s} {nodes:4d} nodes {1e3 * seconds:9.2f} ms   worst Euler error {euler:5.1f}   error of c {error:.1e}"
    )


def hark(python: str, nodes: int, tolerance: float, rounds: int, cash: np.ndarray) -> dict:
    """What HARK takes and answers."""
    given = {"nodes": nodes, "tolerance": tolerance, "rounds": rounds, "cash": cash.tolist()}
    done = subprocess.run([python, "-c", _HARK], input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
