"""A law whose parameter differs by phase: at the boundary the target's mapping reads the target's."""

import pytest

import bellax as bx


def invested(wealth, consumption, growth):
    return (wealth - consumption) * (1 + growth)


def arrives(wealth, consumption, growth):
    """The money already grows at the second phase's rate while it changes hands."""
    return (wealth - consumption) * (1 + growth)


def phase(last, following, **slots):
    return bx.Regime(
        active=lambda age: age <= last if following else age > 3,
        next_regime=lambda age: {"phase2": age >= last, "phase1": age < last} if following else {"phase2": 1.0},
        **slots,
    )


def model(**slots):
    return bx.Model(
        regimes={"phase1": phase(3, True), "phase2": phase(3, False, **slots)},
        states={"wealth": bx.Continuous(0.0, 10.0)},
        actions={"consumption": bx.Continuous(0.0, "wealth")},
        transitions={"wealth": invested},
        reward=lambda consumption: consumption**0.5,
        horizon=8,
    )


def test_the_mapping_reads_the_parameter_of_its_owner():
    m = model(entry={"wealth": {"phase1": arrives}})
    found = m.parameters({"phase1": {"growth": 0.02}, "phase2": {"growth": 0.05}, "discount": 0.9})
    (boundary,) = [b for b in m.boundaries(found) if (b.source, b.target) == ("phase1", "phase2")]
    assert boundary.law is arrives
    assert float(found[boundary.owner]["growth"]) == 0.05


def test_without_a_mapping_the_sources_law_and_parameter_hold():
    m = model()
    found = m.parameters({"phase1": {"growth": 0.02}, "phase2": {"growth": 0.05}, "discount": 0.9})
    (boundary,) = m.boundaries(found)
    assert boundary.law is invested
    assert float(found[boundary.owner]["growth"]) == 0.02


def test_one_value_serves_both_phases():
    found = model().parameters({"growth": 0.02, "discount": 0.9})
    assert float(found["growth"]) == 0.02
    found = model().parameters({"growth": 0.02, "phase2": {"growth": 0.05}, "discount": 0.9})
    assert (float(found["growth"]), float(found["phase2"]["growth"])) == (0.02, 0.05)


def test_active_is_evaluated_at_construction():
    assert model().active_periods == {
        "phase1": (True, True, True, True, False, False, False, False),
        "phase2": (False, False, False, False, True, True, True, True),
    }


def test_a_state_that_only_the_target_has():
    """The target's own law gives it, from what the source has; a law that reads more is refused."""
    pension = {"pension": bx.Continuous(0.0, 5.0)}
    m = model(states=pension, transitions={"pension": lambda wealth: 0.1 * wealth})
    found = {b.state: b for b in m.boundaries()}
    assert (found["pension"].owner, "has no 'pension'" in found["pension"].why) == ("phase2", True)
    with pytest.raises(bx.ModelError, match="law that reads 'pension', which 'phase1' does not have"):
        model(states=pension, transitions={"pension": lambda pension: 0.9 * pension})
    with pytest.raises(bx.ModelError, match="law that reads 'pension', which 'phase1' does not have"):
        model(states=pension, transitions={"pension": bx.fixed})


def test_a_chain_that_only_the_target_has_needs_a_mapping():
    chain = {"luck": bx.MarkovChain([0.9, 1.1], [[0.5, 0.5], [0.5, 0.5]])}
    with pytest.raises(bx.ModelError, match="'luck' has no value on the way from 'phase1' to 'phase2'.*no such state"):
        model(states=chain)
    assert "luck" in {b.state for b in model(states=chain, entry={"luck": {"phase1": lambda: 0.9}}).boundaries()}


def test_an_iid_state_is_drawn_afresh_where_it_is_seen():
    m = model(states={"cost": bx.IID(bx.shocks.Uniform(0.0, "dearest"))})
    found = {b.state: b for b in m.boundaries()}
    assert (found["cost"].owner, found["cost"].why) == ("phase2", "drawn afresh in 'phase2'")
