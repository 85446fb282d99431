"""Solvers agree with numpy on random finite processes, and with each other on a model of savings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models.references import discrete_dp

S, A, BETA = 6, 3, 0.9
RNG = np.random.default_rng(3)
R = RNG.normal(size=(S, A))
R[2, 1] = -np.inf
Q = RNG.dirichlet(np.ones(S) * 0.5, size=(S, A))
TRUTH = discrete_dp(R, Q, BETA)
FINITE = np.where(np.isfinite(R), R, 0.0)


def as_markov():
    """The table as the law of a discrete state, weighted after the look-up."""
    return bx.Model(
        states={"s": bx.Discrete(S)},
        actions={"a": bx.Discrete(A)},
        transitions={"s": bx.Markov(lambda s, a, Q: Q[s, a])},
        reward=lambda s, a, R: R[s, a],
    )


def as_seen():
    """The reward sees tomorrow's state, whose value it adds and takes away: every category is scanned."""
    return bx.Model(
        states={"s": bx.Discrete(S)},
        actions={"a": bx.Discrete(A)},
        transitions={"s": bx.Markov(lambda s, a, Q: Q[s, a])},
        reward=lambda s, a, next_s, R: R[s, a] + 0.0 * next_s,
    )


def as_shock():
    """The table as the probabilities of a shock, which a function of names adds to the state."""
    return bx.Model(
        states={"s": bx.Discrete(S)},
        actions={"a": bx.Discrete(A)},
        shocks={"e": bx.shocks.Categorical(probabilities=lambda s, a, Q: Q[s, a])},
        transitions={"s": lambda e: e},
        reward=lambda s, a, R: R[s, a],
    )


def as_constraint():
    """The action that pays minus infinity is one that is not there."""
    return bx.Model(
        states={"s": bx.Discrete(S)},
        actions={"a": bx.Discrete(A)},
        constraints={"there": lambda s, a: ~((s == 2) & (a == 1))},
        transitions={"s": bx.Markov(lambda s, a, Q: Q[s, a])},
        reward=lambda s, a, R: R[s, a],
    )


@pytest.mark.parametrize("solver", [bx.solvers.ValueIteration(tolerance=1e-13), bx.solvers.PolicyIteration()])
@pytest.mark.parametrize("state", [as_markov, as_seen, as_shock, as_constraint])
def test_a_random_process(state, solver):
    reward = FINITE if state is as_constraint else R
    found = bx.solve(state(), {"Q": Q, "R": reward, "discount": BETA}, solver)
    np.testing.assert_allclose(found.values.levels, TRUTH.value, rtol=1e-11)
    np.testing.assert_array_equal(found.policy(s=np.arange(S))["a"], TRUTH.policy)
    choices = R + BETA * Q @ TRUTH.value
    np.testing.assert_allclose(found.choice_values(s=np.arange(S)), choices, rtol=1e-11)
    assert found.combinations == [{"a": str(a)} for a in range(A)]


def test_two_state_example_of_puterman():
    from bellax.models.references import puterman_621

    m = bx.Model(
        states={"s": bx.Discrete(2)},
        actions={"a": bx.Discrete(2)},
        constraints={"one": lambda s, a: (s == 0) | (a == 0)},
        transitions={
            "s": bx.Markov(lambda s, a: jnp.where((s == 0) & (a == 0), jnp.full(2, 0.5), jnp.array([0.0, 1.0])))
        },
        reward=lambda s, a: jnp.where(s == 0, 5.0 + 5 * a, -1.0),
    )
    for discount in (0.8, 0.95):
        truth = puterman_621(discount)
        found = bx.solve(m, {"discount": discount}, bx.solvers.PolicyIteration())
        np.testing.assert_allclose(found.values.levels, truth.value, rtol=1e-12)
        np.testing.assert_array_equal(found.policy(s=[0, 1])["a"], truth.policy)


