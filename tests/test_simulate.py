"""Simulation against closed forms: log Merton, Brock-Mirman, a stopped put, and the moments of every process.

One file, though it is long: the solutions and panels of its head are compiled once and serve most of the tests.
"""

import enum

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx
from bellax.models.references import brock_mirman, merton_log

DISCOUNT, MU, SIGMA, HORIZON = 0.96, 0.04, 0.15, 12


def next_wealth(wealth, consumption, z, mu, sigma):
    return (wealth - consumption) * jnp.exp(mu + sigma * z)


def merton(**changes):
    slots = {
        "states": {"wealth": bx.Continuous(1e-3, 200.0, scale=bx.scales.log)},
        "actions": {"consumption": bx.Continuous(1e-9, "wealth")},
        "shocks": {"z": bx.shocks.Normal()},
        "transitions": {"wealth": next_wealth},
        "reward": lambda consumption: jnp.log(consumption),
        "terminal": lambda wealth, intercept, slope: intercept + slope * jnp.log(wealth),
        "horizon": HORIZON,
    }
    return bx.Model(**{**slots, **changes})


def parameters(discount=DISCOUNT, mu=MU, sigma=SIGMA):
    intercept, slope = merton_log(discount, mu)
    return {"mu": mu, "sigma": sigma, "discount": discount, "intercept": intercept, "slope": slope}


@pytest.fixture(scope="module")
def solution():
    return bx.solve(merton(), parameters(), bx.solvers.BackwardInduction(grid={"wealth": 60}))


@pytest.fixture(scope="module")
def coarse():
    return bx.solve(merton(), parameters(), bx.solvers.BackwardInduction(grid={"wealth": 20}))


@pytest.fixture(scope="module")
def panel(solution):
    return bx.simulate(solution, 4000, {"wealth": 10.0}, seed=1)


class TestMerton:
    def test_log_wealth_drifts_as_in_the_closed_form(self, panel):
        wealth = np.log(np.asarray(panel.states["wealth"]))
        periods = np.arange(HORIZON)
        drift = np.log(10.0) + periods * (np.log(DISCOUNT) + MU)
        spread = SIGMA * np.sqrt(periods)
        assert np.all(np.abs(wealth.mean(axis=0) - drift) <= 4 * spread / np.sqrt(4000) + 1e-12)
        np.testing.assert_allclose(wealth.std(axis=0)[1:], spread[1:], rtol=0.05)

    def test_consumption_is_the_share_of_the_closed_form(self, panel):
        share = np.asarray(panel.actions["consumption"] / panel.states["wealth"])
        np.testing.assert_allclose(share, 1 - DISCOUNT, rtol=1e-9)

    def test_the_law_holds_between_consecutive_periods_with_standard_normal_shocks(self, panel):
        wealth, consumption = (np.asarray(a) for a in (panel.states["wealth"], panel.actions["consumption"]))
        z = (np.log(wealth[:, 1:] / (wealth - consumption)[:, :-1]) - MU) / SIGMA
        assert abs(z.mean()) < 4 / np.sqrt(z.size)
        assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
        lagged = np.corrcoef(z[:, 1:].ravel(), z[:, :-1].ravel())[0, 1]
        assert abs(lagged) < 4 / np.sqrt(z.size)
        assert abs(np.corrcoef(z[1:, 0], z[:-1, 0])[0, 1]) < 4 / np.sqrt(4000)

    def test_value_and_reward_are_those_of_the_visited_state(self, panel):
        intercept, slope = merton_log(DISCOUNT, MU)
        np.testing.assert_allclose(panel.value, intercept + slope * np.log(panel.states["wealth"]), rtol=1e-10)
        np.testing.assert_allclose(panel.reward, np.log(panel.actions["consumption"]), rtol=1e-12)

    def test_present_value_is_the_sum_written_out_and_has_mean_v(self, panel):
        intercept, slope = merton_log(DISCOUNT, MU)
        weights = DISCOUNT ** np.arange(HORIZON)
        last = intercept + slope * np.log(np.asarray(panel.final["wealth"]))
        by_hand = np.asarray(panel.reward) @ weights + DISCOUNT**HORIZON * last
        found = np.asarray(panel.present_value())
        np.testing.assert_allclose(found, by_hand, rtol=1e-12, atol=1e-12)
        assert abs(found.mean() - float(panel.value[0, 0])) < 4 * found.std() / np.sqrt(4000)

    def test_fewer_periods_end_in_v_of_the_state_reached(self, solution):
        short = bx.simulate(solution, 300, {"wealth": 10.0}, seed=1, periods=3)
        intercept, slope = merton_log(DISCOUNT, MU)
        assert short.reward.shape == (300, 3)
        np.testing.assert_allclose(short.final_value, intercept + slope * np.log(short.final["wealth"]), rtol=1e-10)

    def test_a_tabulated_policy_simulates_too(self, solution, panel):
        found = bx.simulate(solution.tabulate(), 4000, {"wealth": 10.0}, seed=1)
        np.testing.assert_allclose(found.states["wealth"], panel.states["wealth"], rtol=1e-4)
        np.testing.assert_allclose(found.final_value, panel.final_value, rtol=1e-4)


