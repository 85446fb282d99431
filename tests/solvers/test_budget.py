"""Smooth constraints over several continuous actions, which Newton follows: against bounds and closed forms.

At its edge a constraint says how actions move and what more of a state is worth; there V_s is not Q_s.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

PARAMS = {"price": 1.5, "taste": 0.6, "discount": 0.9, "R": 1.02}
WEALTH = np.linspace(0.6, 5.5, 7)


def left(wealth, food, housing, price):
    return wealth - food - price * housing


def household(bounded=False, **changes):
    """Log utility of food and housing beside a little that is free, out of wealth; the poor spend all they have."""
    room = (lambda wealth, food, price: (wealth - food) / price) if bounded else 10.0
    slots = {
        "states": {"wealth": bx.Continuous(0.5, 6.0)},
        "actions": {"food": bx.Continuous(1e-3, "wealth" if bounded else 10.0), "housing": bx.Continuous(1e-3, room)},
        "functions": {"left": left},
        "transitions": {"wealth": lambda left, R: 1.0 + R * left},
        "reward": lambda food, housing, taste: taste * jnp.log(food) + (1 - taste) * jnp.log(housing + 0.1),
        "horizon": 4,
        "constraints": {} if bounded else {"budget": bx.nonnegative(lambda left: left)},
    }
    return bx.Model(**{**slots, **changes})


SOLVER = bx.solvers.BackwardInduction(grid={"wealth": 20})
MODEL = household()


@pytest.fixture(scope="module")
def solution():
    return bx.solve(MODEL, PARAMS, SOLVER)


@pytest.fixture(scope="module")
def bounded():
    return bx.solve(household(bounded=True), PARAMS, SOLVER)


def test_the_front_door_takes_newton_and_hermite():
    why = bx.choose_solver(MODEL)[1]
    assert "Newton for the continuous actions, Hermite interpolation" in why


def test_a_budget_is_worth_what_a_bound_is(solution, bounded):
    """And so are the slopes of V at the nodes, which are those of Q alone nowhere that the budget binds."""
    for period in range(4):
        np.testing.assert_allclose(
            solution.value(period=period, wealth=WEALTH), bounded.value(period=period, wealth=WEALTH), atol=1e-12
        )
    np.testing.assert_allclose(solution.values.slopes[0], bounded.values.slopes[0], rtol=1e-10, atol=1e-10)
    first = solution.policy(period=0, wealth=WEALTH)
    rest = left(WEALTH, first["food"], first["housing"], 1.5)
    assert abs(rest[0]) < 1e-12 and rest[-1] > 0.5  # the poorest spend all they have, and the richest save


def test_the_last_period_in_closed_form(solution):
    """All is spent: food = taste (w + .1 p), the rest on housing, dV/dw = 1 / (w + .1 p); w = 1 + R s from a node."""
    wealth, whole = WEALTH, WEALTH + 0.15
    last = solution.policy(period=3, wealth=wealth)
    np.testing.assert_allclose(last["food"], 0.6 * whole, rtol=1e-12)
    np.testing.assert_allclose(last["housing"], 0.4 * whole / 1.5 - 0.1, rtol=1e-12)
    steep = jax.jit(jax.vmap(jax.grad(lambda w: solution.value(period=3, wealth=w))))(wealth)
    np.testing.assert_allclose(steep, 1 / whole, rtol=1e-12)
    moves = jax.jit(jax.vmap(jax.grad(lambda w: solution.policy(period=3, wealth=w)["housing"])))(wealth)
    np.testing.assert_allclose(moves, 0.4 / 1.5, rtol=1e-10)


@pytest.mark.long
def test_a_derivative_on_the_edge_and_off_it():
    """Of V in the price, by reverse mode: the poor spend all in both periods, the rich do not."""
    model = household(horizon=2)
    solver = bx.solvers.BackwardInduction(grid={"wealth": 12})

    @jax.jit
    def value(price):
        return bx.solve(model, {**PARAMS, "price": price}, solver).value(period=0, wealth=jnp.array([0.7, 5.0]))

    found = jax.jit(jax.jacrev(value))(1.5)
    np.testing.assert_allclose(found, (value(1.5 + 1e-5) - value(1.5 - 1e-5)) / 2e-5, rtol=1e-7)


@pytest.mark.long
def test_derivatives_in_parameters_are_those_of_the_optimum():
    """Central differences, where the budget binds and where it does not, and of what is done on its edge."""

    @functools.partial(jax.jit, static_argnums=1)
    def found(params, asked=True):
        solved = bx.solve(MODEL, params, SOLVER)
        value = solved.value(period=0, wealth=jnp.array([0.7, 3.0]))
        return jnp.concatenate([value, solved.policy(period=0, wealth=jnp.array([0.7, 3.0]))["housing"]])

    forward = jax.jit(jax.jacfwd(found))(PARAMS)
    reverse = jax.jit(jax.jacrev(found))(PARAMS)
    for name, number in PARAMS.items():
        ends = [found({**PARAMS, name: number + step}) for step in (1e-5, -1e-5)]
        expected = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(forward[name], expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(reverse[name], forward[name], rtol=1e-9, atol=1e-11)
    assert abs(float(forward["price"][2])) > 0.1


def test_many_parameters_at_once(solution):
    prices = jnp.array([1.0, 1.5])
    run = bx.compile(MODEL, SOLVER)
    values = jax.jit(jax.vmap(lambda price: run({**PARAMS, "price": price}).value(period=3, wealth=2.0)))(prices)
    whole = 2.0 + 0.1 * np.asarray(prices)
    expected = 0.6 * np.log(0.6 * whole) + 0.4 * np.log(0.4 * whole / np.asarray(prices))
    np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_paths_and_certificate_stay_within_the_budget(solution):
    panel = bx.simulate(solution, agents=20, start={"wealth": np.linspace(0.5, 6.0, 20)})
    rest = left(panel.states["wealth"], panel.actions["food"], panel.actions["housing"], 1.5)
    assert (rest >= -1e-11).all() and (np.abs(rest) < 1e-11).any() and (rest > 0.1).any()
    certificate = bx.certify(solution, points=60, agents=20)
    assert 0 <= certificate.missed < 1e-9  # a scan that went beyond the edge would find more
    assert certificate.euler_missing == "a constraint on a continuous action"


def test_a_certificate_sees_what_a_search_on_the_edge_missed():
    """A single step of Newton's method from two candidates is not the optimum."""
    maximiser = bx.maximise.Newton(grid={"food": 2, "housing": 2}, steps=1)
    solver = bx.solvers.BackwardInduction(grid={"wealth": 20}, maximiser=maximiser)
    poor = bx.solve(household(horizon=1), PARAMS, solver)
    missed = bx.certify(poor, points=40, agents=5).missed
    asked = np.linspace(0.5, 6.0, 200)
    whole = asked + 0.15
    best = 0.6 * np.log(0.6 * whole) + 0.4 * np.log(0.4 * whole / 1.5)
    chosen = poor.policy(period=0, wealth=asked)
    own = 0.6 * np.log(chosen["food"]) + 0.4 * np.log(chosen["housing"] + 0.1)
    assert 0.5 * (best - own).max() < missed <= 1.02 * (best - own).max()


