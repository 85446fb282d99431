"""What a solve has to do is said before it starts, and refused where a number is plainly a slip."""

import logging
import math

import jax.numpy as jnp
import pytest

import bellax as bx
from bellax.bellman import checks
from bellax.bellman.checks import check_memory
from bellax.bellman.workload import estimated
from bellax.solve import prepare


def model(dimensions=1, **slots):
    base = dict(
        states={f"k{i}": bx.Continuous(1.0, 2.0) for i in range(dimensions)},
        actions={"c": bx.Continuous(0.1, 1.0)},
        transitions={f"k{i}": bx.fixed for i in range(dimensions)},
        reward=lambda c: jnp.log(c),
        discount=0.9,
        horizon=60,
    )
    return bx.Model(**{**base, **slots})


RANDOM = dict(
    states={"k0": bx.Continuous(1.0, 2.0), "z": bx.AR1(0.5, 0.1), "h": bx.Discrete(3)},
    actions={"c": bx.Continuous(0.1, 1.0), "work": bx.Discrete(2)},
    shocks={"e": bx.shocks.Normal(shape=(2,)), "unseen": bx.shocks.Normal()},
    transitions={
        "k0": lambda k0, e, next_z: k0 + 0.1 * e[0] * e[1] + next_z,
        "h": bx.Markov(lambda h: jnp.eye(3)[h]),
    },
)
ENUMERATED = bx.solvers.BackwardInduction(
    grid={"k0": 11, "z": 5}, quadrature={"e": 4}, maximiser=bx.maximise.Enumerate(grid={"c": 20})
)


def announced(caplog, m, solver):
    setting = prepare(m, solver)
    with caplog.at_level(logging.WARNING, "bellax"):
        check_memory(setting, setting.arguments({}))
    return caplog.text


def test_cells_are_those_that_the_step_evaluates():
    """11 x 5 x 3 nodes, 20 candidates of 2 combinations, 4 x 4 nodes of e and 5 of z seen tomorrow, 3 rows of h."""
    setting = prepare(model(**RANDOM), ENUMERATED)
    work = estimated(setting.numerics, setting.arguments({}))
    assert work.cells == (11 * 5 * 3) * (20 * 2) * (4 * 4 * 5 * 3)
    assert work.steps == 60
    found = bx.solve(model(**RANDOM, horizon=2), {}, ENUMERATED)
    assert found.stats["evaluations"] == 2 * math.prod(work.states.values()) * work.actions


def test_states_from_which_the_same_follows_share_a_look_up():
    """Candidates of savings are tomorrow's k itself: neither k nor work matters, and h stays what it is."""
    m = model(
        states={"k0": bx.Continuous(1.0, 2.0), "h": bx.Discrete(3)},
        actions={"save": bx.Continuous(1.0, 2.0), "work": bx.Discrete(2)},
        transitions={"k0": lambda save: save, "h": bx.fixed},
        reward=lambda k0, save, work, h: k0 - save + work * h,
    )
    candidates = bx.maximise.Enumerate(grid={"save": bx.grids.Given(jnp.linspace(1.0, 2.0, 20))})
    setting = prepare(m, bx.solvers.BackwardInduction(grid={"k0": 11}, maximiser=candidates))
    assert estimated(setting.numerics, setting.arguments({})).seen == pytest.approx(1 / (11 * 2))
    sought = prepare(m, bx.solvers.BackwardInduction(grid={"k0": 11}, maximiser=bx.maximise.Newton()))
    assert estimated(sought.numerics, sought.arguments({})).seen == 1


def test_six_states_by_default_are_announced(caplog):
    """8 nodes a line, and 4^6 numbers a look-up, for 60 periods."""
    text = announced(caplog, model(6), bx.solvers.BackwardInduction())
    assert "8 x 8 x 8 x 8 x 8 x 8 = 2.62e+05 nodes" in text
    assert "60 periods; about" in text and "73 minutes on one core" in text
    assert "6 dimensions reads 4096 numbers" in text


@pytest.mark.parametrize(
    ("solver", "part"),
    [
        (dict(grid={"k0": 20_000}), "780000 nodes of states, 20000 of 'k0'"),
        (dict(grid={"k0": 50}, quadrature={"e": 300}), "3510000 nodes of what is random, 90000 of 'e'"),
        (dict(maximiser=bx.maximise.Enumerate(grid={"c": 99_999})), "199998 evaluations of Q in each state"),
    ],
)
def test_what_contributes_most_is_named(caplog, solver, part):
    text = announced(caplog, model(**RANDOM), bx.solvers.BackwardInduction(**solver))
    assert f"What contributes most: {part}." in text


def test_it_is_said_once_and_not_of_what_is_short(caplog):
    m, solver = model(6), bx.solvers.BackwardInduction()
    assert announced(caplog, m, solver)
    caplog.clear()
    assert announced(caplog, m, solver) == ""
    assert announced(caplog, model(), solver) == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(quadrature={"e": 10**7}), r"shock 'e' has 10000000 nodes in each of 2 dimensions, 1e\+14 in all"),
        (dict(quadrature={"e": bx.quadrature.Equispaced(400)}), "shock 'e' has 400 nodes in each.*shocks.Categorical"),
        (dict(quadrature={"unseen": 10**6}), "shock 'unseen' has 1000000 nodes; Q is"),
        (dict(grid={"z": 5000}), r"AR1 state 'z' has 5000 nodes; its chain would be a table of 2.5e\+07"),
        (dict(grid={"z": bx.grids.Tauchen(10**6)}), "AR1 state 'z' has 1000000 nodes"),
        (dict(maximiser=bx.maximise.Enumerate(grid={"c": 10**6})), "action 'c' has 1000000 candidates.*grids.Given"),
        (dict(maximiser=bx.maximise.Newton(grid={"c": 10**6})), "action 'c' has 1000000 candidates"),
    ],
)
def test_a_number_that_is_plainly_a_slip_is_refused(options, message):
    with pytest.raises(bx.ModelError, match=message):
        bx.solve(model(**RANDOM), {}, bx.solvers.BackwardInduction(**options))


def test_a_slip_in_the_nodes_of_an_iid_state():
    m = model(states={"k0": bx.Continuous(1.0, 2.0), "e": bx.IID(bx.shocks.Normal())}, reward=lambda c, e: c * e)
    with pytest.raises(bx.ModelError, match="IID state 'e' has 10000000 nodes; Q is"):
        bx.solve(m, {}, bx.solvers.BackwardInduction(grid={"e": 10**7}))


def test_a_budget_beyond_the_machine_is_refused(monkeypatch):
    """2 000 states x 1 000 actions x 4 planes x 8 bytes in one piece; in chunks it would fit."""
    monkeypatch.setattr(checks, "physical_memory", lambda: 2**25)
    m = model(
        states={"s": bx.Discrete(2000)},
        actions={"a": bx.Discrete(1000)},
        transitions={"s": bx.fixed},
        reward=lambda a: a,
    )
    with pytest.raises(bx.ModelError, match=r"memory=268435456 lets a Bellman step have 6.4e\+07 bytes"):
        bx.solve(m, {}, bx.solvers.BackwardInduction())
    setting = prepare(m, bx.solvers.BackwardInduction(memory=2**20))
    check_memory(setting, setting.arguments({}))
