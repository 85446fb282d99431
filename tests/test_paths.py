"""Simulated paths: who enters when and as what type, by which laws they live, and what is asked along the way."""

import dataclasses
import enum
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx

AGES, AGENTS = bx.Ages(60, 63), 400


class Kind(enum.IntEnum):
    hasty = 0
    patient = 1


def income(age, z, kind, wage, spread):
    return wage * (1 + 0.1 * (age - 60)) * (1 + 0.5 * kind) * jnp.exp(spread * z)


def next_cash(cash, consumption, income, interest):
    return (1 + interest) * (cash - consumption) + income


def saving(**changes):
    slots = {
        "states": {"kind": bx.Discrete(Kind), "cash": bx.Continuous(0.5, 30.0, scale=bx.scales.log)},
        "actions": {"consumption": bx.Continuous(0.1, "cash")},
        "shocks": {"z": bx.shocks.Normal()},
        "functions": {"income": income},
        "transitions": {"kind": bx.fixed, "cash": next_cash},
        "reward": lambda consumption, kind, taste: taste[kind] * jnp.log(consumption),
        "horizon": AGES,
    }
    return bx.Model(**{**slots, **changes})


PARAMS = {"wage": 1.0, "spread": 0.2, "interest": 0.03, "discount": 0.95, "taste": np.array([1.0, 2.0])}
SOLVER = bx.solvers.BackwardInduction(
    grid={"cash": 20}, quadrature={"z": 3}, maximiser=bx.maximise.Newton(grid={"consumption": 5})
)


@pytest.fixture(scope="module")
def solution():
    return bx.solve(saving(), PARAMS, SOLVER)


@pytest.fixture(scope="module")
def panel(solution):
    return bx.simulate(solution, AGENTS, {"kind": {"hasty": 0.3, "patient": 0.7}, "cash": 2.0}, seed=3)


def lagged(frame, name):
    """What a column is one period later, for the same agent."""
    return frame.groupby("agent")[name].shift(-1)


# -- functions along the paths ----------------------------------------------------------------------------------------


def test_functions_along_the_paths_are_those_that_moved_the_states(panel):
    """Cash tomorrow is what the law says of today's income, whose shock is drawn again by its key."""
    frame = panel.frame(extra=["income", "z", "next_cash", "wage"])
    law = 1.03 * (frame.cash - frame.consumption) + frame.income
    later = lagged(frame, "cash")
    inside = later.notna()
    np.testing.assert_allclose(law[inside], later[inside], rtol=1e-13)
    np.testing.assert_allclose(frame.next_cash, law, rtol=1e-13)
    patient = frame.kind == "patient"
    drawn = np.log(frame.income / (1 + 0.1 * (frame.age - 60)) / (1 + 0.5 * patient)) / 0.2
    np.testing.assert_allclose(frame.z, drawn, atol=1e-12)
    assert (frame.wage == 1.0).all()
    assert abs(frame.z.mean()) < 4 / np.sqrt(len(frame))


def test_functions_of_ones_own_and_of_vectors(panel):
    given = {"savings": lambda cash, consumption: cash - consumption, "both": lambda cash: jnp.stack([cash, 2 * cash])}
    frame = panel.frame(extra=given)
    np.testing.assert_array_equal(frame.savings, frame.cash - frame.consumption)
    np.testing.assert_array_equal(frame["both[1]"], 2 * frame.cash)
    assert list(panel.frame(extra=["cash", "reward"]).columns) == list(panel.frame().columns)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["incme"], "needs 'incme', which the model does not have. Did you mean 'income'"),
        ({"cash": lambda consumption: consumption}, "'cash' is a column already"),
        ("income", "give a list of names"),
        ({"rich": lambda kind: kind == "patient"}, "compares the state 'kind' with the string 'patient'"),
    ],
)
def test_what_cannot_be_asked_for(panel, extra, message):
    with pytest.raises(bx.ModelError, match=message):
        panel.frame(extra=extra)


