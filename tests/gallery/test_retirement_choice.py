"""Work and retirement by an endogenous grid, to rounding of the enumeration of all plans; and from the command line."""

import numpy as np
import pytest

from bellax.models import retirement_choice
from bellax.models.references import retirement as enumerated

TOLERANCES = {
    "V, working": 1e-8,
    "consumption, working": 1e-8,
    "V, retired": 1e-8,
    "consumption, retired": 1e-8,
    "number of jumps": 0.0,
    "where consumption jumps": 1e-6,
}


@pytest.mark.long
def test_checks():
    checks = {check.quantity: check for check in retirement_choice.checks()}
    assert checks.keys() == TOLERANCES.keys()
    for quantity, check in checks.items():
        assert check.passed and check.error <= TOLERANCES[quantity], check


def test_the_reference_jumps_where_the_paper_says():
    """With one decision left, log utility and R = 1, work pays up to y / (e^(1/(1 + beta)) - 1)."""
    exact = enumerated(2, **retirement_choice.params)
    found = retirement_choice.jumps(lambda wealth: exact.consumption(0, wealth, working=True))
    np.testing.assert_allclose(found, [20 / (np.exp(1 / 1.98) - 1)], rtol=1e-9)
