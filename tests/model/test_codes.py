"""What functions may not do with a code, and tables that are too short for it: said before anything is solved."""

from enum import Enum, IntEnum

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


class Weather(IntEnum):
    wet = 0
    dry = 1
    fair = 2


class Sky(Enum):
    wet = 0


EVEN = np.full((3, 3), 1 / 3)
TWO, THREE, WIDE = np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0]), np.ones((2, 3))


def model(**slots):
    base = dict(
        states={"w": bx.Continuous(0.5, 4.0), "weather": bx.MarkovChain(Weather, EVEN), "h": bx.Discrete(3)},
        actions={"c": bx.Continuous(0.1, "w"), "work": bx.Discrete(2)},
        shocks={"k": bx.shocks.Categorical(probabilities=[0.2, 0.3, 0.5])},
        transitions={"w": lambda w, c: w - c + 1.0, "h": bx.fixed},
        reward=lambda c: jnp.log(c),
        discount=0.9,
        horizon=3,
    )
    for name, value in slots.items():
        base[name] = {**base[name], **value} if isinstance(base.get(name), dict) else value
    return bx.Model(**base)


def matched(weather):
    match weather:
        case "wet":
            return 1.0
        case _:
            return 2.0


MISUSED = {
    "a string": (lambda weather: jnp.where(weather == "wet", 1.0, 2.0), "'weather' with the string 'wet'.*Weather.wet"),
    "the other way": (lambda weather: jnp.where(weather != "Fair", 1.0, 2.0), "the string 'Fair'.*Weather.fair"),
    "in a list": (lambda weather: 1.0 if weather in ["dry", "fair"] else 2.0, "the string 'dry'.*Weather.dry"),
    "a match": (matched, "the state 'weather' with the string 'wet', which is never equal"),
    "another Enum": (lambda weather: jnp.where(weather == Sky.wet, 1.0, 2.0), "Sky.wet, whose Enum is no IntEnum"),
    "a count": (lambda h: jnp.where(h == "2", 1.0, 2.0), "the state 'h' with the string '2'.*number, such as 2"),
    "an action": (lambda work: jnp.where(work == "yes", 1.0, 2.0), "the action 'work' with the string"),
    "a shock": (lambda k: jnp.where(k == "high", 1.0, 2.0), "the shock 'k' with the string 'high'"),
    "tomorrow": (lambda next_h: jnp.where(next_h == "a", 1.0, 2.0), "tomorrow's state 'next_h' with the string"),
    "a set": (
        lambda weather: 1.0 if weather in {0, 1} else 2.0,
        "'weather' up in a dict or a set.*each of its members",
    ),
    "a dict": (lambda weather: {Weather.wet: 1.0}[weather], r"up in a dict.*jnp.array\(\[a, b\]\)\[weather\]"),
    "a list": (lambda weather: [1.0, 2.0, 3.0][weather], r"number of Python.*write jnp.array\(\[a, b\]\)\[weather\]"),
}


@pytest.mark.parametrize(("reward", "message"), MISUSED.values(), ids=MISUSED)
def test_a_code_is_no_string_and_no_key(reward, message):
    with pytest.raises(bx.ModelError, match=f"reward.*{message}"):
        model(reward=reward)


def test_the_slot_is_named_wherever_it_is():
    with pytest.raises(bx.ModelError, match=r"functions\['rain'\] compares the state 'weather'"):
        model(functions={"rain": lambda weather: weather == "wet"})
    with pytest.raises(bx.ModelError, match=r"transitions\['h'\] compares the action 'work'"):
        model(transitions={"h": bx.Markov(lambda work: jnp.where(work == "x", EVEN[0], EVEN[1]))})
    with pytest.raises(bx.ModelError, match=r"upper bound of action 'c' compares the state 'weather'"):
        model(actions={"c": bx.Continuous(0.1, lambda w, weather: jnp.where(weather == "wet", w, 0.5 * w))})


def test_a_mapping_between_regimes():
    rule = lambda h: jnp.where(h == "good", 1, 0)  # noqa: E731
    regime = {"transitions": {"h": bx.fixed}, "reward": 1.0, "next_regime": lambda: {"old": 1.0}}
    young = bx.Regime(states={"h": bx.Discrete(3)}, **regime)
    old = bx.Regime(states={"h": bx.Discrete(2)}, **regime, entry={"h": {"young": rule}})
    with pytest.raises(bx.ModelError, match="mapping of 'h' from 'young' to 'old' compares the state 'h'"):
        bx.Model(regimes={"young": young, "old": old}, discount=0.9)