def test_the_discount_and_realised_processes():
    model = bx.Model(
        states={"z": bx.AR1(rho=0.9, sigma=0.1), "w": bx.MarkovChain([1.0, 2.0], np.array([[0.5, 0.5], [0.2, 0.8]]))},
        functions={"growth": lambda z, next_z: next_z - z, "raised": lambda w, next_w: next_w / w},
        reward=lambda growth, raised: growth + raised,
        discount=lambda z: 0.9 + 0 * z,
        horizon=4,
    )
    solved = bx.solve(model, {}, bx.solvers.BackwardInduction(grid={"z": 3}))
    frame = bx.simulate(solved, 50, seed=1).frame(extra=["growth", "raised", "discount"])
    later = lagged(frame, "z")
    inside = later.notna()
    np.testing.assert_allclose(frame.growth[inside], (later - frame.z)[inside], atol=1e-14)
    np.testing.assert_allclose(frame.raised[inside], (lagged(frame, "w") / frame.w)[inside])
    np.testing.assert_allclose(frame.reward, frame.growth + frame.raised, rtol=1e-14)
    np.testing.assert_allclose(frame.discount, 0.9)


# -- entry ------------------------------------------------------------------------------------------------------------


def test_agents_enter_at_their_age(solution):
    age = np.array([60, 62, 61, 62])
    start = pd.DataFrame({"age": age, "cash": [1.0, 2.0, 3.0, 4.0], "kind": ["hasty", "patient", "hasty", "patient"]})
    panel = bx.simulate(solution, start=start, seed=3)
    frame = panel.frame(extra=["income"])
    assert frame.groupby("agent").age.min().tolist() == age.tolist()
    assert (frame.groupby("agent").age.max() == 63).all()
    assert frame.groupby("agent").cash.first().tolist() == start.cash.tolist()
    np.testing.assert_array_equal(panel.entry, age - 60)
    rewards = [own.reward.to_numpy() for _, own in frame.groupby("agent")]
    known = [(0.95 ** np.arange(len(own)) * own).sum() for own in rewards]
    np.testing.assert_allclose(panel.present_value(), known, rtol=1e-13)
    law = 1.03 * (frame.cash - frame.consumption) + frame.income
    inside = lagged(frame, "cash").notna()
    np.testing.assert_allclose(law[inside], lagged(frame, "cash")[inside], rtol=1e-13)
    by_period = bx.simulate(solution, start={**start.drop(columns="age"), "period": age - 60}, seed=3)
    np.testing.assert_array_equal(by_period.reward, panel.reward)


def test_what_nobody_gave_is_drawn_where_an_agent_enters():
    """An AR1 whose spread grows with age: who enters later is as spread as those who have been there."""
    model = bx.Model(
        states={"z": bx.AR1(rho=1.0, sigma=lambda age: jnp.where(age < 61, 0.3, 0.6))},
        reward=lambda z: z,
        discount=0.9,
        horizon=bx.Ages(60, 62),
    )
    with pytest.raises(bx.ParameterError):
        bx.solve(model, {})
    moving = dataclasses.replace(model, states={"z": bx.AR1(rho=0.5, sigma=lambda age: jnp.where(age < 61, 0.3, 0.9))})
    solved = bx.solve(moving, {}, bx.solvers.BackwardInduction(grid={"z": 3}))
    entered = np.asarray(bx.simulate(solved, 4000, {"age": 62}, seed=1).states["z"])[:, 2]
    first = 0.3**2 / (1 - 0.25)
    spread = np.sqrt(0.25 * (0.25 * first + 0.3**2) + 0.9**2)
    assert abs(entered.std() - spread) < 4 * spread / np.sqrt(8000)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"age": 59}, "age of agent 0 is 59; agents enter from 60 to 63, in steps of 1"),
        ({"age": [60, 61.5]}, "age of agent 1 is 61.5"),
        ({"period": 4}, "period of agent 0 is 4; agents enter from 0 to 3"),
        ({"age": 62, "periods": 2}, "agents enter from 60 to 61, in steps of 1. periods=2 counts from age 60 on"),
        ({"period": 1, "age": 61}, "both 'age' and 'period'"),
        ({"age": ["old"]}, "which is no number"),
        ({"kind": {"hasty": 0.3, "patient": 0.6}}, "the weights of 'kind' sum to 0.9; they must sum to one"),
        ({"kind": {"hasty": -0.3, "patient": 1.3}}, "the weight of 'hasty' of 'kind' is -0.3"),
        ({"kind": {"hasty": 0.3, "patent": 0.7}}, "'patent', which it does not know. Did you mean 'patient'"),
        ({"kind": {"hasty": "much"}}, "give a number for each"),
    ],
)
def test_starts_that_make_no_sense(solution, start, message):
    start = {"kind": "hasty", "cash": 2.0, **start}
    periods = start.pop("periods", None)
    with pytest.raises(bx.ParameterError, match=message):
        bx.simulate(solution, start=start, periods=periods)


