"""Every model of the gallery against its references, one row for each quantity that is compared."""

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bellax import models


class Row(NamedTuple):
    """One quantity of one model beside its reference.

    Attributes:
        model: its name in the gallery.
        quantity, value, reference, error, tolerance, source: as in `Check`; of a model whose checks could not be
            computed at all the quantity is `checks`, the numbers are NaN and the source says what happened.
        passed: whether the error is within the tolerance.
        seconds: how long the checks of this model took together.
    """

    model: str
    quantity: str
    value: float
    reference: float
    error: float
    tolerance: float
    passed: bool
    source: str
    seconds: float


def validate(names: Iterable[str] | None = None, long: bool = False) -> Iterator[Row]:
    """Solves models of the gallery and compares them with their references, model by model.

    Args:
        names: of the models; all of them by default.
        long: whether the checks that a model calls long are made, too.
    Returns:
        Rows, as they are computed.
    Raises:
        ModelError: for an unknown name, before anything is solved.
    """
    chosen = models.names() if names is None else tuple(names)
    for name in chosen:
        models.check_name(name)
    return (row for name in chosen for row in _rows(name, long))


def _rows(name: str, long: bool) -> list[Row]:
    started = time.perf_counter()
    try:
        checks = models.checks(name, long)
    except Exception as error:  # a model that fails is a row that fails; the others are still checked
        nan, what = float("nan"), f"{type(error).__name__}: {error}"
        return [Row(name, "checks", nan, nan, nan, nan, False, what, time.perf_counter() - started)]
    seconds = time.perf_counter() - started
    return [
        Row(
            name,
            check.quantity,
            float(check.value),
            float(check.reference),
            float(check.error),
            float(check.tolerance),
            bool(check.passed),
            check.source,
            seconds,
        )
        for check in checks
    ]
