"""Overlapping generations of six cohorts as conditions: Krueger and Kubler (2004) with log utility.

Cohort 1 works and owns nothing; cohorts 1 to 5 save; cohort 6 eats all. Capital is what they saved,
production is Cobb-Douglas with a shock to productivity and to depreciation.
"""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

COHORTS = 6


def capital(holdings):
    return jnp.sum(holdings)


def gross_return(capital, productivity, depreciation, alpha):
    return alpha * productivity * capital ** (alpha - 1) + 1 - depreciation


def wage(capital, productivity, alpha):
    return (1 - alpha) * productivity * capital**alpha


def income(holdings, gross_return, wage, labour):
    """Of each cohort: wealth is what the cohort before it saved, and the youngest has none."""
    return jnp.concatenate([jnp.zeros(1), holdings]) * gross_return + labour * wage


def consumption(income, saving):
    return income - jnp.concatenate([saving, jnp.zeros(1)])


def euler(consumption, next_consumption, next_gross_return, beta):
    """1 = beta E[R' c / c'] for each cohort that will be alive tomorrow, one cohort older."""
    return 1 - beta * next_gross_return * consumption[:-1] / next_consumption[1:]


economy = bx.Conditions(
    states={
        "holdings": bx.Continuous(1e-3, 1.0, shape=(COHORTS - 1,)),
        "productivity": bx.MarkovChain([0.95, 1.05], "moves"),
        "depreciation": bx.IID(bx.shocks.Categorical([0.5, 0.9], probabilities=[0.5, 0.5])),
    },
    unknowns={"saving": bx.Continuous(shape=(COHORTS - 1,))},
    functions={
        "capital": capital,
        "gross_return": gross_return,
        "wage": wage,
        "income": income,
        "consumption": consumption,
    },
    transitions={"holdings": "saving"},
    equations={"euler": euler},
)

PARAMS = {
    "moves": [[0.5, 0.5], [0.5, 0.5]],
    "alpha": 0.3,
    "beta": 0.7,
    "labour": [1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
}


def test_template(template):
    assert template(economy) == {
        "alpha": (
            "functions['gross_return'], functions['wage'], functions['gross_return'] tomorrow, "
            "functions['wage'] tomorrow",
            "",
            "",
        ),
        "labour": ("functions['income'], functions['income'] tomorrow", "", ""),
        "moves": ("transition of state 'productivity'", "", ""),
        "beta": ("equations['euler']", "", ""),
    }


def test_tomorrows_consumption_is_the_same_function_one_period_on(evaluate):
    """Full depreciation: saving b_j / (1 + b_j) of income, b_j = beta + ... + beta^(6-j), is the solution."""
    graph = economy.graphs[""]
    parameters = {name: jnp.asarray(value) for name, value in PARAMS.items()}
    beta = 0.7
    remaining = np.array([sum(beta**i for i in range(1, COHORTS - j)) for j in range(COHORTS - 1)])
    shares = remaining / (1 + remaining)
    np.testing.assert_allclose(shares, [0.659999, 0.639393, 0.605211, 0.543379, 0.411765], atol=1e-6)
    today = {"holdings": jnp.array([0.05, 0.04, 0.03, 0.02, 0.01]), "productivity": 0.95, "depreciation": 1.0}
    saving = shares * evaluate(graph, "income", **today, **parameters)[:-1]
    for productivity in (0.95, 1.05):
        tomorrow = {"holdings": saving, "productivity": productivity, "depreciation": 1.0}
        saving_then = shares * evaluate(graph, "income", **tomorrow, **parameters)[:-1]
        drawn = {"next_productivity": productivity, "next_depreciation": 1.0, "next_saving": saving_then}
        residual = evaluate(graph, "equation:euler", saving=saving, **today, **drawn, **parameters)
        np.testing.assert_allclose(residual, 0.0, atol=1e-12)


def statement(**change):
    return bx.Conditions(**{**{name: getattr(economy, name) for name in economy.__dataclass_fields__}, **change})


def test_a_borrowing_limit_is_a_complementarity():
    m = statement(
        equations={"euler": bx.Complementarity(euler, "saving")},
        unknowns={"saving": bx.Continuous(0.0, shape=(5,))},
    )
    assert set(m.parameters(PARAMS)) == set(PARAMS)
    with pytest.raises(bx.ModelError, match="the unknown 'savings' is unknown.*Did you mean 'saving'"):
        statement(equations={"euler": bx.Complementarity(euler, "savings")})


def test_as_many_equations_as_unknowns_counted_in_numbers():
    with pytest.raises(bx.ModelError, match=r"there are 6 equations \(.'clears': 1, 'euler': 5.\) for 5 unknowns"):
        statement(equations={"euler": euler, "clears": lambda capital: capital - 1}).parameters(PARAMS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transitions": {}}, "state 'holdings' has no law"),
        (
            {"transitions": {"holdings": "saving", "holding": "saving"}},
            "'holding', which is no state.*Did you mean 'holdings'",
        ),
        ({"equations": {}}, "equations is empty"),
        (
            {"equations": {"e": lambda next_savings: next_savings}},
            "'next_savings', which is reserved.*Did you mean 'next_saving'",
        ),
        (
            {"transitions": {"holdings": lambda next_saving: next_saving}},
            "names tomorrow's unknown 'next_saving'",
        ),
        ({"unknowns": {"saving": bx.Discrete(3)}}, r"unknowns\['saving'\] is .*it must be bx.Continuous"),
        ({"unknowns": {"wage": bx.Continuous()}}, "'wage' is used twice, in unknowns and in functions"),
        (
            {"shocks": {"e": bx.shocks.Normal()}, "functions": {**economy.functions, "wage": lambda e: e}},
            "next_wage is named, and 'wage' reads 'e', which is realised only then",
        ),
    ],
)
def test_wrong_statements_are_refused(change, message, untyped):
    with pytest.raises(bx.ModelError, match=message):
        statement(**change)
