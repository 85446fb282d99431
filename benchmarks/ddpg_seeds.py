"""The growth model from simulated periods alone, seed by seed: how exact `DDPG` is, and what it costs.

    python benchmarks/ddpg_seeds.py [SEED ...]

Each seed runs in a fresh process without a cache, from the import to the judged solution, and its CPU seconds hold all
of that. Capital is in [.5, 1.5] of its steady state. Errors are those of the Euler equation,

    |1 - beta E[(c / c') f'(k')]|,

written out in numpy at 2,000 points that nobody was trained on; no action is cut off. One row of Markdown a seed.
"""

import os
import resource
import subprocess
import sys

POINTS = 2000


def euler_errors(solution, rbc):
    """At random states, shape (n,)."""
    import numpy as np

    draws = np.random.default_rng(12345)
    alpha, beta = rbc.params["alpha"], rbc.params["discount"]
    capital, place = rbc.STEADY * draws.uniform(0.5, 1.5, POINTS), draws.integers(0, 5, POINTS)

    def decided(capital, productivity):
        saved = np.asarray(solution.policy(capital=capital, productivity=productivity)["capital_next"])
        return saved, productivity * capital**alpha - saved

    saved, consumed = decided(capital, rbc.LEVELS[place])
    expected = np.zeros(POINTS)
    for chance, level in zip(rbc.TRANSITION[place].T, rbc.LEVELS, strict=True):
        _, later = decided(saved, np.full(POINTS, level))
        expected += chance * beta * consumed / later * alpha * level * saved ** (alpha - 1)
    return np.abs(1 - expected)


def one(seed):
    """A row of the table."""
    import numpy as np

    import bellax as bx
    from bellax.models import rbc

    model = rbc.growth(0.5 * rbc.STEADY, 1.5 * rbc.STEADY)
    solution = bx.solve(model, rbc.params, bx.solvers.DDPG(seed=seed), throw=False)
    used = resource.getrusage(resource.RUSAGE_SELF)
    errors = euler_errors(solution, rbc)
    capital = rbc.STEADY * np.linspace(0.5, 1.5, 41)
    exact = np.array([rbc.reference(rbc.params, k, 1.0)["value"] for k in capital])
    value = np.max(np.abs(np.asarray(solution.value(capital=capital, productivity=1.0)) - exact))
    cells = (
        seed,
        solution.result,
        f"{errors.mean():.2g}",
        f"{errors.max():.2g}",
        f"{value:.1e}",
        f"{float(solution.stats['gain']):.1g}",
        f"{float(solution.stats['residual']):.1g}",
        f"{used.ru_utime + used.ru_stime:.1f}",
    )
    print("| " + " | ".join(map(str, cells)) + " |")


def main():
    if os.environ.get("DDPG_SEED"):
        one(int(os.environ["DDPG_SEED"]))
        return
    print("| seed | result | Euler error, mean | largest | of V, largest | gain | residual | CPU seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for seed in sys.argv[1:] or map(str, range(5)):
        environment = {**os.environ, "DDPG_SEED": seed, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        subprocess.run([sys.executable, "-W", "ignore", __file__], env=environment, check=True)


if __name__ == "__main__":
    main()