def savings(horizon=None):
    return bx.Model(
        states={
            "w": bx.Continuous(0.5, 6.0, scale=bx.scales.log),
            "z": bx.MarkovChain([0.7, 1.2], [[0.8, 0.2], [0.3, 0.7]]),
        },
        actions={"c": bx.Continuous(0.05, lambda w: 0.95 * w)},
        transitions={"w": lambda w, c, z, growth: growth * (w - c) + z},
        reward=lambda c: jnp.log(c),
        **({} if horizon is None else {"horizon": horizon}),
    )


PARAMS = {"growth": 1.02, "discount": 0.9}
GRID = {"w": 20}


@pytest.fixture(scope="module")
def steady():
    return bx.solve(savings(), PARAMS, bx.solvers.PolicyIteration(grid=GRID))


W, ZS = np.array([0.6, 1.5, 5.0]), np.array([0.7, 1.2, 0.7])


@pytest.mark.parametrize(
    "solver",
    [
        bx.solvers.ValueIteration(grid=GRID, tolerance=1e-12),
        bx.solvers.PolicyIteration(grid=GRID, evaluation_steps=20, tolerance=1e-12),
    ],
    ids=["value iteration", "modified policy iteration"],
)
@pytest.mark.long
def test_stationary_solvers_agree(steady, solver):
    other = bx.solve(savings(), PARAMS, solver)
    np.testing.assert_allclose(other.values.levels, steady.values.levels, atol=1e-9)
    np.testing.assert_allclose(other.values.slopes[0], steady.values.slopes[0], rtol=1e-6)
    np.testing.assert_allclose(other.policy(w=W, z=ZS)["c"], steady.policy(w=W, z=ZS)["c"], rtol=1e-6)


def test_a_long_horizon_is_the_stationary_value(steady):
    solver = bx.solvers.BackwardInduction(grid=GRID)
    long = bx.solve(savings(), PARAMS, solver, horizon=250)
    np.testing.assert_allclose(long.values.levels[0], steady.values.levels, atol=1e-9)
    np.testing.assert_allclose(long.value(period=0, w=W, z=ZS), steady.value(w=W, z=ZS), rtol=1e-9)
    # from its own steady state it never moves
    short = bx.solve(savings(), PARAMS, solver, horizon=3, terminal=steady)
    np.testing.assert_allclose(short.values.levels[0], steady.values.levels, atol=1e-9)
    np.testing.assert_allclose(short.value(period=3, w=W, z=ZS), steady.value(w=W, z=ZS), rtol=1e-3)


def test_interpolants_and_maximisers_agree(steady):
    """Linear interpolation of many nodes, and enumeration of many actions, come close to the cubic of twenty."""
    solver = bx.solvers.PolicyIteration(
        grid={"w": 400}, interpolant=bx.interpolants.Linear(), maximiser=bx.maximise.Enumerate(grid={"c": 400})
    )
    rough = bx.solve(savings(), PARAMS, solver)
    np.testing.assert_allclose(rough.value(w=W, z=ZS), steady.value(w=W, z=ZS), atol=3e-3)
    np.testing.assert_allclose(rough.policy(w=W, z=ZS)["c"], steady.policy(w=W, z=ZS)["c"], atol=0.05)


@pytest.mark.parametrize("scale", [None, bx.scales.log])
def test_a_corner_where_a_law_has_an_infinite_slope(scale):
    """k' = (k - c)^.5 with c up to k: at c = k autodiff multiplies 0 by infinity. c = .55 k and V = A + log k / .55."""
    m = bx.Model(
        states={"k": bx.Continuous(0.02, 1.0, **({} if scale is None else {"scale": scale}))},
        actions={"c": bx.Continuous(1e-6, "k")},
        transitions={"k": lambda k, c: (k - c) ** 0.5},
        reward=lambda c: jnp.log(c),
        discount=0.9,
    )
    k = np.array([0.05, 0.5, 0.9])
    A = (np.log(0.55) + 0.45 / 0.55 * np.log(0.45)) / 0.1
    for solver in (bx.solvers.PolicyIteration(), bx.solvers.ValueIteration(tolerance=1e-10)):
        found = bx.solve(m, {}, solver)
        np.testing.assert_allclose(found.value(k=k), A + np.log(k) / 0.55, rtol=1e-5)
        np.testing.assert_allclose(found.policy(k=k)["c"], 0.55 * k, rtol=2e-3)


