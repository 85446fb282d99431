"""The value of a rule of one's own in a model of several regimes: against recursions by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

W = np.array([0.7, 2.0, 5.5])


def _model():
    """Youth consumes wealth and old age spends an estate: states, actions and rates of growth of their own."""
    young = bx.Regime(
        states={"wealth": bx.Continuous(1e-3, 50.0, scale=bx.scales.log)},
        actions={"consumption": bx.Continuous(0.0, "wealth")},
        transitions={"wealth": lambda wealth, consumption, growth: growth * (wealth - consumption)},
        reward=lambda consumption: jnp.log(consumption),
        active=lambda age: age < 62,
        next_regime=lambda age: {"young": 0.6 * (age < 61), "old": 0.4 + 0.6 * (age >= 61)},
    )
    old = bx.Regime(
        states={"estate": bx.Continuous(1e-3, 50.0, scale=bx.scales.log)},
        actions={"spent": bx.Continuous(0.0, "estate")},
        transitions={"estate": lambda estate, spent, growth: growth * (estate - spent)},
        reward=lambda spent: jnp.log(spent),
        active=lambda age: age >= 61,
        next_regime=lambda: {"old": 0.8, "dead": 0.2},
        entry={"estate": {"young": lambda next_wealth, tax: (1 - tax) * next_wealth}},
    )
    return bx.Model(regimes={"young": young, "old": old, "dead": bx.Terminal()}, horizon=bx.Ages(60, 63))


MODEL = _model()
PARAMS = {"discount": 0.9, "young": {"growth": 1.1, "share": 0.2}, "old": {"growth": 1.02, "tax": 0.1, "share": 0.5}}
RULE = {"consumption": lambda wealth, share: share * wealth, "spent": lambda estate, share, age: estate * share}
GRID = bx.solvers.BackwardInduction(grid={"wealth": 6, "estate": 5})


def _by_hand(share=0.2, fraction=0.5):
    """V = a + b log(state), by regime and age."""
    a, b = {}, {}
    for age in (64, 63, 62, 61, 60):
        if age == 64:
            a["old", 64] = b["old", 64] = a["young", 64] = b["young", 64] = 0.0
            continue
        more, slope = a["old", age + 1], b["old", age + 1]
        left = math.log(1.02 * (1 - fraction))
        a["old", age] = math.log(fraction) + 0.9 * 0.8 * (more + slope * left)
        b["old", age] = 1 + 0.9 * 0.8 * slope
        stays, left = 0.6 * (age < 61), math.log(1.1 * (1 - share))
        aged = more + slope * (math.log(0.9) + left)
        young = a["young", age + 1] + b["young", age + 1] * left
        a["young", age] = math.log(share) + 0.9 * (stays * young + (1 - stays) * aged)
        b["young", age] = 1 + 0.9 * (stays * b["young", age + 1] + (1 - stays) * slope)
    return a, b


@pytest.fixture(scope="module")
def followed():
    return bx.evaluate(MODEL, PARAMS, RULE, GRID)


def test_shares_of_wealth(followed):
    a, b = _by_hand()
    for regime, state, ages in (("young", "wealth", (60, 61)), ("old", "estate", (61, 62, 63))):
        for age in ages:
            found = followed[regime].value(age=age, **{state: W})
            np.testing.assert_allclose(found, a[regime, age] + b[regime, age] * np.log(W), rtol=1e-12)
    np.testing.assert_allclose(followed["old"].policy(age=62, estate=W)["spent"], 0.5 * W)
    assert followed["young"].params["share"] == 0.2 and followed["old"].params["share"] == 0.5
    assert "Follows a rule" in str(followed)


@pytest.mark.long
def test_the_nearer_rule_wins_and_moves_with_its_parameters(jitted):
    """What is given for one regime goes before what is given for all; derivatives are total ones."""
    rule = {**RULE, "old": {"spent": lambda estate, fraction: fraction * estate}}

    def worth(share, fraction):
        old = {"growth": 1.02, "tax": 0.1, "fraction": fraction}
        params = {**PARAMS, "young": {"growth": 1.1, "share": share}, "old": old}
        return bx.evaluate(MODEL, params, rule, GRID)["young"].value(age=60, wealth=2.0)

    def known(share, fraction):
        a, b = _by_hand(share, fraction)
        return a["young", 60] + b["young", 60] * math.log(2.0)

    along = lambda x: jax.jvp(worth, (x, x + 0.1), (1.0, 1.0))  # noqa: E731
    value, slope = jitted(along)(0.3)
    assert float(value) == pytest.approx(known(0.3, 0.4), rel=1e-12)
    h = 1e-5
    assert float(slope) == pytest.approx((known(0.3 + h, 0.4 + h) - known(0.3 - h, 0.4 - h)) / (2 * h), rel=1e-8)


def test_agents_follow_it(followed):
    panel = bx.simulate(followed, 500, {"regime": "young", "wealth": 2.0}, seed=3)
    wealth, done = panel.states["young"]["wealth"], panel.actions["young"]["consumption"]
    there = np.asarray(panel.regime) == panel.regimes.index("young")
    np.testing.assert_allclose(np.asarray(done)[there], 0.2 * np.asarray(wealth)[there], rtol=1e-14)
    paid = np.asarray(panel.present_value())
    assert abs(paid.mean() - float(followed["young"].value(age=60, wealth=2.0))) < 4 * paid.std() / 500**0.5


def test_what_it_loses(followed, tmp_path):
    """At 63, after which nothing is worth anything, the best is to spend all: half of it loses log 2, everywhere."""
    certificate = bx.certify(followed, points=60, agents=20, start={"regime": "young", "wealth": 2.0})
    own = certificate.regimes["old"]
    assert own.euler_missing.startswith("a rule is followed") and own.missed == 0.0
    assert own.residuals["50%"] < 1e-12
    points = own.loss.frame()
    np.testing.assert_allclose(points[points.period == 3]["loss"], math.log(2), rtol=1e-9)
    assert own.loss.worst["period"] in (1, 2, 3)
    assert certificate.as_dict()["regimes"]["old"]["loss"]["quantiles"]["max"] == own.loss.quantiles["max"]
    assert str(certificate).count("Lost by the rule") == 2
    with pytest.raises(bx.ModelError, match="follows a rule, and a file holds no function"):
        followed.save(tmp_path / "rule.nc")
    with pytest.raises(bx.ModelError, match="follows a rule"):
        followed.tabulate()


def _effort(**slots):
    """Effort costs .5 and keeps a job that pays 1."""
    job = bx.Regime(
        actions={"effort": bx.Discrete(2)},
        reward=lambda effort: 1.0 - 0.5 * effort,
        next_regime=lambda effort: {"job": 0.5 + 0.5 * effort, "out": 0.5 - 0.5 * effort},
    )
    out = bx.Regime(reward=0.0, next_regime=lambda: {"out": 1.0})
    return bx.Model(regimes={"job": job, "out": out}, discount=0.9, **slots)


def test_without_end_and_what_no_effort_loses():
    never = bx.evaluate(_effort(), {}, {"job": {"effort": 0}}, bx.solvers.ValueIteration(tolerance=1e-13))
    worth = 1 / (1 - 0.45)
    assert float(never["job"].value()) == pytest.approx(worth, rel=1e-11)
    found = bx.certify(never, agents=20).regimes["job"].loss
    loss = -0.5 + 0.9 * 0.5 * worth  # of one period, by which the job is kept for sure
    assert found.quantiles["max"] == pytest.approx(loss, rel=1e-9)
    assert found.bound == pytest.approx(loss / (1 - 0.9), rel=1e-9)
    assert found.bound == pytest.approx(0.5 / (1 - 0.9) - worth, rel=1e-9)  # effort for ever


def test_what_is_not_allowed_is_named_with_its_regime():
    with pytest.raises(bx.SolveError, match=r"regime 'job': the rule gives effort = 2.* in period 1.*none of \[0, 1\]"):
        bx.evaluate(_effort(horizon=2), {}, {"effort": 2})


def half(wealth):
    return 0.5 * wealth


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        ({"young": {"consumption": half}}, bx.ModelError, "the rule lacks 'spent' in regime 'old'"),
        ({"young": {"consumption": half}, "old": {}}, bx.ModelError, "the rule lacks 'spent' in regime 'old'"),
        ({"yung": {"consumption": half}}, bx.ModelError, "there is no regime 'yung'. Did you mean 'young'"),
        ({**RULE, "dead": {"spent": 1.0}}, bx.ModelError, "nothing is decided in the regime 'dead', and 'spent' is"),
        ({**RULE, "young": half}, bx.ModelError, "'young' is a regime: give a dict by action"),
        ({**RULE, "sspent": half}, bx.ModelError, "action 'sspent' is unknown. Did you mean 'spent'"),
        ({**RULE, "old": {"consumption": half}}, bx.ModelError, "regime 'old': action 'consumption' is unknown"),
        ({**RULE, "spent": half}, bx.ModelError, r"regime 'old': rule\['spent'\] names 'wealth', which is a state of"),
        (
            {**RULE, "old": {"spent": lambda estate, share, frac: frac * estate}},
            bx.ParameterError,
            "'frac' .*regime 'old'",
        ),
    ],
)
def test_a_rule_that_is_none(rule, error, message):
    with pytest.raises(error, match=message):
        bx.evaluate(MODEL, PARAMS, rule, GRID)


def test_what_is_followed_by_functions_alone(followed):
    for given in (followed, followed["old"]):
        with pytest.raises(bx.ModelError, match="give functions by regime"):
            bx.evaluate(MODEL, PARAMS, given, GRID)
    with pytest.raises(bx.ModelError, match="leave the maximiser= of the solver out"):
        by = {"young": bx.maximise.Newton()}
        bx.evaluate(MODEL, PARAMS, RULE, bx.solvers.BackwardInduction(maximiser=by))
    with pytest.raises(bx.ModelError, match="PolicyIteration solves models of one regime"):
        bx.evaluate(_effort(), {}, {"effort": 0}, bx.solvers.PolicyIteration())
    with pytest.raises(bx.ModelError, match="names 'period', and the horizon is infinite"):
        bx.evaluate(_effort(), {}, {"effort": lambda period: period}, bx.solvers.ValueIteration())
