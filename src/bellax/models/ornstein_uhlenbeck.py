"""An Ornstein-Uhlenbeck process, what a quadratic loss of it is worth, and a drift that is reflected.

    dx = -kappa x dt + sigma dW,   r V = -x^2 - kappa x V_x + sigma^2/2 V_xx,
    V = -x^2 / (r + 2 kappa) - sigma^2 / (r (r + 2 kappa)),   x normal with variance sigma^2 / (2 kappa).

Rates between three nodes have the drift and the variance exactly, so that the variance of the stationary density is
exact on any nodes and a quadratic V is, too, up to what the edges do, eight standard deviations away. `reflected` has
the drift -.1 and volatility .2 above a wall at zero: its density is exponential with rate 2 .1/.2^2 = 5, mean 1/5,
second order in the distance of nodes.

Calibration (ours): kappa .5, sigma .2, r .05.
Source: Karlin & Taylor (1981), "A second course in stochastic processes", chapter 15.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

SOURCE = "closed form, Karlin & Taylor (1981), chapter 15"
HIGH = 1.6
RATE, WALLED = 5.0, 6.0

model = bx.DiffusionModel(
    states={"x": bx.Continuous(-HIGH, HIGH)},
    reward=lambda x: -(x**2),
    drift={"x": lambda x, kappa: -kappa * x},
    diffusion={"x": "sigma"},
    boundary={"x": bx.Reflecting()},
)
reflected = bx.DiffusionModel(
    states={"x": bx.Continuous(0.0, WALLED)},
    reward=0.0,
    drift={"x": -0.1},
    diffusion={"x": 0.2},
    discount=0.05,
    boundary={"x": bx.Reflecting()},
)
params: dict[str, Any] = {"kappa": 0.5, "sigma": 0.2, "discount": 0.05}
solver = bx.solvers.FiniteDifference(grid={"x": 201})
start = {"x": 0.1}
periods = None


def reference(given: dict[str, Any], x: Any) -> dict[str, Any]:
    """V of the closed form, on a line without edges."""
    return {"value": value(float(x), **{name: float(given[name]) for name in params})}


def value(x: Any, kappa: float, sigma: float, discount: float) -> Any:
    return -(x**2) / (discount + 2 * kappa) - sigma**2 / (discount * (discount + 2 * kappa))


def checks() -> list[Check]:
    """Value, density and moments on even and uneven nodes, and by polynomials."""
    return [*_normal(), *_exponential(), *_polynomials()]


def _polynomials() -> Iterator[Check]:
    x, variance = np.linspace(-HIGH, HIGH, 21), params["sigma"] ** 2 / (2 * params["kappa"])
    free = replace(model, boundary={"x": bx.Natural()})
    solution = bx.solve(free, params, bx.solvers.Collocation(grid={"x": 12}))
    density = bx.stationary(solution)
    moments = [float(density.mean(power)) for power in (lambda x: x**2, lambda x: x**4)]
    yield comparison.relative("V, polynomials", solution.value(x=x), value(x, **params), 1e-10, SOURCE)
    yield comparison.relative("moments, polynomials", moments, [variance, 3 * variance**2], 1e-10, SOURCE)


def _normal() -> Iterator[Check]:
    share = np.linspace(-1.0, 1.0, 201)
    for label, grid in ("even", 201), ("uneven", bx.grids.Given(HIGH * np.sinh(2 * share) / np.sinh(2.0))):
        solution = bx.solve(model, params, bx.solvers.FiniteDifference(grid={"x": grid}))
        density = bx.stationary(solution)
        nodes, mass = (np.asarray(part) for part in density.marginal("x"))
        x, sd = nodes[np.abs(nodes) < 0.8], params["sigma"] / np.sqrt(2 * params["kappa"])
        exact = np.exp(-0.5 * (nodes / sd) ** 2) / (sd * np.sqrt(2 * np.pi))
        yield comparison.absolute(f"V, {label} nodes", solution.value(x=x), value(x, **params), 1e-6, SOURCE)
        yield comparison.absolute(f"sd(x), {label} nodes", np.sqrt(mass @ nodes**2), sd, 1e-10, SOURCE)
        yield comparison.absolute(f"density, {label} nodes", density.pdf(), exact, 1e-2, SOURCE)
        yield comparison.absolute(f"mass, {label} nodes", mass.sum(), 1.0, 1e-12, "a density")


def _exponential() -> Iterator[Check]:
    share = np.linspace(0.0, 1.0, 401)
    for label, grid in ("even", 401), ("uneven", bx.grids.Given(WALLED * share**1.5)):
        density = bx.stationary(bx.solve(reflected, {}, bx.solvers.FiniteDifference(grid={"x": grid})))
        nodes = np.asarray(density.solution.nodes()["x"])
        mean, pdf = density.mean("x"), np.asarray(density.pdf())
        yield comparison.absolute(f"mean behind a wall, {label} nodes", mean, 1 / RATE, 5e-4, SOURCE)
        yield comparison.absolute(f"density there, {label} nodes", pdf, RATE * np.exp(-RATE * nodes), 2e-2, SOURCE)
        yield comparison.absolute(f"least mass, {label} nodes", min(float(np.min(density.mass)), 0.0), 0.0, 0.0, "mass")
