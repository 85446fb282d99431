"""Certificates against closed forms: silent about what is exact, and loud in the right amount about what is not."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import bellax as bx
from bellax.certify import stage
from bellax.models.references import bermudan_put, brock_mirman, merton_crra, merton_log

DISCOUNT, MU, SIGMA = 0.96, 0.04, 0.15


@pytest.fixture
def untyped():
    """Users run without the type checker of the tests; the library's own messages are what they see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def merton(**changes):
    slots = {
        "states": {"wealth": bx.Continuous(1e-2, 1e3, scale=bx.scales.log)},
        "actions": {"consumption": bx.Continuous(0.0, "wealth")},
        "shocks": {"z": bx.shocks.Normal()},
        "transitions": {
            "wealth": lambda wealth, consumption, z, mu, sigma: (wealth - consumption) * jnp.exp(mu + sigma * z)
        },
        "reward": lambda consumption: jnp.log(consumption),
        "terminal": lambda wealth, intercept, slope: intercept + slope * jnp.log(wealth),
        "horizon": 6,
    }
    return bx.Model(**{**slots, **changes})


def parameters():
    intercept, slope = merton_log(DISCOUNT, MU)
    return {"mu": MU, "sigma": SIGMA, "discount": DISCOUNT, "intercept": intercept, "slope": slope}


@pytest.fixture(scope="module")
def exact():
    """Log Merton, whose V is a straight line in the coordinate of its grid."""
    return bx.solve(merton(), parameters(), bx.solvers.BackwardInduction(grid={"wealth": 40}))


@pytest.fixture(scope="module")
def certificate(exact):
    return bx.certify(exact, points=600, agents=1000)


class TestWhatIsExact:
    def test_residuals_are_rounding(self, certificate):
        assert certificate.residuals["max"] < 1e-12
        assert certificate.value_error < 1e-10
        assert certificate.discount == pytest.approx(DISCOUNT)
        assert certificate.undefined == 0

    def test_euler_errors_are_rounding(self, certificate):
        assert certificate.euler["consumption"]["max"] < -11
        assert certificate.euler["consumption"]["interior"] == 1
        assert certificate.euler_missing == ""

    def test_simulated_value_agrees(self, certificate):
        simulated = certificate.simulated
        intercept, slope = merton_log(DISCOUNT, MU)
        middle = math.sqrt(1e-2 * 1e3)
        assert simulated["value"] == pytest.approx(intercept + slope * math.log(middle), rel=1e-10)
        assert abs(simulated["z"]) < 4
        # log wealth has independent increments: B times the sum of discounted shocks
        spread = SIGMA * slope * math.sqrt(sum(DISCOUNT ** (2 * t) for t in range(1, 7)))
        assert simulated["standard_error"] == pytest.approx(spread / math.sqrt(1000), rel=0.1)

    def test_a_panel_replaces_the_simulation(self, exact):
        panel = bx.simulate(exact, 50, {"wealth": 3.0})
        found = bx.certify(exact, points=600, panel=panel)
        assert found.simulated["agents"] == 50
        assert found.simulated["value"] == pytest.approx(float(panel.value[0, 0]))

    def test_equal_shapes_are_not_traced_again(self, exact, certificate, monkeypatch):
        from bellax.certify import examine

        def fail(*_):
            raise AssertionError("traced again")

        monkeypatch.setattr(examine, "stage", fail)
        again = bx.certify(exact, points=600, agents=1000)
        assert again == certificate
        assert bx.certify(exact, points=600, agents=1000, seed=5).residuals != certificate.residuals
        with pytest.raises(AssertionError, match="traced again"):
            bx.certify(exact, points=60, agents=1000)


