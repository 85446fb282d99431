"""What a refined solve would change, where residuals say nothing of the error, or far too much."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

REGULATED = bx.Model(
    states={"x": bx.Continuous(-1.0, 1.0)},
    actions={"a": bx.Continuous(-9.0, 9.0)},
    shocks={"z": bx.shocks.Normal()},
    transitions={"x": lambda x, a, z: 1.2 * x + a + 0.1 * z},
    reward=lambda x, a: -(x**2) - 30 * a**2,
    discount=0.95,
    horizon=6,
)


def riccati(x):
    p, constant = 0.0, 0.0
    for _ in range(6):
        constant = 0.95 * (constant + 0.01 * p)
        p = 1 + 0.95 * p * 1.44 * 30 / (30 + 0.95 * p)
    return -p * x**2 - constant


def certified(model, params, solver=None, **options):
    solution = bx.solve(model, params, solver)
    return solution, bx.certify(solution, points=300, agents=200, refine=True, **options)


@pytest.fixture(scope="module")
def regulated():
    """Extrapolated by a straight line where shocks lead off the grid, which paths from the middle never do."""
    straight = bx.interpolants.Hermite(extrapolation="linear")
    return certified(REGULATED, {}, bx.solvers.BackwardInduction(grid={"x": 9}, interpolant=straight))


def test_edges_from_which_states_leave_are_in_the_estimate(regulated):
    solution, certificate = regulated
    x = np.linspace(-1.0, 1.0, 201)
    error = np.abs(np.asarray(solution.value(0, x=x)) - riccati(x)).max()
    assert error > 1e-4
    assert error / 10 < certificate.estimate < 10 * error
    assert abs(float(certificate.estimate_at["x"])) > 0.5


def test_there_is_no_bound_where_v_is_a_guess(regulated):
    _, certificate = regulated
    assert np.isnan(certificate.bound)
    assert "bound: none, since next states may lie off the grid" in str(certificate)
    assert f"estimated, by a refined solve: {certificate.estimate:.1e}, at x = " in str(certificate)
    table = certificate.table()
    rows = table["value"][table["quantity"] == "value error, by a refined solve"]
    assert rows.item() == certificate.estimate == certificate.as_dict()["estimate"]


def saving(**more):
    """Growth with full depreciation, whose next state stays on the grid."""
    return bx.Model(
        states={"k": bx.Continuous(0.05, 0.4)},
        actions={"saved": bx.Continuous(0.05, lambda k: 0.9 * k**0.3)},
        transitions={"k": lambda saved: saved},
        reward=lambda k, saved: jnp.log(k**0.3 - saved),
        **more,
    )


def test_a_bound_and_an_estimate_hold_the_error():
    solution, certificate = certified(
        saving(), {"discount": 0.9}, bx.solvers.PolicyIteration(grid={"k": 6}, interpolant=bx.interpolants.Linear())
    )
    k = np.linspace(0.05, 0.4, 301)
    slope = 0.3 / (1 - 0.27)
    exact = slope * np.log(k) + (np.log(1 - 0.27) + 0.9 * slope * np.log(0.27)) / 0.1
    error = np.abs(np.asarray(solution.value(k=k)) - exact).max()
    assert error > 1e-3
    assert error < certificate.bound < 100 * error
    assert error / 10 < certificate.estimate < 10 * error


def test_draws_that_a_kink_needs_are_in_the_estimate():
    """One draws a price and sells or keeps: the mean of the better one has a kink between draws."""
    model = bx.Model(
        states={"price": bx.IID(bx.shocks.Uniform(0.0, 1.0))},
        stop=lambda price: price,
        reward=0.0,
        discount=0.9,
    )
    solution, certificate = certified(model, {}, bx.solvers.ValueIteration(grid={"price": 4}))
    kept = (1 - np.sqrt(1 - 0.81)) / 0.9  # the price at which one is indifferent, c = .9 (1 + c^2) / 2
    error = abs(float(solution.value(price=0.0)) - kept)
    assert error > 1e-3
    assert error / 10 < certificate.estimate < 10 * error


def test_what_a_chain_leaves_out_is_in_the_estimate_and_has_no_bound():
    """The value of an exponential of an AR1 is a sum of lognormal means."""
    model = bx.Model(states={"x": bx.AR1(rho=0.9, sigma=0.2)}, reward=lambda x: jnp.exp(x), horizon=12, discount=0.95)
    solution, certificate = certified(model, {}, bx.solvers.BackwardInduction(grid={"x": 3}))
    x = np.sqrt(2) * 0.2 / np.sqrt(1 - 0.81) * np.array([-1.0, 0.0, 1.0])
    spread = [0.04 * (1 - 0.81**t) / (1 - 0.81) for t in range(12)]
    exact = sum(0.95**t * np.exp(0.9**t * x + spread[t] / 2) for t in range(12))
    error = np.abs(np.asarray(solution.value(0, x=x)) - exact).max()
    assert error > 1e-2
    assert error / 10 < certificate.estimate < 10 * error
    assert np.isnan(certificate.bound) and "bound: none, since residuals do not see what the nodes of x" in str(
        certificate
    )
    assert "shows in the simulated value and the estimate only" in str(certificate)


def test_what_a_maximiser_misses_on_both_grids_is_in_the_estimate():
    """A bonus for a narrow range of actions, between the candidates of either grid."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        actions={"a": bx.Continuous(0.0, 1.0)},
        transitions={"x": lambda x: x},
        reward=lambda x, a: -((a - 0.2) ** 2) + 3.0 * jnp.exp(-(((a - 0.71) / 0.02) ** 2)) + 0.0 * x,
        discount=0.5,
    )
    few = bx.solvers.ValueIteration(grid={"x": 4}, maximiser=bx.maximise.Newton(grid={"a": 2}))
    solution, certificate = certified(model, {}, few)
    error = 2 * 2.74 - float(solution.value(x=0.5))
    assert error > 2.0
    assert certificate.estimate > error / 10


