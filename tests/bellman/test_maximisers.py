"""Maximisers agree with closed forms, with scipy and with each other; options that cannot be honoured raise."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import bellax as bx
from bellax.bellman.maximisers.maximum import Maximiser, Optimum
from bellax.bellman.objective import Decision

NEWTON, GOLDEN, ENUMERATE = bx.maximise.Newton, bx.maximise.Golden, bx.maximise.Enumerate


def one_period(maximiser, reward, params=None, actions=None, w=(0.5, 1.0, 2.0), **slots):
    """What is chosen at some states of a single decision, with reward a function of names."""
    m = bx.Model(
        states={"w": bx.Continuous(0.1, 3.0)},
        actions=actions or {"c": bx.Continuous(0.0, "w")},
        transitions={"w": bx.fixed},
        reward=reward,
        discount=0.9,
        horizon=1,
        **slots,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 4}, maximiser=maximiser, interpolant=bx.interpolants.Linear())
    found = bx.solve(m, params or {}, solver)
    w = np.asarray(w)
    return found.value(period=0, w=w), found.policy(period=0, w=w)


SMOOTH = [
    (NEWTON(), 1e-11),
    (GOLDEN(), 1e-7),
    (GOLDEN(polish=NEWTON()), 1e-11),
    (ENUMERATE(polish=NEWTON()), 1e-11),
]
GRID = [
    (ENUMERATE(grid={"c": 2001}), 1e-3),
    (ENUMERATE(grid={"c": 2001}, single_peaked=("c",)), 1e-3),
    (ENUMERATE(grid={"c": bx.grids.Given(np.linspace(0, 3, 3001))}), 1e-3),
    (ENUMERATE(grid={"c": bx.grids.Given(np.linspace(0, 3, 3001))}, single_peaked=("c",)), 1e-3),
]


@pytest.mark.parametrize(("maximiser", "tolerance"), SMOOTH + GRID)
def test_an_interior_optimum(maximiser, tolerance):
    """max of log c + 2 log(w - c + 1): c = (w + 1) / 3, at most w."""
    value, chosen = one_period(maximiser, lambda w, c: jnp.log(c + 1e-3) + 2 * jnp.log(w - c + 1))
    w = np.array([0.5, 1.0, 2.0])
    c = np.minimum((w + 1 - 2e-3) / 3, w)
    np.testing.assert_allclose(chosen["c"], c, atol=tolerance)
    np.testing.assert_allclose(value, np.log(c + 1e-3) + 2 * np.log(w - c + 1), atol=max(tolerance**2, 1e-12))


@pytest.mark.parametrize(("maximiser", "tolerance"), SMOOTH[:2] + GRID[:1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_optimum_at_a_bound_is_the_bound(maximiser, tolerance, sign):
    if isinstance(maximiser, GOLDEN):
        maximiser = GOLDEN(polish=NEWTON())  # values alone come within the square root of rounding
    value, chosen = one_period(maximiser, lambda w, c, sign: sign * (c + 0.1 * c**2), {"sign": sign})
    bound = np.array([0.5, 1.0, 2.0]) if sign > 0 else np.zeros(3)
    np.testing.assert_array_equal(chosen["c"], bound)
    np.testing.assert_array_equal(value, sign * (bound + 0.1 * bound**2))


def test_golden_alone_hits_a_bound_to_its_tolerance_and_never_loses_to_a_candidate():
    value, chosen = one_period(GOLDEN(), lambda w, c: c)
    np.testing.assert_array_equal(chosen["c"], [0.5, 1.0, 2.0])


def test_where_a_naive_newton_goes_astray():
    """Two hills and a valley: the derivative vanishes in the valley, where Newton's own step would stay."""
    hills = lambda w, c: jnp.exp(-40 * (c - 0.3) ** 2) + 1.2 * jnp.exp(-40 * (c - 1.5) ** 2)  # noqa: E731
    c = np.linspace(0, 2, 200001)
    best = c[np.argmax(np.exp(-40 * (c - 0.3) ** 2) + 1.2 * np.exp(-40 * (c - 1.5) ** 2))]
    for maximiser in (NEWTON(grid={"c": 40}), GOLDEN(grid={"c": 40}), ENUMERATE(grid={"c": 4001})):
        _, chosen = one_period(maximiser, hills, w=[2.0])
        np.testing.assert_allclose(chosen["c"], best, atol=1e-3)
    # flat to the left, steep at the right: the sigmoid's curvature has the wrong sign over most of the range
    value, chosen = one_period(NEWTON(), lambda w, c: 1 / (1 + jnp.exp(-20 * (c - 1.6))) - 0.05 * c, w=[2.0])
    c = np.linspace(0, 2, 2000001)
    truth = 1 / (1 + np.exp(-20 * (c - 1.6))) - 0.05 * c
    np.testing.assert_allclose(value[0], truth.max(), rtol=1e-9)


