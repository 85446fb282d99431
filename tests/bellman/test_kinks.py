"""Derivatives of V and of policies where optima are at kinks, against closed forms and differences of a solve."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def asked(model, solver, actions, period=0):
    """V and the actions at many states, as a function of parameters and states."""
    run = bx.compile(model, solver)

    def found(params, states):
        solution = run(params)

        def one(state):
            policy = solution.policy(period, **state)
            return jnp.stack([solution.value(period, **state), *(policy[name] for name in actions)])

        return jax.vmap(one)(states)

    return found


def differences(f, params, states, step):
    """Central differences in every parameter and in every state, by name."""
    found = {}
    for name, where in itertools.chain(((n, params) for n in params), ((n, states) for n in states)):
        if np.ndim(params.get(name, 0.0)) > 0:
            continue
        ends = []
        for sign in (1, -1):
            moved = {**where, name: where[name] + sign * step}
            ends.append(np.asarray(f(moved, states) if where is params else f(params, moved)))
        found[name] = (ends[0] - ends[1]) / (2 * step)
    return found


def derivatives(f, params, states, mode, jitted):
    """The same by jax, and f itself: compiled once."""
    both = jitted(lambda p, s: (f(p, s), mode(f, argnums=(0, 1))(p, s)))
    value, (by_params, by_states) = both(params, states)
    found = {name: np.asarray(own) for name, own in by_params.items() if own.ndim == 2}
    found |= {name: np.einsum("nan->na", np.asarray(own)) for name, own in by_states.items()}
    return np.asarray(value), found, lambda p, s: both(p, s)[0]


def agree(found, expected, rtol=1e-6, atol=1e-6, without=()):
    for name in set(expected) - set(without):
        np.testing.assert_allclose(found[name], expected[name], rtol=rtol, atol=atol, err_msg=name)


def numbers(**values):
    return {name: jnp.asarray(value, float) for name, value in values.items()}


# -- closed forms ---------------------------------------------------------------------------------------------------


def swing():
    """Up to two a day at the price, three days, and no more than there is: sell at once."""
    model = bx.Model(
        states={"v": bx.Continuous(0.0, 10.0)},
        actions={"x": bx.Continuous(0.0, "v")},
        transitions={"v": lambda v, x: v - x},
        reward=lambda x, p, most: p * jnp.minimum(x, most),
        horizon=3,
    )

    def exact(params, states):
        v, most = np.asarray(states["v"]), params["most"]
        sold = [np.clip(v - k * most, 0, most) * params["discount"] ** k for k in range(3)]
        return np.stack([params["p"] * sum(sold), np.minimum(v, most)], axis=1)

    return model, {"v": 41}, ["x"], numbers(p=1.0, most=2.0, discount=0.95), numbers(v=[1.1, 3.3, 5.0]), exact


DEMAND, CHANCE = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.3, 0.2])


def inventory():
    """What is short costs so much that one orders up to the largest demand, a kink; leftovers are sold back at cost."""
    model = bx.Model(
        states={"x": bx.Continuous(-10.0, 10.0)},
        actions={"order": bx.Continuous(0.0, 8.0)},
        shocks={"d": bx.shocks.Categorical(DEMAND, CHANCE)},
        functions={"left": lambda x, order, d: x + order - d},
        transitions={"x": lambda left: left},
        reward=lambda order, left, cost, hold, short: (
            -cost * order - hold * jnp.maximum(left, 0.0) - short * jnp.maximum(-left, 0.0)
        ),
        terminal=lambda x, cost: cost * x,
        horizon=3,
    )

    def exact(params, states):
        x, cost, level = np.asarray(states["x"]), params["cost"], DEMAND.max()
        held, rest = CHANCE @ (level - DEMAND), 0.0
        for _ in range(3):
            rest = -cost * level - params["hold"] * held + params["discount"] * (cost * held + rest)
        return np.stack([cost * x + rest, level - x], axis=1)

    params = numbers(cost=1.0, hold=0.3, short=2.5, discount=0.95)
    return model, {"x": 21}, ["order"], params, numbers(x=[-1.3, 0.4, 3.2]), exact


def two():
    """Of two actions both at a kink of their own."""

    def reward(w, c, d, p, roof):
        smooth = -0.5 * (c - 0.5) ** 2 - (d - 0.3 * p) ** 2 * (1 + w) - 0.2 * c * d
        return smooth - roof * jnp.abs(c - p * w) - 0.5 * roof * jnp.abs(d - 0.2 * w * p)

    def exact(params, states):
        w, p = np.asarray(states["w"]), params["p"]
        c, d = p * w, 0.2 * w * p
        return np.stack([-0.5 * (c - 0.5) ** 2 - (d - 0.3 * p) ** 2 * (1 + w) - 0.2 * c * d, c, d], axis=1)

    return *_pair(reward), numbers(p=0.4, roof=0.5, discount=0.9), numbers(w=[0.7, 1.1, 1.6]), exact


def one_of_two():
    """One action at a kink, the other one smooth and moved by the first."""

    def reward(w, c, d, p, roof):
        return -roof * jnp.abs(c - p * w) - 0.5 * (c - 0.5) ** 2 - (d - 0.3 * p - 0.1 * c) ** 2 * (1 + w)

    def exact(params, states):
        w, p = np.asarray(states["w"]), params["p"]
        return np.stack([-0.5 * (p * w - 0.5) ** 2, p * w, 0.3 * p + 0.1 * p * w], axis=1)

    return *_pair(reward), numbers(p=0.4, roof=0.5, discount=0.9), numbers(w=[0.7, 1.1, 1.6]), exact


def vertex():
    """Piecewise linear in both, and one kink oblique: the Hessian is nothing but rounding."""

    def reward(w, c, d, p, roof):
        off, other = c - p * w, d - 0.3 * c
        return roof * jnp.minimum(off, -2 * off) + jnp.minimum(other, -3 * other)

    def exact(params, states):
        c = params["p"] * np.asarray(states["w"])
        return np.stack([0 * c, c, 0.3 * c], axis=1)

    return *_pair(reward), numbers(p=0.4, roof=2.5, discount=0.9), numbers(w=[0.7, 1.1, 1.6]), exact


def _pair(reward):
    model = bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        actions={"c": bx.Continuous(0.0, 2.0), "d": bx.Continuous(0.0, 1.0)},
        transitions={"w": lambda w: w},
        reward=reward,
        horizon=1,
    )
    return model, {"w": 4}, ["c", "d"]


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        (swing, jax.jacrev),
        pytest.param(two, jax.jacfwd, marks=pytest.mark.long),
        pytest.param(swing, jax.jacfwd, marks=pytest.mark.long),
        pytest.param(inventory, jax.jacrev, marks=pytest.mark.long),
        pytest.param(inventory, jax.jacfwd, marks=pytest.mark.long),
        pytest.param(two, jax.jacrev, marks=pytest.mark.long),
        pytest.param(one_of_two, jax.jacrev, marks=pytest.mark.long),
        pytest.param(vertex, jax.jacrev, marks=pytest.mark.long),
    ],
)
def test_at_kinks_derivatives_are_those_of_the_closed_form(case, mode, jitted):
    model, grid, actions, params, states, exact = case()
    f = asked(model, bx.solvers.BackwardInduction(grid=grid), actions)
    value, found, _ = derivatives(f, params, states, mode, jitted)
    plain = {name: float(number) for name, number in params.items()}
    np.testing.assert_allclose(value, exact(plain, states), rtol=1e-9, atol=1e-9)
    agree(found, differences(exact, plain, {n: np.asarray(s) for n, s in states.items()}, 1e-4))


@pytest.mark.long
def test_a_swing_option():
    """Three days at two each out of five: the price earns 2 + 2 d + d^2, one more unit d^2."""
    model, grid, actions, params, *_ = swing()
    f = asked(model, bx.solvers.BackwardInduction(grid=grid), actions)
    slope = jax.grad(lambda p, v: f({**params, "p": p}, {"v": v[None]})[0, 0], argnums=(0, 1))(1.0, jnp.asarray(5.0))
    np.testing.assert_allclose(slope, [4.8025, 0.9025], rtol=1e-8)


# -- differences of the same solve ------------------------------------------------------------------------------------


def storage():
    """Gas in and out at a spread: where the price is fair one waits, at a kink."""
    model = bx.Model(
        states={"v": bx.Continuous(0.0, 10.0), "p": bx.MarkovChain([2.0, 3.0, 4.5], "P")},
        actions={
            "rate": bx.Continuous(
                lambda v, pull: -jnp.minimum(pull, v), lambda v, push: jnp.minimum(push * (1 - 0.05 * v), 10.0 - v)
            )
        },
        transitions={"v": lambda v, rate: v + rate},
        reward=lambda p, rate, spread, cost: -p * rate - spread * jnp.abs(rate) - cost * rate**2,
        terminal=lambda v, salvage: salvage * v - 0.05 * v**2,
        horizon=3,
    )
    chain = jnp.array([[0.6, 0.3, 0.1], [0.2, 0.6, 0.2], [0.1, 0.3, 0.6]])
    params = numbers(P=chain, pull=2.0, push=1.5, spread=0.3, cost=0.01, salvage=3.2, discount=0.97)
    states = numbers(v=[0.7, 3.3, 5.1, 8.2, 0.7, 3.3, 5.1, 8.2], p=[3.0] * 4 + [4.5] * 4)
    return model, {"v": 25}, ["rate"], params, states


def tariff():
    """Blocks of energy at rising prices."""
    model = bx.Model(
        states={"w": bx.Continuous(6.0, 15.0)},
        actions={"q": bx.Continuous(0.0, 4.0)},
        functions={
            "bill": lambda q, a, b: (
                0.5 * jnp.minimum(q, a) + 1.0 * jnp.clip(q - a, 0.0, b - a) + 1.8 * jnp.maximum(q - b, 0.0)
            )
        },
        transitions={"w": lambda w, bill, r: (1 + r) * (w - bill) + 1.0},
        reward=lambda q, w, bill, taste: taste * jnp.log(q + 0.1) + 0.5 * jnp.log(w - bill),
        terminal=lambda w: 2 * jnp.log(w),
        horizon=3,
    )
    return model, {"w": 20}, ["q"], numbers(a=1.0, b=2.0, taste=2.0, r=0.03, discount=0.95), numbers(w=[6.2, 8.0, 11.0])


def two_rates():
    """Debts cost more than savings earn: over a range of wealth one has neither."""
    model = bx.Model(
        states={"w": bx.Continuous(0.5, 10.0)},
        actions={"c": bx.Continuous(0.05, lambda w, limit: w + limit)},
        functions={"s": lambda w, c: w - c},
        transitions={"w": lambda s, lend, borrow, y: jnp.where(s > 0, (1 + lend) * s, (1 + borrow) * s) + y},
        reward=lambda c: jnp.log(c),
        horizon=3,
    )
    params = numbers(lend=0.02, borrow=0.12, y=1.3, limit=0.6, discount=0.93)
    return model, {"w": 40}, ["c"], params, numbers(w=[1.0, 1.3, 1.5, 3.0])


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        pytest.param(storage, jax.jacrev, marks=pytest.mark.long),
        pytest.param(storage, jax.jacfwd, marks=pytest.mark.long),
        pytest.param(tariff, jax.jacrev, marks=pytest.mark.long),
        pytest.param(tariff, jax.jacfwd, marks=pytest.mark.long),
        pytest.param(two_rates, jax.jacrev, marks=pytest.mark.long),
        pytest.param(two_rates, jax.jacfwd, marks=pytest.mark.long),
    ],
)
def test_at_kinks_derivatives_are_differences(case, mode, jitted):
    model, grid, actions, params, states = case()
    f = asked(model, bx.solvers.BackwardInduction(grid=grid), actions)
    _, found, again = derivatives(f, params, states, mode, jitted)
    expected = differences(again, params, states, 1e-5)
    agree(found, expected, rtol=1e-6, atol=3e-6, without=["p"])


# -- what else there is to a kink --------------------------------------------------------------------------------


def test_slopes_of_the_table_are_exact_at_kinks_and_where_a_kink_meets_a_bound():
    """One waits at every node: V = .9 * 3.1 v. At both ends the bounds leave no way to one side, and move with v."""
    model = bx.Model(
        states={"v": bx.Continuous(0.0, 10.0)},
        actions={"rate": bx.Continuous(lambda v: -v, lambda v: 10.0 - v)},
        transitions={"v": lambda v, rate: v + rate},
        reward=lambda rate, price: -price * rate - 0.3 * jnp.abs(rate),
        terminal=lambda v: 3.1 * v,
        discount=0.9,
        horizon=1,
    )
    found = bx.solve(model, {"price": 2.7}, bx.solvers.BackwardInduction(grid={"v": 9}))
    slopes = np.asarray(found.values.slopes[0])[0]
    np.testing.assert_allclose(slopes, np.full(9, 0.9 * 3.1), rtol=1e-9)


def bent(horizon: int):
    """c = p w at the kink, so that V = -(p w - .5)^2 (1 + .9 + ...): a parabola in each, which Hermite has exactly."""
    model = bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        actions={"c": bx.Continuous(0.0, 2.0)},
        transitions={"w": lambda w: w},
        reward=lambda c, w, p: -2.0 * jnp.abs(c - p * w) - (c - 0.5) ** 2,
        discount=0.9,
        horizon=horizon,
    )
    f = asked(model, bx.solvers.BackwardInduction(grid={"w": 5}), ["c"])
    return lambda x: f({"p": x[0]}, {"w": x[1][None]})[0]


@pytest.mark.long
def test_second_derivatives_at_a_kink_follow_it(jitted):
    p, w = 0.4, 1.1
    found = jitted(jax.jacfwd(jax.jacrev(bent(1))))(jnp.array([p, w]))
    cross = -2 * (2 * p * w - 0.5)
    np.testing.assert_allclose(found[0], [[-2 * w**2, cross], [cross, -2 * p**2]], rtol=1e-6)
    np.testing.assert_allclose(found[1], [[0, 1], [1, 0]], atol=1e-6)


def test_second_derivatives_through_kinks_of_several_periods_are_refused():
    with pytest.raises(bx.ModelError, match="no second ones in this version: take differences"):
        jax.jacfwd(jax.jacrev(bent(2)))(jnp.array([0.4, 1.1]))


@pytest.mark.long
def test_second_derivatives_through_kinks_of_regimes_are_refused():
    own = {"states": {"w": bx.Continuous(0.5, 2.0)}, "transitions": {"w": lambda w: w}}
    first = bx.Regime(
        actions={"c": bx.Continuous(0.0, 2.0)},
        reward=lambda c, w, p: -2.0 * jnp.abs(c - p * w) - (c - 0.5) ** 2,
        next_regime=lambda: {"first": 0.5, "second": 0.5},
        **own,
    )
    model = bx.Model(regimes={"first": first, "second": bx.Regime(reward=lambda w: w, **own)}, horizon=2)
    run = bx.compile(model, bx.solvers.BackwardInduction(grid={"w": 5}))
    value = lambda p: run({"p": p, "discount": 0.9})["first"].value(period=0, w=1.1)  # noqa: E731
    assert np.isfinite(jax.grad(value)(0.4))
    with pytest.raises(bx.ModelError, match="no second ones in this version: take differences"):
        jax.jacfwd(jax.grad(value))(0.4)


def test_at_a_jump_derivatives_are_no_number():
    """V = p w where more than that is fined: no derivative of the reward knows, and zero would be wrong."""
    model = bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        actions={"c": bx.Continuous(0.0, 2.0)},
        transitions={"w": lambda w: w},
        reward=lambda c, w, p: jnp.where(c <= p * w, c, c - 3.0),
        discount=0.9,
        horizon=1,
    )
    f = asked(model, bx.solvers.BackwardInduction(grid={"w": 4}, maximiser=bx.maximise.Golden()), ["c"])
    at = lambda p: f({"p": p}, {"w": jnp.array([1.1])})[0]  # noqa: E731
    np.testing.assert_allclose(at(jnp.asarray(0.4)), [0.44, 0.44], atol=1e-6)
    assert np.all(np.isnan(jax.jacrev(at)(jnp.asarray(0.4))))


def test_with_linear_interpolation_optima_stay_at_nodes():
    """Tomorrow's wealth is a node of V: c = w - node / (1 + r)."""
    model = bx.Model(
        states={"w": bx.Continuous(1.0, 5.0)},
        actions={"c": bx.Continuous(0.1, "w")},
        transitions={"w": lambda w, c, r: (1 + r) * (w - c)},
        reward=lambda c: jnp.log(c),
        terminal=lambda w: jnp.log(w),
        discount=0.9,
        horizon=1,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 5}, interpolant=bx.interpolants.Linear())
    f = asked(model, solver, ["c"])
    r, w, node = 0.05, 4.3, 2.0
    at = lambda x: f({"r": x[0]}, {"w": x[1][None]})[0]  # noqa: E731
    value, slopes = at(jnp.array([r, w])), jax.jacfwd(at)(jnp.array([r, w]))
    c = w - node / (1 + r)
    np.testing.assert_allclose(value, [np.log(c) + 0.9 * np.log(node), c], rtol=1e-9)
    np.testing.assert_allclose(slopes, np.outer([1 / c, 1.0], [node / (1 + r) ** 2, 1.0]), rtol=1e-6)