def test_where_the_horizon_is_infinite_nobody_enters_later():
    solved = bx.solve(bx.Model(states={"k": bx.Discrete(2)}, transitions={"k": bx.fixed}, reward=1.0, discount=0.5), {})
    with pytest.raises(bx.ParameterError, match="the horizon is infinite, and every period is alike"):
        bx.simulate(solved, 2, {"k": 0, "period": 1}, periods=3)


@pytest.mark.parametrize("tabulated", [False, True])
def test_a_start_that_allows_nothing_names_agent_and_bounds(tabulated):
    model = saving(states={"kind": bx.Discrete(Kind), "cash": bx.Continuous(2.0, 30.0)}, horizon=2)
    model = dataclasses.replace(
        model, actions={"consumption": bx.Continuous(1.0, "cash")}, functions={"income": lambda z, wage: wage + 0 * z}
    )
    params = {name: PARAMS[name] for name in ("wage", "interest", "discount", "taste")}
    solver = dataclasses.replace(SOLVER, outside=bx.outside.Extrapolate())
    found = bx.solve(model, params, solver)
    with pytest.raises(bx.ParameterError, match="agent 1 .*kind = hasty, cash = 0.5.* the bounds of 'consumption' are"):
        bx.simulate(found.tabulate() if tabulated else found, start={"cash": [2.0, 0.5], "kind": "hasty"})


def test_a_start_that_breaks_every_constraint_names_it():
    model = bx.Model(
        states={"cash": bx.Continuous(2.0, 9.0)},
        actions={"size": bx.Discrete(2)},
        transitions={"cash": bx.fixed},
        constraints={"affordable": lambda cash, size: cash >= 1 + size},
        reward=lambda size: 1.0 * size,
        discount=0.9,
        horizon=2,
    )
    found = bx.solve(model, {}, bx.solvers.BackwardInduction(grid={"cash": 4}, outside=bx.outside.Extrapolate()))
    with pytest.raises(bx.ParameterError, match="agent 2 .*cash = 0.3 in period 1.* the constraint 'affordable'"):
        bx.simulate(found, start={"cash": [2.0, 1.5, 0.3], "period": 1})


# -- types ------------------------------------------------------------------------------------------------------------


def test_types_are_drawn_by_their_weights_and_keep_them(solution, panel):
    kind = np.asarray(panel.states["kind"])
    assert (kind == kind[:, :1]).all()
    assert abs(kind[:, 0].mean() - 0.7) < 4 * np.sqrt(0.21 / AGENTS)
    more = bx.simulate(solution, 2 * AGENTS, {"kind": {"hasty": 0.3, "patient": 0.7}, "cash": 3.0}, seed=3)
    np.testing.assert_array_equal(np.asarray(more.states["kind"])[:AGENTS], kind)
    by_member = bx.simulate(solution, AGENTS, {"kind": {Kind.hasty: 0.3, Kind.patient: 0.7}, "cash": 2.0}, seed=3)
    np.testing.assert_array_equal(by_member.reward, panel.reward)
    other = bx.simulate(solution, AGENTS, {"kind": {"hasty": 0.3, "patient": 0.7}, "cash": 2.0}, seed=4)
    assert (np.asarray(other.states["kind"]) != kind).any()


# -- perceived and true laws ------------------------------------------------------------------------------------------


