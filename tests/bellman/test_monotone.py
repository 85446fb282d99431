"""Divide and conquer along a state finds what the plain scan finds, whatever the number of nodes."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


@pytest.mark.parametrize("count", [2, 3, 5, 8, 17])
def test_equals_the_plain_scan(count):
    nodes = np.linspace(0.5, 2.0, count)
    model = bx.Model(
        states={"k": bx.Continuous(0.5, 2.0)},
        actions={"k_next": bx.Continuous(0.0, lambda k: 3 * k**0.5)},
        transitions={"k": "k_next"},
        reward=lambda k, k_next: jnp.log(3 * k**0.5 - k_next),
        horizon=4,
        discount=0.9,
    )
    found = []
    for options in ({}, {"monotone": {"k_next": "k"}}):
        how = bx.maximise.Enumerate(grid={"k_next": bx.grids.Given(nodes)}, **options)
        solver = bx.solvers.BackwardInduction(grid={"k": bx.grids.Regular(count)}, maximiser=how)
        found.append(np.asarray(bx.solve(model, {}, solver).values.levels))
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-13)


# where x is worth something
WORTHY = {"not above": (-1.0, 7.5), "not below": (2.5, 9.0), "few": (-1.0, 2.5), "one": (3.9, 4.1)}


@pytest.fixture(scope="module")
def worthless_elsewhere():
    return bx.Model(
        states={"x": bx.Continuous(0.0, 8.0)},
        actions={"y": bx.Continuous(0.0, 8.0)},
        transitions={"x": "y"},
        reward=lambda x, y, least, most: jnp.where((x < least) | (x > most), -jnp.inf, -((y - 0.8 * x) ** 2)),
        discount=0.9,
        horizon=1,
    )


@pytest.mark.parametrize("worthy", WORTHY)
def test_states_that_nothing_saves_do_not_narrow_the_others(worthless_elsewhere, worthy):
    """Where all of Q is minus infinity there is no optimum, and neighbours must not be bracketed by one."""
    params = dict(zip(("least", "most"), WORTHY[worthy], strict=True))
    found = []
    for options in ({}, {"monotone": {"y": "x"}}):
        how = bx.maximise.Enumerate(grid={"y": bx.grids.Given(np.linspace(0, 8, 41))}, **options)
        solver = bx.solvers.BackwardInduction(grid={"x": 9}, interpolant=bx.interpolants.Linear(), maximiser=how)
        found.append(np.asarray(bx.solve(worthless_elsewhere, params, solver).values.levels[0]))
    assert np.isinf(found[0]).any() and np.isfinite(found[0]).any()
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-13)
