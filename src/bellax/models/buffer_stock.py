"""A buffer stock: saving against spells without income, in units of permanent income, without end.

    V(m) = max over 0 <= c <= m of c^(1-rho)/(1-rho) + beta E[(G psi')^(1-rho) V(m')],
    m' = R / (G psi') (m - c) + theta',

psi the permanent shock and theta the transitory one, zero with a probability of half a percent: so nobody saves
nothing, and consumption is smooth. Where saving makes up for impatience cash is expected to stay as it is, at the
target.

Calibration: R = 1.04, beta = .96, rho = 2, G = 1.03, log-normal shocks of standard deviation .1 as the means of seven
intervals of equal probability each; `log_normals` has them on the nodes of Gauss and Hermite.
Source: Carroll (2006), "The method of endogenous gridpoints for solving dynamic stochastic optimization problems",
Economics Letters 91; the calibration is that of HARK's `IndShockConsumerType` in its tests, whose published numbers
1.37731 and 1.39102 are those of 48 nodes.
"""

from dataclasses import replace
from typing import Any

import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import buffer_stock, equiprobable, gauss_hermite, unemployed

SOURCE = "endogenous grid in numpy with splines and 600 nodes, Carroll (2006)"
UNEMPLOYMENT, SIGMA, ATOMS = 0.005, 0.1, 7


def utility(consumption, risk_aversion):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def savings(cash, consumption):
    return cash - consumption


def next_cash(savings, psi, theta, gross_return, growth):
    return gross_return / (growth * psi) * savings + theta


def in_new_units(patience, growth, psi, risk_aversion):
    """The discount of V, which is measured in permanent income."""
    return patience * (growth * psi) ** (1 - risk_aversion)


model = bx.Model(
    states={"cash": bx.Continuous(1e-3, 20.0, scale=bx.scales.log)},
    actions={"consumption": bx.Continuous(0.0, "cash")},
    shocks={
        "psi": bx.shocks.Categorical("permanent", "permanent_probabilities"),
        "theta": bx.shocks.Categorical("transitory", "transitory_probabilities"),
    },
    functions={"savings": savings},
    transitions={"cash": next_cash},
    reward=utility,
    discount=in_new_units,
)


def calibrated(atoms: Any) -> dict[str, Any]:
    """Parameters with log-normal shocks that `atoms(sigma, count)` discretises."""
    permanent = atoms(SIGMA, ATOMS)
    transitory = unemployed(atoms(SIGMA, ATOMS), UNEMPLOYMENT)
    return {
        "gross_return": 1.04,
        "patience": 0.96,
        "growth": 1.03,
        "risk_aversion": 2.0,
        "permanent": permanent[0],
        "permanent_probabilities": permanent[1],
        "transitory": transitory[0],
        "transitory_probabilities": transitory[1],
    }


params = calibrated(equiprobable)
log_normals = calibrated(gauss_hermite)
wages = equiprobable(SIGMA, ATOMS)
employed: dict[str, Any] = params | {"transitory": wages[0], "transitory_probabilities": wages[1]}
"""Nobody is ever without income: the poor consume all they have, up to a kink."""
solver = bx.solvers.ValueIteration(maximiser=bx.maximise.EGM(grid={"savings": 200}), tolerance=1e-10)
trained = bx.solvers.EulerNet(box={"cash": (1e-3, 30.0)})
"""A net on the Euler equation; the box is wider than where the policy is asked for, since paths lead out of that."""
bound = replace(trained, shares={"consumption": bx.shares.Clipped()})
"""The same where the bound of consumption binds."""
start = {"cash": 1.0}
periods = 100


def exact(given: dict[str, Any]) -> Any:
    """The solution in numpy."""
    return buffer_stock(
        given["patience"],
        given["risk_aversion"],
        given["gross_return"],
        given["growth"],
        (given["permanent"], given["permanent_probabilities"]),
        (given["transitory"], given["transitory_probabilities"]),
    )


def stays(solution: bx.Solution, given: dict[str, Any], by: np.ndarray) -> float:
    """Cash that is expected to stay as it is, each outcome of the permanent shock counted by so much."""
    from scipy.optimize import brentq  # .2 s at import, which a solve of the model does not need

    cash = np.linspace(1.3, 1.5, 41)
    saved = cash - np.asarray(solution.policy(cash=cash)["consumption"])
    returns = given["gross_return"] / given["growth"] * (given["permanent_probabilities"] @ (by / given["permanent"]))
    income = given["transitory_probabilities"] @ given["transitory"]
    grown = returns * saved + income * (given["permanent_probabilities"] @ by) - cash
    curve = np.polynomial.Polynomial.fit(cash, grown, 8)
    return float(brentq(curve, cash[0], cash[-1], xtol=1e-13))


def long_checks() -> list[Check]:
    """Consumption by nets, from the poorest to the richest, of three seeds; without income at times, and never."""
    cash, found = np.unique(np.concatenate([np.geomspace(1e-3, 20.0, 3000), np.linspace(0.5, 2.0, 2000)])), []
    for name, given, own in (("", params, trained), (", bound", employed, bound)):
        known = exact(given).consumption(cash)
        for seed in range(3):
            solution = bx.solve(model, given, replace(own, seed=seed))
            ours = solution.policy(cash=cash)["consumption"]
            found.append(comparison.relative(f"consumption by a net{name}, seed {seed}", ours, known, 1e-3, SOURCE))
    return found


def checks() -> list[Check]:
    """Consumption from the poor to the rich, the target and the steady state, of both discretisations."""
    found = []
    for name, given in (("", params), (", log-normals", log_normals)):
        solution, known = bx.solve(model, given, solver), exact(given)
        cash = np.geomspace(0.1, 6.0, 500)
        ours = solution.policy(cash=cash)["consumption"]
        target = stays(solution, given, np.ones(ATOMS))
        steady = stays(solution, given, given["permanent"])
        found += [
            comparison.relative(f"consumption{name}", ours, known.consumption(cash), 5e-6, SOURCE),
            comparison.absolute(f"target{name}", target, known.target, 1e-6, SOURCE),
            comparison.absolute(f"steady state{name}", steady, known.steady_state, 1e-6, SOURCE),
        ]
    return found
