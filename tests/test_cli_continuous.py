"""The command line in continuous time: what a run finds, writes and draws, and what it refuses."""

import csv
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

import bellax as bx
from bellax.cli import app

SAVERS = '''"""Savers with two incomes."""

import bellax as bx

model = bx.DiffusionModel(
    states={
        "assets": bx.Continuous(-0.15, 3.0),
        "income": bx.MarkovChain([0.1, 0.2], intensity=[[-1.2, 1.2], [1.2, -1.2]]),
    },
    actions={"consumption": bx.Continuous(1e-6)},
    policy={"consumption": lambda marginal_assets: marginal_assets**-0.5},
    reward=lambda consumption: -1 / consumption,
    drift={"assets": lambda assets, income, consumption, interest: income + interest * assets - consumption},
    discount=0.05,
    boundary={"assets": bx.StateConstraint()},
)
params = {}
solver = bx.solvers.FiniteDifference(grid={"assets": 30})
start = {"assets": -0.15, "income": 0.1}
equilibrium = {
    "unknowns": {"interest": (0.0, 0.0499)},
    "aggregates": {"bonds": "assets"},
    "conditions": {"no bonds": lambda bonds, supply=0.0: bonds - supply},
}


def reference(params, assets, income):
    """Who is at the limit with the low income consumes it."""
    return {"consumption": income + params["interest"] * assets} if "interest" in params else {"interest": 0.0}
'''


@pytest.fixture
def savers(tmp_path, monkeypatch):
    """A folder with savers.py, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("savers.py").write_text(SAVERS)
    return Path("savers.py")


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def cleared(tmp_path_factory):
    """A run that finds a rate, with all options, as JSON, and its folder."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "savers.py").write_text(SAVERS)
    options = ["--out", folder / "out", "--json", "--check", "--set", "supply=.05", "--grid", "assets=24"]
    return invoke("run", folder / "savers.py", *options), folder / "out"


def test_a_run_finds_the_price(cleared):
    """At the rate that is reported the bonds of .05 in supply are held, by a density of half of the savers each."""
    found, out = cleared
    assert found.exit_code == 0, found.stderr
    report = json.loads(found.stdout)
    assert (report["result"], report["solver"], report["options"]["grid"]) == (
        "successful",
        "FiniteDifference",
        {"assets": 24},
    )
    assert 0 < report["prices"]["interest"] < 0.0499
    assert report["aggregates"]["bonds"] == pytest.approx(0.05, abs=1e-8)
    assert report["residuals"]["no bonds"] == pytest.approx(0.0, abs=1e-8)
    assert report["parameters"] == {"supply": 0.05, "interest": report["prices"]["interest"]}
    assert report["start"] == {"assets": -0.15, "income": 0.1}
    assert report["policy"]["consumption"] == pytest.approx(0.1 - 0.15 * report["prices"]["interest"], abs=1e-10)
    assert report["density"]["mass"] == pytest.approx(1.0, abs=1e-12)
    assert report["density"]["mean"]["assets"] == pytest.approx(0.05, abs=1e-8)
    (atom, *_) = report["density"]["atoms"]
    assert atom["at"] == {"assets": -0.15, "income": 0.1} and 0 < atom["mass"] < 0.2
    edges = report["density"]["at edges"]
    assert edges == [{"at": {"assets": -0.15}, "mass": pytest.approx(atom["mass"]), "nodes": 1}]
    files = ["certificate.json", "density.csv", "equilibrium.json", "figure.png", "solution.nc"]
    assert sorted(path.name for path in out.iterdir()) == files
    assert report["certificate"] and "HJB residual" in report["certified"]
    assert json.loads((out / "equilibrium.json").read_text())["prices"] == report["prices"]


