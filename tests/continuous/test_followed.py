"""Agents in continuous time beside closed forms and stationary densities; and solutions in files."""

import enum
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx
from bellax.numerics import archive
from bellax.numerics.archive import Variable
from bellax.solution.flow_record import record_flow


def by(**grid):
    return bx.solvers.FiniteDifference(grid=grid)


def sigmas(sample, mean):
    """How many standard errors a mean of a sample is off."""
    sample = np.asarray(sample)
    return abs(sample.mean() - mean) / (sample.std() / np.sqrt(sample.size))


# -- closed forms ------------------------------------------------------------------------------------------------------

OU = bx.DiffusionModel(
    states={"x": bx.Continuous(-1.6, 1.6)},
    reward=lambda x: -(x**2),
    drift={"x": lambda x: -0.5 * x},
    diffusion={"x": 0.2},
    discount=0.05,
    boundary={"x": bx.Natural()},
)


@pytest.fixture(scope="module")
def reverting():
    return bx.solve(OU, {}, by(x=41))


@pytest.fixture(scope="module")
def paths(reverting):
    return bx.simulate(reverting, duration=6.0, step=0.1, agents=3000, start={"x": 0.5}, every=30)


def test_an_ornstein_uhlenbeck_process(paths):
    """Mean .5 e^(-t/2) and variance .04 (1 - e^-t), those of a step of .1: (1 - .05)^(10 t), and of its squares."""
    for place, steps in ((1, 30), (2, 60)):
        x = np.asarray(paths.states["x"][:, place])
        mean, variance = 0.5 * 0.95**steps, 0.004 * (1 - 0.95 ** (2 * steps)) / (1 - 0.95**2)
        assert sigmas(x, mean) < 3 and sigmas((x - mean) ** 2, variance) < 3
    np.testing.assert_allclose(paths.time, [0.0, 3.0, 6.0])
    assert int(paths.clipped["x"]["upper"]) == 0


def test_what_is_earned_is_v(paths):
    exact = -0.25 / 1.05 - 0.04 / (0.05 * 1.05)
    off = np.asarray(paths.present_value()) - exact
    # a step of .1 leaves a thousandth of it, and so does the table
    assert abs(off.mean()) < 3 * off.std() / np.sqrt(off.size) + 4e-3


def test_draws_belong_to_agent_and_name(reverting, paths):
    fewer = bx.simulate(reverting, duration=3.0, step=0.1, agents=7, start={"x": 0.5}, every=30)
    np.testing.assert_array_equal(fewer.states["x"], paths.states["x"][:7, :2])


def test_a_table_of_paths(paths):
    frame = paths.frame()
    assert list(frame.columns) == ["time", "agent", "x", "reward", "value"] and len(frame) == 9000
    np.testing.assert_allclose(frame["reward"], -(frame["x"] ** 2))
    assert "3000 agents at 3 points in time" in str(paths)


def test_a_wall():
    """Drift -.1 and volatility .2 above a wall at zero: mean .2, mean of squares .08."""
    model = replace(OU, states={"x": bx.Continuous(0.0, 2.0)}, drift={"x": -0.1}, boundary={"x": bx.Reflecting()})
    solution = bx.solve(model, {}, by(x=41))
    panel = bx.simulate(solution, duration=25.0, step=0.1, agents=3000, start={"x": 0.2}, every=250)
    x = np.asarray(panel.states["x"][:, -1])
    # the weak error of a mirrored step, about step times volatility squared
    assert abs(x.mean() - 0.2) < 3 * x.std() / np.sqrt(x.size) + 0.004
    assert abs((x**2).mean() - 0.08) < 3 * (x**2).std() / np.sqrt(x.size) + 0.004
    assert x.min() >= 0


class Income(enum.IntEnum):
    low = 0
    high = 1


SAVER = bx.DiffusionModel(
    states={
        "assets": bx.Continuous(-0.15, 5.0),
        "income": bx.MarkovChain(Income, intensity=[[-1.2, 1.2], [0.8, -0.8]]),
    },
    actions={"consumption": bx.Continuous(1e-6)},
    functions={"wage": lambda income: 0.1 + 0.1 * income},
    policy={"consumption": lambda marginal_assets: marginal_assets**-0.5},
    reward=lambda consumption: -1 / consumption,
    drift={"assets": lambda assets, wage, consumption, interest: wage + interest * assets - consumption},
    discount=0.05,
    boundary={"assets": bx.StateConstraint()},
)


@pytest.fixture(scope="module")
def saver():
    nodes = -0.15 + 5.15 * np.linspace(0.0, 1.0, 301) ** 3
    return bx.solve(SAVER, {"interest": 0.02}, by(assets=bx.grids.Given(nodes)))


