"""The life cycle of Mahler & Yum (2024) in full: 1.6 million states, 6,000 actions, 38 periods, 3.6e11 pairs.

    python benchmarks/bench_mahler_yum.py                     # the gallery's instance, a piece of the full one, and it
    python benchmarks/bench_mahler_yum.py --full-periods 0    # without the last

Each runs in a fresh process without a cache, so that its peak memory is its own: what `ru_maxrss` says. A cell is a
state and an action: tomorrow's productivity and adjustment cost are averaged at the nodes, before V is looked up, and
the two kinds of health after it, in the same cell. Seconds hold everything from the call of `bx.solve` to the answer;
those of the piece are of a second solve, which does not compile. The peer, pylcm, states
the same instance and needs a graphics card for it: its own tests say that it exhausts the memory of a CPU.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np


def worker(given: dict[str, Any]) -> dict[str, Any]:
    """Solves one instance in this process, as often as asked."""
    started, cpu = time.perf_counter(), time.process_time()
    import jax

    import bellax as bx
    from bellax.models import mahler_yum

    def spent() -> list[float]:
        return [time.perf_counter() - started, time.process_time() - cpu]

    levels, periods = given["levels"], given["periods"]
    model = replace(mahler_yum.stated(levels), horizon=bx.Ages(25, 23 + 2 * periods, step="2Y"))
    options = {"memory": given["memory"]} if given["memory"] else {}
    solver = mahler_yum.by_candidates(given["wealth"], given["shocks"], given["costs"], **options)
    found: dict[str, Any] = {"import": spent()}
    for name in given["solves"]:
        before = spent()
        solution = bx.solve(model, mahler_yum.params, solver)
        jax.block_until_ready(solution.values)
        found[name] = [after - then for after, then in zip(spent(), before, strict=True)]
    levels_of_v = solution.values["alive"].levels
    found["V"] = float(np.mean(levels_of_v[0]))
    found["states"] = math.prod(levels_of_v.shape[1:])
    found["GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return found


def measured(options: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    """What a worker says of an instance."""
    names = ("levels", "wealth", "shocks", "costs", "memory")
    given = {**{name: getattr(options, name) for name in names}, **changes}
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    command = [sys.executable, __file__, "--worker", json.dumps(given)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return given | json.loads(done.stdout.splitlines()[-1])


def shown(what: str, found: dict[str, Any], solve: str) -> str:
    """One row of the table."""
    states, actions, periods = found["states"], 3 * found["levels"] * found["wealth"], found["periods"]
    cells = states * actions * periods
    seconds, cpu = found[solve]
    return (
        f"| {what} | {states:.4g} x {actions} x {periods} = {cells:.3g} "
        f"| {seconds:.2f} | {cpu:.2f} | {seconds / cells * 1e9:.2f} | {cpu / cells * 1e9:.2f} | {found['GiB']:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, default=40, help="of effort and of its habit")
    parser.add_argument("--wealth", type=int, default=50, help="nodes of wealth and candidates of saving")
    parser.add_argument("--shocks", type=int, default=5, help="nodes of productivity")
    parser.add_argument("--costs", type=int, default=5, help="nodes of the adjustment cost")
    parser.add_argument("--memory", type=int, default=2**26, help="bytes that a Bellman step may have in flight")
    parser.add_argument("--piece-periods", type=int, default=1, help="of the full instance, solved twice; 0 for none")
    parser.add_argument("--full-periods", type=int, default=38, help="of the full instance, solved once; 0 for none")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    print("| what | states x actions x periods | s | CPU s | ns a cell | CPU ns a cell | peak GiB |", flush=True)
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    coarse = {"levels": 5, "wealth": 20, "shocks": 3, "costs": 3, "periods": 38, "memory": 0}
    found = measured(options, **coarse, solves=["first", "second"])
    print(shown("the gallery's, first answer", found, "first"), flush=True)
    print(shown("the gallery's, again", found, "second"), flush=True)
    if options.piece_periods:
        found = measured(options, periods=options.piece_periods, solves=["first", "second"])
        print(shown("a piece of the full one, again", found, "second"), flush=True)
    if options.full_periods:
        found = measured(options, periods=options.full_periods, solves=["first"])
        print(shown("the full one, first answer", found, "first"), f"mean V {found['V']!r}", flush=True)


if __name__ == "__main__":
    if "--worker" in sys.argv:
        print(json.dumps(worker(json.loads(sys.argv[sys.argv.index("--worker") + 1]))))
    else:
        main()
