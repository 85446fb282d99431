"""Regimes that differ by numbers alone, which are solved together, against one regime with a category for each."""

import dataclasses
from enum import IntEnum

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.model.alike import alike, same
from bellax.solve import prepare

Job = IntEnum("Job", {"none": 0, "part": 1, "full": 2})
WAGES = np.array([0.3, 0.8, 1.5])
MOVES = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.0, 0.25, 0.75]])
WEALTH = np.array([0.3, 1.0, 4.0])
COMMON = {
    "states": {"wealth": bx.Continuous(0.1, 12.0), "z": bx.AR1("rho", "sigma")},
    "actions": {"rest": bx.Discrete([0.0, 0.5]), "consumption": bx.Continuous(1e-3, "wealth")},
    "functions": {
        "savings": lambda wealth, consumption: wealth - consumption,
        "pay": lambda wage, rest, z: wage * (1 - rest) * jnp.exp(z),
    },
    "transitions": {"wealth": lambda savings, pay: 1.02 * savings + pay},
    "reward": lambda consumption, rest: jnp.log(consumption) + rest,
}
PARAMS = {"rho": 0.7, "sigma": 0.2, "discount": 0.95, "survival": 0.9}
BEQUEST = bx.Terminal(value=lambda wealth: 0.5 * jnp.log(1 + wealth))
SOLVERS = {
    "candidates": bx.maximise.Enumerate(grid={"consumption": 7}),
    "Newton": bx.maximise.Newton(),
    "DCEGM": bx.maximise.DCEGM(grid={"savings": 16}, kinks=0),
}


def solver(name):
    grid = {"z": 3} if name == "DCEGM" else {"wealth": 9, "z": 3}
    return bx.solvers.BackwardInduction(grid=grid, maximiser=SOLVERS[name])


def moving(moves, survival):
    chances = {job.name: survival * moves[job] for job in Job}
    return {**chances, "dead": 1 - survival}


def regimes(horizon=4, **others):
    """A regime a job, with the same functions but for `others`."""
    working = {job.name: bx.Regime(next_regime=moving, **others.get(job.name, {})) for job in Job}
    return bx.Model(regimes={**working, "dead": BEQUEST}, horizon=horizon, **COMMON)


def by_job(moves=MOVES):
    return {**PARAMS, **{job.name: {"wage": WAGES[job], "moves": moves[job]} for job in Job}}


@pytest.fixture(scope="module")
def kin():
    """Three regimes that differ by numbers."""
    return regimes()


@pytest.fixture(scope="module")
def categories():
    """The same with one regime and a category a job."""
    working = bx.Regime(
        states={"job": bx.Discrete(Job)},
        functions={"wage": lambda job, wages: wages[job]},
        transitions={"job": bx.Markov(lambda job, moves: moves[job])},
        next_regime=lambda survival: {"working": survival, "dead": 1 - survival},
    )
    return bx.Model(regimes={"working": working, "dead": BEQUEST}, horizon=4, **COMMON)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "candidates" else [pytest.mark.long]) for name in SOLVERS]
)
def test_regimes_of_one_kind_are_categories_of_one(kin, categories, name):
    together = bx.solve(kin, by_job(), solver(name))
    one = bx.solve(categories, {**PARAMS, "wages": WAGES, "moves": MOVES}, solver(name))["working"]
    assert [family.members for family in families(kin, solver(name))] == [("none", "part", "full")]
    for job in Job:
        own = together[job.name]
        np.testing.assert_allclose(
            own.value(0, wealth=WEALTH, z=0.1), one.value(0, wealth=WEALTH, z=0.1, job=job), 1e-11
        )
        ours, theirs = own.policy(1, wealth=WEALTH, z=0.1), one.policy(1, wealth=WEALTH, z=0.1, job=job)
        for action in ("rest", "consumption"):
            np.testing.assert_allclose(ours[action], theirs[action], rtol=1e-7)


def families(model, solver, params=None):
    prepared = prepare(model, solver)
    prepared.arguments(by_job() if params is None else params)
    return prepared.programs["families", prepared.settings]


@pytest.mark.long
def test_what_leaves_the_grid_is_counted_by_regime_as_ever(kin):
    """A function of its own, which does the same, makes the last regime one that is solved by itself."""
    other = {"full": {"functions": {"pay": lambda wage, rest, z: wage * (1 - rest) * jnp.exp(z)}}}
    apart, high = regimes(**other), {**by_job(), "full": {"wage": 30.0, "moves": MOVES[2]}}
    assert [family.members for family in families(apart, solver("candidates"))] == [("none", "part")]
    found = [bx.solve(model, high, solver("candidates")) for model in (kin, apart)]
    for job in Job:
        ours, theirs = (dict(solution[job.name].stats) for solution in found)
        assert list(ours) == list(theirs)
        for name in set(ours) - {"seconds", "evaluations"}:
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-9, err_msg=f"{job.name}: {name}")
    rich = found[0]["full"].stats
    assert min(rich["above:wealth"], rich["above:part.wealth"]) > 0


