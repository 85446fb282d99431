"""Parameters at the call: what is given, missing, surplus, misspelt, labelled, or under a transformation."""

from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import bellax as bx


class Health(IntEnum):
    bad = 0
    good = 1


class Skill(IntEnum):
    low = 0
    mid = 1
    high = 2


def reward(consumption, health, utility_of_health, curvature=2.0):
    return consumption ** (1 - curvature) + utility_of_health[health]


model = bx.Model(
    states={"wealth": bx.Continuous(0.0, 1.0), "health": bx.Discrete(Health), "skill": bx.Discrete(Skill)},
    actions={"consumption": bx.Continuous(0.0, "wealth"), "hours": bx.Discrete([0.0, 0.5, 1.0])},
    transitions={
        "wealth": lambda wealth, consumption, hours, skill, wage: wealth - consumption + hours * wage[skill],
        "health": bx.Markov(lambda health, moves: moves[health]),
        "skill": bx.fixed,
    },
    reward=reward,
    horizon=bx.Ages(50, 53),
)
GIVEN = {
    "discount": 0.9,
    "utility_of_health": [0.0, 1.0],
    "wage": [1.0, 2.0, 3.0],
    "moves": [[0.5, 0.5], [0.1, 0.9]],
}


def change(**entries):
    return {name: value for name, value in {**GIVEN, **entries}.items() if value is not ...}


def test_floats_and_defaults():
    found = model.parameters(change(discount=1))
    assert {name: value.dtype for name, value in found.items()} == dict.fromkeys(found, jnp.dtype("float64"))
    assert (float(found["discount"]), float(found["curvature"])) == (1.0, 2.0)


def test_what_is_returned_can_be_given_again():
    once = model.parameters(change(wage=bx.by_period(np.ones((4, 3)))))
    twice = model.parameters(once)
    assert jax.tree.structure(once) == jax.tree.structure(twice)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(twice), strict=True))


@pytest.mark.parametrize(
    "labels",
    [["high", "low", "mid"], [Skill.high, Skill.low, Skill.mid], [2, 0, 1]],
)
def test_a_series_says_which_entry_is_which(labels):
    found = model.parameters(change(wage=pd.Series([30.0, 10.0, 20.0], index=labels)))
    np.testing.assert_array_equal(found["wage"], [10.0, 20.0, 30.0])


def test_values_of_a_list_are_labels_too():
    two = bx.Model(
        states={"x": bx.Discrete([5.0, 7.0])},
        transitions={"x": bx.fixed},
        reward=lambda x, worth: worth[0] * x,
        horizon=2,
    )
    found = two.parameters({"discount": 0.9, "worth": pd.Series({7.0: 1.0, 5.0: 2.0})})
    np.testing.assert_array_equal(found["worth"], [2.0, 1.0])


def test_the_name_of_an_axis_chooses_among_equal_labels():
    """Two states share their labels in another order; the index says by its name which it means."""

    class Up(IntEnum):
        a = 0
        b = 1

    class Down(IntEnum):
        b = 0
        a = 1

    m = bx.Model(
        states={"up": bx.Discrete(Up), "down": bx.Discrete(Down)},
        transitions={"up": bx.fixed, "down": bx.fixed},
        reward=lambda up, down, table: table[up, down],
        horizon=1,
    )
    index = pd.MultiIndex.from_product([["a", "b"], ["a", "b"]], names=["up", "down"])
    found = m.parameters({"discount": 0.9, "table": pd.Series([1.0, 2.0, 3.0, 4.0], index=index)})
    np.testing.assert_array_equal(found["table"], [[2.0, 1.0], [4.0, 3.0]])


def test_by_age_with_categories():
    frame = pd.DataFrame({"high": [3.0, 6.0, 9.0, 12.0], "low": 1.0, "mid": 2.0}, index=[50, 51, 52, 53])
    found = model.parameters(change(wage=bx.by_age(frame)))
    np.testing.assert_array_equal(found["wage"].at(2), [1.0, 2.0, 9.0])
    np.testing.assert_array_equal(found["wage"].at(99), [1.0, 2.0, 12.0])
    long = frame.stack().rename_axis(["age", "skill"])
    np.testing.assert_array_equal(model.parameters(change(wage=bx.by_age(long)))["wage"].values, found["wage"].values)


