"""Derivatives of values and policies with respect to every kind of parameter, against closed forms and differences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

FLOATS = {
    "discount": 0.9,
    "growth": 1.03,
    "risk": 2.0,
    "least": 0.05,
    "share": 0.95,
    "P": np.array([[0.8, 0.2], [0.3, 0.7]]),
    "bottom": 0.5,
    "top": 6.0,
}
W, Z = jnp.asarray(1.7), jnp.asarray(1.2)


def savings(horizon=None):
    """Every number of it is a parameter: bounds of the state and of the action, discount, matrix, returns."""
    return bx.Model(
        states={"w": bx.Continuous("bottom", "top", scale=bx.scales.log), "z": bx.MarkovChain([0.7, 1.2], "P")},
        actions={"c": bx.Continuous("least", lambda w, share: share * w)},
        transitions={"w": lambda w, c, z, growth: growth * (w - c) + z},
        reward=lambda c, risk: c ** (1 - risk) / (1 - risk),
        **({} if horizon is None else {"horizon": horizon}),
    )


def params():
    return {name: jnp.asarray(value, float) for name, value in FLOATS.items()}


def differences(f, p, step=1e-5):
    """Central differences of every answer in every entry; rows of the matrix move freely, as autodiff has it."""
    found = {}
    for name, value in p.items():
        flat = np.asarray(value, float).reshape(-1)
        out = []
        for k in range(flat.size):
            ends = []
            for sign in (1, -1):
                moved = flat.copy()
                moved[k] += sign * step
                ends.append(f({**p, name: jnp.asarray(moved.reshape(np.shape(value)))}))
            out.append({answer: (float(ends[0][answer]) - float(ends[1][answer])) / (2 * step) for answer in ends[0]})
        for answer in out[0]:
            slopes = np.asarray([entry[answer] for entry in out]).reshape(np.shape(value))
            found.setdefault(answer, {})[name] = slopes
    return found


SOLVERS = {
    "newton": (3, bx.solvers.BackwardInduction(grid={"w": 12})),
    "golden": (3, bx.solvers.BackwardInduction(grid={"w": 12}, maximiser=bx.maximise.Golden())),
    "policy iteration": (None, bx.solvers.PolicyIteration(grid={"w": 12}, tolerance=1e-12)),
    "value iteration": (None, bx.solvers.ValueIteration(grid={"w": 12}, tolerance=1e-13)),
}
MODELS = {3: savings(3), None: savings()}


def asked(name, what):
    """Value, policy or both at one state, as a function of parameters."""
    horizon, solver = SOLVERS[name]
    when = {} if horizon is None else {"period": 0}
    run = bx.compile(MODELS[horizon], solver)

    def ask(p):
        solution = run(p)
        found = {}
        if "value" in what:
            found["value"] = solution.value(**when, w=W, z=Z)
        if "policy" in what:
            found["policy"] = solution.policy(**when, w=W, z=Z)["c"]
        return found

    return ask


@pytest.mark.parametrize(
    ("name", "what", "modes"),
    [
        pytest.param("newton", ("value", "policy"), (jax.jacrev, jax.jacfwd), marks=pytest.mark.long),
        ("golden", ("policy",), (jax.jacfwd,)),
        pytest.param("policy iteration", ("value", "policy"), (jax.jacrev,), marks=pytest.mark.long),
        # the rule of a fixed point is one for both
        pytest.param("value iteration", ("value",), (jax.jacfwd,), marks=pytest.mark.long),
    ],
)
def test_every_parameter_against_differences(name, what, modes, jitted, with_value):
    f, p = asked(name, what), params()
    both = with_value(f, modes[0])
    # golden sections locate an action to 1e-8, and differences of it to that over the step
    expected = differences(lambda p: both(p)[1], p, step=1e-4 if name == "golden" else 1e-5)
    exact, _ = both(p)
    tolerances = {"value": (2e-5, 1e-5), "policy": (1e-2, 1e-3) if name == "golden" else (1e-3, 1e-4)}
    for answer, key in itertools.product(what, p):
        rtol, atol = tolerances[answer]
        np.testing.assert_allclose(exact[answer][key], expected[answer][key], rtol=rtol, atol=atol, err_msg=key)
    for mode in modes[1:]:
        other = jitted(mode(f))(p)
        for answer, key in itertools.product(what, p):
            np.testing.assert_allclose(other[answer][key], exact[answer][key], rtol=1e-7, atol=1e-9, err_msg=key)


def test_policy_iteration_converges_quadratically_where_slopes_are_limited():
    """Its evaluation is linearised at V, where the limiter of the cubic acts, and takes a handful of steps."""
    solver = bx.solvers.PolicyIteration(grid={"w": 12}, tolerance=1e-13)
    found = bx.solve(MODELS[None], params(), solver)
    assert int(found.stats["steps"]) <= 10
    by_value = bx.solve(MODELS[None], params(), bx.solvers.ValueIteration(grid={"w": 12}, tolerance=1e-13))
    np.testing.assert_allclose(found.values.levels, by_value.values.levels, rtol=1e-10)


def cake(maximiser=None, horizon=3):
    """max of sum of b^t log c_t with w' = w - c: c_0 = w / (1 + b + ... ), all in closed form."""
    return bx.Model(
        states={"w": bx.Continuous(1e-2, 10.0, scale=bx.scales.log)},
        actions={"c": bx.Continuous(1e-6, "w")},
        transitions={"w": lambda w, c: w - c},
        reward=lambda c: jnp.log(c),
        terminal=lambda w: jnp.log(w),
        horizon=horizon,
    )


