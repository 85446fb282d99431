"""PolicyGradient: what it refuses, what must not pass for a solution, and how it says so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models import rbc
from bellax.solvers.neural import keys
from bellax.solvers.neural.verdict import Sides, mean_and_error, trapped

TINY = {"hidden": (2,), "paths": 64, "budget": 60, "finish": 40, "points": 128}


def line(reward, actions=None, shocks=None, **more):
    """A state that an action and a shock move, two periods."""
    return bx.Model(
        states={"x": bx.Continuous(-1.0, 1.0), **more.pop("states", {})},
        actions={"a": bx.Continuous(0.0, 1.0)} if actions is None else actions,
        shocks={"e": bx.shocks.Normal()} if shocks is None else shocks,
        transitions={"x": lambda x, a, e: 0.5 * x + a + 0.1 * e, **more.pop("transitions", {})},
        reward=reward,
        **{"horizon": 2, **more},
    )


def solved(model, **options):
    return bx.solve(model, {"discount": 0.9}, bx.solvers.PolicyGradient(**{**TINY, **options}))


def plain(x, a):
    return -((a - 0.5 - 0.1 * x) ** 2)


def probability(x):
    return jnp.stack([0.5 + 0.1 * x, 0.5 - 0.1 * x])


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (
            line(lambda x, work: x * work, {"work": bx.Discrete(2)}, transitions={"x": bx.fixed}),
            "'work' is not; use bx",
        ),
        (line(plain, stop=lambda x: x), "does not stop"),
        (
            line(plain, shocks={"e": bx.shocks.Categorical(values=[-1.0, 1.0], probabilities=probability)}),
            "probabilities of the shock 'e' moves with 'x', which the policy moves",
        ),
        (line(plain, shocks={"e": bx.shocks.Jump(intensity=lambda a: 0.1 * a)}), "intensity of the shock 'e' moves"),
        (
            line(plain, states={"k": bx.Discrete(2)}, transitions={"k": bx.Markov(lambda a: jnp.stack([a, 1 - a]))}),
            "the probabilities of the discrete state 'k' moves with 'a'",
        ),
        (
            line(plain, states={"k": bx.Discrete(2)}, transitions={"k": lambda x: (x > 0).astype(int)}),
            "the law of the discrete state 'k' moves with 'x'",
        ),
        (line(plain, constraints={"least": bx.nonnegative(lambda x, a: a - x)}), "'least' is a constraint"),
    ],
)
def test_models_that_it_does_not_solve(model, match):
    with pytest.raises(bx.ModelError, match=match):
        bx.solvers.PolicyGradient().prepare(model)


def test_chances_that_only_the_world_moves_are_no_matter():
    """An exogenous chain moves the probabilities of another state."""
    chain = bx.MarkovChain([0.0, 1.0], np.array([[0.9, 0.1], [0.1, 0.9]]))
    law = bx.Markov(lambda z: jnp.stack([0.5 + 0.1 * z, 0.5 - 0.1 * z]))
    model = line(plain, states={"k": bx.Discrete(2), "z": chain}, transitions={"k": law})
    assert bx.solvers.PolicyGradient().prepare(model).plan.markov == ["k"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"paths": 33}, "paths is 33, and paths have antithetic twins"),
        ({"visited": 2.0}, "visited is 2.0"),
        ({"draws": "sobol"}, "give bx.draws.Sobol"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"budget": 0}, "budget is 0"),
        ({"start": [1.0]}, "start is"),
        ({"critic": (0,)}, "critic is 0"),
    ],
)
def test_options_that_are_none(options, match):
    with pytest.raises(bx.ModelError, match=match):
        bx.solvers.PolicyGradient(**options)
    with pytest.raises(bx.ModelError, match="antithetic is 1"):
        bx.draws.Sobol(antithetic=1)


@pytest.mark.parametrize(
    ("start", "match"),
    [
        ({"y": 1.0}, "start: state 'y' is unknown"),
        ({"x": np.zeros((3, 2))}, "start of 'x' has shape"),
        ({"x": np.zeros(3), "k": np.zeros(2)}, "different numbers of rows"),
        ({"x": "low"}, "no number|'low'"),
    ],
)
def test_starts_that_are_none(start, match):
    model = line(plain, states={"k": bx.Discrete(2)}, transitions={"k": bx.fixed})
    with pytest.raises((bx.ModelError, bx.ParameterError), match=match):
        bx.solvers.PolicyGradient(start=start).prepare(model)


def test_visited_is_for_models_without_an_end():
    with pytest.raises(bx.ModelError, match="the horizon has an end"):
        bx.solvers.PolicyGradient(visited=0.5).prepare(line(plain))


def test_a_return_that_is_no_number():
    """The logarithm of a negative number, in the first step: the message says where."""
    with pytest.raises(bx.SolveError, match=r"in step 1 .* in period 0 of a path 'reward' is none"):
        solved(line(lambda x, a: jnp.log(x - a)))


def test_a_trap():
    """One step of Adam's throws all outputs far beyond a bound, where a share that is cut off has no gradient."""
    with pytest.raises(bx.SolveError, match="'a' lies at a bound at states where"):
        solved(line(plain), shares={"a": bx.shares.Clipped()}, rate=30.0, budget=3, finish=5)


