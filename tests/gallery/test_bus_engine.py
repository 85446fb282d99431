"""Bus engines against a nested fixed point in numpy: values, probabilities, the score, and simulated buses."""

import numpy as np
import pytest

import bellax as bx
from bellax.models import bus_engine
from bellax.models.references import bus_engine as nested_fixed_point

STEPS = np.array([0.3919, 0.5953, 0.0128])
SEEN = (bus_engine.SEEN["mileage"], bus_engine.SEEN["replaced"])


def test_checks():
    checks = {check.quantity: check for check in bus_engine.checks()}
    assert checks["probability of replacement"].error <= 1e-8
    assert checks["its gradient"].error <= 1e-8
    assert all(check.passed for check in checks.values())


def test_the_reference_solves_its_equation_and_its_score_is_a_derivative():
    found = nested_fixed_point(4.0, 20.0, STEPS, 0.95)
    mileage = np.arange(90)
    after = np.minimum(mileage[:, None] + np.arange(3), 89)
    expected = found.value[after] @ STEPS
    kept, replaced = -0.02 * mileage + 0.95 * expected, -4.0 + 0.95 * expected[0]
    np.testing.assert_allclose(found.value, np.log(np.exp(kept) + np.exp(replaced)), rtol=1e-13)
    np.testing.assert_allclose(found.probabilities[:, 1], 1 / (1 + np.exp(kept - replaced)), rtol=1e-12)
    step = 1e-5
    ahead, behind = (
        [nested_fixed_point(4.0 + sign * a, 20.0 + sign * b, STEPS, 0.95).log_likelihood(*SEEN) for a, b in steps]
        for sign, steps in ((1, ((step, 0.0), (0.0, step))), (-1, ((step, 0.0), (0.0, step))))
    )
    central = (np.array(ahead) - np.array(behind)) / (2 * step)
    np.testing.assert_allclose(found.score(*SEEN), central, rtol=1e-7)


def test_simulated_buses_are_replaced_as_often_as_the_chain_says():
    params = bus_engine.params | {"discount": 0.95, "replacement_cost": 4.0, "maintenance": 20.0}
    solution = bx.solve(bus_engine.model, params, bus_engine.solver)
    panel = bx.simulate(solution, agents=4000, start={"mileage": 30}, periods=30)
    exact = nested_fixed_point(4.0, 20.0, STEPS, 0.95).probabilities[:, 1]
    share, mass = [], np.eye(90)[30]
    for _ in range(30):
        share.append(mass @ exact)
        moved = mass * (1 - exact)
        moved[0] += mass @ exact
        mass = sum(p * np.bincount(np.minimum(np.arange(90) + j, 89), moved, 90) for j, p in enumerate(STEPS))
    replaced = np.asarray(panel.actions["engine"]) == bus_engine.Engine.replace
    assert replaced.mean() == pytest.approx(np.mean(share), abs=4 * np.sqrt(np.mean(share) / replaced.size))