def box(a, b, w):
    """A concave objective whose optimum is inside the box, on an edge or in a corner, by w."""
    return np.sqrt(a + 0.1) + np.log(b + 0.2) - 0.6 * (a + b) * (1 + 0.3 * a * b) + 0.4 * w * a - 0.2 * w**2 * b


@pytest.mark.parametrize("maximiser", [NEWTON(), GOLDEN(rounds=30), ENUMERATE(grid={"a": 401, "b": 401})])
def test_two_actions_in_a_box_against_scipy(maximiser):
    tolerance = {NEWTON: 1e-6, GOLDEN: 1e-4, ENUMERATE: 3e-3}[type(maximiser)]
    reward = lambda a, b, w: (  # noqa: E731
        jnp.sqrt(a + 0.1) + jnp.log(b + 0.2) - 0.6 * (a + b) * (1 + 0.3 * a * b) + 0.4 * w * a - 0.2 * w**2 * b
    )
    actions = {"a": bx.Continuous(0.0, 1.0), "b": bx.Continuous(0.1, 1.5)}
    w = np.array([0.1, 1.0, 2.0, 3.0])
    value, chosen = one_period(maximiser, reward, actions=actions, w=w)
    for k, x in enumerate(w):
        runs = [
            minimize(lambda z, x=x: -box(z[0], z[1], x), start, bounds=[(0, 1), (0.1, 1.5)], tol=1e-14)
            for start in ((0.5, 0.5), (0.9, 0.2), (0.1, 1.4))
        ]
        best = min(runs, key=lambda run: run.fun)
        np.testing.assert_allclose(value[k], -best.fun, atol=1e-9 if tolerance < 1e-3 else 1e-5)
        np.testing.assert_allclose([chosen["a"][k], chosen["b"][k]], best.x, atol=tolerance)
    np.testing.assert_array_equal(chosen["a"][2:], 1.0)


def test_a_bound_that_names_another_action_and_equal_bounds():
    """b may take what a leaves; a third action has no room at all."""
    actions = {
        "none": bx.Continuous(0.25, 0.25),
        "b": bx.Continuous(0.0, lambda w, a: w - a),
        "a": bx.Continuous(0.0, "w"),
    }
    reward = lambda a, b, none: jnp.log(a) + 2 * jnp.log(b) + none  # noqa: E731
    value, chosen = one_period(NEWTON(), reward, actions=actions)
    w = np.array([0.5, 1.0, 2.0])
    np.testing.assert_allclose(chosen["a"], w / 3, rtol=1e-8)
    np.testing.assert_allclose(chosen["b"], 2 * w / 3, rtol=1e-8)
    np.testing.assert_array_equal(chosen["none"], 0.25)
    np.testing.assert_allclose(value, np.log(w / 3) + 2 * np.log(2 * w / 3) + 0.25, rtol=1e-12)


