"""Endogenous grids against closed forms, an endogenous grid in numpy, and searches."""

import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models.references import buffer_stock, precautionary_savings

INCOMES, ROWS = np.array([0.7, 1.3]), np.array([[0.8, 0.2], [0.3, 0.7]])
WEALTH = np.linspace(0.0, 5.0, 101)
P = {"discount": 0.95, "rho": 2.0, "R": 1.03}
FREE = {"beyond": 0.0}  # nobody owes anything
STATIONARY = bx.solvers.ValueIteration(maximiser=bx.maximise.EGM(grid={"savings": 24}), tolerance=1e-12)


def savings(cash, consumption):
    return cash - consumption


def power(consumption, rho):
    return consumption ** (1 - rho) / (1 - rho)


def egm(nodes=60, **options):
    return bx.solvers.BackwardInduction(maximiser=bx.maximise.EGM(grid={"savings": nodes}, **options))


def saver(horizon=4, **slots):
    """Income follows a chain and is seen; nobody owes more than `beyond`, a parameter."""
    given = {
        "states": {"wealth": bx.Continuous(-0.4, 20.0), "income": bx.MarkovChain(INCOMES, ROWS)},
        "actions": {"consumption": bx.Continuous(0.0, lambda cash, beyond: cash + beyond)},
        "functions": {"cash": lambda wealth, income: wealth + income, "savings": savings},
        "transitions": {"wealth": lambda savings, R: R * savings},
        "reward": power,
        "horizon": horizon,
    }
    return bx.Model(**(given | slots))


def one_state(reward, terminal=None, horizon=1, upper="cash", lower=0.0, states=(0.0, 20.0), **slots):
    """Cash grows by a return, and there is nothing else."""
    law = {"transitions": {"cash": lambda savings, R: R * savings}} | slots
    return bx.Model(
        states={"cash": bx.Continuous(*states)},
        actions={"consumption": bx.Continuous(lower, upper)},
        functions={"savings": savings},
        reward=reward,
        horizon=horizon,
        **({} if terminal is None else {"terminal": terminal}),
        **law,
    )


def consumed(solution, period=0, **states):
    return np.asarray(solution.policy(period, **states)["consumption"])


@pytest.fixture(scope="module")
def model():
    return saver()


@pytest.fixture(scope="module")
def solved(model):
    return bx.solve(model, P | FREE, egm(200))


# -- finite horizons ------------------------------------------------------------------------------------------------


def test_the_chain_agrees_with_numpy(solved):
    known = precautionary_savings(P["rho"], P["discount"], P["R"], INCOMES, ROWS, 4)
    for t in range(4):
        for i, y in enumerate(INCOMES):
            np.testing.assert_allclose(consumed(solved, t, wealth=WEALTH, income=y), known(t, i, WEALTH), rtol=2e-6)


@pytest.mark.long
def test_searches_agree(model, solved):
    at = {"wealth": np.array([0.3, 1.0, 4.0]), "income": 1.3}
    few = bx.maximise.Enumerate(grid={"consumption": 300})
    searched = bx.solve(model, P | FREE, bx.solvers.BackwardInduction(grid={"wealth": 120}))
    listed = bx.solve(model, P | FREE, bx.solvers.BackwardInduction(grid={"wealth": 200}, maximiser=few))
    np.testing.assert_allclose(consumed(searched, **at), consumed(solved, **at), rtol=1e-3)
    np.testing.assert_allclose(consumed(listed, **at), consumed(solved, **at), rtol=2e-2)
    np.testing.assert_allclose(searched.value(0, **at), solved.value(0, **at), rtol=1e-5)


@pytest.mark.long
def test_a_certificate_is_small_where_the_solution_is_right_and_sees_where_not(model, solved):
    fine, coarse = bx.certify(solved, points=200), bx.certify(bx.solve(model, P | FREE, egm(4, kinks=0)), points=200)
    assert fine.residuals["max"] < 1e-6 and fine.value_error < 1e-5
    assert coarse.residuals["max"] > 1e-4 and coarse.value_error > 1e-4


