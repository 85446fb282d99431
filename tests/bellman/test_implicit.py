"""The derivative of an optimum at a kink of Q follows the kink, whatever else the reward pays, or it is NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

P, W = 0.4, 1.1


def kinked(**more):
    """A peak at c = p w that is a kink; p moves nothing else."""

    def reward(w, c, p, level, roof, tent, curve, d=0.0):
        off = c - p * w
        other = -((d - 0.3) ** 2) - 0.1 * c * d
        return level - roof * jnp.abs(off) + tent * jnp.minimum(off, -2 * off) - curve * (c - 0.5) ** 2 + other

    def alone(w, c, p, level, roof, tent, curve):
        return reward(w, c, p, level, roof, tent, curve)

    return bx.Model(
        states={"w": bx.Continuous(0.5, 2.0)},
        actions={"c": bx.Continuous(0.0, 2.0), **more},
        transitions={"w": lambda w: w},
        reward=reward if more else alone,
        discount=0.9,
        horizon=1,
    )


def moves(model):
    """dc/dp and dc/dw for parameters (level, roof, tent, curve)."""
    run = bx.compile(model, bx.solvers.BackwardInduction(grid={"w": 4}))

    def consumption(at, case):
        params = dict(zip(("level", "roof", "tent", "curve"), case, strict=True))
        return run({"p": at[0], **params}).policy(0, w=at[1])["c"]

    return consumption


CASES = {
    "roof": (0.0, 0.5, 0.0, 0.5),
    "tent": (0.0, 0.0, 1.0, 0.0),
    "small": (0.0, 5e-9, 0.0, 5e-9),
    "high": (1e9, 0.5, 0.0, 0.5),
    "higher": (-1e12, 0.5, 0.0, 0.5),
}


@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd])
@pytest.mark.long
def test_an_optimum_follows_a_kink_that_alone_moves(mode, jitted):
    """c = p w: dc/dp = w and dc/dw = p. A level of the reward is no part of it until rounding hides the kink."""
    slopes = jitted(jax.vmap(mode(moves(kinked())), in_axes=(None, 0)))
    hidden = (1e14, 0.5, 0.0, 0.5)
    found = np.asarray(slopes(jnp.array([P, W]), jnp.array([*CASES.values(), hidden])))
    for name, own in zip(CASES, found[:-1], strict=True):
        np.testing.assert_allclose(own, [W, P], rtol=2e-6, err_msg=name)
    assert np.all(np.isnan(found[-1]))


@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd])
@pytest.mark.long
def test_with_two_actions_it_follows_as_well(mode, jitted):
    """A second action that is smooth changes nothing, until rounding hides the kink: then neither has a derivative."""
    slopes = jitted(jax.vmap(mode(moves(kinked(d=bx.Continuous(0.0, 1.0)))), in_axes=(None, 0)))
    hidden = (1e14, 0.5, 0.0, 0.5)
    found = np.asarray(slopes(jnp.array([P, W]), jnp.array([CASES["roof"], CASES["high"], hidden])))
    np.testing.assert_allclose(found[:2], [[W, P]] * 2, rtol=2e-6)
    assert np.all(np.isnan(found[2]))