class TestReport:
    def test_text_names_the_worst_place(self, certificate):
        text = str(certificate)
        assert f"worst at period = {certificate.worst['period']}, wealth = " in text
        for word in ("Bellman residual at 600 points in 6 periods", "Value error", "Euler", "leaves the grid", "z ="):
            assert word in text

    def test_dict_is_json_and_the_table_has_every_number(self, certificate):
        data = json.loads(json.dumps(certificate.as_dict(), allow_nan=False))
        assert data["residuals"]["99%"] == certificate.residuals["99%"]
        table = certificate.table().set_index(["quantity", "of", "statistic"]).value
        assert table["Euler error, log10", "consumption", "90%"] == certificate.euler["consumption"]["90%"]
        assert table["escape, path", "wealth", "above"] == certificate.escape["path"]["wealth"]["above"]

    def test_it_is_frozen(self, certificate):
        with pytest.raises(AttributeError):
            certificate.points = 3


LEVELS, ROWS = np.array([0.9, 1.1]), np.array([[0.8, 0.2], [0.3, 0.7]])
ALPHA, BETA = 0.36, 0.95

growth = bx.Model(
    states={"capital": bx.Continuous(0.02, 0.6, scale=bx.scales.log), "level": bx.MarkovChain(LEVELS, ROWS)},
    actions={"consumption": bx.Continuous(1e-6, "output")},
    functions={"output": lambda capital, level, alpha: level * capital**alpha},
    transitions={"capital": lambda output, consumption: output - consumption},
    reward=lambda consumption: jnp.log(consumption),
)


def growth_error(solution, lower=0.02, upper=0.6):
    """The largest true error of V between the nodes."""
    capital = np.geomspace(lower, upper, 1501)
    exact = brock_mirman(ALPHA, BETA, LEVELS, ROWS).value(capital)
    found = [solution.value(capital=capital, level=level) for level in LEVELS]
    return float(np.abs(np.stack(found, axis=1) - exact).max())


class TestGrowth:
    @pytest.mark.parametrize("nodes", [4, 12])
    def test_a_coarse_linear_interpolant_is_caught_by_the_right_amount(self, nodes):
        # Capital in units, not in logs, around its ergodic set: V is curved there, and a straight line is off.
        states = {"capital": bx.Continuous(0.1, 0.35), "level": bx.MarkovChain(LEVELS, ROWS)}
        solver = bx.solvers.ValueIteration(grid={"capital": nodes}, interpolant=bx.interpolants.Linear())
        solution = bx.solve(dataclasses.replace(growth, states=states), {"alpha": ALPHA, "discount": BETA}, solver)
        certificate, true = bx.certify(solution, points=1000, agents=200), growth_error(solution, 0.1, 0.35)
        assert true > 0.1 / nodes**2
        assert true <= certificate.value_error <= 15 * true
        assert certificate.worst["residual"] == certificate.residuals["max"]
        assert certificate.worst["level"] in ("0.9", "1.1")

    def test_a_good_solution_is_known_to_be_good(self):
        # V is linear in log capital: 30 nodes and the envelope's slopes are exact up to the tolerance of the solve.
        solver = bx.solvers.PolicyIteration(grid={"capital": 30}, tolerance=1e-13)
        solution = bx.solve(growth, {"alpha": ALPHA, "discount": BETA}, solver)
        certificate = bx.certify(solution, points=500, agents=200)
        assert growth_error(solution) < 1e-8
        assert certificate.value_error < 1e-8
        assert certificate.euler["consumption"]["99%"] < -7
        assert abs(certificate.simulated["z"]) < 4
        assert certificate.periods == ()


