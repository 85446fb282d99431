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


# -- what a plain call refuses is NaN under a transformation, and what a search did not find is nowhere found


@pytest.mark.parametrize("options", [{"max_steps": 2}, {"max_steps": 4}])
def test_a_search_that_is_cut_off_has_not_found(options):
    method = bx.clearing.Bracketing(**options)
    with pytest.raises(SolveError, match=r"no equilibrium is found after \d solves \(max_steps=\d\)"):
        bx.equilibrium(
            MARKET, {"A": 1.0}, {"aim": (0.5, 3.0)}, {"K": "k"}, {"c": lambda K: K**3 - 2}, solver=COARSE, method=method
        )
    with pytest.raises(ModelError, match="at least 2"):
        bx.clearing.Bracketing(max_steps=1)


def asked(model=MARKET, params=None, aggregates=None, **options):
    return bx.equilibrium(
        model,
        params or {"A": 1.0},
        {"aim": (0.5, 3.0)},
        aggregates or {"K": "k"},
        {"c": lambda K: K - 1.5},
        **{"solver": COARSE, **options},
    )


def test_what_a_solve_refuses_an_equilibrium_refuses():
    with pytest.raises(ParameterError, match="the lower bound of that state"):
        asked(solver=bx.solvers.FiniteDifference(grid={"k": bx.grids.Given(np.linspace(1.0, 5.0, 20))}))
    for changes, match in (
        ({"diffusion": {"k": lambda A: -A}}, "standard deviation"),
        ({"discount": lambda A: -A}, "the discount is -1"),
        ({"horizon": 5.0}, ModelError),
        ({"boundary": {"k": bx.Absorbing(0.0)}}, ModelError),
    ):
        kind, words = (match, "no stationary density") if match is ModelError else (ParameterError, match)
        with pytest.raises(kind, match=words):
            asked(replace(MARKET, **changes))
    with pytest.raises(ParameterError, match="'A' is an aggregate, and a parameter, too"):
        asked(aggregates={"K": "k", "A": "k"})


def test_a_compiled_solve_is_nan_where_a_solve_refuses():
    run = bx.compile(MODEL, COARSE)
    for name in ("rho", "noise"):
        found = run({**PARAMS, name: WRONG[name]})
        assert found.result == bx.Result.nonfinite and np.isnan(found.value(k=1.0, z=1.0))
    assert run(PARAMS).result == bx.Result.successful


def test_nodes_that_do_not_span_a_traced_bound_are_nan():
    model = replace(reverting(0.5, 3.0), states={"x": bx.Continuous("low", 3.0)})
    nodes = bx.solvers.FiniteDifference(grid={"x": bx.grids.Given(np.linspace(-3.0, 3.0, 31))})
    value = jax.jit(lambda low: bx.solve(model, {"low": low}, nodes).value(x=1.0))
    assert np.isnan(value(-4.0)) and np.isfinite(value(-3.0))


def two_hills(reach):
    """Two places that attract, between which nobody goes: the noise is nothing in the middle."""
    return replace(
        reverting(0.5, reach), drift={"x": lambda x: x - x**3}, diffusion={"x": lambda x: 0.3 * jnp.abs(x) ** 1.5}
    )


@pytest.mark.parametrize(("model", "words"), [(two_hills(2.0), "depends on"), (reverting(0.5, 0.4), "diffuses")])
def test_a_density_that_is_refused_is_nan_under_a_transformation(model, words):
    grid = bx.solvers.FiniteDifference(grid={"x": 61})
    model = replace(model, discount="rho")
    with pytest.raises(SolveError, match=words):
        bx.stationary(bx.solve(model, {"rho": 0.05}, grid))
    assert np.isnan(jax.jit(lambda rho: bx.stationary(bx.solve(model, {"rho": rho}, grid)).mean("x"))(0.05))
    with pytest.raises(SolveError, match=words):
        end = bx.solve(model, {"rho": 0.05}, grid)
        bx.transition_path(model, {}, {"rho": np.full(3, 0.05)}, end, duration=2.0, step=1.0)


def test_a_path_that_rests_where_conditions_do_not_hold_is_nan():
    method = bx.clearing.DampedLogs(update={"aim": lambda A: 2.0 * A})
    with pytest.raises(SolveError, match="rests where conditions do not hold"):
        asked(method=method)
    assert np.isnan(jax.jit(lambda A: asked(params={"A": A}, method=method).unknowns["aim"])(1.0))


def test_a_path_that_a_plain_call_refuses_is_nan():
    end = bx.solve(MARKET, {"A": 1.0, "aim": 1.5}, COARSE)

    def mean(aims, settled=0.01):
        given = {"duration": 40.0, "step": 4.0, "aggregates": {"K": "k"}, "settled": settled}
        return bx.transition_path(MARKET, {"A": 1.0}, {"aim": aims}, end, **given).aggregates["K"]

    aims = 1.5 - 0.3 * np.exp(-np.linspace(0.0, 40.0, 11))
    traced = jax.jit(mean, static_argnums=1)
    np.testing.assert_allclose(traced(aims), mean(aims), rtol=1e-10)
    for wrong, settled in ((aims + 0.2, 0.01), (aims, 1e-9)):
        with pytest.raises((ParameterError, SolveError)):
            mean(wrong, settled)
        assert np.all(np.isnan(traced(wrong, settled)))