def test_the_density_is_a_table(cleared):
    with open(cleared[1] / "density.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["assets", "income", "mass", "atom", "value", "consumption"]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}
    assert columns["mass"].sum() == pytest.approx(1.0, abs=1e-8)
    assert columns["mass"] @ columns["assets"] == pytest.approx(0.05, abs=1e-8)
    assert columns["mass"][columns["income"] == 0.1].sum() == pytest.approx(0.5, abs=1e-8)
    assert (columns["atom"][0], columns["atom"][2:].max()) == (1, 0)


def test_a_price_that_is_given_is_not_sought(savers):
    found = invoke("run", savers, "--set", "interest=.03", "--grid", "assets=24")
    assert found.exit_code == 0, found.stderr
    rows = {line.split("  ")[0]: line.split() for line in found.stdout.splitlines() if line.strip()}
    np.testing.assert_allclose([float(word) for word in rows["consumption"][1:3]], 0.1 - 0.15 * 0.03, atol=1e-9)
    assert "interest" not in rows and "atom" in rows
    files = ["certificate.json", "density.csv", "figure.png", "solution.nc"]
    assert sorted(path.name for path in Path("savers").iterdir()) == files


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ((), ["--set", "intrest=.03"], "the model has no parameter 'intrest'. Did you mean 'interest'?"),
        ((), ["--grid", "wealth=20"], "the model has no state 'wealth'"),
        ((), ["--grid", "income=20"], "state 'income' is a chain"),
        ((), ["--solver", "ValueIteration"], "there is no such solver. There are 'Collocation', 'FiniteDifference'"),
        ((), ["--agents", "5"], "--agents: a run in continuous time"),
        ((), ["--accuracy", "1e-3"], "--accuracy: it refines grids in discrete time"),
        (('"assets": -0.15, "income"', '"asets": -0.15, "income"'), [], "state 'asets' is unknown"),
        (('{"assets": -0.15, "income": 0.1}', "3"), [], "start is 3"),
        (('"assets": -0.15, "income": 0.1}', '"assets": [0.0, 0.1], "income": 0.1}'), [], "start has shape (2,)"),
        (('"conditions":', '"condition":'), [], "equilibrium has no dict 'conditions'. Did you mean 'condition'?"),
        (("equilibrium = {", "equilibrium = 3\nother = {"), [], "equilibrium is 3"),
        (("model = bx.DiffusionModel(", "model = dict("), [], "model is a dict"),
        (("-1 / consumption", "-1 / consumption * __import__('random').random()"), ["--check"], "differs each time"),
    ],
)
def test_what_is_refused(savers, change, arguments, words):
    if change:
        savers.write_text(SAVERS.replace(*change))
    found = invoke("run", savers, *arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert words in line
    assert [path.name for path in Path().iterdir() if path.name != "__pycache__"] == ["savers.py"]


def test_prices_are_of_continuous_time(savers):
    savers.write_text("import bellax as bx\nmodel = bx.Model(reward=1.0, horizon=2)\nparams = {}\nequilibrium = {}\n")
    assert "finds prices in a bx.DiffusionModel only" in invoke("run", savers).stderr


NETS = '''"""A state that reverts to zero, by nets."""

import bellax as bx

model = bx.DiffusionModel(
    states={"x": bx.Continuous(-2.0, 2.0)},
    reward=lambda x: x,
    drift={"x": lambda x: -0.5 * x},
    diffusion={"x": 0.2},
    discount=0.05,
    boundary={"x": bx.Reflecting()},
)
params = {}
solver = bx.solvers.PINN(hidden=(5,), points=48, rounds=2, budget=15, finish=20)
start = {"x": 0.5}
'''


def test_a_run_by_nets(tmp_path, monkeypatch):
    """V = x / (discount + kappa); with a certificate on the core, a figure, and a density."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    found = invoke("run", "nets.py", "--json")
    assert found.exit_code == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["value"] == pytest.approx(0.5 / 0.55, abs=2e-3)
    assert report["density"]["sd"]["x"] == pytest.approx(0.2, rel=0.01)
    assert report["certificate"]["edges"]["x"]["lower"]["condition"] == "Drawn"
    assert (Path("nets") / "figure.png").exists()


def test_some_prices_and_not_others(savers):
    two = '"unknowns": {"interest": (0.0, 0.0499), "wage": (0.5, 2.0)}'
    text = SAVERS.replace('"unknowns": {"interest": (0.0, 0.0499)}', two)
    savers.write_text(text.replace("interest: income", "interest, wage: wage * income"))
    line = invoke("run", savers, "--set", "interest=.03").stderr
    assert "'interest' is given, and 'wage' is not" in line


def test_figures_show_the_numbers():
    """Lines for each category, atoms by their mass, and of an equilibrium the price."""
    scope = {}
    exec(compile(SAVERS, "savers", "exec"), scope)
    solution = bx.solve(scope["model"], {"interest": 0.03}, bx.solvers.FiniteDifference(grid={"assets": 24}))
    density = bx.stationary(solution)
    path = jnp.asarray([0.0, 0.04, 0.03])
    found = bx.Equilibrium(
        {"interest": jnp.asarray(0.03)}, {}, {}, solution, density, jnp.asarray(3), {"interest": path}
    )
    figure = bx.plot(found)
    axes = {place.get_ylabel(): place for place in figure.axes}
    assert list(axes) == ["value", "consumption", "density", "interest"]
    np.testing.assert_allclose(axes["interest"].lines[0].get_ydata(), path)
    assert figure.get_suptitle() == "interest = 0.03"
    assert [line.get_label() for line in axes["value"].lines] == ["income = 0.1", "income = 0.2"]
    nodes = np.asarray(solution.nodes()["assets"])
    for income, line in zip((0.1, 0.2), axes["consumption"].lines, strict=True):
        np.testing.assert_allclose(line.get_xdata(), nodes)
        np.testing.assert_allclose(line.get_ydata(), solution.policy(assets=nodes, income=income)["consumption"])
    (words,) = (text.get_text() for text in axes["density"].texts)
    assert words == f" atom {density.atoms()[0][1]:.3g}"
    np.testing.assert_allclose(axes["density"].lines[0].get_ydata(), density.pdf()[:, 0])
    assert [place.get_ylabel() for place in bx.plot(solution, density).axes] == ["value", "consumption", "density"]
    assert len(bx.plot(density).axes) == 1 and len(bx.plot(solution).axes) == 2
    for given, words in (({"along": "assets"}, "along= is of discrete time"), ({"panel": 3}, "beside a FlowSolution")):
        with pytest.raises(bx.ModelError, match=words):
            bx.plot(solution, **given)
    with pytest.raises(bx.ModelError, match="beside a Density stands a Density"):
        bx.plot(density, density)


def test_two_states_are_a_map():
    """In the coordinates of the scales, with a row for each category."""
    model = bx.DiffusionModel(
        states={
            "k": bx.Continuous(0.5, 2.0, scale=bx.scales.log),
            "z": bx.Continuous(-1.0, 1.0),
            "news": bx.MarkovChain([0.0, 1.0], intensity=[[-1.0, 1.0], [1.0, -1.0]]),
        },
        reward=lambda k, z, news: k + z + news,
        drift={"k": lambda k, z: k * (0.1 * z - 0.2 * (k - 1)), "z": lambda z: -z},
        diffusion={"z": 0.3},
        discount=0.1,
        boundary={"z": bx.Reflecting()},
    )
    solution = bx.solve(model, {}, bx.solvers.FiniteDifference(grid={"k": 9, "z": 7}))
    figure = bx.plot(solution, bx.stationary(solution))
    titles = [place.get_title() for place in figure.axes if place.get_title()]
    assert titles == [f"{what}, news = {news}" for news in (0, 1) for what in ("value", "density")]
    first = figure.axes[0]
    assert (first.get_xlabel(), first.get_ylabel()) == ("k", "z")
    np.testing.assert_allclose(first.get_xlim(), np.log([0.5, 2.0]))
    places = {label.get_text(): tick for label, tick in zip(first.get_xticklabels(), first.get_xticks(), strict=True)}
    assert places["1"] == pytest.approx(0.0) and places["2"] == pytest.approx(np.log(2.0))
