"""What goes wrong, as one line on stderr and an exit status."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from bellax import BellaxError, SolveError

WRONG_INPUT, FAILED, INTERRUPTED = 2, 1, 130


class Refusal(Exception):
    """Something that a user gave cannot be used; the message is the line that they read."""


@contextmanager
def one_line(source: str = "") -> Iterator[None]:
    """Turns exceptions into one line on stderr and an exit status.

    A reader who closes the pipe, such as `head`, is none: click ends the process without a word.

    Args:
        source: the user's file; a line of it is named where an unforeseen exception came from there.
    """
    try:
        yield
        sys.stdout.flush()  # or a closed pipe is noticed when the process is past all handlers
    except (typer.Exit, KeyboardInterrupt, BrokenPipeError):
        raise
    except Refusal as error:
        _leave(str(error), WRONG_INPUT)
    except BellaxError as error:
        line = _line(error.__cause__, source)
        where = f" ({source}, line {line})" if line else ""
        _leave(f"{error}{where}", FAILED if isinstance(error, SolveError) else WRONG_INPUT)
    except MemoryError:
        _leave("out of memory: give fewer nodes (--grid) or fewer agents (--agents).", FAILED)
    except Exception as error:
        _leave(described(error, source), FAILED)


def described(error: BaseException, source: str) -> str:
    """An unforeseen exception on one line: where in the user's file, its type and what it says."""
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    line = _line(error, source)
    return f"{f'{source}, line {line}: ' if line else ''}{type(error).__name__}: {first}"


def _line(error: BaseException | None, source: str) -> int | None:
    """The last line of the user's file that an exception passed through."""
    if error is None or not source:
        return None
    file = str(Path(source).resolve())
    return next((f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == file), None)


def _leave(message: str, status: int) -> None:
    print(f"bellax: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(status)
