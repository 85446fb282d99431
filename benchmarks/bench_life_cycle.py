"""A life cycle of 65 periods: bellax's endogenous grid beside HARK's, with the Euler errors of both.

    python benchmarks/bench_life_cycle.py --peer /path/python   # of an environment with econ-ark

The calibration is HARK's own (`init_lifecycle`: income of Cagetti 2003, survival of the US, 25 to 90): growth, survival
and the spread of shocks by age, 56 outcomes a year at work and two in retirement. HARK says what it solves, and bellax
solves that. Seconds of CPU are those of the process, of warm solves, the sides in turn. Euler errors are the largest,
at cash from poor to rich and some ages; the ratio is of the fastest solve of either side whose error is 1e-5 or below.
"""

import argparse
import json
import subprocess
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import bellax as bx

_HARK = """
import json, sys, time
import numpy as np
from HARK.ConsumptionSaving.ConsIndShockModel import IndShockConsumerType, init_lifecycle
given = json.load(sys.stdin)
agent = IndShockConsumerType(**{**init_lifecycle, "aXtraCount": given["nodes"], "aXtraMax": given["most"]})
seconds = []
for _ in range(given["rounds"]):
    wall, cpu = time.perf_counter(), time.process_time()
    agent.solve()
    seconds.append([time.process_time() - cpu, time.perf_counter() - wall])
found = {"seconds": min(seconds)}
found["consumption"] = [
    np.asarray(agent.solution[age].cFunc(np.asarray(cash)), float).tolist() for age, cash in given["asked"]
]
if given["tell"]:
    found |= {
        "patience": agent.DiscFac, "risk_aversion": agent.CRRA, "gross_return": list(map(float, agent.Rfree)),
        "growth": list(map(float, agent.PermGroFac)), "survival": list(map(float, agent.LivPrb)),
        "probabilities": [d.pmv.tolist() for d in agent.IncShkDstn],
        "permanent": [d.atoms[0].tolist() for d in agent.IncShkDstn],
        "transitory": [d.atoms[1].tolist() for d in agent.IncShkDstn],
    }
print(json.dumps(found))
"""
AGES = (0, 15, 30, 39, 45, 60)
CASH = np.geomspace(0.2, 15.0, 200)
MOST = 40.0
NEAR = 0.5  # savings up to which nodes are dense, as those of most who save little

model = bx.Model(
    states={"cash": bx.Continuous(1e-3, MOST)},
    actions={"consumption": bx.Continuous(0.0, "cash")},
    shocks={"outcome": bx.shocks.Categorical(probabilities="probabilities")},
    functions={
        "savings": lambda cash, consumption: cash - consumption,
        "grown": lambda outcome, growth, permanent: growth * permanent[outcome],
    },
    transitions={
        "cash": lambda savings, grown, outcome, gross_return, transitory: (
            gross_return / grown * savings + transitory[outcome]
        )
    },
    reward=lambda consumption, risk_aversion: consumption ** (1 - risk_aversion) / (1 - risk_aversion),
    discount=lambda patience, survival, grown, risk_aversion: patience * survival * grown ** (1 - risk_aversion),
    terminal=lambda cash, risk_aversion: cash ** (1 - risk_aversion) / (1 - risk_aversion),
    horizon=65,
)


def params(told: dict[str, Any]) -> dict[str, Any]:
    """What HARK says, with outcomes of probability zero where there are fewer."""
    most = max(map(len, told["probabilities"]))
    filled = {
        name: np.array([row + [rest] * (most - len(row)) for row in told[name]])
        for name, rest in (("probabilities", 0.0), ("permanent", 1.0), ("transitory", 1.0))
    }
    by_age = {name: np.array(told[name]) for name in ("gross_return", "growth", "survival")} | filled
    return {name: told[name] for name in ("patience", "risk_aversion")} | {
        name: bx.by_period(values) for name, values in by_age.items()
    }


def ahead(told: dict[str, Any], age: int, consumption: np.ndarray) -> np.ndarray:
    """Cash tomorrow, one row a point and one column an outcome."""
    grown = told["growth"][age] * np.array(told["permanent"][age])
    return (CASH - consumption)[:, None] * told["gross_return"][age] / grown + np.array(told["transitory"][age])


