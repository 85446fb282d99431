"""Figures show what was solved: the right axes, a curve for each period and category, and the numbers themselves."""

import enum
import io

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


class Health(enum.IntEnum):
    bad = 0
    good = 1


class Work(enum.IntEnum):
    no = 0
    yes = 1


@pytest.fixture(scope="module")
def household():
    """Saving and work over four periods."""
    model = bx.Model(
        states={
            "assets": bx.Continuous(0.0, 10.0, scale=bx.scales.asinh(1.0)),
            "health": bx.MarkovChain(Health, [[0.8, 0.2], [0.1, 0.9]]),
        },
        actions={
            "work": bx.Discrete(Work),
            "consumption": bx.Continuous(0.05, lambda assets, work: assets + work + 0.1),
        },
        transitions={"assets": lambda assets, work, consumption: 1.02 * (assets + work + 0.1 - consumption)},
        reward=lambda consumption, work, health: jnp.log(consumption) - work * jnp.where(health == 1, 0.3, 1.0),
        horizon=4,
    )
    return bx.solve(model, {"discount": 0.95}, bx.solvers.BackwardInduction(grid={"assets": 20}))


@pytest.fixture(scope="module")
def put():
    model = bx.Model(
        states={"price": bx.Continuous(20.0, 80.0, scale=bx.scales.log)},
        shocks={"z": bx.shocks.Normal()},
        transitions={"price": lambda price, z: price * jnp.exp(0.1 * z)},
        reward=0.0,
        discount=0.97,
        stop=lambda price: jnp.maximum(40 - price, 0.0),
        horizon=6,
    )
    return bx.solve(model, {}, bx.solvers.BackwardInduction(grid={"price": 40}))


def axes(figure):
    return {axis.get_ylabel(): axis for axis in figure.axes if axis.get_visible()}


def labels(axis):
    return [line.get_label() for line in axis.lines]


def test_value_and_policy_by_period_and_category(household):
    shown = axes(bx.plot(household))
    assert set(shown) == {"value", "work", "consumption"}
    assert all(axis.get_xlabel() == "assets" for axis in shown.values())
    expected = [f"period {t}, health = {h}" for t in (0, 2, 3) for h in ("bad", "good")]
    assert labels(shown["value"]) == expected
    assert [text.get_text() for text in shown["value"].get_legend().get_texts()] == expected
    assert [tick.get_text() for tick in shown["work"].get_yticklabels()] == ["no", "yes"]


def test_the_curves_are_the_solution(household):
    shown = axes(bx.plot(household))
    for name in ("value", "consumption"):
        x, y = shown[name].lines[3].get_data()  # period 2, good health
        assert (x[0], x[-1], len(x)) == (0.0, pytest.approx(10.0), 200)
        asked = {"period": 2, "assets": x, "health": int(Health.good)}
        exact = household.value(**asked) if name == "value" else household.policy(**asked)[name]
        np.testing.assert_allclose(y, exact, rtol=1e-12)


def test_periods_are_chosen(household):
    assert labels(axes(bx.plot(household, periods=[1]))["value"]) == ["health = bad", "health = good"]


def test_along_a_discrete_state_bars(household):
    shown = axes(bx.plot(household, along="health", periods=[0, 3]))
    assert [tick.get_text() for tick in shown["value"].get_xticklabels()] == ["bad", "good"]
    bars = shown["value"].patches
    assert len(bars) == 2 * 2 * 3  # categories, periods, places along the assets
    states = {"health": np.array([0, 1])}
    heights = sorted(bar.get_height() for bar in bars)
    lowest = min(float(household.value(period=t, assets=0.3, **states).min()) for t in (0, 3))
    assert heights[0] <= lowest + 0.5


def test_along_must_be_a_state(household):
    with pytest.raises(bx.ModelError, match="along: state 'asets' is unknown. Did you mean 'assets'"):
        bx.plot(household, along="asets")


