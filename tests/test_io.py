"""Solutions in files: what comes back is what was saved, and what is not ours is refused."""

import enum
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import bellax as bx
from bellax.bellman.configuration import decode, encode, owned
from bellax.model.fingerprint import fingerprint
from bellax.numerics import archive
from bellax.numerics.archive import Archive, Variable

WEALTH = np.geomspace(0.5, 20.0, 23)


class Health(enum.IntEnum):
    bad = 0
    good = 1


def next_wealth(wealth, consumption, income, gross):
    return gross * (wealth - consumption) + income


def model(gamma=2.0, upper=30.0, reward=None):
    return bx.Model(
        states={
            "wealth": bx.Continuous(0.1, upper, scale=bx.scales.log),
            "health": bx.MarkovChain(Health, [[0.6, 0.4], [0.1, 0.9]]),
        },
        actions={"consumption": bx.Continuous(0.05, "wealth")},
        functions={"income": lambda health: 0.5 + 0.5 * health},
        transitions={"wealth": next_wealth},
        reward=reward or (lambda consumption: consumption ** (1 - gamma) / (1 - gamma)),
        terminal=lambda wealth: -1 / wealth,
        horizon=4,
    )


MODEL = model()
PARAMS = {"discount": 0.95, "gross": bx.by_period(np.linspace(1.0, 1.06, 4))}
SOLVER = bx.solvers.BackwardInduction(
    grid={"wealth": bx.grids.Scaled(24, bx.scales.asinh(0.5))},
    interpolant=bx.interpolants.Hermite("constant"),
    maximiser=bx.maximise.Golden(grid={"consumption": 9}, polish=bx.maximise.Newton(steps=30)),
)


@pytest.fixture(scope="module")
def solution():
    return bx.solve(MODEL, PARAMS, SOLVER)


@pytest.fixture
def path(solution, tmp_path):
    solution.save(tmp_path / "solution.nc")
    return tmp_path / "solution.nc"


def answers(solution):
    """Value and policy at many states of every period."""
    states = {"wealth": WEALTH[:, None], "health": np.array([0, 1])}
    values = [np.asarray(solution.value(period=t, **states)) for t in range(5)]
    return values, [np.asarray(solution.policy(period=t, **states)["consumption"]) for t in range(4)]


def rewritten(path, **attributes):
    """The file with other attributes, sealed again."""
    stored = archive.read(path)
    archive.write(path, Archive(stored.variables, attributes={**stored.attributes, **attributes}))


def test_value_and_policy_come_back_bit_for_bit(solution, path):
    loaded = bx.load(path, MODEL)
    for ours, theirs in zip(answers(solution), answers(loaded), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert jax.tree.structure(loaded) == jax.tree.structure(solution)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(solution), strict=True))
    assert loaded.result == bx.Result.successful


def test_configuration_comes_back_with_every_option(path):
    assert bx.load(path, model()).setting.options == SOLVER


def test_another_tool_reads_axes_nodes_and_labels(solution, path):
    with xr.open_dataset(path, engine="scipy") as data:
        assert data["value"].dims == ("period", "health", "wealth")
        assert data["health"].attrs["labels"] == "bad, good"
        np.testing.assert_allclose(data["wealth"][[0, -1]], [0.1, 30.0], rtol=1e-12)
        assert data["parameter:gross"].shape == (4,)
        at_node = solution.value(period=1, wealth=data["wealth"].values[7], health=1)
        np.testing.assert_allclose(data["value"][1, 1, 7], at_node, rtol=1e-10)


def test_nodes_that_move_are_stored_for_every_period(tmp_path):
    moving = bx.Model(
        states={"wealth": bx.Continuous(lambda period: 1.0 + period, lambda period: 5.0 + 2 * period)},
        actions={"share": bx.Continuous(0.0, 0.5)},
        transitions={"wealth": lambda wealth, share: wealth * (1.5 - share)},
        reward=lambda wealth, share: wealth * share,
        horizon=3,
    )
    bx.save(bx.solve(moving, {"discount": 0.9}), tmp_path / "moving.nc")
    with xr.open_dataset(tmp_path / "moving.nc", engine="scipy") as data:
        nodes = data["nodes:wealth"]
        assert nodes.dims == ("period", "wealth")
        np.testing.assert_allclose(nodes[:, 0], [1, 2, 3, 4])
        np.testing.assert_allclose(nodes[:, -1], [5, 7, 9, 11])
    assert bx.load(tmp_path / "moving.nc", moving).model is moving


def test_a_stationary_solution_and_states_with_names_that_netcdf_reserves(tmp_path):
    chain = bx.Model(
        states={"short": bx.Discrete(3), "value": bx.Discrete([1.5, 2.5])},
        actions={"move": bx.Discrete(2)},
        transitions={"short": lambda short, move: (short + move) % 3, "value": bx.fixed},
        reward=lambda short, move, value: 1.0 * value * short - 0.5 * move,
    )
    solution = bx.solve(chain, {"discount": 0.9}, bx.solvers.ValueIteration())
    solution.save(tmp_path / "chain.nc")
    loaded = bx.load(tmp_path / "chain.nc", chain)
    states = {"short": np.arange(3), "value": 2.5}
    assert np.array_equal(loaded.value(**states), solution.value(**states))
    assert np.array_equal(loaded.policy(**states)["move"], solution.policy(**states)["move"])


