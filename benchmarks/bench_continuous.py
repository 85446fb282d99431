"""Continuous time: Huggett's economy beside the published algorithm, and the firm whose capital is costly to reverse.

Huggett: the rate on the published even nodes by both, where both must find the published numbers; and on as many uneven
nodes, where the error is that against .03610, the limit of fine grids. No package of Python solves such models, so the
peer is the published algorithm in numpy and SuperLU (`hact.py`): with the authors' tolerances, demand within 1e-5 and V
within 1e-6, and with 1e-10 for both, which are ours for V and the rate.

The firm: 400 x 240 nodes, the first equilibrium of this process, compilation included,
and warm ones; the error is that of its price against collocation. Ours alone.

CPU seconds are in the notes. The kernel beside is one sparse factorisation and one product of matrices, of given size.
"""

import importlib.util
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from scipy.sparse import diags, identity, kron
from scipy.sparse.linalg import splu

import bellax as bx
from bellax.models import firm_irreversible, huggett_ct, references

LIMIT = 0.03610
PUBLISHED = {500: 0.031917, 1000: 0.033936}
FIRM = {"k": bx.grids.Regular(400), "z": 240}
_spec = importlib.util.spec_from_file_location("hact", Path(__file__).with_name("hact.py"))
hact = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hact)
ECONOMY = hact.Economy(2.0, 0.05, (0.1, 0.2), (1.2, 1.2), (huggett_ct.LOW, huggett_ct.HIGH))
PRODUCT = 1000
LAPLACIAN = 150


def cleared(model: Any, params: Any, equilibrium: Any, grid: Any) -> Any:
    """The equilibrium on given nodes."""
    return bx.equilibrium(model, params, **equilibrium, solver=bx.solvers.FiniteDifference(grid=grid))


def huggett(nodes: Any) -> Any:
    return cleared(huggett_ct.model, huggett_ct.params, huggett_ct.equilibrium, {"assets": nodes})


def published(count: int, excess: float, change: float) -> Any:
    return hact.equilibrium(ECONOMY, count, (0.01, 0.04), 0.03, excess, change)


def kernel(matrix: np.ndarray, laplacian: Any) -> None:
    """What tells machines apart: a product of matrices and a sparse factorisation."""
    matrix @ matrix
    splu(laplacian)


@pytest.fixture(scope="module")
def calibration() -> tuple[np.ndarray, Any]:
    """Arguments of the kernel."""
    line = diags([-np.ones(LAPLACIAN - 1), 2.1 * np.ones(LAPLACIAN), -np.ones(LAPLACIAN - 1)], [-1, 0, 1])
    square = kron(line, identity(LAPLACIAN)) + kron(identity(LAPLACIAN), line)
    return np.random.default_rng(0).normal(size=(PRODUCT, PRODUCT)), square.tocsc()


@pytest.fixture
def watched(timed):
    """As `timed`, and the least CPU seconds of a round by name."""
    spent: dict[str, float] = {}

    def contender(name: str, function: Any, *arguments: Any) -> Any:
        once = timed(function, *arguments)

        def watching() -> float:
            began = time.process_time()
            seconds = once()
            spent[name] = min(time.process_time() - began, spent.get(name, np.inf))
            return seconds

        return watching

    return contender, spent


def cpu(spent: dict[str, float], name: str) -> str:
    return f"CPU {spent[name]:.3g} s"


@pytest.mark.parametrize("count", list(PUBLISHED))
def test_huggett(count, watched, in_turn, record, benchmark, calibration):
    contender, spent = watched
    given = {
        "bellax": (huggett, bx.grids.Regular(count)),
        "bellax, uneven nodes": (huggett, huggett_ct.uneven(count + 1)),
        "published algorithm": (published, count, 1e-5, 1e-6),
        "published algorithm, to 1e-10": (published, count, 1e-10, 1e-10),
        "kernel": (kernel, *calibration),
    }
    medians = in_turn({name: contender(name, *what) for name, what in given.items()}, rounds=5)
    rates = {name: float(what[0](*what[1:]).unknowns["interest"]) for name, what in list(given.items())[:2]}
    rates |= {name: what[0](*what[1:]).rate for name, what in list(given.items())[2:4]}
    group = f"Huggett's economy, {count} nodes"
    for name, seconds in medians.items():
        if name == "kernel":
            record(group, name, seconds, "", f"{cpu(spent, name)}; a calibration")
            continue
        gap, off = rates[name] - PUBLISHED[count], rates[name] - LIMIT
        words = (
            f"{off:+.1e} of the limit" if "uneven" in name else f"{gap:+.1e} of the published, {off:+.1e} of the limit"
        )
        record(group, name, seconds, f"r {rates[name]:.7f}", f"{cpu(spent, name)}; {words}")
    benchmark.extra_info |= {"rates": rates, "cpu_seconds": spent}
    assert abs(rates["bellax"] - PUBLISHED[count]) < 5e-6
    assert abs(rates["published algorithm, to 1e-10"] - PUBLISHED[count]) < 5e-6
    assert abs(rates["bellax, uneven nodes"] - LIMIT) < 2e-4


def test_firm(watched, in_turn, record, benchmark, calibration):
    contender, spent = watched
    given = (firm_irreversible.model, firm_irreversible.params, firm_irreversible.equilibrium, FIRM)
    began, began_cpu = time.perf_counter(), time.process_time()
    found = jax.block_until_ready(cleared(*given))
    first, first_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    medians = in_turn(
        {"bellax": contender("bellax", cleared, *given), "kernel": contender("kernel", kernel, *calibration)}, rounds=1
    )
    exact = references.firm(firm_irreversible.params, *firm_irreversible.AT).price
    error, group = float(found.unknowns["price"]) - exact, "firm with costly irreversibility, 400 x 240 nodes"
    accuracy, solves = f"P {error:+.1e}", f"{int(found.steps)} solves"
    record(group, "bellax", medians["bellax"], accuracy, f"{cpu(spent, 'bellax')}; {solves}, compiled before")
    record(group, "bellax, the first one", first, accuracy, f"CPU {first_cpu:.3g} s; compilation included")
    record(group, "kernel", medians["kernel"], "", f"{cpu(spent, 'kernel')}; a calibration")
    benchmark.extra_info |= {"error": error, "first": first, "cpu_seconds": spent | {"first": first_cpu}}
    assert abs(error) < 2e-4