class TestReproducibility:
    def test_one_seed_is_one_panel_and_another_is_another(self, solution, panel):
        again = bx.simulate(solution, 4000, {"wealth": 10.0}, seed=1)
        np.testing.assert_array_equal(again.reward, panel.reward)
        other = bx.simulate(solution, 4000, {"wealth": 10.0}, seed=2)
        assert not np.any(np.asarray(other.reward)[:, 1:] == np.asarray(panel.reward)[:, 1:])

    def test_an_agent_does_not_depend_on_how_many_there_are_or_how_long_they_live(self, solution, panel):
        few = bx.simulate(solution, 7, {"wealth": 10.0}, seed=jax.random.key(1), periods=5)
        np.testing.assert_allclose(few.states["wealth"], panel.states["wealth"][:7, :5], rtol=1e-12)

    def test_equal_shapes_are_not_traced_again(self, coarse):
        solved, traced = coarse, []
        policy = type(solved.pointwise)
        at = policy.at
        counting = lambda self, period: (traced.append(1), at(self, period))[1]  # noqa: E731
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(policy, "at", counting)
            bx.simulate(solved, 50, {"wealth": 10.0})
            first = len(traced)
            bx.simulate(solved, 50, {"wealth": np.linspace(1, 5, 50)}, seed=3)
            again = bx.solve(solved.model, parameters(mu=0.01), bx.solvers.BackwardInduction(grid={"wealth": 20}))
            bx.simulate(again, 50, {"wealth": 2.0}, seed=4)
        assert 0 < first == len(traced)

    def test_chunks_that_fit_in_little_memory_change_nothing(self, coarse):
        solver = bx.solvers.BackwardInduction(grid={"wealth": 20}, memory=2**14)
        solved = bx.solve(coarse.model, parameters(), solver)
        chunked, once = (bx.simulate(s, 100, {"wealth": 10.0}) for s in (solved, coarse))
        np.testing.assert_allclose(chunked.present_value(), once.present_value(), rtol=1e-12)


class TestDerivatives:
    @pytest.mark.long
    def test_a_mean_of_a_simulated_state_is_differentiated(self, with_value):
        model = merton()
        solver = bx.solvers.BackwardInduction(grid={"wealth": 40})
        terminal = parameters()

        def mean(discount):
            solved = bx.solve(model, {**terminal, "discount": discount}, solver)
            return jnp.mean(bx.simulate(solved, 40, {"wealth": 10.0}, periods=6).final["wealth"])

        step, both = 1e-5, with_value(mean, jax.grad)
        central = (both(DISCOUNT + step)[1] - both(DISCOUNT - step)[1]) / (2 * step)
        assert abs(central) > 1
        np.testing.assert_allclose(both(DISCOUNT)[0], central, rtol=1e-5)

    def test_a_probability_of_what_is_drawn_refuses(self, with_value):
        """A path keeps the category that it drew, so its derivative is not that of the mean."""
        chances = bx.shocks.Categorical([0.0, 1.0], lambda p: jnp.stack([p, 1 - p]))
        jumps = bx.shocks.Jump("p", 1.0, 0.1)
        for source in (chances, jumps):
            m = bx.Model(
                states={"w": bx.Continuous(0.0, 4.0)},
                shocks={"k": source},
                transitions={"w": lambda w, k, share: share * w + k},
                reward=lambda w: w,
                discount=0.9,
                horizon=2,
            )

            def mean(p, share):
                solved = bx.solve(m, {"p": p, "share": share})  # noqa: B023
                return jnp.mean(bx.simulate(solved, 50, {"w": 1.0}).final["w"])

            with pytest.raises(bx.ModelError, match="drawn with probabilities that move"):
                jax.make_jaxpr(jax.grad(mean))(0.3, 0.5)
            both = with_value(mean, jax.grad, argnums=1)
            slope = (both(0.3, 0.5 + 1e-5)[1] - both(0.3, 0.5 - 1e-5)[1]) / 2e-5
            np.testing.assert_allclose(both(0.3, 0.5)[0], slope, rtol=1e-6)

    def test_a_policy_of_candidates_refuses(self):
        model = merton()
        solver = bx.solvers.BackwardInduction(maximiser=bx.maximise.Enumerate(), grid={"wealth": 20})

        def mean(discount):
            solved = bx.solve(model, {**parameters(), "discount": discount}, solver)
            return jnp.mean(bx.simulate(solved, 5, {"wealth": 10.0}).reward)

        with pytest.raises(bx.ModelError, match="no derivative"):
            jax.eval_shape(jax.grad(mean), DISCOUNT)