@pytest.mark.parametrize("beyond", [0.35, -0.2])
def test_the_borrowing_limit_may_be_negative_or_positive(model, beyond):
    """Savings that exceed the limit, in place of savings: the same problem without borrowing and with other income."""
    known = precautionary_savings(2.0, 0.95, 1.03, INCOMES - beyond * 0.03, ROWS, 4)
    found = bx.solve(model, P | {"beyond": beyond}, egm(200))
    for i, y in enumerate(INCOMES):
        ours = consumed(found, 0, wealth=WEALTH, income=y)
        np.testing.assert_allclose(ours, known(0, i, WEALTH + 1.03 * beyond), rtol=2e-6)


@pytest.mark.long
def test_the_limit_may_depend_on_a_discrete_state():
    m = saver(
        states={
            "wealth": bx.Continuous(-0.4, 20.0),
            "income": bx.MarkovChain(INCOMES, ROWS),
            "kind": bx.Discrete(2),
        },
        transitions={"wealth": lambda savings, R: R * savings, "kind": bx.fixed},
        actions={"consumption": bx.Continuous(0.0, lambda cash, kind: cash + 0.35 * kind)},
    )
    found = bx.solve(m, P, egm(200))
    for kind in (0, 1):
        known = precautionary_savings(2.0, 0.95, 1.03, INCOMES - 0.35 * kind * 0.03, ROWS, 4)
        ours = consumed(found, 0, wealth=WEALTH, income=0.7, kind=kind)
        np.testing.assert_allclose(ours, known(0, 0, WEALTH + 1.03 * 0.35 * kind), rtol=2e-6)


@pytest.mark.long
def test_the_limit_may_move_with_the_period():
    """One period before the last: the limit of that one alone binds."""
    limits = bx.by_period(np.array([0.1, 0.3]))
    m = saver(horizon=2, actions={"consumption": bx.Continuous(0.0, lambda cash, limit: cash + limit)})
    found = bx.solve(m, P | {"limit": limits}, egm(200))
    c = consumed(found, 0, wealth=WEALTH, income=0.7)
    later = 1.03 * (WEALTH + 0.7 - c)[:, None] + INCOMES + 0.3
    wanted = (0.95 * 1.03 * later**-2.0 @ ROWS[0]) ** -0.5
    binds = c >= WEALTH + 0.8 - 1e-12
    assert binds.any() and not binds.all()
    np.testing.assert_allclose(c[~binds], wanted[~binds], rtol=1e-6)
    assert np.all(wanted[binds] >= c[binds] * (1 - 1e-9))


@pytest.mark.long
def test_savings_that_are_worth_minus_infinity():
    """Tomorrow is worth log(R a + .2), which the limit of -1 does not keep positive."""
    left = lambda cash: jnp.where(cash > 0, jnp.log(jnp.where(cash > 0, cash, 1.0)), -jnp.inf)  # noqa: E731
    m = one_state(lambda consumption: jnp.log(consumption), left, upper=lambda cash: cash + 1.0,
                  states=(0.5, 20.0), transitions={"cash": lambda savings, R: R * savings + 0.2})  # fmt: skip
    found = bx.solve(m, {"R": 1.03, "discount": 0.9}, egm(200))
    cash = np.linspace(0.6, 15.0, 50)
    np.testing.assert_allclose(consumed(found, cash=cash), (cash + 0.2 / 1.03) / 1.9, rtol=1e-4)


# -- what is drawn afresh ---------------------------------------------------------------------------------------------


@pytest.mark.long
def test_income_that_only_resources_see_is_no_axis():
    draws = bx.shocks.Categorical([0.5, 1.5], [0.4, 0.6])
    seen = saver(states={"wealth": bx.Continuous(0.0, 20.0), "income": bx.IID(draws)})
    cash = one_state(power, horizon=4, states=(0.1, 20.0), shocks={"y": draws},
                     transitions={"cash": lambda savings, y, R: R * savings + y})  # fmt: skip
    mine, theirs = bx.solve(seen, P | FREE, egm(100)), bx.solve(cash, P, egm(100))
    assert mine.values.pieces.segments.shape[1] == 1  # of combinations: no axis of income
    for y in (0.5, 1.5):
        ours = mine.value(0, wealth=WEALTH, income=y)
        np.testing.assert_allclose(ours, theirs.value(0, cash=WEALTH + y), rtol=2e-4)


