"""Numbers that are no answer: under a transformation, on part of a domain, of prices and paths that are not told."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.errors import ModelError, ParameterError, SolveError

COARSE = bx.solvers.FiniteDifference(grid={"k": 30})
Q = np.array([[-0.1, 0.1], [0.1, -0.1]])
MODEL = bx.DiffusionModel(
    states={"k": bx.Continuous(0.2, 5.0), "z": bx.MarkovChain([1.0, 2.0], intensity="Q")},
    reward=lambda k, z, A: A * k * z,
    drift={"k": lambda k: 0.1 * (1.5 - k)},
    diffusion={"k": "noise"},
    discount="rho",
    resets={"death": bx.Reset("risk", {"k": "born"})},
    boundary={"k": bx.Reflecting()},
)
PARAMS = {"A": 1.0, "noise": 0.1, "rho": 0.05, "risk": 0.02, "born": 1.0, "Q": Q}
WRONG = {
    "rho": -0.05,
    "noise": -0.1,
    "risk": -0.1,
    "born": 50.0,
    "Q": [np.array([[-0.1, 0.2], [0.1, -0.1]]), np.array([[0.1, -0.1], [0.1, -0.1]])],
}


@pytest.fixture(scope="module")
def traced():
    """Code, V and the mean under the population, of traced parameters."""

    def asked(params):
        solution = bx.solve(MODEL, params, COARSE)
        return solution.code, solution.value(k=1.0, z=1.0), bx.stationary(solution).mean("k")

    return jax.jit(asked)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in WRONG.items() for v in (vs if n == "Q" else [vs])])
def test_what_a_solve_refuses_is_nan_under_a_transformation(name, value, traced):
    with pytest.raises(ParameterError):
        bx.solve(MODEL, {**PARAMS, name: value}, COARSE)
    code, worth, mean = traced({**PARAMS, name: jnp.asarray(value)})
    assert int(code) == int(bx.Result.nonfinite) and np.isnan(worth) and np.isnan(mean)


def test_what_is_right_is_a_number_under_a_transformation(traced):
    code, worth, mean = traced(PARAMS)
    plain = bx.solve(MODEL, PARAMS, COARSE)
    assert int(code) == 0
    np.testing.assert_allclose(worth, plain.value(k=1.0, z=1.0), rtol=1e-12)
    np.testing.assert_allclose(mean, bx.stationary(plain).mean("k"), rtol=1e-10)


@pytest.mark.parametrize(("ends", "side"), [((1.0, 5.0), "lower"), ((0.2, 1.5), "upper"), ((0.1, 5.0), "lower")])
def test_given_nodes_span_the_state(ends, side):
    nodes = bx.solvers.FiniteDifference(grid={"k": bx.grids.Given(np.linspace(*ends, 20))})
    with pytest.raises(ParameterError, match=f"the {side} bound of that state"):
        bx.solve(MODEL, PARAMS, nodes)


def reverting(pull, reach):
    return bx.DiffusionModel(
        states={"x": bx.Continuous(-reach, reach)},
        reward=lambda x: -(x**2),
        drift={"x": lambda x: -pull * x},
        diffusion={"x": 0.5},
        discount=0.05,
        boundary={"x": bx.Natural()},
    )


@pytest.mark.parametrize(("pull", "reach"), [(0.5, 0.4), (0.001, 3.0), (0.5, 1.0)])
def test_a_box_that_ends_among_the_population_has_no_density(pull, reach):
    solution = bx.solve(reverting(pull, reach), {}, bx.solvers.FiniteDifference(grid={"x": 61}))
    with pytest.raises(SolveError, match="where the state diffuses"):
        bx.stationary(solution)


def test_a_box_beyond_the_population_has_one():
    solution = bx.solve(reverting(0.5, 2.5), {}, bx.solvers.FiniteDifference(grid={"x": 61}))
    np.testing.assert_allclose(bx.stationary(solution).mean(lambda x: x**2), 0.25, rtol=1e-3)


# -- prices and paths

MARKET = replace(
    MODEL,
    states={"k": bx.Continuous(0.2, 5.0)},
    reward=lambda k, A: A * k,
    drift={"k": lambda k, aim: 0.1 * (aim - k)},
    diffusion={"k": 0.1},
    discount=0.05,
    resets={},
)


def cleared(condition):
    return bx.equilibrium(MARKET, {"A": 1.0}, {"aim": (0.5, 3.0)}, {"K": "k"}, {"c": condition}, solver=COARSE)


@pytest.mark.parametrize(
    ("condition", "error", "match"),
    [
        (lambda K: 0 * K, SolveError, "does not tell the price"),
        (lambda K: jnp.maximum(K - 1.5, 0.0), SolveError, "does not tell the price"),
        (lambda K: jnp.clip(K - 1.5, -0.1, 0.0), SolveError, "does not tell the price"),
        (lambda K: K > 1, ModelError, "is true or false"),
        (lambda K: jnp.stack([K, K]), ModelError, r"an array of shape \(2,\)"),
        (lambda A: A - 1.5, ModelError, "names no unknown and no aggregate"),
        (0.0, ModelError, "names no unknown and no aggregate"),
    ],
)
def test_a_condition_tells_the_price(condition, error, match):
    with pytest.raises(error, match=match):
        cleared(condition)


def test_an_equilibrium_may_be_at_an_end_of_the_bracket():
    np.testing.assert_allclose(cleared(lambda aim: aim - 0.5).unknowns["aim"], 0.5, rtol=1e-12)


@pytest.mark.parametrize(("params", "path"), [({"aim": 1.5}, 2.0), ({"aim": 1.6}, 1.0)])
def test_parameters_come_to_rest_where_the_end_has_them(params, path):
    end = bx.solve(MARKET, {"A": 1.0, "aim": 1.5}, COARSE)
    with pytest.raises(ParameterError, match="is off by .* at last from where the end has it"):
        bx.transition_path(MARKET, params, {"A": np.full(11, path)}, end, duration=40.0, step=4.0)


def test_a_path_begins_on_the_nodes_of_its_end():
    end = bx.solve(MARKET, {"A": 1.0, "aim": 1.5}, COARSE)
    other = bx.solve(MARKET, {"A": 1.0, "aim": 1.2}, bx.solvers.FiniteDifference(grid={"k": 31}))
    with pytest.raises(ModelError, match="start is on 31 nodes of 'k' .*, and the end on 30"):
        bx.transition_path(
            MARKET, {"aim": 1.5}, {"A": np.ones(4)}, end, duration=4.0, step=1.0, start=bx.stationary(other)
        )


# -- solves that fail, or end early

SAVER = bx.DiffusionModel(
    states={"a": bx.Continuous(0.0, 2.0)},
    actions={"c": bx.Continuous(0.0)},
    policy={"c": lambda marginal_a: 1 / marginal_a},
    reward=lambda c, a, worth: jnp.log(c) + worth * jnp.log(a - 0.5),
    drift={"a": lambda a, c: 0.03 * a + 1 - c},
    discount=0.05,
    boundary={"a": bx.StateConstraint()},
)


def test_where_a_reward_is_no_number_is_said():
    with pytest.raises(SolveError, match=r"The reward is nan at a = 0 to begin with"):
        bx.solve(SAVER, {"worth": 1.0}, bx.solvers.FiniteDifference(grid={"a": 41}))


def test_what_to_do_about_steps_that_do_not_suffice_is_said():
    quiet = replace(SAVER, reward=lambda c: jnp.log(c))
    with pytest.raises(SolveError, match="V still moves as a whole: give actions bounds"):
        bx.solve(quiet, {}, bx.solvers.FiniteDifference(grid={"a": 41}, max_steps=2))
    with pytest.raises(SolveError, match="or a tolerance= above it"):
        bx.solve(quiet, {}, bx.solvers.FiniteDifference(grid={"a": 41}, tolerance=1e-30))


def test_the_estimate_counts_a_solve_that_ended_early():
    quiet, nodes = replace(SAVER, reward=lambda c: jnp.log(c)), {"a": 41}
    early = bx.solve(quiet, {}, bx.solvers.FiniteDifference(grid=nodes, tolerance=0.5))
    exact = bx.solve(quiet, {}, bx.solvers.FiniteDifference(grid={"a": 1281}))
    at = np.linspace(0.0, 2.0, 33)
    error = np.max(np.abs(early.value(a=at) - exact.value(a=at)))
    certificate = bx.certify(early, points=200)
    assert float(early.stats["residual"]) > 1e-3
    assert certificate.refinement.error["max"] > error and "lower tolerance=" in str(certificate)