def test_too_few_steps(steady):
    model, solver = savings(), bx.solvers.ValueIteration(grid=GRID, max_steps=3)
    with pytest.raises(bx.SolveError, match="not converged after 3 steps.*last change of V was.*max_steps"):
        bx.solve(model, PARAMS, solver)
    found = bx.solve(model, PARAMS, solver, throw=False)
    assert found.result.name == "max_steps_reached"
    assert np.isfinite(np.asarray(found.values.levels)).all()
    assert int(found.stats["steps"]) == 3
    with pytest.raises(bx.SolveError, match="not converged after 2 steps"):
        bx.solve(savings(), PARAMS, bx.solvers.PolicyIteration(grid=GRID, max_steps=2))


@pytest.mark.parametrize("maximiser", [bx.maximise.Newton(), bx.maximise.Enumerate(grid={"c": 50})])
def test_chunks_do_not_matter(maximiser):
    whole, pieces = (
        bx.solve(savings(2), PARAMS, bx.solvers.BackwardInduction(grid=GRID, memory=memory, maximiser=maximiser))
        for memory in (2**28, 6000)
    )
    np.testing.assert_allclose(pieces.values.levels, whole.values.levels, rtol=1e-13)
    np.testing.assert_allclose(
        pieces.policy(period=0, w=W, z=ZS)["c"], whole.policy(period=0, w=W, z=ZS)["c"], rtol=1e-9
    )


def test_stopping_in_every_solver():
    """Sell for w at any time, or wait: the asset grows by 8% below 3 and by nothing above. Impatience is 5%."""
    m = dict(
        states={"w": bx.Continuous(1.0, 4.0)},
        transitions={"w": lambda w: jnp.minimum(1.08 * w, jnp.maximum(w, 3.0))},
        reward=lambda w: 0.0 * w,
        stop=lambda w: w,
        discount=0.95,
    )
    fine = {"grid": {"w": 4000}, "interpolant": bx.interpolants.Linear()}
    for solver in (
        bx.solvers.ValueIteration(**fine, tolerance=1e-12),
        bx.solvers.PolicyIteration(evaluation_steps=50, **fine),
    ):
        found = bx.solve(bx.Model(**m), {}, solver)
        w = np.array([1.0, 2.0, 2.9, 3.5])
        steps = np.maximum(np.ceil(np.log(3 / w) / np.log(1.08)), 0)
        best = [
            max(0.95**k * min(x * 1.08**k, max(x, 3.0)) for k in range(int(n) + 1))
            for x, n in zip(w, steps, strict=True)
        ]
        np.testing.assert_allclose(found.value(w=w), best, rtol=1e-5)
        np.testing.assert_array_equal(found.policy(w=w)["stop"], [False, False, True, True])


def test_a_constraint_does_not_judge_the_rounding_of_a_candidate():
    """Everything may be saved but nothing borrowed: the constraint binds exactly at candidates."""
    nodes = np.linspace(0.0, 3.0, 31)
    m = bx.Model(
        states={"w": bx.Continuous(0.1, 3.0), "z": bx.MarkovChain([0.3, 1.1], [[0.7, 0.3], [0.3, 0.7]])},
        actions={"save": bx.Continuous(-1.0, lambda w: 4.0 * w)},
        transitions={"w": lambda save, z: save / 3 + z},
        reward=lambda w, save: -((w - save) ** 2) + save,
        constraints={"lend": lambda save, w: (save >= 0.0) & (save <= w)},
        discount=0.9,
    )
    options = {"grid": {"w": bx.grids.Given(nodes[1:])}, "interpolant": bx.interpolants.Linear()}
    options["maximiser"] = bx.maximise.Enumerate(grid={"save": bx.grids.Given(nodes)})
    slow = bx.solve(m, {}, bx.solvers.ValueIteration(tolerance=1e-12, **options))
    for steps in (None, 20):
        fast = bx.solve(m, {}, bx.solvers.PolicyIteration(evaluation_steps=steps, **options))
        np.testing.assert_allclose(fast.values.levels, slow.values.levels, rtol=1e-9)
        assert int(fast.stats["steps"]) < 30
    w = nodes[1::3]
    np.testing.assert_array_less(fast.policy(w=w, z=1.1)["save"], w + 1e-12)
    # a candidate is a value, which does not move with wealth: the reward moves alone
    saved = slow.policy(w=w + 0.02, z=1.1)["save"]
    assert set(np.asarray(saved).tolist()) <= set(nodes.tolist())
    slope = jax.vmap(jax.grad(lambda w: slow.value(w=w, z=1.1)))(jnp.asarray(w + 0.02))
    np.testing.assert_allclose(slope, -2 * (w + 0.02 - saved), rtol=1e-9)