@pytest.mark.long
def test_derivatives_pass_through_a_family(with_value):
    model = regimes(2)

    def worth(wage):
        params = {**by_job(), "part": {"wage": wage, "moves": MOVES[1]}}
        return bx.solve(model, params, solver("DCEGM"))["full"].value(0, wealth=1.0, z=0.0)

    step, both = 1e-4, with_value(worth, jax.grad)
    central = (both(0.8 + step)[1] - both(0.8 - step)[1]) / (2 * step)
    assert float(both(0.8)[0]) == pytest.approx(float(central), rel=1e-6)


@pytest.mark.long
def test_numbers_of_another_shape_are_another_program():
    longer = {**by_job(), "full": {"wage": np.full(2, 1.5), "moves": MOVES[2]}}
    tables = {"pay": lambda wage, rest, z: jnp.max(jnp.atleast_1d(wage)) * (1 - rest) * jnp.exp(z)}
    model = dataclasses.replace(regimes(2), functions={**COMMON["functions"], **tables})
    found, known = (bx.solve(model, params, solver("candidates")) for params in (longer, by_job()))
    for job in Job:
        ours, theirs = (solution[job.name].value(0, wealth=WEALTH, z=0.1) for solution in (found, known))
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_what_is_alike():
    def scaled(by):
        return bx.Regime(reward=lambda consumption: by * consumption, discount=0.9)

    class Held:
        def __init__(self, number):
            self.number = number

    assert alike(scaled(2.0), scaled(2.0))
    assert not alike(scaled(2.0), scaled(3.0))
    held = Held(1)
    assert alike(scaled(held), scaled(held))
    assert not alike(scaled(Held(1)), scaled(Held(1)))  # nobody knows what it is
    assert not alike(scaled(np.ones(2)), scaled(np.zeros(2)))
    assert not alike(scaled(1.0), scaled(1))
    assert not alike(bx.Regime(reward=lambda c: c), bx.Regime(reward=lambda c: c))
    assert alike(bx.Regime(discount=0.9), bx.Regime(discount=0.8), but=("discount",))
    spaces = [bx.Regime(states={"x": bx.Continuous(0.0, upper)}) for upper in (1.0, 1.0, 2.0)]
    assert alike(spaces[0], spaces[1])
    assert not alike(spaces[0], spaces[2])


def test_what_is_not_surely_the_same_is_not():
    """Classes, whose methods nobody compares, and functions that name themselves."""

    @dataclasses.dataclass
    class One:
        pay: float = 1.0

    @dataclasses.dataclass
    class Other:
        pay: float = 1.0

    def recursive(depth):
        def inner(k):
            return 0.0 if k == 0 else inner(k - 1)

        return lambda: inner(depth)

    assert not same(One, Other) and same(One(2.0), One(2.0))
    assert not same(recursive(2), recursive(2))
    assert same(*((lambda scale: lambda wealth: scale * wealth)(2.0) for _ in range(2)))


def _three(entry=None, **params):
    """Three regimes of one function, of which the first may be entered by a mapping of its own."""
    regime = dict(functions={"income": lambda wage: wage}, next_regime=lambda: {"A": 0.4, "B": 0.3, "C": 0.3})
    regimes = {name: bx.Regime(**regime, **({"entry": entry} if entry and name == "A" else {})) for name in "ABC"}
    return bx.Model(
        regimes=regimes,
        states={"wealth": bx.Continuous(0.0, 10.0)},
        actions={"consumption": bx.Continuous(1e-3, lambda wealth, income: wealth + income)},
        transitions={"wealth": lambda wealth, income, consumption: 1.02 * (wealth + income - consumption)},
        reward=lambda consumption: jnp.log(consumption),
        discount=0.95,
        horizon=3,
    )


def test_a_rule_is_followed_in_regimes_that_are_alike():
    """One wage for all, so that three regimes are one: what is consumed follows from wealth alone."""
    rule = {"consumption": lambda wealth, income: 0.05 * (wealth + income)}
    solver = bx.solvers.BackwardInduction(grid={"wealth": 60})
    found = bx.evaluate(_three(), {"wage": 1.0}, rule, solver)["A"].value(period=0, wealth=2.0)
    wealth, worth = 2.0, 0.0
    for t in range(3):
        worth += 0.95**t * np.log(0.05 * (wealth + 1.0))
        wealth = 1.02 * 0.95 * (wealth + 1.0)
    assert float(found) == pytest.approx(worth, abs=1e-3)


@pytest.mark.long
def test_an_entry_of_one_member_is_not_forgotten():
    """Who comes to A from elsewhere keeps a fifth: three periods, since the first is asked of each regime by itself."""
    model = _three({"wealth": {name: lambda next_wealth: 0.2 * next_wealth for name in "BC"}})
    solver = bx.solvers.BackwardInduction(grid={"wealth": 80})
    found, plain = (bx.solve(m, {"wage": 1.0}, solver) for m in (model, _three()))
    values = [s[name].value(period=0, wealth=2.0) for s in (found, plain) for name in "AB"]
    assert float(values[0]) > float(values[1]) + 0.05 and float(values[2]) == pytest.approx(float(values[3]), rel=1e-9)
