"""A household with a clearing rate: a parameter, which becomes a path by period in a transition."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def labour(productivity, hours):
    return productivity * hours


def resources(assets, labour, r, wage):
    return (1 + r) * assets + wage * labour


def wage(r, alpha, depreciation):
    """The wage that goes with the rate where capital and labour earn their marginal products."""
    capital_per_worker = (alpha / (r + depreciation)) ** (1 / (1 - alpha))
    return (1 - alpha) * capital_per_worker**alpha


household = bx.Model(
    states={
        "assets": bx.Continuous(0.0, 200.0, scale=bx.scales.power(2.0)),
        "productivity": bx.MarkovChain("productivity_levels", "productivity_moves"),
    },
    actions={"consumption": bx.Continuous(1e-4, "resources")},
    functions={"labour": labour, "resources": resources, "wage": wage},
    transitions={"assets": lambda resources, consumption: resources - consumption},
    reward=lambda consumption, risk_aversion: consumption ** (1 - risk_aversion) / (1 - risk_aversion),
)

PARAMS = {
    "r": 0.03,
    "alpha": 0.36,
    "depreciation": 0.08,
    "hours": 1.0,
    "productivity_levels": [0.5, 1.0, 1.5],
    "productivity_moves": [[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]],
    "risk_aversion": 3.0,
    "discount": 0.96,
}


def test_template(template):
    assert template(household) == {
        "hours": ("functions['labour']", "", ""),
        "r": ("functions['resources'], functions['wage']", "", ""),
        "alpha": ("functions['wage']", "", ""),
        "depreciation": ("functions['wage']", "", ""),
        "productivity_moves": ("transition of state 'productivity'", "", ""),
        "productivity_levels": ("values of state 'productivity'", "", ""),
        "risk_aversion": ("reward", "", ""),
        "discount": ("discount", "", ""),
    }


def test_the_wage_of_a_cobb_douglas_economy(evaluate):
    """alpha = .5, r + depreciation = .25: capital per worker 4, output 2, wage half of it."""
    found = float(evaluate(household.graph, "wage", r=0.05, alpha=0.5, depreciation=0.2))
    assert found == pytest.approx(1.0)


def test_what_aggregates_integrate_are_functions_of_the_model():
    assert {"labour", "resources"} <= set(household.functions)
    assert household.graph.leaves("labour", "state") == {"productivity"}


def test_a_path_of_rates_needs_a_finite_horizon():
    path = bx.by_period(np.linspace(0.05, 0.03, 100))
    with pytest.raises(bx.ParameterError, match="'r' is given by period or by age, and the horizon is infinite"):
        household.parameters({**PARAMS, "r": path})
    found = household.parameters({**PARAMS, "r": path}, horizon=100)
    assert (float(found["r"].at(0)), float(found["r"].at(99))) == (0.05, 0.03)
    with pytest.raises(bx.ParameterError, match="'r' has 100 periods, and the model has 150"):
        household.parameters({**PARAMS, "r": path}, horizon=150)


def test_a_plain_array_is_seen_whole_and_refused_where_one_number_is_meant():
    with pytest.raises(bx.ParameterError, match="cannot be evaluated|has shape .100,"):
        household.parameters({**PARAMS, "r": np.linspace(0.05, 0.03, 100)})


def test_chain_of_parameters():
    with pytest.raises(bx.ParameterError, match="'productivity_moves'.*sums to 0.9 in row 1"):
        household.parameters({**PARAMS, "productivity_moves": [[1.0, 0.0], [0.5, 0.4]]})
    assert jnp.shape(household.parameters(PARAMS)["productivity_levels"]) == (3,)