@pytest.mark.long
def test_taste_shocks_and_regimes():
    """What is worth as much as with a bound where discrete choices are smooth, and where regimes follow each other."""

    def tastes(bounded):
        return household(
            bounded,
            actions={"work": bx.Discrete(2), **household(bounded).graphs[""].regime.actions},
            transitions={"wealth": lambda left, work, R: 0.7 + 0.6 * work + R * left},
            reward=lambda food, housing, work, taste: (
                taste * jnp.log(food) + (1 - taste) * jnp.log(housing + 0.1) - 0.5 * work
            ),
            taste_shocks=bx.ExtremeValue(0.2, over=("work",)),
            horizon=3,
        )

    one, other = (bx.solve(tastes(bounded), PARAMS, SOLVER) for bounded in (False, True))
    np.testing.assert_allclose(one.values.levels, other.values.levels, atol=1e-12)
    np.testing.assert_allclose(one.values.slopes[0], other.values.slopes[0], rtol=1e-9)
    chances = [each.choice_probabilities(period=0, wealth=WEALTH) for each in (one, other)]
    np.testing.assert_allclose(chances[0], chances[1], atol=1e-12)


def test_a_comparison_is_told_and_its_loss_is_seen():
    """What is left must not be negative, said as a comparison: candidates stop short of the edge."""
    model = household(constraints={"budget": lambda left: left >= 0}, horizon=1)
    assert "'budget' is a comparison that sees the continuous actions 'food', 'housing'" in bx.choose_solver(model)[1]
    with pytest.warns(bx.CoarseWarning, match="10,000 candidates in every state.*certify.*bx.nonnegative"):
        coarse = bx.solve(model, PARAMS, bx.solvers.BackwardInduction(grid={"wealth": 12}))
    nodes = np.linspace(0.5, 6.0, 12)
    whole = nodes + 0.15
    lost = 0.6 * np.log(0.6 * whole) + 0.4 * np.log(0.4 * whole / 1.5) - np.asarray(coarse.values.levels[0])
    assert lost.max() > 0.01
    assert bx.certify(coarse, points=60, agents=5).missed > 0.3 * lost.max()