class TestEuler:
    def test_an_action_off_by_a_known_share_has_the_error_of_the_formula(self):
        # With candidates u = c / w and V = A + B log w: g = 1/c - b B / (w - c), r_cc = -1/c^2.
        count = 130
        solver = bx.solvers.BackwardInduction(
            grid={"wealth": 40},
            # V is a straight line in the logarithm, on the grid and off it
            interpolant=bx.interpolants.Linear("linear"),
            maximiser=bx.maximise.Enumerate(grid={"consumption": count}),
        )
        found = bx.certify(bx.solve(merton(), parameters(), solver), points=120, agents=50).euler["consumption"]
        u = np.arange(1, count) / (count - 1)
        best = u[np.argmax(np.log(u[:-1]) + DISCOUNT / (1 - DISCOUNT) * np.log(1 - u[:-1]))]
        share = abs(1 - DISCOUNT / (1 - DISCOUNT) * best / (1 - best))
        assert share > 1e-3
        for quantile in ("50%", "max"):
            assert found[quantile] == pytest.approx(np.log10(share), abs=1e-4)

    def test_a_bound_has_no_euler_equation(self):
        # Nobody can save: consumption is at its upper bound wherever patience would have some left.
        model = merton(actions={"consumption": bx.Continuous(0.0, lambda wealth: jnp.minimum(wealth, 0.01 * wealth))})
        found = bx.certify(bx.solve(model, parameters()), points=60, agents=50)
        assert found.euler == {} and "between its bounds" in found.euler_missing
        assert "between its bounds" in str(found)

    def test_linear_rewards_have_none(self):
        model = merton(reward=lambda consumption: consumption, terminal=lambda wealth: jnp.sqrt(wealth))
        params = {"mu": MU, "sigma": SIGMA, "discount": DISCOUNT}
        assert bx.certify(bx.solve(model, params), points=60, agents=50).euler == {}

    def test_discrete_actions_have_none(self):
        model = bx.Model(
            states={"place": bx.Discrete(3)},
            actions={"move": bx.Discrete(2)},
            transitions={"place": lambda place, move: jnp.minimum(place + move, 2)},
            reward=lambda place, move: place - 0.1 * move,
        )
        found = bx.certify(bx.solve(model, {"discount": 0.9}), points=30, agents=20)
        assert found.euler_missing == "no continuous action"
        assert found.residuals["max"] < 1e-10
        assert math.isnan(found.simulated["z"]) and found.as_dict()["simulated"]["z"] is None


class TestQuadrature:
    @pytest.mark.parametrize("nodes", [1, 2])
    def test_too_few_nodes_show_as_the_difference_of_the_expectations(self, nodes):
        # V_t = -a_t w^-2 / 2 with a_t = (1 + (M a_{t+1})^(1/3))^3, consumption w / a_t^(1/3), and M = b exp(-2 mu)
        # E exp(-2 sigma z): exp(2 sigma^2), but 1 on one node and cosh(2 sigma) on two. The rest is the grid's edge.
        sigma, horizon = 0.4, 2
        said, is_really = (1.0 if nodes == 1 else math.cosh(2 * sigma)), math.exp(2 * sigma**2)
        model = merton(
            reward=lambda consumption: consumption**-2 / -2, terminal=lambda wealth: wealth**-2 / -2, horizon=horizon
        )
        solver = bx.solvers.BackwardInduction(grid={"wealth": 300}, quadrature={"z": nodes})
        params = {"mu": MU, "sigma": sigma, "discount": DISCOUNT}
        solution = bx.solve(model, params, solver)
        found = bx.certify(solution, points=400, agents=50)
        residuals, a_next = [], 1.0
        for _ in range(horizon):
            factor = DISCOUNT * math.exp(-2 * MU)
            a = (1 + (factor * said * a_next) ** (1 / 3)) ** 3
            share = a ** (-1 / 3)
            residuals.append((share**-2 + factor * is_really * a_next * (1 - share) ** -2) / a - 1)
            a_next = a
        assert found.residuals["max"] == pytest.approx(max(residuals), rel=0.08)
        wealth = np.linspace(4.0, 6.0, 11)
        exact = merton_crra(3.0, DISCOUNT, MU, sigma, horizon, terminal=1.0)
        true = np.abs(solution.value(period=0, wealth=wealth) + exact.coefficient[0] * wealth**-2 / 2)
        assert true.min() > 1e-4 and np.all(true < found.value_error)