def test_agents_decide_by_the_solution_and_live_by_the_truth(solution, panel):
    start = {"kind": {"hasty": 0.3, "patient": 0.7}, "cash": 2.0}
    same = bx.simulate(solution, AGENTS, start, seed=3, truth=(saving(), PARAMS))
    for name in ("reward", "value"):
        np.testing.assert_array_equal(getattr(same, name), getattr(panel, name))
    true = saving(transitions={"kind": bx.fixed, "cash": lambda cash, consumption, income: cash - consumption + income})
    params = {**PARAMS, "wage": 0.5}
    del params["interest"]
    lived = bx.simulate(solution, AGENTS, start, seed=3, truth=(true, params))
    frame, believed = lived.frame(extra=["income"]), panel.frame(extra=["income"])
    np.testing.assert_allclose(frame.income, 0.5 * believed.income, rtol=1e-14)
    inside = lagged(frame, "cash").notna()
    law = frame.cash - frame.consumption + frame.income
    np.testing.assert_allclose(law[inside], lagged(frame, "cash")[inside], rtol=1e-13)
    now = frame[(frame.age == 62) & (frame.cash > 0.5)]
    asked = solution.policy(age=62, cash=now.cash.to_numpy(), kind=(now.kind == "patient").to_numpy().astype(int))
    np.testing.assert_allclose(now.consumption, asked["consumption"], rtol=1e-10)
    with pytest.raises(bx.ModelError, match="the panel is of another model"):
        bx.certify(solution, panel=lived)


def test_the_last_value_and_the_reward_are_true_ones(solution):
    true = saving(terminal=lambda cash: 7.0 + 0 * cash, reward=lambda consumption: 2 * consumption)
    params = {name: value for name, value in PARAMS.items() if name != "taste"}
    lived = bx.simulate(solution, 3, {"kind": "hasty", "cash": 2.0}, truth=(true, params))
    np.testing.assert_array_equal(lived.final_value, 7.0)
    np.testing.assert_array_equal(lived.reward, 2 * lived.actions["consumption"])


@pytest.mark.long
def test_derivatives_pass_through_the_truth(solution, with_value):
    true = saving()

    def mean(wage):
        lived = bx.simulate(solution, 20, {"kind": "hasty", "cash": 2.0}, truth=(true, {**PARAMS, "wage": wage}))
        return jnp.mean(lived.states["cash"][:, 2])

    both = with_value(mean, jax.grad)
    difference = (both(1.0 + 1e-5)[1] - both(1.0 - 1e-5)[1]) / 2e-5
    assert float(both(1.0)[0]) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 3}, "truth has the horizon 3"),
        ({"states": {"kind": bx.Discrete(3), "cash": bx.Continuous(0.5, 30.0)}}, "the state 'kind' is"),
        ({"actions": {"spending": bx.Continuous(0.1, "cash")}}, "truth lacks the action 'consumption' of the solution"),
        ({"stop": 0.0}, "only one of the two models has stop="),
    ],
)
def test_a_truth_that_is_of_something_else(solution, changes, message):
    slots = {"functions": {"income": 1.0}, "transitions": {"kind": bx.fixed, "cash": "cash"}, "reward": 0.0, **changes}
    with pytest.raises(bx.ModelError, match=message):
        bx.simulate(solution, 3, {"kind": "hasty", "cash": 2.0}, truth=(saving(**slots), {"discount": 0.9}))


def test_a_truth_that_is_none(solution):
    with pytest.raises(bx.ModelError, match=r"give \(model, params\)"):
        bx.simulate(solution, 3, {"kind": "hasty", "cash": 2.0}, truth=PARAMS)


# -- moments ----------------------------------------------------------------------------------------------------------


