"""Arrays of ours beside arrays of a reference, as the one `Check` of their worst entry.

They may be anything that numpy makes an array of, of shapes that broadcast.
"""

from typing import Any

import numpy as np

from bellax.models.check import Check


def absolute(quantity: str, ours: Any, reference: Any, tolerance: float, source: str) -> Check:
    """The largest |ours - reference|."""
    return _worst(quantity, ours, reference, np.ones(()), tolerance, source)


def relative(quantity: str, ours: Any, reference: Any, tolerance: float, source: str) -> Check:
    """The largest |ours - reference| / |reference|."""
    return _worst(quantity, ours, reference, np.abs(reference), tolerance, source)


def of_value(quantity: str, ours: Any, reference: Any, tolerance: float, source: str) -> Check:
    """The largest |ours - reference| / max(1, |reference|): a value may cross zero."""
    return _worst(quantity, ours, reference, np.maximum(1.0, np.abs(reference)), tolerance, source)


def bracketed(
    quantity: str, found: tuple[float, float], known: tuple[float, float], width: float, source: str, rounding: float
) -> list[Check]:
    """How far an interval is from another one, no distance where they overlap, and how wide it is, relative to what is
    known: one that is wide enough holds everything, and one without two ends holds it without a word.

    Args:
        known: an interval, or a number twice.
        width: at most.
        rounding: of what is known.
    """
    middle = sum(known) / 2
    gap, wide = max(known[0] - found[1], found[0] - known[1], 0.0), (found[1] - found[0]) / abs(middle)
    if not np.all(np.isfinite(found)):
        gap = wide = float("inf")
    return [
        Check(f"{quantity}, distance", sum(found) / 2, middle, gap, rounding, source),
        Check(f"{quantity}, relative width", wide, 0.0, wide, width, "none: less is better"),
    ]


def _worst(quantity: str, ours: Any, reference: Any, unit: Any, tolerance: float, source: str) -> Check:
    ours, reference, unit = np.broadcast_arrays(np.asarray(ours), np.asarray(reference), unit)
    errors = np.abs(ours - reference) / unit
    # argmax of numpy finds a NaN first: it is the worst error there is.
    place = np.unravel_index(np.argmax(errors), errors.shape)
    return Check(quantity, float(ours[place]), float(reference[place]), float(errors[place]), tolerance, source)
