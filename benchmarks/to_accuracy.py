"""Solves to an accuracy: whether the true error is below what was asked for, and what finding that out costs.

    python benchmarks/to_accuracy.py [--asked 1e-3,1e-5] [--hand] [MODEL ...]

Every row runs in a fresh process: the first solve with its compilation, the same again, warm, and the largest error of
V at states of the default solve, over max(1, |V|), beside the reference of the model. With `--hand` the
warm time is divided by that of the best solver that a search over nodes, draws and candidates finds to be as accurate:
it knows the truth, and looks at the first period alone.
"""

import argparse
import itertools
import subprocess
import sys
import time
import types

import numpy as np

MODELS = [
    *("merton", "merton_crra", "carroll_deaton", "american_put", "retirement", "rbc", "lqg", "job_search"),
    *("storage", "two_rates", "tariff", "buffer_stock", "unstable"),
]
SECONDS = 400.0
LEAST, MOST = 1 / 32, 8
"""So many times the nodes of the default solve are tried by hand."""


def unstable():
    """x' = 1.2 x + a + .1 z, reward -x^2 - a^2: V = -P x^2 - b P .01 / (1 - b), P from the Riccati equation."""
    import bellax as bx

    model = bx.Model(
        states={"x": bx.Continuous(-3.0, 3.0)},
        actions={"a": bx.Continuous(-8.0, 8.0)},
        shocks={"z": bx.shocks.Normal()},
        transitions={"x": lambda x, a, z: 1.2 * x + a + 0.1 * z},
        reward=lambda x, a: -(x**2) - a**2,
    )

    def reference(params, x):
        b, p = params["discount"], 1.0
        for _ in range(1000):
            p = 1 + b * 1.44 * p / (1 + b * p)
        return {"value": -p * np.asarray(x) ** 2 - b * p * 0.01 / (1 - b)}

    return types.SimpleNamespace(model=model, params={"discount": 0.95}, reference=reference)


def source(name):
    """Model, parameters and reference of a row; the reference may be none."""
    from bellax import models

    return unstable() if name == "unstable" else models.load(name)


def off(module, first, solution):
    """The largest error of V, and at how many states of the first solve; NaN where nobody knows V."""
    from bellax import honesty

    if not hasattr(module, "reference"):
        return float("nan"), 0
    states, exact = honesty._exact(module, honesty._states(first, {}))
    if exact is None:
        return float("nan"), 0
    when = {"period": 0} if solution.setting.problem.finite else {}
    value = np.asarray(solution.value(**when, **states)).reshape(-1)
    both = np.isfinite(value) & np.isfinite(exact)
    return float((np.abs(value - exact) / np.maximum(1, np.abs(exact)))[both].max()), int(both.sum())


def timed(solve):
    """What a solve gives, and its seconds."""
    started = time.perf_counter()
    found = solve()
    return found, time.perf_counter() - started


def by_hand(module, asked):
    """Warm seconds of the quickest solver that a search by hand finds to be as accurate as asked, and its nodes.

    More of all until V is, then half of each thing in turn as long as V stays so.
    """
    import bellax as bx
    from bellax.certify.refined import plenty, resized

    first = bx.solve(module.model, module.params, throw=False)

    def tried(ratios):
        try:
            solver = resized(first, ratios, {})
            solution = bx.solve(module.model, module.params, solver, throw=False)
        except (bx.ModelError, bx.ParameterError):
            return None
        good = solution.result.name == "successful" and off(module, first, solution)[0] <= asked
        return solver if good else None

    ratios = dict.fromkeys(sorted(plenty(first)), 1.0)
    solver = tried(ratios)
    while solver is None and max(ratios.values()) < MOST:
        ratios = {name: 2 * ratio for name, ratio in ratios.items()}
        solver = tried(ratios)
    if solver is None:
        return float("nan"), {}
    for name in ratios:
        while ratios[name] > LEAST and (fewer := tried({**ratios, name: ratios[name] / 2})) is not None:
            solver, ratios = fewer, {**ratios, name: ratios[name] / 2}
    return min(timed(lambda: bx.solve(module.model, module.params, solver))[1] for _ in range(3)), ratios


def row(name, asked, hand):
    """One row of Markdown."""
    import bellax as bx

    module = source(name)
    solve = lambda: bx.solve(module.model, module.params, accuracy=asked, seconds=SECONDS, throw=False)  # noqa: E731
    solution, cold = timed(solve)
    _, warm = timed(solve)
    error, states = off(module, bx.solve(module.model, module.params, throw=False), solution)
    found = solution.refinement
    nodes = ", ".join(f"{key} {int(own[-1])}" for key, own in found.nodes.items()) if len(found.change) else ""
    reached = "yes" if bool(found.reached) else "no"
    cells = [name, f"{asked:g}", reached, f"{error:.1e}", str(states), str(len(found.change)), nodes]
    cells += [f"{cold:.1f}", f"{warm:.2f}"]
    if hand:
        hand, ratios = by_hand(module, asked)
        cells += [f"{hand:.3f}", f"{warm / hand:.1f}", ", ".join(f"{key} {own:g}" for key, own in ratios.items())]
    return f"| {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--asked", default="1e-3,1e-5")
    parser.add_argument("--hand", action="store_true")
    parser.add_argument("--one", action="store_true", help="run in this process")
    given = parser.parse_args()
    if given.one:
        print(row(given.models[0], float(given.asked), given.hand), flush=True)
        return
    heads = ["model", "asked", "reached", "true error", "states", "rounds", "nodes", "first s", "warm s"]
    heads += ["by hand s", "warm / by hand", "nodes by hand / default"] if given.hand else []
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}", flush=True)
    for name, asked in itertools.product(given.models, given.asked.split(",")):
        command = [sys.executable, __file__, "--one", "--asked", asked, *(["--hand"] if given.hand else []), name]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        rows = [line for line in found.stdout.splitlines() if line.startswith("|")]
        print(
            rows[-1] if rows else f"| {name} | {asked} | failed: {found.stderr.strip().splitlines()[-1:]} |", flush=True
        )


if __name__ == "__main__":
    main()