PUZZLED = {
    "behind a table": (lambda h, t, weather: t[h] * jnp.where(weather == "wet", 1.0, 2.0), "with the string 'wet'"),
    "a code made of one": (
        lambda h, t: t[0] * [1.0, 2.0, 3.0][h + 0],
        r"looks a list up.*jnp.array\(\[a, b\]\)\[code\]",
    ),
    "a key made of one": (lambda h, t: t[0] * {0: 1.0}[h + 0], r"looks a dict up.*jnp.array\(\[a, b\]\)\[code\]"),
    "an array of numpy": (lambda h, t: t[0] * THREE[h], r"jnp.array\(\[a, b\]\)\[code\]\) in place of numpy"),
    "members": (lambda h, t: t[0] if h in (0, 1) else 1.0, "asks whether an array is true.*`in`"),
}


@pytest.mark.parametrize(("reward", "message"), PUZZLED.values(), ids=PUZZLED)
def test_what_shows_with_the_shapes_of_parameters(reward, message):
    m = model(reward=reward)
    with pytest.raises(bx.BellaxError, match=f"reward.*{message}"):
        m.parameters({"t": THREE})


def test_a_code_is_an_array_in_every_other_respect():
    def reward(c, h, weather: jax.Array, work, k, t):
        assert isinstance(weather, jax.Array) and weather.shape == () and weather.dtype == h.dtype
        picked = jax.lax.switch(weather, [lambda: 0.0, lambda: 1.0, lambda: 2.0]) + jax.nn.one_hot(h, 3) @ t
        compared = (weather == Weather.wet) | (h != 1) & (work < 1) | (jnp.arange(3) == k).any()
        looped = jax.lax.fori_loop(0, 3, lambda i, sum: sum + i * h, 0) + jax.vmap(lambda i: i * k)(jnp.arange(2)).sum()
        return c * picked + compared + looped + 2.0**h + round(h) + jax.tree.map(jnp.sin, {"a": 1.0 * weather})["a"]

    assert model(reward=reward).parameters({"t": THREE})["t"].shape == (3,)


# -- tables


def late(t, h):
    neighbours = jnp.stack([t[h], t[h + 1]])
    return jnp.where(h < 2, neighbours[1], neighbours[0])


SHORT = {
    "a parameter": (lambda c, h, t: c * t[h], TWO, "outside of parameter 't', which has length 2, where h = 2"),
    "by period": (lambda c, h, t: c * t[h], bx.by_period(np.ones((3, 2))), "parameter 't', which has length 2"),
    "a label": (lambda c, weather, t: c * t[weather], TWO, "where weather = fair"),
    "a literal": (lambda c, h, t: c * jnp.array([1.0, 2.0])[h], TWO, "outside of an array, which has length 2"),
    "one on": (lambda c, h, t: c * t[h + 1], THREE, "length 3, where h = 2"),
    "before the first": (lambda c, h, t: c * t[h - 4], THREE, "length 3, where h = 0"),
    "two codes": (lambda c, work, h, t: c * t[h, work], WIDE, "length 2, where h = 2"),
    "a column": (lambda c, h, t: c * t[:, h].sum(), WIDE.T, "length 2, where h = 2"),
    "an array of codes": (lambda c, h, t: c * t[jnp.array([0, h])].sum(), TWO, "length 2, where h = 2"),
    "a shock": (lambda c, k, t: c * t[k], TWO, "length 2, where k = 2"),
    "a chain of tables": (lambda c, h, t: c * t[jnp.array([0, 1, 3])[h]], THREE, "length 3, where h = 2"),
    "a wrong guard": (lambda c, h, t: c * jnp.where(h > 0, t[h], 0.0), TWO, "length 2, where h = 2"),
    "a guard of something else": (lambda c, h, t: jnp.where(c > 0, t[h], -1e9), TWO, "length 2, where h = 2"),
    "a branch": (lambda c, h, t: jax.lax.cond(c > 1, lambda: t[h], lambda: c), TWO, "length 2, where h = 2"),
    "inside jit": (lambda c, h, t: jax.jit(lambda t, h: c * t[h])(t, h), TWO, "length 2, where h = 2"),
}
LONG_ENOUGH = {
    "as long": (lambda c, h, t: c * t[h], THREE),
    "from the end": (lambda c, h, t: c * t[h - 1], THREE),
    "a guard": (lambda c, h, t: c * jnp.where(h > 0, t[h - 1], 0.0), TWO),
    "a guard at the end": (lambda c, h, t: c * jnp.where(h < 2, t[h + 1], 0.0), THREE),
    "times zero": (lambda c, h, t: c + (h < 2) * t[h + 1], THREE),
    "or": (lambda c, h, t: c * ((h >= 2) | (t[h] > 0)), TWO),
    "the nearest": (lambda c, h, t: c * t[jnp.minimum(h + 1, 2)], THREE),
    "the nearest, said": (lambda c, h, t: c * jnp.take(t, h, mode="clip"), TWO),
    "apart by a constraint": (lambda c, h, work, t: c * t[h + work], THREE),
    "a count that is a parameter": (lambda c, h, t, n=3: c * jnp.where(h < n - 1, t[h + 1], 0.0), THREE),
    "a mask that is a parameter": (lambda c, h, t: c + t[h] * jnp.array([1.0, 2.0])[h], np.array([1.0, 1.0, 0.0])),
    "neighbours": (lambda c, h, t: c * late(t, h), THREE),
    "a branch": (lambda c, h, t: c * jax.lax.cond(h < 2, lambda x: x, lambda x: 0.0, t[h + 1]), THREE),
    "cases": (lambda c, h, t: c * jnp.select([h == 0, h == 1], [t[h], t[h]], 5.0), TWO),
    "a bracket": (lambda c, h, t: c * jnp.interp(1.0 * h, jnp.arange(2.0), t), TWO),
    "a circle": (lambda c, h, t: c * t[(h + 1) % 3], THREE),
    "a random key": (lambda c, h, t, key=0: c * t[h] + jax.random.normal(jax.random.key(0)), THREE),
}