def test_a_closed_form(jitted):
    m = cake()

    def asked(b):
        found = bx.solve(m, {"discount": b})
        consumed = found.policy(period=0, w=3.0)["c"]
        return consumed, (consumed, jax.grad(lambda w: found.value(period=0, w=w))(3.0))

    by_discount, (consumed, by_wealth) = jitted(jax.grad(asked, has_aux=True))(0.9)
    total = 1 + 0.9 + 0.9**2 + 0.9**3
    np.testing.assert_allclose(consumed, 3 / total, rtol=1e-6)
    np.testing.assert_allclose(by_discount, -3 * (1 + 2 * 0.9 + 3 * 0.81) / total**2, rtol=1e-5)
    np.testing.assert_allclose(by_wealth, total / 3, rtol=1e-6)


def test_enumeration_gives_derivatives_of_the_value_only(with_value):
    solver = bx.solvers.BackwardInduction(grid={"w": 30}, maximiser=bx.maximise.Enumerate(grid={"c": 50}))
    m = cake()
    value = lambda b: bx.solve(m, {"discount": b}, solver).value(period=0, w=3.0)  # noqa: E731
    h, both = 1e-7, with_value(value, jax.grad)  # so small that no choice changes
    np.testing.assert_allclose(both(0.9)[0], (both(0.9 + h)[1] - both(0.9 - h)[1]) / (2 * h), rtol=1e-5)
    policy = lambda b: bx.solve(m, {"discount": b}, solver).policy(period=0, w=3.0)["c"]  # noqa: E731
    with pytest.raises(bx.ModelError, match="no derivative.*Enumerate.*Newton"):
        jax.eval_shape(jax.grad(policy), 0.9)


def test_finite_processes_and_chain_entries():
    """V = (I - b P)^-1 r: every derivative is that of a linear system."""
    P, r = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([1.0, 2.0])
    m = bx.Model(
        states={"z": bx.MarkovChain(2, "P")},
        actions={"a": bx.Discrete(2)},
        reward=lambda z, a, r: r[z] + a * 0.1,
    )
    exact = lambda p: jnp.linalg.solve(jnp.eye(2) - p["discount"] * p["P"], p["r"] + 0.1)[0]  # noqa: E731
    p = {"P": jnp.asarray(P), "r": jnp.asarray(r), "discount": jnp.asarray(0.9)}
    for solver in (bx.solvers.PolicyIteration(), bx.solvers.ValueIteration(tolerance=1e-13)):
        f = lambda p, solver=solver: bx.solve(m, p, solver).value(z=0)  # noqa: E731
        ours, truth = jax.grad(f)(p), jax.grad(exact)(p)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), ours, truth)


def test_a_fixed_point_too_large_for_a_dense_factor():
    """The same chain on 1300 categories, by GMRES."""
    n = 1300
    up = np.roll(np.eye(n), 1, axis=1)
    m = bx.Model(
        states={"z": bx.MarkovChain(np.arange(n) / n, lambda p, up: (1 - p) * jnp.eye(n) + p * up)},
        actions={"a": bx.Discrete(1)},
        reward=lambda z: jnp.sin(6 * z),
    )
    solver = bx.solvers.PolicyIteration()
    f = lambda p: bx.solve(m, {"p": p, "up": up, "discount": 0.9}, solver).value(z=0.0)  # noqa: E731

    def exact(p):
        return np.linalg.solve(np.eye(n) - 0.9 * ((1 - p) * np.eye(n) + p * up), np.sin(6 * np.arange(n) / n))[0]

    found, slope = jax.value_and_grad(f)(0.3)
    np.testing.assert_allclose(found, exact(0.3), rtol=1e-9)
    np.testing.assert_allclose(slope, (exact(0.3 + 1e-5) - exact(0.3 - 1e-5)) / 2e-5, rtol=1e-6)


