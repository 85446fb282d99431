"""Models on which a solver could be wrong and say nothing, each with a value that bellax did not compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

HERMITE, LINEAR = bx.interpolants.Hermite, bx.interpolants.Linear


# -- policies under which paths leave the grid faster than they are discounted ----------------------------------------


@pytest.fixture(scope="module")
def regulator():
    """x' = growth x + a + .1 z, cost x^2 + a^2, on a grid so narrow that a policy at a bound leaves it at once."""
    return bx.Model(
        states={"x": bx.Continuous(-2.0, 2.0)},
        actions={"a": bx.Continuous(-10.0, 10.0)},
        shocks={"z": bx.shocks.Normal()},
        transitions={"x": lambda x, a, z, growth: growth * x + a + 0.1 * z},
        reward=lambda x, a: -(x**2 + a**2),
    )


def riccati(growth, discount=0.95, sd=0.1):
    """V(0) = -d and V(1) = -(p + d) of the regulator, by iterating p = 1 + b g^2 p / (1 + b p)."""
    p = 0.0
    for _ in range(2000):
        p = 1 + discount * growth**2 * p / (1 + discount * p)
    return p, discount * p * sd**2 / (1 - discount)


@pytest.mark.parametrize(
    ("steps", "interpolant", "error"),
    [
        (None, HERMITE(), 1e-3),
        (20, HERMITE(), 1e-3),
        pytest.param(None, HERMITE("linear"), 1e-3, marks=pytest.mark.long),
        (20, HERMITE("extend"), 1e-9),
        (None, LINEAR(), 0.02),
        pytest.param(20, LINEAR("linear"), 0.02, marks=pytest.mark.long),
    ],
)
def test_policies_that_leave_the_grid(regulator, steps, interpolant, error):
    solver = bx.solvers.PolicyIteration(evaluation_steps=steps, interpolant=interpolant, grid={"x": 60})
    for growth in (1.2, 0.7):
        solution = bx.solve(regulator, {"growth": growth, "discount": 0.95}, solver)
        p, d = riccati(growth)
        np.testing.assert_allclose(solution.value(x=[0.0, 1.0]), [-d, -p - d], rtol=0, atol=error * (p + d))


def test_two_states_that_leave_the_grid():
    model = bx.Model(
        states={"x": bx.Continuous(-2.0, 2.0), "y": bx.Continuous(-2.0, 2.0)},
        actions={"a": bx.Continuous(-10.0, 10.0)},
        transitions={"x": lambda x, a: 1.2 * x + a, "y": lambda y, x: 0.5 * y + 0.2 * x},
        reward=lambda x, y, a: -(x**2 + y**2 + a**2),
        discount=0.9,
    )
    A, B, Q, P = np.array([[1.2, 0.0], [0.2, 0.5]]), np.array([[1.0], [0.0]]), np.eye(2), np.zeros((2, 2))
    for _ in range(500):
        gain = np.linalg.solve(np.eye(1) + 0.9 * B.T @ P @ B, 0.9 * B.T @ P @ A)
        P = Q + 0.9 * A.T @ P @ A - 0.9 * A.T @ P @ B @ gain
    solution = bx.solve(model, {}, bx.solvers.PolicyIteration(grid={"x": 12, "y": 12}, interpolant=HERMITE("extend")))
    for x in (np.array([0.5, -0.5]), np.array([1.0, 1.0])):
        assert float(solution.value(x=x[0], y=x[1])) == pytest.approx(-x @ P @ x, rel=1e-8)


# -- values that grow by their own extrapolation ----------------------------------------------------------------------


def saver(constrained):
    """Log consumption out of wealth that outgrows its grid: w' = 1.05 (w - c) + .6, sixty periods."""
    return bx.Model(
        states={"w": bx.Continuous(0.5, 4.0)},
        actions={"c": bx.Continuous(0.01, 4.0 if constrained else "w")},
        constraints={"budget": lambda w, c: c <= w} if constrained else {},
        transitions={"w": lambda w, c: 1.05 * (w - c) + 0.6},
        reward=lambda c: jnp.log(c),
        horizon=60,
        discount=0.96,
    )


WEALTH = np.array([1.0, 2.0, 3.5])
SAVED = np.array([-10.754757, -8.972927, -6.536468])  # c_0 = (w + present value of income) / sum of discounts


@pytest.mark.parametrize(
    ("candidates", "interpolant"), [(10, LINEAR()), (10, HERMITE()), (10, LINEAR("constant")), (20, LINEAR())]
)
@pytest.mark.long
def test_no_bubble_on_a_staircase(candidates, interpolant):
    maximiser = bx.maximise.Enumerate(grid={"c": candidates})
    solver = bx.solvers.BackwardInduction(grid={"w": 400}, interpolant=interpolant, maximiser=maximiser)
    solution = bx.solve(saver(True), {}, solver)
    value = np.asarray(solution.value(period=0, w=WEALTH))
    assert np.all(value <= SAVED + 0.01)
    followed = bx.simulate(solution, start={"w": WEALTH}).present_value()
    np.testing.assert_allclose(value, followed, rtol=0, atol=0.07 if isinstance(interpolant, HERMITE) else 0.05)