def test_a_horizon_with_steps_that_grow_without_bound_is_refused():
    model = replace(reverting(0.5, 3.0), horizon=10.0, discount=-0.5)
    with pytest.raises(ParameterError, match=r"above -0.4 with steps of 2.5: give more steps="):
        bx.solve(model, {}, bx.solvers.FiniteDifference(grid={"x": 31}, steps=4))


def test_an_edge_that_absorbs_at_the_end_of_a_horizon_pays_what_it_says():
    model = replace(
        reverting(0.5, 1.0), reward=0.0, horizon=1.0, boundary={"x": bx.Absorbing(0.0)}, stop=lambda x: 1.0 + 0 * x
    )
    found = bx.solve(model, {}, bx.solvers.FiniteDifference(grid={"x": 31}, steps=10))
    np.testing.assert_array_equal(found.value(x=1.0, time=np.linspace(0.0, 1.0, 5)), 0.0)


def test_atoms_along_a_path_are_those_of_the_end():
    sticky = replace(
        MARKET,
        drift={"k": lambda k, aim: 0.1 * (aim - k) - 0.2 * (k > 0.2)},
        diffusion={},
        resets={"up": bx.Reset(0.1, {"k": 3.0})},
        boundary={"k": bx.StateConstraint()},
    )
    end = bx.solve(sticky, {"A": 1.0, "aim": 0.2}, COARSE)
    still = bx.stationary(end)
    path = bx.transition_path(sticky, {"aim": 0.2}, {"A": np.ones(3)}, end, duration=2.0, step=1.0)
    assert still.atoms()
    for (place, mass), (other, held) in zip(path.at(1).atoms(), still.atoms(), strict=True):
        assert place == other and mass == pytest.approx(held, rel=1e-9)


# -- prices that are none, and paths and starts of other places


def test_a_path_along_which_a_bound_moves_is_refused():
    model = replace(MARKET, states={"k": bx.Continuous("low", 5.0)})
    end = bx.solve(model, {"A": 1.0, "aim": 1.5, "low": 0.2}, COARSE)
    with pytest.raises(ModelError, match="'low' moves along the path, and so does a bound"):
        bx.transition_path(model, {"A": 1.0, "aim": 1.5}, {"low": np.full(3, 0.2)}, end, duration=2.0, step=1.0)


def test_a_jump_is_no_root_however_large_the_condition_is_elsewhere():
    with pytest.raises(SolveError, match="jumps across zero"):
        cleared(lambda aim: jnp.where(aim < 1.5, -1.0, 1.0) + jnp.exp(20 * (aim - 1.9)))


@pytest.mark.parametrize("root", [1.7, 1.5])
def test_what_is_steep_elsewhere_or_flat_at_its_root_is_found(root):
    found = cleared(lambda aim: (aim - root) ** 3 + 1e-3 * (aim - root) + (jnp.exp(20 * (aim - root)) - 1))
    np.testing.assert_allclose(found.unknowns["aim"], root, rtol=1e-8)


@pytest.mark.parametrize("unit", [1.0, 1e-9])
def test_the_end_of_a_bracket_is_no_equilibrium_in_any_unit(unit):
    given = {"update": {"aim": lambda aim, K: aim * 2 / K}}
    with pytest.raises(SolveError, match="rests where conditions do not hold"):
        bx.equilibrium(
            MARKET,
            {"A": 1.0},
            {"aim": (0.5, 1.2)},
            {"K": "k"},
            {"c": lambda K: unit * (K - 2)},
            solver=COARSE,
            method=bx.clearing.DampedLogs(**given),
        )


def test_derivatives_in_a_bound_that_given_nodes_span():
    """They are those of nodes that are uniform, which move with the bound."""
    model = replace(reverting(0.5, 3.0), states={"x": bx.Continuous(-3.0, "top")}, boundary={"x": bx.Reflecting()})
    even = np.linspace(-3.0, 1.0, 41)

    def value(grid):
        solver = bx.solvers.FiniteDifference(grid={"x": grid})
        return lambda top: bx.solve(model, {"top": top}, solver).value(x=0.5)

    found, exact = (jax.value_and_grad(value(grid))(1.0) for grid in (bx.grids.Given(even), 41))
    np.testing.assert_allclose(found, exact, rtol=1e-9)


TYPES = replace(
    MODEL, states={"k": bx.Continuous(0.2, 5.0), "z": bx.MarkovChain([1.0, 2.0], intensity=np.zeros((2, 2)))}
)
OWN = {name: value for name, value in PARAMS.items() if name != "Q"}


def test_types_that_never_change_are_not_drawn_by_themselves():
    solution = bx.solve(TYPES, OWN, COARSE)
    with pytest.raises(ParameterError, match="several stationary distributions"):
        bx.simulate(solution, 5, {"k": 1.0}, duration=1.0, step=0.5)
    panel = bx.simulate(solution, 400, {"k": 1.0, "z": {1.0: 0.25, 2.0: 0.75}}, duration=1.0, step=0.5)
    assert np.mean(np.asarray(panel.states["z"]) == 1.0) == pytest.approx(0.25, abs=0.08)


