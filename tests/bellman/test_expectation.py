"""Every kind of random quantity against loops of numpy: who is integrated, scanned or weighted must not matter.

All models share one household: wealth w on seven nodes, consumption among three numbers, two periods, and a linear
interpolant, which numpy repeats with two nested sums. They stay in one file, though it is long, because all of them
are compared with that one repetition.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, poisson

import bellax as bx

NODES = np.linspace(0.5, 4.0, 7)
CHOICES = (0.1, 0.4, 0.7)
PERIODS = 2


class Branch(NamedTuple):
    """One possible outcome: probability, reward, discount, wealth tomorrow, the other states tomorrow."""

    probability: float
    reward: float
    discount: float
    wealth: float
    other: tuple = ()


def line(x, values):
    """Linear interpolation on `NODES`, continued beyond them."""
    k = int(np.clip(np.searchsorted(NODES, x, side="right") - 1, 0, len(NODES) - 2))
    t = (x - NODES[k]) / (NODES[k + 1] - NODES[k])
    return values[k] + t * (values[k + 1] - values[k])


def best(branches, period, wealth, other, following):
    totals = []
    for c in CHOICES:
        total = 0.0
        for b in branches(period, wealth, other, c):
            if b.probability > 0:
                total += b.probability * (b.reward + b.discount * line(b.wealth, following[b.other]))
        totals.append(total)
    return max(totals)


def backward(branches, others):
    """V of both periods as a dict by the other states."""
    following = {other: np.zeros(len(NODES)) for other in others}
    found = []
    for period in reversed(range(PERIODS)):
        following = {o: np.array([best(branches, period, w, o, following) for w in NODES]) for o in others}
        found.insert(0, following)
    return found


def check(model, params, branches, others=((),), quadrature=None, grid=None, at=None):
    """V at all nodes of both periods, and at a point off the grid."""
    solver = bx.solvers.BackwardInduction(
        grid={"w": bx.grids.Regular(7), **(grid or {})},
        quadrature=quadrature or {},
        interpolant=bx.interpolants.Linear(),
        maximiser=bx.maximise.Enumerate(grid={"c": bx.grids.Given(CHOICES)}),
    )
    solution = bx.solve(model, params, solver)
    expected = backward(branches, others)
    levels = np.asarray(solution.values.levels)
    for period in range(PERIODS):
        ours = levels[period].reshape(len(others), len(NODES))
        reference = np.array([expected[period][other] for other in others])
        np.testing.assert_allclose(ours, reference, rtol=1e-12, atol=1e-13)
    if at is not None:
        other, states = at
        ours = solution.value(period=0, w=1.234, **states)
        np.testing.assert_allclose(ours, best(branches, 0, 1.234, other, expected[1]), rtol=1e-12)
    return solution


def household(**slots):
    base = dict(
        states={"w": bx.Continuous(0.5, 4.0)},
        actions={"c": bx.Continuous(0.1, 0.7)},
        transitions={"w": lambda w, c: 0.9 * w + 0.4 - c},
        reward=lambda c: jnp.sqrt(c),
        discount=0.9,
        horizon=PERIODS,
    )
    for name, value in slots.items():
        base[name] = {**base[name], **value} if isinstance(base.get(name), dict) else value
    return bx.Model(**base)


P = np.array([[0.7, 0.3], [0.2, 0.8]])
Z = np.array([0.8, 1.3])


def chain(transition=P):
    return bx.MarkovChain(Z, transition)


def test_nothing_random():
    check(household(), {}, lambda t, w, o, c: [Branch(1.0, np.sqrt(c), 0.9, 0.9 * w + 0.4 - c)])


def test_a_chain_that_nothing_sees_is_integrated():
    m = household(states={"z": chain()}, transitions={"w": lambda w, c, z: 0.9 * w + 0.4 * z - c})

    def branches(t, w, o, c):
        return [Branch(P[o[0], j], np.sqrt(c), 0.9, 0.9 * w + 0.4 * Z[o[0]] - c, (j,)) for j in (0, 1)]

    found = check(m, {}, branches, [(0,), (1,)], at=((1,), {"z": 1.3}))
    assert (found.setting.plan.integrated, found.setting.plan.scanned) == (["z"], [])


@pytest.mark.parametrize("sees", ["law", "reward", "discount"])
def test_a_chain_that_something_sees_is_scanned(sees):
    slots = {"transitions": {"w": lambda w, c: 0.9 * w + 0.4 - c}}
    if sees == "law":
        slots["transitions"] = {"w": lambda w, c, next_z: 0.9 * w + 0.4 * next_z - c}
    elif sees == "reward":
        slots["reward"] = lambda c, next_z: jnp.sqrt(c) * next_z
    else:
        slots["discount"] = lambda next_z: 0.7 * next_z
    m = household(states={"z": chain()}, **slots)

    def branches(t, w, o, c):
        for j in (0, 1):
            income = Z[j] if sees == "law" else 1.0
            reward = np.sqrt(c) * (Z[j] if sees == "reward" else 1.0)
            discount = 0.7 * Z[j] if sees == "discount" else 0.9
            yield Branch(P[o[0], j], reward, discount, 0.9 * w + 0.4 * income - c, (j,))

    found = check(m, {}, branches, [(0,), (1,)], at=((0,), {"z": 0.8}))
    assert found.setting.plan.scanned == ["z"]


def test_two_chains_of_which_one_is_seen():
    R = np.array([[0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])
    m = household(
        states={"y": bx.MarkovChain(3, R), "z": chain("P")},
        transitions={"w": lambda w, c, next_z, y: 0.9 * w + 0.4 * next_z + 0.1 * y - c},
        reward=lambda c, z: jnp.sqrt(c) + 0.1 * z,
    )

    def branches(t, w, o, c):
        for i, j in itertools.product(range(3), range(2)):
            reward, wealth = np.sqrt(c) + 0.1 * Z[o[1]], 0.9 * w + 0.4 * Z[j] + 0.1 * o[0] - c
            yield Branch(R[o[0], i] * P[o[1], j], reward, 0.9, wealth, (i, j))

    found = check(m, {"P": P}, branches, list(itertools.product(range(3), range(2))), at=((2, 1), {"y": 2, "z": 1.3}))
    assert (found.setting.plan.integrated, found.setting.plan.scanned) == (["y"], ["z"])


def hazard(h, c, sickness):
    sick = np.clip(sickness * (1 + h) * (1 - c), 0, 1)
    return np.array([1 - sick, sick])


@pytest.mark.parametrize("seen", [False, True])
def test_a_markov_law_of_a_discrete_state(seen):
    def law(h, c, sickness):
        sick = sickness * (1 + h) * (1 - c)
        return jnp.stack([1 - sick, sick])

    cost = (lambda c, next_h: jnp.sqrt(c) - 0.2 * next_h) if seen else (lambda c, h: jnp.sqrt(c) - 0.2 * h)
    m = household(states={"h": bx.Discrete(2)}, transitions={"h": bx.Markov(law)}, reward=cost)

    def branches(t, w, o, c):
        for j in (0, 1):
            reward = np.sqrt(c) - 0.2 * (j if seen else o[0])
            yield Branch(hazard(o[0], c, 0.3)[j], reward, 0.9, 0.9 * w + 0.4 - c, (j,))

    found = check(m, {"sickness": 0.3}, branches, [(0,), (1,)], at=((1,), {"h": 1}))
    assert (found.setting.plan.dotted, found.setting.plan.scanned) == (([], ["h"]) if seen else (["h"], []))


def test_a_discrete_state_moves_by_a_function_and_another_by_chance():
    m = household(
        states={"d": bx.Discrete([1.0, 2.0, 4.0]), "h": bx.Discrete(2)},
        transitions={
            "d": lambda d, h: jnp.where(h == 1, 1.0, jnp.minimum(2 * d, 4.0)),
            "h": bx.Markov(lambda d: jnp.stack([1 - 0.1 * d, 0.1 * d])),
        },
        reward=lambda c, d: jnp.sqrt(c) * d,
    )
    values = (1.0, 2.0, 4.0)

    def branches(t, w, o, c):
        d, h = values[o[0]], o[1]
        arrives = 0 if h == 1 else min(o[0] + 1, 2)
        for j, p in enumerate((1 - 0.1 * d, 0.1 * d)):
            yield Branch(p, np.sqrt(c) * d, 0.9, 0.9 * w + 0.4 - c, (arrives, j))

    check(m, {}, branches, list(itertools.product(range(3), range(2))), at=((1, 0), {"d": 2.0, "h": 0}))


@pytest.mark.parametrize("seen", [False, True])
def test_an_iid_state(seen):
    weights = np.array([0.5, 0.3, 0.2])
    values = np.array([1.0, 0.4, 1.6])  # on purpose in no order
    today = {"w": lambda w, c, e: 0.9 * w + 0.3 * e - c}
    tomorrow = {"w": lambda w, c, e, next_e: 0.9 * w + 0.3 * e + 0.1 * next_e - c}
    m = household(
        states={"e": bx.IID(bx.shocks.Categorical(values, "weights"))}, transitions=tomorrow if seen else today
    )

    def branches(t, w, o, c):
        for j in range(3):
            wealth = 0.9 * w + 0.3 * values[o[0]] - c + (0.1 * values[j] if seen else 0.0)
            yield Branch(weights[j], np.sqrt(c), 0.9, wealth, (j,))

    check(m, {"weights": weights}, branches, [(0,), (1,), (2,)], at=((1,), {"e": 0.4}))


def test_an_iid_state_with_a_spread_that_grows_with_age():
    """What is drawn afresh tomorrow follows tomorrow's distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    weights = weights / weights.sum()
    m = household(
        states={"e": bx.IID(bx.shocks.Normal(0.0, lambda period: 0.1 + 0.2 * period))},
        transitions={"w": lambda w, c: 0.9 * w + 0.4 - c},
        reward=lambda c, e, next_e: jnp.sqrt(c) + e + 0.5 * next_e**2,
    )

    def branches(t, w, o, c):
        for j in range(3):
            e, following = (0.1 + 0.2 * t) * nodes[o[0]], (0.1 + 0.2 * (t + 1)) * nodes[j]
            yield Branch(weights[j], np.sqrt(c) + e + 0.5 * following**2, 0.9, 0.9 * w + 0.4 - c, (j,))

    check(m, {}, branches, [(0,), (1,), (2,)], grid={"e": 3})


