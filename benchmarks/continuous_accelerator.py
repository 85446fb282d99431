"""Continuous time on an accelerator and on the CPU: what runs there, how long it takes, and how far answers differ.

    python benchmarks/continuous_accelerator.py                   # cuda first, then cpu; one line of JSON a part
    python benchmarks/continuous_accelerator.py --platforms cpu   # one of them
    python benchmarks/continuous_accelerator.py huggett pinn      # some of the parts

Every part has a process of its own on every platform (JAX_PLATFORMS) and a limit, so that one that fails or hangs says
so in its line and the others go on; all together end within `--seconds`. `first` has compilation in it, `warm` is the
least of three. `answers` are numbers of the solution, compared in the last lines.

Finite differences solve sparse systems by SuperLU on the host: numbers travel there and back at every step. Collocation
is dense but for its beginning, which is by finite differences; nets are matrices, and never wait for the host to solve.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

ROUNDS = 3
LIMIT = 75.0
"""Seconds of a part at most."""


def huggett() -> tuple[Callable[[], Any], Callable[[Any], list[float]]]:
    """V and density at a given rate, 501 nodes by two incomes."""
    import bellax as bx
    from bellax.models import huggett_ct

    given = {**huggett_ct.params, "interest": 0.03}
    run = lambda: bx.stationary(bx.solve(huggett_ct.model, given, huggett_ct.solver))  # noqa: E731
    return run, lambda found: [float(found.mean("assets")), float(found.solution.value(assets=0.0, income=0.1))]


def firm() -> tuple[Callable[[], Any], Callable[[Any], list[float]]]:
    """V and density at a given price, 100 x 60 nodes."""
    import bellax as bx
    from bellax.models import firm_irreversible

    given = {name: value for name, value in firm_irreversible.params.items() if name != "elasticity"}
    solver = bx.solvers.FiniteDifference(grid={"k": bx.grids.Regular(100), "z": 60})
    run = lambda: bx.stationary(bx.solve(firm_irreversible.model, {**given, "price": 0.7376}, solver))  # noqa: E731
    return run, lambda found: [float(found.mean("output")), float(found.solution.value(k=1.0, z=0.0))]


def collocation() -> tuple[Callable[[], Any], Callable[[Any], list[float]]]:
    """V of the gallery's Merton problem, 20 nodes."""
    import bellax as bx
    from bellax.models import merton_ct

    run = lambda: bx.solve(merton_ct.model, merton_ct.params, merton_ct.solver)  # noqa: E731
    return run, lambda found: [float(found.value(**merton_ct.start))]


def pinn() -> tuple[Callable[[], Any], Callable[[Any], list[float]]]:
    """V and density of a state that returns to zero, by small nets."""
    import bellax as bx
    from bellax.models import ornstein_uhlenbeck

    model, given = ornstein_uhlenbeck.model, ornstein_uhlenbeck.params
    solver = bx.solvers.PINN(hidden=(8,), points=64, rounds=3, budget=20, finish=40)
    run = lambda: bx.stationary(bx.solve(model, given, solver))  # noqa: E731
    return run, lambda found: [float(found.mean(lambda x: x**2)), float(found.solution.value(x=0.5))]


PARTS = {"huggett": huggett, "firm": firm, "collocation": collocation, "pinn": pinn}


def measured(name: str) -> dict[str, Any]:
    """One part on the platform of this process; an error is what it says."""
    row: dict[str, Any] = {"part": name}
    try:
        import jax

        device = jax.devices()[0]
        row |= {"platform": device.platform, "kind": device.device_kind}
        run, answers = PARTS[name]()

        def once() -> tuple[float, Any]:
            began = time.perf_counter()
            found = jax.block_until_ready(run())
            return time.perf_counter() - began, found

        row["first"], found = once()
        row["on"] = sorted({str(place) for leaf in jax.tree.leaves(found) for place in leaf.devices()})
        row["answers"] = answers(found)
        row["warm"] = min(once()[0] for _ in range(ROUNDS))
    except Exception as error:
        row |= {"error": f"{type(error).__name__}: {error}"[:600], "where": traceback.format_exc()[-600:]}
    return row


def asked(name: str, platform: str, seconds: float) -> dict[str, Any]:
    """What a process of its own says of one part."""
    row: dict[str, Any] = {"part": name, "platform": platform}
    if seconds <= 1:
        return row | {"error": "no time was left"}
    command = [sys.executable, __file__, "--worker", name]
    # sparse systems are solved on the host, for which jax needs its CPU, too
    environment = {**os.environ, "JAX_PLATFORMS": platform if platform == "cpu" else f"{platform},cpu"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
        return row | json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return row | {"error": f"took more than {seconds:.0f} s"}
    except (IndexError, json.JSONDecodeError):
        return row | {"error": f"ended with {done.returncode}", "where": done.stderr[-600:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS))
    parser.add_argument("--platforms", nargs="+", default=["cuda", "cpu"])
    parser.add_argument("--seconds", type=float, default=170.0, help="of everything")
    parser.add_argument("--worker", choices=list(PARTS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        print(json.dumps(measured(given.worker)))
        return
    end, found = time.monotonic() + given.seconds, {}
    for platform in given.platforms:
        for name in given.parts:
            row = asked(name, platform, min(LIMIT, end - time.monotonic()))
            found[platform, name] = row
            print(json.dumps(row), flush=True)
    for name in given.parts:
        rows = [found[platform, name] for platform in given.platforms]
        if len(rows) > 1 and all("answers" in row for row in rows):
            apart = max(abs(a - b) for a, b in zip(rows[0]["answers"], rows[1]["answers"], strict=True))
            ratio = rows[0].get("warm", float("nan")) / rows[1].get("warm", float("nan"))
            print(json.dumps({"part": name, "apart": apart, "warm, first of second": ratio}), flush=True)


if __name__ == "__main__":
    main()
