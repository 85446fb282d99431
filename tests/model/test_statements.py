"""What a statement must satisfy: every message of construction, provoked."""

import math
from enum import IntEnum
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
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


def more(slot, **entries):
    return {slot: {**CAKE.get(slot, {}), **entries}}


class Late(IntEnum):
    one = 1
    two = 2


LUCK = bx.MarkovChain([0.9, 1.1], [[0.5, 0.5], [0.5, 0.5]])

NAMES = {
    "a reserved name": (
        more("functions", period=lambda: 0.0),
        "functions has the name 'period', which is reserved",
    ),
    "a reserved prefix": (more("states", next_cake=LUCK), "'next_cake', which is reserved"),
    "the prefix of marginal values": (
        more("functions", marginal_cake=lambda: 0.0),
        "'marginal_cake', which is reserved",
    ),
    "no identifier": (
        more("functions", **{"two words": lambda: 0.0}),
        "'two words', which is no Python identifier",
    ),
    "a name used twice": (
        more("functions", eaten=lambda: 0.0),
        "'eaten' is used twice, in actions and in functions",
    ),
    "a misspelt law": (
        {"transitions": {"cakes": lambda cake, eaten: cake - eaten}},
        "law for 'cakes', which is no state. Did you mean 'cake'",
    ),
    "a misspelt next": (
        {"reward": lambda next_cak: next_cak},
        "'next_cak', which is reserved.*Did you mean 'next_cake'",
    ),
    "the next of an action": ({"reward": lambda next_eaten: next_eaten}, "'next_eaten', which is reserved"),
    "a marginal value": (
        {"reward": lambda marginal_cake: marginal_cake},
        "'marginal_cake', which is reserved",
    ),
    "the regime": ({"reward": lambda regime: regime}, "'regime', which is reserved"),
    "variadic arguments": ({"reward": lambda *eaten: 0.0}, r"argument \*eaten, whose names cannot be read"),
    "variadic keywords": ({"reward": lambda **eaten: 0.0}, r"argument \*\*eaten"),
    "positional arguments": ({"reward": jnp.log}, "argument x, whose names cannot be read|argument x:"),
    "a builtin": ({"reward": min}, "cannot be read"),
    "a class": ({"reward": Late}, "reward is the class Late"),
    "words": ({"reward": "eaten and cake"}, "'eaten and cake', which is no name"),
    "no number": ({"reward": [1.0, "x"]}, "neither a number, a name, nor a function"),
    "not a number": ({"reward": math.nan}, "reward contains NaN"),
    "a pandas object": ({"reward": pd.Series([1.0])}, "reward is a pandas object"),
}

SCOPES = {
    "state bound, state": (
        {"states": {"cake": bx.Continuous(0.0, "cake")}},
        "upper bound of state 'cake' names the state 'cake'",
    ),
    "state bound, action": (
        {"states": {"cake": bx.Continuous(0.0, lambda eaten: eaten)}},
        "names the action 'eaten'; it may name parameters, period, age, and functions of these",
    ),
    "AR1, state": (
        more("states", z=bx.AR1("cake", 0.1)),
        "rho of state 'z' names the state 'cake'; it may name parameters, period, age, and functions",
    ),
    "chain, action": (
        more("states", z=bx.MarkovChain([1, 2], "eaten")),
        "transition of state 'z' names the action 'eaten'",
    ),
    "IID, state": (
        more("states", z=bx.IID(bx.shocks.Normal(sd="cake"))),
        "sd of state 'z' names the state 'cake'",
    ),
    "action bound, shock": (
        {**more("shocks", e=bx.shocks.Normal()), "actions": {"eaten": bx.Continuous(0.0, "e")}},
        "upper bound of action 'eaten' names the shock 'e'; it may name parameters, period, age, states, actions",
    ),
    "action bound, next": (
        {**more("states", z=LUCK), "actions": {"eaten": bx.Continuous(0.0, "next_z")}},
        "names the realised process 'next_z'",
    ),
    "constraint, shock": (
        {**more("shocks", e=bx.shocks.Normal()), "constraints": {"safe": lambda e: e > 0}},
        r"constraints\['safe'\] names the shock 'e'",
    ),
    "constraint, through a law": (
        {
            **more("shocks", e=bx.shocks.Normal()),
            "transitions": {"cake": lambda cake, eaten, e: cake - eaten + e},
            "constraints": {"safe": lambda next_cake: next_cake > 0},
        },
        r"constraints\['safe'\] names the shock 'e' through 'next_cake'",
    ),
    "shock, shock": (
        more("shocks", e=bx.shocks.Normal(), f=bx.shocks.Normal(mean="e")),
        "mean of shock 'f' names the shock 'e'; it may name parameters, period, age, states, actions, next_<chain>",
    ),
    "terminal, action": (
        {"terminal": lambda eaten: eaten},
        "terminal names the action 'eaten'; it may name .*age, states",
    ),
    "stop, action": ({"stop": lambda eaten: eaten}, "stop names the action 'eaten'"),
    "taste shocks, state": (
        {
            **more("actions", mode=bx.Discrete(2)),
            "taste_shocks": bx.ExtremeValue(scale="cake", over=("mode",)),
        },
        "scale of ExtremeValue names the state 'cake'",
    ),
    "functions in a circle": (
        more("functions", f=lambda g: g, g=lambda f: f),
        "need each other in a circle: '[fg]' -> '[fg]' -> '[fg]'",
    ),
    "a law that needs itself": (
        {"transitions": {"cake": lambda next_cake: next_cake}},
        "circle: 'next_cake' -> 'next_cake'",
    ),
    "a shock drawn with what it moves": (
        {
            **more("shocks", e=bx.shocks.Normal(mean="next_mood")),
            **more("states", mood=bx.Discrete(2)),
            "transitions": {**CAKE["transitions"], "mood": bx.Markov(lambda e: jnp.stack([e, 1 - e]))},
        },
        "circle: .*mean of shock 'e'",
    ),
    "bounds in a circle": (
        {"actions": {"eaten": bx.Continuous(0.0, "given"), "given": bx.Continuous(0.0, "eaten")}},
        "bounds of the actions name each other in a circle",
    ),
}