def rouwenhorst(n, rho, sigma):
    """The recursion of Kopecky and Suen (2010)."""
    p = (1 + rho) / 2
    matrix = np.array([[p, 1 - p], [1 - p, p]])
    for k in range(3, n + 1):
        bigger = np.zeros((k, k))
        bigger[:-1, :-1] += p * matrix
        bigger[:-1, 1:] += (1 - p) * matrix
        bigger[1:, :-1] += (1 - p) * matrix
        bigger[1:, 1:] += p * matrix
        bigger[1:-1] /= 2
        matrix = bigger
    spread = np.sqrt(n - 1) * sigma / np.sqrt(1 - rho**2)
    return np.linspace(-spread, spread, n), matrix


@pytest.mark.parametrize("seen", [False, True])
def test_an_ar1_on_seven_nodes(seen):
    values, matrix = rouwenhorst(7, 0.8, 0.1)
    law = (
        (lambda w, c, next_z: 0.9 * w + 0.4 * jnp.exp(next_z) - c)
        if seen
        else (lambda w, c, z: 0.9 * w + 0.4 * jnp.exp(z) - c)
    )
    m = household(states={"z": bx.AR1("rho", 0.1)}, transitions={"w": law})

    def branches(t, w, o, c):
        for j in range(7):
            z = values[j] if seen else values[o[0]]
            yield Branch(matrix[o[0], j], np.sqrt(c), 0.9, 0.9 * w + 0.4 * np.exp(z) - c, (j,))

    check(m, {"rho": 0.8}, branches, [(k,) for k in range(7)], grid={"z": 7}, at=((3,), {"z": 0.0}))


