"""What a run says: plain data for JSON, and a table for people."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_ATOMS = 3  # how many are printed one by one; of more, what there is at each edge


def plain(value: Any) -> Any:
    """Data that JSON can hold: arrays as lists, what is not finite as None, the rest as text."""
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    try:
        return plain(np.asarray(value).tolist())
    except (TypeError, ValueError, RecursionError):
        return str(value)


def number(value: float) -> str:
    """A number in as many digits as one reads."""
    return f"{value:.9g}" if value == 0 or 1e-3 <= abs(value) < 1e6 else f"{value:.3e}"


def console() -> Any:
    """A console on stdout: as wide as the terminal, or 140 columns in a file or a pipe."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140, soft_wrap=False, highlight=False)


def show(report: Mapping[str, Any]) -> None:
    """Prints the report of a run as a table."""
    from rich.markup import escape
    from rich.table import Table

    title = report["model"] + (f": {report['description']}" if report["description"] else "")
    table = Table(
        title=escape(title), title_justify="left", box=None, show_header=bool(report["reference"]), pad_edge=False
    )
    for heading in ("", "computed", "reference", "error"):
        table.add_column(heading, overflow="fold", no_wrap=False)
    for row in _rows(report):
        table.add_row(*(escape(cell) for cell in row))
    console().print(table)


def _rows(report: Mapping[str, Any]) -> Sequence[tuple[str, ...]]:
    seconds, reference = report["seconds"], report["reference"]
    rows: list[tuple[str, ...]] = [
        ("solver", report["why"]),
        ("result", f"{report['result']} in {seconds['solve']:.2f} s"),
        ("start", ", ".join(f"{name} = {_text(value)}" for name, value in report["start"].items())),
    ]
    answers = [("value", report["value"]), *report["policy"].items(), *report.get("prices", {}).items()]
    rows += [(name, _text(value), *_beside(value, reference.get(name))) for name, value in answers]
    for name, value in report.get("aggregates", {}).items():
        beside = () if name in report["policy"] else _beside(value, reference.get(name))
        rows.append((f"aggregate {name}", _text(value), *beside))
    rows += [(f"left of {name}", _text(value)) for name, value in report.get("residuals", {}).items()]
    rows += _population(report.get("density", {}))
    rows += [("certificate" if k == 0 else "", line) for k, line in enumerate(report["certified"].splitlines())]
    refined = report.get("refinement", "").splitlines()
    rows += [("refinement" if k == 0 else "", line) for k, line in enumerate(refined)]
    return [*rows, ("files", ", ".join(report["files"].values())), ("time", f"{seconds['total']:.2f} s")]


def _population(density: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What is said of a stationary density."""
    if "mass" not in density:
        return [("density", density["none"])] if density else []
    rows: list[tuple[str, ...]] = [
        ("density", f"mass {number(density['mass'])}, of it {number(density['in atoms'])} in atoms")
    ]
    for name, mean in density["mean"].items():
        rows.append((f"mean of {name}", f"{number(mean)}, standard deviation {number(density['sd'][name])}"))
    few = len(density["atoms"]) <= _ATOMS
    for atom in density["atoms"] if few else density["at edges"]:
        at = ", ".join(f"{name} = {_text(value)}" for name, value in atom["at"].items())
        rows.append(("atom", f"{number(atom['mass'])} at {at}"))
    return rows


def _beside(value: Any, reference: Any) -> tuple[str, ...]:
    if reference is None:
        return ()
    error = float(np.max(np.abs(np.asarray(value, float) - np.asarray(reference, float))))
    return _text(reference), f"{error:.1e}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    return np.array2string(np.asarray(value), precision=6, separator=", ", threshold=8)