def euler(told: dict[str, Any], age: int, consumption: np.ndarray, following: np.ndarray) -> float:
    """The largest error of today's consumption, relative to it, where savings are not at the limit."""
    rho, grown = told["risk_aversion"], told["growth"][age] * np.array(told["permanent"][age])
    worth = (grown * following) ** -rho @ np.array(told["probabilities"][age])
    asked = (told["gross_return"][age] * told["patience"] * told["survival"][age] * worth) ** (-1 / rho)
    saves = CASH - consumption > 1e-6
    return float(np.max(np.abs(asked / consumption - 1)[saves]))


def hark(python: str, nodes: int, rounds: int, asked: list[Any], tell: bool = False) -> dict[str, Any]:
    given = {"nodes": nodes, "most": MOST, "rounds": rounds, "asked": asked, "tell": tell}
    done = subprocess.run([python, "-c", _HARK], input=json.dumps(given), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def by_hark(python: str, told: dict[str, Any], nodes: int, rounds: int) -> tuple[list[float], float]:
    """CPU seconds and seconds, and the largest Euler error."""
    found = hark(python, nodes, rounds, [[age, CASH.tolist()] for age in AGES])
    today = [np.asarray(row) for row in found["consumption"]]
    places = [ahead(told, age, c) for age, c in zip(AGES, today, strict=True)]
    then = hark(python, nodes, 1, [[age + 1, cash.ravel().tolist()] for age, cash in zip(AGES, places, strict=True)])
    following = [np.reshape(row, cash.shape) for row, cash in zip(then["consumption"], places, strict=True)]
    return found["seconds"], max(map(lambda *given: euler(told, *given), AGES, today, following))


def savings(nodes: int) -> bx.grids.Given:
    """Nodes that are quadratic near the borrowing limit and thin out like a harmonic series far from it."""
    return bx.grids.Given(NEAR * np.tan(np.linspace(0.0, np.arctan(np.sqrt(MOST / NEAR)), nodes)) ** 2)


def by_bellax(told: dict[str, Any], nodes: int, rounds: int) -> tuple[list[float], float]:
    """The same."""
    numbers, grid = params(told), bx.maximise.EGM(grid={"savings": savings(nodes)}, kinks=0)
    solve = bx.compile(model, bx.solvers.BackwardInduction(grid={"cash": 4}, maximiser=grid))
    solution, seconds = solve(numbers), []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        solution = solve(numbers)
        jax.block_until_ready(solution.values.levels)
        seconds.append([time.process_time() - cpu, time.perf_counter() - wall])
    errors = []
    for age in AGES:
        today = np.asarray(solution.policy(age, cash=CASH)["consumption"])
        following = solution.policy(age + 1, cash=jnp.asarray(np.maximum(ahead(told, age, today), 1e-3)))
        errors.append(euler(told, age, today, np.asarray(following["consumption"])))
    return min(seconds), max(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[48, 100, 250, 300])
    parser.add_argument("--theirs", type=int, nargs="+", default=[48, 200, 1000, 4000])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--peer", required=True, help="python of an environment with econ-ark")
    options = parser.parse_args()
    told, least = hark(options.peer, 8, 1, [], tell=True), {"bellax": np.inf, "HARK": np.inf}
    for ours, theirs in zip(options.nodes, options.theirs, strict=True):
        found = {
            "bellax": (ours, *by_bellax(told, ours, options.rounds)),
            "HARK": (theirs, *by_hark(options.peer, told, theirs, options.rounds)),
        }
        for name, (nodes, (cpu, wall), error) in found.items():
            print(
                f"{name:7s} {nodes:5d} nodes {1e3 * cpu:8.2f} ms of CPU {1e3 * wall:8.2f} ms   Euler error {error:.1e}",
                flush=True,
            )
            least[name] = min(least[name], cpu) if error <= 1e-5 else least[name]
    print(f"to 1e-5, HARK over bellax: {least['HARK'] / least['bellax']:.1f}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
