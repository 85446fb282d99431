"""One example of one side in this fresh process: seconds and CPU seconds of import, first solve, and warm ones.

    echo '{"example": "merton", "inputs": {...}, "at": {...}}' | python benchmarks/examples_timed.py examples_bellax

A side is a module beside this one. Its `EXAMPLES` are functions of the inputs, which solve and give a function of `at`,
which answers by quantity. Prints JSON. Solves 2 to `SETTLES`, of the side, are not timed: they run, or compile, what
is not the code of later ones. CPU
seconds are those of this process and of what it started and saw ending, compilers included.
"""

import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

WARM, ENOUGH = 3, 5.0
"""The most warm solves, and the seconds after which there are no more."""


def clocked(work: Callable[..., Any], *arguments: Any) -> tuple[Any, list[float]]:
    """What a function gives, and the seconds and CPU seconds that it took."""
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    found = work(*arguments)
    return found, [time.perf_counter() - wall, sum(os.times()[:4]) - cpu]


def main() -> None:
    given = json.load(sys.stdin)
    module, imported = clocked(importlib.import_module, sys.argv[1])
    solve = module.EXAMPLES[given["example"]]
    query, first = clocked(solve, given["inputs"])
    answers, first_query = clocked(query, given["at"])
    for _ in range(1, module.SETTLES):
        solve(given["inputs"])
    warm: list[list[float]] = []
    while len(warm) < WARM and sum(wall for wall, _ in warm) < ENOUGH:
        warm.append(clocked(solve, given["inputs"])[1])
    print(
        json.dumps(
            {
                "import": imported,
                "first": first,
                "query": first_query,
                "warm": [statistics.median(column) for column in zip(*warm, strict=True)],
                "answers": {name: [float(x) for x in values] for name, values in answers.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
