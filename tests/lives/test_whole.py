"""What is asked of a solution of several regimes as a whole."""

import jax
import numpy as np
import pandas as pd
import pytest

import bellax as bx


@pytest.fixture(scope="module")
def table(life):
    return life.tabulate()


@pytest.mark.long
def test_a_table_of_every_regime(life, table):
    """At a node what is done is what the maximum is, in each regime on a grid of its own; between, a straight line."""
    nodes = np.linspace(0.5, 20.0, 9)
    at = {"age": 61, "health": "bad"}
    exact = life["working"].policy(wealth=nodes, **at)
    found = table["working"].policy(wealth=nodes, **at)
    np.testing.assert_allclose(found["consumption"], exact["consumption"], rtol=1e-13)
    np.testing.assert_array_equal(found["job"], exact["job"])
    middle = table["working"].policy(wealth=0.5 * (nodes[3] + nodes[4]), **at)["consumption"]
    shares = (np.asarray(exact["consumption"]) - 0.1) / (nodes - 0.1)
    known = 0.1 + 0.5 * (shares[3] + shares[4]) * (0.5 * (nodes[3] + nodes[4]) - 0.1)
    assert float(middle) == pytest.approx(known, rel=1e-12)
    z = np.asarray([-1.0, 1.0]) * 0.2 / np.sqrt(0.75) * np.sqrt(2)  # the ends of three nodes
    theirs = [asked["retired"].policy(age=62, z=z, health="ill", wealth=30.0) for asked in (life, table)]
    np.testing.assert_allclose(theirs[1]["consumption"], theirs[0]["consumption"], rtol=1e-13)


def test_a_table_of_an_endogenous_grid(life, table):
    """Where it is asked at a node, what was found there without a search."""
    stock = np.linspace(0.1, 15.0, 7)
    theirs = [asked["shop"].policy(age=63, stock=stock)["sold"] for asked in (life, table)]
    np.testing.assert_allclose(theirs[1], theirs[0], rtol=1e-12)


@pytest.mark.long
def test_agents_live_by_the_table(life, table, case):
    exact, found = (bx.simulate(asked, 40, case.start) for asked in (life, table))
    first = np.asarray(found.actions["working"]["consumption"])[0, 0]
    known = table["working"].policy(age=60, health="fair", wealth=6.0)["consumption"]
    assert first == pytest.approx(float(known), rel=1e-13)
    np.testing.assert_array_equal(exact.regime, found.regime)  # by the same draws
    gap = np.abs(np.asarray(exact.present_value()) - np.asarray(found.present_value()))
    assert 0 < gap.max() < 0.5
    np.testing.assert_array_equal(np.asarray(exact.final_regime), np.asarray(found.final_regime))


def test_what_a_table_refuses(life, table, case):
    with pytest.raises(bx.ParameterError, match="'shop' is not active at age 60"):
        table["shop"].policy(age=60, stock=1.0)
    with pytest.raises(bx.ModelError, match="'dead' ends the problem: nothing is decided in it"):
        table["dead"].policy(age=62, wealth=1.0)
    with pytest.raises(bx.ModelError, match="'dead' ends the problem: nothing is decided in it"):
        life["dead"].tabulate()
    with pytest.raises(bx.ModelError, match="no regime 'shpo'. Did you mean 'shop'"):
        table["shpo"]
    with pytest.raises(bx.ModelError, match=r"solution\['working'\].policy\(...\)"):
        table.policy(age=60)
    with pytest.raises(bx.ModelError, match="takes the whole solution"):
        bx.simulate(table["working"], 3, case.start)
    with pytest.raises(bx.ModelError, match="tabulated: it has no derivative"):
        jax.grad(lambda w: table["working"].policy(age=60, health="bad", wealth=w)["consumption"])(3.0)


def test_under_a_transformation():
    """A table by age that regimes share, beside what is traced in one of them; agents by the table of the policy."""
    survival = bx.by_age(pd.Series({60: 0.5, 61: 0.25}))
    alive = {"next_regime": lambda survival: {"well": survival, "ill": 1 - survival}}
    well = bx.Regime(actions={"effort": bx.Discrete(2)}, reward=lambda effort, pay: pay * effort, **alive)
    model = bx.Model(
        regimes={"well": well, "ill": bx.Regime(reward=0.0, **alive)}, discount=0.8, horizon=bx.Ages(60, 61)
    )

    def paid(pay):
        solution = bx.solve(model, {"survival": survival, "pay": pay})
        panel = bx.simulate(solution.tabulate(), 5, {"regime": "well"})
        return solution["well"].value(age=60), panel.reward[:, 0]

    (value, first), slopes = jax.jit(lambda x: (paid(x), jax.grad(lambda y: paid(y)[0])(x)))(2.0)
    assert float(value) == pytest.approx(2.0 * (1 + 0.8 * 0.5)) and float(slopes) == pytest.approx(1 + 0.8 * 0.5)
    np.testing.assert_array_equal(first, np.full(5, 2.0))


def test_a_solution_is_a_mapping_by_regime(life):
    assert list(life) == life.regimes == ["working", "retired", "shop", "dead"]
    assert len(life) == 4 and "shop" in life and "shpo" not in life
    assert {name: life[name].setting.problem.regime for name in life} == {name: name for name in life}
    assert set(life.stats) == {"working", "retired", "shop", "seconds"}
    assert str(jax.tree.map(lambda leaf: leaf[None], life)).startswith("Solution of 4 regimes: a batch of shape (1,)")
    assert "shop: Solution by BackwardInduction" in str(life) and "dead: ends" in str(life)


@pytest.mark.long
def test_a_figure_has_a_row_for_each_regime_that_is_active_then(life, case):
    figure = bx.plot(life, periods=[1])
    seen = [place for place in figure.axes if place.get_visible()]
    assert [place.get_title(loc="left") for place in seen] == ["working", "", "", "shop", ""]
    assert [place.get_xlabel() for place in seen] == ["wealth"] * 3 + ["stock"] * 2
    x, y = seen[3].lines[0].get_data()
    np.testing.assert_allclose(y, life["shop"].value(age=61, stock=x), rtol=1e-12)
    with pytest.raises(bx.ModelError, match="along: state 'welth' is unknown. Did you mean 'wealth'"):
        bx.plot(life, along="welth")
    with pytest.raises(bx.ModelError, match="RegimePanel, which is drawn by itself: bx.plot.panel."):
        bx.plot(life, bx.simulate(life, 3, case.start))


def test_what_several_regimes_do_not_have(case):
    with pytest.raises(bx.ModelError, match="operators takes a model of one regime.* is n steps of T over all of them"):
        bx.operators(case.model, case.params)
    with pytest.raises(bx.ModelError, match="PolicyIteration solves models of one regime.* bx.solvers.ValueIteration"):
        bx.solve(case.model, case.params, bx.solvers.PolicyIteration())
