"""A solution of several regimes in a file: all that can be asked of it is what it was."""

import jax
import numpy as np
import pytest
import xarray as xr

import bellax as bx
from bellax.cli.run import Request, run
from bellax.models import mortality


@pytest.fixture(scope="module")
def path(life, tmp_path_factory):
    file = tmp_path_factory.mktemp("saved") / "life.nc"
    bx.save(life, file)
    return file


@pytest.mark.long
def test_what_is_asked_of_a_file_is_answered_as_before(life, path, case):
    loaded = bx.load(path, case.model)
    assert jax.tree.structure(loaded) == jax.tree.structure(life)
    assert loaded.values["shop"].pieces is not None and loaded.values["working"].pieces is None
    for ours, theirs in zip(jax.tree.leaves(loaded), jax.tree.leaves(life), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    frames = [bx.simulate(solution, 20, case.start).frame() for solution in (life, loaded)]
    assert frames[0].equals(frames[1]) and set(frames[0]["regime"]) == {"working", "retired", "shop", "dead"}


def test_another_process_would_make_the_same_of_it(life, path, case):
    """An equal model, for which nothing was prepared: parameters go back to their owners, those of mappings too."""
    loaded = bx.load(path, case.changed())
    assert loaded.settings.options == case.solver
    at = {"age": 61, "wealth": np.array([1.0, 7.3, 19.0]), "health": "good"}
    for asked in (life, loaded):
        assert set(asked["shop"].params) == {"discount", "survival", "r", "lost"}
        assert set(asked["dead"].params) == {"warmth"}
    assert float(loaded["retired"].params["r"]) == 0.05
    np.testing.assert_array_equal(loaded["working"].value(**at), life["working"].value(**at))
    policies = [solution["working"].policy(**at) for solution in (loaded, life)]
    np.testing.assert_array_equal(policies[0]["consumption"], policies[1]["consumption"])
    for when, x in ((62, 0.0), (63, 4.0)):
        assert float(loaded["dead"].value(age=when, wealth=x)) == float(life["dead"].value(age=when, wealth=x))
    with pytest.raises(bx.ParameterError, match="'shop' is not active at age 60"):
        loaded["shop"].value(age=60, stock=1.0)


def test_another_tool_reads_axes_by_regime(life, path):
    with xr.open_dataset(path, engine="scipy") as data:
        assert data["working.value"].dims == ("period", "working.health", "working.wealth")
        assert data["retired.value"].dims == ("period", "retired.z", "retired.health", "retired.wealth")
        assert data["working.health"].attrs["labels"] == "bad, fair, good"
        np.testing.assert_array_equal(data["age"], [60, 61, 62, 63, 64])
        np.testing.assert_allclose(data["retired.wealth"][[0, -1]], [0.5, 30.0])
        assert np.isnan(data["shop.value"][0]).all() and np.isfinite(data["shop.value"][1]).all()


def test_files_of_others_are_refused(path, case, tmp_path):
    with pytest.raises(bx.ModelError, match="another model: regime 'retired': reward differ"):
        bx.load(path, case.changed(retired={"reward": lambda consumption, health, pain: consumption - pain * health}))
    with pytest.raises(bx.ModelError, match="another model: regime 'shop': active differ"):
        bx.load(path, case.changed(shop={"active": lambda age: age >= 62}))
    with pytest.raises(bx.ModelError, match="another model: .*'retired': entry"):
        bx.load(path, case.changed(retired={"entry": {**case.model.regimes["retired"].entry, "z": bx.ergodic}}))
    with pytest.raises(bx.ModelError, match="the regimes working, retired, shop, dead, and the one .* alive, dead"):
        bx.load(path, mortality.model)
    single = bx.Model(reward=1.0, discount=0.9, horizon=2)
    with pytest.raises(bx.ModelError, match="with the regimes working, .*, and the one that is given has one regime"):
        bx.load(path, single)
    bx.save(bx.solve(single, {}), tmp_path / "single.nc")
    with pytest.raises(bx.ModelError, match="with one regime, and the one that is given has the regimes working"):
        bx.load(tmp_path / "single.nc", case.model)
    (tmp_path / "short.nc").write_bytes(path.read_bytes()[:-500])
    with pytest.raises(bx.SolveError, match="damaged"):
        bx.load(tmp_path / "short.nc", case.model)


def test_what_cannot_be_saved(life, tmp_path):
    batch = jax.tree.map(lambda leaf: leaf[None], life)
    with pytest.raises(bx.ModelError, match="a batch of solutions"):
        batch.save(tmp_path / "batch.nc")
    with pytest.raises(bx.ModelError, match="save the whole solution"):
        life["working"].save(tmp_path / "working.nc")
    assert not list(tmp_path.iterdir())


def test_the_command_line_saves(tmp_path, capsys):
    run(Request("mortality", (), None, (), tmp_path / "out", 0, 20, False), as_json=False)
    loaded = bx.load(tmp_path / "out" / "solution.nc", mortality.model)
    assert float(loaded["alive"].value(period=0)) == pytest.approx(2.586025, abs=1e-12)
    solved = bx.solve(mortality.model, mortality.params, mortality.solver)
    ours, theirs = (bx.certify(each, points=5, agents=5).as_dict() for each in (loaded, solved))
    assert ours == theirs
    assert "solution.nc" in capsys.readouterr().out