def test_what_is_exact_has_an_estimate_of_rounding():
    model = bx.Model(
        states={"s": bx.Discrete(2)},
        actions={"a": bx.Discrete(2)},
        transitions={"s": lambda a: a},
        reward=lambda s, a: 1.0 * s - 0.5 * a,
        discount=0.9,
    )
    _, certificate = certified(model, {})
    assert certificate.estimate < 1e-12 and certificate.bound < 1e-9


def test_where_there_is_none_the_reason_is_said():
    model, params = saving(horizon=2), {"discount": 0.9}
    first = bx.solve(model, params, bx.solvers.BackwardInduction(grid={"k": 8}))
    ruled = bx.evaluate(model, params, {"saved": lambda k: 0.27 * k**0.3}, bx.solvers.BackwardInduction(grid={"k": 8}))
    given = bx.solve(model, params, bx.solvers.BackwardInduction(grid={"k": 8}), terminal=first)
    for solution, why in ((ruled, "since a rule is followed"), (given, "since V after the last decision was given")):
        certificate = bx.certify(solution, points=50, agents=20, refine=True)
        assert np.isnan(certificate.estimate) and why in certificate.estimate_words
        assert why in str(certificate)
    assert "none was asked for, refine=True" in str(bx.certify(first, points=50, agents=20))


def test_a_finer_grid_that_is_none_has_its_reason():
    """On a wider grid nothing is feasible: the estimate is of the same grid, and says so."""
    model = bx.Model(
        states={"w": bx.Continuous(0.0, 4.0)},
        actions={"c": bx.Continuous(0.0, lambda w: w)},
        shocks={"z": bx.shocks.Normal(0.0, 0.2)},
        transitions={"w": lambda w, c, z: w - c + 0.5 + z},
        reward=lambda c: jnp.sqrt(c + 0.01),
        discount=0.9,
        horizon=3,
    )
    _, certificate = certified(model, {}, bx.solvers.BackwardInduction(grid={"w": 12}))
    assert (
        certificate.estimate > 0
        and "on a grid no wider below w, where no action was found" in certificate.estimate_words
    )


