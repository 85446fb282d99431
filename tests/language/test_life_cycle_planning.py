"""Consumption, retirement and a portfolio under mortality, market regimes and a warm-glow bequest."""

from enum import IntEnum

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx


class Market(IntEnum):
    bear = 0
    bull = 1


class Status(IntEnum):
    stay = 0
    retire = 1


def crra(amount, risk_aversion):
    return amount ** (1 - risk_aversion) / (1 - risk_aversion)


def utility(consumption, risk_aversion):
    return crra(consumption, risk_aversion)


def savings(wealth, income, consumption):
    return wealth + income - consumption


def stock_return(next_market, z, stock_mean, stock_sd):
    """The return of the year that begins now is that of the market it leads into."""
    return jnp.exp(stock_mean[next_market] + stock_sd[next_market] * z)


def next_wealth(savings, equity, stock_return, bond_return):
    return savings * (equity * stock_return + (1 - equity) * bond_return)


def bequest(wealth, bequest_weight, luxury, risk_aversion):
    return bequest_weight * crra(wealth + luxury, risk_aversion)


working = bx.Regime(
    actions={"status": bx.Discrete(Status)},
    functions={"income": lambda salary: salary},
    reward=lambda utility, status, effort: utility - effort * (status == Status.stay),
    next_regime=lambda survival, status: {
        "working": survival * (status == Status.stay),
        "retired": survival * (status == Status.retire),
        "dead": 1 - survival,
    },
    active=lambda age: age < 75,
)
retired = bx.Regime(
    functions={"income": lambda pension: pension},
    reward="utility",
    next_regime=lambda survival: {"retired": survival, "dead": 1 - survival},
)

model = bx.Model(
    regimes={"working": working, "retired": retired, "dead": bx.Terminal(value=bequest)},
    states={
        "wealth": bx.Continuous(0.1, 100.0, scale=bx.scales.log),
        "market": bx.MarkovChain(Market, "market_moves"),
    },
    actions={
        "consumption": bx.Continuous(0.01, lambda wealth, income: wealth + income),
        "equity": bx.Continuous(0.0, 1.0),
    },
    shocks={"z": bx.shocks.Normal()},
    functions={"utility": utility, "savings": savings, "stock_return": stock_return},
    transitions={"wealth": next_wealth},
    horizon=bx.Ages(25, 99),
)

AGES = range(25, 100)
PARAMS = {
    "market_moves": pd.DataFrame({"bull": {"bull": 0.8, "bear": 0.4}, "bear": {"bull": 0.2, "bear": 0.6}}),
    "stock_mean": pd.Series({"bull": 0.09, "bear": -0.02}),
    "stock_sd": pd.Series({"bull": 0.14, "bear": 0.25}),
    "bond_return": 1.02,
    "survival": bx.by_age(pd.Series({age: 1 - 0.0004 * 1.08 ** (age - 25) for age in AGES})),
    "salary": bx.by_age(pd.Series({age: 1.0 for age in AGES})),
    "pension": 0.4,
    "effort": 0.2,
    "risk_aversion": 3.0,
    "bequest_weight": 2.0,
    "luxury": 1.0,
    "discount": 0.96,
}


def test_template(template):
    table = template(model)
    assert {name for _, name in table} == set(PARAMS)
    assert table["working", "market_moves"] == ("transition of state 'market'", "", "")
    assert table["dead", "risk_aversion"] == ("terminal", "", "")
    assert ("retired", "effort") not in table
    assert ("dead", "survival") not in table


def test_the_chains_matrix_is_aligned_on_both_sides():
    np.testing.assert_array_equal(model.parameters(PARAMS)["market_moves"], [[0.6, 0.4], [0.2, 0.8]])


def test_the_return_depends_on_the_market_that_is_reached(evaluate):
    graph = model.graphs["retired"]
    given = {"stock_mean": jnp.array([-0.02, 0.09]), "stock_sd": jnp.array([0.25, 0.14]), "bond_return": 1.02}
    wealth = evaluate(
        graph,
        "next_wealth",
        wealth=10.0,
        pension=1.0,
        consumption=1.0,
        equity=0.5,
        next_market=Market.bull,
        z=0.0,
        **given,
    )
    assert float(wealth) == pytest.approx(10 * (0.5 * 1.0941742837052104 + 0.5 * 1.02))
    assert graph.leaves("next_wealth", "shock", "next") == {"z", "next_market"}


def test_boundaries():
    found = {(b.source, b.target, b.state): b.owner for b in model.boundaries(model.parameters(PARAMS))}
    assert found == {
        ("working", "retired", "wealth"): "working",
        ("working", "retired", "market"): "working",
        ("working", "dead", "wealth"): "working",
        ("retired", "dead", "wealth"): "retired",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"market_moves": np.array([[0.6, 0.5], [0.2, 0.8]])},
            "sums to 1.1 in row 0; probabilities sum to one",
        ),
        ({"market_moves": np.eye(3)}, r"has shape \(3, 3\); it must have shape \(2, 2\)"),
        ({"market_moves": np.array([[1.6, -0.6], [0.2, 0.8]])}, "holds the probability -0.6"),
        ({"stock_mean": pd.Series({"bull": 0.1, "beer": 0.0})}, "Did you mean 'bear'"),
        ({"salary": pd.Series({age: 1.0 for age in AGES})}, "bx.by_age"),
        ({"effort": float("nan")}, "'effort' contains NaN"),
        ({"effort": "high"}, "'effort' is 'high', which is no number"),
    ],
)
def test_wrong_parameters_are_refused(change, message):
    with pytest.raises(bx.ParameterError, match=message):
        model.parameters({**PARAMS, **change})
