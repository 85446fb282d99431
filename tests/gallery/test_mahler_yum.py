"""The life cycle of Mahler and Yum against a recursion in numpy, and its calibration against published numbers."""

import numpy as np
import pytest

from bellax.models import _mahler_yum as tables
from bellax.models import mahler_yum


@pytest.mark.long
def test_checks():
    for check in mahler_yum.checks():
        assert check.passed, check


def test_costs_go_through_their_knots():
    """Knots at the periods 1, 8, 13, 20 of work and 1, 12, 20, 31 of effort, after which effort costs no more."""
    work, effort = (mahler_yum.params[name].values for name in ("toil_weight", "strain_weight"))
    healthy_with_college = 2.63390750888379, 1.66602983591164, 1.27839561280412, 1.71439043350863
    np.testing.assert_allclose(work[[0, 7, 12, 19], 1, 1], healthy_with_college, rtol=1e-12)
    np.testing.assert_allclose(work[:20, 0] / work[:20, 1], np.exp(0.807247922589072), rtol=1e-12)
    np.testing.assert_array_equal(work[20:], 0.0)
    ill_without = 0.628031290227532, 1.36593242946612, 1.64963812690034, 0.734873142494319
    np.testing.assert_allclose(effort[[0, 11, 19, 30], 0, 0], ill_without, rtol=1e-12)
    np.testing.assert_array_equal(effort[31:], np.broadcast_to(effort[30], (7, 2, 2)))


def test_survival_falls_with_age_and_types_are_shares():
    assert tables.SURVIVAL.shape == (37, 2, 2)
    assert np.all(np.diff(tables.SURVIVAL, axis=0) < 0)
    assert np.all(tables.SURVIVAL[-1] > 0.4)
    assert tables.TYPE_SHARES.sum() == pytest.approx(1.0, abs=1e-12)
    assert tables.TYPE_SHARES[1].sum() == pytest.approx(0.309, abs=1e-12)  # of those with college


def test_newborns_have_the_shares_of_the_table():
    people = mahler_yum.newborns(40_000, np.linspace(0.0, 1.0, 40))
    assert np.mean(people["education"]) == pytest.approx(0.309, abs=0.01)
    assert np.mean(people["health"]) == pytest.approx(np.sum(tables.TYPE_SHARES * tables.HEALTHY_AT_25), abs=0.01)
    assert set(np.round(39 * people["habit"]).astype(int)) == {26, 27, 30, 31}  # the nearest of .663, .690, .773, .785
