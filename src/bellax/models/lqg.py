"""Linear-quadratic-Gaussian control: a position and a velocity, pushed by a costly force, 20 periods.

    V_t(x) = max over u of -x'Q x - R u^2 + beta E V_{t+1}(A x + B u + e),    V_T(x) = -x'P_T x,    e ~ N(0, diag s^2)

with x = (position, velocity). The value is quadratic, V_t(x) = -x'P_t x - d_t, and the best force linear in x; P, d
and the gain follow the Riccati recursion. A tensor of cubics represents a quadratic exactly, beyond the grid too if
the last cubic is extended, so every error here is one of rounding. The bounds of the force are never reached.

Calibration (ours): a mass on a weak spring, dt = .2, beta = .95, s = (.02, .1).
Source: Ljungqvist & Sargent (2018), "Recursive macroeconomic theory", 4th edition, chapter 5.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import riccati

SOURCE = "Riccati equation, Ljungqvist & Sargent (2018), chapter 5"
HORIZON = 20


def cost(position, velocity, force, position_cost, velocity_cost, force_cost):
    return -position_cost * position**2 - velocity_cost * velocity**2 - force_cost * force**2


def next_position(position, velocity, step, drift_noise, position_sd):
    return position + step * velocity + position_sd * drift_noise


def next_velocity(position, velocity, force, step, spring, push_noise, velocity_sd):
    return velocity + step * (force - spring * position) + velocity_sd * push_noise


def final_cost(position, velocity, final_position_cost, final_velocity_cost):
    return -final_position_cost * position**2 - final_velocity_cost * velocity**2


model = bx.Model(
    states={"position": bx.Continuous(-2.0, 2.0), "velocity": bx.Continuous(-2.0, 2.0)},
    actions={"force": bx.Continuous(-50.0, 50.0)},
    shocks={"drift_noise": bx.shocks.Normal(), "push_noise": bx.shocks.Normal()},
    transitions={"position": next_position, "velocity": next_velocity},
    reward=cost,
    terminal=final_cost,
    horizon=HORIZON,
)
stationary = replace(model, terminal=None, horizon=math.inf)
params: dict[str, Any] = {
    "discount": 0.95,
    "step": 0.2,
    "spring": 0.5,
    "position_sd": 0.02,
    "velocity_sd": 0.1,
    "position_cost": 1.0,
    "velocity_cost": 0.1,
    "force_cost": 0.05,
    "final_position_cost": 2.0,
    "final_velocity_cost": 0.5,
}
stationary_params: dict[str, Any] = {name: value for name, value in params.items() if not name.startswith("final")}
solver = bx.solvers.BackwardInduction(
    grid={"position": 5, "velocity": 5},
    quadrature={"drift_noise": 2, "push_noise": 2},
    interpolant=bx.interpolants.Hermite(extrapolation="extend"),
    maximiser=bx.maximise.Newton(grid={"force": 3}),
)
stationary_solver = bx.solvers.PolicyIteration(
    grid=solver.grid,
    quadrature=solver.quadrature,
    interpolant=solver.interpolant,
    maximiser=solver.maximiser,
)
start = {"position": 1.0, "velocity": 0.0}
periods = None


def reference(given: dict[str, Any], position: Any, velocity: Any) -> dict[str, Any]:
    """Value and force of the Riccati equation in period 0; nothing for another calibration."""
    if any(float(given[name]) != value for name, value in params.items()):
        return {}
    exact, x = regulator(HORIZON), np.array([[float(position), float(velocity)]])
    value = quadratic(exact.value_matrix[0], exact.constant[0], x)[0]
    return {"value": value, "force": float((-x @ exact.gain[0].T)[0, 0])}


def checks() -> list[Check]:
    """Value and policy on the inner half of the box, in every period and with none that is the last."""
    finite, forever = bx.solve(model, params, solver), bx.solve(stationary, stationary_params, stationary_solver)
    exact, steady = regulator(HORIZON), regulator(None)
    position, velocity = (x.ravel() for x in np.meshgrid(*[np.linspace(-1.0, 1.0, 21)] * 2))
    x = np.stack([position, velocity], axis=1)
    at: dict[str, Any] = {"position": position, "velocity": velocity}
    values = np.stack([finite.value(t, **at) for t in range(HORIZON)])
    forces = np.stack([finite.policy(t, **at)["force"] for t in range(HORIZON)])
    exact_values = np.stack([quadratic(exact.value_matrix[t], exact.constant[t], x) for t in range(HORIZON)])
    exact_forces = -np.einsum("tij,nj->tn", exact.gain, x)
    steady_values, steady_forces = quadratic(steady.value_matrix, steady.constant, x), -x @ steady.gain[0]
    return [
        comparison.of_value("V, 20 periods", values, exact_values, 1e-10, SOURCE),
        comparison.of_value("force, 20 periods", forces, exact_forces, 1e-10, SOURCE),
        comparison.of_value("V, stationary", forever.value(**at), steady_values, 1e-10, SOURCE),
        comparison.of_value("force, stationary", forever.policy(**at)["force"], steady_forces, 1e-10, SOURCE),
    ]


def quadratic(matrix: np.ndarray, constant: Any, x: np.ndarray) -> np.ndarray:
    """-x'P x - d at states x, shape (n, 2)."""
    return -np.einsum("ni,ij,nj->n", x, matrix, x) - constant


def regulator(horizon: int | None) -> Any:
    """The Riccati solution of this calibration."""
    p = params
    A = np.array([[1.0, p["step"]], [-p["step"] * p["spring"], 1.0]])
    B = np.array([[0.0], [p["step"]]])
    Q = np.diag([p["position_cost"], p["velocity_cost"]])
    noise = np.diag([p["position_sd"] ** 2, p["velocity_sd"] ** 2])
    final = None if horizon is None else np.diag([p["final_position_cost"], p["final_velocity_cost"]])
    return riccati(A, B, Q, np.array([[p["force_cost"]]]), noise, p["discount"], horizon, final)
