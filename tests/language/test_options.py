"""Optimal stopping: a put, one whose volatility is a chain, a call on the largest of five assets."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def payoff(price, strike):
    return jnp.maximum(strike - price, 0.0)


def next_price(price, z, rate, volatility, step):
    return price * jnp.exp((rate - volatility**2 / 2) * step + volatility * jnp.sqrt(step) * z)


put = bx.Model(
    states={"price": bx.Continuous(1.0, 500.0, scale=bx.scales.log)},
    shocks={"z": bx.shocks.Normal()},
    transitions={"price": next_price},
    reward=0.0,
    discount=lambda rate, step: jnp.exp(-rate * step),
    stop=payoff,
    terminal=payoff,
    horizon=50,
)

chain_put = bx.Model(
    states={
        "price": bx.Continuous(1.0, 500.0, scale=bx.scales.log),
        "volatility": bx.MarkovChain([0.15, 0.45], [[0.98, 0.02], [0.05, 0.95]]),
    },
    shocks={"z": bx.shocks.Normal()},
    transitions={"price": next_price},
    reward=0.0,
    discount=lambda rate, step: jnp.exp(-rate * step),
    stop=payoff,
    terminal=payoff,
    horizon=50,
)


def largest(prices, strike):
    return jnp.maximum(jnp.max(prices) - strike, 0.0)


max_call = bx.Model(
    states={"prices": bx.Continuous(10.0, 1000.0, scale=bx.scales.log, shape=(5,))},
    shocks={"returns": bx.shocks.MultivariateNormal(covariance="covariance", size=5)},
    transitions={
        "prices": lambda prices, returns, rate, dividend, volatility, step: (
            prices * jnp.exp((rate - dividend - volatility**2 / 2) * step + returns)
        )
    },
    functions={
        "covariance": lambda volatility, correlated, step: (
            volatility**2 * step * ((1 - correlated) * jnp.eye(5) + correlated * jnp.ones((5, 5)))
        )
    },
    reward=0.0,
    discount=lambda rate, step: jnp.exp(-rate * step),
    stop=largest,
    terminal=largest,
    horizon=9,
)


def test_templates(template):
    law = "transitions['price']"
    expected = {
        "rate": (f"{law}, discount", "", ""),
        "volatility": (law, "", ""),
        "step": (f"{law}, discount", "", ""),
        "strike": ("stop, terminal", "", ""),
    }
    assert template(put) == expected
    assert template(chain_put) == {name: row for name, row in expected.items() if name != "volatility"}
    assert list(template(max_call)) == ["volatility", "correlated", "step", "rate", "dividend", "strike"]


def test_the_chain_takes_the_place_of_the_parameter():
    given = {"rate": 0.05, "volatility": 0.2, "step": 0.02, "strike": 100.0}
    assert set(put.parameters(given)) == set(given)
    with pytest.raises(bx.ParameterError, match="'volatility' is not used"):
        chain_put.parameters(given)


def test_the_forward_is_a_martingale_after_the_rate(evaluate):
    """E[S'] = S exp(rate step), at the nodes of an exact rule, for a price whose volatility is a state."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(15)
    given = {"price": 100.0, "rate": 0.05, "step": 0.02, "volatility": 0.45}
    prices = [float(evaluate(chain_put.graph, "next_price", z=node, **given)) for node in nodes]
    assert np.dot(prices, weights / weights.sum()) == pytest.approx(100.10005001667084, rel=1e-12)


def test_payoff_and_covariance(evaluate):
    assert float(evaluate(put.graph, "slot:stop", price=90.0, strike=100.0)) == 10.0
    prices = jnp.array([90.0, 130.0, 100.0, 120.0, 80.0])
    assert float(evaluate(max_call.graph, "slot:stop", prices=prices, strike=100.0)) == 30.0
    covariance = evaluate(max_call.graph, "shock:returns.covariance", volatility=0.2, correlated=0.25, step=0.5)
    assert (float(covariance[0, 0]), float(covariance[1, 4])) == pytest.approx((0.02, 0.005))


def test_the_call_takes_parameters():
    given = {
        "rate": 0.05,
        "dividend": 0.1,
        "volatility": 0.2,
        "correlated": 0.0,
        "step": 1 / 3,
        "strike": 100.0,
    }
    assert float(max_call.parameters(given)["dividend"]) == 0.1
    with pytest.raises(
        bx.ParameterError,
        match=r"functions\['covariance'\] cannot be evaluated.*'volatility' has shape \(3,\)",
    ):
        max_call.parameters({**given, "volatility": np.ones(3)})


def test_stopping_sees_states_and_nothing_that_comes_later():
    with pytest.raises(bx.ModelError, match="stop names the shock 'z'; it may name parameters, period, age, states"):
        bx.Model(**{**{k: v for k, v in vars(put).items() if k in SLOTS}, "stop": lambda price, z: price * z})


SLOTS = ("states", "shocks", "transitions", "reward", "discount", "stop", "terminal", "horizon")