def test_a_shock_whose_spread_depends_on_state_action_and_tomorrows_chain():
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    weights = weights / weights.sum()
    m = household(
        states={"z": chain()},
        shocks={"e": bx.shocks.Normal(0.0, lambda w, c, next_z: 0.05 * w * c * next_z)},
        transitions={"w": lambda w, c, e: 0.9 * w + 0.4 - c + e},
        reward=lambda c, e: jnp.sqrt(c) + e**2,
    )

    def branches(t, w, o, c):
        for j, q in itertools.product(range(2), range(5)):
            e = 0.05 * w * c * Z[j] * nodes[q]
            yield Branch(P[o[0], j] * weights[q], np.sqrt(c) + e**2, 0.9, 0.9 * w + 0.4 - c + e, (j,))

    check(m, {}, branches, [(0,), (1,)], quadrature={"e": 5}, at=((0,), {"z": 0.8}))


def hermite(count):
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


def legendre(count):
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


def _categorical():
    return [(0.2, -0.1), (0.3, 0.0), (0.5, 0.2)]


def _lognormal():
    return [(w, np.exp(-0.5 + 0.2 * x)) for x, w in zip(*hermite(5), strict=True)]


def _uniform():
    return [(w, -0.3 + 0.5 * x) for x, w in zip(*legendre(5), strict=True)]


