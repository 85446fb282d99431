"""Forty assets as vectors: Almgren and Chriss liquidation against a transient signal, eighty states."""

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

import bellax as bx

N = 40


def proceeds(sold: Float[Array, "n"], signal, impact=2.0):
    return jnp.sum(sold * signal - impact * sold**2)


def risk(inventory, exposure: Float[Array, "n"], aversion=0.02):
    return aversion * jnp.sum(exposure * inventory) ** 2


model = bx.Model(
    states={"inventory": bx.Continuous(0.0, 1.0, shape=(N,)), "signal": bx.Continuous(-2.0, 2.0, shape=(N,))},
    actions={"sold": bx.Continuous(0.0, "inventory", shape=(N,))},
    shocks={"factor": bx.shocks.Normal()},
    functions={"proceeds": proceeds, "risk": risk},
    transitions={
        "inventory": lambda inventory, sold: inventory - sold,
        "signal": lambda signal, factor, exposure, decay=0.7, loading=0.4: decay * signal + loading * exposure * factor,
    },
    reward=lambda proceeds, risk: proceeds - risk,
    discount=1.0,
    terminal=lambda inventory, signal, fire_sale=8.0: jnp.sum(inventory * signal - fire_sale * inventory**2),
    horizon=10,
)


def test_template(template):
    assert template(model) == {
        "impact": ("functions['proceeds']", 2.0, ""),
        "exposure": ("functions['risk'], transitions['signal']", "", "Float[n]"),
        "aversion": ("functions['risk']", 0.02, ""),
        "decay": ("transitions['signal']", 0.7, ""),
        "loading": ("transitions['signal']", 0.4, ""),
        "fire_sale": ("terminal", 8.0, ""),
    }


def test_parameters():
    found = model.parameters({"exposure": np.linspace(0.7, 1.3, N)})
    assert found["exposure"].shape == (N,)
    assert float(found["impact"]) == 2.0
    with pytest.raises(bx.ParameterError, match=r"transitions\['signal'\]|functions|risk"):
        model.parameters({"exposure": np.ones(N - 1)})


def test_a_number_that_a_vector_law_forgets_is_found():
    shrunk = {
        "states": model.states,
        "actions": model.actions,
        "shocks": model.shocks,
        "reward": 0.0,
        "horizon": 10,
    }
    laws = {**model.transitions, "inventory": lambda inventory, sold: jnp.sum(inventory - sold)}
    wrong = bx.Model(**shrunk, transitions=laws, discount=1.0)
    with pytest.raises(bx.ModelError, match=r"transitions\['inventory'\] has shape \(\); it must have shape \(40,\)"):
        wrong.parameters({"exposure": 1.0})


def test_reward_of_one_asset_by_hand(evaluate):
    """v p - 2 v^2 - .02 (b q)^2 with v = .1, p = .5, b = 1, q = .6, for each of forty equal assets."""
    ones = jnp.ones(N)
    reward = evaluate(
        model.graph,
        "slot:reward",
        sold=0.1 * ones,
        signal=0.5 * ones,
        inventory=0.6 * ones,
        exposure=ones,
        impact=2.0,
        aversion=0.02,
    )
    assert float(reward) == pytest.approx(40 * (0.05 - 0.02) - 0.02 * 24.0**2)
