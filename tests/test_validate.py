"""Validation: a row for every check, and nothing that fails goes unseen."""

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from bellax import ModelError, models
from bellax.cli import app
from bellax.models.check import Check
from bellax.validate import Row, validate


@pytest.fixture
def gallery(monkeypatch):
    """A gallery of models: one right, which has a long check too, one wrong, one that breaks, one without an answer."""

    def broken():
        raise ValueError("no such table")

    checks = {
        "right": lambda: [Check("V", 1.0, 1.0, 0.0, 1e-9, "a book"), Check("c", 2.0, 2.1, 0.1, 0.2, "another")],
        "wrong": lambda: [Check("V", 1.0, 1.5, 0.5, 1e-9, "a book")],
        "broken": broken,
        "undefined": lambda: [Check("V", float("nan"), 1.5, float("nan"), 1e-9, "a book")],
    }
    monkeypatch.setattr(models, "names", lambda: tuple(sorted(checks)))
    long = {"right": {"long_checks": lambda: [Check("V, fine", 1.0, 1.0, 0.0, 1e-12, "a book")]}}
    monkeypatch.setattr(models, "load", lambda name: SimpleNamespace(checks=checks[name], **long.get(name, {})))


def test_rows_carry_every_number(gallery):
    first, second = validate(["right"])
    assert first[:8] == ("right", "V", 1.0, 1.0, 0.0, 1e-9, True, "a book")
    assert second.passed and second.seconds == first.seconds >= 0


def test_what_fails_does_not_pass(gallery):
    rows = {row.model: row for row in validate(["wrong", "undefined", "broken"])}
    assert [row.passed for row in rows.values()] == [False, False, False]
    assert rows["broken"].quantity == "checks"
    assert rows["broken"].source == "ValueError: no such table"


def test_all_models_by_default(gallery):
    assert [row.model for row in validate()] == ["broken", "right", "right", "undefined", "wrong"]


def test_long_checks_are_made_where_they_are_asked_for(gallery):
    assert [row.quantity for row in validate(["right", "undefined"])] == ["V", "c", "V"]
    assert [row.quantity for row in validate(["right", "undefined"], long=True)] == ["V", "c", "V, fine", "V"]
    for options, quantities in (["right"], ["V", "c"]), (["right", "--long"], ["V", "c", "V, fine"]):
        found = CliRunner().invoke(app, ["validate", *options, "--json"])
        assert [row["quantity"] for row in json.loads(found.stdout)] == quantities


def test_an_unknown_name_is_refused_before_anything_runs(gallery):
    with pytest.raises(ModelError, match="no model 'wrnog'. Did you mean 'wrong'"):
        validate(["broken", "wrnog"])


def test_the_command_passes(gallery):
    found = CliRunner().invoke(app, ["validate", "right"])
    assert found.exit_code == 0
    assert "2 of 2 passed" in found.stdout
    for word in Row._fields:
        assert word in found.stdout


@pytest.mark.parametrize("name", ["wrong", "undefined", "broken"])
def test_the_command_fails_where_a_check_does(gallery, name):
    found = CliRunner().invoke(app, ["validate", "right", name])
    assert found.exit_code == 1
    assert "2 of 3 passed" in found.stdout


def test_json_is_one_row_a_quantity(gallery):
    found = CliRunner().invoke(app, ["validate", "right", "broken", "--json"])
    assert found.exit_code == 1
    rows = json.loads(found.stdout)
    assert [tuple(row) for row in rows] == [Row._fields] * 3
    assert [row["passed"] for row in rows] == [True, True, False]
    assert rows[2]["value"] is None


def test_a_misspelt_model_is_a_wrong_command(gallery):
    found = CliRunner().invoke(app, ["validate", "rigth"])
    assert found.exit_code == 2
    assert found.stderr.strip() == (
        "bellax: the gallery has no model 'rigth'. Did you mean 'right'? It has broken, right, undefined, wrong."
    )


def test_the_gallery_knows_its_models():
    names = models.names()
    assert "merton" in names
    assert not {"check", "comparison", "references"} & set(names)
    assert not any(name.startswith("_") for name in names)
    with pytest.raises(ModelError, match="no model 'mertn'. Did you mean 'merton'"):
        models.load("mertn")