@pytest.mark.long
def test_equal_bounds_have_a_derivative(with_value):
    """Two actions, the second without room: nothing of it may poison the first."""
    m = bx.Model(
        states={"w": bx.Continuous(0.5, 3.0)},
        actions={"c": bx.Continuous(0.01, "w"), "d": bx.Continuous(0.2, 0.2)},
        transitions={"w": lambda w, c: w - c + 0.5},
        reward=lambda c, d, g: g * jnp.log(c) + d,
        discount=0.9,
        horizon=2,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 10})

    def answer(g):
        found = bx.solve(m, {"g": g}, solver)
        return jnp.stack([found.value(period=0, w=1.5), found.policy(period=0, w=1.5)["c"]])

    (by_g, c_by_g), (value, _) = with_value(answer, jax.jacrev)(2.0)
    # V is homogeneous: the reward is g times one part, and 0.2 a period the other
    np.testing.assert_allclose(by_g, (value - 0.2 * 1.9) / 2.0, rtol=1e-9)
    np.testing.assert_allclose(c_by_g, 0.0, atol=1e-9)


@pytest.mark.long
def test_infinite_nodes_do_not_poison_derivatives():
    """Wealth below one is worth minus infinity; everything else has a finite derivative."""
    m = bx.Model(
        states={"w": bx.Continuous(0.0, 4.0)},
        actions={"c": bx.Discrete([0.0, 1.0])},
        transitions={"w": lambda w, c: w - c},
        reward=lambda w, c, g: jnp.where(w < 1, -jnp.inf, g * c),
        discount="b",
        horizon=2,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 5})
    f = lambda g, b: bx.solve(m, {"g": g, "b": b}, solver).value(period=0, w=2.0)  # noqa: E731
    assert jax.grad(f, (0, 1))(3.0, 0.9) == (1.9, 3.0)


@pytest.mark.long
def test_through_a_terminal_solution(with_value):
    m = savings()
    p = params()
    steady = bx.solvers.PolicyIteration(grid={"w": 8}, maximiser=bx.maximise.Enumerate(grid={"c": 15}))
    short = bx.solvers.BackwardInduction(grid={"w": 8})

    def f(growth):
        last = bx.solve(m, {**p, "growth": growth}, steady)
        return bx.solve(m, p, short, horizon=2, terminal=last).value(period=0, w=W, z=Z)

    g, both = jnp.asarray(1.03), with_value(f, jax.grad)
    np.testing.assert_allclose(both(g)[0], (both(g + 1e-5)[1] - both(g - 1e-5)[1]) / 2e-5, rtol=1e-5)


@pytest.mark.long
def test_choice_values_have_derivatives(with_value):
    """One period: working pays a wage and costs effort; what is left is worth itself, so that 1 / c = b."""
    m = bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        actions={"work": bx.Discrete(2), "c": bx.Continuous(0.01, lambda w: w)},
        transitions={"w": lambda w, c, work, wage: w - c + work * wage},
        reward=lambda c, work, effort: jnp.log(c) - effort * work,
        terminal=lambda w: w,
        discount=0.9,
        horizon=1,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 5})

    def choices(p):
        return bx.solve(m, p, solver).choice_values(0, w=1.5)

    p = {"wage": jnp.asarray(0.7), "effort": jnp.asarray(0.2)}
    found, values = with_value(choices, jax.jacobian)(p)
    idle = np.log(1 / 0.9) + 0.9 * (1.5 - 1 / 0.9)
    np.testing.assert_allclose(values, [idle, idle + 0.9 * 0.7 - 0.2], rtol=1e-10)
    np.testing.assert_allclose(found["effort"], [0.0, -1.0], atol=1e-12)
    np.testing.assert_allclose(found["wage"], [0.0, 0.9], atol=1e-12)