def _jump():
    mass = [poisson.pmf(k, 0.4) for k in range(3)]
    mass.append(1 - sum(mass))
    nodes, weights = hermite(5)
    out = [(mass[0], 0.0)]
    for k in range(1, 4):
        out += [(mass[k] * w, -0.1 * k + 0.05 * np.sqrt(k) * x) for x, w in zip(nodes, weights, strict=True)]
    return out


@pytest.mark.parametrize(
    ("shock", "outcomes", "count"),
    [
        (bx.shocks.Categorical([-0.1, 0.0, 0.2], [0.2, 0.3, 0.5]), _categorical, None),
        (bx.shocks.Lognormal(-0.5, 0.2), _lognormal, 5),
        (bx.shocks.Uniform(-0.3, 0.2), _uniform, 5),
        (bx.shocks.Jump(0.4, -0.1, 0.05, largest=3), _jump, 5),
    ],
    ids=["categorical", "lognormal", "uniform", "jump"],
)
def test_each_distribution(shock, outcomes, count):
    m = household(shocks={"e": shock}, transitions={"w": lambda w, c, e: 0.9 * w + 0.4 - c + e})

    def branches(t, w, o, c):
        return [Branch(p, np.sqrt(c), 0.9, 0.9 * w + 0.4 - c + e) for p, e in outcomes()]

    check(m, {}, branches, quadrature={} if count is None else {"e": count})


def test_the_normal_rule_is_that_of_scipy():
    """The quadrature of a smooth expectation is the integral itself."""
    m = household(shocks={"e": bx.shocks.Normal(0.1, 0.3)}, reward=lambda c, e: jnp.sqrt(c) + jnp.exp(e), discount=0.0)
    solver = bx.solvers.BackwardInduction(grid={"w": 5}, quadrature={"e": 12})
    found = bx.solve(m, {}, solver).value(period=0, w=1.0)
    integral = norm.expect(np.exp, loc=0.1, scale=0.3, lb=-4, ub=4)
    np.testing.assert_allclose(found, np.sqrt(0.7) + integral, rtol=1e-10)


def test_categorical_probabilities_from_a_table_by_a_discrete_state():
    """Functions of a shock see the code of a state, as an integer."""
    table = np.array([[0.2, 0.8], [0.6, 0.4]])
    m = household(
        states={"h": bx.Discrete(2)},
        shocks={"e": bx.shocks.Categorical(probabilities=lambda h, table: table[h])},
        transitions={"w": lambda w, c, e: 0.9 * w + 0.3 * e - c + 0.2, "h": lambda e: e},
    )

    def branches(t, w, o, c):
        return [Branch(table[o[0], e], np.sqrt(c), 0.9, 0.9 * w + 0.3 * e - c + 0.2, (e,)) for e in (0, 1)]

    check(m, {"table": table}, branches, [(0,), (1,)], at=((1,), {"h": 1}))