@pytest.mark.parametrize(("interpolant", "below"), [(HERMITE(), 5e-3), (LINEAR(), 0.06)])
def test_no_bubble_where_v_is_smooth(interpolant, below):
    solver = bx.solvers.BackwardInduction(grid={"w": 100}, interpolant=interpolant)
    solution = bx.solve(saver(False), {}, solver)
    value = np.asarray(solution.value(period=0, w=WEALTH))
    assert np.all(value <= SAVED + 1e-3) and np.all(value >= SAVED - below)
    followed = bx.simulate(solution, start={"w": WEALTH}).present_value()
    np.testing.assert_allclose(value, followed, rtol=0, atol=0.05)
    assert "leaves the grid above w" in str(solution)
    assert 0 < float(solution.stats["above:w"]) < 60 * 100 and float(solution.stats["below:w"]) == 0


@pytest.mark.parametrize("maximiser", [None, bx.maximise.Enumerate(grid={"c": 100})])
def test_wealth_that_outgrows_every_grid(maximiser, caplog):
    model = bx.Model(
        states={"a": bx.Continuous(0.1, 10.0)},
        actions={"c": bx.Continuous(1e-4, "a")},
        transitions={"a": lambda a, c: 1.05 * (a - c)},
        reward=lambda c: jnp.log(c),
        discount=0.98,
    )
    caplog.set_level("INFO", "bellax")
    solution = bx.solve(model, {}, bx.solvers.PolicyIteration(maximiser=maximiser, grid={"a": 60}))
    assert float(solution.value(a=9.0)) < -15.7007 + 0.01  # the truth: c = .02 a
    assert "leaves the grid above a" in str(solution) and "leaves the grid above a" in caplog.text
    with pytest.raises(bx.SolveError, match="leaves the grid above a at"):
        bx.solve(model, {}, bx.solvers.ValueIteration(maximiser=maximiser, grid={"a": 60}, max_steps=300))


@pytest.mark.long
def test_evaluation_knows_how_v_bends_off_the_grid():
    """Newton's method on V = T V: the error squares. With the bend held fixed it took 46 steps."""
    model = bx.Model(
        states={"w": bx.Continuous(0.5, 20.0, scale=bx.scales.log)},
        actions={"c": bx.Continuous(0.01, "w")},
        shocks={"z": bx.shocks.Normal()},
        transitions={"w": lambda w, c, z: (w - c) * jnp.exp(0.03 + 0.15 * z) + 0.3},
        reward=lambda c: -(c**-2.0) / 2,
        discount=0.95,
    )
    solution = bx.solve(model, {}, bx.solvers.PolicyIteration(grid={"w": 20}))
    assert float(solution.stats["above:w"]) > 0 and int(solution.stats["steps"]) <= 12


# -- nothing left to gain ---------------------------------------------------------------------------------------------


def store(horizon=np.inf):
    """v' = v - x, reward p min(x, cap): from 5 the store sells 2, 2 and 1."""
    return bx.Model(
        states={"v": bx.Continuous(0.0, 10.0)},
        actions={"x": bx.Continuous(0.0, "v")},
        transitions={"v": lambda v, x: v - x},
        reward=lambda x, p, cap=2.0: p * jnp.minimum(x, cap),
        horizon=horizon,
        discount=0.95,
    )


SOLD = 2 * (1 + 0.95) + 0.95**2


@pytest.fixture(scope="module")
def sell():
    return bx.compile(store())


@pytest.mark.long
def test_a_value_of_zero_converges(sell):
    prices = jnp.linspace(0.5, 1.5, 3)
    value = jax.vmap(lambda p: sell({"p": p}).value(v=jnp.asarray([0.0, 5.0])))(prices)
    np.testing.assert_allclose(value[:, 0], 0.0, atol=1e-12)
    np.testing.assert_allclose(value[:, 1], SOLD * prices, rtol=1e-9)


@pytest.mark.long
def test_many_magnitudes_converge_everywhere():
    """U = -c^-5 out of w' = 1.02 (w - c): V = -A w^-5 spans twenty orders of magnitude."""
    model = bx.Model(
        states={"w": bx.Continuous(1e-2, 1e2, scale=bx.scales.log)},
        actions={"c": bx.Continuous(0.0, "w")},
        transitions={"w": lambda w, c: 1.02 * (w - c)},
        reward=lambda c: -(c**-5.0),
        discount=0.95,
    )
    share = 1 - (0.95 * 1.02**-5) ** (1 / 6)
    w = np.array([0.05, 1.0, 20.0])
    solution = bx.solve(model, {}, bx.solvers.PolicyIteration(grid={"w": 400}, interpolant=HERMITE("extend")))
    np.testing.assert_allclose(solution.policy(w=w)["c"], share * w, rtol=2e-3)
    np.testing.assert_allclose(solution.value(w=w), -(share**-6.0) * w**-5, rtol=2e-3)