@pytest.mark.long
def test_stopping_has_the_derivatives_of_what_it_pays(jitted):
    """Sell now for w, or next period, one last time, for twice the price: wait where 2 b > 1."""
    m = bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        transitions={"w": lambda w: w},
        reward=0.0,
        stop=lambda w, price: price * w,
        terminal=lambda w, price: 2.0 * price * w,
        discount="b",
        horizon=1,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 5})
    value = lambda b, price: bx.solve(m, {"b": b, "price": price}, solver).value(0, w=1.5)  # noqa: E731
    gradient = jitted(jax.grad(value, argnums=(0, 1)))
    np.testing.assert_allclose(gradient(0.9, 1.0), [3.0, 2.7], rtol=1e-12)
    np.testing.assert_allclose(gradient(0.4, 1.0), [0.0, 1.5], atol=1e-12)
    broken = bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        transitions={"w": lambda w: w},
        reward=0.0,
        stop=lambda w: jnp.sqrt(w - 1.0),
        discount=0.9,
        horizon=2,
    )
    with pytest.raises(bx.SolveError, match="stop gives NaN.*w = 0.5"):
        bx.solve(broken, {}, solver)


@pytest.mark.parametrize("solver", [bx.solvers.PolicyIteration(), bx.solvers.ValueIteration(tolerance=1e-13)])
@pytest.mark.long
def test_second_derivatives_at_a_fixed_point(solver):
    m = bx.Model(
        states={"s": bx.Discrete(2)}, transitions={"s": lambda s: 1 - s}, reward=lambda s, r: r + 0.0 * s, discount="b"
    )
    value = lambda b: bx.solve(m, {"r": 1.0, "b": b}, solver).value(s=0)  # noqa: E731
    for second in (jax.hessian(value), jax.jacfwd(jax.jacfwd(value)), jax.grad(jax.grad(value))):
        np.testing.assert_allclose(second(0.5), 2 / 0.5**3, rtol=1e-9)


@pytest.mark.long
def test_second_derivatives_in_every_mode(jitted):
    """Of the value and of the policy forward over reverse; of the value in the discount forward over forward."""
    m = bx.Model(
        states={"w": bx.Continuous(0.5, 3.0)},
        actions={"c": bx.Continuous(0.01, "w")},
        transitions={"w": lambda w, c, R: 1 + R * (w - c)},
        reward=lambda c, g: c ** (1 - g) / (1 - g),
        horizon=2,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 8})

    solved = lambda x: bx.solve(m, {"g": x[0], "R": x[1], "discount": x[2]}, solver)  # noqa: E731

    def answer(x):
        solution = solved(x)
        return jnp.stack([solution.value(0, w=1.7), solution.policy(0, w=1.7)["c"]])

    def gradients(x):
        found = jax.jacrev(answer)(x)
        return found, found

    x, step = jnp.array([2.0, 1.03, 0.95]), 1e-5
    over_reverse = jitted(jax.jacfwd(gradients, has_aux=True))
    each = jnp.eye(3) * step
    ahead, behind = ([over_reverse(x + sign * e)[1] for e in each] for sign in (1, -1))
    expected = (jnp.stack(ahead, axis=2) - jnp.stack(behind, axis=2)) / (2 * step)
    np.testing.assert_allclose(over_reverse(x)[0], expected, atol=1e-7)
    over_forward = jitted(jax.jacfwd(jax.jacfwd(lambda b: solved([x[0], x[1], b]).value(0, w=1.7))))
    np.testing.assert_allclose(over_forward(x[2]), expected[0, 2, 2], atol=1e-7)


@pytest.mark.parametrize(
    "interpolant", [bx.interpolants.Linear(), pytest.param(bx.interpolants.Hermite(), marks=pytest.mark.long)]
)
def test_an_infinite_derivative_stays_where_it_is(interpolant, with_value):
    """At w = 0 nothing can be consumed, and log 0 has neither a value nor a derivative; V(3) has both."""
    m = bx.Model(
        states={"w": bx.Continuous(0.0, 10.0)},
        actions={"c": bx.Continuous(0.0, "w")},
        transitions={"w": lambda w, c: 1 + w - c},
        reward=lambda c, p: p * jnp.log(c),
        discount=0.95,
        horizon=2,
    )
    for maximiser, modes in ((bx.maximise.Newton(), (jax.grad, jax.jacfwd)), (bx.maximise.Enumerate(), (jax.grad,))):
        solver = bx.solvers.BackwardInduction(grid={"w": 9}, interpolant=interpolant, maximiser=maximiser)
        value = lambda p: bx.solve(m, {"p": p}, solver).value(0, w=3.0)  # noqa: B023, E731
        for mode in modes:
            slope, found = with_value(value, mode)(1.0)
            assert np.isfinite(found)
            np.testing.assert_allclose(slope, found, rtol=1e-12)


