"""What the benchmarks share: contenders timed in turn, and one table of all results at the end.

Every file times bellax and its peer in alternating rounds of one process, so that a slow spell of the machine falls on
both. Inputs are arguments: what a compiled function closes over is computed at compile time, and its timing is a lie.
"""

import datetime
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest

RESULTS = Path(__file__).parent / "results"
TABLE = pytest.StashKey[list]()
LOAD = pytest.StashKey[str]()
BRIEF = 0.05
"""Seconds."""


class Row(NamedTuple):
    """One line of the summary.

    Attributes:
        group: what is compared; the first row of a group is the one that ratios refer to.
        contender: who.
        seconds: the median; None where the contender has no time of its own.
        accuracy: the error, in words.
        note: the rest.
        figure: how the time reads in place of milliseconds, such as ns per cell.
    """

    group: str
    contender: str
    seconds: float | None
    accuracy: str
    note: str = ""
    figure: str = ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--results", action="store_true", help="write the summary to benchmarks/results/<date>-<cpu>.md")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TABLE] = []
    config.stash[LOAD] = f"{os.getloadavg()[0]:.1f}"


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Adds a row to the summary, from the fields of `Row`."""
    return lambda *fields, **named: request.config.stash[TABLE].append(Row(*fields, **named))


Once = Callable[[], float]
"""Does the work once and returns how many seconds it took."""


@pytest.fixture
def timed() -> Callable[..., Once]:
    """Makes a contender of a function and its arguments; the clock stops when every array is computed."""

    def contender(function: Callable[..., Any], *arguments: Any) -> Once:
        def once() -> float:
            started = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            return time.perf_counter() - started

        return once

    return contender


@pytest.fixture
def in_turn(benchmark: Any) -> Callable[..., dict[str, float]]:
    """Times contenders in turn; the first one is also what pytest-benchmark reports."""

    def medians(contenders: Mapping[str, Once], rounds: int) -> dict[str, float]:
        names = list(contenders)
        # The first call compiles. Short ones run twice in their turn: who came before leaves the caches cold.
        brief = {name for name in names if (contenders[name](), contenders[name]())[1] < BRIEF}
        seconds: dict[str, list[float]] = {name: [] for name in names}

        def turn(name: str) -> None:
            once = contenders[name]
            seconds[name].append((once(), once())[1] if name in brief else once())

        def others() -> None:
            for name in names[1:]:
                turn(name)
            if names[0] in brief:
                contenders[names[0]]()

        def first() -> None:
            seconds[names[0]].append(contenders[names[0]]())

        benchmark.pedantic(first, setup=others, rounds=rounds)
        found = {name: statistics.median(times) for name, times in seconds.items()}
        benchmark.extra_info["median_seconds"] = found
        return found

    return medians


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash[TABLE]
    if not rows:
        return
    text = summary(rows, config.stash[LOAD])
    terminalreporter.write_sep("=", "ours and the peers")
    terminalreporter.write_line(text)
    if config.getoption("--results"):
        terminalreporter.write_line(f"written to {write(text)}")


def summary(rows: list[Row], load: str) -> str:
    """The machine and all rows, as Markdown."""
    lines = [machine(load), ""]
    first: dict[str, Row] = {}
    for row in rows:
        if row.group not in first:
            first[row.group] = row
            lines += [
                "",
                f"## {row.group}",
                "",
                "| contender | median | of the first | accuracy | note |",
                "|---|---|---|---|---|",
            ]
        lines.append(
            f"| {row.contender} | {_shown(row)} | {_ratio(row, first[row.group])} | {row.accuracy} | {row.note} |"
        )
    return "\n".join(lines)


def _shown(row: Row) -> str:
    if row.figure or row.seconds is None:
        return row.figure
    return f"{row.seconds:.2f} s" if row.seconds >= 1 else f"{row.seconds * 1e3:.3g} ms"


def _ratio(row: Row, first: Row) -> str:
    if row is first or row.seconds is None or first.seconds is None:
        return ""
    return f"{row.seconds / first.seconds:.3g} x"


def machine(load: str) -> str:
    """Where and with what the numbers were measured."""
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("bellax", "jax", "numpy", "quantecon", "bellgrid", "torch")
        if _has(name)
    )
    return (
        f"{cpu()}, {os.cpu_count()} cores; load before the run {load}; Python {platform.python_version()}, {versions}; "
        f"{datetime.date.today().isoformat()}"
    )


def _has(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def cpu() -> str:
    """The name of the processor."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def write(text: str) -> Path:
    """Writes the summary, whole or not at all."""
    RESULTS.mkdir(exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", cpu().lower()).strip("-")
    path = RESULTS / f"{datetime.date.today().isoformat()}-{name}.md"
    draft = path.with_suffix(".draft")
    draft.write_text(f"# Benchmarks\n\n{text}\n")
    draft.replace(path)
    return path
