"""Certificates against the truth, as a table; of the whole gallery by `bellax validate --honesty`."""

import json
import math

import pytest
from typer.testing import CliRunner

from bellax import ModelError, honesty
from bellax.cli import app


@pytest.mark.parametrize(
    ("error", "bound", "estimate", "verdict"),
    [
        (1e-12, math.nan, 1e-3, "exact"),
        (1e-3, 2e-3, 5e-3, "honest"),
        (1e-3, math.nan, 5e-3, "honest"),
        (1e-3, 9e-4, 5e-3, "lies"),
        (1e-3, math.nan, 9e-6, "lies"),
        (1e-3, 1.0, 5e-5, "flatters"),
        (1e-3, 1.0, 0.2, "idle"),
        (1e-3, 1.0, math.nan, "no estimate"),
        (1e-3, 5e-4, math.nan, "lies"),
    ],
)
def test_verdicts(error, bound, estimate, verdict):
    assert honesty.verdict(error, bound, estimate) == verdict


def row(verdict):
    return honesty.Honesty("m", "default", 1e-3, 1.0, 1e-3, verdict, 0.0)


def test_the_share_of_estimates_that_are_near():
    assert honesty.near([row("exact"), row("no estimate")]) == 1.0
    assert honesty.near([row("honest"), row("honest"), row("idle"), row("exact")]) == pytest.approx(2 / 3)
    assert not row("lies").passed and row("idle").passed


def test_a_coarse_solve_that_leaves_its_grid():
    (found,) = honesty.honesty(["merton_crra"], ["coarse"])
    assert found.verdict == "honest" and found.error > 1e-3 and math.isnan(found.bound)
    assert found.error / 10 < found.estimate < 10 * found.error


def test_a_model_without_a_known_value_has_no_row():
    assert list(honesty.honesty(["durables", "merton_ct"])) == []


def test_the_command_line():
    ran = CliRunner().invoke(app, ["validate", "--honesty", "job_search", "--json"])
    assert ran.exit_code == 0
    (only,) = json.loads(ran.stdout)
    assert only["verdict"] == "exact" and only["model"] == "job_search"


def test_an_unknown_name_is_named_before_anything_is_solved():
    with pytest.raises(ModelError, match="'mertn'.*Did you mean 'merton'"):
        honesty.honesty(["mertn"])