def test_moments_are_those_of_numpy(panel):
    found = panel.moments(of=["cash", "income", "kind"], statistics=["mean", "sd", "p10", "max", "count"])
    cash, kind = np.asarray(panel.states["cash"]), np.asarray(panel.states["kind"])
    assert found.index.tolist() == [60, 61, 62, 63]
    np.testing.assert_allclose(found["cash", "mean"], cash.mean(axis=0))
    np.testing.assert_allclose(found["cash", "sd"], cash.std(axis=0, ddof=1), atol=1e-12)
    np.testing.assert_allclose(found["cash", "p10"], np.quantile(cash, 0.1, axis=0))
    np.testing.assert_allclose(found["cash", "max"], cash.max(axis=0))
    assert (found["cash", "count"] == AGENTS).all()
    np.testing.assert_allclose(found["kind", "patient"], kind.mean(axis=0))
    np.testing.assert_allclose(found["income", "mean"], panel.frame(extra=["income"]).groupby("age").income.mean())
    by_kind = panel.moments(of={"savings": lambda cash, consumption: cash - consumption}, by=["age", "kind"])
    saved = cash[:, 1] - np.asarray(panel.actions["consumption"])[:, 1]
    assert by_kind.loc[(61, "patient"), ("savings", "mean")] == pytest.approx(saved[kind[:, 1] == 1].mean())
    assert {"cash", "consumption", "reward", "value", "kind"} == set(panel.moments().columns.get_level_values(0))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"statistics": ["median"]}, "there is no statistic 'median'"),
        ({"of": ["chas"]}, "Did you mean 'cash'"),
        ({"by": "ages"}, "moments: by 'ages' is unknown. Did you mean 'age'"),
        ({"of": "cash"}, r"give a list of names, \['cash'\]"),
    ],
)
def test_moments_that_are_none(panel, given, message):
    with pytest.raises(bx.ModelError, match=message):
        panel.moments(**given)


def test_a_panel_is_drawn(panel):
    figure = bx.plot(panel, of=["cash", "kind"])
    cash, kind = figure.axes[:2]
    np.testing.assert_allclose(cash.lines[0].get_ydata(), np.asarray(panel.states["cash"]).mean(axis=0))
    np.testing.assert_allclose(kind.lines[1].get_ydata(), np.asarray(panel.states["kind"]).mean(axis=0))
    with pytest.raises(bx.ModelError, match="a panel alone takes of="):
        bx.plot(panel, along="cash")


def test_parts_of_agents_have_the_paths_of_all(panel):
    """Little memory: a few agents after the others, the last part filled up."""
    small = bx.solve(saving(), PARAMS, dataclasses.replace(SOLVER, memory=2**15))
    parts = bx.simulate(small, AGENTS + 1, {"kind": {"hasty": 0.3, "patient": 0.7}, "cash": 2.0}, seed=3)
    np.testing.assert_allclose(parts.reward[:AGENTS], panel.reward, rtol=1e-9)
    left = np.asarray(parts.states["cash"]) > 30
    np.testing.assert_array_equal(np.asarray(parts.outside["cash"]["above"])[:4], left.sum(axis=0))


def test_searches_that_start_from_a_table_find_the_same(monkeypatch):
    """With a kink at the borrowing limit; where a table is no start, as beyond the grid, the search is made in full."""
    model = bx.Model(
        states={"cash": bx.Continuous(0.3, 8.0)},
        actions={"consumption": bx.Continuous(0.0, "cash")},
        shocks={"z": bx.shocks.Uniform(0.5, 2.5)},
        transitions={"cash": lambda cash, consumption, z: 1.02 * (cash - consumption) + z},
        reward=lambda consumption: -1 / consumption,
        discount=0.93,
        horizon=4,
    )
    found = bx.solve(
        model, {}, dataclasses.replace(SOLVER, grid={"cash": 300}, quadrature={}, outside=bx.outside.Extrapolate())
    )
    start = {"cash": np.linspace(0.4, 9.9, 300)}
    fully = bx.simulate(found, start=start)
    monkeypatch.setattr(sys.modules["bellax.simulate"], "_MANY", 0)
    quickly = bx.simulate(found, start=start)
    np.testing.assert_allclose(quickly.actions["consumption"], fully.actions["consumption"], rtol=1e-10)
    np.testing.assert_allclose(quickly.value, fully.value, rtol=1e-12)
    cash, inside = {"cash": jnp.asarray(start["cash"])}, start["cash"] <= 8
    answers = [jax.vmap(way)(cash) for way in found.for_many().near(0)]
    once, often = (np.asarray(certain) for _, certain in answers)
    for chosen, certain in answers:
        np.testing.assert_allclose(
            np.asarray(chosen.actions["consumption"])[certain], fully.actions["consumption"][certain, 0], rtol=1e-10
        )
    assert often[inside].mean() > 0.9 and not often[~inside].any()
    assert once[inside].mean() > 0.3 and not once[~inside].any()