@pytest.mark.parametrize(("reward", "table", "message"), SHORT.values(), ids=SHORT)
def test_a_table_that_is_too_short(reward, table, message):
    m = model(reward=reward)
    with pytest.raises((bx.ParameterError, bx.ModelError), match=f"reward reads .*{message}"):
        m.parameters({"t": table})


@pytest.mark.parametrize(("reward", "table"), LONG_ENOUGH.values(), ids=LONG_ENOUGH)
def test_what_is_not_used_may_be_past_the_end(reward, table):
    assert model(reward=reward).parameters({"t": table})["t"].shape == table.shape


def test_the_function_that_reads_is_named_and_only_if_it_matters():
    wage = {"wage": lambda weather, t: t[weather]}
    m = model(functions=wage, transitions={"w": lambda w, c, wage: w - c + wage})
    with pytest.raises(bx.ParameterError, match=r"functions\['wage'\] reads outside of parameter 't'"):
        m.parameters({"t": TWO})
    m = model(functions=wage, reward=lambda c, wage, weather: c + jnp.where(weather == Weather.fair, 0.0, wage))
    assert m.parameters({"t": TWO})["t"].shape == (2,)


def test_inside_of_a_trace_numbers_are_tried_and_tracers_are_not():
    m = model(reward=lambda c, h, t: c * t[h])
    assert jax.eval_shape(lambda t: m.parameters({"t": t})["t"], TWO).shape == (2,)
    with pytest.raises(bx.ParameterError, match="outside of parameter 't'"):
        m.parameters({"t": TWO})  # the trace before has not settled it
    short = jnp.array([1.0, 2.0])
    m = model(reward=lambda h: jnp.select([h == 0, h == 1], [short[h], short[h]], 5.0))
    jax.eval_shape(lambda x: [m.parameters({}), x][1], 1.0)
    m = model(reward=lambda h: short[h])
    with pytest.raises(bx.ModelError, match="outside of an array, which has length 2"):
        jax.eval_shape(lambda x: [m.parameters({}), x][1], 1.0)


def test_many_categories_are_tried_at_their_ends():
    states = {"i": bx.Discrete(300), "j": bx.Discrete(300)}
    m = model(states=states, transitions=dict.fromkeys(states, bx.fixed), reward=lambda i, j, t: t[i] + t[j])
    with pytest.raises(bx.ParameterError, match=r"length 299, where [ij] = 299"):
        m.parameters({"t": np.ones(299)})


# -- what Python computes while jax traces

DRAWS = np.random.default_rng(0)
FROZEN = {
    "a number": lambda c: c * DRAWS.normal(),
    "an array": lambda c: (c * DRAWS.normal(size=3)).sum(),
    "a place": lambda c: c * jnp.arange(1000.0)[int(DRAWS.integers(10**9)) % 1000],
    "a branch": lambda c: jnp.log(c) if next(TURNS) else c,
    "inside": lambda c: jax.lax.cond(c > 1, lambda: DRAWS.normal(), lambda: 0.0),
}
TURNS = iter([True, False] * 20)
STEADY = {
    "a number": lambda c: c * 2.0,
    "a seed of its own": lambda c: c * np.random.default_rng(0).normal(),
    "a key": lambda c: c * jax.random.normal(jax.random.key(0)),
    "no number": lambda c: jnp.where(c > 0, c, np.nan),
    "a function with its own derivative": lambda c: jax.nn.relu(c),
}


@pytest.mark.parametrize("reward", FROZEN.values(), ids=FROZEN)
def test_a_value_that_is_frozen(reward):
    m = model(reward=reward)
    with pytest.raises(bx.ModelError, match=r"reward differs each time that it is traced.*is a shock, shocks="):
        m.check({})


@pytest.mark.parametrize("reward", STEADY.values(), ids=STEADY)
def test_a_value_that_is_the_same_each_time(reward):
    assert model(reward=reward).check({}) is None


def test_a_check_is_of_parameters_too():
    with pytest.raises(bx.ParameterError, match="missing parameters: 'gamma'"):
        model(reward=lambda c, gamma: c**gamma).check({})
