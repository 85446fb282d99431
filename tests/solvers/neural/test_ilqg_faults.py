"""What `ILQG` refuses, and what it says where it finds no maximum: never an answer that is none."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax import ModelError, ParameterError, SolveError
from bellax.models import lqg, merton, rbc
from bellax.solvers import ILQG

HALF = {"discount": 0.5}


def along(reward, law=lambda x, u: x + u, bounds=(-math.inf, math.inf), horizon=3, **more):
    return bx.Model(
        states={"x": bx.Continuous(-3.0, 3.0)},
        actions={"u": bx.Continuous(*bounds)},
        transitions={"x": law},
        reward=reward,
        horizon=horizon,
        **more,
    )


def plain(x, u):
    return -(x**2) - u**2


# -- models and options ------------------------------------------------------------------------------------------------


def choosing(**more):
    given = {
        "states": {"x": bx.Continuous(0.0, 1.0)},
        "actions": {"u": bx.Continuous(0.0, 1.0)},
        "transitions": {"x": bx.fixed},
        "reward": lambda x, u: x - u**2,
        "horizon": 3,
    }
    return bx.Model(**(given | more))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (choosing(actions={"d": bx.Discrete(2)}, reward=lambda x, d: x * d), "'d' is discrete; .*Enumerate.*takes it"),
        (rbc.model, "the state 'productivity' is discrete"),
        (choosing(stop=lambda x: x), "it has `stop`"),
        (choosing(constraints={"poor": bx.nonnegative(lambda x, u: x - u)}), "the constraint 'poor'; state bounds"),
        (choosing(actions={}, reward=lambda x: x), "nothing is decided"),
        (
            bx.Model(
                regimes={
                    "a": bx.Regime(
                        states={"x": bx.Continuous(0.0, 1.0)},
                        actions={"u": bx.Continuous(0.0, 1.0)},
                        transitions={"x": bx.fixed},
                        reward=lambda x, u: x - u**2,
                    )
                },
                horizon=3,
            ),
            "models of one regime, and this one has 'a'",
        ),
    ],
)
def test_models_that_are_refused(model, words):
    with pytest.raises(ModelError, match=words):
        ILQG().prepare(model)


def test_continuous_time_is_refused():
    from bellax.models import lqg_ct

    with pytest.raises(ModelError, match="for a bx.DiffusionModel there is"):
        ILQG().prepare(lqg_ct.model)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": {"x": 1.0, "y": 2.0}}, "start of the state 'y' is unknown"),
        ({"start": {}}, "'x' is missing; give every state"),
        ({"start": {"x": [1.0, 2.0]}}, r"'x' has shape \(2,\); it must be \(\)"),
        ({"start": {"x": "high"}}, "'x' is 'high'; give numbers"),
        ({"start": {"x": math.nan}}, "'x' is nan; all numbers must be finite"),
        ({"start": 1.0}, "start is 1.0; give a dict"),
        ({"guess": {"v": 1.0}}, "guess of the action 'v' is unknown"),
        ({"quadrature": {"e": 3}}, "quadrature of the shock 'e' is unknown"),
        ({"degree": 4}, "degree is 4; give 3 or 5"),
        ({"max_steps": 0}, "max_steps is 0; give a whole number"),
        ({"tolerance": 0.0}, "tolerance is 0.0; give a positive number"),
        ({"damping": 1.0}, "option 'damping' is unknown"),
    ],
)
def test_options_that_are_refused(options, words):
    with pytest.raises(ModelError, match=words):
        ILQG(**options).prepare(along(plain))


def test_arguments_that_are_refused():
    with pytest.raises(ParameterError, match="discount"):
        bx.solve(lqg.stationary, lqg.stationary_params | {"discount": 1.1}, ILQG())
    own = dataclasses.replace(along(plain), terminal=None)
    with pytest.raises(ModelError, match="ILQG takes no terminal="):
        bx.solve(own, HALF, ILQG(), terminal=bx.solve(merton.model, merton.params, merton.solver))


@pytest.mark.long
def test_second_derivatives_in_parameters_are_refused():
    with pytest.raises(ModelError, match="what ILQG finds has first derivatives"):
        jax.hessian(lambda discount: bx.solve(along(plain), {"discount": discount}, ILQG()).value(0, x=1.0))(0.5)


# -- solves that fail --------------------------------------------------------------------------------------------------


NUMBERS = {"bent": -1.0, "kink": 0.0, "slope": 0.0, "wealth": 0.0, "stays": 1.0, "moves": 1.0, "grows": 0.0}


def family(horizon):
    """One model of many shapes, so that one program serves all of them."""
    return along(
        lambda x, u, bent, kink, slope, wealth: -(x**2) * (1 - wealth) + wealth * x + bent * u**2 + slope * u
        + kink * jnp.abs(u - 0.3),
        lambda x, u, stays, moves, grows: stays * x + moves * u + grows,
        horizon=horizon,
    )  # fmt: skip


FINITE, FOREVER = family(3), family(math.inf)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"bent": 0.0, "moves": 0.0}, "in period 2 Q is not strictly concave"),
        ({"bent": 0.0, "kink": -1.0}, "not converged after 40 backward passes.*a kink"),
        ({"bent": 0.0, "slope": 1.0, "moves": 0.0}, "not converged|earns more"),
        ({"bent": 1.0}, "not converged|explode"),
    ],
)
def test_paths_that_are_no_maximum(numbers, words):
    with pytest.raises(SolveError, match=words):
        bx.solve(FINITE, HALF | NUMBERS | numbers, ILQG(start={"x": 0.7}, max_steps=40))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (along(lambda x, u: jnp.sqrt(u) - u**2, bounds=(0.0, 0.0)), "without a second derivative, such as a root"),
        (along(lambda x, u: jnp.log(u)), "reward is not finite in period 0, at x = 0., with u = 0"),
        (along(lambda u: -(u**2), bounds=(1.0, "x")), "the lower bound of u is 1, above the upper one, 0"),
    ],
)
def test_functions_without_numbers(model, words):
    with pytest.raises(SolveError, match=words):
        bx.solve(model, HALF, ILQG(start={"x": 0.0}))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"stays": 1.5, "wealth": 1.0}, r"leaves the steady state: the largest eigenvalue is 1.06\d* times"),
        ({"stays": 0.5, "bent": 1.0}, "Q is not strictly concave in the actions"),
        ({"moves": 0.0, "grows": 1.0}, "no steady state was found from 16 starts"),
        ({"stays": 0.5, "bent": -1.0, "kink": 2.0, "slope": 0.1}, None),
    ],
)
def test_steady_states_that_are_none(numbers, words):
    given = HALF | NUMBERS | numbers
    if words is None:  # a kink that is a minimum is passed over for what is a maximum
        solution = bx.solve(FOREVER, given, ILQG(start={"x": 0.6}, guess={"u": 0.3}))
        x = float(solution.values.rules.at[0, 0])
        u = float(solution.policy(x=x)["u"])
        assert abs(u - 0.3) > 0.1 and abs(0.5 * x + u - x) < 1e-9
        return
    with pytest.raises(SolveError, match=words):
        bx.solve(FOREVER, given, ILQG())


def test_noise_that_makes_v_infinite():
    """beta E (.5 + 2 e)^2 > 1: the variance of the state outgrows the discount, though its mean returns."""
    model = bx.Model(
        states={"x": bx.Continuous(-3.0, 3.0)},
        actions={"u": bx.Continuous()},
        shocks={"e": bx.shocks.Normal()},
        transitions={"x": lambda x, u, e: 0.5 * x * (1 + 4.0 * e) + 0.01 * u},
        reward=plain,
    )
    with pytest.raises(SolveError, match="noise that grows with the state"):
        bx.solve(model, HALF, ILQG())


def test_nothing_wrong_is_returned_under_a_transformation():
    """Where nothing can raise, an answer that is none is NaN."""
    given = HALF | NUMBERS
    run = jax.jit(jax.vmap(lambda c: bx.solve(FINITE, given | {"bent": c}, ILQG(max_steps=40)).value(0, x=1.0)))
    found = run(jnp.array([-1.0, 9.0]))
    P = 0.0  # of V = P x^2
    for _ in range(3):
        P = -1 + 0.5 * P - (0.5 * P) ** 2 / (-1 + 0.5 * P)
    np.testing.assert_allclose(found, [P, np.nan], rtol=1e-12)


def test_a_local_minimum_at_a_kink_is_none():
    """Derivatives at the kink say that nothing is best, and anything is better."""
    solution = bx.solve(FINITE, HALF | NUMBERS | {"kink": 1.0, "slope": 0.0}, ILQG(start={"x": 0.0}, guess={"u": 0.3}))
    assert abs(float(solution.policy(0, x=0.0)["u"]) - 0.3) > 0.1