class TestSimulatedValue:
    def test_a_chain_of_two_nodes_is_told_from_the_law_it_stands_for(self):
        # V of the chain misses the convexity of exp: E exp(z) is exp(s^2/2), and cosh(s) on two nodes.
        model = bx.Model(
            states={"z": bx.AR1(rho=0.0, sigma=1.0)},
            reward=lambda next_z: jnp.exp(next_z),
            horizon=3,
        )
        scores = {}
        for nodes in (2, 9):
            solution = bx.solve(model, {"discount": 1.0}, bx.solvers.BackwardInduction(grid={"z": nodes}))
            scores[nodes] = bx.certify(solution, points=10, agents=4000).simulated
        spread = math.sqrt(3 * (math.exp(2) - math.exp(1)) / 4000)
        expected = 3 * (math.exp(0.5) - math.cosh(1.0)) / spread
        assert scores[2]["z"] == pytest.approx(expected, abs=4 + 0.2 * expected)
        assert scores[2]["z"] > 4
        assert abs(scores[9]["z"]) < 4


class TestEscape:
    def test_probabilities_are_those_of_the_law(self):
        model = bx.Model(
            states={"place": bx.Continuous(0.0, 10.0)},
            shocks={"step": bx.shocks.Categorical([-2.0, 1.0], [0.25, 0.75])},
            transitions={"place": lambda place, step: place + step},
            reward="place",
            horizon=2,
        )
        solution = bx.solve(model, {"discount": 0.9})
        found = bx.certify(solution, points=2000, agents=4000, start={"place": 9.5})
        # over uniform places: a fifth may fall below with probability 1/4, a tenth rise above with 3/4
        assert found.escape["points"]["place"]["below"] == pytest.approx(0.25 * 0.2, abs=2e-3)
        assert found.escape["points"]["place"]["above"] == pytest.approx(0.75 * 0.1, abs=2e-3)
        # from 9.5: above with 3/4 after one step; after two with (3/4)^2 only, as up and down ends at 8.5
        assert found.escape["path"]["place"]["above"] == pytest.approx((0.75 + 0.75**2) / 2, abs=0.03)
        assert found.escape["path"]["place"]["below"] == 0


def test_a_put_is_certified_where_it_is_held_and_where_it_is_exercised():
    def next_price(price, z, rate, volatility, step):
        return price * jnp.exp((rate - volatility**2 / 2) * step + volatility * jnp.sqrt(step) * z)

    model = bx.Model(
        states={"price": bx.Continuous(5.0, 1000.0, scale=bx.scales.log)},
        shocks={"z": bx.shocks.Normal()},
        transitions={"price": next_price},
        reward=0.0,
        discount=lambda rate, step: jnp.exp(-rate * step),
        stop=lambda price, strike: jnp.maximum(strike - price, 0.0),
        terminal=lambda price, strike: jnp.maximum(strike - price, 0.0),
        horizon=5,
    )
    params = {"rate": 0.06, "volatility": 0.4, "step": 0.2, "strike": 100.0}
    errors = {}
    for nodes in (20, 200):
        solver = bx.solvers.BackwardInduction(grid={"price": nodes}, quadrature={"z": bx.quadrature.Equispaced(41)})
        solution = bx.solve(model, params, solver)
        found = bx.certify(solution, points=1000, agents=500, start={"price": 100.0})
        price = np.linspace(70.0, 150.0, 41)
        exact = bermudan_put(price, 100.0, 0.06, 0.4, 1.0, 5)
        true = np.abs(np.asarray(solution.value(period=0, price=price)) - exact).max()
        assert true < found.value_error
        errors[nodes] = found.value_error
    assert errors[200] < errors[20] / 5


