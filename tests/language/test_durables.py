"""A durable with a proportional cost of adjustment: keep what has depreciated, or sell it and buy another."""

from enum import IntEnum

import jax.numpy as jnp
import pytest

import bellax as bx


class Adjust(IntEnum):
    keep = 0
    trade = 1


def worn(durable, depreciation):
    return (1 - depreciation) * durable


def budget(assets, income, worn, adjust, durable_cost):
    """Liquid means for consumption and a new durable; the old one is sold at a loss where it is traded."""
    return assets + income + (1 - durable_cost) * worn * (adjust == Adjust.trade)


def least_stock(worn, adjust):
    return jnp.where(adjust == Adjust.trade, 0.01, worn)


def most_stock(worn, adjust, budget):
    return jnp.where(adjust == Adjust.trade, budget - 0.01, worn)


def left_after_durable(budget, stock, adjust):
    return budget - stock * (adjust == Adjust.trade)


model = bx.Model(
    states={
        "assets": bx.Continuous(0.0, 30.0, scale=bx.scales.power(2.0)),
        "durable": bx.Continuous(0.01, 20.0, scale=bx.scales.log),
        "income": bx.MarkovChain([0.7, 1.0, 1.3], "income_moves"),
    },
    actions={
        "adjust": bx.Discrete(Adjust),
        "stock": bx.Continuous(least_stock, most_stock),
        "consumption": bx.Continuous(0.01, "left_after_durable"),
    },
    functions={"worn": worn, "budget": budget, "left_after_durable": left_after_durable},
    transitions={
        "assets": lambda left_after_durable, consumption, interest: (1 + interest) * (left_after_durable - consumption),
        "durable": "stock",
    },
    reward=lambda consumption, stock, share: share * jnp.log(consumption) + (1 - share) * jnp.log(stock),
)

PARAMS = {
    "depreciation": 0.1,
    "durable_cost": 0.2,
    "interest": 0.03,
    "share": 0.7,
    "discount": 0.95,
    "income_moves": [[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]],
}


def test_template(template):
    assert template(model) == {
        "depreciation": ("functions['worn']", "", ""),
        "durable_cost": ("functions['budget']", "", ""),
        "income_moves": ("transition of state 'income'", "", ""),
        "interest": ("transitions['assets']", "", ""),
        "share": ("reward", "", ""),
        "discount": ("discount", "", ""),
    }


def test_parameters():
    assert set(model.parameters(PARAMS)) == set(PARAMS)
    with pytest.raises(bx.ParameterError, match="missing parameters: 'share' .named by reward."):
        model.parameters({k: v for k, v in PARAMS.items() if k != "share"})


def test_bounds_follow_the_decision_before_them(evaluate):
    """Who keeps has equal bounds, and no choice; who trades sells the old stock at a loss of a fifth."""
    assert model.graph.action_order == ["adjust", "stock", "consumption"]
    names = {"assets": 2.0, "income": 1.0, "durable": 10.0, "depreciation": 0.1, "durable_cost": 0.2}
    keep = [evaluate(model.graph, f"{side}:stock", adjust=Adjust.keep, **names) for side in ("lower", "upper")]
    assert [float(bound) for bound in keep] == [9.0, 9.0]
    trade = evaluate(model.graph, "upper:stock", adjust=Adjust.trade, **names)
    assert float(trade) == pytest.approx(2 + 1 + 0.8 * 9 - 0.01)
    assert float(evaluate(model.graph, "upper:consumption", adjust=Adjust.keep, stock=9.0, **names)) == 3.0
    assert float(evaluate(model.graph, "upper:consumption", adjust=Adjust.trade, stock=4.0, **names)) == pytest.approx(
        6.2
    )


def test_bounds_in_a_circle_are_refused():
    circle = {"stock": bx.Continuous(0.0, "consumption"), "consumption": bx.Continuous(0.0, "stock")}
    with pytest.raises(bx.ModelError, match="bounds of the actions name each other in a circle"):
        bx.Model(
            states={"durable": bx.Continuous(0.1, 1.0)},
            actions=circle,
            transitions={"durable": "stock"},
            reward="consumption",
        )