@pytest.mark.parametrize("steps", [None, 20])
def test_infinite_nodes_in_policy_iteration(steps):
    """In debt beyond what income repays nothing is feasible that pays more than minus infinity."""
    m = bx.Model(
        states={"k": bx.Discrete(4)},
        actions={"move": bx.Discrete(2)},
        transitions={"k": lambda k, move: jnp.where(k == 0, 0, jnp.minimum(k + move, 3))},
        reward=lambda k, move: jnp.where(k == 0, -jnp.inf, k - 0.5 * move),
        discount=0.8,
    )
    found = bx.solve(m, {}, bx.solvers.PolicyIteration(evaluation_steps=steps))
    np.testing.assert_allclose(
        found.value(k=[0, 1, 2, 3]), [-np.inf, 0.5 + 0.8 * (1.5 + 0.8 * 15), 1.5 + 0.8 * 15, 15.0]
    )
    assert int(found.stats["infinite_nodes"]) == 1


def test_a_table_over_one_state_and_a_reward_that_is_random():
    table = np.array([[0.9, 0.1], [0.4, 0.6]])
    m = dict(
        states={"s": bx.Discrete(2)},
        actions={"a": bx.Discrete(2)},
        shocks={"e": bx.shocks.Categorical([0.0, 2.0], [0.25, 0.75])},
        reward=lambda s, a, e: s * e - 0.2 * a,
        discount=0.9,
    )
    in_place = bx.Model(transitions={"s": bx.Markov(table, over=("s",))}, **m)
    by_row = bx.Model(transitions={"s": bx.Markov(lambda s: jnp.asarray(table)[s])}, **m)
    exact = np.linalg.solve(np.eye(2) - 0.9 * table, [0.0, 1.5])
    for solver in (bx.solvers.PolicyIteration(), bx.solvers.ValueIteration(tolerance=1e-12)):
        for statement in (in_place, by_row):
            np.testing.assert_allclose(bx.solve(statement, {}, solver).value(s=[0, 1]), exact, rtol=1e-9)


@pytest.mark.long
def test_chunks_of_several_lines_and_combinations_do_not_matter():
    m = bx.Model(
        states={"x": bx.Continuous(0.5, 2.0, shape=(2,)), "h": bx.Discrete(3)},
        actions={"c": bx.Continuous(0.1, 0.5), "study": bx.Discrete(2)},
        transitions={"x": lambda x, c: 0.8 * x + 0.3 * c, "h": bx.Markov(lambda h, study: jnp.eye(3)[h] * 0.4 + 0.2)},
        reward=lambda x, c, h, study: jnp.log(c) + x[0] * x[1] - 0.1 * study * (h - 1.0),
        discount=0.9,
    )
    options = {"grid": {"x": (5, 6)}, "maximiser": bx.maximise.Enumerate(grid={"c": 9})}
    for solver in (bx.solvers.ValueIteration, bx.solvers.PolicyIteration):
        whole, pieces = (bx.solve(m, {}, solver(memory=memory, **options)) for memory in (2**28, 4000))
        np.testing.assert_allclose(pieces.values.levels, whole.values.levels, rtol=1e-12)
    at = {"x": np.array([[0.6, 1.1], [1.9, 0.7]]), "h": 2}
    np.testing.assert_allclose(pieces.value(**at), whole.value(**at), rtol=1e-12)


