"""`ILQG` beside Riccati equations in numpy, and beside searches by scipy over a whole path."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import bellax as bx
from bellax.models import liquidation, lqg
from bellax.solvers import ILQG

RNG = np.random.default_rng(3)
POINTS = RNG.uniform(-1.9, 1.9, (40, 2))
AT = {"position": POINTS[:, 0], "velocity": POINTS[:, 1]}


@pytest.fixture(scope="module")
def regulated():
    return bx.solve(lqg.model, lqg.params, ILQG())


@pytest.fixture(scope="module")
def steady():
    return bx.solve(lqg.stationary, lqg.stationary_params, ILQG())


# -- linear-quadratic --------------------------------------------------------------------------------------------------


def test_a_finite_horizon_is_the_riccati_equation_at_every_state(regulated):
    exact = lqg.regulator(lqg.HORIZON)
    for t in range(lqg.HORIZON):
        expected = lqg.quadratic(exact.value_matrix[t], exact.constant[t], POINTS)
        np.testing.assert_allclose(regulated.value(t, **AT), expected, rtol=1e-11)
        np.testing.assert_allclose(regulated.policy(t, **AT)["force"], -POINTS @ exact.gain[t][0], atol=1e-11)
    assert abs(float(regulated.stats["value_gap"])) < 1e-12


def test_without_end_it_is_the_stationary_riccati_equation(steady):
    exact = lqg.regulator(None)
    np.testing.assert_allclose(
        steady.value(**AT), lqg.quadratic(exact.value_matrix, exact.constant, POINTS), rtol=1e-10
    )
    np.testing.assert_allclose(steady.policy(**AT)["force"], -POINTS @ exact.gain[0], atol=1e-10)
    p = lqg.params
    law = np.array([[1.0, p["step"]], [-p["step"] * p["spring"], 1.0]]) - np.array([[0.0], [p["step"]]]) @ exact.gain
    size = np.sqrt(p["discount"]) * np.abs(np.linalg.eigvals(law)).max()
    np.testing.assert_allclose(float(steady.stats["radius"]), size, rtol=1e-8)


def scaled(horizon):
    """A state that noise multiplies, and a random discount: V is quadratic, and noise changes what is done."""
    return bx.Model(
        states={"x": bx.Continuous(-2.0, 2.0), "z": bx.AR1("rho", 0.3)},
        actions={"u": bx.Continuous()},
        shocks={"e": bx.shocks.Normal(), "d": bx.shocks.Categorical(values=[0.85, 0.95])},
        transitions={"x": lambda x, u, z, e: x + z + u * (1 + 0.5 * e) + 0.2 * e},
        reward=lambda x, u, z: -(x**2) - 0.5 * u**2 + 0.3 * x * z + 0.1 * u,
        terminal=None if horizon == np.inf else (lambda x: -3 * x**2),
        discount=lambda d: d,
        horizon=horizon,
    )


def by_hand(horizon, rho=0.6):
    """V(y) = y'P y / 2 of y = (x, z, 1), and the gain, by dynamic programming in numpy."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    P = np.diag([-6.0, 0.0, 0.0]) if horizon < np.inf else np.zeros((3, 3))
    reward = np.array([[-2.0, 0.3, 0, 0], [0.3, 0, 0, 0], [0, 0, 0, 0.1], [0, 0, 0.1, -1.0]])
    for _ in range(int(min(horizon, 3000))):
        Q = reward.copy()
        for e, weight in zip(nodes, weights / weights.sum(), strict=True):
            law = np.array([[1, 1, 0.2 * e, 1 + 0.5 * e], [0, rho, 0, 0], [0, 0, 1.0, 0]])
            Q += 0.9 * weight * law.T @ P @ law
        Q[2, 2] += 0.9 * P[1, 1] * 0.3**2  # the innovation of z
        K = -Q[3, :3] / Q[3, 3]
        P = Q[:3, :3] + np.outer(Q[:3, 3], K)
    return P, K


@pytest.mark.parametrize("horizon", [6, np.inf])
@pytest.mark.long
def test_noise_that_multiplies_an_action_is_in_the_policy(horizon):
    solution = bx.solve(scaled(horizon), {"rho": 0.6}, ILQG())
    P, K = by_hand(horizon)
    y = np.stack([POINTS[:, 0], POINTS[:, 1], np.ones(40)])
    when = {} if horizon == np.inf else {"period": 0}
    at = {"x": POINTS[:, 0], "z": POINTS[:, 1]}
    np.testing.assert_allclose(solution.value(**when, **at), 0.5 * np.einsum("in,ij,jn->n", y, P, y), rtol=1e-9)
    np.testing.assert_allclose(solution.policy(**when, **at)["u"], K @ y, atol=1e-10)


