"""Where solvers without a grid begin, what they know far from there, and what is said of a beginning outside."""

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import bellax as bx
from bellax.errors import OutsideWarning, ParameterError
from bellax.solution.gridless import GridlessSetting

SMALL = bx.solvers.RegressionMonteCarlo(degree=3, samples=512, successors=8, start={"price": 100.0})


def digital(**changes):
    """A put that pays at the end, and may be given up before."""
    given = {
        "states": {"price": bx.Continuous(1.0, 400.0, scale=bx.scales.log)},
        "shocks": {"z": bx.shocks.Normal()},
        "transitions": {"price": lambda price, z: price * jnp.exp(0.1 * z - 0.005)},
        "reward": 0.0,
        "discount": 1.0,
        "stop": lambda price: 90.0 - price,
        "terminal": lambda price: jnp.maximum(100.0 - price, 0.0),
        "horizon": 2,
    }
    return bx.Model(**{**given, **changes})


@pytest.fixture(scope="module")
def put():
    return bx.solve(digital(), {}, SMALL)


def test_a_certificate_begins_where_the_solver_began(put):
    """And not in the middle of the bounds, which is 20 in logarithms."""
    found = bx.certify(put, points=16, agents=20, inner=4)
    assert found.start == {"price": pytest.approx(100.0)}
    apart = bx.solve(digital(), {}, replace(SMALL, start={"price": np.linspace(60.0, 140.0, 512)}))
    assert apart.setting.beginning() == {}


def test_a_certificate_begins_where_a_policy_gradient_began():
    model = digital(stop=None, actions={"a": bx.Continuous(0.0, 1.0)}, reward=lambda a: -(a**2))
    prepared = bx.solvers.PolicyGradient(start={"price": 100.0}).prepare(model)
    assert prepared.beginning() == {"price": 100.0}
    assert bx.solvers.PolicyGradient(start={"price": np.array([90.0, 110.0])}).prepare(model).beginning() == {}
    assert bx.solvers.ILQG(start={"price": 100.0}).prepare(model).beginning() == {"price": 100.0}


def test_far_from_what_was_simulated_the_answer_is_none(put):
    """Around the start V is that of Black and Scholes; at three times the price nothing was ever seen."""
    sd = 0.1 * np.sqrt(2.0)
    d = 0.5 * sd
    exact = 100.0 * (norm.cdf(d) - norm.cdf(-d))
    assert float(put.value(0, price=100.0)) == pytest.approx(exact, rel=0.05)
    with pytest.warns(OutsideWarning, match="state 'price' is 300., beyond all states that the solver has simulated"):
        far = put.value(0, price=[100.0, 300.0])
    assert np.isnan(far).tolist() == [False, True]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once
        assert not bool(put.policy(0, price=300.0)["stop"])
        assert np.isnan(jax.jit(lambda price: put.value(0, price=price))(300.0))
        assert float(put.value(2, price=30.0)) == 70.0  # after the last decision V is the model's own


def test_actions_far_from_what_was_simulated_are_none():
    model = digital(stop=None, actions={"buy": bx.Discrete(2)}, reward=lambda buy, price: buy * (price - 100.0))
    found = bx.solve(model, {}, SMALL)
    assert int(found.policy(0, price=104.0)["buy"]) == 1
    with pytest.warns(OutsideWarning, match="no answer there but NaN, and no action"):
        assert int(found.policy(0, price=5.0)["buy"]) == -1


def test_agents_do_not_start_where_nothing_was_simulated(put):
    with pytest.raises(ParameterError, match=r"start: state 'price' of agent 1 is 300\., beyond all states"):
        bx.simulate(put, start={"price": [100.0, 300.0]})
    assert bx.simulate(put, agents=3, start={"price": 100.0}).agents == 3


