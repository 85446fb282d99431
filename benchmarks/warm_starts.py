"""What a warm start is worth: the growth model by every solver that takes one, from random weights and from a grid.

    python benchmarks/warm_starts.py [--seeds 3] [NAME ...]

The grid has eight nodes of capital, takes a tenth of a second when compiled, and is exact here. Each row runs in a
fresh process without a cache, and its CPU seconds hold all of it, from the import to the judged solution. Errors are
those of `ddpg_seeds.py`. One row of Markdown a seed.
"""

import argparse
import os
import resource
import subprocess
import sys

from ddpg_seeds import euler_errors

# Full trainings, and short ones, in which it matters most where one begins.
SOLVERS = {
    "EulerNet": "EulerNet(seed={seed}, warm_start={warm})",
    "EulerNet, 20 steps": "EulerNet(seed={seed}, warm_start={warm}, rounds=1, budget=5, finish=15)",
    "NeuralValueIteration": "NeuralValueIteration(seed={seed}, warm_start={warm})",
    "PolicyGradient": "PolicyGradient(seed={seed}, warm_start={warm})",
    "DDPG": "DDPG(seed={seed}, warm_start={warm})",
    "DDPG, 3,000 steps": "DDPG(seed={seed}, warm_start={warm}, steps=3000)",
    "ActorCritic": "ActorCritic(seed={seed}, warm_start={warm})",
    "ActorCritic, 1,000 steps": "ActorCritic(seed={seed}, warm_start={warm}, steps=1000)",
}


def one(name, seed, warm):
    """A row of the table."""
    import bellax as bx
    from bellax.models import rbc

    model = rbc.growth(0.5 * rbc.STEADY, 1.5 * rbc.STEADY)
    grid = bx.solve(model, rbc.params, rbc.solver) if warm else None
    solver = eval("solvers." + SOLVERS[name].format(seed=seed, warm="grid"), {"solvers": bx.solvers, "grid": grid})
    solution = bx.solve(model, rbc.params, solver, throw=False)
    used = resource.getrusage(resource.RUSAGE_SELF)
    errors = euler_errors(solution, rbc)
    seconds = f"{used.ru_utime + used.ru_stime:.1f}"
    cells = (name, "grid" if warm else "random", seed, solution.result, f"{errors.mean():.1e}", f"{errors.max():.1e}")
    print("| " + " | ".join(map(str, (*cells, seconds))) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(SOLVERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        name, seed, warm = asked.one
        one(name, int(seed), warm == "warm")
        return
    print("| solver | begins with | seed | result | Euler error, mean | largest | CPU seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    for name in asked.names:
        for warm in ("random", "warm"):
            for seed in range(asked.seeds):
                row = [sys.executable, "-W", "ignore", __file__, "--one", name, str(seed), warm]
                subprocess.run(row, env=environment, check=True)


if __name__ == "__main__":
    main()
