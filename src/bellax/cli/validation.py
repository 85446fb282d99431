"""`bellax validate`: a row for every quantity of every gallery model that has a reference, or for every certificate."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import typer

from bellax import models
from bellax.cli.failure import FAILED, one_line
from bellax.cli.report import console, number, plain
from bellax.cli.work import Stage, interruptible
from bellax.validate import Row
from bellax.validate import validate as rows_of


def validate(names: Sequence[str] | None, long: bool, as_json: bool) -> None:
    """Prints the rows; exits with status 1 if one fails."""
    rows = _told(names, as_json, lambda name: list(rows_of([name], long)), Row)
    if not all(row.passed for row in rows):
        raise typer.Exit(FAILED)


def honesty(names: Sequence[str] | None, as_json: bool) -> None:
    """Prints what certificates say beside true errors; exits with status 1 if one lies, or too few estimates are near.

    An estimate is near from a tenth of the error to ten times; nine of ten must be.
    """
    from bellax.honesty import Honesty, near
    from bellax.honesty import honesty as told

    rows = _told(names, as_json, lambda name: list(told([name])), Honesty)
    if not all(row.passed for row in rows) or near(rows) < 0.9:
        raise typer.Exit(FAILED)


def _told(names: Sequence[str] | None, as_json: bool, ask: Callable[[str], list[Any]], kind: Any) -> list[Any]:
    """Rows of some models, printed."""
    with one_line():
        for name in names or ():
            models.check_name(name)
        rows = interruptible(lambda: _computed(names, ask, stage), stage := Stage("validating"), lambda: None)
        if as_json:
            print(json.dumps([plain(row._asdict()) for row in rows], indent=2, allow_nan=False))
        else:
            _show(rows, kind)
    return rows


def _computed(names: Sequence[str] | None, ask: Callable[[str], list[Any]], stage: Stage) -> list[Any]:
    chosen = list(names or models.names())
    rows: list[Any] = []
    for done, name in enumerate(chosen):
        stage.enter(f"validating {name}", len(chosen))
        stage.done = done
        rows += ask(name)
    return rows


def _show(rows: Sequence[Any], kind: Any) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in kind._fields:
        table.add_column(column, overflow="fold", justify="right" if kind.__annotations__[column] is float else "left")
    for row in rows:
        table.add_row(*(_cell(column, value) for column, value in row._asdict().items()))
    console().print(table)
    failed = sum(not row.passed for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} passed")


def _cell(column: str, value: Any) -> str:
    if column == "passed":
        return "yes" if value else "[bold red]NO[/]"
    return f"{value:.1f}" if column == "seconds" else number(value) if isinstance(value, float) else str(value)