class Weather(enum.IntEnum):
    dry = 0
    wet = 1


ROWS = np.array([[0.9, 0.1], [0.3, 0.7]])


@pytest.fixture(scope="module")
def wandering():
    model = bx.Model(
        states={
            "weather": bx.MarkovChain(Weather, ROWS),
            "income": bx.AR1(rho=0.8, sigma=0.3, mean=1.0),
            "luck": bx.IID(bx.shocks.Uniform(2.0, 4.0)),
            "counter": bx.Discrete(range(50)),
            "health": bx.Discrete(2),
            "pair": bx.Continuous(-50.0, 50.0, shape=(2,)),
        },
        shocks={"jolt": bx.shocks.Normal(mean="next_luck", sd=lambda counter: 0.1 * (1 + counter))},
        transitions={
            "counter": lambda counter: jnp.minimum(counter + 1, 49),
            "health": bx.Markov(lambda next_weather: jnp.where(next_weather == 1, 0.25, 0.75) * jnp.array([0, 1.0])
                                + jnp.where(next_weather == 1, 0.75, 0.25) * jnp.array([1.0, 0])),
            "pair": lambda pair, jolt: jnp.stack([jolt, pair[0]]),
        },
        reward=lambda income, next_income: income - next_income,
        discount=1.0,
        horizon=4,
    )  # fmt: skip
    solver = bx.solvers.BackwardInduction(grid={"pair": 2, "income": 2, "luck": 2})
    return bx.solve(model, {}, solver)


@pytest.fixture(scope="module")
def paths(wandering):
    start = {"counter": 3, "health": 1, "pair": np.array([5.0, 6.0])}
    return bx.simulate(wandering, 20_000, start)


