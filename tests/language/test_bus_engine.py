"""Replacement of bus engines: Rust (1987). Mileage moves up by random steps; a new engine starts at zero."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.models.bus_engine import Engine, model
from bellax.models.bus_engine import params as PARAMS


def test_template(template):
    assert template(model) == {
        "replacement_cost": ("functions['cost']", "", ""),
        "maintenance": ("functions['cost']", "", ""),
        "step_probabilities": ("probabilities of shock 'steps'", "", ""),
        "discount": ("discount", "", ""),
    }


def test_mileage_moves_in_whole_steps(evaluate):
    steps = model.shocks["steps"]
    nodes = steps.rule(None, {"probabilities": (3,)}).nodes
    shocks = [steps.realise(node, probabilities=jnp.array([0.4, 0.6, 0.0])) for node in nodes]
    after = [int(evaluate(model.graph, "next_mileage", mileage=88, engine=Engine.keep, steps=s)) for s in shocks]
    assert after == [88, 89, 89]
    assert int(evaluate(model.graph, "next_mileage", mileage=88, engine=Engine.replace, steps=shocks[2])) == 2
    assert shocks[0].dtype == jnp.result_type(int)


def test_cost_by_hand(evaluate):
    given = {"replacement_cost": 10.075, "maintenance": 2.293, "mileage": 50}
    assert float(evaluate(model.graph, "slot:reward", engine=Engine.keep, **given)) == pytest.approx(-0.11465)
    assert float(evaluate(model.graph, "slot:reward", engine=Engine.replace, **given)) == pytest.approx(-10.075)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"step_probabilities": [0.4, 0.5, 0.0]},
            "probabilities of shock 'steps', sums to 0.9; probabilities sum to one",
        ),
        ({"step_probabilities": [1.2, -0.2, 0.0]}, "holds the probability -0.2"),
        ({"step_probabilities": 1.0}, r"has shape \(\); it must have one entry"),
        ({"maintenance": bx.by_period(np.ones(5))}, "given by period or by age, and the horizon is infinite"),
    ],
)
def test_wrong_parameters_are_refused(change, message):
    assert set(model.parameters(PARAMS)) == set(PARAMS)
    with pytest.raises(bx.ParameterError, match=message):
        model.parameters({**PARAMS, **change})