@pytest.mark.parametrize("maximiser", [NEWTON(), GOLDEN(), ENUMERATE(grid={"c": 1001})])
def test_discrete_and_continuous_together_and_crossed_bounds(maximiser):
    """Working pays one and costs effort; idle, at least one must be spent, which the poor cannot."""
    actions = {
        "work": bx.Discrete(2),
        "c": bx.Continuous(lambda work: 1.0 - work, lambda w, work: w + work),
    }
    reward = lambda w, c, work: jnp.log(c + 0.1) + jnp.log(w + work - c + 0.1) - 0.8 * work  # noqa: E731
    w = np.array([0.5, 1.5, 2.9])
    value, chosen = one_period(maximiser, reward, actions=actions, w=w)
    grid = np.linspace(0, 1, 20001)
    for k, x in enumerate(w):
        works = np.log(grid * (x + 1) + 0.1) + np.log((1 - grid) * (x + 1) + 0.1) - 0.8
        c = 1 + grid * (x - 1)
        idle = np.log(c + 0.1) + np.log(x - c + 0.1) if x >= 1 else np.array([-np.inf])
        np.testing.assert_allclose(value[k], max(works.max(), idle.max()), atol=1e-5)
        assert int(chosen["work"][k]) == int(works.max() > idle.max())


def test_constraints_mask_candidates():
    actions = {"k": bx.Discrete(3), "c": bx.Continuous(0.0, 2.0)}
    m = dict(
        actions=actions,
        constraints={"affordable": lambda w, c, k: c + k <= w, "odd": lambda k: k != 1},
    )
    value, chosen = one_period(
        ENUMERATE(grid={"c": bx.grids.Given((0.0, 0.5, 1.0, 2.0))}), lambda c, k: c + 1.5 * k, w=[0.6, 1.7, 2.6], **m
    )
    # k = 1 is never allowed; k = 2 costs two, and pays three
    np.testing.assert_array_equal(chosen["k"], [0, 0, 2])
    np.testing.assert_array_equal(chosen["c"], [0.5, 1.0, 0.5])
    np.testing.assert_array_equal(value, [0.5, 1.0, 3.5])


def test_a_constraint_on_a_discrete_action_is_for_every_maximiser():
    actions = {"k": bx.Discrete(3), "c": bx.Continuous(0.0, 1.0)}
    for maximiser in (NEWTON(), GOLDEN()):
        value, chosen = one_period(
            maximiser,
            lambda c, k: k - (c - 0.3) ** 2,
            actions=actions,
            constraints={"small": lambda k, w: k < w},
            w=[0.6, 1.7, 2.6],
        )
        np.testing.assert_array_equal(chosen["k"], [0, 1, 2])
        np.testing.assert_allclose(chosen["c"], 0.3, atol=1e-6)


BUDGET = bx.nonnegative(lambda w, c: w - c)


