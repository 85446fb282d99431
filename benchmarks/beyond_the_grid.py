"""Solvers without a grid: how exact they are, and what a fresh process of each costs.

    python benchmarks/beyond_the_grid.py [--seeds 0,1,2] [ROW ...]

Every row and seed runs in a fresh process without a cache, from the import to the last comparison with the reference
of its model, and its CPU seconds hold all of that; beside them are those of a kernel of numpy, a product of two
matrices and hyperbolic tangents, a few moments before, so that tables of two machines can be compared. Rows that have
no seed run once. One row of Markdown each: the largest error of every comparison, and what was asked of it.
"""

import argparse
import os
import resource
import subprocess
import sys
import time


def euler(seed):
    """Growth whose capital is used up, by a policy net: Euler errors against the closed form."""
    import bellax as bx
    from bellax.models import rbc

    model = rbc.growth(0.5 * rbc.STEADY, 1.5 * rbc.STEADY)
    return closed(rbc, bx.solve(model, rbc.params, bx.solvers.EulerNet(seed=seed)))


def values(seed):
    """The same by value iteration with nets."""
    import bellax as bx
    from bellax.models import rbc

    model = rbc.growth(0.5 * rbc.STEADY, 1.5 * rbc.STEADY)
    return closed(rbc, bx.solve(model, rbc.params, bx.solvers.NeuralValueIteration(seed=seed)))


def closed(source, solution):
    """Euler errors, mean and largest, at random states of the box."""
    from ddpg_seeds import euler_errors

    from bellax.models.check import Check

    errors = euler_errors(solution, source)
    return [
        Check(f"Euler error, {what}", float(found), 0.0, float(found), asked, "closed form")
        for what, found, asked in (("mean", errors.mean(), 1e-5), ("largest", errors.max(), 1e-4))
    ]


def partial(seed):
    """A growth model whose capital lasts, seed by seed."""
    import bellax as bx
    from bellax.models import rbc_partial

    return rbc_partial.off(bx.solve(rbc_partial.model, rbc_partial.params, bx.solvers.EulerNet(seed=seed)))


def countries(count, solver, seed):
    """Growth in several countries, seed by seed."""
    from dataclasses import replace

    from bellax.models import multi_country

    asked = (-5.0, -3.5) if solver == "plain" else (-6.0, -4.5)
    return multi_country.of_countries(count, replace(getattr(multi_country, solver), seed=seed), asked)


def known(name):
    """A model of the gallery, imported in the process of its row."""
    from bellax import models

    return models.load(name)


ROWS = {
    "rbc": ("delta = 1, EulerNet", lambda seed: euler(seed)),
    "rbc_values": ("delta = 1, NeuralValueIteration", lambda seed: values(seed)),
    "rbc_partial": ("delta = .1, EulerNet", lambda seed: partial(seed)),
    "two_countries": ("multi_country, N = 2", lambda seed: countries(2, "solver", seed)),
    "ten_countries": ("multi_country, N = 10, a plain net", lambda seed: countries(10, "plain", seed)),
    "ten_alike": ("multi_country, N = 10, one net for each", lambda seed: countries(10, "shared", seed)),
}
"""What a row is, and its comparisons, of a seed."""

ONCE = {
    "rbc_depreciation": ("three states, EulerNet", lambda: known("rbc_depreciation").checks()),
    "irreversible": ("multi_country, N = 2, investment is not negative", lambda: known("multi_country").of_limits()),
    "regulator": ("liquidation, N = 1 and 40, ILQG", lambda: known("liquidation").checks()),
    "liquidation": ("N = 40, PolicyGradient, with bounds and without", lambda: known("liquidation").of_nets()),
    "bermudan_max_call": ("one, two and five assets", lambda: known("bermudan_max_call").long_checks()),
    "buffer_stock": ("EulerNet", lambda: known("buffer_stock").long_checks()),
    "hydropower": ("one reservoir and five", lambda: known("hydropower").long_checks()),
}
"""The same of rows without a seed."""


def spent():
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def kernel():
    """CPU seconds of a kernel that has nothing of bellax in it."""
    import numpy as np

    matrix = np.random.default_rng(0).normal(size=(1000, 1000))
    before = spent()
    for _ in range(10):
        matrix = np.tanh(matrix @ matrix / 30)
    return spent() - before


def one(name, seed):
    """A row of the table."""
    before, base = time.perf_counter(), spent()
    what, compared = ROWS[name] if seed else ONCE[name]
    found = compared(int(seed)) if seed else compared()
    seconds, wall, calibration = spent() - base, time.perf_counter() - before, kernel()
    said = "; ".join(f"{check.quantity}: {check.error:.2g} (asked {check.tolerance:.2g})" for check in found)
    cells = (name, what, seed, said, f"{seconds:.0f}", f"{wall:.0f}", f"{calibration:.2f}")
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which, all by default: {', '.join([*ROWS, *ONCE])}")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(*asked.one.split(":"))
        return 0
    print("| row | what | seed | errors | CPU seconds | wall seconds | kernel, CPU seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    environment, failed = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}, 0
    for name in asked.rows or [*ROWS, *ONCE]:
        for seed in asked.seeds.split(",") if name in ROWS else [""]:
            command = [sys.executable, "-W", "ignore", __file__, "--one", f"{name}:{seed}"]
            failed += subprocess.run(command, env=environment, check=False).returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
