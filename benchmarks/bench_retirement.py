"""Work and retirement by endogenous grids: ten periods with taste shocks beside `dcegm`, and a million agents.

Both sides get the same calibration, on the same savings, and are asked for V of retiring and of working at wealth 10.
V of retiring is known in closed form; V of working is compared with ours on eight times as many nodes.
"""

import importlib.util
import os
import resource
import runpy
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import bellax as bx
from bellax.models import retirement_choice

PERIODS, SCALE, WEALTH = 10, 0.2, 10.0
ROUNDS = 7


def shaken() -> bx.Model:
    """The model of the gallery with taste shocks over work."""
    model = retirement_choice.model
    worker = replace(model.regimes["working"], taste_shocks=bx.ExtremeValue("scale", over=("labor",)))
    return replace(model, regimes={**model.regimes, "working": worker}, horizon=PERIODS)


def solver(nodes: int) -> bx.solvers.BackwardInduction:
    """Without kinks: taste shocks leave none but that of the borrowing limit."""
    return bx.solvers.BackwardInduction(maximiser=bx.maximise.DCEGM(grid={"savings": nodes}, kinks=0))


def test_taste_shocks(in_turn, record):
    if importlib.util.find_spec("dcegm") is None:
        pytest.skip("dcegm is not installed")
    peer = runpy.run_path(str(Path(__file__).parent / "examples_dcegm.py"))
    model, params = shaken(), {**retirement_choice.params, "scale": SCALE}
    patience = 0.98 ** np.arange(PERIODS)
    retired = patience @ np.log(WEALTH / patience.sum() * patience)
    fine = np.asarray(bx.solve(model, params, solver(4000))["working"].choice_values(0, wealth=WEALTH))
    exact, answers, contenders = np.array([retired, fine[1]]), {}, {}

    def ours(nodes):
        def once():
            started = time.perf_counter()
            solution = bx.solve(model, params, solver(nodes))
            seconds = time.perf_counter() - started
            answers[f"bellax, {nodes} nodes"] = solution["working"].choice_values(0, wealth=WEALTH)
            return seconds

        return once

    def theirs(nodes):
        stated, numbers = peer["retirement"](PERIODS, nodes, SCALE)
        solve = stated.get_solve_func()

        def once():
            started = time.perf_counter()
            solved = solve(numbers)
            jax.block_until_ready((solved.value, solved.policy))
            seconds = time.perf_counter() - started
            answers[f"dcegm, {nodes} nodes"] = peer["choice_values"](solved, WEALTH)
            return seconds

        return once

    for nodes in (100, 500):
        contenders |= {f"bellax, {nodes} nodes": ours(nodes), f"dcegm, {nodes} nodes": theirs(nodes)}
    seconds = in_turn(contenders, ROUNDS)
    for name, found in answers.items():
        errors = np.abs(np.asarray(found) - exact)
        record("ten periods, taste shocks", name, seconds[name], f"V retire {errors[0]:.1e}, V work {errors[1]:.1e}")
    assert np.max(np.abs(np.asarray(answers["bellax, 500 nodes"]) - exact)) < 1e-8


def test_a_million_agents(record):
    """Agents at every wealth of the grid, without taste shocks; the first run compiles."""
    solution = bx.solve(retirement_choice.model, retirement_choice.params, retirement_choice.solver)
    agents = 1_000_000
    start = {"regime": "working", "wealth": np.linspace(1.0, 400.0, agents)}
    started, cpu = time.perf_counter(), sum(os.times()[:2])
    panel = bx.simulate(solution, agents, start)
    jax.block_until_ready(panel.regime)
    seconds, spent = time.perf_counter() - started, sum(os.times()[:2]) - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    share = float(np.mean(np.asarray(panel.share("working"))))
    note = f"{spent:.1f} s of CPU, peak memory of the process {peak:.2f} GiB, at work {share:.4f} of the time"
    record("a million agents of retirement_choice", "bellax", seconds, "", note)