@pytest.mark.parametrize(
    ("maximiser", "slots", "message"),
    [
        (
            NEWTON(),
            {"constraints": {"budget": lambda w, c: c < w}},
            "Newton cannot honour 'constraint budget'.*'c'.*bound",
        ),
        (
            GOLDEN(),
            {"constraints": {"budget": lambda w, c: c < w}},
            "Golden cannot honour.*bx.nonnegative.*Enumerate masks",
        ),
        (
            GOLDEN(),
            {"constraints": {"budget": BUDGET}},
            "Golden cannot honour 'constraint budget'.*'c'.*Use bx.maximise.Newton, which follows the edge",
        ),
        (
            bx.maximise.EGM(action="c"),
            {"constraints": {"budget": BUDGET}},
            "EGM cannot honour .constraint budget.*Use bx.maximise.Newton",
        ),
        (
            ENUMERATE(single_peaked=("c",)),
            {"constraints": {"budget": BUDGET}},
            "single_peaked= cannot mask constraints",
        ),
        (NEWTON(grid={"c": bx.grids.Given((0.0, 1.0))}), {}, "Newton starts.*grids.Given is for Enumerate"),
        (GOLDEN(grid={"c": bx.grids.Given((0.0, 1.0))}), {}, "Golden.*grids.Given is for Enumerate"),
        (NEWTON(), {"actions": {"c": bx.Continuous(0.0)}}, "action 'c' has an infinite one"),
        (ENUMERATE(), {"actions": {"c": bx.Continuous(0.0)}}, "action 'c' has an infinite one"),
        (ENUMERATE(grid={"d": 3}), {}, "grid of a continuous action 'd' is unknown.*Known: 'c'"),
        (NEWTON(grid={"cc": 3}), {}, "'cc' is unknown. Did you mean 'c'"),
        (GOLDEN(grid={"c": 1}), {}, "has 1 candidates; give at least 2"),
        (ENUMERATE(single_peaked=("d",)), {}, "single_peaked action 'd' is unknown"),
        (
            ENUMERATE(single_peaked=("c",)),
            {"constraints": {"budget": lambda w, c: c < w}},
            "single_peaked= cannot mask constraints",
        ),
    ],
)
def test_what_cannot_be_honoured_raises(maximiser, slots, message):
    with pytest.raises(bx.ModelError, match=message):
        one_period(maximiser, lambda c: c, **slots)


@dataclass(frozen=True)
class KnownShare(Maximiser):
    """The same share of every bound, at all nodes together; it cannot be asked for one state."""

    share: float
    smooth = False

    def over(self, objective, mesh, memory):
        count = math.prod(mesh.shape)
        shares, ones = jnp.full((count, 1), self.share), jnp.ones(count)
        decision = Decision(jnp.zeros(count, jnp.int32), shares)
        return Optimum(None, decision, ones[:, None], shares[:, None], ones > 0, ones)

    def best(self, objective, point, combination):
        raise NotImplementedError

    def cells(self, plan):
        return 1

    def check(self, plan):
        pass


def test_a_maximiser_may_make_whole_arrays():
    """Log utility of a cake: c = (1 - b) w, and V is linear in log w, as the interpolant is."""
    b = 0.5
    cake = bx.Model(
        states={"w": bx.Continuous(0.1, 10.0, scale=bx.scales.log)},
        actions={"c": bx.Continuous(0.0, "w")},
        transitions={"w": lambda w, c: w - c},
        reward=lambda c: jnp.log(c),
        discount=b,
    )
    solver = bx.solvers.ValueIteration(
        grid={"w": 5}, interpolant=bx.interpolants.Linear("linear"), maximiser=KnownShare(1 - b), tolerance=1e-12
    )
    found = bx.solve(cake, {}, solver)
    truth = np.log((1 - b) * np.geomspace(0.1, 10.0, 5)) / (1 - b) + b * np.log(b) / (1 - b) ** 2
    np.testing.assert_allclose(found.values.levels, truth, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("maximiser", "grid"),
    [
        (NEWTON(), {"c": 29}),
        (NEWTON(grid={"c": 5}), {"c": 9}),
        (GOLDEN(), {"c": 49}),
        (ENUMERATE(grid={"c": 11}), {"c": 21}),
        (ENUMERATE(grid={"c": bx.grids.Given([0.0, 1.0])}), {"c": bx.grids.Given([0.0, 0.5, 1.0])}),
        (bx.maximise.EGM(grid={"saved": 20}), {"saved": 39}),
    ],
)
def test_twice_as_many_candidates(maximiser, grid):
    model = bx.Model(
        states={"w": bx.Continuous(0.1, 3.0)},
        actions={"c": bx.Continuous(0.0, "w")},
        functions={"saved": lambda w, c: w - c},
        transitions={"w": lambda saved: saved + 1.0},
        reward=lambda c: jnp.log(c),
        horizon=2,
    )
    plan = bx.solvers.BackwardInduction(maximiser=maximiser).prepare(model).plan
    assert maximiser.completed(plan).resized(plan, 2.0).grid == grid
