"""The firm of `firm_irreversible` with a constant theta: quadratic costs, which are reversible.

    r V = max over i of P Y - i - theta i^2 / (2k) + (i - delta k) V_k - kappa z V_z + sigma^2/2 V_zz,
    i* = k (V_k - 1) / theta,   where the maximum is P Y - delta k V_k + k (V_k - 1)^2 / (2 theta).

Numbers, with theta = 2: P = .71830782, Y = 1.39216082, V(1, 0) = 13.901215 by Chebyshev collocation
(`references.firm`). Finite differences on even nodes of k: P = .718328 with 100 x 60 nodes; E[i] = delta E[k] to
rounding.
"""

from typing import Any

import bellax as bx
from bellax.models import firm_irreversible as written
from bellax.models.check import Check
from bellax.models.references import firm

model = bx.DiffusionModel(**{**written.statement, "functions": {"output": written.output}})
params: dict[str, Any] = {"theta": 2.0} | {
    name: value for name, value in written.params.items() if name not in ("theta_up", "theta_down", "steepness")
}
equilibrium, solver, start, periods = written.equilibrium, written.solver, written.start, None
_CONSTANT = {name: value for name, value in params.items() if name != "theta"} | {
    "theta_up": params["theta"],
    "theta_down": params["theta"],
    "steepness": 1.0,
}


def reference(given: dict[str, Any], k: Any, z: Any) -> dict[str, Any]:
    """Value, investment and the price of collocation; nothing for another calibration, or at a given price."""
    same = set(given) == set(params) and all(float(given[name]) == value for name, value in params.items())
    return written.known(_CONSTANT, _CONSTANT, k, z) if same else {}


def checks() -> list[Check]:
    """The price on one grid, and what must hold on it."""
    return written.checked(model, params, firm(_CONSTANT, *written.AT))