def test_a_reward_that_jumps():
    """A prize beyond one half, of which no gradient along a path tells."""
    jumps = lambda x, a: jnp.where(a > 0.5, 1.0, 0.0) - 5 * (a - 0.45 - 0.1 * x) ** 2  # noqa: E731
    with pytest.raises(bx.SolveError, match="returns do not follow their gradients"):
        solved(line(jumps, horizon=1), paths=1024)


def test_too_few_steps_are_no_success():
    with pytest.raises(bx.SolveError, match="still rising|left of V's equation"):
        solved(line(lambda x, a: -((a - 0.9 * jnp.cos(4 * x)) ** 2)), budget=2, finish=2, paths=32)


def test_a_start_that_others_than_numbers_give():
    """Rows that belong together: on the line x = y the best action is x, whatever it is elsewhere."""
    model = bx.Model(
        states={"x": bx.Continuous(-1.0, 1.0), "y": bx.Continuous(-1.0, 1.0)},
        actions={"a": bx.Continuous()},
        transitions={"x": bx.fixed, "y": bx.fixed},
        reward=lambda x, y, a: -((a - x - 5 * (x - y) ** 2) ** 2),
        horizon=1,
    )
    rows = np.linspace(-1.0, 1.0, 33)
    draws = bx.draws.Independent()
    found = solved(model, start={"x": rows, "y": rows}, draws=draws, budget=200, finish=100)
    np.testing.assert_allclose(found.policy(0, x=rows, y=rows)["a"], rows, atol=1e-3)


@pytest.mark.long
def test_warm_start():
    """Few steps from what is known; V is found by itself."""
    solver = {"hidden": (2,), "length": 4, "paths": 32, "budget": 2, "finish": 10, "points": 128}
    share = {"capital_next": lambda resources, share=0.31: share * resources}
    found = bx.solve(
        rbc.model, rbc.params, bx.solvers.PolicyGradient(**solver, warm_start=share, rate=1e-6), throw=False
    )
    resources = rbc.LEVELS * 0.15 ** (1 / 3)
    saved = found.policy(capital=0.15, productivity=rbc.LEVELS)["capital_next"]
    np.testing.assert_allclose(saved / resources, 0.95 / 3, rtol=5e-3)


def test_derivatives_in_chances_are_refused():
    """Of a mixture's weights: nothing along a path would tell of them."""
    parts = (bx.shocks.Normal(-1.0, 0.1), bx.shocks.Normal(1.0, 0.1))
    model = line(plain, shocks={"e": bx.shocks.Mixture(lambda p: jnp.stack([p, 1 - p]), parts)})
    solver = bx.solvers.PolicyGradient(**{**TINY, "budget": 2, "finish": 2})
    with pytest.raises(bx.ModelError, match="probabilities that move with what is differentiated"):
        jax.grad(lambda p: bx.solve(model, {"discount": 0.9, "p": p}, solver).policy(0, x=0.1)["a"])(0.4)


