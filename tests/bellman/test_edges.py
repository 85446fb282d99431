"""Derivatives where an edge of smooth constraints and kinks of Q hold an optimum together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def spent(reward: object, **more: object) -> bx.Model:
    """c and h are bought with w at prices 1 and p; k says where the kink is."""
    return bx.Model(
        states={"w": bx.Continuous(1.0, 6.0)},
        actions={"c": bx.Continuous(0.0, 5.0), "h": bx.Continuous(0.01, 5.0)},
        transitions={"w": bx.fixed},
        constraints={"budget": bx.nonnegative(lambda w, c, h, p: w - c - p * h), **more},
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


def spends(x: jax.Array) -> jax.Array:
    """No kink is near: (w + .1) / 2 is for c + .1, and for p h."""
    p, k, w = x
    half = 0.5 * (w + 0.1)
    return jnp.stack([2 * jnp.log(half) - jnp.log(p), half - 0.1, half / p])


CASES = {
    "a kink along one action": (
        spent(lambda c, h, k: 2 * jnp.minimum(c, k) + 0.1 * jnp.maximum(c - k, 0.0) + jnp.log(h)),
        stays_at_k,
    ),
    "an oblique kink": (spent(lambda c, h, k: jnp.log(c + 0.1) + jnp.log(h) - 1.5 * jnp.abs(c - k * h)), follows_kh),
    "an edge alone": (
        spent(lambda c, h, k: jnp.log(c + 0.1) + jnp.log(h) - jnp.maximum(c - 4.9 * k, 0.0)),
        spends,
    ),
}


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        ("a kink along one action", jax.jacrev),
        ("an oblique kink", jax.jacfwd),
        pytest.param("a kink along one action", jax.jacfwd, marks=pytest.mark.long),
        pytest.param("an oblique kink", jax.jacrev, marks=pytest.mark.long),
        pytest.param("an edge alone", jax.jacrev, marks=pytest.mark.long),
    ],
)
def test_derivatives_are_those_of_the_closed_form(case: str, mode: object, jitted: object) -> None:
    model, exact = CASES[case]

    def answers(x: jax.Array) -> jax.Array:
        params = {"p": x[0], "k": x[1], "discount": 0.9}
        found = bx.solve(model, params, bx.solvers.BackwardInduction(grid={"w": 5}))
        chosen = found.policy(0, w=x[2])
        return jnp.stack([found.value(0, w=x[2]), chosen["c"], chosen["h"]])

    at = jnp.asarray([[1.2, 1.0, 2.3], [0.9, 1.1, 3.1]])
    both = jitted(jax.vmap(mode(lambda x: (answers(x),) * 2, has_aux=True)))
    steep, level = both(at)
    np.testing.assert_allclose(level, jax.vmap(exact)(at), atol=1e-9)
    np.testing.assert_allclose(steep, jax.vmap(jax.jacfwd(exact))(at), atol=1e-6)


def test_where_two_edges_meet_each_has_its_worth() -> None:
    """max c + 1.5 h, c + 2 h <= w, 2 c + h <= 2.2: prices 2/3 and 1/6. Along each action both are met at once, so that
    no kink between them shows; a kink of Q may be anywhere, as V between nodes is a straight line."""
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


def test_two_edges_and_a_kink_are_not_known() -> None:
    """c = k h, and on both edges: nobody tells the three apart."""
    model = spent(
        lambda c, h, k: jnp.log(c + 0.1) + jnp.log(h) - 1.5 * jnp.abs(c - k * h),
        cap=bx.nonnegative(lambda w, c, h, p: w - 0.5 * (1 + p) * c - 0.5 * (1 + p) * h),
    )
    solver = bx.solvers.BackwardInduction(grid={"w": 5})
    steep = jax.grad(lambda p: bx.solve(model, {"p": p, "k": 1.0, "discount": 0.9}, solver).value(0, w=2.3))(1.2)
    assert np.isnan(steep)


def test_where_q_is_no_number_beyond_an_edge_nobody_knows_what_it_is_worth() -> None:
    model = spent(lambda w, c, h, p, k: 2 * c + h - 0.1 * jnp.abs(c - k * h) - (w - c - p * h) ** 1.5)
    params = {"p": 1.2, "k": 1.0, "discount": 0.9}
    steep = jax.grad(lambda w: bx.solve(model, params, bx.solvers.BackwardInduction(grid={"w": 5})).value(0, w=w))(2.3)
    assert np.isnan(steep)
