"""Two reservoirs in a cascade, with spill, that sell power at a mean-reverting price."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx


def price(log_price):
    return jnp.exp(log_price)


def power(release, head):
    """The lower station also turns what the upper one lets go."""
    return jnp.dot(head, release)


def full(level, release, inflow):
    """Water in the upper reservoir before its spill."""
    return level[0] - release[0] + inflow[0]


def spill(full, capacity):
    return jnp.maximum(full - capacity[0], 0.0)


def next_level(level, release, inflow, full, spill, capacity):
    lower = level[1] - release[1] + inflow[1] + release[0] + spill
    return jnp.minimum(jnp.stack([full, lower]), capacity)


model = bx.Model(
    states={
        "level": bx.Continuous(0.0, "capacity", shape=(2,)),
        "log_price": bx.AR1("rho", "sigma", mean="mean_price"),
    },
    actions={"release": bx.Continuous(0.0, lambda level, turbine: jnp.minimum(level, turbine), shape=(2,))},
    shocks={"inflow": bx.shocks.Lognormal(mean="inflow_mean", sd="inflow_sd", shape=(2,))},
    functions={"price": price, "power": power, "full": full, "spill": spill},
    transitions={"level": next_level},
    reward=lambda price, power: price * power,
    terminal=lambda level, water_value: jnp.dot(water_value, level),
    horizon=52,
)

PARAMS = {
    "capacity": [100.0, 60.0],
    "turbine": [20.0, 25.0],
    "head": [1.0, 0.6],
    "rho": 0.95,
    "sigma": 0.1,
    "mean_price": 3.0,
    "inflow_mean": bx.by_period(np.cos(np.arange(52) / 52 * 2 * np.pi)[:, None] + np.array([1.0, 0.5])),
    "inflow_sd": [0.3, 0.4],
    "water_value": [10.0, 6.0],
    "discount": 0.999,
}


def test_template(template):
    assert template(model) == {
        "capacity": ("functions['spill'], upper bound of state 'level', transitions['level']", "", ""),
        "head": ("functions['power']", "", ""),
        "rho": ("rho of state 'log_price'", "", ""),
        "sigma": ("sigma of state 'log_price'", "", ""),
        "mean_price": ("mean of state 'log_price'", "", ""),
        "turbine": ("upper bound of action 'release'", "", ""),
        "inflow_mean": ("mean of shock 'inflow'", "", ""),
        "inflow_sd": ("sd of shock 'inflow'", "", ""),
        "discount": ("discount", "", ""),
        "water_value": ("terminal", "", ""),
    }


def test_parameters_by_period_are_seen_one_at_a_time():
    found = model.parameters(PARAMS)
    np.testing.assert_allclose(found["inflow_mean"].at(0), [2.0, 1.5])
    np.testing.assert_allclose(found["inflow_mean"].at(26), [0.0, -0.5], atol=1e-12)


def test_water_is_neither_lost_nor_made(evaluate):
    """What the upper reservoir releases and spills arrives below; the lower one's spill leaves the system."""
    names = {
        "level": jnp.array([95.0, 20.0]),
        "release": jnp.array([5.0, 10.0]),
        "inflow": jnp.array([25.0, 3.0]),
    }
    after = evaluate(model.graph, "next_level", capacity=jnp.array([100.0, 60.0]), **names)
    np.testing.assert_allclose(after, [100.0, 20 - 10 + 3 + 5 + 15.0])
    drier = {**names, "inflow": jnp.array([1.0, 3.0])}
    after = evaluate(model.graph, "next_level", capacity=jnp.array([100.0, 60.0]), **drier)
    assert float(after.sum()) == pytest.approx(95 + 20 + 1 + 3 - 10.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"capacity": [100.0, 60.0, 50.0]},
            r"'capacity', the upper bound of state 'level', has shape \(3,\)",
        ),
        (
            {"inflow_sd": [0.3, -0.4]},
            "'inflow_sd', the sd of shock 'inflow', is -0.4; it must not be negative",
        ),
        ({"inflow_mean": bx.by_period(np.ones((51, 2)))}, "has 51 periods, and the model has 52"),
        ({"head": 1.0}, r"reward has shape \(2,\); it must be a single number"),
        ({"water_value": [[1.0, 2.0]]}, r"terminal has shape \(1,\).*'water_value' has shape \(1, 2\)"),
    ],
)
def test_wrong_parameters_are_refused(change, message):
    with pytest.raises((bx.ParameterError, bx.ModelError), match=message):
        model.parameters({**PARAMS, **change})