@pytest.mark.parametrize(("nodes", "horizon"), [(7, math.inf), (20, 4), (51, math.inf)])
def test_what_the_nodes_of_an_iid_state_leave_out(nodes, horizon):
    """McCall's search: W = benefit + b E max(W, offer / (1 - b)), offers uniform; a sum over nodes misses the kink."""
    m = bx.Model(
        states={"offer": bx.IID(bx.shocks.Uniform(0.0, 1.0))},
        stop=lambda offer, discount: offer / (1 - discount),
        reward=lambda benefit: benefit,
        horizon=horizon,
    )
    b, benefit = 0.9, 0.2
    finite = math.isfinite(horizon)
    waiting = benefit if finite else 5.0  # in the last period nothing follows
    for _ in range(horizon - 1 if finite else 2000):
        r = waiting * (1 - b)
        waiting = benefit + b * (waiting * r + (1 - r**2) / 2 / (1 - b))
    solver = (bx.solvers.BackwardInduction if finite else bx.solvers.PolicyIteration)(grid={"offer": nodes})
    solution = bx.solve(m, {"benefit": benefit, "discount": b}, solver)
    true = abs(float(solution.value(**({"period": 0} if finite else {}), offer=0.0)) - waiting)
    found = bx.certify(solution, points=50, agents=20, periods=None if finite else 20)
    assert found.own_nodes == ()
    assert true < found.value_error < 6 * true


def test_states_on_the_nodes_of_the_solver_are_named(monkeypatch):
    """McCall's search: V is exact on the nodes of the offers, and off by what the nodes leave out."""
    monkeypatch.setattr(stage, "MOST_DRAWN", 5)
    m = bx.Model(
        states={"offer": bx.IID(bx.shocks.Uniform(0.0, 1.0))},
        stop=lambda offer, discount: offer / (1 - discount),
        reward=lambda benefit: benefit,
    )
    certificate = bx.certify(bx.solve(m, {"benefit": 0.2, "discount": 0.9}), points=50, agents=100)
    assert certificate.own_nodes == ("offer",)
    assert "on the solver's nodes of offer: what they leave out shows in the simulated value only" in str(certificate)
    assert certificate.start == {"offer": "various"}


class TestMistakes:
    def test_a_failed_solve_is_not_certified(self):
        solution = bx.solve(
            growth, {"alpha": ALPHA, "discount": BETA}, bx.solvers.ValueIteration(max_steps=2), throw=False
        )
        with pytest.raises(bx.ModelError, match="max_steps_reached"):
            bx.certify(solution)

    def test_what_is_no_solution(self, exact, untyped):
        with pytest.raises(bx.ModelError, match="takes a Solution"):
            bx.certify(merton())

    def test_a_panel_of_another_solution(self, exact):
        other = bx.solve(merton(), parameters(), bx.solvers.BackwardInduction(grid={"wealth": 10}))
        with pytest.raises(bx.ModelError, match="another model, solver or parameters"):
            bx.certify(exact, panel=bx.simulate(other, 5, {"wealth": 1.0}))

    def test_a_panel_of_other_parameters(self, exact):
        other = bx.solve(merton(), parameters() | {"sigma": 0.2}, exact.setting.options)
        panel = bx.simulate(other, 10, {"wealth": 10.0})
        with pytest.raises(bx.ModelError, match="panel is of another model, solver or parameters"):
            bx.certify(exact, points=6, panel=panel)

    def test_a_traced_solution(self):
        model, solver = merton(), bx.solvers.BackwardInduction(grid={"wealth": 10})

        def error(mu):
            return bx.certify(bx.solve(model, {**parameters(), "mu": mu}, solver)).value_error

        with pytest.raises(bx.ModelError, match="being traced"):
            jax.grad(error)(MU)


def test_an_action_at_a_kink_has_no_euler_equation():
    """c = w / 2 where more is dear: slopes of Q on both sides are not zero, and nothing is wrong with it."""

    def reward(c, w):
        return jnp.log(c) - jnp.where(c > 0.5 * w, 3.0 / w, 0.5 / w) * (c - 0.5 * w)

    model = bx.Model(
        states={"w": bx.Continuous(1.0, 2.0)},
        actions={"c": bx.Continuous(0.1, "w")},
        transitions={"w": bx.fixed},
        reward=reward,
        horizon=2,
    )
    solution = bx.solve(model, {"discount": 1.0}, bx.solvers.BackwardInduction(grid={"w": 9}))
    np.testing.assert_allclose(solution.policy(period=0, w=1.3)["c"], 0.65, rtol=1e-9)
    certificate = bx.certify(solution, points=60, agents=20)
    assert certificate.euler == {} and "between its bounds" in certificate.euler_missing
