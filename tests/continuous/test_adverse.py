"""What once was wrong and said to be successful."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def by(**grid):
    return bx.solvers.FiniteDifference(grid=grid, steps=4)


def wanderer(**changes):
    given = {
        "states": {"x": bx.Continuous(0.0, 1.0)},
        "reward": 0.0,
        "drift": {"x": 0.0},
        "diffusion": {"x": 0.3},
        "discount": 0.1,
        "boundary": {"x": bx.Reflecting()},
    }
    return bx.DiffusionModel(**{**given, **changes})


def test_few_nodes_stop():
    """At one point in the middle, which is fewer nodes than the first steps widen going on by."""
    solution = bx.solve(wanderer(stop=lambda x: jnp.maximum(1 - 100 * jnp.abs(x - 0.5), -1.0)), {}, by(x=101))
    k = np.sqrt(0.2) / 0.3
    exact = np.cosh(k * 0.25) / np.cosh(k * 0.5)
    np.testing.assert_allclose(solution.value(x=np.array([0.25, 0.5])), [exact, 1.0], rtol=1e-5)


CHAIN = {"x": bx.Continuous(0.0, 1.0), "z": bx.MarkovChain([0.0, 1.0], intensity=[[-1.0, 1.0], [1.0, -1.0]])}


@pytest.mark.parametrize(
    ("changes", "params", "words"),
    [
        ({"resets": {"leap": bx.Reset(rate=0.5, to={"z": 0.7})}}, {}, "'z' leads to none of its categories, by 0.3"),
        (
            {"resets": {"leap": bx.Reset(rate=lambda time: 0.1 - time, to={"x": 0.5})}, "horizon": 1.0},
            {},
            "the rate of .*-0.65",
        ),
        (
            {"resets": {"leap": bx.Reset(rate=0.1, to={"x": lambda time: 2 * time})}, "horizon": 1.0},
            {},
            "beyond the bounds of that state, by 0.5",
        ),
        (
            {"states": {**CHAIN, "z": bx.MarkovChain([0.0, 1.0], intensity=lambda a: jnp.array([[-a, 2.0], [a, -a]]))}},
            {"a": 1.0},
            "row that sums to 1",
        ),
        (
            {"states": {**CHAIN, "z": bx.MarkovChain([0.0, 1.0], intensity=lambda a: jnp.array([[-a, a], [a, -a]]))}},
            {"a": -1.0},
            "holds the rate -1",
        ),
    ],
)
def test_jumps_that_make_no_sense(changes, params, words):
    with pytest.raises(bx.ParameterError, match=words):
        bx.solve(wanderer(**{"states": CHAIN, **changes}), params, by(x=5))


@pytest.mark.parametrize("size", [1.0, 1e7])
def test_derivatives_of_actions_in_other_units_and_beside_one_that_does_not_matter(size):
    """An action that is worth little in its unit moves with what is known, and so does one beside another at a kink."""
    model = wanderer(
        states={"x": bx.Continuous(-1.0, 1.0)},
        actions={"large": bx.Continuous(1e-3 * size), "kinked": bx.Continuous(0.0, 1.0)},
        reward=lambda large, kinked, p: -p / large - large / size**2 - jnp.abs(kinked - 0.3) / size,
    )
    solve = jax.jit(jax.grad(lambda p: bx.solve(model, {"p": p}, by(x=3)).policy(x=0.0)["large"] / size))
    np.testing.assert_allclose(solve(0.25), 1.0, rtol=1e-6)  # the square root of p


@pytest.mark.parametrize("horizon", [np.inf, 2.0])
def test_derivatives_where_one_stops(horizon):
    """In what moves the state: nodes beside a border have rates of their own."""
    model = wanderer(
        states={"x": bx.Continuous(-3.0, 3.0)},
        drift={"x": "mu"},
        diffusion={"x": "sigma"},
        stop=lambda x, cost: jnp.abs(x) - cost,
        horizon=horizon,
    )
    params, time = {"mu": 0.01, "sigma": 0.5, "cost": 0.1}, {} if np.isinf(horizon) else {"time": 0.0}
    solve = jax.jit(lambda params: bx.solve(model, params, by(x=41)).value(x=0.1, **time))
    slopes = jax.jit(jax.grad(solve))(params)
    for name, value in params.items():
        low, high = (solve({**params, name: value + change}) for change in (-1e-4, 1e-4))
        np.testing.assert_allclose(slopes[name], (high - low) / 2e-4, rtol=1e-4, err_msg=name)


def test_derivatives_in_what_an_action_does_to_the_diffusion_on_logarithms():
    """A share at its bound is a number like any other: V = -A / w of Merton at that share, by differences."""
    model = bx.DiffusionModel(
        states={"w": bx.Continuous(0.2, 5.0, scale=bx.scales.log)},
        actions={"c": bx.Continuous(1e-9), "share": bx.Continuous(0.0, "most")},
        policy={"c": lambda marginal_w: marginal_w**-0.5, "share": lambda most: most},
        reward=lambda c: -1 / c,
        drift={"w": lambda w, c, share: (0.02 + 0.05 * share) * w - c},
        diffusion={"w": lambda w, share, risk: risk * share * w},
        discount=0.05,
        boundary={"w": bx.Absorbing(lambda w: -700.0 / w)},
    )
    params = {"most": 0.4, "risk": 0.2}
    solve = jax.jit(lambda params: bx.solve(model, params, by(w=31)).value(w=1.1))
    slopes = jax.jit(jax.grad(solve))(params)
    for name, value in params.items():
        low, high = (solve({**params, name: value + change}) for change in (-1e-5, 1e-5))
        np.testing.assert_allclose(slopes[name], (high - low) / 2e-5, rtol=5e-3, err_msg=name)


def invested(**changes):
    """Adjustment costs on logarithms, with bounds of the state and of the action that move."""
    given = {
        "states": {"k": bx.Continuous("low", "high", scale=bx.scales.log)},
        "actions": {"i": bx.Continuous(lambda k: -0.1 * k, lambda k: 0.12 * k)},
        "reward": lambda k, i: k**0.35 - i - i**2 / k,
        "drift": {"k": lambda k, i, delta: i - delta * k},
        "discount": 0.05,
        "boundary": {"k": bx.StateConstraint()},
    }
    return bx.DiffusionModel(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "params"),
    [
        ({}, {}),
        (
            {
                "policy": {"i": lambda k, marginal_k: jnp.clip(k * (marginal_k - 1) / 2, -0.1 * k, 0.12 * k)},
                "diffusion": {"k": lambda k, sigma: sigma * k},
                "boundary": {"k": (bx.Absorbing(lambda k, worth: worth + k), bx.Reflecting())},
                "resets": {"back": bx.Reset(rate="rate", to={"k": "place"})},
            },
            {"sigma": 0.2, "worth": 14.0, "rate": 0.1, "place": 0.93},
        ),
        (
            {
                "policy": {"i": lambda k, marginal_k: jnp.clip(k * (marginal_k - 1) / 2, -0.1 * k, 0.12 * k)},
                "diffusion": {"k": lambda k, sigma: sigma * k},
                "boundary": {"k": bx.Reflecting()},
                "terminal": lambda k, worth: worth * k,
                "horizon": 2.0,
            },
            {"sigma": 0.3, "worth": 1.2},
        ),
    ],
    ids=["a bounded action", "edges and resets", "a horizon"],
)
def test_derivatives_in_where_nodes_are(with_value, changes, params):
    """Of a driven state: differences ahead, behind and in the middle, and walls, move with its bounds."""
    model, time = invested(**changes), {"time": 0.0} if "horizon" in changes else {}
    params = {"low": 0.2, "high": 5.0, "delta": 0.1, **params}
    solve = with_value(lambda params: bx.solve(model, params, by(k=17)).value(k=1.317, **time), jax.grad)
    slopes = solve(params)[0]
    for name, value in params.items():
        low, high = (solve({**params, name: value * (1 + change)})[1] for change in (-1e-5, 1e-5))
        np.testing.assert_allclose(slopes[name], (high - low) / (2e-5 * value), rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"boundary": {"k": (bx.StateConstraint(), bx.Natural())}, "states": {"k": bx.Continuous(0.2, 1.0)}}, "upper"),
        ({"boundary": {"k": (bx.Natural(), bx.StateConstraint())}, "states": {"k": bx.Continuous(4.0, 9.0)}}, "lower"),
        ({"boundary": {"k": bx.Natural()}, "reward": 0.0, "drift": {"k": 0.1}, "actions": {}}, "upper"),
    ],
)
def test_edges_that_are_never_reached_keep_nobody(changes, words):
    """The firm grows to about two, through its upper edge, or shrinks through its lower one."""
    policy = {"policy": {"i": lambda k, marginal_k: k * (marginal_k - 1) / 2}, "actions": {"i": bx.Continuous()}}
    params = {} if "drift" in changes else {"delta": 0.1}
    params |= {} if "states" in changes else {"low": 0.2, "high": 5.0}
    model = invested(**changes) if "drift" in changes else invested(**policy, **changes)
    with pytest.raises(bx.SolveError, match=rf"outward at its {words} edge, which is said to be never reached"):
        bx.solve(model, params, by(k=17))


def test_an_edge_that_is_never_reached_is_none():
    """Around the steady state: V is that on a domain twice as wide."""
    policy = {"policy": {"i": lambda k, marginal_k: k * (marginal_k - 1) / 2}, "actions": {"i": bx.Continuous()}}
    wide, narrow = (
        bx.solve(
            invested(**policy, states={"k": bx.Continuous(low, high)}, boundary={"k": bx.Natural()}),
            {"delta": 0.1},
            by(k=count),
        )
        for low, high, count in ((0.5, 8.5, 161), (1.0, 5.0, 81))
    )
    k = np.linspace(1.5, 4.0, 9)
    np.testing.assert_allclose(narrow.value(k=k), wide.value(k=k), rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "params", "error", "words"),
    [
        (
            {
                "states": {
                    **CHAIN,
                    "z": bx.MarkovChain([0.0, 1.0], intensity=lambda time: jnp.array([[-time, time], [1.0, -1.0]])),
                },
                "horizon": 1.0,
            },
            {},
            bx.ModelError,
            "the intensity of the state 'z' names 'time', and nodes and intensities are the same",
        ),
        (
            {"states": {"x": bx.Continuous(0.0, lambda time: 1 + time)}, "horizon": 1.0},
            {},
            bx.ModelError,
            "the upper bound of the state 'x' names 'time'",
        ),
        (
            {"states": {"x": bx.Continuous(0.0)}},
            {},
            bx.ParameterError,
            "the upper bound of the state 'x' is inf, and nodes lie between finite bounds",
        ),
        (
            {"states": {"x": bx.Continuous("low", 1.0, scale=bx.scales.log)}},
            {"low": -1.0},
            bx.ParameterError,
            "the lower bound of the state 'x' is -1, which has no coordinate on its scale log",
        ),
        (
            {"states": {"x": bx.Continuous("low", 1.0, scale=bx.scales.log)}},
            {"low": 0.0},
            bx.ParameterError,
            "the lower bound of the state 'x' is 0, which has no coordinate",
        ),
    ],
)
def test_nodes_that_are_none(changes, params, error, words):
    with pytest.raises(error, match=words):
        bx.solve(wanderer(**changes), params, by(x=5))


def test_questions_to_the_wrong_thing(untyped):
    solution = bx.solve(wanderer(), {}, by(x=5))
    with pytest.raises(bx.ModelError, match=r"tabulate\(\) is of discrete time.*solution.policy"):
        solution.tabulate()
    with pytest.raises(bx.ParameterError, match="start: 'x' of agent 1 is 1.7, outside of 0 to 1, where V is known"):
        bx.simulate(solution, duration=1.0, step=0.5, start={"x": np.array([0.5, 1.7])})
    with pytest.raises(bx.ModelError, match="names 'xx', which the model does not have. Did you mean 'x'"):
        bx.stationary(solution).mean("xx")
    with pytest.raises(bx.ModelError, match="not 'Density'; of an equilibrium, its solution"):
        bx.simulate(bx.stationary(solution), duration=1.0, step=0.5)
