"""Epstein-Zin preferences with survival risk and a bequest: mortality is a regime, not a discount."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx


def next_wealth(wealth, consumption, equity, return_shock, risk_free, premium):
    gross = equity * (risk_free + premium) * return_shock + (1 - equity) * risk_free
    return (wealth - consumption) * gross


alive = bx.Regime(
    states={"wealth": bx.Continuous(0.01, 100.0, scale=bx.scales.log)},
    actions={"consumption": bx.Continuous(1e-3, "wealth"), "equity": bx.Continuous(0.0, 1.0)},
    shocks={"return_shock": bx.shocks.Lognormal(mean=lambda volatility: -(volatility**2) / 2, sd="volatility")},
    transitions={"wealth": next_wealth},
    reward="consumption",
    preferences=bx.EpsteinZin(risk_aversion="risk_aversion", substitution="substitution"),
    next_regime=lambda survival: {"alive": survival, "dead": 1 - survival},
)
model = bx.Model(
    regimes={"alive": alive, "dead": bx.Terminal(value=lambda wealth, bequest_share: bequest_share * wealth)},
    horizon=bx.Ages(65, 100),
)

PARAMS = {
    "risk_aversion": 10.0,
    "substitution": 1.5,
    "risk_free": 1.01,
    "premium": 0.04,
    "volatility": 0.2,
    "survival": bx.by_age(pd.Series(np.linspace(0.99, 0.5, 36), index=range(65, 101))),
    "bequest_share": 0.3,
    "discount": 0.96,
}


def test_template(template):
    assert template(model) == {
        ("alive", "volatility"): ("mean of shock 'return_shock', sd of shock 'return_shock'", "", ""),
        ("alive", "risk_free"): ("transitions['wealth']", "", ""),
        ("alive", "premium"): ("transitions['wealth']", "", ""),
        ("alive", "discount"): ("discount", "", ""),
        ("alive", "survival"): ("next_regime", "", ""),
        ("alive", "risk_aversion"): ("risk_aversion of EpsteinZin", "", ""),
        ("alive", "substitution"): ("substitution of EpsteinZin", "", ""),
        ("dead", "bequest_share"): ("terminal", "", ""),
    }


def test_parameters():
    found = model.parameters(PARAMS)
    assert (float(found["survival"].at(0)), float(found["survival"].at(35))) == (0.99, 0.5)
    with pytest.raises(
        bx.ParameterError, match="'volatility', the .*sd of shock 'return_shock' in regime 'alive', is -0.2"
    ):
        model.parameters({**PARAMS, "volatility": -0.2})


def test_the_bequest_is_paid_where_the_dead_arrive():
    (boundary,) = model.boundaries(model.parameters(PARAMS))
    assert (boundary.source, boundary.target, boundary.state, boundary.owner) == (
        "alive",
        "dead",
        "wealth",
        "alive",
    )


def test_the_return_has_the_mean_that_it_says(evaluate):
    """The log-normal factor has mean one, by the closed form E[exp(-s^2/2 + s e)] = 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    mean = float(evaluate(model.graphs["alive"], "shock:return_shock.mean", volatility=0.2))
    shock = model.all_regimes["alive"].shocks["return_shock"]
    values = [float(shock.realise(jnp.array([n]), mean=jnp.array(mean), sd=jnp.array(0.2))) for n in nodes]
    assert np.dot(values, weights / weights.sum()) == pytest.approx(1.0, abs=1e-14)


def test_preferences_see_parameters_only():
    odd = bx.Regime(**{**vars(alive), "preferences": bx.EpsteinZin(lambda wealth: 1 + wealth, 1.5)})
    with pytest.raises(bx.ModelError, match="risk_aversion of EpsteinZin names the state 'wealth'"):
        bx.Model(regimes={"alive": odd, "dead": bx.Terminal()}, horizon=3)


def test_a_users_own_aggregator_brings_its_parameters(evaluate):
    """The names that the solver supplies are none of the model's; the others are parameters."""

    def aggregator(reward, discount, certainty, curvature):
        return (reward**curvature + discount * certainty**curvature) ** (1 / curvature)

    def certainty_equivalent(values, weights, aversion=2.0):
        return jnp.sum(weights * values ** (1 - aversion)) ** (1 / (1 - aversion))

    m = bx.Model(
        states={"wealth": bx.Continuous(0.1, 1.0)},
        actions={"consumption": bx.Continuous(0.01, "wealth")},
        transitions={"wealth": lambda wealth, consumption: wealth - consumption},
        reward="consumption",
        discount=0.9,
        preferences=bx.Recursive(aggregator, certainty_equivalent),
    )
    table = m.template().set_index("name")
    assert dict(table["default"]) == {"curvature": "", "aversion": 2.0}
    certainty = evaluate(m.graph, "preference:certainty_equivalent", aversion=2.0)
    harmonic = certainty(values=jnp.array([1.0, 3.0]), weights=jnp.array([0.5, 0.5]))
    assert float(harmonic) == pytest.approx(1.5)
    assert set(m.parameters({"curvature": 0.5})) == {"curvature", "aversion"}
