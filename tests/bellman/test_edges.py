"""Derivatives where the edges of smooth constraints hold an optimum, alone or together with kinks of Q."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

GOODS = {"c": bx.Continuous(0.0, 5.0), "h": bx.Continuous(0.01, 5.0)}
BUDGET = bx.nonnegative(lambda w, c, h, p: w - c - p * h)


def spent(reward: object, budget: object = BUDGET, actions: dict = GOODS, **constraints: object) -> bx.Model:
    """c and h are bought with w at prices 1 and p; k says where the kink is."""
    return bx.Model(
        states={"w": bx.Continuous(1.0, 6.0)},
        actions=actions,
        transitions={"w": bx.fixed},
        constraints={"budget": budget, **constraints},
        reward=reward,
        horizon=1,
    )


def stays_at_k(x: jax.Array) -> jax.Array:
    """c = k, and what is left is for h."""
    p, k, w = x
    h = (w - k) / p
    return jnp.stack([2 * k + jnp.log(h), k, h])


def follows_kh(x: jax.Array) -> jax.Array:
    """c = k h, the kink, where it meets the budget."""
    p, k, w = x
    h = w / (k + p)
    return jnp.stack([jnp.log(k * h + 0.1) + jnp.log(h), k * h, h])


def on_the_ball(x: jax.Array) -> jax.Array:
    """c = k, and the edge bends: p h^2 = w^2 / 5 - k^2."""
    p, k, w = x
    h = jnp.sqrt((0.2 * w**2 - k**2) / p)
    return jnp.stack([k + 0.5 * h, k, h])


def spends(x: jax.Array) -> jax.Array:
    """No kink is near: (w + .1) / 2 is for c + .1, and for p h."""
    p, k, w = x
    half = 0.5 * (w + 0.1)
    return jnp.stack([2 * jnp.log(half) - jnp.log(p), half - 0.1, half / p])


def between_three(x: jax.Array) -> jax.Array:
    """c = k h, and e: half of each of the others for what a unit of h with k of c costs."""
    p, k, w = x
    h = w / (2 * (k + p))
    return jnp.stack([jnp.log(k * h) + jnp.log(h) + 2 * jnp.log(0.5 * w), k * h, 0.5 * w, h])


CASES = {
    "along one action": (
        spent(lambda c, h, k: 2 * jnp.minimum(c, k) + 0.1 * jnp.maximum(c - k, 0.0) + jnp.log(h)),
        stays_at_k,
    ),
    "oblique": (spent(lambda c, h, k: jnp.log(c + 0.1) + jnp.log(h) - 1.5 * jnp.abs(c - k * h)), follows_kh),
    "in other units": (
        spent(
            lambda c, h, k: jnp.log(c + 0.1) + jnp.log(h) - 1.5 * jnp.abs(c - k * h),
            bx.nonnegative(lambda w, c, h, p: 1e3 * (w - c - p * h)),
        ),
        follows_kh,
    ),
    "an edge that bends": (
        spent(
            lambda c, h, k: c + 0.5 * h - 0.3 * jnp.abs(c - k) - jnp.maximum(c - k, 0.0),
            bx.nonnegative(lambda w, c, h, p: 0.2 * w**2 - c**2 - p * h**2),
        ),
        on_the_ball,
    ),
    "three actions": (
        spent(
            lambda c, h, e, k: jnp.log(c) + jnp.log(h) + 2 * jnp.log(e) - 3 * jnp.abs(c - k * h),
            bx.nonnegative(lambda w, c, h, e, p: w - c - p * h - e),
            actions={"c": bx.Continuous(0.01, 5.0), "h": GOODS["h"], "e": bx.Continuous(0.01, 5.0)},
        ),
        between_three,
    ),
    "no kink is near": (
        spent(lambda c, h, k: jnp.log(c + 0.1) + jnp.log(h) - jnp.maximum(c - 4.9 * k, 0.0)),
        spends,
    ),
}


def answers(model: bx.Model, x: jax.Array) -> jax.Array:
    params = {"p": x[0], "k": x[1], "discount": 0.9}
    found = bx.solve(model, params, bx.solvers.BackwardInduction(grid={"w": 5}))
    chosen = found.policy(0, w=x[2])
    return jnp.stack([found.value(0, w=x[2]), *(chosen[name] for name in sorted(chosen))])


LONG = partial(pytest.param, marks=pytest.mark.long)


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        ("an edge that bends", jax.jacrev),
        LONG("oblique", jax.jacfwd),
        LONG("along one action", jax.jacfwd),
        LONG("along one action", jax.jacrev),
        LONG("oblique", jax.jacrev),
        LONG("in other units", jax.jacrev),
        LONG("an edge that bends", jax.jacfwd),
        LONG("three actions", jax.jacrev),
        LONG("no kink is near", jax.jacrev),
    ],
)
def test_derivatives_are_those_of_the_closed_form(case: str, mode: object, jitted: object) -> None:
    model, exact = CASES[case]
    at = jnp.asarray([[1.2, 1.0, 3.3], [0.9, 1.1, 3.1]])
    both = jitted(jax.vmap(mode(lambda x: (answers(model, x),) * 2, has_aux=True)))
    steep, level = both(at)
    np.testing.assert_allclose(level, jax.vmap(exact)(at), atol=1e-9)
    np.testing.assert_allclose(steep, jax.vmap(jax.jacfwd(exact))(at), atol=1e-6)


@pytest.mark.long
def test_second_derivatives_on_an_edge_that_bends(jitted: object) -> None:
    """max log c + log h on the quarter of a circle whose radius is w: V = 2 log w - log 2, c = w / sqrt 2."""
    model = bx.Model(
        states={"w": bx.Continuous(1.0, 4.0)},
        actions={"c": bx.Continuous(0.1, 5.0), "h": bx.Continuous(0.1, 5.0)},
        transitions={"w": bx.fixed},
        constraints={"disc": bx.nonnegative(lambda w, c, h, k: (k * w) ** 2 - c**2 - h**2)},
        reward=lambda c, h: jnp.log(c) + jnp.log(h),
        horizon=1,
    )

    def asked(x: jax.Array) -> jax.Array:
        found = bx.solve(model, {"k": x[1], "discount": 0.9}, bx.solvers.BackwardInduction(grid={"w": 4}))
        return jnp.stack([found.value(0, w=x[0]), found.policy(0, w=x[0])["c"]])

    exact = lambda x: jnp.stack([2 * jnp.log(x[0] * x[1]) - jnp.log(2.0), x[0] * x[1] / jnp.sqrt(2.0)])  # noqa: E731
    at = jnp.asarray([2.2, 1.0])
    np.testing.assert_allclose(jitted(jax.hessian(asked))(at), jax.hessian(exact)(at), atol=1e-8)


def test_where_two_edges_meet_each_has_its_worth() -> None:
    """max c + 1.5 h, c + 2 h <= w, 2 c + h <= 2.2: prices 2/3 and 1/6. Along each action both are met at once; a kink
    of Q may be anywhere, as V between nodes is a straight line."""
    model = bx.Model(
        states={"w": bx.Continuous(1.5, 3.0)},
        actions={"c": bx.Continuous(0.0, 3.0), "h": bx.Continuous(0.0, 3.0)},
        transitions={"w": bx.fixed},
        constraints={
            "one": bx.nonnegative(lambda w, c, h: w - c - 2 * h),
            "other": bx.nonnegative(lambda c, h: 2.2 - 2 * c - h),
        },
        reward=lambda c, h: c + 1.5 * h,
        horizon=1,
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 4}, interpolant=bx.interpolants.Linear())
    found = bx.solve(model, {"discount": 0.9}, solver)
    asked = lambda w: jnp.stack([found.value(0, w=w), found.policy(0, w=w)["c"], found.policy(0, w=w)["h"]])  # noqa: E731
    np.testing.assert_allclose(jax.jacrev(asked)(2.0), [2 / 3, -1 / 3, 2 / 3], atol=1e-9)


def test_kinks_that_every_action_meets_at_once_have_no_derivative() -> None:
    """The same with penalties in place of constraints: along each action both kinks look like one, which does not hold
    the optimum. V was said to rise by .417 for a unit of w, and rises by 2/3."""
    model = bx.Model(
        states={"w": bx.Continuous(1.5, 3.0)},
        actions={"c": bx.Continuous(0.0, 3.0), "h": bx.Continuous(0.0, 3.0)},
        transitions={"w": bx.fixed},
        reward=lambda w, c, h: (
            c + 1.5 * h - 3 * jnp.maximum(c + 2 * h - w, 0.0) - 3 * jnp.maximum(2 * c + h - 2.2, 0.0)
        ),
        horizon=1,
    )
    found = bx.solve(model, {"discount": 0.9}, bx.solvers.BackwardInduction(grid={"w": 4}))
    np.testing.assert_allclose(found.value(0, w=2.0), 1.7, rtol=1e-9)
    assert np.isnan(jax.grad(lambda w: found.value(0, w=w))(2.0))
    assert np.isnan(jax.grad(lambda w: found.policy(0, w=w)["c"])(2.0))


@pytest.mark.parametrize("mode", [jax.jacrev, LONG(jax.jacfwd)])
def test_an_infinite_slope_of_another_constraint_does_no_harm(mode: object, jitted: object) -> None:
    """c = 0 at its bound, where a root that never binds is infinitely steep; h = w / p and V = k log h. Without the
    edge nothing would move."""
    model = spent(lambda c, h, k: k * jnp.log(h) - c, slack=bx.nonnegative(lambda c, h: 9.0 - jnp.sqrt(c) - h))
    found = jitted(mode(partial(answers, model)))(jnp.asarray([1.2, 1.0, 3.3]))
    exact = jax.jacfwd(lambda x: jnp.stack([x[1] * jnp.log(x[2] / x[0]), 0.0 * x[0], x[2] / x[0]]))
    np.testing.assert_allclose(found, exact(jnp.asarray([1.2, 1.0, 3.3])), atol=1e-9)


def test_at_a_kink_of_a_constraint_there_is_no_derivative_and_beside_it_there_is(jitted: object) -> None:
    """c costs three times as much beyond k: c = k for k = 1.1, and what log c + log h buys without it for k = 3."""
    dearer = bx.nonnegative(lambda w, c, h, p, k: w - c - p * h - 2 * jnp.maximum(c - k, 0.0))
    ask = jitted(jax.jacfwd(partial(answers, spent(lambda c, h: jnp.log(c + 0.1) + jnp.log(h), dearer))))
    assert np.isnan(ask(jnp.asarray([0.9, 1.1, 3.1]))).all()
    at = jnp.asarray([0.9, 3.0, 3.1])
    np.testing.assert_allclose(ask(at), jax.jacfwd(spends)(at), atol=1e-8)


def test_where_q_is_level_along_an_edge_the_value_moves_and_nobody_knows_how_the_policy_does(jitted: object) -> None:
    """Utility is of what is spent, log(c + p h), and all of w is: V = log w, whatever is bought."""
    model = spent(lambda c, h, p, k: jnp.log(c + p * h) + 0.0 * k)
    found = jitted(jax.vmap(jax.jacrev(partial(answers, model))))(jnp.asarray([[1.3, 1.0, 3.3], [0.7, 1.0, 2.9]]))
    np.testing.assert_allclose(found[:, 0], [[0.0, 0.0, 1 / 3.3], [0.0, 0.0, 1 / 2.9]], atol=1e-9)
    assert np.isnan(found[:, 1:, [0, 2]]).all()


@pytest.mark.parametrize("mode", [jax.jacrev, LONG(jax.jacfwd)])
def test_a_vertex_moves_with_its_edges(mode: object, jitted: object) -> None:
    """c + p h = w and 2 c + h = 2.2 k, where no curvature of Q has a part in it."""
    other = bx.nonnegative(lambda c, h, k: 2.2 * k - 2 * c - h)
    model = spent(lambda c, h: 2 * jnp.log(c + 0.1) + 2 * jnp.log(h), other=other)

    def exact(x: jax.Array) -> jax.Array:
        p, k, w = x
        h = (2 * w - 2.2 * k) / (2 * p - 1)
        return jnp.stack([2 * jnp.log(w - p * h + 0.1) + 2 * jnp.log(h), w - p * h, h])

    at = jnp.asarray([[2.0, 1.0, 2.1], [2.1, 1.02, 2.0]])
    ask = jitted(jax.vmap(mode(lambda x: (answers(model, x),) * 2, has_aux=True)))
    steep, level = ask(at)
    np.testing.assert_allclose(level, jax.vmap(exact)(at), atol=1e-9)
    np.testing.assert_allclose(steep, jax.vmap(jax.jacfwd(exact))(at), atol=1e-8)


@pytest.mark.long
def test_choices_under_taste_shocks_have_edges_and_kinks_of_their_own(jitted: object) -> None:
    """k = 1 costs .5 and pays .3: c = q at its kink either way, h is bought with what is left, V is the log-sum."""
    model = bx.Model(
        states={"w": bx.Continuous(1.0, 6.0)},
        actions={"k": bx.Discrete(2), **GOODS},
        transitions={"w": bx.fixed},
        taste_shocks=bx.ExtremeValue("s", over=("k",)),
        constraints={"budget": bx.nonnegative(lambda w, c, h, k, p: w - 0.5 * k - c - p * h)},
        reward=lambda c, h, k, q: 2 * jnp.minimum(c, q) + 0.1 * jnp.maximum(c - q, 0.0) + jnp.log(h) + 0.3 * k,
        horizon=1,
    )

    def value(x: jax.Array) -> jax.Array:
        params = {"p": x[0], "q": x[1], "s": 0.2, "discount": 0.9}
        return bx.solve(model, params, bx.solvers.BackwardInduction(grid={"w": 5})).value(0, w=x[2])

    def exact(x: jax.Array) -> jax.Array:
        p, q, w = x
        worth = jnp.stack([2 * q + jnp.log((w - 0.5 * k - q) / p) + 0.3 * k for k in (0, 1)])
        return 0.2 * jax.nn.logsumexp(worth / 0.2)

    at = jnp.asarray([1.2, 1.0, 3.3])
    np.testing.assert_allclose(jitted(jax.jacrev(value))(at), jax.jacfwd(exact)(at), atol=1e-7)