# -- kinks ------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_derivatives_at_a_kink(sell, jitted):
    finite = bx.compile(store(3))
    by_cap = 1 + 0.95 - 2 * 0.95**2

    def now(x):
        found = finite({"p": x[0], "cap": x[2]})
        return jnp.stack([found.value(period=0, v=x[1]), found.policy(period=0, v=5.0)["x"]])

    def ever(x):
        return sell({"p": x[0], "cap": x[2]}).value(v=x[1])

    at = jnp.array([1.0, 5.0, 2.0])
    slopes, followed = jitted(jax.jacrev(now))(at)
    for found in (slopes, jitted(jax.grad(ever))(at)):
        np.testing.assert_allclose(found, [SOLD, 0.95**2, by_cap], rtol=3e-6)
    np.testing.assert_allclose(followed[jnp.array([0, 2])], [0.0, 1.0], atol=3e-6)


@pytest.mark.long
def test_a_kink_of_one_action_of_two_is_no_noise():
    """Off the kink derivatives are right; at it they are right or NaN, and never large."""
    model = bx.Model(
        states={"v": bx.Continuous(0.0, 10.0)},
        actions={"x": bx.Continuous(0.0, "v"), "y": bx.Continuous(0.0, 1.0)},
        transitions={"v": lambda v, x: v - x},
        reward=lambda x, y, p: p * jnp.minimum(x, 2.0) - (y - p) ** 2,
        horizon=2,
        discount=0.95,
    )
    solver = bx.solvers.BackwardInduction(grid={"v": 30}, maximiser=bx.maximise.Newton(grid={"x": 11, "y": 5}))
    slope = jax.grad(lambda p: bx.solve(model, {"p": p}, solver).value(period=0, v=3.0))(0.5)
    assert np.isnan(slope) or float(slope) == pytest.approx(2 + 0.95, rel=1e-5)


# -- what cannot converge ---------------------------------------------------------------------------------------------


def test_a_discount_above_one_does_not_hold_up_the_others(regulator):
    run = bx.compile(regulator, bx.solvers.PolicyIteration(grid={"x": 20}))
    solutions = jax.vmap(lambda b: run({"growth": 0.7, "discount": b}))(jnp.asarray([0.9, 1.2, 0.95]))
    assert [bx.Result(int(code)).name for code in solutions.code] == ["successful", "nonfinite", "successful"]
    assert int(solutions.stats["steps"][1]) == 0
    values = jax.vmap(lambda s: s.value(x=1.0))(solutions)
    assert np.isnan(values[1])
    assert float(values[0]) == pytest.approx(-sum(riccati(0.7, 0.9)), rel=1e-2)


# -- at the end of the grid -------------------------------------------------------------------------------------------


def test_an_optimum_that_stops_at_the_end_is_counted():
    """a' = 1.05 (a - c): with straight lines between nodes the best action stops at the last one, at a kink of V."""
    model = bx.Model(
        states={"a": bx.Continuous(0.1, 10.0)},
        actions={"c": bx.Continuous(1e-6, "a")},
        transitions={"a": lambda a, c: 1.05 * (a - c)},
        reward=lambda c: jnp.log(c),
        terminal=lambda a: 50 * jnp.log(a),
        discount=0.98,
        horizon=3,
    )
    found = bx.solve(model, {}, bx.solvers.BackwardInduction(grid={"a": 30}, interpolant=bx.interpolants.Linear()))
    assert found.stats["above:a"] > 0 and found.stats["below:a"] == 0 and "leaves the grid above a" in str(found)


def test_bounds_that_only_rounding_crosses():
    """A tank of 10 that is never filled beyond: at its last node 10 - x is -1.8e-15, and nothing leaves."""
    tank = bx.Model(
        states={"x": bx.Continuous(0.0, 10.0)},
        actions={"a": bx.Continuous(0.0, lambda x: 10 - x)},
        transitions={"x": lambda x, a: 0.9 * (x + a)},
        reward=lambda x, a: -((x - 5) ** 2) - a,
        discount=0.9,
        horizon=3,
    )
    found = bx.solve(tank, {}, bx.solvers.BackwardInduction(grid={"x": 100}))
    assert np.isfinite(found.values.levels).all() and found.stats["above:x"] == 0
    assert found.policy(period=0, x=10.0)["a"] == 0
