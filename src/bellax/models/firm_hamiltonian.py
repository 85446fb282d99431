"""The firm of `firm_irreversible` with the drift that its Hamiltonian implies: costs that a firm takes into account.

    r V = P Y - delta k V_k + k g(V_k) - kappa z V_z + sigma^2/2 V_zz,
    g(p) = (p - 1)^2 / (2 theta(p)),   i* = k g'(V_k).

V solves the same equation as in `firm_irreversible`, at the same price. Here capital moves with the derivative of the
maximised Hamiltonian, g'(V_k) - delta times k, so that the density obeys the adjoint equation. As g is convex, it is
the best that a firm can do whose cost of investment is k c(i/k), c(u) = max over p of p u - g(p): of that the flow of
reward below is made. More is invested, the price is lower.

Numbers: P = .72814870, Y = 1.37334586, V(1, 0) = 13.985761 by Chebyshev collocation (`references.firm`). Finite
differences on even nodes of k: P = .728167 with 100 x 60 nodes; E[i] = delta E[k] to rounding.
"""

from typing import Any

import jax

import bellax as bx
from bellax.models import firm_irreversible as written
from bellax.models.check import Check
from bellax.models.references import firm


def gain(marginal_k, theta_up, theta_down, steepness):
    return (marginal_k - 1) ** 2 / (2 * written.irreversibility(marginal_k, theta_up, theta_down, steepness))


def best_investment(k, marginal_k, theta_up, theta_down, steepness):
    return k * jax.grad(gain)(marginal_k, theta_up, theta_down, steepness)


def profit(k, output, investment, marginal_k, gain, price):
    return price * output - (marginal_k * investment - k * gain)


model = bx.DiffusionModel(
    **{
        **written.statement,
        "policy": {"investment": best_investment},
        "functions": {"gain": gain, "output": written.output},
        "reward": profit,
    }
)
params: dict[str, Any] = dict(written.params)
equilibrium, solver, start, periods = written.equilibrium, written.solver, written.start, None


def reference(given: dict[str, Any], k: Any, z: Any) -> dict[str, Any]:
    """Value, investment and the price of collocation; nothing for another calibration, or at a given price."""
    return written.known(given, params, k, z, by_hamiltonian=True)


def checks() -> list[Check]:
    """The price on one grid, and what must hold on it."""
    return written.checked(model, params, firm(params, *written.AT, by_hamiltonian=True))