def test_simulated_paths(household):
    panel = bx.simulate(household, agents=40, start={"assets": 3.0, "health": "good"}, seed=1)
    figure = bx.plot(household, panel)
    lower = {axis.get_ylabel(): axis for axis in figure.axes[3:] if axis.get_visible()}
    assert {"assets", "share by health"} <= set(lower)
    assert all(axis.get_xlabel() == "period" for axis in lower.values())
    median = next(line for line in lower["assets"].lines if line.get_label() == "median")
    np.testing.assert_allclose(median.get_ydata(), np.median(panel.states["assets"], axis=0))
    assert len([c for c in lower["assets"].collections if "%" in c.get_label()]) == 2
    good = next(line for line in lower["share by health"].lines if line.get_label() == "good")
    np.testing.assert_allclose(good.get_ydata(), np.mean(np.asarray(panel.states["health"]) == 1, axis=0))


def test_a_stopping_region(put):
    shown = axes(bx.plot(put))
    assert set(shown) == {"value", "period"}
    region = shown["period"].collections[0].get_array().reshape(6, 200)
    price = bx.plot(put).axes[0].lines[0].get_xdata()
    expected = np.stack([put.policy(period=t, price=price)["stop"] for t in range(6)])
    assert np.array_equal(region, expected)
    assert 0 < region.mean() < 1
    assert [text.get_text() for text in shown["period"].get_legend().get_texts()] == ["continue", "stop"]


def test_agents_who_have_stopped_leave_the_picture(put, household):
    panel = bx.simulate(put, agents=30, start={"price": 36.0}, seed=0)
    with pytest.raises(bx.ModelError, match="of another model"):
        bx.plot(household, panel)
    figure = bx.plot(put, panel)
    path = next(line for line in figure.axes[2].lines if line.get_label() == "paths")
    active = np.asarray(panel.active)[0]
    assert np.array_equal(np.isfinite(path.get_ydata()), active)


@pytest.mark.long
def test_two_continuous_states_are_lines_at_three_values_of_the_second():
    model = bx.Model(
        states={"capital": bx.Continuous(0.5, 5.0), "skill": bx.Continuous(1.0, 2.0)},
        actions={"investment": bx.Continuous(0.0, "capital")},
        transitions={
            "capital": lambda capital, investment: 0.8 * capital + 0.5 * investment,
            "skill": bx.fixed,
        },
        reward=lambda capital, investment, skill: jnp.log(skill * capital + 0.1 - investment * 0.5),
        horizon=2,
    )
    solver = bx.solvers.BackwardInduction(grid={"capital": 11, "skill": 11})
    shown = axes(bx.plot(bx.solve(model, {"discount": 0.9}, solver), periods=[0]))
    assert labels(shown["value"]) == ["skill = 1.1", "skill = 1.5", "skill = 1.9"]


def test_a_stationary_chain_has_bars_and_no_period():
    model = bx.Model(
        states={"stock": bx.Discrete(4)},
        actions={"order": bx.Discrete(2)},
        transitions={"stock": lambda stock, order: jnp.clip(stock + 2 * order - 1, 0, 3)},
        reward=lambda stock, order: 2.0 * stock - order,
    )
    solution = bx.solve(model, {"discount": 0.9}, bx.solvers.ValueIteration())
    shown = axes(bx.plot(solution))
    assert set(shown) == {"value", "order"}
    np.testing.assert_allclose([bar.get_height() for bar in shown["value"].patches], solution.value(stock=np.arange(4)))
    assert shown["value"].get_legend() is None


def test_the_figure_is_drawn_without_a_display(household):
    buffer = io.BytesIO()
    bx.plot(household).savefig(buffer, format="png")
    assert buffer.getvalue()[:4] == b"\x89PNG"


def test_the_graph_of_regimes_has_an_arrow_for_each_that_may_follow():
    life = {
        "work": bx.Regime(reward=lambda: 1.0, next_regime=lambda p: {"work": 1 - p, "rest": p}),
        "rest": bx.Regime(reward=lambda: 0.5, next_regime=lambda: {"rest": 0.5, "dead": 0.5}),
        "dead": bx.Terminal(),
    }
    figure = bx.plot(bx.Model(regimes=life, horizon=3))
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == {"work", "rest", "dead"}
    assert len(axes.patches) == 4  # work -> work, work -> rest, rest -> rest, rest -> dead
    with pytest.raises(bx.ModelError, match="one regime has no graph"):
        bx.plot(bx.Model(actions={"a": bx.Discrete(2)}, reward=lambda a: 1.0 * a, horizon=2))