def test_two_shocks_one_of_them_a_vector():
    covariance = np.array([[0.04, 0.01], [0.01, 0.02]])
    factor = np.linalg.cholesky(covariance)
    nodes, weights = hermite(3)
    m = household(
        shocks={"e": bx.shocks.MultivariateNormal(0.1, "covariance", size=2), "v": bx.shocks.Uniform(0.9, 1.1)},
        transitions={"w": lambda w, c, e, v: (0.9 * w + 0.4 - c) * v + e[0]},
        reward=lambda c, e: jnp.sqrt(c) + e[0] * e[1],
    )

    def branches(t, w, o, c):
        for i, j, k in itertools.product(range(3), repeat=3):
            e = 0.1 + factor @ np.array([nodes[i], nodes[j]])
            x, p = legendre(3)
            v = 0.9 + 0.2 * x[k]
            yield Branch(weights[i] * weights[j] * p[k], np.sqrt(c) + e[0] * e[1], 0.9, (0.9 * w + 0.4 - c) * v + e[0])

    check(m, {"covariance": covariance}, branches, quadrature={"v": 3})


def test_a_random_discount_moves_inside_the_expectation():
    m = household(
        shocks={"e": bx.shocks.Categorical([0.5, 1.5], [0.4, 0.6])},
        transitions={"w": lambda w, c, e: 0.9 * w + 0.4 * e - c},
        discount=lambda e: 0.8 * e,
    )

    def branches(t, w, o, c):
        return [Branch(p, np.sqrt(c), 0.8 * e, 0.9 * w + 0.4 * e - c) for p, e in ((0.4, 0.5), (0.6, 1.5))]

    check(m, {}, branches)


def test_a_reward_that_names_tomorrows_state():
    m = household(reward=lambda c, next_w: jnp.sqrt(c) + 0.05 * next_w**2)

    def branches(t, w, o, c):
        following = 0.9 * w + 0.4 - c
        return [Branch(1.0, np.sqrt(c) + 0.05 * following**2, 0.9, following)]

    check(m, {}, branches)


def test_values_by_period_and_by_age_and_matrices_that_differ_by_age():
    matrices = np.array([P, P[::-1]])
    m = household(
        states={"z": bx.MarkovChain(Z, "P")},
        transitions={"w": lambda w, c, z, wage, extra, age: 0.9 * w + wage * z + extra + 0.001 * age - c},
        horizon=bx.Ages(20, 21),
    )
    params = {
        "P": bx.by_period(matrices),
        "wage": bx.by_period([0.3, 0.5]),
        "extra": bx.by_age(pd.Series([0.1, 0.05], index=[20, 21])),
    }

    def branches(t, w, o, c):
        wealth = 0.9 * w + (0.3, 0.5)[t] * Z[o[0]] + (0.1, 0.05)[t] + 0.001 * (20 + t) - c
        return [Branch(matrices[t][o[0], j], np.sqrt(c), 0.9, wealth, (j,)) for j in (0, 1)]

    found = check(m, params, branches, [(0,), (1,)], at=((0,), {"z": 0.8}))
    by_age = found.value(age=21, w=2.0, z=1.3)
    np.testing.assert_array_equal(by_age, found.value(period=1, w=2.0, z=1.3))


def test_bounds_of_a_state_that_move_with_the_period():
    """The mesh of tomorrow is not that of today; V is linear here, so that any mesh is exact."""
    m = bx.Model(
        states={"w": bx.Continuous(lambda period: 0.1 + period, lambda period: 5.0 + 2 * period)},
        transitions={"w": lambda w: 1.5 * w + 0.7},
        reward=lambda w: w,
        discount=0.9,
        horizon=3,
    )
    found = bx.solve(m, {}, bx.solvers.BackwardInduction(grid={"w": 4}))
    w = np.array([0.3, 2.0, 4.9])
    after, later = 1.5 * w + 0.7, 1.5 * (1.5 * w + 0.7) + 0.7
    np.testing.assert_allclose(found.value(period=0, w=w), w + 0.9 * after + 0.81 * later, rtol=1e-13)
    nodes = np.asarray(found.values.levels)
    np.testing.assert_allclose(nodes[2], np.linspace(2.1, 9.0, 4), rtol=1e-13)  # V is w itself in the last period