REFUSED = {
    "missing": (change(wage=...), r"missing parameters: 'wage' \(named by transitions\['wealth'\]\)"),
    "surplus": (change(theta=1.0), "'theta' is not used by the model. It takes"),
    "misspelt": (change(discnt=0.9), "'discnt' is not used by the model. Did you mean 'discount'"),
    "no dict": ([0.9], "give a dict by name"),
    "not a number": (change(discount=float("nan")), "'discount' contains NaN"),
    "none": (change(discount=None), "'discount' is None"),
    "words": (change(discount="high"), "'discount' is 'high', which is no number"),
    "ragged": (change(wage=[[1.0], [1.0, 2.0]]), "which is no number or array of numbers"),
    "too short": (change(discount=bx.by_period([0.9, 0.9])), "'discount' has 2 periods, and the model has 4"),
    "too long": (change(discount=bx.by_period([0.9] * 6)), "'discount' has 6 periods, and the model has 4"),
    "ages that lack": (
        change(discount=bx.by_age(pd.Series({50: 0.9, 53: 0.9}))),
        "no value at age 51 .and at 1 more",
    ),
    "an age twice": (
        change(discount=bx.by_age(pd.Series([0.9] * 5, index=[50, 51, 51, 52, 53]))),
        "two values at age 51",
    ),
    "unknown labels": (
        change(wage=pd.Series({"hi": 1.0, "low": 2.0, "mid": 3.0})),
        "labelled 'hi', 'low', 'mid'.*Did you mean 'high'",
    ),
    "too few labels": (
        change(wage=pd.Series({"low": 2.0, "mid": 3.0})),
        "which are not the categories of one state",
    ),
    "a label twice": (
        change(wage=pd.Series([1.0, 2.0, 3.0, 4.0], index=["low", "mid", "high", "low"])),
        "two values labelled 'low'",
    ),
    "ages as labels": (
        change(wage=pd.Series({50: 1.0, 51: 1.0, 52: 1.0})),
        "For one value an age use bx.by_age",
    ),
    "combinations that lack": (
        change(moves=pd.Series({("bad", "bad"): 1.0, ("good", "good"): 0.5, ("good", "bad"): 0.5})),
        "lacks some combinations of its labels: 3 of",
    ),
    "an array for a number": (
        change(discount=np.full(4, 0.9)),
        r"'discount', the discount, has shape \(4,\).*use bx.by_period",
    ),
    "a number for an array": (change(utility_of_health=1.0), "reward cannot be evaluated"),
    "probabilities of another shape": (
        change(moves=np.eye(3)),
        r"transitions\['health'\] has shape \(3,\); it must have shape \(2,\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_parameters_are_refused(case, untyped):
    given, message = REFUSED[case]
    with pytest.raises((bx.ParameterError, bx.ModelError), match=message):
        model.parameters(given)


def test_a_misspelt_argument_of_a_law_names_what_was_meant():
    m = bx.Model(
        states={"wealth": bx.Continuous(0.0, 1.0)},
        actions={"consumption": bx.Continuous(0.0, "wealth")},
        transitions={"wealth": lambda wealth, consumtion: wealth - consumtion},
        reward="consumption",
    )
    with pytest.raises(bx.ParameterError, match="'consumtion' .named by .*wealth.*. Did you mean 'consumption'"):
        m.parameters({"discount": 0.9})


def test_a_default_that_is_no_number():
    m = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        transitions={"x": bx.fixed},
        reward=lambda x, a=None: x,
        discount=0.9,
    )
    with pytest.raises(bx.ParameterError, match="'a' is None"):
        m.parameters({})


def test_parameters_pass_through_transformations():
    def total(params):
        found = model.parameters(params)
        return found["discount"] * jnp.sum(found["wage"])

    assert float(jax.grad(total)(change(discount=jnp.array(0.5)))["discount"]) == 6.0
    batch = change(discount=jnp.array([1.0, 2.0]))
    axes = {name: 0 if name == "discount" else None for name in batch}
    np.testing.assert_array_equal(jax.vmap(total, in_axes=(axes,))(batch), [6.0, 12.0])
    by_period = jax.grad(lambda w: model.parameters(change(wage=bx.by_period(w)))["wage"].at(2)[1])(jnp.ones((4, 3)))
    np.testing.assert_array_equal(by_period, np.eye(12)[7].reshape(4, 3))
    assert float(jax.jit(total)(change(wage=[jnp.array(1.0), 2.0, 3.0]))) == pytest.approx(5.4)


def test_regimes_may_differ_in_their_defaults():
    def regime(default, following):
        def reward(x, a=default):
            return a * x

        return bx.Regime(reward=reward, next_regime=following and (lambda: {"late": 1.0}))

    m = bx.Model(
        regimes={"early": regime(1.0, True), "late": regime(2.0, None)},
        states={"x": bx.Continuous(0.0, 1.0)},
        transitions={"x": bx.fixed},
        discount=0.9,
        horizon=2,
    )
    found = m.parameters({})
    assert (float(found["early"]["a"]), float(found["late"]["a"])) == (1.0, 2.0)
    found = m.parameters({"a": 3.0, "late": {"a": 4.0}})
    assert (float(found["a"]), float(found["late"]["a"])) == (3.0, 4.0)
