"""Regimes: what is refused, and how shared slots are merged."""

import pytest

import bellax as bx

CAKE = {
    "states": {"cake": bx.Continuous(0.0, 1.0)},
    "actions": {"eaten": bx.Continuous(0.0, "cake")},
    "transitions": {"cake": lambda cake, eaten: cake - eaten},
    "reward": lambda eaten: eaten**0.5,
    "horizon": 10,
}


def cake(**change):
    given = {**CAKE, **change}
    return bx.Model(**{name: value for name, value in given.items() if value is not ...})


REGIMES = {
    "no regime": ({"a": bx.Terminal()}, "holds no bx.Regime"),
    "a dict": ({"a": {}}, r"regimes\['a'\] is {}; it must be a bx.Regime or a bx.Terminal"),
    "a name that is none": ({"a b": bx.Regime()}, "named 'a b'; use a Python identifier"),
    "removing nothing": (
        {"a": bx.Regime(actions={"eatn": None})},
        r"actions\['eatn'\] is None, which removes what is shared.*Did you mean 'eaten'",
    ),
    "entry from nowhere": (
        {"a": bx.Regime(entry={"cake": {"bb": 0.0}}), "b": bx.Regime()},
        "names the regime 'bb', which is none of the others. Did you mean 'b'",
    ),
    "entry from itself": (
        {"a": bx.Regime(entry={"cake": {"a": 0.0}}), "b": bx.Regime()},
        "regime 'a', which is none of the others",
    ),
    "entry of no state": (
        {"a": bx.Regime(entry={"cakes": {"b": 0.0}}), "b": bx.Regime()},
        "regime 'a' has no state 'cakes'. Did you mean 'cake'",
    ),
    "exit without targets": (
        lambda: {"a": bx.Regime(exit={"cake": 0.0}), "b": bx.Regime()},
        "must be a dict by regime",
    ),
    "active never": ({"a": bx.Regime(active=lambda age: age > 10)}, "active at no age from 0 to 9"),
    "active in part": (
        {"a": bx.Regime(active=lambda age: age / 10)},
        "gives 0.0 at age 0; it must be True or False",
    ),
    "no dict": (
        {"a": bx.Regime(next_regime=lambda: 1.0), "b": bx.Regime()},
        "next_regime gives no dict by regime",
    ),
    "an action of another regime": (
        {
            "a": bx.Regime(actions={"work": bx.Discrete(2)}, next_regime=lambda: {"b": 1.0}),
            "b": bx.Regime(reward=lambda eaten, work: eaten - work),
        },
        "regime 'b': reward names 'work', which is an action of another regime",
    ),
    "a parameter called as a regime": (
        {"a": bx.Regime(reward=lambda eaten, b: eaten * b), "b": bx.Regime()},
        "names the parameter 'b', which is a regime",
    ),
}


@pytest.mark.parametrize("case", REGIMES)
def test_wrong_regimes_are_refused(case, untyped):
    regimes, message = REGIMES[case]
    with pytest.raises(bx.ModelError, match=message):
        cake(regimes=regimes() if callable(regimes) else regimes)


def test_shared_slots_serve_the_regimes_that_can_use_them():
    """A shared law or function that reads what a regime does not have stays out of that regime."""
    m = cake(
        regimes={
            "a": bx.Regime(
                states={"skill": bx.Discrete(2)},
                actions={"work": bx.Discrete(2)},
                reward=lambda eaten, pay: eaten + pay,
                next_regime=lambda: {"b": 1.0},
            ),
            "b": bx.Regime(),
        },
        functions={"pay": lambda work, wage: work * wage, "joy": lambda eaten, taste: taste * eaten},
        transitions={**CAKE["transitions"], "skill": bx.fixed},
    )
    assert set(m.graphs["b"].regime.functions) == {"joy"}
    assert set(m.graphs["b"].regime.transitions) == {"cake"}
    assert set(m.template("a")["name"]) == {"wage", "taste", "discount"}
    assert set(m.template("b")["name"]) == {"taste", "discount"}


def test_a_shared_slot_can_be_removed():
    m = cake(
        regimes={
            "a": bx.Regime(),
            "b": bx.Regime(actions={"eaten": None}, transitions={"cake": bx.fixed}, reward=0.0),
        }
    )
    assert (list(m.graphs["a"].regime.actions), list(m.graphs["b"].regime.actions)) == (["eaten"], [])