def test_a_vector_state_and_a_vector_action():
    """Two accounts, each with a share of its own to spend: linear, so that the answer is a sum."""
    growth = np.array([1.1, 0.8])
    m = bx.Model(
        states={"w": bx.Continuous([0.0, 0.0], [4.0, 8.0], shape=(2,))},
        actions={"c": bx.Continuous(0.0, "w", shape=(2,))},
        transitions={"w": lambda w, c, growth: growth * (w - c)},
        reward=lambda c: jnp.sum(c),
        horizon=2,
    )
    for maximiser in (bx.maximise.Enumerate(grid={"c": 3}), bx.maximise.Newton()):
        solver = bx.solvers.BackwardInduction(grid={"w": (3, 4)}, maximiser=maximiser)
        found = bx.solve(m, {"growth": growth, "discount": 0.95}, solver)
        # the first account grows by more than impatience: it waits; the second is spent at once
        w = np.array([[1.0, 3.0], [0.0, 8.0], [3.3, 0.1]])
        chosen = found.policy(period=0, w=w)["c"]
        assert chosen.shape == (3, 2)
        np.testing.assert_allclose(chosen, np.stack([0 * w[:, 0], w[:, 1]], axis=1), atol=1e-14)
        np.testing.assert_allclose(found.value(period=0, w=w), 0.95 * 1.1 * w[:, 0] + w[:, 1], rtol=1e-13)


def test_a_weight_of_zero_contributes_nothing_even_against_minus_infinity():
    """In the bad state consumption pays minus infinity; a chain that never goes there does not notice."""
    never = np.array([[1.0, 0.0], [0.5, 0.5]])
    reward = lambda c, z: jnp.where(z == 1, -jnp.inf, jnp.sqrt(c))  # noqa: E731
    for law in ({}, {"w": lambda w, c, next_z: 0.9 * w + 0.4 - c + 0.0 * next_z}):  # integrated, then scanned
        m = household(states={"z": bx.MarkovChain(2, never)}, transitions=law, reward=reward)
        solver = bx.solvers.BackwardInduction(
            grid={"w": bx.grids.Regular(7)}, maximiser=bx.maximise.Enumerate(grid={"c": bx.grids.Given(CHOICES)})
        )
        found = bx.solve(m, {}, solver)
        plain = backward(lambda t, w, o, c: [Branch(1.0, np.sqrt(c), 0.9, 0.9 * w + 0.4 - c)], [()])
        np.testing.assert_allclose(found.values.levels[0, 0], plain[0][()], rtol=1e-13)
        assert np.all(np.asarray(found.values.levels[0, 1]) == -np.inf)
        assert int(found.stats["infinite_nodes"]) == 2 * 7
    seen = household(
        states={"z": bx.MarkovChain(2, never)}, reward=lambda c, next_z: jnp.where(next_z == 1, -jnp.inf, jnp.sqrt(c))
    )
    found = bx.solve(seen, {}, solver)
    np.testing.assert_allclose(found.values.levels[0, 0], plain[0][()], rtol=1e-13)


def test_an_infinite_node_makes_its_cell_infinite():
    """Below one no consumption can be paid for: V is -inf there, in the whole cell above it, and finite beyond."""
    m = bx.Model(
        states={"w": bx.Continuous(0.0, 4.0)},
        actions={"c": bx.Discrete([0.0, 1.0])},
        transitions={"w": lambda w, c: w - c},
        reward=lambda w, c: jnp.where(w < 1, -jnp.inf, c),
        discount=1.0,
        horizon=2,
    )
    found = bx.solve(m, {}, bx.solvers.BackwardInduction(grid={"w": 5}))
    # in the last period consume; in the first, consume if at least one is left on a node of finite value
    np.testing.assert_array_equal(found.values.levels[1], [-np.inf, 1.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(found.values.levels[0], [-np.inf, 1.0, 2.0, 2.0, 2.0])
    np.testing.assert_array_equal(found.value(period=0, w=[1.0, 1.5, 2.0, 2.5]), [1.0, 1.0, 2.0, 2.0])
