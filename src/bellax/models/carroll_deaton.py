"""Carroll-Deaton: consumption over the life cycle with risky income and no borrowing, ages 25 to 74.

    V_t(m) = max over 0 <= c <= m of c^(1-gamma) / (1-gamma) + beta E V_{t+1}(m'),    m' = R (m - c) + y_{t+1},
    y_t = G_t exp(sigma z - sigma^2 / 2),    z ~ N(0, 1).

Cash on hand m holds the income of the year, which is seen before the choice. Mean income G has a hump up to age 64;
then a pension of .6, as risky as wages were. Nobody lives to 75. Consumption is the whole of m where that is little;
there is a kink where saving begins, and a weaker one wherever some income leads to a kink of the next year. What is
left of the error is that of the cells that hold a kink, and falls with their width: the strongest ones, around the age
of retirement, lie between .5 and 1, and cash is measured by arsinh((m - .7) / .2), so that nodes crowd there.

Calibration: gamma = 2, beta = .96, R = 1.03, sigma = .2.
Source: Deaton (1991), "Saving and liquidity constraints", Econometrica 59; Carroll (1997), "Buffer-stock saving and
the life cycle/permanent income hypothesis", Quarterly Journal of Economics 112. The calibration is ours.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import carroll_deaton_egm, lognormal_incomes

SOURCE = "endogenous grid of 40,000 nodes, Carroll (2006), with the same seven incomes"
FIRST_AGE, LAST_AGE, INCOMES = 25, 74, 7


def utility(consumption, risk_aversion):
    return consumption ** (1 - risk_aversion) / (1 - risk_aversion)


def mean_income(years, growth, curvature, pension):
    """Mean income at an age, in units of that at 25."""
    worked = years - 25
    return jnp.where(years < 65, 1 + growth * worked - curvature * worked**2, pension)


def mean_income_next(age, growth, curvature, pension):
    return mean_income(age + 1, growth, curvature, pension)


def next_cash(cash, consumption, interest, mean_income_next, z, sigma):
    return (1 + interest) * (cash - consumption) + mean_income_next * jnp.exp(sigma * z - sigma**2 / 2)


def around_kinks(cash):
    far = (cash - 0.7) / 0.2
    return jnp.log(far + jnp.sqrt(far**2 + 1))  # arsinh, of which jax computes two logarithms


def its_inverse(coordinate):
    return 0.7 + 0.2 * jnp.sinh(coordinate)


model = bx.Model(
    states={"cash": bx.Continuous(0.2, 25.0, scale=(around_kinks, its_inverse))},
    actions={"consumption": bx.Continuous(0.0, "cash")},
    shocks={"z": bx.shocks.Normal()},
    functions={"mean_income_next": mean_income_next},
    transitions={"cash": next_cash},
    reward=utility,
    horizon=bx.Ages(FIRST_AGE, LAST_AGE),
)
params: dict[str, Any] = {
    "discount": 0.96,
    "risk_aversion": 2.0,
    "interest": 0.03,
    "sigma": 0.2,
    "growth": 0.02,
    "curvature": 0.0003,
    "pension": 0.6,
}
solver = bx.solvers.BackwardInduction(
    grid={"cash": 6000},
    quadrature={"z": INCOMES},
    maximiser=bx.maximise.Newton(grid={"consumption": 5}),
)
start = {"cash": 1.0}
periods = None


def reference(given: dict[str, Any], cash: Any) -> dict[str, Any]:
    """Value and consumption of the endogenous grid at the first age; nothing for another calibration."""
    if any(float(given[name]) != value for name, value in params.items()):
        return {}
    exact = endogenous_grid()
    return {"value": exact.value(0, np.asarray(cash)), "consumption": exact(0, np.asarray(cash))}


def checks() -> list[Check]:
    """Consumption at every age against the endogenous grid, from the constrained to the rich, through the kinks."""
    reference = endogenous_grid()
    solution = bx.solve(model, params, solver)
    cash = np.unique(np.concatenate([np.linspace(0.3, 3.0, 1000), np.geomspace(3.0, 20.0, 100)]))
    ages = range(LAST_AGE + 1 - FIRST_AGE)
    ours = np.stack([solution.policy(t, cash=cash)["consumption"] for t in ages])
    values = np.stack([solution.value(t, cash=cash) for t in ages])
    return [
        comparison.relative("consumption", ours, np.stack([reference(t, cash) for t in ages]), 1e-5, SOURCE),
        comparison.of_value("V", values, np.stack([reference.value(t, cash) for t in ages]), 1e-8, SOURCE),
    ]


def truth(given: dict[str, Any], cash: Any) -> dict[str, Any]:
    """As `reference`, of incomes as they are distributed and not of seven of them."""
    return {"value": endogenous_grid(101).value(0, np.asarray(cash))} if reference(given, cash) else {}


def endogenous_grid(incomes: int = INCOMES):
    """The reference of this calibration, with so many incomes: a callable c(t, m), with a method `value(t, m)`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(incomes)
    years = np.arange(FIRST_AGE, LAST_AGE + 1.0)
    worked = years - 25
    hump = 1 + params["growth"] * worked - params["curvature"] * worked**2
    profile = np.where(years < 65, hump, params["pension"])
    paid = lognormal_incomes(profile, params["sigma"], nodes)
    gross = 1 + params["interest"]
    return carroll_deaton_egm(params["risk_aversion"], params["discount"], gross, paid, weights / weights.sum())
