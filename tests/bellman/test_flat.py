"""Where nobody knows how an optimum moves: Q is flat along several actions together. V moves all the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

ACTIONS = {"a": bx.Continuous(0.0, 1.0), "b": bx.Continuous(0.0, 1.0)}
BUDGET = {"constraints": {"budget": bx.nonnegative(lambda a, b: 1.5 - a - b)}}


def answers(reward: object, more: dict, p: object) -> jax.Array:
    """V and both actions in the first of two periods."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)}, actions=ACTIONS, transitions={"x": bx.fixed}, reward=reward, horizon=2,
        **more,
    )  # fmt: skip
    solution = bx.solve(model, {"p": p, "discount": 0.9})
    policy = solution.policy(period=0, x=0.5)
    return jnp.stack([solution.value(period=0, x=0.5), policy["a"], policy["b"]])


@pytest.mark.parametrize(
    ("more", "jacobian"),
    [
        pytest.param({}, jax.jacfwd, id="bounds, forward"),
        pytest.param({}, jax.jacrev, id="bounds, reverse", marks=pytest.mark.long),
        pytest.param(BUDGET, jax.jacfwd, id="an edge elsewhere, forward", marks=pytest.mark.long),
        pytest.param(BUDGET, jax.jacrev, id="an edge elsewhere, reverse", marks=pytest.mark.long),
    ],
)
def test_a_sum_that_counts_alone(more: dict, jacobian: object) -> None:
    """a + b = p, and V = 1.9 p^2: under a transformation V was none, and its derivative zero."""
    at = lambda p: answers(lambda a, b, p: p * p - (a + b - p) ** 2, more, p)  # noqa: E731
    found, moved = np.asarray(at(0.4)), np.asarray(jacobian(at)(0.4))
    assert abs(found[0] - 1.9 * 0.16) < 1e-12 and abs(found[1] + found[2] - 0.4) < 1e-9
    assert abs(moved[0] - 1.9 * 0.8) < 1e-9
    assert np.all(np.isnan(moved[1:]))  # and in reverse mode V's derivative is not lost with them
    assert np.all(np.isfinite(np.asarray(jax.jvp(at, (0.4,), (1.0,))[0])))


@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
def test_a_hessian_that_is_singular_at_the_optimum(jacobian: object) -> None:
    """a = p, b = p / 2: a step of Newton's method said that both stay."""
    at = lambda p: answers(lambda a, b, p: -((a - p) ** 4) - (b - 0.5 * a) ** 2, {}, p)  # noqa: E731
    moved = np.asarray(jacobian(at)(0.4))
    assert abs(moved[0]) < 1e-12 and np.all(np.isnan(moved[1:]))


@pytest.mark.long
def test_second_derivatives_of_an_edge() -> None:
    """q a + b - (a^2 + b^2) / 2 on a + b = p: V = L at a = (p + q - 1) / 2, V_pp = -1 / 2, V_qq = 1 / 2."""
    edge = {"constraints": {"edge": bx.nonnegative(lambda a, b, p: p - a - b)}}

    def value(p: object, q: object) -> jax.Array:
        model = bx.Model(
            states={"x": bx.Continuous(0.0, 1.0)}, actions=ACTIONS, transitions={"x": bx.fixed}, horizon=1,
            reward=lambda a, b, q: q * a + b - (a * a + b * b) / 2, **edge,
        )  # fmt: skip
        return bx.solve(model, {"p": p, "q": q, "discount": 0.9}).value(period=0, x=0.5)

    hessian = np.asarray(jax.hessian(lambda pq: value(pq[0], pq[1]))(jnp.asarray([0.8, 1.1])))
    assert np.allclose(hessian, [[-0.5, 0.5], [0.5, 0.5]], atol=1e-8)


def test_a_constraint_that_is_zero_where_it_holds() -> None:
    """-max(a - p, 0)^2 >= 0 is a <= p: a room without an inside was nothing but its anchor."""
    model = bx.Model(
        states={"x": bx.Continuous(0.0, 1.0)}, actions={"a": ACTIONS["a"]}, transitions={"x": bx.fixed}, horizon=1,
        reward=lambda a: a,
        constraints={"below": bx.nonnegative(lambda a, p: -(jnp.maximum(a - p, 0.0) ** 2))},
    )  # fmt: skip
    solution = bx.solve(model, {"p": 0.4, "discount": 0.9})
    assert abs(float(solution.value(period=0, x=0.5)) - 0.4) < 1e-5
