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
