"""Linear-quadratic-Gaussian control in continuous time: a position and a velocity, pushed by a costly force.

    rho V(x) = max over u of -x'Q x - R u^2 + (A x + B u) . V_x + 1/2 sum of s_i^2 V_ii

with x = (position, velocity), A = [[0, 1], [-spring, 0]], B = (0, 1)'. The value is quadratic, V(x) = -x'P x - d, where
P solves the algebraic Riccati equation 0 = Q + A'P + P A - P B B'P / R - rho P, d = tr(P diag(s^2)) / rho, and the best
force is u = -B'P x / R. Under it x is normal, with the covariance of a Lyapunov equation. The plane has no edge: V goes
on beyond the box as it is within (`Natural`), and polynomials of any degree from two hold it to rounding.

Finite differences need a condition where the drift leads outward: `ended` is a box whose edges pay V. Where noise is
so large, beside drifts, that central differences are monotone, they have a quadratic V to rounding, too.

Calibration (ours): a mass on a weak spring, rho = .05, s = (.02, .1).
Source: Anderson & Moore (1990), "Optimal control: linear quadratic methods", chapter 3.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

SOURCE = "algebraic Riccati equation, Anderson & Moore (1990)"


def cost(position, velocity, force, position_cost, velocity_cost, force_cost):
    return -position_cost * position**2 - velocity_cost * velocity**2 - force_cost * force**2


def best_force(marginal_velocity, force_cost):
    return marginal_velocity / (2 * force_cost)


def acceleration(position, force, spring):
    return force - spring * position


def box(size: float) -> bx.DiffusionModel:
    """The model on [-size, size] along both states."""
    return bx.DiffusionModel(
        states={"position": bx.Continuous(-size, size), "velocity": bx.Continuous(-size, size)},
        actions={"force": bx.Continuous()},
        policy={"force": best_force},
        reward=cost,
        drift={"position": "velocity", "velocity": acceleration},
        diffusion={"position": "position_sd", "velocity": "velocity_sd"},
        boundary={"position": bx.Natural(), "velocity": bx.Natural()},
    )


def worth(position, velocity, position_worth, cross_worth, velocity_worth, level):
    return -position_worth * position**2 - 2 * cross_worth * position * velocity - velocity_worth * velocity**2 - level


def ended(size: float) -> bx.DiffusionModel:
    """The model on [-size, size] along both states, at whose edges V is paid."""
    return replace(box(size), boundary={name: bx.Absorbing(worth) for name in ("position", "velocity")})


model = box(1.0)
params: dict[str, Any] = {
    "discount": 0.05,
    "spring": 0.5,
    "position_sd": 0.02,
    "velocity_sd": 0.1,
    "position_cost": 1.0,
    "velocity_cost": 0.1,
    "force_cost": 0.05,
}
solver = bx.solvers.Collocation(grid={"position": 5, "velocity": 5})
start = {"position": 0.5, "velocity": 0.0}
periods = None


class Regulator(NamedTuple):
    """V(x) = -x'P x - d, u = -F x, and the covariance of x."""

    P: np.ndarray
    d: float
    F: np.ndarray
    covariance: np.ndarray


def regulator(given: dict[str, Any]) -> Regulator:
    """The Riccati solution."""
    from scipy.linalg import solve_continuous_are, solve_continuous_lyapunov

    g = {name: float(value) for name, value in given.items()}
    A, B = np.array([[0.0, 1.0], [-g["spring"], 0.0]]), np.array([[0.0], [1.0]])
    Q, R = np.diag([g["position_cost"], g["velocity_cost"]]), np.array([[g["force_cost"]]])
    noise = np.diag([g["position_sd"] ** 2, g["velocity_sd"] ** 2])
    P = solve_continuous_are(A - 0.5 * g["discount"] * np.eye(2), B, Q, R)
    F = B.T @ P / g["force_cost"]
    return Regulator(P, float(np.trace(P @ noise)) / g["discount"], F, solve_continuous_lyapunov(A - B @ F, -noise))


def reference(given: dict[str, Any], position: Any, velocity: Any) -> dict[str, Any]:
    """Value and force of the Riccati equation."""
    exact = regulator(given)
    x = np.stack(np.broadcast_arrays(np.asarray(position, float), np.asarray(velocity, float)), axis=-1)
    return {"value": -np.einsum("...i,ij,...j", x, exact.P, x) - exact.d, "force": -(x @ exact.F.T)[..., 0]}


def checks() -> list[Check]:
    """Value, force and moments beside the Riccati and Lyapunov equations; and in a box that is twice as large."""
    position, velocity = np.meshgrid(*[np.linspace(-1.0, 1.0, 21)] * 2)
    at: dict[str, Any] = {"position": position, "velocity": velocity}
    exact, solution, wide = reference(params, **at), bx.solve(model, params, solver), bx.solve(box(2.0), params, solver)
    density, covariance = bx.stationary(solution), regulator(params).covariance
    moments = [float(density.mean(square)) for square in (position_squared, velocity_squared)]
    return [
        comparison.of_value("V", solution.value(**at), exact["value"], 1e-10, SOURCE),
        comparison.of_value("force", solution.policy(**at)["force"], exact["force"], 1e-10, SOURCE),
        comparison.relative("variances", moments, np.diag(covariance), 1e-8, "Lyapunov equation"),
        comparison.of_value("V, box doubled", wide.value(**at), exact["value"], 1e-10, SOURCE),
        _differences(),
    ]


def _differences() -> Check:
    """V at the nodes of finite differences, where noise is large."""
    loud = {**params, "position_sd": 0.5, "velocity_sd": 0.5}
    exact = regulator(loud)
    paid = {"position_worth": exact.P[0, 0], "cross_worth": exact.P[0, 1], "velocity_worth": exact.P[1, 1]}
    solution = bx.solve(
        ended(0.5),
        {**loud, **paid, "level": exact.d},
        bx.solvers.FiniteDifference(grid={"position": 21, "velocity": 21}),
    )
    position, velocity = np.meshgrid(*(np.asarray(line) for line in solution.nodes().values()))
    at: dict[str, Any] = {"position": position, "velocity": velocity}
    return comparison.of_value("V, loud", solution.value(**at), reference(loud, **at)["value"], 1e-9, SOURCE)


def position_squared(position):
    return position**2


def velocity_squared(velocity):
    return velocity**2
