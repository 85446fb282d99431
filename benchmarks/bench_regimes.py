"""A working life of 18 regimes: first answers of fresh processes, compile time by number of regimes, warm solves.

Regimes of the same functions are one program with an axis of regimes, so that compile time hardly grows with them;
every period is of one kind. The solvers agree on V at the same nodes, which is the accuracy given.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SIZES = ((1, 1, 2), (3, 1, 2), (3, 3, 2))
AGES, NODES = 40, {"DCEGM": 60, "Newton": 60}


def answered(sizes: tuple[int, int, int], solver: str) -> dict:
    """What `examples_regimes.py` says, in a fresh process without a cache."""
    given = {"sizes": sizes, "solver": solver, "ages": AGES, "nodes": NODES[solver]}
    command = [sys.executable, str(Path(__file__).parent / "examples_regimes.py")]
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("sizes", SIZES)
def test_regimes(sizes, record):
    count, values = math.prod(sizes), {}
    for solver in NODES:
        found = answered(sizes, solver)
        values[solver] = np.array(list(found["value"].values()))
        first = np.add(np.add(found["import"], found["first"]), found["query"])
        compiled = found["compile"][1] - found["warm"][1]
        apart = np.max(np.abs(values[solver] - values["DCEGM"]) / np.maximum(1.0, np.abs(values["DCEGM"])))
        accuracy = "" if solver == "DCEGM" else f"V {apart:.1e} from that of DCEGM"
        group = "40 ages, hours and consumption, one kind of period"
        note = f"{first[1]:.1f} s of CPU; compiling well {compiled:.1f} s of CPU"
        record(group, f"{count} regimes, {solver}, first answer", first[0], accuracy, note)
        note = f"{found['warm'][1]:.2f} s of CPU"
        record(group, f"{count} regimes, {solver}, warm", found["warm"][0], accuracy, note)
        assert solver == "DCEGM" or apart < 1e-3
