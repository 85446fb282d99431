"""The same solves on the CPU and on an accelerator: seconds of each, and how far their values differ.

    python benchmarks/accelerator.py                      # both, whatever jax finds; prints a table
    python benchmarks/accelerator.py --platforms cpu      # one of them
    python benchmarks/accelerator.py wide brute rbc       # some of the cases

Each platform has a process of its own (JAX_PLATFORMS). A case is solved once with compilation and three times without,
every input an argument of the program; the median is printed. Values at the nodes must agree to 1e-10 of their size.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROUNDS = 3
AGREE = 1e-10
GALLERY = (
    "merton", "rbc", "american_put", "carroll_deaton", "rust_replacement", "puterman", "lqg", "four_sectors",
    "bus_engine", "buffer_stock", "retirement_choice", "health_regimes", "mahler_yum",
)  # fmt: skip


def gallery(name: str) -> tuple[Any, dict[str, Any], Any]:
    from bellax import models

    found = models.load(name)
    return found.model, found.params, found.solver


def brute() -> tuple[Any, dict[str, Any], Any]:
    """Consumption and saving by enumeration: 2,048 states, 1,000 actions, 15 shock nodes, 10 periods."""
    import jax.numpy as jnp

    import bellax as bx

    model = bx.Model(
        states={"wealth": bx.Continuous(1e-3, 200.0, scale=bx.scales.octave)},
        actions={"consumption": bx.Continuous(1e-6, "wealth")},
        shocks={"z": bx.shocks.Normal()},
        transitions={"wealth": lambda wealth, consumption, z, mu: (wealth - consumption) * jnp.exp(mu + 0.15 * z)},
        reward=lambda consumption: jnp.log(consumption),
        terminal=lambda wealth: 25 * jnp.log(wealth),
        horizon=10,
    )
    solver = bx.solvers.BackwardInduction(
        grid={"wealth": 2048},
        quadrature={"z": 15},
        interpolant=bx.interpolants.Linear(),
        maximiser=bx.maximise.Enumerate(grid={"consumption": 1000}),
    )
    return model, {"mu": 0.04, "discount": 0.96}, solver


def wide() -> tuple[Any, dict[str, Any], Any]:
    """Three capitals of 12 nodes each and a chain of nine: 16 thousand states, Newton in three actions."""
    import jax.numpy as jnp

    import bellax as bx

    names, capitals = ("i", "j", "k"), ("a", "b", "c")
    model = bx.Model(
        states={"z": bx.AR1(rho=0.9, sigma=0.02)}
        | {name: bx.Continuous(0.02, 0.08, scale=bx.scales.log) for name in capitals},
        actions={
            "i": bx.Continuous(1e-6, "output"),
            "j": bx.Continuous(1e-6, "left_1"),
            "k": bx.Continuous(1e-6, "left_2"),
        },
        functions={
            "output": lambda z, a, b, c: jnp.exp(z) * (a * b * c) ** 0.12,
            "left_1": lambda output, i: output - i,
            "left_2": lambda left_1, j: left_1 - j,
        },
        transitions=dict(zip(capitals, names, strict=True)),
        reward=lambda left_2, k: jnp.log(jnp.maximum(left_2 - k, 1e-9)),
        horizon=5,
    )
    solver = bx.solvers.BackwardInduction(
        grid={"z": bx.grids.Rouwenhorst(9)} | dict.fromkeys(capitals, 12),
        interpolant=bx.interpolants.Linear(),
        maximiser=bx.maximise.Newton(grid=dict.fromkeys(names, 4)),
    )
    return model, {"discount": 0.96}, solver


CASES = {"brute": brute, "wide": wide}


def worker(names: list[str], folder: Path) -> None:
    """Solves every case on the platform of this process."""
    import jax
    import numpy as np

    import bellax as bx

    for name in names:
        model, params, solver = CASES[name]() if name in CASES else gallery(name)
        solve = bx.compile(model, solver)

        def timed(params=params, solve=solve) -> float:
            started = time.perf_counter()
            jax.block_until_ready(solve(params).values)
            return time.perf_counter() - started

        first = timed()
        warm = statistics.median(timed() for _ in range(ROUNDS))
        solution = solve(params)
        values = solution.values if isinstance(solution.values, dict) else {"": solution.values}
        levels = [np.asarray(value.levels).ravel() for value in values.values()]
        # where a regime is not active V is NaN
        np.save(folder / f"{name}.npy", np.concatenate(levels))
        kind = jax.devices()[0].device_kind
        print(json.dumps({"case": name, "kind": kind, "first": first, "warm": warm, "code": int(solution.code)}))
        sys.stdout.flush()


def measured(platform: str, names: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """What a process of one platform says, by case."""
    folder.mkdir(parents=True)
    command = [sys.executable, __file__, "--worker", str(folder), *names]
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    found = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            row = json.loads(line)
            found[row["case"]] = row
            print(f"{platform}: {row}", file=sys.stderr, flush=True)
    return found


def apart(a: Path, b: Path) -> float:
    """The largest difference of two arrays, relative to the size of the first."""
    import numpy as np

    x, y = np.load(a), np.load(b)
    finite = np.isfinite(x)
    assert (finite == np.isfinite(y)).all()
    return float(np.abs(x[finite] - y[finite]).max() / np.abs(x[finite]).max()) if finite.any() else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=[*CASES, *GALLERY])
    parser.add_argument("--platforms", nargs="+", default=["cpu", "cuda"])
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        return worker(given.cases, given.worker)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: measured(name, given.cases, Path(folder) / name) for name in given.platforms}
        print("| case | platform | first, s | warm, s | warm, of the first | apart from the first |")
        print("| --- | --- | --- | --- | --- | --- |")
        wrong = []
        for case in given.cases:
            for platform in given.platforms:
                if case not in found[platform]:
                    continue
                row, base = found[platform][case], found[given.platforms[0]].get(case)
                files = [Path(folder) / name / f"{case}.npy" for name in (given.platforms[0], platform)]
                gap = apart(*files) if base else math.nan
                wrong += [f"{case} on {platform}: {gap:.1e}"] if gap > AGREE or row["code"] else []
                ratio = row["warm"] / base["warm"] if base else math.nan
                print(f"| {case} | {row['kind']} | {row['first']:.2f} | {row['warm']:.4f} | {ratio:.3f} | {gap:.1e} |")
    if wrong:
        sys.exit(f"do not agree to {AGREE:g}, or did not converge: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