class TestProcesses:
    def test_an_ar1_moves_by_its_continuous_law_and_starts_stationary(self, paths):
        income = np.asarray(paths.states["income"])
        assert len(np.unique(income)) > 70_000
        spread = 0.3 / np.sqrt(1 - 0.64)
        np.testing.assert_allclose(income.mean(axis=0), 1.0, atol=4 * spread / np.sqrt(20_000))
        np.testing.assert_allclose(income.std(axis=0), spread, rtol=0.02)
        innovations = income[:, 1:] - (1 + 0.8 * (income[:, :-1] - 1))
        np.testing.assert_allclose(innovations.std(axis=0), 0.3, rtol=0.02)
        assert abs(np.corrcoef(innovations[:, 0], income[:, 0])[0, 1]) < 4 / np.sqrt(20_000)

    def test_a_chain_moves_by_its_matrix_and_starts_stationary(self, paths):
        weather = np.asarray(paths.states["weather"])
        np.testing.assert_allclose(weather.mean(axis=0), 0.25, atol=0.013)
        for today in (0, 1):
            moved = weather[:, 1:][weather[:, :-1] == today]
            bound = 4 * np.sqrt(ROWS[today, 0] * ROWS[today, 1] / moved.size)
            assert abs(moved.mean() - ROWS[today, 1]) < bound

    def test_an_iid_state_is_drawn_from_its_distribution(self, paths):
        luck = np.asarray(paths.states["luck"])
        assert luck.min() >= 2 and luck.max() <= 4
        np.testing.assert_allclose(luck.mean(axis=0), 3.0, atol=0.02)
        np.testing.assert_allclose(luck.var(axis=0), 4 / 12, rtol=0.03)
        assert abs(np.corrcoef(luck[:, 0], luck[:, 1])[0, 1]) < 4 / np.sqrt(20_000)

    def test_a_markov_law_sees_the_chain_of_tomorrow(self, paths):
        health, weather = np.asarray(paths.states["health"])[:, 1:], np.asarray(paths.states["weather"])[:, 1:]
        np.testing.assert_allclose(health[weather == 1].mean(), 0.25, atol=0.015)
        np.testing.assert_allclose(health[weather == 0].mean(), 0.75, atol=0.01)

    def test_a_shock_sees_what_its_parameters_name(self, paths):
        jolt = np.asarray(paths.states["pair"])[:, 1:, 0]
        luck, counter = np.asarray(paths.states["luck"])[:, 1:], np.asarray(paths.states["counter"])[:, :-1]
        z = (jolt - luck) / (0.1 * (1 + counter))
        np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=4 / np.sqrt(20_000))
        np.testing.assert_allclose(z.std(axis=0), 1.0, rtol=0.03)

    def test_deterministic_laws_and_realised_rewards(self, paths):
        np.testing.assert_array_equal(paths.states["counter"], np.broadcast_to([3, 4, 5, 6], (20_000, 4)))
        pair, income = np.asarray(paths.states["pair"]), np.asarray(paths.states["income"])
        np.testing.assert_array_equal(pair[:, 1:, 1], pair[:, :-1, 0])
        reached = np.concatenate([income[:, 1:], np.asarray(paths.final["income"])[:, None]], axis=1)
        np.testing.assert_allclose(paths.reward, income - reached, atol=1e-12)

    def test_the_frame_has_labels_and_a_column_for_each_number_of_a_vector(self, paths):
        frame = paths.frame()
        assert list(frame.columns) == [
            "agent", "period", "weather", "income", "luck", "counter", "health", "pair[0]", "pair[1]", "reward", "value"
        ]  # fmt: skip
        assert len(frame) == 80_000
        row = frame[(frame.agent == 17) & (frame.period == 2)].iloc[0]
        assert row.weather == Weather(int(paths.states["weather"][17, 2])).name
        assert row["pair[1]"] == float(paths.states["pair"][17, 2, 1])

    def test_a_frame_starts_the_next_simulation(self, wandering, paths):
        frame = paths.frame()
        rows = frame[frame.period == 3].drop(columns=["agent", "period", "reward", "value"]).reset_index(drop=True)
        found = bx.simulate(wandering, start=rows, periods=1)
        for name, array in found.states.items():
            np.testing.assert_array_equal(array[:, 0], paths.states[name][:, 3])

    def test_labels_and_members_start_a_chain(self, wandering):
        rest = {"counter": 0, "health": 1, "pair": np.zeros(2)}
        for wet in ("wet", Weather.wet, 1, np.array(["wet", "wet"]), pd.Series(["wet", "wet"])):
            found = bx.simulate(wandering, 2, {**rest, "weather": wet}, periods=1)
            np.testing.assert_array_equal(found.states["weather"], [[1], [1]])


def test_what_is_drawn_afresh_follows_the_parameters_of_its_own_period():
    model = bx.Model(
        states={"offer": bx.IID(bx.shocks.Uniform("low", lambda low: low + 1))},
        reward=lambda offer, next_offer: offer + 10 * next_offer,
        discount=1.0,
        horizon=3,
    )
    solved = bx.solve(model, {"low": bx.by_period(np.array([0.0, 5.0, 7.0]))})
    found = bx.simulate(solved, 4000)
    offer = np.asarray(found.states["offer"])
    np.testing.assert_allclose(offer.mean(axis=0), [0.5, 5.5, 7.5], atol=0.02)
    # E[sum of offers + 10 next offers]; after the last period the parameter keeps its last value
    expected = (0.5 + 5.5 + 7.5) + 10 * (5.5 + 7.5 + 7.5)
    gap = np.asarray(found.present_value() - found.value[:, 0])
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(4000)
    np.testing.assert_allclose(np.asarray(solved.value(period=0, offer=0.5)), expected, rtol=1e-9)


