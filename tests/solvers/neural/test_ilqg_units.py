"""What ILQG finds does not hang on the units of states, actions and rewards."""

import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx

UNITS = [(1e-10, 1.0), (1e10, 1.0), (1.0, 1e-15), (1.0, 1e15)]


@pytest.mark.parametrize(("unit", "scale"), UNITS)
def test_a_cake_in_any_units_is_eaten_evenly(unit, scale):
    model = bx.Model(
        states={"w": bx.Continuous(1e-4 * unit, 10 * unit)},
        actions={"c": bx.Continuous(0.0, "w")},
        transitions={"w": lambda w, c: w - c},
        reward=lambda c: scale * jnp.log(c / unit),
        terminal=lambda w: scale * jnp.log(w / unit),
        horizon=9,
    )
    solution = bx.solve(model, {"discount": 1.0}, bx.solvers.ILQG(start={"w": unit}))
    np.testing.assert_allclose(solution.policy(period=0, w=unit)["c"] / unit, 0.1, rtol=1e-9)
    np.testing.assert_allclose(solution.value(period=0, w=unit) / scale, 10 * np.log(0.1), rtol=1e-9)


@pytest.mark.parametrize(("unit", "scale"), UNITS)
def test_the_steady_state_of_growth_in_any_units(unit, scale):
    alpha, discount = 0.36, 0.95
    model = bx.Model(
        states={"k": bx.Continuous(0.05 * unit, 0.5 * unit)},
        actions={"s": bx.Continuous(0.0, "y")},
        functions={"y": lambda k: unit * (k / unit) ** alpha},
        transitions={"k": lambda s: s},
        reward=lambda y, s: scale * jnp.log((y - s) / unit),
    )
    solution = bx.solve(model, {"discount": discount}, bx.solvers.ILQG())
    steady = (alpha * discount) ** (1 / (1 - alpha))
    value = np.log((1 - alpha * discount) * steady**alpha) / (1 - discount)
    np.testing.assert_allclose(solution.values.values.at[0] / unit, steady, rtol=1e-9)
    np.testing.assert_allclose(solution.policy(k=steady * unit)["s"] / unit, steady, rtol=1e-9)
    np.testing.assert_allclose(solution.value(k=steady * unit) / scale, value, rtol=1e-9)


def test_an_infinite_gap_is_no_success():
    """Three nodes of the shock do not see a hole of the reward into which simulated paths fall."""
    model = bx.Model(
        states={"x": bx.Continuous(-3.0, 3.0)},
        actions={"a": bx.Continuous(-1.0, 1.0)},
        shocks={"e": bx.shocks.Normal()},
        transitions={"x": lambda x, a, e: x + a + e},
        reward=lambda x, a: jnp.where(jnp.abs(x) > 2.2, -jnp.inf, -(x**2)) - a**2,
        horizon=3,
    )
    solution = bx.solve(model, {"discount": 0.9}, bx.solvers.ILQG(start={"x": 0.0}, quadrature={"e": 3}), throw=False)
    assert not np.isfinite(solution.stats["value_gap"]) and solution.result == bx.Result.nonfinite
    with pytest.raises(bx.SolveError, match="earns on simulated paths is no finite number"):
        bx.solve(model, {"discount": 0.9}, bx.solvers.ILQG(start={"x": 0.0}, quadrature={"e": 3}))