def test_paths_that_begin_apart_are_known_apart():
    wide = bx.solve(digital(), {}, replace(SMALL, start={"price": np.linspace(60.0, 320.0, 512)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(wide.value(0, price=300.0)) == pytest.approx(0.0, abs=1.0)


MOVED = {
    "states": {"x": bx.Continuous(0.0, "most"), "y": bx.AR1(rho=0.5, sigma=0.1)},
    "actions": {"a": bx.Continuous(-1.0, 1.0)},
    "transitions": {"x": lambda x, a: x + a},
    "reward": lambda x, y, a: -((x - y) ** 2) - a**2,
    "discount": 0.9,
    "horizon": 2,
}
SOLVERS = {
    "ILQG": lambda start: bx.solvers.ILQG(start={"y": 0.0, **start}),
    "PolicyGradient": lambda start: bx.solvers.PolicyGradient(start=start),
    "RegressionMonteCarlo": lambda start: bx.solvers.RegressionMonteCarlo(start=start),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("x, said", [(-1.0, "-1"), (30.0, "30"), (np.array([1.0, 2.0, 10.5]), "10.5")])
def test_a_start_outside_the_bounds_is_refused_before_anything_is_solved(solver, x, said, monkeypatch):
    model = bx.Model(**MOVED)
    if solver == "RegressionMonteCarlo":
        model = replace(model, actions={"a": bx.Discrete(2)}, transitions={"x": lambda x, y: x + y})
    if solver == "ILQG" and np.ndim(x):
        pytest.skip("one path has one start")
    prepared = SOLVERS[solver]({"x": x}).prepare(model)
    monkeypatch.setattr(type(prepared), "solve", lambda *_, **__: pytest.fail("it was solved"))
    where = rf"{solver}: start: state 'x' is {said}, outside its grid from 0 to 10\. Start between the bounds"
    with pytest.raises(ParameterError, match=where):
        bx.solve(model, {"most": 10.0}, SOLVERS[solver]({"x": x}))
    if np.min(x) > 0:
        prepared.check_begins(prepared.arguments({"most": 40.0}))


def test_a_solver_that_begins_nowhere_has_nothing_to_check():
    setting = GridlessSetting(bx.Model(**MOVED), bx.solvers.ILQG())
    setting.check_begins(setting.arguments({"most": 10.0}))
    assert setting.beginning() == {}


def test_agents_live_by_other_laws_than_those_of_a_solution_without_a_grid(put):
    """Whoever follows the policy for a price that moves little, where it moves by a known factor: one step by hand."""
    true = digital(
        transitions={"price": lambda price, z, drift: price * drift + 0.0 * z},
        terminal=lambda price: 1000.0 + 0.0 * price,
        stop=lambda price: 0.0 * price,
    )
    panel = bx.simulate(put, agents=4, start={"price": 100.0}, truth=(true, {"drift": 0.9}))
    np.testing.assert_allclose(panel.final["price"][np.asarray(panel.active)[:, -1]], 81.0)
    stays = ~np.asarray(panel.actions["stop"]).any(axis=1)
    np.testing.assert_allclose(np.asarray(panel.present_value())[stays], 1000.0)
    assert stays.any()
    with pytest.raises(bx.ModelError, match="the panel is of another model"):
        bx.certify(put, panel=panel)


def test_nets_and_trajectories_meet_other_laws_too():
    model = bx.Model(**MOVED)
    solution = bx.solve(model, {"most": 10.0}, bx.solvers.ILQG(start={"x": 1.0, "y": 0.0}))
    true = replace(model, transitions={"x": lambda x, a: x + 2.0 * a})
    panel = bx.simulate(solution, agents=3, start={"x": 1.0, "y": 0.0}, truth=(true, {"most": 10.0}))
    x, a = np.asarray(panel.states["x"]), np.asarray(panel.actions["a"])
    np.testing.assert_allclose(x[:, 1], x[:, 0] + 2.0 * a[:, 0], rtol=1e-12)
    np.testing.assert_allclose(a[:, 0], solution.policy(0, x=1.0, y=0.0)["a"], rtol=1e-12)


@pytest.mark.parametrize("what", ["choice_values", "choice_probabilities", "action_probabilities", "combinations"])
def test_what_alternatives_are_worth_is_of_a_grid(put, what):
    with pytest.raises(bx.ModelError, match=rf"^{what} is of a solution on a grid.*Ask solution.policy"):
        getattr(put, what)(**({} if what == "combinations" else {"period": 0, "price": 100.0}))


def test_a_table_is_of_a_grid(put):
    with pytest.raises(bx.ModelError, match="RegressionMonteCarlo has none: policy and value are functions already"):
        put.tabulate()


def test_the_terminal_value_of_those_who_never_stop_is_in_no_row(put):
    """Rewards of the frame by hand: payoffs where agents stop, and nothing of what the put pays at its end."""
    panel = bx.simulate(put, agents=300, start={"price": 100.0}, seed=1)
    frame, stops = panel.frame(), np.asarray(panel.actions["stop"]).any(axis=1)
    paid = frame.groupby("agent").reward.sum().to_numpy()
    last = frame[frame.stop].set_index("agent")
    np.testing.assert_allclose(paid[last.index], 90.0 - last.price, rtol=1e-12)
    np.testing.assert_array_equal(paid[~stops], 0.0)
    ended = np.maximum(100.0 - np.asarray(panel.final["price"]), 0.0)
    assert ended[~stops].max() > 0
    np.testing.assert_allclose(panel.present_value(), np.where(stops, paid, ended), rtol=1e-12)


def test_a_policy_without_end_is_asked_without_a_period():
    model = bx.Model(**{**MOVED, "horizon": float("inf"), "reward": lambda x, y, a: -((x - 2.0 - y) ** 2) - a**2})
    found = bx.solve(model, {"most": 10.0}, bx.solvers.ILQG(start={"x": 2.0, "y": 0.0}))
    assert float(found.policy(x=2.0, y=0.0)["a"]) == pytest.approx(0.0, abs=1e-9)
    assert np.isfinite(found.value(x=[1.0, 2.0], y=0.0)).all()
