"""Seconds to the first answer of a model that was just written, and the equations of the programs, by model and source.

    python benchmarks/first_answer.py --src ../before/src --src src [MODEL ...]

Each model runs in a fresh process without a cache, the sources in turn, and each stage (solve and a query, a
simulation, a certificate, the solve again) is given in CPU seconds and seconds. Processes on the same cores double the
seconds, hardly the CPU seconds, and not the equations: those of every program that is compiled, in the programs inside
it too. With `--cache`, the second process of each model is timed, which finds the programs of the first on disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

Case = tuple[Any, dict[str, float], Any, dict[str, Any]]
"""Model, parameters, solver or None for the default one, and a state."""


def linear_quadratic(bx: Any, jnp: Any) -> Case:
    model = bx.Model(
        states={"x": bx.Continuous(-2.0, 2.0)},
        actions={"a": bx.Continuous(-10.0, 10.0)},
        shocks={"z": bx.shocks.Normal()},
        transitions={"x": lambda x, a, z: 0.9 * x + a + 0.1 * z},
        reward=lambda x, a: -(x**2 + a**2),
    )
    return model, {"discount": 0.95}, bx.solvers.PolicyIteration(), {"x": 0.5}


def growth(bx: Any, jnp: Any) -> Case:
    model = bx.Model(
        states={"capital": bx.Continuous(0.05, 0.5, scale=bx.scales.log), "z": bx.AR1("rho", "sigma")},
        actions={"consumption": bx.Continuous(1e-6, "output")},
        functions={"output": lambda capital, z, alpha: jnp.exp(z) * capital**alpha},
        transitions={"capital": lambda output, consumption: output - consumption},
        reward=lambda consumption: jnp.log(consumption),
    )
    params = {"alpha": 0.36, "rho": 0.9, "sigma": 0.02, "discount": 0.95}
    return model, params, None, {"capital": 0.2, "z": 0.0}


_PORTFOLIO = {"gamma": 3.0, "r": 0.02, "mu": 0.05, "sigma": 0.2, "discount": 0.95}


def portfolio(bx: Any, jnp: Any, habit: bool = False) -> Case:
    """Consumption and a share of risky assets; with a habit, two states over thirty periods."""
    states = {"wealth": bx.Continuous(0.5, 20.0, scale=bx.scales.log)}
    transitions = {"wealth": lambda wealth, consumption, growth: (wealth - consumption) * growth + 0.3}
    reward = lambda consumption, gamma: consumption ** (1 - gamma) / (1 - gamma)  # noqa: E731
    at, more, solver = {"wealth": 2.0}, {}, None
    if habit:
        states["habit"] = bx.Continuous(0.1, 2.0)
        transitions["habit"] = lambda habit, consumption: 0.8 * habit + 0.2 * consumption
        reward = lambda consumption, habit, gamma: (consumption / habit**0.2) ** (1 - gamma) / (1 - gamma)  # noqa: E731
        solver = bx.solvers.BackwardInduction(grid={"wealth": 20, "habit": 8})
        at, more = {"wealth": 2.0, "habit": 1.0}, {"horizon": 30}

    def gross(share: Any, z: Any, r: Any, mu: Any, sigma: Any) -> Any:
        return jnp.exp(r) * (1 - share) + share * jnp.exp(mu + sigma * z)

    model = bx.Model(
        states=states,
        actions={"consumption": bx.Continuous(1e-2, "wealth"), "share": bx.Continuous(0.0, 1.0)},
        shocks={"z": bx.shocks.Normal()},
        functions={"growth": gross},
        transitions=transitions,
        reward=reward,
        **more,
    )
    return model, _PORTFOLIO, solver, at


def sectors(bx: Any, jnp: Any, two: bool) -> Case:
    """Output from two or three capitals, each with an investment; full depreciation."""
    outputs = {
        True: lambda k0, k1: k0**0.18 * k1**0.18,
        False: lambda k0, k1, k2: k0**0.12 * k1**0.12 * k2**0.12,
    }
    spent = {True: lambda output, i0, i1: output - i0 - i1, False: lambda output, i0, i1, i2: output - i0 - i1 - i2}
    laws = [lambda i0: i0, lambda i1: i1, lambda i2: i2]
    count = 2 if two else 3
    model = bx.Model(
        states={f"k{n}": bx.Continuous(0.02, 0.4, scale=bx.scales.log) for n in range(count)},
        actions={f"i{n}": bx.Continuous(1e-4, "most") for n in range(count)},
        functions={"output": outputs[two], "most": lambda output, part: part * output, "consumption": spent[two]},
        transitions={f"k{n}": laws[n] for n in range(count)},
        reward=lambda consumption: jnp.log(consumption),
    )
    solver = bx.solvers.PolicyIteration(grid={f"k{n}": 8 if two else 6 for n in range(count)}, evaluation_steps=50)
    return model, {"part": 0.9 / count, "discount": 0.95}, solver, {f"k{n}": 0.1 for n in range(count)}


def search(bx: Any, jnp: Any) -> Case:
    """Assets, the wage of a job, and offers of others that arrive afresh."""
    status = IntEnum("Status", {"unemployed": 0, "employed": 1})
    choice = IntEnum("Choice", {"reject": 0, "accept": 1})

    def wage(status: Any, wage: Any, offer: Any, choice: Any) -> Any:
        return jnp.where((status == 0) & (choice == 1), offer, wage)

    def income(status: Any, choice: Any, wage: Any, offer: Any, benefit: Any) -> Any:
        return jnp.where(status == 1, wage, jnp.where(choice == 1, offer, benefit))

    model = bx.Model(
        states={
            "assets": bx.Continuous(0.0, 20.0, scale=bx.scales.asinh(1.0)),
            "wage": bx.Continuous(0.2, 6.0, scale=bx.scales.log),
            "offer": bx.IID(bx.shocks.Lognormal("mu", "sigma")),
            "status": bx.Discrete(status),
        },
        actions={"choice": bx.Discrete(choice), "consumption": bx.Continuous(1e-6, "resources")},
        functions={"income": income, "resources": lambda assets, income, r: (1 + r) * assets + income},
        transitions={
            "assets": lambda resources, consumption: resources - consumption,
            "wage": wage,
            "status": lambda status, choice: (status == 1) | (choice == 1),
        },
        reward=lambda consumption, gamma: consumption ** (1 - gamma) / (1 - gamma),
    )
    params = {"mu": 0.0, "sigma": 0.4, "benefit": 0.4, "r": 0.02, "gamma": 2.0, "discount": 0.95}
    return model, params, None, {"assets": 2.0, "wage": 1.0, "offer": 1.0, "status": "employed"}


def saving(bx: Any, jnp: Any, choice: bool) -> Case:
    """Twenty periods of saving under risk by an endogenous grid; with a choice to work, by an envelope."""
    reward = lambda consumption, gamma: consumption ** (1 - gamma) / (1 - gamma)  # noqa: E731
    pay = lambda luck: jnp.exp(0.1 * luck)  # noqa: E731
    actions = {"consumption": bx.Continuous(0.0, "cash")}
    if choice:
        actions["work"] = bx.Discrete(IntEnum("Work", {"rest": 0, "work": 1}))
        reward = lambda consumption, work, gamma: consumption ** (1 - gamma) / (1 - gamma) - 0.5 * work  # noqa: E731
        pay = lambda luck, work: jnp.where(work == 1, jnp.exp(0.1 * luck), 0.3)  # noqa: E731
    model = bx.Model(
        states={"cash": bx.Continuous(1e-2, 20.0)},
        actions=actions,
        shocks={"luck": bx.shocks.Normal()},
        functions={"savings": lambda cash, consumption: cash - consumption, "pay": pay},
        transitions={"cash": lambda savings, pay, r: (1 + r) * savings + pay},
        reward=reward,
        taste_shocks=bx.ExtremeValue(0.05, over=("work",)) if choice else None,
        horizon=20,
    )
    method = bx.maximise.DCEGM() if choice else bx.maximise.EGM()
    params = {"gamma": 2.0, "r": 0.02, "discount": 0.95}
    return model, params, bx.solvers.BackwardInduction(maximiser=method), {"cash": 2.0}


CASES: dict[str, Callable[..., Case]] = {
    "lq": linear_quadratic,
    "growth": growth,
    "two_actions": portfolio,
    "two_states": lambda bx, jnp: portfolio(bx, jnp, habit=True),
    "two_sectors": lambda bx, jnp: sectors(bx, jnp, two=True),
    "three_sectors": lambda bx, jnp: sectors(bx, jnp, two=False),
    "search": search,
    "egm": lambda bx, jnp: saving(bx, jnp, choice=False),
    "dcegm": lambda bx, jnp: saving(bx, jnp, choice=True),
}


def worker(name: str) -> None:
    """One model in this process: prints, by stage, CPU seconds and seconds, and equations."""
    import jax

    equations, compiled = [0], jax.jit

    def counting(function: Any, **options: Any) -> Any:
        program = compiled(function, **options)

        def call(*arguments: Any) -> Any:
            equations[0] = max(equations[0], _equations(program.trace(*arguments).jaxpr.jaxpr))
            return program(*arguments)

        return call

    if "--count" in sys.argv:
        jax.jit = counting
    import jax.numpy as jnp

    import bellax as bx

    model, params, solver, at = CASES[name](bx, jnp)
    period = {"period": 0} if model.clock.finite else {}
    found: dict[str, Any] = {}

    def stage(what: str, work: Callable[[], Any]) -> Any:
        equations[0] = 0
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        found[what] = (time.process_time() - cpu, time.perf_counter() - wall, equations[0])
        return result

    solution = stage("solve", lambda: bx.solve(model, params, solver, throw=False))
    found["value"] = stage("query", lambda: float(solution.value(**period, **at)))
    panel = stage("simulate", lambda: bx.simulate(solution, 100, at, periods=None if period else 20))
    stage("certify", lambda: bx.certify(solution, panel=panel))
    run = bx.compile(model, solver)
    jax.block_until_ready(run(params).values)
    stage("warm", lambda: jax.block_until_ready(run(params).values))
    print(json.dumps(found))


def _equations(jaxpr: Any) -> int:
    """Equations of a program and of those inside it."""
    count = 0
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                count += _equations(inner) if hasattr(inner, "eqns") else 0
        count += 1
    return count


def measured(source: Path, name: str, cache: Path | None, *more: str) -> dict[str, Any]:
    """What a worker says, run from a source folder; of the second of two where there is a cache."""
    environment = {**os.environ, "PYTHONPATH": str(source.resolve()), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    if cache is not None:
        environment |= {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_COMPILATION_CACHE_DIR": str(cache)}
        environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, __file__, "--worker", name, *more]
    for _ in range(1 if cache is None else 2):
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return json.loads(answer.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(CASES)}")
    parser.add_argument("--src", type=Path, action="append", help="a folder with bellax in it; several run in turn")
    parser.add_argument("--cache", action="store_true", help="time the second of two processes that share a cache")
    parser.add_argument("--no-count", action="store_true", help="count no equations, which runs each model once more")
    given = parser.parse_args()
    sources = given.src or [Path(__file__).parent.parent / "src"]
    print("model | source | solve + query | certify | simulate | warm solve | value   (CPU s, s, equations)")
    for name in given.models or CASES:
        for source in sources:
            with tempfile.TemporaryDirectory() as folder:
                found = measured(source, name, Path(folder) if given.cache else None)
            counted = found if given.no_count else measured(source, name, None, "--count")
            first = [a + b for a, b in zip(found["solve"], found["query"], strict=True)]
            rows = {"solve": first[:2], **{what: found[what][:2] for what in ("certify", "simulate", "warm")}}
            shown = [f"{cpu:.2f} {wall:.2f} {counted[what][2]}" for what, (cpu, wall) in rows.items()]
            print(" | ".join([name, str(source), *shown, repr(found["value"])]), flush=True)


if __name__ == "__main__":
    if "--worker" in sys.argv:
        worker(sys.argv[sys.argv.index("--worker") + 1])
    else:
        main()