def test_states_of_which_one_grid_knows_nothing_are_told():
    """Beside a node of minus infinity V is so in all of its cell, which is wider on the coarse grid."""
    cake = bx.Model(
        states={"w": bx.Continuous(0.0, 4.0)},
        actions={"c": bx.Continuous(0.0, "w")},
        transitions={"w": lambda w, c: w - c},
        reward=lambda c: jnp.log(c),
        discount=0.9,
        horizon=3,
        terminal=lambda w: jnp.log(w),
    )
    solution, certificate = certified(
        cake, {}, bx.solvers.BackwardInduction(grid={"w": 9}, maximiser=bx.maximise.Newton())
    )
    assert float(solution.value(0, w=0.3)) == -np.inf
    assert np.isfinite(certificate.estimate)
    assert "of the states, where V is a number on one grid alone" in str(certificate)


def test_what_is_no_option():
    solution = bx.solve(REGULATED, {}, bx.solvers.BackwardInduction(grid={"x": 5}))
    with pytest.raises(bx.ParameterError, match="refine is 2; give True, False or 'by source'"):
        bx.certify(solution, refine=2)
    flow = bx.DiffusionModel(
        states={"x": bx.Continuous(0.0, 1.0)},
        reward=lambda x: x,
        drift={"x": lambda x: 0.5 - x},
        diffusion={"x": lambda x: 0.1 * x * (1 - x)},
        discount=0.1,
        boundary={"x": bx.StateConstraint()},
    )
    with pytest.raises(bx.ModelError, match="refine= is of solutions on a grid"):
        bx.certify(bx.solve(flow, {}), refine=True)


def test_each_source_has_its_own_number_and_the_option_that_lowers_it():
    """V = E max(w, 0.5) + ..., of few draws: lines have nothing to do with it."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)},
        shocks={"w": bx.shocks.Uniform()},
        transitions={"x": bx.fixed},
        reward=lambda x, w: x + jnp.maximum(w - 0.37, 0.0),
        horizon=1,
    )
    solver = bx.solvers.BackwardInduction(grid={"x": 5}, quadrature={"w": 4})
    solution = bx.solve(model, {"discount": 1.0}, solver)
    certificate = bx.certify(solution, points=50, agents=20, refine="by source")
    assert set(certificate.sources) == {"x", "draws of shocks"} and certificate.sources["x"] < 1e-12
    truth = abs(float(solution.value(period=0, x=0.5)) - 0.5 - 0.63**2 / 2)
    assert truth / 10 < certificate.sources["draws of shocks"] < 10 * truth
    assert "what lowers the largest: quadrature=" in str(certificate)
    assert "draws of shocks" in certificate.table()["of"].values


def test_several_regimes_have_an_estimate():
    """log of what is left, with V a straight line between few nodes."""
    model = bx.Model(
        regimes={
            "working": bx.Regime(
                states={"wealth": bx.Continuous(0.5, 4.0)},
                actions={"spent": bx.Continuous(0.1, "wealth")},
                transitions={"wealth": lambda wealth, spent: wealth - spent + 1.0},
                reward=lambda spent: jnp.log(spent),
                next_regime=lambda period: {"working": period < 1, "gone": period >= 1},
            ),
            "gone": bx.Terminal(value=lambda wealth: jnp.log(wealth)),
        },
        horizon=2,
    )
    solver = bx.solvers.BackwardInduction(
        grid={"wealth": 6}, interpolant=bx.interpolants.Linear(), maximiser=bx.maximise.Golden(grid={"spent": 30})
    )
    solution = bx.solve(model, {"discount": 1.0}, solver)
    certificate = bx.certify(solution, points=100, agents=20, refine=True)
    wealth = np.linspace(1.0, 4.0, 200)
    exact = 3 * np.log((wealth + 2) / 3)
    truth = np.abs(solution["working"].value(period=0, wealth=wealth) - exact).max()
    assert truth / 3 < certificate.estimate < 10 * truth
    assert certificate.estimate_at["regime"] == "working"
    assert "estimated, by a refined solve" in str(certificate)
    assert "refined solve" not in str(bx.certify(solution, points=50, agents=20))
