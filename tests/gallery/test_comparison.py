"""What a check says: the worst entry, in the unit that was asked for; and that it can fail."""

import numpy as np
import pytest

from bellax.models import comparison
from bellax.models.check import Check

OURS, REFERENCE = np.array([1.0, 2.0, 0.1]), np.array([1.1, 4.0, 0.05])


@pytest.mark.parametrize(
    "compare, worst, error",
    [(comparison.absolute, 1, 2.0), (comparison.relative, 2, 1.0), (comparison.of_value, 1, 0.5)],
)
def test_the_worst_entry(compare, worst, error):
    check = compare("x", OURS, REFERENCE, 0.4, "a book")
    assert check == Check("x", OURS[worst], REFERENCE[worst], pytest.approx(error), 0.4, "a book")
    assert not check.passed
    assert compare("x", OURS, REFERENCE, error * 1.01, "a book").passed


def test_what_is_not_a_number_does_not_pass():
    check = comparison.absolute("x", [1.0, np.nan, 2.0], [1.0, 1.0, 2.0], np.inf, "a book")
    assert np.isnan(check.error)
    assert not check.passed


def test_a_scalar():
    assert comparison.relative("x", 1.0, 2.0, 0.5, "a book").passed


def test_an_interval_without_ends_holds_nothing():
    held = lambda found: [check.passed for check in comparison.bracketed("x", found, (1.0, 1.0), 0.5, "a book", 1e-9)]  # noqa: E731
    assert held((0.9, 1.1)) == [True, True]
    assert held((0.7, 1.3)) == [True, False]
    assert held((1.1, 1.3)) == [False, True]
    for missing in ((-np.inf, np.inf), (0.9, np.inf), (np.nan, np.nan)):
        assert held(missing) == [False, False]
