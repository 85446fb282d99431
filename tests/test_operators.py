"""The operators of the theory, iterated by hand: against what the solvers find, and numpy; and what they refuse."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

PARAMS = {"discount": 0.9, "alpha": 0.36}
SOLVER = bx.solvers.PolicyIteration(grid={"k": 10})


def growth(**slots):
    base = dict(
        states={"k": bx.Continuous(0.02, 0.6, scale=bx.scales.log)},
        actions={"saved": bx.Continuous(1e-4, "output")},
        functions={"output": lambda k, alpha: k**alpha, "left": lambda output, saved: output - saved},
        transitions={"k": lambda saved: saved},
        reward=lambda left: jnp.log(left),
    )
    return bx.Model(**{**base, **slots})


@pytest.fixture(scope="module")
def model():
    return growth()


@pytest.fixture(scope="module")
def ops(model):
    return bx.operators(model, PARAMS, SOLVER)


@pytest.fixture(scope="module")
def solved(model):
    return bx.solve(model, PARAMS, SOLVER)


def test_value_iteration_by_hand(ops, solved):
    V = ops.zero()
    for _ in range(300):
        V = ops.T(V)
    np.testing.assert_allclose(V.levels, solved.values.levels, rtol=1e-10)
    ab = 0.36 * 0.9  # log utility and full depreciation: the policy saves this share of output
    slope = 0.36 / (1 - ab)
    exact = (np.log(1 - ab) + 0.9 * slope * np.log(ab)) / (1 - 0.9) + slope * np.log(V.nodes["k"])
    np.testing.assert_allclose(V(k=V.nodes["k"]), exact, rtol=1e-6)


def test_howard_by_hand(ops, solved):
    V = ops.represent(lambda k, output: jnp.log(output))
    np.testing.assert_allclose(V.at(k=V.nodes["k"]), 0.36 * np.log(V.nodes["k"]))
    np.testing.assert_allclose(ops.represent(V.levels).slopes[0], V.slopes[0])
    for _ in range(6):
        V = ops.evaluate(ops.greedy(V))
    np.testing.assert_allclose(V.levels, solved.values.levels, rtol=1e-10)
    best = ops.greedy(V).policy(k=np.array([0.1, 0.3]))["saved"]
    np.testing.assert_allclose(best, 0.9 * 0.36 * np.array([0.1, 0.3]) ** 0.36, rtol=1e-4)


def test_backward_induction_by_hand():
    short = growth(horizon=3, terminal=lambda k: jnp.log(k))
    solver = bx.solvers.BackwardInduction(grid={"k": 6})
    ops, solved = bx.operators(short, PARAMS, solver), bx.solve(short, PARAMS, solver)
    V, policies = ops.terminal(), []
    for period in (2, 1, 0):
        policies.insert(0, ops.greedy(V, period))
        V = ops.T(V, period=period)
        np.testing.assert_allclose(V.levels, solved.values.levels[period], rtol=1e-13)
    followed = ops.evaluate(policies)
    np.testing.assert_allclose([v.levels for v in followed], solved.values.levels, rtol=1e-13)
    ask = policies[1].policy(k=0.2)["saved"]
    np.testing.assert_allclose(ask, solved.policy(1, k=0.2)["saved"], rtol=1e-12)
    with pytest.raises(bx.ParameterError, match="period 3 does not exist"):
        ops.T(V, period=3)
    with pytest.raises(bx.ModelError, match="grid of period 0; in period 2 it is that of 3"):
        ops.T(V, period=2)
    with pytest.raises(bx.ModelError, match="a list of 3 policies"):
        ops.evaluate(policies[0])


def test_a_chain_against_numpy():
    chain, paid = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([1.0, 3.0])
    model = bx.Model(states={"x": bx.MarkovChain([1.0, 3.0], chain)}, reward=lambda x: x, discount=0.8)
    ops = bx.operators(model, {})
    np.testing.assert_allclose(ops.T(ops.represent([5.0, 7.0])).levels, paid + 0.8 * chain @ [5.0, 7.0])
    exact = np.linalg.solve(np.eye(2) - 0.8 * chain, paid)
    np.testing.assert_allclose(ops.evaluate(ops.greedy(ops.zero())).levels, exact)


def test_a_second_step_does_not_trace_again(ops, model):
    V = ops.T(ops.zero())
    kept = dict(ops.setting.programs)
    bx.operators(model, {**PARAMS, "alpha": 0.3}, SOLVER).T(V)
    assert ops.setting.programs == kept


def test_what_is_refused(ops):
    other = bx.operators(growth(), PARAMS, SOLVER)
    with pytest.raises(bx.ModelError, match="V belongs to another model or solver"):
        ops.T(other.zero())
    with pytest.raises(bx.ModelError, match="the policy belongs to another model or solver"):
        ops.evaluate(other.greedy(other.zero()))
    with pytest.raises(bx.ModelError, match="V is a int; make it by zero"):
        ops._check(3, "V")
    with pytest.raises(bx.ModelError, match=r"the array has shape \(3,\), and the grid \(10,\)"):
        ops.represent(np.zeros(3))
    for given, message in (
        (lambda kapital: kapital, "'kapital' is unknown"),
        (lambda next_k: next_k, "names the action 'saved' through 'next_k'; it may name .*states"),
        (lambda left: left, "names the action 'saved' through 'left'"),
        (lambda saved: saved, "names the action 'saved'; it may name"),
        (lambda k, period: k * period, "names the period or the age, and the horizon is infinite"),
        (lambda k: jnp.ones(2) * k, r"has shape \(2,\); it must be a single number"),
        ("k", "'k' is neither a function of states nor an array"),
    ):
        with pytest.raises(bx.ModelError, match=message):
            ops.represent(given)
    with pytest.raises(bx.ParameterError, match="the horizon is infinite"):
        ops.T(ops.zero(), period=0)
    with pytest.raises(bx.ModelError, match="infinite, so there is no value after the last decision"):
        ops.terminal()


def test_a_policy_without_a_value():
    """x grows by 1.2 a period and costs its square: 1.2^2 .95 is above one, and doing nothing has no value."""
    growing = bx.Model(
        states={"x": bx.Continuous(-2.0, 2.0)},
        actions={"a": bx.Continuous(-10.0, 10.0)},
        transitions={"x": lambda x, a: 1.2 * x + a},
        reward=lambda x, a: -(x**2) - a**2,
        discount=0.95,
    )
    ops = bx.operators(growing, {}, bx.solvers.PolicyIteration(grid={"x": 9}))
    with pytest.raises(bx.SolveError, match="has no value that could be found"):
        ops.evaluate(ops.greedy(ops.zero()))