@pytest.mark.parametrize("pays", [True, False])
def test_a_trap_at_few_states_is_told_by_half_of_the_paths(pays):
    """At a bound at a third of the states, and worth leaving at half of these: on average it is not."""
    draws = np.random.default_rng(0)
    x, noise = draws.uniform(-1, 1, (3, 400, 1)), draws.standard_normal((3, 400, 1))
    near = draws.uniform(size=(3, 400, 1)) < 1 / 3
    slopes = (2 * x if pays else -np.abs(x)) - 0.2 + noise
    sides = Sides(*(jnp.asarray(leaf) for leaf in (slopes, np.where(near, 0.0, 0.5), np.ones_like(x), x)))
    (found,) = trapped(sides, jnp.ones((3, 400)), False)
    assert (float(found) > 0) == pays


def test_a_verdict_on_many_actions_solves_all_of_its_systems_in_one_call():
    """Calls side by side, of hundreds of systems each, waited for each other for ever on two cores."""
    shape = (3, 20, 4)
    sides = Sides(*(jnp.ones(shape) for _ in range(3)), jnp.ones((3, 20, 30)))
    program = str(jax.make_jaxpr(lambda *given: trapped(*given, True))(sides, jnp.ones(shape[:2])))
    assert program.count(" = lu ") == 1


def test_twins_do_not_pass_for_two_paths():
    """Noise that a path shares with its twin: a half that held one of them would tell of the other half's."""
    draws = np.random.default_rng(1)
    x, noise = (
        np.tile(draws.uniform(-1, 1, (6, 203, 12)), (1, 2, 1)),
        np.tile(draws.normal(size=(6, 203, 1)), (1, 2, 1)),
    )
    sides = Sides(*(jnp.asarray(leaf) for leaf in (noise, np.zeros_like(noise), np.ones_like(noise), x)))
    assert float(trapped(sides, jnp.ones((6, 406)), True)[0]) == 0.0
    each = np.array([1.0, 3.0, 5.0, 3.0, 5.0, 1.0])
    mean, error = mean_and_error(jnp.asarray(each), True)
    assert float(mean) == 3.0 and float(error) == pytest.approx(np.std([2.0, 4.0, 3.0]) / 3**0.5)


def test_what_is_drawn_for_one_purpose_has_nothing_to_do_with_another():
    """Paths of the verdict are none of those of the training, of the starts, or of those on which V is found."""
    data = jax.random.key_data(jax.random.key(0))
    parts = [keys.key_for(data, purpose) for purpose in range(8)]
    steps = [jax.random.fold_in(keys.key_for(data, keys.STEP), step) for step in range(10)]
    raw = [jax.random.fold_in(jax.random.key(0), step) for step in range(8, 101)]
    seen = {tuple(jax.random.key_data(key).tolist()) for key in (*parts, *steps, *raw)}
    assert len(seen) == 8 + 10 + 93
    prepared = bx.solvers.PolicyGradient(**TINY, start={"x": 0.0}).prepare(line(plain))
    arguments = prepared.arguments({"discount": 0.9})
    begun, state = jax.jit(prepared.begin)(arguments, None)
    trained = [
        prepared.shares(begun, state._replace(total=jnp.asarray(k, jnp.int32)), jnp.asarray(True)) for k in range(5)
    ]
    judged = [prepared._others(begun, state, purpose) for purpose in (keys.VALUE, keys.FINAL, keys.VERDICT)]
    assert len({float(shares[0, 0]) for shares, _ in (*trained, *judged)}) == 8
    assert len({tuple(jax.random.key_data(key).tolist()) for _, key in (*trained, *judged)}) == 8
