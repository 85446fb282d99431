"""Taste shocks: against recursions in plain numpy, published numbers, differences, and shares of simulated agents."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

# -- a finite process: four states, two actions with shocks, two without, some of which are not allowed ----------------

RNG = np.random.default_rng(3)
REWARD = RNG.normal(size=(4, 2, 2))
MOVES = RNG.dirichlet(np.ones(4), size=(4, 2, 2))
ALLOWED = np.ones((4, 2, 2), bool)
ALLOWED[0, 1, 0] = ALLOWED[2, 0, :] = False  # in state 2 nothing is allowed with the first action


def finite(horizon=math.inf, **changes):
    """The process as a model."""
    return bx.Model(
        states={"s": bx.Discrete(4)},
        actions={"a": bx.Discrete(2), "b": bx.Discrete(2)},
        transitions={"s": bx.Markov(lambda s, a, b, moves: moves[s, a, b])},
        constraints={"allowed": lambda s, a, b: jnp.asarray(ALLOWED)[s, a, b]},
        reward=lambda s, a, b, pay: pay[s, a, b],
        taste_shocks=bx.ExtremeValue("scale", over=("a",)),
        horizon=horizon,
        **changes,
    )


PARAMS = {"pay": REWARD, "moves": MOVES, "discount": 0.9, "scale": 0.3}
STATES = np.arange(4)


def stepped(value, scale, discount=0.9):
    """V and the probability of every (a, b), shape (s, 4), by hand."""
    q = np.where(ALLOWED, REWARD + discount * MOVES @ value, -np.inf)
    best = q.max(axis=2)  # over b, which has no shock
    top = best.max(axis=1)
    if scale == 0:
        shares = (best == top[:, None]).astype(float)
        value = top
    else:
        value = top + scale * np.log(np.exp((best - top[:, None]) / scale).sum(axis=1))
        shares = np.exp((best - value[:, None]) / scale)
    return value, (shares[:, :, None] * (q == best[:, :, None])).reshape(4, 4)


@pytest.fixture(scope="module")
def endless():
    return bx.solve(finite(), PARAMS, bx.solvers.PolicyIteration())


def test_a_finite_horizon_with_a_scale_by_period_that_ends_at_zero():
    scales = (0.5, 0.2, 0.0)
    found = bx.solve(finite(3), {**PARAMS, "scale": bx.by_period(scales)})
    value = np.zeros(4)
    for period in (2, 1, 0):
        value, shares = stepped(value, scales[period])
        np.testing.assert_allclose(found.value(period, s=STATES), value, rtol=1e-12)
        np.testing.assert_allclose(found.choice_probabilities(period, s=STATES), shares, atol=1e-12)
    # by action; and what is most probable is what the policy reports
    by_action = found.action_probabilities(0, s=STATES)
    np.testing.assert_allclose(by_action["a"], shares.reshape(4, 2, 2).sum(axis=2), atol=1e-12)
    np.testing.assert_allclose(by_action["b"], shares.reshape(4, 2, 2).sum(axis=1), atol=1e-12)
    policy = found.policy(0, s=STATES)
    np.testing.assert_array_equal(2 * policy["a"] + policy["b"], shares.argmax(axis=1))


def test_an_infinite_horizon_by_value_and_by_policy_iteration(endless):
    value = np.zeros(4)
    for _ in range(600):
        value, shares = stepped(value, 0.3)
    iterated = bx.solve(finite(), PARAMS, bx.solvers.ValueIteration(tolerance=1e-15))
    for found in (endless, iterated):
        np.testing.assert_allclose(found.value(s=STATES), value, rtol=1e-12)
        np.testing.assert_allclose(found.choice_probabilities(s=STATES), shares, atol=1e-12)
    assert endless.stats["steps"] < 10  # Newton's method on V = T V


def test_a_vanishing_scale_is_the_model_without_shocks_and_large_values_do_not_overflow():
    plain = finite(3)
    with_none = bx.solve(replace(plain, taste_shocks=None), {k: v for k, v in PARAMS.items() if k != "scale"})
    none = np.asarray(with_none.value(0, s=STATES))
    for scale in (0.0, 1e-14):
        np.testing.assert_allclose(bx.solve(plain, {**PARAMS, "scale": scale}).value(0, s=STATES), none, rtol=1e-13)
    large = bx.solve(plain, {**PARAMS, "pay": 1e12 * REWARD})
    np.testing.assert_allclose(large.value(0, s=STATES), 1e12 * none, rtol=1e-13)
    # without shocks the best combination has it all
    shares = np.asarray(with_none.choice_probabilities(0, s=STATES))
    assert ((shares == 0) | (shares == 1)).all() and (shares.sum(axis=1) == 1).all()


def test_derivatives_of_value_and_probabilities_at_the_fixed_point(endless, jitted):
    """By the implicit function theorem on the numpy recursion: dV = (I - L)^-1 (T_p), L = b sum P moves."""
    value, shares = (np.asarray(x) for x in (endless.value(s=STATES), endless.choice_probabilities(s=STATES)))
    moves = MOVES.reshape(4, 4, 4)
    inverse = np.linalg.inv(np.eye(4) - 0.9 * np.einsum("sk,skn->sn", shares, moves))
    logs = np.log(np.where(shares > 0, shares, 1.0))
    by_scale = inverse @ -(shares * logs).sum(axis=1)
    by_discount = inverse @ np.einsum("sk,skn,n->s", shares, moves, value)

    def solved(scale, discount):
        given = {**PARAMS, "scale": scale, "discount": discount}
        found = bx.solve(endless.model, given, bx.solvers.PolicyIteration())
        return found.value(s=STATES), found.choice_probabilities(s=STATES)

    slopes, moved = jitted(jax.jacfwd(solved, argnums=(0, 1)))(0.3, 0.9)
    np.testing.assert_allclose(slopes[0], by_scale, rtol=1e-9)
    np.testing.assert_allclose(slopes[1], by_discount, rtol=1e-9)
    q_moved = np.einsum("skn,n->sk", moves, value + 0.9 * by_discount)  # dQ/db; d log P = (dQ - dV) / s
    np.testing.assert_allclose(moved[1], shares * (q_moved - by_discount[:, None]) / 0.3, atol=1e-9)


def test_shares_of_simulated_agents_and_what_they_get(endless):
    start = {"s": np.repeat(STATES, 5000)}
    panel = bx.simulate(endless, start=start, periods=40, seed=1)
    shares = np.asarray(endless.action_probabilities(s=STATES)["a"])[:, 1]
    chosen = np.asarray(panel.actions["a"])[:, 0].reshape(4, 5000).mean(axis=1)
    assert (np.abs(chosen - shares) <= 4 * np.sqrt(shares * (1 - shares) / 5000)).all()
    assert chosen[2] == 1.0  # where the first action is not allowed
    gap = np.asarray(panel.present_value() - panel.value[:, 0])
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))
    # the same agents in a smaller panel, and from a table
    again = bx.simulate(endless.tabulate(), start={"s": start["s"][:50]}, periods=3, seed=1)
    np.testing.assert_array_equal(again.actions["a"], panel.actions["a"][:50, :3])
    np.testing.assert_allclose(again.reward, panel.reward[:50, :3], rtol=1e-12)


def test_a_certificate_finds_nothing_and_an_operator_stays_where_it_is(endless):
    found = bx.certify(endless, agents=500, points=20)
    assert found.residuals["max"] < 1e-14 and found.missed < 1e-14
    assert abs(found.simulated["z"]) < 4
    ops = bx.operators(finite(), PARAMS, bx.solvers.PolicyIteration())
    fixed = ops.represent(np.asarray(endless.value(s=STATES)))
    np.testing.assert_allclose(ops.T(fixed).levels, fixed.levels, rtol=1e-13)
    np.testing.assert_allclose(ops.evaluate(ops.greedy(fixed)).levels, fixed.levels, rtol=1e-13)


def test_a_file_gives_back_the_probabilities(endless, tmp_path):
    endless.save(tmp_path / "solution.nc")
    again = bx.load(tmp_path / "solution.nc", finite())
    np.testing.assert_array_equal(again.choice_probabilities(s=STATES), endless.choice_probabilities(s=STATES))


def test_a_rule_does_not_see_the_shocks_whose_mean_is_zero():
    rule = {"a": lambda: 1, "b": lambda s: jnp.where(s == 0, 1, 0)}
    found = bx.evaluate(finite(), PARAMS, rule)
    b = np.where(STATES == 0, 1, 0)
    by_hand = np.linalg.solve(np.eye(4) - 0.9 * MOVES[STATES, 1, b], REWARD[STATES, 1, b])
    np.testing.assert_allclose(found.value(s=STATES), by_hand, rtol=1e-11)
    np.testing.assert_array_equal(found.choice_probabilities(s=STATES), np.eye(4)[2 + b])


# -- a continuous action beside them -----------------------------------------------------------------------------------


RETIREMENT = bx.Model(
    regimes={
        "working": bx.Regime(
            actions={"work": bx.Discrete(2)},
            transitions={"wealth": lambda wealth, consumption, work, income: wealth - consumption + income * work},
            reward=lambda consumption, work, effort: jnp.log(consumption) - effort * work,
            taste_shocks=bx.ExtremeValue("scale", over=("work",)),
            next_regime=lambda work: {"working": work == 1, "retired": work == 0},
        ),
        "retired": bx.Regime(
            transitions={"wealth": lambda wealth, consumption: wealth - consumption},
            reward=lambda consumption: jnp.log(consumption),
        ),
    },
    states={"wealth": bx.Continuous(1.0, 400.0, scale=bx.scales.log)},
    actions={"consumption": bx.Continuous(1e-6, "wealth")},
    horizon=5,
)


@pytest.mark.long
def test_retirement_of_five_periods():
    """Iskhakov, Jorgensen, Rust & Schjerning (2017) with shocks of scale .2: V of working and of retiring at wealth 10,
    computed by an endogenous grid and by enumeration elsewhere; stable under a doubling of the grid."""
    params = {"discount": 0.98, "income": 20.0, "effort": 1.0, "scale": 0.2}
    found = {}
    for nodes in (60, 120):
        solution = bx.solve(RETIREMENT, params, bx.solvers.BackwardInduction(grid={"wealth": nodes}))
        found[nodes] = np.asarray(solution["working"].choice_values(0, wealth=10.0))
        np.testing.assert_allclose(found[nodes], (3.33181165, 9.85166807), atol=1e-6)
    np.testing.assert_allclose(found[60], found[120], atol=1e-6)
    # agents choose by the probabilities; the retired have no choice and no shocks
    panel = bx.simulate(solution, start={"regime": "working", "wealth": np.full(4000, 60.0)}, periods=2)
    share = float(solution["working"].action_probabilities(0, wealth=60.0)["work"][1])
    worked = np.asarray(panel.regime)[:, 1] == panel.regimes.index("working")
    assert abs(worked.mean() - share) < 4 * np.sqrt(share * (1 - share) / 4000)
    with pytest.raises(bx.ModelError, match=r"choice_probabilities is of one regime: solution\['working'\]"):
        solution.choice_probabilities(0, wealth=10.0)


def test_regimes_have_shocks_of_their_own_or_share_them():
    """Two regimes without any state: V_r = s_r log sum over a of exp((r_a + b (p_a V_w + q_a V_o)) / s_r)."""
    pay, leave = {"work": (1.0, 0.4), "other": (0.2, 0.1)}, {"work": (0.3, 0.0), "other": (0.0, 0.6)}

    def model(scales, shared=None):
        def regime(name, other):
            table, away = jnp.asarray(pay[name]), jnp.asarray(leave[name])
            return bx.Regime(
                actions={"a": bx.Discrete(2)},
                reward=lambda a: table[a],
                next_regime=lambda a: {name: 1 - away[a], other: away[a]},
                taste_shocks=bx.ExtremeValue(scales[name], over=("a",)) if name in scales else None,
            )

        regimes = {"work": regime("work", "other"), "other": regime("other", "work")}
        regimes["idle"] = bx.Regime(reward=0.0)  # has no such action, and so no shock
        return bx.Model(regimes=regimes, horizon=3, taste_shocks=shared, discount=0.9)

    def by_hand(scales):
        value = {"work": 0.0, "other": 0.0}
        for _ in range(3):
            mixed = {
                r: np.array(pay[r]) + 0.9 * ((1 - np.array(leave[r])) * value[r] + np.array(leave[r]) * value[o])
                for r, o in (("work", "other"), ("other", "work"))
            }
            value = {r: scales[r] * np.log(np.exp(q / scales[r]).sum()) for r, q in mixed.items()}
        return value

    for scales, shared in (({"work": 0.3, "other": 0.7}, None), ({"work": 0.3}, bx.ExtremeValue(0.7, over=("a",)))):
        found = bx.solve(model(scales, shared), {})
        for regime, value in by_hand({"work": 0.3, "other": 0.7}).items():
            assert float(found[regime].value(0)) == pytest.approx(value, rel=1e-13)
        assert float(found["idle"].value(0)) == 0.0


SAVER = bx.Model(
    states={"a": bx.Continuous(0.1, 20.0, scale=bx.scales.log)},
    actions={"c": bx.Continuous(1e-3, "a"), "job": bx.Discrete(2)},
    transitions={"a": lambda a, c, job, wage: 1.02 * (a - c) + 0.3 + wage * job},
    reward=lambda c, job: jnp.log(c) - 0.7 * job,
    taste_shocks=bx.ExtremeValue("scale", over=("job",)),
)
SAVES = {"discount": 0.9, "wage": 1.0, "scale": 0.3}
ASSETS = np.array([0.5, 7.0])


@pytest.mark.long
def test_policy_and_value_iteration_agree_where_slopes_are_interpolated():
    values = [
        bx.solve(SAVER, SAVES, solver(grid={"a": 16}, tolerance=1e-12)).value(a=ASSETS)
        for solver in (bx.solvers.PolicyIteration, bx.solvers.ValueIteration)
    ]
    np.testing.assert_allclose(*values, rtol=1e-10)


@pytest.mark.long
def test_derivatives_with_a_continuous_action_against_differences(with_value):
    model = replace(SAVER, horizon=3)
    solver = bx.solvers.BackwardInduction(grid={"a": 8})

    def solved(params):
        found = bx.solve(model, params, solver)
        return jnp.concatenate([found.value(0, a=ASSETS), found.choice_probabilities(0, a=ASSETS)[:, 1]])

    both = with_value(solved)
    slopes, _ = both(SAVES)
    for name, step in (("scale", 1e-4), ("wage", 1e-4), ("discount", 1e-4)):
        ahead, behind = (both({**SAVES, name: SAVES[name] + sign * step})[1] for sign in (1, -1))
        np.testing.assert_allclose(slopes[name], (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-7)


def test_a_simulation_refuses_derivatives_that_would_leave_the_choices_out():
    def mean(discount):
        solution = bx.solve(finite(2), {**PARAMS, "discount": discount})
        return bx.simulate(solution, agents=4, start={"s": 1}).reward.mean()

    with pytest.raises(bx.ModelError, match="drawn with probabilities that move with what is differentiated"):
        jax.eval_shape(jax.grad(mean), 0.9)


# -- misuse -----------------------------------------------------------------------------------------------------------

WRONG = {
    "a state": ("s", "taste shocks over 's', which is no discrete action"),
    "nothing of that name": ("aa", "taste shocks over 'aa', which is no discrete action. Did you mean 'a'"),
}


@pytest.mark.parametrize(("name", "message"), WRONG.values(), ids=WRONG)
def test_shocks_are_over_discrete_actions(name, message):
    with pytest.raises(bx.ModelError, match=message):
        replace(finite(2), taste_shocks=bx.ExtremeValue(0.1, over=(name,)))


def test_a_scale_is_finite_and_not_negative():
    with pytest.raises(bx.ParameterError, match=r"scale of ExtremeValue.* is -0.1; it must be a finite number"):
        bx.solve(finite(2), {**PARAMS, "scale": -0.1})
    for scale in (np.nan, np.inf):
        with pytest.raises(bx.ParameterError, match="parameter .scale.*(contains NaN|is inf; it must be a finite)"):
            bx.solve(finite(2), {**PARAMS, "scale": scale})
    with pytest.raises(bx.ModelError, match=r"scale of ExtremeValue is -1; it must be a finite number"):
        replace(finite(2), taste_shocks=bx.ExtremeValue(-1.0, over=("a",)))
    computed = replace(finite(2), taste_shocks=bx.ExtremeValue(lambda tilt: tilt - 1.0, over=("a",)))
    given = {k: v for k, v in PARAMS.items() if k != "scale"}
    with pytest.raises(bx.ParameterError, match=r"scale of ExtremeValue.* is -0.5; it must be a finite number"):
        bx.solve(computed, {**given, "tilt": 0.5})
    value = jax.jit(lambda scale: bx.solve(finite(2), {**PARAMS, "scale": scale}).value(0, s=1))
    assert np.isnan(value(-0.1))


def test_what_they_are_is_checked_and_what_cannot_be_done_is_refused(endless):
    with pytest.raises(bx.ModelError, match=r"taste_shocks is 0.1; give bx.ExtremeValue"):
        replace(finite(2), taste_shocks=0.1)
    with pytest.raises(bx.ModelError, match="taste shocks and `stop`"):
        bx.solve(replace(finite(2), stop=0.0), PARAMS)
    with pytest.raises(bx.ModelError, match="the policy is one under taste shocks"):
        bx.evaluate(finite(), PARAMS, endless)