def test_savers_stay_where_their_density_is(saver):
    """With an atom at the limit, to which the density belongs as much as to the inside."""
    density = bx.stationary(saver)
    panel = bx.simulate(saver, duration=18.0, step=0.15, agents=1500, start=density, every=120)
    frame = panel.frame()
    last = frame[frame["time"] > 0]
    assert list(last["income"].cat.categories) == ["low", "high"]
    assert sigmas(last["income"] == "high", 0.6) < 3
    assert sigmas(last["assets"], float(density.mean("assets"))) < 3.5
    assert sigmas(last["consumption"], float(density.mean("consumption"))) < 3.5
    (_, atom), *_ = density.atoms()
    assert abs((last["assets"] < -0.149).mean() - atom) < 0.03
    assert last["assets"].min() >= -0.15


def test_a_chain_without_a_start_is_drawn(saver):
    assets = np.linspace(0.0, 1.0, 2000)
    panel = bx.simulate(saver, duration=0.15, step=0.15, start=pd.DataFrame({"assets": assets}))
    assert sigmas(panel.states["income"][:, 0], 0.6) < 3
    np.testing.assert_array_equal(panel.states["assets"][:, 0], assets)


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"duration": None}, bx.ModelError, "duration=50.0"),
        ({"step": 0.0}, bx.ParameterError, "step is 0.0"),
        ({"step": 0.7}, bx.ParameterError, "no whole number of steps of 0.7"),
        ({"every": 3}, bx.ParameterError, "every=3 keeps no whole number"),
        ({"periods": 3}, bx.ModelError, "periods= is of discrete time"),
        ({"truth": 3}, bx.ModelError, "truth= is of discrete time"),
        ({"start": None}, bx.ParameterError, "lacks the states 'x'"),
        ({"start": {"x": 0.0, "age": 3}}, bx.ParameterError, "leave out 'age'"),
        ({"duration": 1e8}, bx.ParameterError, "every=, of how many steps"),
        ({"duration": 1e12, "every": 10**6}, bx.ParameterError, "1e.13 steps are too many"),
    ],
)  # fmt: skip
def test_simulations_that_make_no_sense(untyped, reverting, given, kind, words):
    with pytest.raises(kind, match=words):
        bx.simulate(reverting, **({"duration": 1.0, "step": 0.1, "agents": 1000, "start": {"x": 0.0}} | given))


def test_solutions_and_densities_that_nobody_follows(reverting, saver):
    failed = replace(reverting, code=jnp.asarray(int(bx.Result.infeasible), jnp.int32))
    with pytest.raises(bx.SolveError, match="no policy that agents could follow"):
        bx.simulate(failed, duration=1.0, step=0.1, start={"x": 0.0})
    other = bx.Density(saver, jnp.ones((301, 2)) / 602, jnp.zeros((301, 2), bool), jnp.zeros(()))
    with pytest.raises(bx.ModelError, match="a density over .'assets', 'income'., of another model"):
        bx.simulate(reverting, duration=1.0, step=0.1, start=other)


def test_steps_are_of_continuous_time():
    discrete = bx.solve(bx.Model(reward=1.0, horizon=2, discount=0.9), {})
    with pytest.raises(bx.ModelError, match="step= is of continuous time"):
        bx.simulate(discrete, step=0.1)


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_file_gives_back_what_was_saved(saver, tmp_path):
    path = tmp_path / "saver.nc"
    saver.save(path)
    found = bx.load(path, SAVER)
    equal = jax.tree.map(lambda a, b: np.array_equal(a, b), (saver.values, saver.stats), (found.values, found.stats))
    assert all(jax.tree.leaves(equal)) and found.result == bx.Result.successful
    at = {"assets": 0.3, "income": "low"}
    np.testing.assert_array_equal(found.value(**at), saver.value(**at))
    np.testing.assert_array_equal(found.policy(**at)["consumption"], saver.policy(**at)["consumption"])
    import xarray as xr

    with xr.open_dataset(path, engine="scipy") as dataset:
        assert dataset["values:values"].dims == ("assets", "income")
        np.testing.assert_allclose(dataset["assets"], saver.nodes()["assets"])


def test_files_of_other_models(saver, tmp_path):
    path = tmp_path / "saver.nc"
    bx.save(saver, path)
    with pytest.raises(bx.ModelError, match="another model: discount differ"):
        bx.load(path, replace(SAVER, discount=0.06))
    with pytest.raises(bx.ModelError, match="another model"):
        bx.load(path, bx.Model(reward=1.0, horizon=2, discount=0.9))
    with pytest.raises(bx.ModelError, match="batch"):
        bx.save(replace(saver, code=jnp.zeros(2, jnp.int32)), path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda array: None, "it lacks 'values:marginals:assets'"),
        (lambda array: array[:-1], "has shape .300, 2., and its solver makes .301, 2."),
        (lambda array: array.astype(np.float32), "is in float32 .* set JAX_ENABLE_X64=0"),
    ],
)
def test_files_with_other_arrays(saver, tmp_path, change, words):
    stored, name = record_flow(saver), "values:marginals:assets"
    array = change(stored.variables[name].array)
    variables = {key: variable for key, variable in stored.variables.items() if key != name}
    if array is not None:
        variables[name] = Variable(("first", "second"), array)
    archive.write(tmp_path / "saver.nc", replace(stored, variables=variables))
    with pytest.raises(bx.SolveError, match=words):
        bx.load(tmp_path / "saver.nc", SAVER)
