"""From nothing to an answer: a fresh process imports, solves and evaluates `merton`; and the command line does
it all.

The first runs with the gallery's own solver and asks for one consumption. Its time is taken apart by the events
that JAX reports of itself, tracing, lowering and compiling; one may lie inside another, so the parts need not
add up. The second is `bellax run merton`: solution, certificate, simulation and figure on disk. There is no
peer. The persistent compilation cache of JAX is off, unless the environment turns it on.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bellax.models

PROCESSES = 3
SCRIPT = """
import json, sys, time
started = time.perf_counter()
import jax
spent = {}
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: spent.__setitem__(event, spent.get(event, 0.0) + seconds))
import bellax as bx
from bellax.models import merton
imported = time.perf_counter()
solution = bx.solve(merton.model, merton.params, merton.solver)
solved = time.perf_counter()
share = float(solution.policy(0, wealth=10.0)["consumption"]) / 10.0
ended = time.perf_counter()
share_of = lambda *names: sum(s for event, s in spent.items() if event.rsplit("/", 1)[-1].startswith(names))
print(json.dumps({
    "import": imported - started, "solve": solved - imported, "query": ended - solved, "error": abs(share - 0.04),
    "trace": share_of("jaxpr_trace"), "lower": share_of("jaxpr_to_mlir"), "compile": share_of("backend_compile"),
}))
"""


def test_merton(record):
    """The whole process is timed from outside, the start of the interpreter included."""
    total, parts = [], []
    for _ in range(PROCESSES):
        started = time.perf_counter()
        parts.append(json.loads(subprocess.check_output([sys.executable, "-c", SCRIPT], text=True)))
        total.append(time.perf_counter() - started)
    median = {name: statistics.median(part[name] for part in parts) for name in parts[0]}
    shown = ", ".join(f"{name} {median[name]:.2f}" for name in ("import", "trace", "lower", "compile"))
    note = f"{shown}; first solve {median['solve']:.2f}, first query {median['query']:.2f} s"
    record("cold start", "merton: import, solve, query", statistics.median(total), f"share {median['error']:.1e}", note)
    assert median["error"] < 1e-6


def test_command_line(record, tmp_path):
    command = Path(sys.executable).with_name("bellax")
    if not command.exists() or "merton" not in bellax.models.names():
        pytest.skip("there is no command line")
    total = []
    for k in range(PROCESSES):
        folder = tmp_path / str(k)
        started = time.perf_counter()
        done = subprocess.run([command, "run", "merton", "--out", folder], capture_output=True, text=True)
        total.append(time.perf_counter() - started)
        assert done.returncode == 0, done.stderr
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    record("cold start", "bellax run merton", statistics.median(total), "", files)