# -- several regimes --------------------------------------------------------------------------------------------------


def at_work(age, alive):
    rests = 1.0 * (age + 1 >= 62)
    return {"work": alive * (1 - rests), "rest": alive * rests, "dead": 1 - alive}


def lives():
    cash = {"cash": bx.Continuous(0.5, 30.0, scale=bx.scales.log)}
    consumption = {"consumption": bx.Continuous(0.1, "cash")}
    work = bx.Regime(
        states={"kind": bx.Discrete(Kind), **cash},
        actions=consumption,
        shocks={"z": bx.shocks.Normal()},
        functions={"income": income},
        transitions={"kind": bx.fixed, "cash": next_cash},
        reward=lambda consumption: jnp.log(consumption),
        next_regime=at_work,
        active=lambda age: age < 62,
    )
    rest = bx.Regime(
        states=cash,
        actions=consumption,
        transitions={"cash": lambda cash, consumption, pension: cash - consumption + pension},
        reward=lambda consumption: jnp.log(consumption),
        next_regime=lambda alive: {"rest": alive, "dead": 1 - alive},
    )
    return bx.Model(regimes={"work": work, "rest": rest, "dead": bx.Terminal()}, horizon=bx.Ages(60, 64))


LIVES = {"wage": 1.0, "spread": 0.2, "interest": 0.03, "discount": 0.95, "alive": 0.9, "pension": 0.7}


@pytest.fixture(scope="module")
def careers():
    solver = bx.solvers.BackwardInduction(
        grid={"cash": 20}, quadrature={"z": 3}, maximiser=bx.maximise.Newton(grid={"consumption": 5})
    )
    return bx.solve(lives(), LIVES, solver)


@pytest.fixture(scope="module")
def people():
    return {"regime": "work", "kind": {"hasty": 0.3, "patient": 0.7}, "cash": 2.0}


@pytest.fixture(scope="module")
def walks(careers, people):
    return bx.simulate(careers, AGENTS, people, seed=3)


def test_functions_of_some_regimes_are_missing_elsewhere(walks):
    frame = walks.frame(extra=["income", "pension"])
    working = frame.regime == "work"
    assert frame.income.isna().equals(~working)
    assert (frame.pension[frame.regime == "rest"] == 0.7).all() and frame.pension[working].isna().all()
    law = (1.03 * (frame.cash - frame.consumption) + frame.income).where(working, frame.cash - frame.consumption + 0.7)
    later = lagged(frame, "cash")
    stays = later.notna() & (frame.groupby("agent").regime.shift(-1) != "dead")
    np.testing.assert_allclose(law[stays], later[stays], rtol=1e-13)
    with pytest.raises(bx.ModelError, match="'salary' needs 'salary', which the model does not have"):
        walks.frame(extra=["salary"])


def test_agents_enter_regimes_at_their_age(careers):
    start = pd.DataFrame({"regime": ["work", "rest", "rest"], "age": [60, 63, 62], "cash": [1.0, 2.0, 3.0]})
    panel = bx.simulate(careers, start=start.assign(kind="hasty"), seed=3)
    frame = panel.frame()
    assert frame.groupby("agent").age.min().tolist() == [60, 63, 62]
    assert frame.groupby("agent").cash.first().tolist() == [1.0, 2.0, 3.0]
    first = frame[frame.agent == 1].iloc[0]
    asked = careers["rest"].policy(age=63, cash=2.0)["consumption"]
    assert first.consumption == pytest.approx(float(asked), rel=1e-12)
    own = frame[frame.agent == 2]
    known = (0.95 ** np.arange(len(own)) * own.reward.to_numpy()).sum()
    assert float(panel.present_value()[2]) == pytest.approx(known, rel=1e-13)
    assert np.asarray(panel.share("rest"))[2] == 0.5 * (1 + (np.asarray(panel.regime)[0, 2] == 1))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"age": [60, 62]}, "agent 1 starts in the regime 'work' at age 62, which is not active then"),
        ({"age": 65}, "age of agent 0 is 65; agents enter from 60 to 64"),
        ({"regime": {"work": 0.5, "rest": 0.6}}, "the weights of 'regime' sum to 1.1"),
        ({"regime": "dead"}, "the regime 'dead' ends, so that nobody decides there"),
        ({"cash": 0.2}, "start in regime 'work': state 'cash' is 0.2, outside its grid"),
    ],
)
def test_starts_of_regimes_that_make_no_sense(careers, people, start, message):
    with pytest.raises(bx.ParameterError, match=message):
        bx.simulate(careers, start={**people, **start})