def test_a_density_of_a_wider_box_is_no_start():
    wide, narrow = (
        bx.solve(replace(MARKET, states={"k": bx.Continuous(low, high)}), {"A": 1.0, "aim": 1.5}, COARSE)
        for low, high in ((0.2, 5.0), (1.4, 1.6))
    )
    with pytest.raises(ParameterError, match="'k' in the density is .*, outside of 1.4 to 1.6"):
        bx.simulate(narrow, 10, bx.stationary(wide), duration=1.0, step=0.5)


def test_classes_that_do_not_meet_are_seen_where_the_model_is_symmetric():
    chain = bx.MarkovChain([0.0, 1.0, 2.0], intensity=np.array([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, -1.0]]))
    model = replace(
        reverting(0.5, 2.0), states={"x": bx.Continuous(-2.0, 2.0), "z": chain}, reward=lambda x, z: z - x**2
    )
    with pytest.raises(SolveError, match="depends on where it begins"):
        bx.stationary(bx.solve(model, {}, bx.solvers.FiniteDifference(grid={"x": 41})))


@pytest.mark.parametrize(("unit", "constant"), [(1e-11, 0.0), (1e9, 0.0), (1.0, 1e9)])
def test_neither_units_nor_constants_matter(unit, constant):
    """V = -P x^2 / 2 of a regulator, a = -P x."""
    model = bx.DiffusionModel(
        states={"x": bx.Continuous(-1.0, 1.0)},
        actions={"a": bx.Continuous()},
        policy={"a": lambda marginal_x, unit: marginal_x / unit},
        reward=lambda x, a, unit, constant: constant - 0.5 * unit * (x**2 + a**2),
        drift={"x": lambda a: a},
        discount=0.05,
        boundary={"x": bx.StateConstraint()},
    )
    solution = bx.solve(model, {"unit": unit, "constant": constant}, bx.solvers.FiniteDifference(grid={"x": 101}))
    exact = -(np.sqrt(0.05**2 + 4) - 0.05) / 2 * 0.9
    np.testing.assert_allclose(solution.policy(x=0.9)["a"], exact, rtol=5e-3)


def test_a_value_that_is_zero_is_found():
    nothing = replace(reverting(0.5, 2.0), reward=lambda x: jnp.log(jnp.exp(x)) - x)
    solution = bx.solve(nothing, {}, bx.solvers.FiniteDifference(grid={"x": 41}))
    assert np.max(np.abs(solution.value(x=np.linspace(-2.0, 2.0, 9)))) < 1e-13


# -- several actions, each of them the best while the others stand

PAIR = bx.DiffusionModel(
    states={"x": bx.Continuous(0.0, 1.0)},
    actions={"a": bx.Continuous(-1.0, 1.0), "b": bx.Continuous(-1.0, 1.0)},
    reward=lambda a, b: a + b,
    drift={"x": lambda x: 0.3 * (0.5 - x)},
    diffusion={"x": 0.1},
    discount=0.05,
    boundary={"x": bx.Reflecting()},
)
HILLS = {
    "a concave kink": (lambda a, b: 0.2 * (a + b) - 2 * jnp.abs(a - b) - 0.05 * (a**2 + b**2), None),
    "a saddle": (lambda a, b: 2 * a * b - 0.5 * a**2 - 0.5 * b**2, None),
    "a ridge": (lambda a, b: 0.2 * (a + b) - 20 * jnp.abs(a - 0.617 * b - 0.0137) - 0.05 * (a**2 + b**2), 25),
    "inputs that go together": (lambda a, b, x: jnp.minimum(a, 0.7 * b) * (0.1 + x) - 0.1 * (a**2 + b**2), None),
}


@pytest.mark.parametrize("which", HILLS)
def test_actions_that_have_to_move_together_are_refused_where_they_do_not(which):
    reward, candidates = HILLS[which]
    golden = bx.maximise.Golden(grid={"a": candidates, "b": candidates}) if candidates else None
    with pytest.raises(SolveError, match="or a ridge along which several actions have to move together"):
        bx.solve(replace(PAIR, reward=reward), {}, bx.solvers.FiniteDifference(grid={"x": 11}, maximiser=golden))


@pytest.mark.parametrize(
    ("reward", "best"),
    [
        (lambda a, b, x: -((a - 0.3 * x) ** 2) - (b + a) ** 2, 0.0),
        (lambda a, b: 0.3 * (a + b) - a**2 - b**2 + a * b / 2, 0.06),
        (lambda a, b: a + 0.5 * b - jnp.abs(a - b) ** 1.5, 1.5),
    ],
)
def test_actions_that_are_the_best_together_are_found(reward, best):
    solution = bx.solve(replace(PAIR, reward=reward), {}, bx.solvers.FiniteDifference(grid={"x": 11}))
    np.testing.assert_allclose(solution.flows(x=0.5)["reward"], best, atol=1e-7)
