"""A working life in regimes: health x insurance x jobs, each a regime with wealth, consumption and hours, and death.

All regimes have the same functions and differ by parameters: productivity, costs of health, coverage, and the
probabilities of what follows.

    echo '{"sizes": [3, 3, 2], "solver": "default", "ages": 40}' | python benchmarks/examples_regimes.py

One model in this fresh process. Prints JSON: seconds and CPU seconds of the import, of the first solve, of a query,
of the second compilation (good code) and of warm solves; V of every regime at some wealth in the first period.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

WEALTH = np.array([1.0, 4.0, 15.0])
MEDICAL, CHANCES = np.array([0.0, 0.1, 0.3]), np.array([0.6, 0.35, 0.05])
HOURS = [0.0, 0.5, 1.0]
FIRST_AGE = 25


def label(health: int, insurance: int, job: int) -> str:
    return f"h{health}i{insurance}j{job}"


def model(bx: Any, jnp: Any, sizes: tuple[int, int, int], ages: int) -> Any:
    """Regimes of so many kinds of health, insurance and jobs."""
    names = {place: label(*place) for place in product(*map(range, sizes))}

    def following(
        hours: Any, health_odds: Any, exercise: Any, insurance_odds: Any, job_odds: Any, survival: Any
    ) -> Any:
        """Work wears health down a little."""
        worn = health_odds - exercise * hours * (health_odds - health_odds[::-1])
        chances = {name: survival * worn[h] * insurance_odds[i] * job_odds[j] for (h, i, j), name in names.items()}
        return {**chances, "dead": 1 - survival}

    def utility(consumption: Any, hours: Any, risk_aversion: Any, disutility: Any) -> Any:
        return consumption ** (1 - risk_aversion) / (1 - risk_aversion) - disutility * hours

    def next_wealth(savings: Any, income: Any, medical: Any, coverage: Any, interest: Any) -> Any:
        return (1 + interest) * savings + income - (1 - coverage) * medical

    regime = bx.Regime(
        actions={"hours": bx.Discrete(HOURS), "consumption": bx.Continuous(1e-3, "wealth")},
        shocks={"medical": bx.shocks.Categorical("costs", "chances")},
        functions={
            "income": lambda hours, wage, productivity, premium: wage * productivity * hours + 0.7 - premium,
            "savings": lambda wealth, consumption: wealth - consumption,
        },
        transitions={"wealth": next_wealth},
        reward=utility,
        next_regime=following,
    )
    dead = bx.Terminal(value=lambda wealth, bequest: bequest * jnp.log(1 + wealth))
    return bx.Model(
        regimes={**dict.fromkeys(names.values(), regime), "dead": dead},
        states={"wealth": bx.Continuous(0.1, 60.0, scale=bx.scales.log)},
        horizon=bx.Ages(FIRST_AGE, FIRST_AGE + ages - 1),
    )


def params(bx: Any, sizes: tuple[int, int, int], ages: int) -> dict[str, Any]:
    wage = bx.by_period(1.0 + 0.02 * np.arange(ages) - 0.0004 * np.arange(ages) ** 2)
    healths, insurances, jobs = sizes
    by_regime: dict[str, Any] = {"dead": {"bequest": 0.5}}

    def odds(count: int, here: int, stays: float) -> np.ndarray:
        """Probabilities to stay, and of each other one."""
        if count == 1:
            return np.ones(1)
        found = np.full(count, (1 - stays) / (count - 1))
        found[here] = stays
        return found

    for h, i, j in product(*map(range, sizes)):
        by_regime[label(h, i, j)] = {
            "health_odds": odds(healths, h, 0.85),
            "insurance_odds": odds(insurances, i, 0.9 if j else 0.7),
            "job_odds": odds(jobs, j, 0.8),
            "survival": 0.96 + 0.03 * h / max(1, healths - 1),
            "productivity": (0.6 + 0.4 * h / max(1, healths - 1)) * (1.0 if j else 0.7),
            "coverage": 0.9 * i / max(1, insurances - 1) if insurances > 1 else 0.5,
            "premium": 0.05 * i,
            "costs": MEDICAL * (1.5 - h / max(1, healths - 1)) if healths > 1 else MEDICAL,
        }
    common = {"interest": 0.02, "discount": 0.96, "risk_aversion": 2.0, "disutility": 0.2, "exercise": 0.1}
    return {**common, "chances": CHANCES, "wage": wage, **by_regime}


def solver(bx: Any, name: str, nodes: int) -> Any:
    maximisers = {
        "default": lambda: None,
        "Newton": lambda: bx.maximise.Newton(),
        "DCEGM": lambda: bx.maximise.DCEGM(grid={"savings": nodes}),
    }
    grid = {} if name == "default" else {"wealth": nodes}
    return bx.solvers.BackwardInduction(grid=grid, maximiser=maximisers[name]())


def clocked(work: Callable[[], Any]) -> tuple[Any, list[float]]:
    """What a function gives, and the seconds and CPU seconds that it took."""
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    found = work()
    return found, [time.perf_counter() - wall, sum(os.times()[:4]) - cpu]


def main() -> None:
    given = json.load(sys.stdin)
    sizes, ages, nodes = tuple(given["sizes"]), given["ages"], given.get("nodes", 60)

    def imports() -> Any:
        import jax
        import jax.numpy as jnp

        import bellax as bx

        return jax, jnp, bx

    (jax, jnp, bx), imported = clocked(imports)
    stated, found = model(bx, jnp, sizes, ages), {}
    numbers, chosen = params(bx, sizes, ages), solver(bx, given["solver"], nodes)
    if given["solver"] == "default":
        chosen = None
    solution, first = clocked(lambda: bx.solve(stated, numbers, chosen))
    names = [name for name in stated.regimes if name != "dead"]
    value, query = clocked(
        lambda: {name: solution[name].value(FIRST_AGE, wealth=WEALTH).tolist() for name in names[:1]}
    )
    run = bx.compile(stated, chosen)
    compiled = clocked(lambda: jax.block_until_ready(run(numbers).values))[1]
    warm = [clocked(lambda: jax.block_until_ready(run(numbers).values))[1] for _ in range(3)]
    rest = {name: solution[name].value(FIRST_AGE, wealth=WEALTH).tolist() for name in names[1:]}
    found = {"import": imported, "first": first, "query": query, "compile": compiled, "warm": min(warm)}
    print(json.dumps({**found, "value": value | rest}))


if __name__ == "__main__":
    main()
