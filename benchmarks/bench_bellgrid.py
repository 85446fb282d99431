"""bellgrid's own Merton, American put and LQG, and four capitals: its solver and ours, in fresh processes in turn.

bellgrid states its examples as in `examples_bellgrid.py`, at its own grids; ours are in `examples_bellax.py`. Both get
the same numbers and the same states and are measured against the same references. A row has two times: the median of
the table is the first answer of a fresh process (import, solve and query, compilation included, no cache of compiled
programs on either side), and the note has the warm solve of the same process; CPU seconds are beside both.

Four sectors of growth are solved for a few periods from the value without end, on the same nodes in logs and with the
same candidates on both sides; the time of a warm solve is divided by the number of (state, action, node). There is no
shock, so there is one node.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bellax.models import references

if importlib.util.find_spec("bellgrid") is None:
    pytest.skip("bellgrid is not installed", allow_module_level=True)

HERE = Path(__file__).parent
PROCESSES = 3
MERTON = {"discount": 0.96, "mu": 0.04, "sigma": 0.15, "periods": 20}
PUT = {"strike": 1.0, "rate": 0.05, "volatility": 0.2, "years": 1.0, "dates": 50}
LQG = {
    "A": [[0.9, 0.1], [0.05, 0.85]],
    "B": [1.0, 0.5],
    "C": [0.1, 0.05],
    "force_cost": 0.1,
    "discount": 0.95,
    "periods": 15,
}
SECTORS = {"discount": 0.96, "alpha": 0.36, "productivity": 1.0, "capital": [0.01, 0.045], "share": [0.06, 0.12]}
SECTORS |= {"nodes": 8, "candidates": 5, "periods": 2}


def measured(side: str, example: str, inputs: dict[str, Any], at: dict[str, Any]) -> dict[str, Any]:
    """What `examples_timed.py` says of one side, from a fresh process without caches of compiled programs."""
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    given = {"example": example, "inputs": inputs, "at": {name: np.asarray(x).tolist() for name, x in at.items()}}
    command = [sys.executable, str(HERE / "examples_timed.py"), side]
    done = subprocess.run(command, input=json.dumps(given), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def in_processes(
    sides: dict[str, tuple[str, str]], inputs: dict[str, Any], at: dict[str, Any], processes: int
) -> dict[str, Any]:
    """By contender, given as a side and its example: medians of fresh processes in turn, and the answers."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(processes):
        for name, (side, example) in sides.items():
            found[name].append(measured(side, example, inputs, at))
    return {name: _median(runs) for name, runs in found.items()}


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    first = [[sum(run[part][k] for part in ("import", "first", "query")) for k in (0, 1)] for run in runs]
    answers = {name: np.asarray(values) for name, values in runs[-1]["answers"].items()}
    middle = [
        [statistics.median(column) for column in zip(*rows, strict=True)]
        for rows in (first, [run["warm"] for run in runs], [run["import"] for run in runs])
    ]
    return dict(zip(("first", "warm", "import"), middle, strict=True)) | {"answers": answers}


def _note(found: dict[str, Any]) -> str:
    first, warm, imported = found["first"], found["warm"], found["import"]
    return (
        f"first answer {first[0]:.2f} s, {first[1]:.2f} s of CPU, of which import {imported[1]:.2f}; "
        f"warm solve {warm[0] * 1e3:.3g} ms, {warm[1] * 1e3:.3g} ms of CPU"
    )


def _errors(found: dict[str, Any], exact: dict[str, Any]) -> dict[str, float]:
    return {name: float(np.max(np.abs(found["answers"][name] - exact[name]))) for name in exact}


def _side_by_side(record: Any, example: str, inputs: dict[str, Any], at: dict[str, Any], exact: dict[str, Any]) -> Any:
    """Runs both sides, records a row for each, and gives the errors of ours and of the peer."""
    sides = {name: (f"examples_{name}", example) for name in ("bellax", "bellgrid")}
    errors = {}
    for name, found in in_processes(sides, inputs, at, PROCESSES).items():
        errors[name] = _errors(found, exact)
        accuracy = ", ".join(f"{quantity} {error:.1e}" for quantity, error in errors[name].items())
        record(f"bellgrid's {example}", name, found["first"][0], accuracy, _note(found))
    return errors


