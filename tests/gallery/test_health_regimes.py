"""Work, retirement and death, and mortality: against recursions that bellax did not compute."""

import pytest

from bellax.models import health_regimes, mortality


@pytest.mark.parametrize("module", [health_regimes, mortality])
def test_checks(module):
    for check in module.checks():
        assert check.passed, check