def test_brock_mirman_follows_the_closed_form_path():
    levels, rows = np.array([0.9, 1.1]), np.array([[0.8, 0.2], [0.3, 0.7]])
    alpha, beta = 0.36, 0.95
    model = bx.Model(
        states={"capital": bx.Continuous(0.02, 0.6, scale=bx.scales.log), "level": bx.MarkovChain(levels, rows)},
        actions={"consumption": bx.Continuous(1e-6, "output")},
        functions={"output": lambda capital, level, alpha: level * capital**alpha},
        transitions={"capital": lambda output, consumption: output - consumption},
        reward=lambda consumption: jnp.log(consumption),
    )
    solved = bx.solve(model, {"alpha": alpha, "discount": beta})
    with pytest.raises(bx.ModelError, match="periods="):
        bx.simulate(solved, start={"capital": 0.1})
    found = bx.simulate(solved, 500, {"capital": 0.1}, periods=30)
    exact = brock_mirman(alpha, beta, levels, rows)
    capital, level = (np.asarray(found.states[name]) for name in ("capital", "level"))
    reached = alpha * beta * level * capital**alpha
    np.testing.assert_allclose(capital[:, 1:], reached[:, :-1], rtol=1e-5)
    place = (np.asarray(found.final["level"]) == levels[1]).astype(int)
    at_end = exact.value(np.asarray(found.final["capital"]))[np.arange(500), place]
    np.testing.assert_allclose(found.final_value, at_end, rtol=1e-7)


@pytest.fixture(scope="module")
def exercised():
    def next_price(price, z, rate, volatility, step):
        return price * jnp.exp((rate - volatility**2 / 2) * step + volatility * jnp.sqrt(step) * z)

    model = bx.Model(
        states={"price": bx.Continuous(5.0, 400.0, scale=bx.scales.log)},
        shocks={"z": bx.shocks.Normal()},
        transitions={"price": next_price},
        reward=0.0,
        discount=lambda rate, step: jnp.exp(-rate * step),
        stop=lambda price, strike: jnp.maximum(strike - price, 0.0),
        terminal=lambda price, strike: jnp.maximum(strike - price, 0.0),
        horizon=10,
    )
    params = {"rate": 0.06, "volatility": 0.4, "step": 0.1, "strike": 100.0}
    solver = bx.solvers.BackwardInduction(grid={"price": 400}, quadrature={"z": bx.quadrature.Equispaced(61)})
    solved = bx.solve(model, params, solver)
    return solved, bx.simulate(solved, 20_000, {"price": 100.0})


class TestStopping:
    def test_an_agent_who_stops_is_paid_once_and_is_gone(self, exercised):
        _, panel = exercised
        stop, active = np.asarray(panel.actions["stop"]), np.asarray(panel.active)
        assert stop.sum(axis=1).max() == 1 and 0.05 < stop.any(axis=1).mean() < 0.95
        after = np.cumsum(stop, axis=1) - stop
        np.testing.assert_array_equal(active, after == 0)
        reward, price = np.asarray(panel.reward), np.asarray(panel.states["price"])
        np.testing.assert_allclose(reward[stop], np.maximum(100.0 - price[stop], 0.0))
        assert np.all(reward[active & ~stop] == 0)
        assert np.isnan(reward[~active]).all() and np.isnan(price[~active]).all()
        assert np.isnan(np.asarray(panel.final_value)[stop.any(axis=1)]).all()

    def test_the_frame_drops_who_is_gone(self, exercised):
        _, panel = exercised
        frame = panel.frame()
        assert len(frame) == int(panel.active.sum()) < 200_000
        assert not frame.isna().any().any()
        assert frame.stop.sum() == int(panel.actions["stop"].sum())

    def test_the_mean_payoff_is_the_price_of_the_bermudan_put(self, exercised):
        from bellax.models.references import bermudan_put

        _, panel = exercised
        paid = np.asarray(panel.present_value())
        price = bermudan_put(100.0, 100.0, 0.06, 0.4, 1.0, 10)
        assert abs(paid.mean() - price) < 4 * paid.std() / np.sqrt(20_000)