SLOTS = {
    "no law": ({"transitions": {}}, "state 'cake' has no law. Give transitions={'cake'"),
    "a law of a process": (
        {**more("states", z=LUCK), **more("transitions", z=lambda z: z)},
        "'z' is a bx.MarkovChain, which brings its own law",
    ),
    "None for a law": ({"transitions": {"cake": None}}, "transitions.'cake'. is None"),
    "None for a space": (more("states", z=None), "states.'z'. is None"),
    "Markov of a continuous state": (
        {"transitions": {"cake": bx.Markov("p")}},
        "bx.Markov, which is for a bx.Discrete state; 'cake' is a bx.Continuous",
    ),
    "no reward": ({"reward": ...}, "reward is missing"),
    "a space that is none": (
        {"states": {"cake": (0, 1)}},
        r"states\['cake'\] is \(0, 1\); it must be bx.Continuous",
    ),
    "a process as an action": (
        {"actions": {"eaten": LUCK}},
        r"actions\['eaten'\] is MarkovChain.*must be bx.Continuous, bx.Discrete",
    ),
    "a shock that is none": (
        more("shocks", z=0.1),
        r"shocks\['z'\] is 0.1; it must be a distribution of bx.shocks",
    ),
    "a slot that is no dict": ({"functions": [len]}, "functions must be a dict by name"),
    "an infinite state": ({"states": {"cake": bx.Continuous(0.0)}}, "state 'cake' has an infinite bound"),
    "intensities": (
        more("states", z=bx.MarkovChain([1, 2], intensity=np.zeros((2, 2)))),
        "'z' has intensities, which are for continuous time",
    ),
    "rows of a chain": (
        more("states", z=bx.MarkovChain([1, 2], [[0.5, 0.4], [0.5, 0.5]])),
        "transition of state 'z' sums to 0.9 in row 0",
    ),
    "size of a chain": (
        more("states", z=bx.MarkovChain([1, 2, 3], np.eye(2))),
        r"shape \(2, 2\); it must have shape \(3, 3\)",
    ),
    "a negative spread": (
        more("states", z=bx.AR1(0.9, -0.1)),
        "sigma of state 'z' is -0.1; it must not be negative",
    ),
    "bounds of another shape": (
        {"states": {"cake": bx.Continuous(np.zeros(3), 1.0, shape=(2,))}},
        r"lower bound of state 'cake' has shape \(3,\); it must have shape \(2,\)",
    ),
    "a decision called stop": (
        {
            "actions": {"stop": bx.Continuous(0.0, "cake")},
            "reward": 0.0,
            "transitions": {"cake": "cake"},
            "stop": 1.0,
        },
        "'stop' names the decision to stop",
    ),
    "a discount of one forever": (
        {"discount": 1.0, "horizon": math.inf},
        "discount is 1 and the horizon is infinite",
    ),
    "a negative discount": ({"discount": -0.5}, "discount is -0.5; it must not be negative"),
    "a terminal value forever": (
        {"terminal": 0.0, "horizon": math.inf},
        "terminal is given and the horizon is infinite",
    ),
    "the period forever": (
        {"reward": lambda eaten, period: eaten * period, "horizon": math.inf},
        "reward reads 'period' and the horizon is infinite",
    ),
    "a literal too short": (
        {"reward": bx.by_period(np.ones(9))},
        "reward has 9 periods, and the model has 10",
    ),
    "a literal by period forever": (
        {"discount": bx.by_period(np.full(9, 0.9)), "horizon": math.inf},
        "discount is given by period or by age, and the horizon is infinite",
    ),
    "next_regime without regimes": (
        {"next_regime": lambda: {"x": 1.0}},
        "next_regime is given and the model has no regimes",
    ),
    "entry without regimes": ({"entry": {"cake": {"x": 0.0}}}, "entry is given and the model has no regimes"),
    "two defaults": (
        {"reward": lambda eaten, a=1.0: a * eaten, "terminal": lambda cake, a=2.0: a * cake},
        "'a' has different defaults in 'reward', 'terminal'",
    ),
}