@pytest.mark.parametrize("steps", [None, 10])
def test_a_policy_on_the_way_may_lead_to_minus_infinity(steps):
    """Staying is worth 0. The greedy first policy takes 1 and walks, by way of state 1, to a loss without end."""
    m = bx.Model(
        states={"s": bx.Discrete(3)},
        actions={"d": bx.Discrete(2)},
        transitions={"s": lambda s, d: jnp.where(s == 2, jnp.where(d == 0, 1, 2), 0)},
        reward=lambda s, d: jnp.where(s == 0, -jnp.inf, jnp.where((s == 2) & (d == 0), 1.0, 0.0)),
        discount=0.9,
    )
    found = bx.solve(m, {}, bx.solvers.PolicyIteration(evaluation_steps=steps))
    np.testing.assert_allclose(found.value(s=[0, 1, 2]), [-np.inf, -np.inf, 0.0], atol=1e-9)
    assert int(found.policy(s=2)["d"]) == 1


@pytest.mark.parametrize("count", [101, 1501])
def test_minus_infinity_at_the_end_of_a_fine_grid(count):
    """Wealth that shrinks to nothing, where its logarithm is minus infinity: both solvers, both linear solves."""
    m = bx.Model(
        states={"w": bx.Continuous(0.0, 10.0)},
        actions={"d": bx.Discrete(2)},
        transitions={"w": lambda w, d: w * (1 - 0.1 * d)},
        reward=lambda w, d: jnp.log(w) + 0.2 * d * w,
        discount=0.95,
    )
    options = {"grid": {"w": count}, "interpolant": bx.interpolants.Linear(), "tolerance": 1e-10}
    howard, plain = (bx.solve(m, {}, s(**options)) for s in (bx.solvers.PolicyIteration, bx.solvers.ValueIteration))
    np.testing.assert_allclose(howard.value(w=[2.0, 5.0]), plain.value(w=[2.0, 5.0]), rtol=1e-7)
    np.testing.assert_allclose(plain.value(w=5.0), np.log(5.0) / 0.05, rtol=1e-6)


@pytest.mark.parametrize("steps", [None, 10])
def test_a_shortest_path_has_improper_policies_on_the_way(steps):
    m = bx.Model(
        states={"s": bx.Discrete(6)},
        actions={"d": bx.Discrete(2)},
        transitions={
            "s": lambda s, d: jnp.where(s == 5, 5, jnp.where(d == 1, jnp.minimum(s + 1, 5), jnp.maximum(s - 1, 0)))
        },
        reward=lambda s: jnp.where(s == 5, 0.0, -1.5),
        discount=lambda s: jnp.where(s == 5, 0.0, 1.0),
    )
    found = bx.solve(m, {}, bx.solvers.PolicyIteration(evaluation_steps=steps))
    np.testing.assert_allclose(found.value(s=np.arange(6)), [-7.5, -6.0, -4.5, -3.0, -1.5, 0.0])


@pytest.mark.parametrize("solver", [bx.solvers.PolicyIteration(), bx.solvers.ValueIteration()])
@pytest.mark.long
def test_the_unit_of_value_does_not_matter(solver):
    """CRRA 5 of dollars: V is of the order of 1e-17 at the rich end, and the policy is the share of the closed form."""
    gamma, growth, discount = 5.0, 1.02, 0.95
    m = bx.Model(
        states={"w": bx.Continuous(1e3, 1e6, scale=bx.scales.log)},
        actions={"c": bx.Continuous(lambda w: 0.001 * w, lambda w: 0.999 * w)},
        transitions={"w": lambda w, c: growth * (w - c)},
        reward=lambda c: c ** (1 - gamma) / (1 - gamma),
        discount=discount,
    )
    found = bx.solve(m, {}, solver)
    share = 1 - (discount * growth ** (1 - gamma)) ** (1 / gamma)
    np.testing.assert_allclose(found.policy(w=[3e4, 3e5])["c"] / np.array([3e4, 3e5]), share, rtol=3e-3)
