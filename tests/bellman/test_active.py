"""Quadratic programs and the room of constraints, against scipy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from bellax.bellman.maximisers.active import Program, solve
from bellax.bellman.room import Room, anchor


def drawn(seed, size, count):
    """Programs with slopes of every size, of which zero is allowed."""
    draw = np.random.default_rng(seed)
    root = draw.normal(size=(size, size)) * 10.0 ** draw.uniform(-2, 2, size=(size, 1))
    matrix = root @ root.T + 1e-3 * np.diag(np.diag(root @ root.T))
    gradient = draw.normal(size=size) * 3 * np.sqrt(np.diag(matrix))
    normals = draw.normal(size=(count, size))
    room = np.where(draw.random(count) < 0.3, 0.0, draw.random(count))
    low = np.where(draw.random(size) < 0.3, 0.0, -draw.random(size))
    return Program(*map(jnp.asarray, (matrix, gradient, normals, room, low, 1.0 + low, np.ones(size, bool))))


@pytest.mark.parametrize(("size", "count"), [(1, 1), (2, 1), (2, 2), (3, 1)])
def test_a_quadratic_program_meets_the_conditions_of_its_optimum(size, count):
    """Each is strictly concave, so that what meets the conditions of Kuhn and Tucker is the optimum."""
    programs = [drawn(seed, size, count) for seed in range(60)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *programs)
    answers = jax.jit(jax.vmap(solve))(stacked)
    bound = 0
    for k, program in enumerate(programs):
        matrix, gradient, normals, room, low, high, _ = map(np.asarray, program)
        step, prices = np.asarray(answers.step[k]), np.asarray(answers.multipliers[k])
        assert (step >= low).all() and (step <= high).all() and (room + normals @ step >= -1e-12).all()
        push = (gradient - matrix @ step + normals.T @ prices) / (1 + np.abs(gradient).max())
        inside = (step > low + 1e-12) & (step < high - 1e-12)
        np.testing.assert_allclose(push[inside], 0.0, atol=1e-9)
        assert (push[step <= low + 1e-12] <= 1e-9).all() and (push[step >= high - 1e-12] >= -1e-9).all()
        assert (prices >= 0).all()
        np.testing.assert_allclose(prices * (room + normals @ step) / (1 + np.abs(gradient).max()), 0.0, atol=1e-9)
        bound += int((prices > 0).any())
    assert bound >= 10  # constraints do matter among them


def test_a_quadratic_program_against_scipy():
    program = drawn(7, 3, 2)
    matrix, gradient, normals, room, low, high, _ = map(np.asarray, program)
    found = minimize(
        lambda p: 0.5 * p @ matrix @ p - gradient @ p,
        np.zeros(3),
        jac=lambda p: matrix @ p - gradient,
        bounds=list(zip(low, high, strict=True)),
        constraints={"type": "ineq", "fun": lambda p: room + normals @ p, "jac": lambda p: normals},
        options={"ftol": 1e-14, "maxiter": 500},
        method="SLSQP",
    )
    np.testing.assert_allclose(jax.jit(solve)(program).step, found.x, atol=1e-6)


def corner(u):
    """A thousandth of the square: u_0 + 2 u_1 <= .001."""
    return (0.001 - u[0] - 2 * u[1])[None], jnp.full(1, 1e-12)


def thin(u):
    """Between two lines that are 1e-4 apart, with no point of a lattice in between."""
    return jnp.stack([u[0] - 0.53 * u[1] - 0.2003, 0.2004 - u[0] + 0.53 * u[1]]), jnp.full(2, 1e-12)


def disc(u):
    """A disc of radius a tenth around (.31, .77)."""
    return (0.01 - (u[0] - 0.31) ** 2 - (u[1] - 0.77) ** 2)[None], jnp.full(1, 1e-12)


@pytest.mark.parametrize("margins", [corner, thin, disc])
def test_a_room_is_found_and_filled(margins):
    """Whatever little the constraints leave is found, and candidates lie in it, up to its edge."""
    inside = Room(margins, jax.jit(lambda: anchor(margins, 2))(), jnp.ones(()))
    assert (np.asarray(margins(inside.anchor)[0]) > 0).all()
    side = jnp.linspace(0.0, 1.0, 9)
    box = jnp.stack([axis.ravel() for axis in jnp.meshgrid(side, side)], axis=1)
    filled = jax.jit(jax.vmap(inside.filled))(box)
    least = np.asarray(jax.vmap(lambda u: jnp.min(margins(u)[0]))(filled))
    assert (least >= -1e-12).all()
    on_box = np.asarray(((box == 0) | (box == 1)).any(axis=1))
    at_edge = (least < 1e-10) | np.asarray(((filled < 1e-12) | (filled > 1 - 1e-12)).any(axis=1))
    assert at_edge[on_box].all()
    assert not at_edge[~on_box].all()
    pulled = jax.jit(jax.vmap(lambda u: inside.filled(u, whole=False)))(filled)
    np.testing.assert_allclose(pulled, filled, atol=1e-9)  # what is inside stays