def test_merton(record):
    wealth = np.linspace(0.5, 50.0, 200)
    intercept, slope = references.merton_log(MERTON["discount"], MERTON["mu"])
    exact = {"V": intercept + slope * np.log(wealth), "c / w": np.full(200, 1 - MERTON["discount"])}
    errors = _side_by_side(record, "merton", MERTON, {"wealth": wealth}, exact)
    assert errors["bellax"]["V"] < 1e-8
    assert errors["bellax"]["c / w"] < 1e-8


def test_put(record):
    """Both sides solve the put with 50 dates, whose reference is quadrature; the American one is 2e-4 above it."""
    price = np.linspace(0.5, 1.8, 66)
    contract = PUT["strike"], PUT["rate"], PUT["volatility"], PUT["years"]
    exact = {"V": references.bermudan_put(price, *contract, PUT["dates"])}
    errors = _side_by_side(record, "put", PUT, {"price": price}, exact)
    assert errors["bellax"]["V"] < 1e-5


def test_lqg(record):
    axis = np.linspace(-2.5, 2.5, 41)
    x = np.stack([points.ravel() for points in np.meshgrid(axis, axis, indexing="ij")], axis=-1)
    A, B, C = (np.asarray(LQG[name]) for name in ("A", "B", "C"))
    cost, eye = np.array([[LQG["force_cost"]]]), np.eye(2)
    solved = references.riccati(A, B[:, None], eye, cost, np.outer(C, C), LQG["discount"], LQG["periods"], eye)
    value = -np.einsum("ni,ij,nj->n", x, solved.value_matrix[0], x) - solved.constant[0]
    exact = {"V": value, "u": (-x @ solved.gain[0].T)[:, 0]}
    errors = _side_by_side(record, "lqg", LQG, {"x1": x[:, 0], "x2": x[:, 1]}, exact)
    assert errors["bellax"]["V"] < 1e-8
    assert errors["bellax"]["u"] < 1e-8


def test_four_sectors(record):
    """Candidates of both sides are the same numbers, so that by multilinear interpolation V has to be, too."""
    closed = references.sectors(SECTORS["alpha"], SECTORS["discount"], 4, SECTORS["productivity"])
    inputs = SECTORS | {"intercept": closed.intercept, "slope": closed.slope}
    k = np.exp(np.random.default_rng(1).uniform(*np.log(SECTORS["capital"]), (200, 4)))
    exact = {"V": closed.value(k), "share": np.full(800, closed.share)}
    sides = {
        "bellax, multilinear interpolation": ("examples_bellax", "sectors, multilinear"),
        "bellax, Hermite interpolation": ("examples_bellax", "sectors, Hermite"),
        "bellgrid, multilinear interpolation": ("examples_bellgrid", "sectors, multilinear"),
        "bellax, Newton": ("examples_bellax", "sectors, search"),
        "bellgrid, golden section": ("examples_bellgrid", "sectors, search"),
    }
    found = in_processes(sides, inputs, {f"capital_{j + 1}": k[:, j] for j in range(4)}, processes=1)
    cells = SECTORS["periods"] * SECTORS["nodes"] ** 4 * SECTORS["candidates"] ** 4
    for name, side in found.items():
        errors, seconds = _errors(side, exact), side["warm"][0]
        accuracy = f"V {errors['V']:.1e}, share {errors['share']:.1e}"
        group, figure, note = f"four sectors, {SECTORS['nodes']}^4 states, actions by search, warm", "", _note(side)
        if "interpolation" in name:
            group = f"four sectors, {SECTORS['nodes']}^4 states x {SECTORS['candidates']}^4 actions x 1 node, warm"
            figure = f"{seconds / cells * 1e9:.3g} ns"
            note = f"{side['warm'][1] / cells * 1e9:.3g} ns of CPU a cell; {note}"
        record(group, name, seconds, accuracy, note, figure)
    ours, theirs = (found[f"{side}, multilinear interpolation"]["answers"]["V"] for side in ("bellax", "bellgrid"))
    assert np.max(np.abs(ours - theirs)) < 1e-8
    assert _errors(found["bellax, Newton"], exact)["V"] < 1e-8
