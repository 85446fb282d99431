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


def _worst(quantity: str, ours: Any, reference: Any, unit: Any, tolerance: float, source: str) -> Check:
    ours, reference, unit = np.broadcast_arrays(np.asarray(ours), np.asarray(reference), unit)
    errors = np.abs(ours - reference) / unit
    # argmax of numpy finds a NaN first: it is the worst error there is.
    place = np.unravel_index(np.argmax(errors), errors.shape)
    return Check(quantity, float(ours[place]), float(reference[place]), float(errors[place]), tolerance, source)
