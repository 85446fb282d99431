"""Three categories of health that become two at retirement, by a law whose parameter the target owns."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models.health_regimes import Frailty, Health, Labor, collapse, dead, next_wealth, retired, utility, working
from bellax.models.health_regimes import params as PARAMS


def model(working=working, retired=retired, dead=dead):
    return bx.Model(
        regimes={"working": working, "retired": retired, "dead": dead},
        states={"wealth": bx.Continuous(0.0, 50.0, scale=bx.scales.power(2.0))},
        actions={"consumption": bx.Continuous(0.01, lambda wealth: wealth + 0.01)},
        functions={"utility": utility},
        transitions={"wealth": next_wealth},
        horizon=bx.Ages(25, 85),
    )


def test_the_template_lists_every_parameter_under_the_regime_that_names_it(template):
    everywhere = {
        "risk_aversion": ("functions['utility']", 2.0, ""),
        "interest": ("transitions['wealth']", "", ""),
        "discount": ("discount", "", ""),
    }
    mapping = "the mapping of 'health' from 'working' to 'retired'"
    expected = {(regime, name): row for regime in ("working", "retired") for name, row in everywhere.items()}
    expected |= {
        ("working", "wage"): ("functions['income']", "", ""),
        ("working", "productivity"): ("functions['income']", "", ""),
        ("working", "health_risk"): ("transitions['health']", "", ""),
        ("working", "disutility"): ("reward", "", ""),
        ("working", "survival"): ("next_regime", "", ""),
        ("working", "retirement_age"): ("next_regime", "", ""),
        ("retired", "pension"): ("functions['income']", "", ""),
        ("retired", "decline"): ("transitions['health']", "", ""),
        ("retired", "survival"): ("next_regime", "", ""),
        ("retired", "robust_from"): (mapping, "", ""),
        ("dead", "bequest_weight"): ("terminal", "", ""),
        ("dead", "luxury"): ("terminal", "", ""),
    }
    assert template(model()) == expected


def test_labels_are_aligned_with_the_codes_that_functions_see():
    found = model().parameters(PARAMS)
    np.testing.assert_array_equal(found["working"]["productivity"], [0.5, 0.8, 1.0])
    np.testing.assert_array_equal(found["working"]["survival"].at(0), [0.9, 0.98, 0.99])
    np.testing.assert_array_equal(found["retired"]["survival"].at(0), [0.8, 0.95])
    risk = found["working"]["health_risk"]
    assert risk.shape == (2, 3, 3)
    assert risk[Labor.work, Health.bad, Health.good] == 0.05
    assert risk[Labor.rest, Health.good, Health.bad] == 0.02
    assert float(found["working"]["wage"].at(40)) == pytest.approx(1.4)


def test_laws_are_the_economics_that_they_say(evaluate):
    graph = model().graphs["working"]
    names = {
        "labor": Labor.work,
        "health": Health.fair,
        "wage": 2.0,
        "productivity": jnp.array([0.5, 0.8, 1.0]),
    }
    assert float(evaluate(graph, "income", **names)) == pytest.approx(1.6)
    after = evaluate(graph, "next_wealth", wealth=3.0, consumption=1.0, interest=0.05, **names)
    assert float(after) == pytest.approx(2 * 1.05 + 1.6)


def test_each_boundary_says_which_law_holds_and_why():
    m = model()
    found = {(b.source, b.target, b.state): b for b in m.boundaries(m.parameters(PARAMS))}
    assert set(found) == {
        ("working", "retired", "wealth"),
        ("working", "retired", "health"),
        ("working", "dead", "wealth"),
        ("retired", "dead", "wealth"),
    }
    health = found["working", "retired", "health"]
    assert (health.law, health.owner, health.why) == (collapse, "retired", "entry of 'retired' for 'working'")
    wealth = found["working", "retired", "wealth"]
    assert (wealth.law, wealth.owner) == (next_wealth, "working")
    assert "same categories" in wealth.why


def test_the_source_may_own_the_mapping_instead():
    leaving = bx.Regime(**{**vars(working), "exit": {"health": {"retired": collapse}}})
    arriving = bx.Regime(**{**vars(retired), "entry": {}})
    m = model(leaving, arriving)
    assert "robust_from" in set(m.template("working")["name"])
    params = {**PARAMS, "retired": {k: v for k, v in PARAMS["retired"].items() if k != "robust_from"}}
    params["working"] = {**params["working"], "robust_from": 1}
    found = {(b.target, b.state): b for b in m.boundaries(m.parameters(params)) if b.source == "working"}
    assert (found["retired", "health"].owner, found["retired", "health"].why) == (
        "working",
        "exit of 'working' for 'retired'",
    )


def test_the_targets_entry_comes_before_the_sources_exit():
    leaving = bx.Regime(**{**vars(working), "exit": {"health": {"retired": lambda health: 0}}})
    m = model(leaving)
    found = {(b.target, b.state): b.owner for b in m.boundaries(m.parameters(PARAMS)) if b.source == "working"}
    assert found["retired", "health"] == "retired"


def test_differing_categories_without_a_mapping_are_refused():
    m = model(retired=bx.Regime(**{**vars(retired), "entry": {}}))
    params = {**PARAMS, "retired": {k: v for k, v in PARAMS["retired"].items() if k != "robust_from"}}
    with pytest.raises(
        bx.ModelError, match="'health' has no value on the way from 'working' to 'retired'.*categories differ"
    ):
        m.parameters(params)


def test_a_mapping_may_give_probabilities():
    luck = bx.Markov(lambda next_health, recovery: jnp.stack([1 - recovery[next_health], recovery[next_health]]))
    m = model(retired=bx.Regime(**{**vars(retired), "entry": {"health": {"working": luck}}}))
    assert "recovery" in set(m.template("retired")["name"])


def test_a_terminal_value_of_differing_categories_says_which_it_sees():
    tomb = bx.Terminal(value=lambda health: 1.0 * health)
    with pytest.raises(bx.ModelError, match="'dead' reads 'health', whose categories differ.*'working' and 'retired'"):
        model(dead=tomb)
    mapped = bx.Terminal(
        value=lambda health: 1.0 * health,
        states={"health": bx.Discrete(Frailty)},
        entry={"health": {"working": collapse}},
    )
    assert ("dead", "robust_from") in set(
        zip(*[model(dead=mapped).template()[c] for c in ("regime", "name")], strict=True)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"working": {**PARAMS["working"], "robust_from": 1}},
            "'robust_from' of regime 'working'.*belongs to 'retired'",
        ),
        ({"dead": {"bequest_weight": 0.5, "luxery": 1.0}}, "Did you mean 'luxury'"),
        ({"retird": PARAMS["retired"]}, "Did you mean 'retired'"),
        ({"dead": {"bequest_weight": 0.5}}, "'luxury' .named by terminal in regime 'dead'."),
    ],
)
def test_a_parameter_under_the_wrong_regime_is_refused(change, message):
    with pytest.raises(bx.ParameterError, match=message):
        model().parameters({**PARAMS, **change})


def test_probability_of_a_regime_that_does_not_exist():
    lost = bx.Regime(**{**vars(retired), "next_regime": lambda: {"retird": 1.0}})
    with pytest.raises(bx.ModelError, match="names the regime 'retird'.*Did you mean 'retired'"):
        model(retired=lost)


def test_what_takes_a_model_of_one_regime_says_so():
    with pytest.raises(bx.ModelError, match="takes a model of one"):
        _ = model().graph