def test_axes_have_names_of_their_own_whatever_states_are_called(tmp_path):
    """The vector x has axes x_0 and x_1, and so might other states; V is a sum that each state enters differently."""
    states = {"x": bx.Continuous(0.0, 1.0, shape=(2,)), "x_0": bx.Continuous(0.0, 1.0), "x_1_": bx.Discrete(2)}
    states |= {"value": bx.Discrete(2), "value_": bx.Discrete(2), "code": bx.Discrete(2)}
    named = bx.Model(
        states=states,
        transitions=dict.fromkeys(states, bx.fixed),
        reward=lambda x, x_0, x_1_, value, value_, code: (
            x[0] + 3 * x[1] ** 2 + 7 * x_0**3 + 11 * x_1_ + 13 * value + 17 * value_ + 19 * code
        ),
        horizon=1,
    )
    grid = {"x": 3, "x_0": 3}
    solution = bx.solve(
        named, {"discount": 0.9}, bx.solvers.BackwardInduction(grid=grid, interpolant=bx.interpolants.Hermite())
    )
    solution.save(tmp_path / "named.nc")
    loaded = bx.load(tmp_path / "named.nc", named)
    assert len(solution.values.slopes) == 3
    for ours, theirs in zip(solution.values.slopes, loaded.values.slopes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with xr.open_dataset(tmp_path / "named.nc", engine="scipy") as data:
        assert data["value"].dims[1:] == ("x_1_", "value__", "value_", "code_", "x_0_", "x_1", "x_0")
        assert data["code"].ndim == 0
        np.testing.assert_allclose(data["value"][0].sel(x_1_=1, value__=0, value_=1, code_=1, x_0_=1, x_1=1, x_0=0), 51)
    V = bx.operators(named, {"discount": 0.9}, solution.setting.options).zero(0)
    assert tuple(map(len, V.nodes.values())) == V.levels.shape


def test_every_option_survives_as_text():
    solver = bx.solvers.PolicyIteration(
        grid={
            "a": (bx.grids.Given([0.0, 0.1, 2.5], scale=bx.scales.power(3.0)), bx.grids.Regular(5)),
            "z": bx.grids.Tauchen(9, 2.5),
            "y": bx.grids.FarmerToda(9, moments=4),
            "x": bx.grids.Scaled(11, bx.scales.octave),
        },
        quadrature={"e": bx.quadrature.Equispaced(31), "u": bx.quadrature.GaussLegendre(4), "v": 3},
        interpolant=bx.interpolants.Linear("constant"),
        maximiser=bx.maximise.Enumerate(grid={"c": 40}, single_peaked=("c",)),
        evaluation_steps=20,
    )
    assert decode(encode(solver), {"PolicyIteration": bx.solvers.PolicyIteration}) == solver


def test_the_fingerprint_ignores_docstrings_and_places_and_sees_everything_else():
    def plain(consumption):
        return jnp.log(consumption)

    def documented(consumption):
        """A docstring."""
        return jnp.log(consumption)

    def other(consumption):
        return jnp.log(consumption + 1)

    assert fingerprint(model(reward=plain)) == fingerprint(model(reward=documented))
    others = [model(), model(gamma=3.0), model(upper=31.0), model(reward=plain), model(reward=other)]
    assert len({fingerprint(each) for each in others}) == 5


def test_the_fingerprint_is_the_same_in_another_process(tmp_path):
    program = "import sys; sys.path.insert(0, sys.argv[1]); import jax; jax.config.update('jax_enable_x64', True)\n"
    program += "from test_io import MODEL, fingerprint; print(fingerprint(MODEL))"
    found = subprocess.run(
        [sys.executable, "-c", program, os.path.dirname(__file__)], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == fingerprint(MODEL)


# -- refusals -----------------------------------------------------------------------------------------------------


def test_another_models_file_is_refused_and_the_slot_named(path):
    with pytest.raises(bx.ModelError, match=r"another model: reward differ"):
        bx.load(path, model(gamma=3.0))
    with pytest.raises(bx.ModelError, match=r"states\['wealth'\]"):
        bx.load(path, model(upper=31.0))


def test_another_python_is_named(path):
    rewritten(path, python="3.99", fingerprint="0" * 64)
    with pytest.raises(bx.ModelError, match=r"written under Python 3\.99"):
        bx.load(path, model(gamma=3.0))


def test_another_format_is_refused(path):
    rewritten(path, format="99")
    with pytest.raises(bx.SolveError, match="has format 99"):
        bx.load(path, MODEL)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(bx.SolveError, match="there is no file"):
        bx.load(tmp_path / "nothing.nc", MODEL)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(bx.SolveError, match="truncated|no NetCDF|damaged"):
        bx.load(path, MODEL)


def test_a_flipped_bit_is_found(path):
    whole = bytearray(path.read_bytes())
    whole[-len(whole) // 3] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(bx.SolveError, match="damaged"):
        bx.load(path, MODEL)


def test_what_is_no_netcdf_is_refused(tmp_path):
    (tmp_path / "text.nc").write_text("this is text, and long enough to be a file of some kind")
    with pytest.raises(bx.SolveError, match="no NetCDF file"):
        bx.load(tmp_path / "text.nc", MODEL)


def test_a_netcdf_file_of_somebody_else_is_refused(tmp_path):
    archive.write(tmp_path / "other.nc", Archive({"x": Variable(("t",), np.arange(3.0))}))
    with pytest.raises(bx.SolveError, match="was not saved by bellax"):
        bx.load(tmp_path / "other.nc", MODEL)


def test_a_file_builds_nothing_but_solvers(path):
    for text in ('{"class": "os.system", "command": "true"}', '{"class": "grids.Scaled", "count": 3}', "[", "7"):
        rewritten(path, solver=text)
        with pytest.raises(bx.SolveError, match="cannot be rebuilt|in place of a solver"):
            bx.load(path, MODEL)


def scaled(power):
    pair = (lambda x: x ** (1 / power), lambda y: y**power)
    return bx.solvers.BackwardInduction(grid={"wealth": bx.grids.Scaled(16, pair)})


def test_functions_of_the_user_are_given_again(tmp_path):
    solution, path = bx.solve(MODEL, PARAMS, scaled(2)), tmp_path / "pair.nc"
    solution.save(path)
    with pytest.raises(bx.ModelError, match="classes of your own.* scale of grids.Scaled. Give the solver"):
        bx.load(path, MODEL)
    with pytest.raises(bx.ModelError, match="by another solver, or with other functions"):
        bx.load(path, MODEL, scaled(3))
    with pytest.raises(bx.ModelError, match="solver is 7"):
        bx.load(path, MODEL, 7)
    loaded = bx.load(path, MODEL, scaled(2))
    np.testing.assert_array_equal(loaded.values.levels, solution.values.levels)
    at = {"wealth": np.linspace(0.5, 3.0, 7), "health": 1}
    np.testing.assert_array_equal(loaded.value(period=0, **at), solution.value(period=0, **at))


def test_states_may_be_called_as_what_stands_for_functions():
    text = encode(bx.solvers.BackwardInduction(grid={"own": 7, "hash": 9}))
    assert owned(text) == []
    assert owned(encode(scaled(2))) == ["scale of grids.Scaled"] * 2


def test_a_solver_that_is_given_has_to_be_the_same(path):
    with pytest.raises(bx.ModelError, match="by another solver"):
        bx.load(path, MODEL, bx.solvers.BackwardInduction(grid={"wealth": 7}))


def test_what_is_no_model_is_refused(path):
    with pytest.raises(bx.ModelError, match=r"load takes the bx\.Model"):
        bx.load(path, {})


def test_another_precision_is_refused(path):
    stored = archive.read(path)
    single = {k: Variable(v.axes, v.array.astype(np.float32), v.attributes) for k, v in stored.variables.items()}
    archive.write(path, Archive(single, attributes=stored.attributes))
    with pytest.raises(bx.SolveError, match="is in float32 and this process computes in float64"):
        bx.load(path, MODEL)


# -- whole or not at all ------------------------------------------------------------------------------------------


def test_a_folder_that_does_not_exist(solution, tmp_path):
    with pytest.raises(bx.SolveError, match="cannot be written"):
        solution.save(tmp_path / "nowhere" / "solution.nc")


def test_a_failure_while_writing_leaves_the_old_file(path, solution, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.os, "fsync", full)
    with pytest.raises(bx.SolveError, match="No space left"):
        solution.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["solution.nc"]


def test_integers_that_netcdf_cannot_hold_are_refused(tmp_path):
    with pytest.raises(bx.SolveError, match="cannot hold exactly"):
        archive.write(tmp_path / "big.nc", Archive({"n": Variable((), np.asarray(2**60))}))


def test_types_come_back(tmp_path):
    arrays = {"flag": np.array([True, False]), "count": np.array(7), "x": np.array([np.nan, -np.inf, 0.1])}
    variables = {name: Variable(("a",)[: array.ndim], array) for name, array in arrays.items() if name != "x"}
    variables["x"] = Variable(("b",), arrays["x"])
    archive.write(tmp_path / "types.nc", Archive(variables, attributes={"note": json.dumps({"é": 1})}))
    found = archive.read(tmp_path / "types.nc")
    for name, array in arrays.items():
        assert found.variables[name].array.dtype == array.dtype
        assert np.array_equal(found.variables[name].array, array, equal_nan=array.dtype.kind == "f")
    assert json.loads(found.attributes["note"]) == {"é": 1}