# -- utilities --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_constant_relative_risk_aversion():
    """No income: c is a share of cash, by the recursion of the shares."""
    model, cash = one_state(power, horizon=4), np.array([1e-3, 1.0, 15.0])
    for rho in (0.5, 5.0):
        share = 1.0
        for _ in range(3):
            share = 1 / (1 + (0.95 * 1.03 ** (1 - rho)) ** (1 / rho) / share)
        found = bx.solve(model, P | {"rho": rho}, egm(10))
        np.testing.assert_allclose(consumed(found, cash=cash), share * cash, rtol=1e-10)


@pytest.mark.long
def test_constant_absolute_risk_aversion():
    """Consumption may be negative; one decision, exp(-2 c) = beta R exp(-2 R (m - c)) E exp(-2 y)."""
    y, p = np.array([0.5, 1.5]), np.array([0.5, 0.5])
    m = one_state(lambda consumption: -jnp.exp(-2 * consumption) / 2, lambda cash: -jnp.exp(-2 * cash) / 2,
                  upper=lambda cash: cash + 8.0, lower=-20.0, states=(-5.0, 10.0),
                  shocks={"y": bx.shocks.Categorical(y, p)},
                  transitions={"cash": lambda savings, y, R: R * savings + y})  # fmt: skip
    found = bx.solve(m, {"R": 1.03, "discount": 0.95}, egm(100))
    cash = np.linspace(-4.0, 9.0, 30)
    known = (1.03 * cash - np.log(0.95 * 1.03 * p @ np.exp(-2 * y)) / 2) / 2.03
    np.testing.assert_allclose(consumed(found, cash=cash), known, atol=1e-6)


@pytest.mark.long
def test_quadratic_utility_up_to_the_point_of_bliss():
    square = lambda consumption: -0.5 * (consumption - 10.0) ** 2  # noqa: E731
    m = one_state(square, lambda cash: -0.5 * (cash - 10.0) ** 2)
    found = bx.solve(m, {"R": 1.03, "discount": 0.95}, egm(40))
    cash = np.linspace(0.1, 19.0, 30)
    b = 0.95 * 1.03
    known = np.minimum(cash, (10 - b * 10 + b * 1.03 * cash) / (1 + b * 1.03))
    np.testing.assert_allclose(consumed(found, cash=cash), known, rtol=1e-9)


@pytest.mark.long
def test_a_bequest_that_is_worth_what_it_is():
    """Terminal value linear in wealth: the rich consume the same."""
    found = bx.solve(one_state(power, lambda cash: 0.25 * cash), P, egm(40))
    cash = np.linspace(0.1, 19.0, 30)
    np.testing.assert_allclose(consumed(found, cash=cash), np.minimum(cash, (0.25 * 0.95 * 1.03) ** -0.5), rtol=1e-9)


# -- infinite horizon -------------------------------------------------------------------------------------------------


def logarithmic():
    return one_state(lambda consumption: jnp.log(consumption), horizon=np.inf, states=(0.1, 10.0))


def log_value(discount, cash, R=1.04):
    level = jnp.log(1 - discount) + discount / (1 - discount) * jnp.log(discount * R)
    return (level + jnp.log(cash)) / (1 - discount)


@pytest.mark.long
def test_log_utility_and_its_derivatives(jitted):
    """c = (1 - beta) m, without end; both differentiated in beta."""
    cash = np.array([0.2, 1.0, 7.0])

    def answers(discount):
        found = bx.solve(logarithmic(), {"R": 1.04, "discount": discount}, STATIONARY)
        return found.policy(cash=cash)["consumption"], found.value(cash=cash)

    (c, v), (c_by, v_by) = jitted(lambda b: jax.jvp(answers, (b,), (1.0,)))(0.9)
    np.testing.assert_allclose(c, 0.1 * cash, rtol=1e-9)
    np.testing.assert_allclose(c_by, -cash, rtol=1e-8)
    known, known_by = jax.jvp(lambda b: log_value(b, jnp.asarray(cash)), (0.9,), (1.0,))
    np.testing.assert_allclose(v, known, rtol=1e-8)
    np.testing.assert_allclose(v_by, known_by, rtol=1e-7)


