"""What a certificate says of its numbers, and what it leaves unsaid."""

import math
from dataclasses import replace

import pytest

from bellax.certify.certificate import Certificate

SIMULATED = {"mean": 2.0, "value": 2.0, "standard_error": 0.1, "z": 0.0, "agents": 20.0, "periods": 5.0}
PLAIN = Certificate(
    residuals={"50%": 0.0, "90%": 0.0, "99%": 0.0, "max": 0.0},
    missed=0.0,
    worst={"w": 1.0, "residual": 0.0},
    undefined=0.0,
    value_error=0.0,
    discount=0.9,
    euler={},
    euler_missing="no continuous action",
    escape={},
    simulated=SIMULATED,
    start={"w": 1.0},
    own_nodes=(),
    finer=True,
    points=100,
    periods=(0,),
)


@pytest.mark.parametrize(("value", "missed", "said"), [(2.0, 7e-15, 0), (1e6, 1e-8, 0), (2.0, 1e-9, 1), (1e6, 1e-2, 1)])
def test_rounding_is_not_missed_by_a_maximiser(value, missed, said):
    found = replace(PLAIN, missed=missed, simulated=SIMULATED | {"value": value, "mean": value})
    assert ("the maximiser missed" in str(found)) == said


def test_no_score_of_agents_that_do_not_differ():
    alike = SIMULATED | {"mean": -7.8, "standard_error": 0.0, "z": math.nan}
    text = str(replace(PLAIN, simulated=alike))
    assert "nan" not in text and "off by -9.8e+00; the agents do not differ, so that chance has no part" in text
    text = str(replace(PLAIN, simulated=alike | {"agents": 1.0, "standard_error": math.nan}))
    assert "nan" not in text and "of one agent there is no standard error" in text
    assert "standard error of\n  1.0e-01 (z = 0.00)" in str(PLAIN)
