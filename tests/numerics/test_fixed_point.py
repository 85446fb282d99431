"""Fixed points have the derivative of the implicit function theorem, in both modes, dense and by GMRES, whatever was
solved in place of the system."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bellax.numerics import fixed_point
from bellax.numerics.fixed_point import implicit, solve_linear


def operator(p, x):
    """A contraction of two leaves that see each other."""
    a, b = x
    return (0.3 * jnp.tanh(b[: a.shape[0]]) + p["shift"], 0.4 * jnp.sin(b) + p["scale"] * jnp.sum(a))


def found(p):
    start = (jnp.zeros(3), jnp.zeros(4))
    return jax.lax.scan(lambda x, _: (operator(p, x), None), start, length=150)[0]


def linear(p, x):
    return jax.linearize(lambda y: operator(p, y), x)[1]


def off(p, x):
    """Linear, and no derivative of the operator."""
    return lambda y: jax.tree.map(lambda leaf: 0.5 * leaf, y)


NEARBY = {"itself": None, "what is equal": linear, "what is not": off}


@pytest.fixture(params=NEARBY)
def answer(request):
    nearby = NEARBY[request.param]
    return lambda p: implicit(operator, nearby, p, jax.lax.stop_gradient(found(jax.lax.stop_gradient(p))))


@pytest.fixture(params=["dense", "gmres"])
def method(request, monkeypatch):
    if request.param == "gmres":
        monkeypatch.setattr(fixed_point, "DENSE", 0)


def test_against_the_derivative_through_all_iterations(method, answer):
    p = {"shift": jnp.asarray([0.1, 0.2, 0.3]), "scale": jnp.asarray(0.05)}
    expected = jax.jacfwd(found)(p)
    for mode in (jax.jacfwd, jax.jacrev):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11), mode(answer)(p), expected)


def test_under_vmap_and_jit(method, answer):
    scales = jnp.asarray([0.01, 0.05])
    make = lambda s: {"shift": jnp.asarray([0.1, 0.2, 0.3]), "scale": s}  # noqa: E731
    total = lambda s: jnp.sum(answer(make(s))[1])  # noqa: E731
    together = jax.jit(jax.vmap(jax.grad(total)))(scales)
    alone = [jax.grad(lambda s: jnp.sum(found(make(s))[1]))(s) for s in scales]
    np.testing.assert_allclose(together, alone, rtol=1e-9)


@pytest.mark.long
def test_second_derivatives(method, answer, jitted):
    ours = lambda s: jnp.sum(answer({"shift": jnp.full(3, 0.2), "scale": s})[1])  # noqa: E731
    through = lambda s: jnp.sum(found({"shift": jnp.full(3, 0.2), "scale": s})[1])  # noqa: E731
    s = jnp.asarray(0.05)
    expected = jitted(jax.grad(jax.grad(through)))(s)
    for second in (jax.grad(jax.grad(ours)), jax.hessian(ours), jax.jacfwd(jax.jacfwd(ours))):
        np.testing.assert_allclose(jitted(second)(s), expected, rtol=1e-8)


@pytest.mark.parametrize("size", [50, 1500])
def test_linear_systems_small_and_large(size):
    rng = np.random.default_rng(1)
    matrix = np.eye(size) - 0.95 * rng.dirichlet(np.ones(size), size)
    right = rng.normal(size=size)
    ours = solve_linear(lambda x: jnp.asarray(matrix) @ x, jnp.asarray(right))
    np.testing.assert_allclose(ours, np.linalg.solve(matrix, right), rtol=1e-8, atol=1e-8)
