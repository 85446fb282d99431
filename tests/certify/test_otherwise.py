"""What simple rules pay that do not know V: payoffs where no search has led, and that certificates did not see."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.certify.otherwise import lengthened
from bellax.certify.scanned import scanned

ONE = {"discount": 1.0}
X = {"x": bx.Continuous(0.0, 1.0)}


def climbing(**changes: object) -> bx.Model:
    """Whoever goes up by .2 in every period is paid 10 (x + 6 - 2.5); nothing within the bounds tells."""
    given = {
        "states": X,
        "actions": {"a": bx.Continuous(0.0, 0.2)},
        "transitions": {"x": lambda x, a: x + a},
        "reward": 0.0,
        "terminal": lambda x: 10.0 * jnp.maximum(x - 2.5, 0.0),
        "horizon": 30,
    }
    return bx.Model(**{name: each for name, each in {**given, **changes}.items() if each is not None})


@pytest.fixture(scope="module")
def climbed() -> bx.Solution:
    solution = bx.solve(climbing(), ONE)
    assert solution.result.name == "successful" and float(solution.value(0, x=1.0)) == 0.0
    return solution


def test_a_payoff_that_other_decisions_reach(climbed: bx.Solution) -> None:
    found = scanned(climbed, {}, relative=False)
    assert 40 < found.gained <= 45 and max(found.residual, found.beyond, found.mean) == 0.0
    assert found.sides[""]["x"]["above"] == pytest.approx(6.0, abs=0.3)
    assert "rules that are held on to pay" in found.words(1e-3)


def test_lines_go_on_to_where_it_is_paid(climbed: bx.Solution) -> None:
    found = bx.solve(climbed.model, ONE, accuracy=1e-3)
    at = np.array([0.0, 0.37, 1.0])
    np.testing.assert_allclose(found.value(0, x=at), 10 * (at + 3.5), rtol=1e-3)


def test_a_certificate_counts_it(climbed: bx.Solution) -> None:
    found = bx.certify(climbed, refine=True)
    assert 40 < found.estimate < 50 and "simple rules" in found.estimate_words


def test_noise_is_no_gain() -> None:
    """In its mean over many draws a rule pays more, or it pays nothing that counts."""
    law = {"shocks": {"z": bx.shocks.Normal()}, "transitions": {"x": lambda x, a, z: x + a + 0.01 * z}}
    assert scanned(bx.solve(climbing(**law), ONE), {}, relative=False).gained == pytest.approx(44, abs=2)
    # every rule is as good as every other one, and draws differ by hundreds
    paid = {"terminal": None, "reward": lambda z: 100.0 * z}
    assert scanned(bx.solve(climbing(**law, **paid), ONE), {}).gained == 0.0


def test_who_goes_on_where_stopping_pays_nothing() -> None:
    """Both pay nothing, so that all stop: 1.4 were to be had."""
    model = climbing(
        actions=None, terminal=None, transitions={"x": lambda x: x + 0.1}, stop=lambda x: jnp.maximum(x - 2.5, 0.0)
    )
    solution = bx.solve(model, ONE)
    found = scanned(solution, {}, relative=False)
    assert float(solution.value(0, x=1.0)) == 0.0 and 1.3 < found.gained <= 1.4


def test_a_horizon_without_end() -> None:
    law = {"x": lambda x, a: jnp.minimum(x + a, 4.0)}
    model = climbing(horizon=None, terminal=None, transitions=law, reward=lambda x: jnp.maximum(x - 2.5, 0.0))
    solution = bx.solve(model, {"discount": 0.9})
    exact = sum(0.9**t * max(min(1 + 0.2 * t, 4.0) - 2.5, 0.0) for t in range(500))
    assert float(solution.value(x=1.0)) == 0.0
    assert scanned(solution, {}, relative=False).gained == pytest.approx(exact, rel=0.05)


def test_what_is_forbidden_is_no_gain() -> None:
    """A constraint keeps all within the bounds, and V is right."""
    kept = bx.nonnegative(lambda x, a: 1.0 - x - a)
    assert scanned(bx.solve(climbing(constraints={"kept": kept}), ONE), {}).gained == 0.0


def test_rules_lead_from_regime_to_regime() -> None:
    young = bx.Regime(
        states=X,
        actions={"a": bx.Continuous(0.0, 0.2)},
        transitions={"x": lambda x, a: x + a},
        reward=0.0,
        next_regime=lambda period: {"young": 1.0 * (period < 15), "old": 1.0 * (period >= 15)},
    )
    old = bx.Regime(
        states=X,
        transitions={"x": bx.fixed},
        reward=lambda x: jnp.maximum(x - 2.5, 0.0),
        next_regime=lambda: {"old": 1.0},
    )
    model = bx.Model(regimes={"young": young, "old": old}, horizon=20)
    found = scanned(bx.solve(model, ONE), {}, relative=False)
    assert found.gained == pytest.approx(4 * (1.0 + 16 * 0.2 - 2.5), rel=0.1)
    assert found.sides["young"]["x"]["above"] > 2.5 and found.sides["old"]["x"]["above"] > 3.0


def test_shares_of_longer_lines_are_of_their_length() -> None:
    longer = lengthened({"": {"x": {"below": 1.0}}}, {"": {"x": {"above": 0.5}, "y": {"below": 0.25}}})
    assert longer == {"": {"x": {"below": 1.0, "above": 1.0}, "y": {"below": 0.25}}}


# -- what is no gain


def test_a_disaster_that_no_path_meets() -> None:
    """One in a hundred thousand, which costs twice of what going on pays: to stop is right."""
    model = bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        transitions={"w": bx.fixed},
        shocks={"d": bx.shocks.Categorical(probabilities=[1 - 1e-5, 1e-5])},
        reward=lambda w, d: 0.1 * w - 2e4 * w * d,
        stop=lambda w: 0.0 * w,
        horizon=20,
    )
    assert scanned(bx.solve(model, ONE), {}, relative=False).gained < 1e-12


def test_what_grows_faster_than_its_discount_is_not_done_with() -> None:
    """To stop costs d, and to wait costs without end: after the last period that is looked at most of it follows."""
    model = bx.Model(
        states={"d": bx.Continuous(0.1, 2.0)},
        transitions={"d": lambda d: 1.06 * d},
        reward=lambda d: -1e-4 * d,
        stop=lambda d: -d,
    )
    assert scanned(bx.solve(model, {"discount": 0.95}), {}, relative=False).gained < 1e-12


@pytest.mark.long
def test_regimes_without_end_and_regimes_without_lines() -> None:
    going = bx.Regime(
        states={"w": bx.Continuous(0.5, 2.0)},
        actions={"c": bx.Continuous(0.0, 1.0)},
        transitions={"w": lambda w: 0.9 * w + 0.1},
        reward=lambda c, w: w - (c - 0.5) ** 2,
        next_regime=lambda p: {"going": 1 - p, "over": p},
    )
    model = bx.Model(regimes={"going": going, "over": bx.Terminal(lambda w: -3.0 * w)})
    assert scanned(bx.solve(model, {"discount": 0.9, "p": 0.1}), {}).gained < 1e-6
    young = bx.Regime(
        states={"k": bx.Discrete(3)},
        actions={"e": bx.Discrete(2)},
        transitions={"k": lambda k, e: jnp.minimum(k + e, 2)},
        reward=lambda k, e: k - 0.3 * e,
        exit={"w": {"old": lambda k: 0.5 + 0.5 * k}},
        next_regime=lambda: {"young": 0.7, "old": 0.3},
    )
    old = bx.Regime(
        states={"w": bx.Continuous(0.5, 2.0)},
        actions={"u": bx.Continuous(0.0, 0.5)},
        transitions={"w": lambda w, u: 0.8 * w + u},
        reward=lambda w, u: w - u,
        next_regime=lambda: {"old": 1.0},
    )
    model = bx.Model(regimes={"young": young, "old": old}, horizon=6)
    found = scanned(bx.solve(model, {"discount": 0.9}), {})
    assert found.agrees(1e-9)
