"""Continuous time on nodes: closed forms, derivatives beside differences, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.numerics import sparse
from bellax.numerics.generator import Generator, Pattern, rates


def by(**grid):
    return bx.solvers.FiniteDifference(grid=grid)


# -- the generator -----------------------------------------------------------------------------------------------------


def test_mass_moves_along_the_transpose():
    """A line and a chain, beside the dense matrix."""
    rng = np.random.default_rng(0)
    pattern = Pattern((4, 3), (0,), (1,))
    up, down = rng.uniform(0.0, 2.0, (2, 4, 3))
    up[-1], down[0] = 0.0, 0.0
    intensity = rng.uniform(0.0, 1.0, (3, 3))
    intensity -= np.diag(intensity.sum(axis=1))
    generator = Generator(pattern, (jnp.asarray(up),), (jnp.asarray(down),), (jnp.asarray(intensity),))
    dense = np.zeros((12, 12))
    dense[pattern.entries] = -np.asarray(generator.values(jnp.zeros(())))
    np.testing.assert_allclose(dense.sum(axis=1), 0.0, atol=1e-14)
    value = rng.normal(size=(4, 3))
    np.testing.assert_allclose(generator.apply(jnp.asarray(value)).ravel(), dense @ value.ravel(), atol=1e-13)
    np.testing.assert_allclose(generator.push(jnp.asarray(value)).ravel(), dense.T @ value.ravel(), atol=1e-13)


def test_a_factor_serves_its_own_matrix_alone(monkeypatch):
    """Also where two matrices have one hash."""
    monkeypatch.setattr(sparse, "hash", lambda _: 0, raising=False)
    pattern, right = Pattern((3,), (0,), ()), jnp.asarray([1.0, 2.0, 4.0])
    for speed in (1.0, 2.0):
        up, down = jnp.asarray([speed, speed, 0.0]), jnp.asarray([0.0, 1.0, 1.0])
        generator = Generator(pattern, (up,), (down,), ())
        dense = np.diag(up[:-1], 1) + np.diag(down[1:], -1) - np.diag(up + down)
        found = sparse.solve(generator, jnp.asarray(0.1), right)
        np.testing.assert_allclose(found, np.linalg.solve(0.1 * np.eye(3) - dense, right), rtol=1e-12)


def test_rates_are_monotone_and_have_the_mean():
    drift = jnp.asarray([1.0, -1.0, 0.3, -0.3, 0.0])
    variance = jnp.asarray([0.0, 0.0, 1.0, 1.0, 1.0])
    below, above = jnp.full(5, 0.2), jnp.full(5, 0.5)
    up, down = rates(drift, variance, below, above)
    assert np.min(up) >= 0 and np.min(down) >= 0
    np.testing.assert_allclose(up * above - down * below, drift, atol=1e-15)
    np.testing.assert_allclose((up * above**2 + down * below**2)[2:], variance[2:], atol=1e-15)


# -- closed forms ------------------------------------------------------------------------------------------------------


def uneven(low, high, count):
    """Nodes that are denser in the middle."""
    share = np.linspace(-1.0, 1.0, count)
    return bx.grids.Given(0.5 * (low + high) + 0.5 * (high - low) * np.sinh(2 * share) / np.sinh(2.0))


OU = bx.DiffusionModel(
    states={"x": bx.Continuous(-2.0, 2.0)},
    reward=lambda x: -(x**2),
    drift={"x": lambda x, kappa: -kappa * x},
    diffusion={"x": "sigma"},
    boundary={"x": bx.Reflecting()},
)
NUMBERS = {"kappa": 0.5, "sigma": 0.2, "discount": 0.05}


@pytest.mark.parametrize("grid", [bx.grids.Regular(121), uneven(-2.0, 2.0, 121)], ids=["even", "uneven"])
def test_a_quadratic_of_an_ornstein_uhlenbeck_process(grid):
    """V = -x^2/(r + 2 kappa) - sigma^2/(r (r + 2 kappa)), of which three nodes make no error."""
    solution = bx.solve(OU, NUMBERS, by(x=grid))
    nodes = np.asarray(solution.nodes()["x"])
    inner = nodes[np.abs(nodes) < 1.0]
    exact = -(inner**2) / 1.05 - 0.04 / (0.05 * 1.05)
    np.testing.assert_allclose(solution.value(x=inner), exact, atol=1e-7)
    assert np.isnan(solution.value(x=2.1))


def test_a_linear_firm_takes_the_right_root():
    """V = 4k/3 + 10/9 and i = 1/3; the other root of its quadratic equation has V_k = 1.7."""
    firm = bx.DiffusionModel(
        states={"k": bx.Continuous(0.0, 5.0)},
        actions={"i": bx.Continuous()},
        policy={"i": lambda marginal_k: marginal_k - 1},
        reward=lambda k, i: 0.2 * k - i - i**2 / 2,
        drift={"k": lambda k, i: i - 0.1 * k},
        discount=0.05,
        boundary={"k": bx.StateConstraint()},
    )
    solution = bx.solve(firm, {}, by(k=41))
    k = np.linspace(0.0, 5.0, 23)
    np.testing.assert_allclose(solution.value(k=k), 4 * k / 3 + 10 / 9, atol=1e-8)
    np.testing.assert_allclose(solution.policy(k=k)["i"], 1 / 3, atol=1e-8)
    np.testing.assert_allclose(solution.flows(k=k)["k"], 1 / 3 - 0.1 * k, atol=1e-8)


# -- one firm, and what is wrong with others ---------------------------------------------------------------------------


def investing(**changes):
    """Adjustment costs, and a productivity that reverts."""
    statement = {
        "states": {"k": bx.Continuous(0.2, 5.0, scale=bx.scales.log), "z": bx.Continuous(-1.0, 1.0)},
        "actions": {"investment": bx.Continuous()},
        "policy": {"investment": lambda k, marginal_k, theta: k * (marginal_k - 1) / theta},
        "reward": lambda k, z, investment, theta, alpha: (
            jnp.exp(z) * k**alpha - investment - theta * investment**2 / (2 * k)
        ),
        "drift": {"k": lambda k, investment, delta: investment - delta * k, "z": lambda z: -0.5 * z},
        "diffusion": {"z": "sigma"},
        "discount": "r",
        "boundary": {"k": bx.StateConstraint(), "z": bx.Reflecting()},
    }
    return bx.DiffusionModel(**(statement | changes))


FIRM = {"theta": 2.0, "alpha": 0.35, "delta": 0.1, "sigma": 0.2, "r": 0.05}
SMALL = by(k=bx.grids.Regular(25), z=11)


def test_derivatives_are_those_of_differences(with_value):
    model = investing()

    def of(delta):
        solution = bx.solve(model, {**FIRM, "delta": delta}, SMALL)
        return solution.value(k=1.3, z=0.1), solution.policy(k=1.3, z=0.1)["investment"]

    for place in (0, 1):
        run = jax.jit(lambda delta, place=place: of(delta)[place])
        central = (run(0.1001) - run(0.0999)) / 2e-4
        np.testing.assert_allclose(jax.jit(jax.grad(run))(0.1), central, rtol=2e-5)


@pytest.mark.parametrize(
    ("changes", "params", "words"),
    [
        ({"boundary": {"z": bx.Reflecting()}}, {"delta": -0.5},
         "drift of 'k' leads outward at its upper edge, and no condition holds there"),
        ({"boundary": {"k": bx.Natural(), "z": bx.Reflecting()}}, {"delta": -0.5},
         r"drift of 'k' leads outward at its upper edge, which is said to be never reached \(bx.Natural\(\)\)"),
        ({}, {"delta": -5.0}, "'k' cannot be kept at its upper edge"),
        ({}, {"sigma": -0.2}, "the diffusion of 'z' is -0.2"),
        ({}, {"r": -0.05}, "the discount is -0.05"),
        ({"policy": {"investment": lambda k, marginal_k, theta: k * (marginal_k - 1) / (1.2 * theta)}}, {},
         "the closed forms of .'investment'. leave the first-order condition by"),
        ({"actions": {"investment": bx.Continuous(-1.0, 0.05)}}, {}, "beyond the bounds of an action"),
        ({"reward": lambda k, z, investment, theta, alpha: (
            jnp.exp(z) * k**alpha - investment + theta * investment**2 / (2 * k)),
          "policy": {"investment": lambda k, marginal_k, theta: k * (1 - marginal_k) / theta}}, {},
         "V is no number somewhere.*a policy that earns without bound"),
        ({"boundary": {"k": bx.StateConstraint()}}, {}, "'z' diffuses at its lower edge, and no condition holds there"),
        ({"boundary": {"k": bx.StateConstraint(), "z": bx.StateConstraint()}}, {}, "no control of the drift"),
        ({"reward": lambda k, z, investment, theta, alpha: jnp.log(k - 1) + 0 * (z + investment + theta + alpha)}, {},
         "V is no number"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_solution(changes, params, words):
    with pytest.raises((bx.SolveError, bx.ParameterError), match=words):
        bx.solve(investing(**changes), {**FIRM, **params}, SMALL)


def test_models_that_are_not_solved():
    with pytest.raises(bx.ModelError, match="'w' is a vector; give each of its numbers a name"):
        bx.solve(bx.DiffusionModel(states={"w": bx.Continuous(0.0, 1.0, shape=(2,))}, reward=0.0, drift={"w": 0.0}), {})


def test_questions_and_options_that_make_no_sense(untyped):
    solution = bx.solve(OU, NUMBERS, by(x=21))
    with pytest.raises(bx.ModelError, match="lacks the states 'x'"):
        solution.value()
    with pytest.raises(bx.ModelError, match="grid: state 'y' is unknown"):
        bx.solve(OU, NUMBERS, by(y=21))
    with pytest.raises(bx.ModelError, match="solves a bx.DiffusionModel, not a Model"):
        bx.solve(bx.Model(reward=1.0, horizon=2), {}, by(x=21))
    with pytest.raises(bx.ModelError, match="of discrete time"):
        bx.solve(OU, NUMBERS, bx.solvers.ValueIteration())
    with pytest.raises(bx.ModelError, match="this is of discrete time, and the model is a bx.DiffusionModel"):
        bx.evaluate(OU, NUMBERS, {})
    with pytest.raises(bx.SolveError, match=r"max_steps=1"):
        bx.solve(investing(), FIRM, replace(SMALL, max_steps=1))


def test_who_asks_for_control_without_end_is_told():
    """V falls in assets, and the closed form takes it to rise: consumption would be endless."""
    model = bx.DiffusionModel(
        states={"assets": bx.Continuous(0.0, 5.0)},
        actions={"consumption": bx.Continuous(1e-6)},
        policy={"consumption": lambda marginal_assets: marginal_assets**-0.5},
        reward=lambda assets, consumption: -1 / consumption - 50 * assets,
        drift={"assets": lambda consumption: 0.1 - consumption},
        discount=0.05,
        boundary={"assets": bx.Reflecting()},
    )
    with pytest.raises(
        bx.SolveError, match="nothing stands for the derivative of V in 'assets' at 30 nodes.*without end"
    ):
        bx.solve(model, {}, by(assets=30))


def test_a_failure_is_one_where_nothing_raises():
    """A closed form that is not the best action: the code says so, and the solution under a transformation is NaN."""
    model = investing(policy={"investment": lambda k, marginal_k, theta: k * (marginal_k - 1) / (1.2 * theta)})
    assert bx.solve(model, FIRM, SMALL, throw=False).result == bx.Result.infeasible
    assert np.isnan(bx.compile(model, SMALL)(FIRM).values.values).all()