@pytest.fixture(scope="module")
def risky():
    """Income is zero with a probability of .1, so that c is smooth."""
    return one_state(power, horizon=np.inf, states=(0.05, 20.0),
                     shocks={"y": bx.shocks.Categorical([0.0, 1.1], [0.1, 0.9])},
                     transitions={"cash": lambda savings, y, R: R * savings + y})  # fmt: skip


def test_risk_without_end_agrees_with_numpy(risky):
    known = buffer_stock(0.8, 2.0, 1.03, 1.0, (np.ones(1), np.ones(1)), (np.array([0.0, 1.1]), np.array([0.1, 0.9])))
    found = bx.solve(risky, P | {"discount": 0.8}, STATIONARY)
    cash = np.array([0.3, 1.0, 4.0])
    np.testing.assert_allclose(found.policy(cash=cash)["consumption"], known.consumption(cash), rtol=1e-4)


@pytest.mark.long
def test_derivatives_at_the_fixed_point_are_limits_of_differences(risky, with_value):
    def answer(rho):
        found = bx.solve(risky, P | {"rho": rho, "discount": 0.8}, STATIONARY)
        return jnp.stack([found.policy(cash=1.0)["consumption"], found.value(cash=1.0)])

    both = with_value(answer)
    np.testing.assert_allclose(both(2.0)[0], (both(2.0 + 1e-4)[1] - both(2.0 - 1e-4)[1]) / 2e-4, rtol=1e-5)


@pytest.mark.long
def test_derivatives_through_a_life_and_its_simulation(risky, with_value):
    """Mean cash after five periods, with common draws."""
    m = dataclasses.replace(risky, horizon=6)

    def mean(discount):
        found = bx.solve(m, P | {"discount": discount}, egm(40))
        return jnp.mean(bx.simulate(found, 200, {"cash": 2.0}, seed=3).states["cash"][:, -1])

    both = with_value(mean, jax.grad)
    assert float(both(0.95)[0]) == pytest.approx(float(both(0.9501)[1] - both(0.9499)[1]) / 2e-4, rel=1e-4)


def test_transformations_and_compiled_solves_give_the_same(jitted):
    m = logarithmic()
    ask = lambda b: bx.solve(m, {"R": 1.04, "discount": b}, STATIONARY).policy(cash=2.0)["consumption"]  # noqa: E731
    np.testing.assert_allclose(jitted(jax.vmap(ask))(jnp.array([0.8, 0.9])), [0.4, 0.2], rtol=1e-9)
    found = bx.compile(m, STATIONARY)({"R": 1.04, "discount": 0.9})
    np.testing.assert_allclose(found.tabulate().policy(cash=2.0)["consumption"], 0.2, rtol=1e-9)
    with pytest.warns(bx.OutsideWarning):
        found.policy(cash=20.0)


def test_what_acts_on_nodes_is_refused_by_name():
    m, given = logarithmic(), {"R": 1.04, "discount": 0.9}
    ended = bx.solve(m, given, egm(10), horizon=2)
    with pytest.raises(bx.ModelError, match=r"PolicyIteration .* EGM .*ValueIteration"):
        bx.solve(m, given, bx.solvers.PolicyIteration(maximiser=bx.maximise.EGM()))
    with pytest.raises(bx.ModelError, match=r"operators act on values at nodes, and EGM"):
        bx.operators(m, given, STATIONARY)
    with pytest.raises(bx.ModelError, match=r"EGM takes no terminal="):
        bx.solve(m, given, egm(), horizon=3, terminal=ended)


def test_single_precision():
    script = (
        "import bellax as bx, jax.numpy as jnp\n"
        "m = bx.Model(states={'w': bx.Continuous(.1, 10.)}, actions={'c': bx.Continuous(0., 'w')},\n"
        "             functions={'savings': lambda w, c: w - c}, transitions={'w': lambda savings: 1.04 * savings},\n"
        "             reward=lambda c: jnp.log(c), discount=.9)\n"
        "egm = bx.maximise.EGM(grid={'savings': 20})\n"
        "s = bx.solve(m, {}, bx.solvers.ValueIteration(maximiser=egm, tolerance=1e-6))\n"
        "c = s.policy(w=2.)['c']\n"
        "print(c.dtype, abs(float(c) / .2 - 1) < 1e-4)\n"
    )
    env = {**os.environ, "JAX_ENABLE_X64": "0", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["float32", "True"], done.stderr
