"""Long work that Ctrl-C ends at once, with a bar on stderr once it takes long.

The work runs in a thread while the main thread waits, since a compilation inside the main thread would keep Python from
hearing a signal. After Ctrl-C the process leaves without waiting for a computation that cannot be cancelled.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from bellax.cli.failure import INTERRUPTED

T = TypeVar("T")

_PATIENCE = 1.0  # seconds before a bar is shown
_TICK = 0.05


@dataclass
class Stage:
    """What the work is at: written by the worker, shown by the main thread.

    Attributes:
        name: what is being done.
        done, total: steps; no total where it is not known beforehand.
        residual: of the last step; NaN where there is none.
    """

    name: str = "starting"
    done: int = 0
    total: int | None = None
    residual: float = float("nan")

    def enter(self, name: str, total: int | None = None) -> None:
        """The next stage."""
        self.name, self.done, self.total, self.residual = name, 0, total, float("nan")

    def report(self, done: int, residual: float) -> None:
        """A step of this stage; what `bx.solve` takes as `progress`."""
        self.done, self.residual = max(self.done, done), residual


def interruptible(work: Callable[[], T], stage: Stage, tidy: Callable[[], None]) -> T:
    """What `work` returns; after Ctrl-C the process ends, with status 130.

    Args:
        work: runs in a thread of its own.
        stage: shown on stderr while it lasts, if that is a terminal.
        tidy: called before the process ends early.
    """
    outcome: list[Any] = []

    def target() -> None:
        try:
            outcome.extend([work(), None])
        except BaseException as error:  # handed to the main thread, whatever it is
            outcome.extend([None, error])

    thread = threading.Thread(target=target, daemon=True)
    try:
        thread.start()
        with contextlib.ExitStack() as stack:
            _wait(thread, stage, stack)
    except KeyboardInterrupt:
        tidy()
        print("bellax: interrupted; nothing was written.", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)
    result, error = outcome
    if error is not None:
        raise error
    return result


def _wait(thread: threading.Thread, stage: Stage, stack: contextlib.ExitStack) -> None:
    started, show = time.monotonic(), None
    while thread.is_alive():
        thread.join(_TICK)
        if show is None and sys.stderr.isatty() and time.monotonic() - started > _PATIENCE:
            show = stack.enter_context(bar())
        if show is not None:
            show(stage)


@contextlib.contextmanager
def bar() -> Iterator[Callable[[Stage], None]]:
    """A bar on stderr, and a function that brings it up to date with a stage."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, note="")

        def show(stage: Stage) -> None:
            steps = f"{stage.done}" + (f" of {stage.total}" if stage.total else "") if stage.done else ""
            residual = f", change {stage.residual:.1e}" if stage.residual == stage.residual else ""
            progress.update(
                task, description=stage.name, total=stage.total, completed=stage.done, note=f"{steps}{residual}"
            )

        yield show
