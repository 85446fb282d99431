"""Endogenous grids with discrete choices: closed forms, published numbers, enumeration, differences, and what is refused."""

import enum
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models import retirement_choice
from bellax.models.references import retirement as enumerated
from bellax.models.retirement_choice import WEALTH, Labor

PARAMS = retirement_choice.params


def by(maximiser, **grid):
    return bx.solvers.BackwardInduction(grid=grid, maximiser=maximiser)


# -- work or retire for good -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def five():
    """Five periods, on 100 nodes."""
    model = replace(retirement_choice.model, horizon=5)
    return bx.solve(model, PARAMS, by(bx.maximise.DCEGM(grid={"savings": 100})))


@pytest.mark.parametrize("period", range(5))
def test_a_hundred_nodes_are_exact(five, period):
    exact = enumerated(5, **PARAMS)
    for name, working in (("working", True), ("retired", False)):
        value, policy = five[name].value(period, wealth=WEALTH), five[name].policy(period, wealth=WEALTH)
        np.testing.assert_allclose(value, exact.value(period, WEALTH, working), rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(policy["consumption"], exact.consumption(period, WEALTH, working), rtol=1e-12)


def test_one_decision_left(five):
    """20 / (e^(1/1.98) - 1): below, they work; above, they retire and consume less."""
    switch = 20 / (np.exp(1 / 1.98) - 1)
    policy = five["working"].policy(3, wealth=switch + np.array([-1e-9, 1e-9]))
    np.testing.assert_array_equal(policy["labor"], [Labor.work, Labor.retire])
    np.testing.assert_allclose(policy["consumption"], [25.474, 15.373], atol=5e-4)


def shaken(horizon):
    """The same with taste shocks over work."""
    worker = replace(
        retirement_choice.model.regimes["working"], taste_shocks=bx.ExtremeValue("scale", over=("labor",))
    )
    regimes = {**retirement_choice.model.regimes, "working": worker}
    return replace(retirement_choice.model, regimes=regimes, horizon=horizon)


@pytest.mark.parametrize("nodes", [300, 600])
def test_taste_shocks_against_published_values(nodes):
    found = bx.solve(shaken(5), {**PARAMS, "scale": 0.2}, by(bx.maximise.DCEGM(grid={"savings": nodes})))
    values = found["working"].choice_values(0, wealth=10.0)
    np.testing.assert_allclose(values, [3.33181165, 9.85166807], atol=1e-6)


# -- derivatives -------------------------------------------------------------------------------------------------------


def test_derivatives_through_the_solve():
    """Of V, consumption and choice probabilities with taste shocks, with respect to every parameter but interest."""
    model, solver = shaken(3), by(bx.maximise.DCEGM(grid={"savings": 60}))
    names = ("discount", "income", "effort", "scale")
    wealth = jnp.asarray([10.0, 55.0])

    def asked(vector):
        found = bx.solve(model, {**PARAMS, **dict(zip(names, vector, strict=True))}, solver)["working"]
        consumption = found.policy(0, wealth=wealth)["consumption"]
        return jnp.concatenate(
            [found.value(0, wealth=wealth), consumption, found.choice_probabilities(0, wealth=wealth)[:, 1]]
        )

    at = jnp.asarray([0.98, 20.0, 1.0, 0.2])
    ours = jax.jit(jax.jacfwd(asked))(at)
    run, step = jax.jit(asked), 1e-5
    ahead, behind = ([run(at + sign * step * row) for row in jnp.eye(4)] for sign in (1, -1))
    central = (np.stack(ahead, 1) - np.stack(behind, 1)) / (2 * step)
    np.testing.assert_allclose(ours, central, rtol=1e-5, atol=1e-6)