@pytest.mark.parametrize("source", ["shock", "chain", "law", "jump", "dotted"])
def test_a_probability_of_zero_has_a_derivative(source, jitted):
    """V = .5 w + E k with E k = p, or a chain that p moves: nothing happens at p = 0, and its derivative is there."""
    base = {"states": {"w": bx.Continuous(0.0, 4.0)}, "transitions": {"w": lambda w, k: 0.5 * w + k}}
    rest = {"reward": 0.0, "terminal": lambda w: w, "discount": 1.0, "horizon": 1}
    chain = {"z": bx.MarkovChain(2, lambda p: jnp.array([[1 - p, p], [0.0 * p, 1.0 + 0.0 * p]]))}
    two = {"z": bx.Discrete(2)}
    law = bx.Markov(lambda p: jnp.array([1 - p, p]))
    seen = {"reward": lambda next_z: 1.0 * next_z, "discount": 1.0, "horizon": 1}
    models = {
        "shock": bx.Model(**base, shocks={"k": bx.shocks.Categorical([0.0, 1.0], lambda p: [1 - p, p])}, **rest),
        "jump": bx.Model(**base, shocks={"k": bx.shocks.Jump("p", 1.0, 0.1)}, **rest),
        "chain": bx.Model(states=chain, **seen),
        "law": bx.Model(states=two, transitions={"z": law}, **seen),
        "dotted": bx.Model(
            states=two, transitions={"z": law}, reward=0.0, terminal=lambda z: 1.0 * z, discount=1.0, horizon=1
        ),
    }
    m, at = models[source], {"w": 1.0} if source in ("shock", "jump") else {"z": 0}
    value = lambda p: bx.solve(m, {"p": p}).value(0, **at)  # noqa: E731
    np.testing.assert_allclose(jitted(jax.grad(value))(0.0), 1.0, rtol=1e-6)


@pytest.mark.long
def test_an_ar1_without_a_spread_does_not_move_with_it_to_one_side():
    m = bx.Model(
        states={"x": bx.Continuous(-3.0, 3.0), "z": bx.AR1(0.6, "sigma")},
        transitions={"x": lambda x, z: 0.5 * x + z},
        reward=lambda x: -(x**2),
        discount=0.9,
        horizon=3,
    )
    for count in (4, 7):
        solver = bx.solvers.BackwardInduction(grid={"x": 21, "z": count})
        value = lambda s: bx.solve(m, {"sigma": s}, solver).value(0, x=0.5, z=0.0)  # noqa: B023, E731
        assert abs(jax.grad(value)(0.0)) < 1e-12


def test_a_parameter_that_moves_no_choice():
    """It is added to the reward, or to what stopping pays: V moves with it, the policy does not."""
    m = bx.Model(
        states={"w": bx.Continuous(0.5, 4.0)},
        actions={"c": bx.Continuous(0.1, "w")},
        transitions={"w": lambda w, c: w - c + 1.0},
        reward=lambda c, u: jnp.log(c) + u,
        stop=lambda w, u: 3 * u - 100.0,
        discount=0.9,
        horizon=3,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 8})
    value = lambda u: bx.solve(m, {"u": u}, solver).value(0, w=2.0)  # noqa: E731
    policy = lambda u: bx.solve(m, {"u": u}, solver).policy(0, w=2.0)["c"]  # noqa: E731
    np.testing.assert_allclose(jax.grad(value)(0.3), 1 + 0.9 + 0.81, rtol=1e-12)
    np.testing.assert_allclose(jax.grad(policy)(0.3), 0.0, atol=1e-12)


def test_a_failed_solve_has_no_derivative(jitted):
    few = bx.maximise.Enumerate(grid={"c": 5})
    solver = bx.solvers.ValueIteration(grid={"w": 6}, maximiser=few, max_steps=3)

    def value(discount, growth):
        return bx.solve(MODELS[None], {**params(), "discount": discount, "growth": growth}, solver).value(w=W, z=Z)

    both = jitted(jax.value_and_grad(value, argnums=(0, 1)))
    for discount in (1.1, 0.9):  # explosive; not converged
        assert np.isnan(np.stack(jax.tree.leaves(both(discount, 1.03)))).all()
