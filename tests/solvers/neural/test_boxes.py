"""Where nets are trained where nobody says so: over all periods, and a model error where that is nowhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellax as bx
from bellax.solvers.neural.inputs import inputs

HORIZON = 5


def model(income, ceiling=2.0):
    """Someone who saves, with an income that moves."""
    return bx.Model(
        states={"wealth": bx.Continuous(0.0, ceiling), "income": income},
        actions={"saved": bx.Continuous(0.0, lambda wealth, income: 0.9 * (wealth + jnp.exp(income)))},
        transitions={"wealth": lambda saved: saved},
        reward=lambda wealth, income, saved: jnp.log(wealth + jnp.exp(income) - saved),
        horizon=HORIZON,
    )


SOLVERS = {
    "EulerNet": bx.solvers.EulerNet(),
    "NeuralValueIteration": bx.solvers.NeuralValueIteration(),
    "PolicyGradient": bx.solvers.PolicyGradient(),
    "DDPG": bx.solvers.DDPG(),
    "ActorCritic": bx.solvers.ActorCritic(),
}


def box(asked, params=None, solver=SOLVERS["EulerNet"]):
    setting = solver.prepare(asked)
    arguments = setting.arguments({"discount": 0.9, **(params or {})})
    found = jax.jit(lambda arguments: inputs(setting.layout, arguments, solver.box).box)(arguments)
    return np.asarray(found.lower), np.asarray(found.upper)


def test_bounds_by_period_are_those_of_all_periods():
    ceiling = np.array([1.0, 2.0, 3.0, 2.5, 1.5, 0.5])
    lower, upper = box(model(bx.AR1(0.5, 0.1), "ceiling"), {"ceiling": bx.by_period(ceiling)})
    assert lower[0] == 0.0 and upper[0] == 3.0
    spread = 3 * 0.1 / np.sqrt(0.75)
    np.testing.assert_allclose([lower[1], upper[1]], [-spread, spread])


def test_a_process_by_period_has_the_moments_of_all_periods():
    """z' = rho_t z + sigma_t e, the variance by hand: v_{t+1} = rho_t^2 v_t + sigma_t^2."""
    rho, sigma = np.array([0.9, 1.0, 1.0, 0.2, 0.2, 0.2]), np.array([0.1, 0.3, 0.3, 0.1, 0.1, 0.1])
    lower, upper = box(model(bx.AR1("rho", "sigma")), {"rho": bx.by_period(rho), "sigma": bx.by_period(sigma)})
    variance = [0.1**2 / (1 - 0.9**2)]
    for t in range(HORIZON - 1):
        variance.append(rho[t] ** 2 * variance[-1] + sigma[t] ** 2)
    np.testing.assert_allclose(upper[1], 3 * np.sqrt(max(variance)))
    np.testing.assert_allclose(lower[1], -3 * np.sqrt(max(variance)))


def test_a_random_walk_has_gone_so_far_in_the_last_period():
    lower, upper = box(model(bx.AR1(1.0, 0.1, start=0.0)))
    np.testing.assert_allclose([lower[1], upper[1]], [-0.3 * np.sqrt(4), 0.3 * np.sqrt(4)])
    lower, upper = box(model(bx.AR1(0.9, 0.1, mean=0.5, start=bx.shocks.Normal(-1.0, 0.2))))
    np.testing.assert_allclose(lower[1], -1.0 - 0.6)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_state_without_a_box_is_named(name):
    still = model(bx.AR1(0.9, "sigma"))
    with pytest.raises(bx.ModelError, match=f"{name}: the state 'income' has no box .* box="):
        bx.solve(still, {"discount": 0.9, "sigma": 0.0}, SOLVERS[name])
