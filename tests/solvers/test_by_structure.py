"""What `bx.solve` takes without a solver: an endogenous grid where the structure allows, and another where it fails."""

from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

WEALTH = np.linspace(1.5, 18.0, 12)
NEWTON = bx.solvers.BackwardInduction(maximiser=bx.maximise.Newton(grid={"consumption": 60}))


class Labor(IntEnum):
    rest = 0
    work = 1


def saving(law=lambda savings, income: 1.03 * savings + income, horizon=3, **slots):
    base = dict(
        states={"wealth": bx.Continuous(1.0, 20.0)},
        actions={"consumption": bx.Continuous(1e-6, "wealth")},
        functions={"savings": lambda wealth, consumption: wealth - consumption},
        transitions={"wealth": law},
        reward=lambda consumption: jnp.log(consumption),
        horizon=horizon,
    )
    return bx.Model(**{**base, **slots})


PARAMS = {"discount": 0.95, "income": 1.0}


@pytest.mark.long
def test_a_concave_model_has_an_endogenous_grid():
    model = saving()
    solver, why = bx.choose_solver(model)
    assert solver == bx.solvers.BackwardInduction(maximiser=bx.maximise.EGM())
    assert why.endswith("EGM for 'consumption', since tomorrow sees it through 'savings' alone.")
    found, other = bx.solve(model, PARAMS), bx.solve(model, PARAMS, NEWTON)
    assert "Maximiser EGM (savings 200), V in pieces" in str(found)
    np.testing.assert_allclose(found.value(0, wealth=WEALTH), other.value(0, wealth=WEALTH), atol=1e-5)


def test_a_discrete_choice_and_no_end():
    working = saving(
        actions={"consumption": bx.Continuous(1e-6, "wealth"), "labor": bx.Discrete(Labor)},
        reward=lambda consumption, labor: jnp.log(consumption) - 0.3 * labor,
        transitions={"wealth": lambda savings, labor, income: 1.03 * savings + income * (0.5 + labor)},
    )
    assert bx.choose_solver(working)[0].maximiser == bx.maximise.DCEGM()
    kinked = saving(lambda savings, income: savings + jnp.maximum(income, savings))
    assert bx.choose_solver(kinked)[0].maximiser == bx.maximise.DCEGM()
    endless = saving(horizon=float("inf"))
    assert bx.choose_solver(endless)[0] == bx.solvers.ValueIteration(maximiser=bx.maximise.EGM())


def test_what_has_not_the_structure_is_solved_as_ever():
    plain = saving(lambda wealth, consumption, income: 1.03 * (wealth - consumption) + income, functions={})
    assert bx.choose_solver(plain)[0] == bx.solvers.BackwardInduction()
    two = saving(
        actions={"consumption": bx.Continuous(1e-6, "wealth"), "gift": bx.Continuous(0.0, 1.0)},
        reward=lambda consumption, gift: jnp.log(consumption) - gift,
    )
    assert bx.choose_solver(two)[0] == bx.solvers.BackwardInduction()


@pytest.fixture(scope="module")
def tested():
    """Benefits end with savings of two: a law that falls, which an endogenous grid refuses."""
    return saving(lambda savings, income: savings + income + 2.0 * (savings < 2.0), horizon=2)


@pytest.mark.long
def test_numbers_that_are_not_for_it_are_solved_otherwise(tested, caplog, jitted):
    assert bx.choose_solver(tested)[0].maximiser == bx.maximise.DCEGM()
    with caplog.at_level("INFO", logger="bellax"):
        found = bx.solve(tested, PARAMS)
    assert "'wealth' of tomorrow falls" in caplog.text and "Newton" in str(found)
    expected = bx.solve(tested, PARAMS, bx.solvers.BackwardInduction())
    np.testing.assert_array_equal(found.value(0, wealth=WEALTH), expected.value(0, wealth=WEALTH))
    solver, why = bx.choose_solver(tested)
    assert solver == bx.solvers.BackwardInduction() and "did not serve" in why
    # of what is traced nobody knows how it ends, so that what the model has shown decides
    value = lambda income: bx.solve(tested, {**PARAMS, "income": income}).value(0, wealth=1.5)  # noqa: E731
    assert float(jitted(jax.grad(value))(1.0)) == pytest.approx(0.95 / 3.0, rel=1e-5)  # all of 1.5 is consumed


@pytest.mark.long
def test_what_nothing_solves_says_what_the_last_says():
    hopeless = saving(reward=lambda consumption: jnp.log(consumption - 30.0))
    with pytest.raises(bx.SolveError, match="NaN|no number|not a number"):
        bx.solve(hopeless, PARAMS)
    failed = bx.solve(hopeless, PARAMS, throw=False)
    assert failed.result == bx.Result.nonfinite