# -- other models ------------------------------------------------------------------------------------------------------

SAVING = {"alpha": 0.4, "delta": 0.1, "discount": 0.95}


def output(k, alpha):
    return k**alpha


def keep(output, k, c, delta):
    return output - c + (1 - delta) * k


growth = bx.Model(
    states={"k": bx.Continuous(0.05, 5.0)},
    actions={"c": bx.Continuous(1e-4, "output")},
    functions={"output": output},
    transitions={"k": keep},
    reward=lambda c: jnp.log(c),
    terminal=lambda k: 5 * jnp.log(k),
    horizon=6,
)


def saved(consumed, alpha=0.4, delta=0.1, discount=0.95):
    k, worth = 1.0, 0.0
    for t, c in enumerate(consumed):
        worth, k = worth + discount**t * jnp.log(c), k**alpha - c + (1 - delta) * k
    return worth + discount ** len(consumed) * 5 * jnp.log(k)


def by_scipy(worth, first, bounds=None, constraints=()):
    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(lambda x: -worth(x)))
    found = minimize(
        lambda x: tuple(np.asarray(part, float) for part in both(x)),
        first,
        jac=True,
        bounds=bounds,
        constraints=constraints,
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return -found.fun, found.x


@pytest.mark.long
def test_a_nonlinear_path_is_that_of_a_search_over_all_of_it():
    """And V and the policy move with parameters as differences of solves do, where the path itself moves, too."""

    def solved(given):
        return bx.solve(growth, given, ILQG(start={"k": 1.0}))

    def answers(given):
        solution = solved(given)
        return jnp.stack([solution.value(0, k=1.1), solution.policy(2, k=1.2)["c"], solution.value(3, k=1.0)])

    run = jax.jit(lambda given: (answers(given), jax.jacrev(answers)(given), solved(given)))
    _, exact, solution = run(SAVING)
    worth, consumed = by_scipy(saved, np.full(6, 0.5))
    np.testing.assert_allclose(solution.values.values.level[0], worth, rtol=1e-12)
    np.testing.assert_allclose(solution.values.rules.free[:, 0], consumed, atol=1e-6)
    for name in SAVING:
        above, below = (run(SAVING | {name: SAVING[name] + h})[0] for h in (1e-5, -1e-5))
        np.testing.assert_allclose(exact[name], (above - below) / 2e-5, rtol=1e-6, atol=1e-7)


@pytest.mark.long
def test_growth_without_end_is_its_linearisation():
    """The policy's slope from the eigenvalues of the linearised Euler equation, the steady state in closed form."""
    model = bx.Model(
        states={"k": bx.Continuous(0.5, 60.0)},
        actions={"c": bx.Continuous(1e-4, "wealth")},
        functions={"wealth": lambda k, alpha, delta: k**alpha + (1 - delta) * k},
        transitions={"k": lambda wealth, c: wealth - c},
        reward=lambda c: jnp.log(c),
    )
    params = {"alpha": 0.36, "delta": 0.025, "discount": 0.99}
    alpha, delta, beta = params["alpha"], params["delta"], params["discount"]
    k = (alpha / (1 / beta - 1 + delta)) ** (1 / (1 - alpha))
    c = k**alpha - delta * k
    # c' = c + c beta f''(k') k' with k' = k / beta - c, in deviations
    bend = beta * c * alpha * (alpha - 1) * k ** (alpha - 2)
    law = np.array([[1 / beta, -1.0], [bend / beta, 1 - bend]])
    values, vectors = np.linalg.eig(law)
    stable = vectors[:, np.argmin(np.abs(values))]

    def answers(given):
        solution = bx.solve(model, given, ILQG())
        point = solution.policy(k=1.01 * k)["c"]
        return point, jax.grad(lambda at: solution.policy(k=at)["c"])(k), solution.value(k=0.9 * k)

    run = jax.jit(lambda given: (answers(given), jax.jacfwd(answers)(given)))
    (near, slope, _), exact = run(params)
    np.testing.assert_allclose(slope, stable[1] / stable[0], rtol=1e-8)
    np.testing.assert_allclose(near, c + 0.01 * k * stable[1] / stable[0], rtol=1e-9)
    for name in ("alpha", "discount"):
        above, below = (run(params | {name: params[name] + h})[0] for h in (1e-6, -1e-6))
        for place in (0, 2):
            difference = (above[place] - below[place]) / 2e-6
            np.testing.assert_allclose(exact[place][name], difference, rtol=1e-6)


def test_without_end_it_is_found_in_single_precision(steady):
    """What counts as nothing is what rounding leaves: of 64 bits it would never be reached."""
    script = (
        "import bellax as bx\n"
        "from bellax.models import lqg\n"
        "found = bx.solve(lqg.stationary, lqg.stationary_params, bx.solvers.ILQG())\n"
        "print(found.result.name, found.code.dtype, found.value(**lqg.start).dtype, float(found.value(**lqg.start)))\n"
    )
    env = {**os.environ, "JAX_ENABLE_X64": "0", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=300)
    result, _, dtype, value = done.stdout.split() or [done.stderr] * 4
    assert (result, dtype) == ("successful", "float32")
    assert float(value) == pytest.approx(float(steady.value(**lqg.start)), rel=1e-5)


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_bounds_that_bind_and_move_with_the_state():
    """Two assets, of which one has a signal not to sell and the other one to sell at once."""
    begin = {"inventory": np.array([0.5, 0.6]), "signal": np.array([-0.9, 0.9])}
    given = liquidation.calibration(2)
    solution = bx.solve(liquidation.constrained(2), given, ILQG(start=begin))
    b = given["loading"]

    def earned(sold):
        q, p, total = jnp.asarray(begin["inventory"]), jnp.asarray(begin["signal"]), 0.0
        for v in sold.reshape(10, 2):
            total = total + jnp.sum(v * p - 2 * v**2) - 0.02 * jnp.sum(b * q) ** 2
            q, p = q - v, 0.7 * p
        return total + jnp.sum(q * p - 8 * q**2)

    left = {"type": "ineq", "fun": lambda v: begin["inventory"] - v.reshape(10, 2).sum(axis=0)}
    _, best = by_scipy(earned, np.full(20, 0.03), [(0.0, None)] * 20, left)
    q, p, sold = begin["inventory"], begin["signal"], []
    for t in range(10):
        sold.append(np.asarray(solution.policy(t, inventory=q, signal=p)["sold"]))
        q, p = q - sold[-1], 0.7 * p
    np.testing.assert_allclose(np.ravel(sold), best, atol=2e-6)
    assert sold[0][0] == 0.0


@pytest.mark.long
def test_a_bound_that_names_another_action():
    """A curved budget: what is spent on y is at most the root of what the first action leaves."""
    model = bx.Model(
        states={"x": bx.Continuous(0.1, 5.0)},
        actions={"a": bx.Continuous(0.0, "x"), "y": bx.Continuous(0.0, lambda x, a: jnp.sqrt(1 + x - a))},
        transitions={"x": lambda x, a: 1.1 * (x - a) + 0.1},
        reward=lambda a, y: jnp.sqrt(0.1 + a) + 2 * y - 0.1 * y**2,
        terminal=lambda x: jnp.log(1 + x),
        horizon=3,
    )

    def worth(a, bound):
        x, total = 2.0, 0.0
        for t in range(3):
            y = bound(1 + x - a[t])
            total, x = total + 0.9**t * (jnp.sqrt(0.1 + a[t]) + 2 * y - 0.1 * y**2), 1.1 * (x - a[t]) + 0.1
        return total + 0.9**3 * jnp.log(1 + x)

    solution = bx.solve(model, {"discount": 0.9}, ILQG(start={"x": 2.0}))
    best, a = by_scipy(lambda a: worth(a, jnp.sqrt), np.full(3, 0.3), [(0.0, 1.0)] * 3)
    np.testing.assert_allclose(solution.value(0, x=2.0), best, rtol=1e-10)
    found = solution.policy(0, x=2.0)
    np.testing.assert_allclose([found["a"], found["y"]], [a[0], np.sqrt(3 - a[0])], atol=1e-5)
    step = 1e-4
    both = [bx.solve(model, {"discount": 0.9}, ILQG(start={"x": 2.0 + h})).value(0, x=2.0 + h) for h in (step, -step)]
    curved = (both[0] - 2 * solution.value(0, x=2.0) + both[1]) / step**2
    np.testing.assert_allclose(jax.hessian(lambda x: solution.value(0, x=x))(2.0), curved, rtol=1e-4)


# -- what solutions can do ---------------------------------------------------------------------------------------------


def test_it_is_simulated_and_kept_in_files(regulated, steady, tmp_path):
    panel = bx.simulate(regulated, agents=4000, start={"position": 1.0, "velocity": 0.0}, seed=1)
    earned = np.sum(0.95 ** np.arange(20) * np.asarray(panel.reward), axis=1)
    earned = earned + 0.95**20 * np.asarray(panel.final_value)
    error = earned.std() / np.sqrt(len(earned))
    assert abs(earned.mean() - float(regulated.value(0, position=1.0, velocity=0.0))) < 4 * error
    for solution, model, when in ((regulated, lqg.model, {"period": 3}), (steady, lqg.stationary, {})):
        bx.save(solution, tmp_path / "kept.nc")
        again = bx.load(tmp_path / "kept.nc", model)
        np.testing.assert_array_equal(again.value(**when, **AT), solution.value(**when, **AT))
        np.testing.assert_array_equal(again.policy(**when, **AT)["force"], solution.policy(**when, **AT)["force"])


def test_what_v_leaves_out_is_told():
    """Prudence: V along the mean path is above what is earned, and by what simulation says."""
    model = bx.Model(
        states={"w": bx.Continuous(0.1, 10.0)},
        actions={"c": bx.Continuous(1e-3, "w")},
        shocks={"e": bx.shocks.Normal()},
        transitions={"w": lambda w, c, e: (w - c) * jnp.exp(0.3 * e - 0.045) + 1.0 + 0.2 * e},
        reward=lambda c: -1 / (0.5 + c),
        terminal=lambda w: -2 / (0.5 + w),
        horizon=4,
    )
    solution = bx.solve(model, {"discount": 0.95}, ILQG(start={"w": 2.0}))
    panel = bx.simulate(solution, agents=40_000, start={"w": 2.0}, seed=2)
    earned = np.sum(0.95 ** np.arange(4) * np.asarray(panel.reward), axis=1) + 0.95**4 * np.asarray(panel.final_value)
    gap, error = (float(solution.stats[name]) for name in ("value_gap", "value_gap_error"))
    difference = float(solution.value(0, w=2.0)) - earned.mean()
    assert abs(gap - difference) < 4 * (error + earned.std() / 200)
    assert abs(difference) > 1e-4


def test_a_saddle_is_left_for_what_is_better():
    """Doing nothing is a minimum between two maxima."""
    model = bx.Model(
        states={"x": bx.Continuous(-3.0, 3.0)},
        actions={"u": bx.Continuous(-5.0, 5.0)},
        transitions={"x": lambda x, u: x + u},
        reward=lambda x, u: -(x**2) + u**2 - u**4,
        horizon=3,
    )
    solution = bx.solve(model, {"discount": 0.9}, ILQG(start={"x": 0.0}))

    def worth(u):
        x, total = 0.0, 0.0
        for t in range(3):
            total, x = total + 0.9**t * (-(x**2) + u[t] ** 2 - u[t] ** 4), x + u[t]
        return total

    best = max(by_scipy(worth, np.array(first))[0] for first in ([0.5, -0.5, 0.5], [-0.5, 0.5, 0.5], [0.5, 0.5, 0.5]))
    np.testing.assert_allclose(solution.value(0, x=0.0), best, rtol=1e-9)


def test_the_value_in_a_period_that_is_traced():
    """After the last decision it is the model's own, and beyond that there is none."""
    given, start = liquidation.calibration(1), liquidation.beginning(1)
    found = bx.solve(liquidation.liquidation(1), given, ILQG(start=start))
    at = {"inventory": np.array([0.5]), "signal": np.array([0.1])}
    traced = jax.jit(lambda period: found.value(period=period, **at))
    for period in (0, 9, 10):
        assert float(traced(period)) == pytest.approx(float(found.value(period=period, **at)), abs=1e-12)
    assert float(traced(10)) == pytest.approx(0.5 * 0.1 - 8 * 0.5**2, abs=1e-12)
    assert np.isnan(float(traced(11)))