@pytest.mark.parametrize("case", [*NAMES, *SCOPES, *SLOTS])
def test_wrong_statements_are_refused(case, untyped):
    change, message = {**NAMES, **SCOPES, **SLOTS}[case]
    with pytest.raises(bx.ModelError, match=message):
        cake(**change)


def test_what_the_scope_table_allows():
    """A shock that reads states, an action and a realised chain; a bound that reads another action."""
    m = bx.Model(
        states={"x": bx.Continuous("least", lambda period: 1.0 + period), "z": LUCK, "mood": bx.Discrete(2)},
        actions={
            "a": bx.Continuous(0.0, "x"),
            "b": bx.Continuous("a", "total"),
            "c": bx.Discrete([0.5, 1.5]),
        },
        shocks={"e": bx.shocks.Normal(mean=lambda x, a, next_z, next_mood: x + a + next_z + next_mood, sd="z")},
        functions={"total": lambda x, a: x + a, "income": lambda next_z, e: next_z * e},
        transitions={
            "x": lambda x, b, income: x - b + income,
            "mood": bx.Markov(lambda mood, c, z: jnp.stack([c * z / 2, 1 - c * z / 2])),
        },
        constraints={"enough": lambda b, x, c: b * c <= x},
        reward=lambda next_x, income, a: next_x + income + a,
        discount=lambda next_z, beta: beta * next_z,
        terminal=lambda x, z, age: x * z + age,
        horizon=5,
    )
    assert m.graph.action_order == ["a", "b", "c"]
    assert m.graph.leaves("slot:reward", "shock", "next") == {"next_z", "e"}
    assert m.graph.is_random("slot:discount") and not m.graph.is_random("upper:b")
    assert sorted(m.template()["name"]) == ["beta", "least"]
    assert set(m.parameters({"beta": 0.9, "least": 0.0})) == {"beta", "least"}


class Labor(IntEnum):
    """At module level: jaxlib keeps how to convert a class under its address, which a freed one leaves to the next."""

    rest = 0
    work = 1


def test_functions_see_the_arithmetic_of_labels():
    """`wage * (labor == Labor.work)` under the library's strict promotion of types."""
    m = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"labor": bx.Discrete(Labor)},
        transitions={"x": bx.fixed},
        reward=lambda labor, wage: wage * (labor == Labor.work),
    )
    pay = jax.jit(m.graph.compose(["slot:reward"]))
    assert [float(pay(labor=jnp.int32(code), wage=jnp.array(7.0))["slot:reward"]) for code in (0, 1)] == [
        0.0,
        7.0,
    ]


def test_partial_functions_and_literals_are_quantities():
    m = cake(
        reward=partial(lambda eaten, weight, power: weight * eaten**power, power=0.5),
        discount=np.float64(0.9),
    )
    assert dict(m.template().set_index("name")["default"]) == {"weight": "", "power": 0.5}
    assert [float(value) for name, value in m.graph.literals().items() if "discount" in name] == [0.9]


def test_literals_by_age_lie_along_the_models_ages():
    ages = pd.Series({26: 0.2, 25: 0.1, 27: 0.3})
    m = cake(reward=bx.by_age(ages), horizon=bx.Ages(25, 27))
    (rewards,) = [value for name, value in m.graph.literals().items() if "reward" in name]
    np.testing.assert_array_equal(rewards.values, [0.1, 0.2, 0.3])
    with pytest.raises(bx.ModelError, match="reward has no value at age 28"):
        cake(reward=bx.by_age(ages), horizon=bx.Ages(25, 28))