def test_regimes_are_drawn_by_weights(careers, people):
    panel = bx.simulate(careers, AGENTS, {**people, "age": 61, "regime": {"work": 0.25, "rest": 0.75}}, seed=3)
    assert abs(float((panel.regime[:, 1] == 0).mean()) - 0.25) < 4 * np.sqrt(0.1875 / AGENTS)


def test_the_truth_of_regimes(careers, people, walks):
    true = lives()
    same = bx.simulate(careers, AGENTS, people, seed=3, truth=(true, LIVES))
    np.testing.assert_array_equal(same.reward, walks.reward)
    lived = bx.simulate(careers, AGENTS, people, seed=3, truth=(true, {**LIVES, "alive": 1.0, "pension": 0.5}))
    assert not (np.asarray(lived.regime) == 2).any()
    np.testing.assert_array_equal(np.asarray(lived.states["work"]["cash"])[:, 0], 2.0)
    frame = lived.frame()
    resting, later = frame[frame.regime == "rest"], lagged(frame[frame.regime == "rest"], "cash")
    law = resting.cash - resting.consumption + 0.5
    np.testing.assert_allclose(law[later.notna()], later[later.notna()], rtol=1e-13)
    now = resting[(resting.age == 62) & (resting.cash > 0.5)]
    asked = careers["rest"].policy(age=62, cash=now.cash.to_numpy())["consumption"]
    np.testing.assert_allclose(now.consumption, asked, rtol=1e-10)
    with pytest.raises(bx.ModelError, match="truth has regimes and the solution has none, or the other way round"):
        bx.simulate(careers, 3, people, truth=(saving(horizon=bx.Ages(60, 64)), PARAMS))
    other = dataclasses.replace(lives(), regimes={**lives().regimes, "gone": bx.Terminal()})
    with pytest.raises(bx.ModelError, match="truth has the regime 'gone', which the solution does not have"):
        bx.simulate(careers, 3, people, truth=(other, LIVES))
    longer = dataclasses.replace(lives().regimes["work"], active=lambda age: age < 63)
    other = dataclasses.replace(lives(), regimes={**lives().regimes, "work": longer})
    with pytest.raises(bx.ModelError, match="'work' is active in other periods"):
        bx.simulate(careers, 3, people, truth=(other, LIVES))
    with pytest.raises(bx.ModelError, match="the panel is of another model"):
        bx.certify(careers, panel=lived)


def test_moments_of_regimes_have_their_shares(walks):
    panel = walks
    found = panel.moments(of=["regime", "cash"])
    for name in ("work", "rest", "dead"):
        np.testing.assert_allclose(found["regime", name], panel.share(name))
    frame = panel.frame()
    np.testing.assert_allclose(found["cash", "mean"], frame.groupby("age").cash.mean())
    figure = bx.plot(panel)
    assert {axis.get_ylabel() for axis in figure.axes if axis.get_visible()} >= {"cash", "share by regime"}


def test_groups_of_agents_are_those_of_a_plain_loop(careers, people):
    """Agents in two regimes at once: each does what the policy of its regime says."""
    everyone = np.linspace(1, 9, AGENTS)
    start = {**people, "age": 61, "regime": ["work", "rest"] * (AGENTS // 2), "cash": everyone}
    panel = bx.simulate(careers, start=start, seed=3)
    for place, name in enumerate(("work", "rest")):
        cash = everyone[place::2]
        kind = {"kind": panel.states["work"]["kind"][place::2, 1]} if name == "work" else {}
        asked = careers[name].policy(age=61, cash=cash, **kind)["consumption"]
        np.testing.assert_allclose(panel.actions[name]["consumption"][place::2, 1], asked, rtol=1e-12)