@pytest.mark.long
def test_a_terminal_solution_and_a_rule_need_a_table():
    endless = saving(horizon=float("inf"))
    last = bx.solve(endless, PARAMS, bx.solvers.PolicyIteration(grid={"wealth": 30}))
    found = bx.solve(endless, PARAMS, horizon=2, terminal=last)
    assert "Newton" in str(found)
    followed = bx.evaluate(saving(), PARAMS, {"consumption": lambda wealth: 0.5 * wealth})
    assert "Follows a rule" in str(followed)


@pytest.mark.long
def test_regimes_have_them_where_they_can():
    """Who works can save by an endogenous grid, and who is retired, who gives as well, by Newton's method."""
    model = bx.Model(
        regimes={
            "working": bx.Regime(
                states={"wealth": bx.Continuous(1.0, 20.0)},
                actions={"consumption": bx.Continuous(1e-6, "wealth")},
                functions={"savings": lambda wealth, consumption: wealth - consumption},
                transitions={"wealth": lambda savings, income: savings + income},
                reward=lambda consumption: jnp.log(consumption),
                next_regime=lambda: {"retired": 1.0},
            ),
            "retired": bx.Regime(
                states={"wealth": bx.Continuous(1.0, 20.0)},
                actions={
                    "consumption": bx.Continuous(0.2, lambda wealth: 0.6 * wealth),
                    "gift": bx.Continuous(0.1, 0.3),
                },
                transitions={"wealth": lambda wealth, consumption, gift: wealth - consumption - gift},
                reward=lambda consumption, gift: jnp.log(consumption) + 0.1 * jnp.log(gift),
            ),
        },
        horizon=3,
    )
    found = bx.solve(model, PARAMS)
    assert "Maximiser DCEGM" in str(found["working"]) and "Maximiser Newton" in str(found["retired"])
    other = bx.solve(model, PARAMS, bx.solvers.BackwardInduction())
    inside = np.linspace(2.0, 18.0, 9)
    ours, theirs = (solution["working"].value(0, wealth=inside) for solution in (found, other))
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.long
def test_a_table_of_two_discrete_choices():
    """Each combination keeps its place."""
    model = saving(
        horizon=2,
        actions={
            "consumption": bx.Continuous(1e-6, "wealth"),
            "move": bx.Discrete(3),
            "labor": bx.Discrete(Labor),
        },
        reward=lambda consumption, labor, move: jnp.log(consumption) - 0.2 * labor - 0.1 * move,
        transitions={"wealth": lambda savings, labor, move, income: savings + income * (0.5 + labor + 0.6 * move)},
    )
    found = bx.solve(model, PARAMS)
    ours, table = (policy.policy(0, wealth=WEALTH) for policy in (found, found.tabulate()))
    assert set(np.asarray(ours["move"])) > {0} and set(np.asarray(ours["labor"])) == {0, 1}
    for name in ("move", "labor"):
        np.testing.assert_array_equal(ours[name], table[name])
    np.testing.assert_allclose(ours["consumption"], table["consumption"], rtol=1e-2)


@pytest.mark.long
def test_operators_and_files_take_what_serves_them(tmp_path):
    """Operators act on nodes and take tables; a file of regimes keeps that each has the method that fits it."""
    assert bx.operators(saving(), PARAMS).T is not None
    model = bx.Model(
        regimes={"young": bx.Regime(next_regime=lambda: {"old": 1.0}), "old": bx.Regime()},
        states={"wealth": bx.Continuous(1.0, 20.0)},
        actions={"consumption": bx.Continuous(1e-6, "wealth")},
        functions={"savings": lambda wealth, consumption: wealth - consumption},
        transitions={"wealth": lambda savings: savings + 1.0},
        reward=lambda consumption: jnp.log(consumption),
        horizon=2,
        discount=0.9,
    )
    found = bx.solve(model, {})
    found.save(tmp_path / "lives.nc")
    again = bx.load(tmp_path / "lives.nc", model)
    asked = {"period": 0, "wealth": WEALTH}
    np.testing.assert_array_equal(found["young"].value(**asked), again["young"].value(**asked))


@pytest.mark.long
def test_one_failure_of_all_methods_says_nothing_of_endogenous_grids():
    model = saving(reward=lambda consumption, scale: jnp.log(scale * consumption))
    with pytest.raises(bx.SolveError):
        bx.solve(model, {**PARAMS, "scale": -1.0})
    assert bx.choose_solver(model)[0].maximiser == bx.maximise.EGM()
    assert "Maximiser EGM" in str(bx.solve(model, {**PARAMS, "scale": 2.0}))
