"""Value iteration by regression against lattices and enumeration, its files, and its refusals."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.errors import ModelError, SolveError
from bellax.models import bermudan_max_call as max_call
from bellax.problem.exogenous import moved
from bellax.problem.problem import Problem
from bellax.solvers.regression.basis import descending, horner, monomials
from bellax.solvers.regression.monte_carlo import PreparedRegression

SMALL = bx.solvers.RegressionMonteCarlo(degree=3, samples=2048, successors=8, exchangeable=("log_price",))


@pytest.fixture(scope="module")
def two_assets():
    return bx.solve(max_call.of_assets(2), max_call.params, SMALL)


def test_two_assets_are_worth_what_a_lattice_says(two_assets):
    """Near the prices around which paths begin: within one per cent."""
    found = float(two_assets.value(0, log_price=np.full(2, np.log(100.0))))
    assert found == pytest.approx(max_call.lattice_value(2, 100.0), rel=0.015)


def test_it_stops_where_the_payoff_is_the_value(two_assets):
    """Near the end a call that is far in the money on an asset that pays dividends is exercised."""
    prices = np.log(np.array([[160.0, 60.0], [60.0, 160.0], [101.0, 60.0], [60.0, 60.0]]))
    stop = np.asarray(two_assets.policy(8, log_price=prices)["stop"])
    assert stop.tolist() == [True, True, False, False]
    np.testing.assert_allclose(two_assets.value(8, log_price=prices)[:2], 60.0, rtol=1e-12)


def test_prices_may_change_places(two_assets):
    prices = np.log(np.array([[120.0, 90.0], [90.0, 120.0]]))
    first, second = two_assets.value(4, log_price=prices)
    assert float(first) == pytest.approx(float(second), rel=1e-12)


def test_it_is_read_back_from_a_file(two_assets, tmp_path):
    two_assets.save(tmp_path / "call.nc")
    again = bx.load(tmp_path / "call.nc", max_call.of_assets(2))
    prices = np.log(np.array([[120.0, 90.0], [100.0, 101.0]]))
    np.testing.assert_array_equal(again.value(4, log_price=prices), two_assets.value(4, log_price=prices))


def test_horner_sums_the_monomials():
    x = jnp.asarray([0.3, -1.2, 2.0])
    terms = jnp.stack(monomials(x, 4))
    assert len(terms) == 35
    powers = [(i, j, k) for i in range(5) for j in range(5) for k in range(5) if i + j + k <= 4]
    exact = [0.3**i * (-1.2) ** j * 2.0**k for i, j, k in powers]
    np.testing.assert_allclose(np.sort(terms), np.sort(exact), rtol=1e-14)
    coefficients = jnp.asarray(np.random.default_rng(0).normal(size=35))
    assert float(horner(x, coefficients, 4)) == pytest.approx(float(terms @ coefficients), rel=1e-12)


def test_few_and_many_numbers_are_sorted():
    for count in (1, 2, 5, 40):
        x = np.random.default_rng(count).normal(size=count)
        np.testing.assert_array_equal(descending(jnp.asarray(x)), np.sort(x)[::-1])


PATH = bx.Model(
    states={"mood": bx.MarkovChain([0.0, 1.0], [[0.8, 0.2], [0.3, 0.7]]), "x": bx.Continuous(-3.0, 3.0)},
    shocks={"z": bx.shocks.Normal()},
    transitions={"x": lambda x, z, mood: 0.9 * x + (0.1 + 0.3 * mood) * z},
    reward=0.0,
    discount=0.98,
    stop=lambda x, mood: x + 0.2 * mood,
    terminal=lambda x: x,
    horizon=2,
)


def test_categories_have_regressions_of_their_own():
    """A chain beside a number: V in period 1 by Gauss-Hermite nodes in numpy."""
    solution = bx.solve(PATH, {}, replace(SMALL, exchangeable=()))
    for mood, row in ((0.0, (0.8, 0.2)), (1.0, (0.3, 0.7))):
        x = np.array([-0.2, 0.0, 0.2])
        # terminal is linear: 0.98 * 0.9 x, whatever the chain does
        exact = np.maximum(x + 0.2 * mood, 0.98 * 0.9 * x)
        found = solution.value(1, mood=mood, x=x)
        np.testing.assert_allclose(found, exact, atol=0.02)
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        after = 0.9 * x[:, None] + (0.1 + 0.3 * mood) * nodes
        later = sum(p * np.maximum(after + 0.2 * k, 0.98 * 0.9 * after) for k, p in enumerate(row))
        exact = np.maximum(x + 0.2 * mood, 0.98 * later @ weights / weights.sum())
        np.testing.assert_allclose(solution.value(0, mood=mood, x=x), exact, atol=0.03)


def test_what_actions_move_is_read_through_laws_and_shocks():
    model = bx.Model(
        states={name: bx.Continuous(0.0, 1.0) for name in ("a", "b", "c", "d")},
        actions={"u": bx.Continuous(0.0, 1.0)},
        shocks={"z": bx.shocks.Normal(sd="b")},
        transitions={
            "a": lambda a, u: a + u,
            "b": lambda b, a: b + a,
            "c": lambda c, z: c + z,
            "d": lambda d: d,
        },
        reward=lambda u: u,
        discount=0.9,
        horizon=2,
    )
    assert moved(Problem(model.graph, model.clock).plan) == {"a": "u", "b": "a", "c": "b"}


def _model(**changes):
    return replace(max_call.of_assets(2), **changes)


@pytest.mark.parametrize(
    "model, solver, message",
    [
        (_model(horizon=float("inf"), terminal=None), SMALL, "the horizon is infinite"),
        (_model(actions={"u": bx.Continuous(0.0, 1.0)}), SMALL, "'u' is continuous"),
        (
            _model(
                actions={"u": bx.Discrete(2)},
                transitions={"log_price": lambda log_price, u: log_price + u},
                shocks={},
            ),
            SMALL,
            "the law of 'log_price' needs 'u'",
        ),
        (
            _model(actions={"u": bx.Discrete(2)}, constraints={"some": lambda u, strike: u < strike}),
            SMALL,
            "knows no constraints",
        ),
        (_model(), replace(SMALL, exchangeable=("price",)), "exchangeable vector state 'price' is unknown"),
        (_model(), replace(SMALL, features={"f": lambda price: price}), "features: 'f' needs 'price'"),
        (_model(), replace(SMALL, features={"f": lambda z: z.sum()}), "features: 'f' needs 'z', which reads 'z'"),
        (_model(), replace(SMALL, degree=60), "makes 1895 regressors"),
        (_model(), replace(SMALL, start={"price": 1.0}), "start: state 'price' is unknown"),
    ],
)  # fmt: skip
def test_refusals(model, solver, message):
    given = max_call.params | ({"discount": 0.9} if "discount" in model.template()["name"].tolist() else {})
    with pytest.raises(ModelError, match=message):
        bx.solve(model, given, solver)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"successors": 7}, "give an even number"),
        ({"degree": 0}, "degree is 0"),
        ({"exchangeable": "log_price"}, "give names of states"),
        ({"sample": 3}, "option 'sample' is unknown. Did you mean 'samples'"),
    ],
)
def test_options(options, message):
    with pytest.raises(ModelError, match=message):
        bx.solvers.RegressionMonteCarlo(**options)


def test_a_start_of_a_discrete_state_is_refused():
    model = _model(states={**max_call.of_assets(2).states, "kind": bx.Discrete(2)}, transitions={
        "log_price": max_call.next_log_price, "kind": lambda kind: kind})  # fmt: skip
    with pytest.raises(ModelError, match="start has 'kind', of which every category is visited"):
        bx.solve(model, max_call.params, replace(SMALL, start={"kind": 0}))


def test_a_payoff_that_is_no_number_fails_by_name():
    model = _model(terminal=lambda log_price: jnp.sqrt(log_price[0] - 100.0))
    with pytest.raises(SolveError, match="Q is not finite in some period"):
        bx.solve(model, max_call.params, SMALL)
    failed = bx.solve(model, max_call.params, SMALL, throw=False)
    assert failed.result == bx.Result.nonfinite


def test_a_feature_may_read_functions_and_parameters():
    solver = replace(SMALL, features={"spread": lambda log_price, strike: log_price[0] - log_price[1] + 0 * strike})
    found = bx.solve(max_call.of_assets(2), max_call.params, solver)
    assert int(found.stats["regressors"]) == 10 + 4 + 1


def test_starts_share_their_programs(monkeypatch):
    traced, regressed = [], PreparedRegression._regressed
    monkeypatch.setattr(PreparedRegression, "_regressed", lambda *given: traced.append(1) or regressed(*given))
    begins = [{"log_price": np.log([price])} for price in (80.0, 90.0, 100.0)]
    small = replace(SMALL, exchangeable=(), degree=2, samples=64, successors=2)
    found = [bx.solve(max_call.of_assets(1), max_call.params, replace(small, start=start)) for start in begins]
    assert len(traced) == 1
    values = [float(solution.value(4, log_price=np.log([100.0]))) for solution in found]
    assert len(set(values)) == 3
    assert [solution.setting.options.start for solution in found] == begins