def test_ages_are_in_the_frame_and_realised_discounts_in_the_present_value():
    model = bx.Model(
        states={"value": bx.Discrete(2), "rate": bx.IID(bx.shocks.Uniform(0.5, 0.7))},
        transitions={"value": bx.fixed},
        reward=1.0,
        discount="next_rate",
        horizon=bx.Ages(30, 40, step="5Y"),
    )
    found = bx.simulate(bx.solve(model, {}), 50, {"value": 1})
    frame = found.frame()
    assert frame.age.unique().tolist() == [30.0, 35.0, 40.0]
    assert frame["value"].unique().tolist() == [1]  # the state of that name; V gives way
    np.testing.assert_array_equal(frame["value_"], np.ravel(found.value))
    rate = np.asarray(found.states["rate"])
    np.testing.assert_allclose(found.discount[:, :2], rate[:, 1:])
    np.testing.assert_allclose(found.present_value(), 1 + rate[:, 1] + rate[:, 1] * rate[:, 2], rtol=1e-12)


def test_a_law_that_leaves_its_categories_shows():
    """V knows the law at its nodes only; where a simulation finds it broken, the reward is no number."""
    m = bx.Model(
        states={"w": bx.Continuous(0.0, 10.0), "h": bx.Discrete(2)},
        transitions={"w": lambda w: w, "h": lambda w: jnp.where((w > 5.01) & (w < 5.09), 7, 1)},
        reward=1.0,
        discount=0.9,
        horizon=2,
    )
    found = bx.solve(m, {}, bx.solvers.BackwardInduction(grid={"w": 5}))
    panel = bx.simulate(found, start={"w": np.array([5.0, 5.05]), "h": 0})
    assert np.isnan(np.asarray(panel.present_value())).tolist() == [False, True]


class TestMistakes:
    @pytest.mark.parametrize(
        ("start", "says"),
        [
            ({"welth": 1.0}, "Did you mean 'wealth'"),
            ({}, "lacks the states 'wealth'"),
            ({"wealth": np.ones((3, 2))}, "has shape"),
            ({"wealth": np.nan}, "must be finite"),
            ({"wealth": "rich"}, "takes numbers"),
            ({"wealth": np.ones(9)}, "9 rows, and there are 5"),
            (3.0, "give a dict by state"),
        ],
    )
    def test_of_a_start(self, solution, start, says):
        with pytest.raises((bx.ParameterError, bx.ModelError), match=says):
            bx.simulate(solution, 5, start)

    def test_of_a_category(self):
        model = bx.Model(
            states={"weather": bx.MarkovChain(Weather, ROWS), "kind": bx.Discrete([0.5, 1.5])},
            transitions={"kind": bx.fixed},
            reward="kind",
            discount=0.9,
            horizon=2,
        )
        solved = bx.solve(model, {})
        with pytest.raises(bx.ParameterError, match="Did you mean 'wet'"):
            bx.simulate(solved, 5, {"kind": 0.5, "weather": "wett"})
        with pytest.raises(bx.ParameterError, match="none of its categories"):
            bx.simulate(solved, 5, {"kind": 0.7})
        with pytest.raises(bx.ParameterError, match="lacks the states 'kind'"):
            bx.simulate(solved, 5, {"weather": "wet"})

    @pytest.mark.parametrize("periods", [0, 2.5, HORIZON + 1])
    def test_of_periods(self, solution, periods, untyped):
        with pytest.raises(bx.ParameterError, match="periods is"):
            bx.simulate(solution, 5, {"wealth": 1.0}, periods=periods)

    def test_of_agents(self, solution):
        with pytest.raises(bx.ParameterError, match="agents is 0"):
            bx.simulate(solution, 0, {"wealth": 1.0})

    def test_of_a_chain_that_is_several(self):
        m = bx.Model(
            states={"kind": bx.MarkovChain(2, np.eye(2)), "w": bx.Continuous(0.0, 1.0)},
            transitions={"w": bx.fixed},
            reward=lambda w: w,
            discount=0.5,
            horizon=2,
        )
        found = bx.solve(m, {}, bx.solvers.BackwardInduction(grid={"w": 3}))
        with pytest.raises(bx.ParameterError, match="start lacks the state 'kind'.*several that never meet"):
            bx.simulate(found, 4, {"w": 0.5})
        assert bx.simulate(found, 4, {"w": 0.5, "kind": 1}).agents == 4

    def test_of_what_is_simulated(self, untyped):
        with pytest.raises(bx.ModelError, match="takes a Solution"):
            bx.simulate(merton(), 5)


@pytest.fixture
def untyped():
    """Users run without the type checker of the tests; the library's own messages are what they see."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
