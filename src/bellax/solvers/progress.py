"""Progress of a running solve: compiled code tells the caller's function how far it is.

A compiled program outlives the solve that it was compiled for, so it holds no function of a caller's: it is given a
ticket, and the function is looked up under it while its solve runs.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax import Array

Report = Callable[[Array, Array], None]
"""Called in a program with a count of steps done and a residual, both traced."""


class _Listener:
    def __init__(self, told: Callable[[int, float], None]) -> None:
        self.told = told
        self.error: Exception | None = None


_LISTENERS: dict[int, _Listener] = {}
_TICKETS = itertools.count(1)


@contextmanager
def listening(told: Callable[[int, float], None] | None) -> Iterator[np.ndarray]:
    """A ticket under which `told` is called until the end of the block; what it raises is raised there."""
    ticket = next(_TICKETS)
    if told is None:
        yield np.asarray(ticket)
        return
    listener = _LISTENERS[ticket] = _Listener(told)
    try:
        yield np.asarray(ticket)
        jax.effects_barrier()
    finally:
        del _LISTENERS[ticket]
    if listener.error is not None:
        raise listener.error


def report(ticket: Array) -> Report:
    """What a program calls to tell whoever holds the ticket."""
    return lambda done, residual: jax.debug.callback(_tell, ticket, done, residual)


def _tell(ticket: Any, done: Any, residual: Any) -> None:
    listener = _LISTENERS.get(int(ticket))
    if listener is None or listener.error is not None:
        return
    try:
        listener.told(int(done), float(residual))
    except Exception as error:  # a callback of jax must not raise: the solve would end as an internal error
        listener.error = error
