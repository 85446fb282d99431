"""Work, saving and effort for one's health over the life cycle, with types of people: Mahler & Yum (2024).

    V_j(s) = max over n, f, a' of  u(c, h) - nu_j(e, h) n^2 / 2 - xi_j(e, h) f^(1+1/psi) / (1+1/psi) - chi 1[f != f_-1]
                                   + beta p_j(e, h) E V_{j+1}(s'),
    c = max(R a + y - a', c_min),  0 <= a' <= R a + y,  u(c, h) = kappa_h (c^(1-g) / (1-g) + b),
    Pr(h' = good) = 1 / (1 + exp(-x)),  x = x_0 + x_j + .693 f + .734 f_-1 + 2.311 [h good] + .238 [college] + eta.

s = (a, h, f_-1, z, chi; e, beta, theta, eta): wealth, health, effort of the two years before, the shock of productivity
z' = .975 z + e, the cost of changing one's effort, uniform on [0, B_j] and drawn afresh before the decision; education,
patience, productivity and health have fixed types. Hours n are 0, 1/2 or 1, and 0 from 65 on. y is earnings
w_j(e, h) exp(theta + z) n after a progressive tax, a benefit for who is ill and does not work before 65, and a pension
from 65 on, that of an earner with the mean wage of their education at 63. A period is two years, from 25 to 99; nobody
lives to 101, and who has died is worth nothing.

Calibration: the parameters from which pylcm's replication starts, in units of 48,201 euros; knots of the work and
effort costs are joined by a cubic. Effort has finitely many levels here, five in the model below and forty in the
benchmark; savings are sought among the nodes of wealth.

The paper is followed where the published programs depart from it, as pylcm does. In its equation (6) today's effort is
tomorrow's habit f_-1; the programs solve with yesterday's habit held fixed, so that nobody reckons with that. Its wages
have mean w_j; the programs divide by 1.004 where that takes 1.397. Its pension depends on education alone; the
programs multiply it by the productivity type. The floor of consumption is paid whatever is saved, as in the programs:
the paper does not say. So published moments, which were fitted with the programs, are not to be expected.

Source: Mahler & Yum (2024), "Lifestyle Behaviors and Wealth-Health Gaps in Germany", Econometrica 92(5), and its
replication package; numbers and equations as in pylcm's example (Apache 2.0).
"""

import enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import bellax as bx
from bellax.models import _mahler_yum as tables
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import Lifestyle, lifestyle, rouwenhorst

SOURCE = "a plain recursion in numpy on the same nodes and candidates"
PERIODS = 38
RICHEST = 30.0


class Education(enum.IntEnum):
    school = 0
    college = 1


class Patience(enum.IntEnum):
    low = 0
    high = 1


class Health(enum.IntEnum):
    bad = 0
    good = 1


def mean_wage(period, education, health, wage_start, wage_growth, wage_bend, illness_cut, mean_luck):
    growing = wage_start[education] * jnp.exp(wage_growth[education] * period + wage_bend[education] * period**2)
    return growing * (1 - illness_cut[education] * (health == Health.bad)) / mean_luck


def mean_luck(persistence, innovation_sd, type_spread):
    return jnp.cosh(type_spread) * jnp.exp(0.5 * innovation_sd**2 / (1 - persistence**2))


def earnings(mean_wage, hours, productivity, shock, type_spread):
    return mean_wage * hours * jnp.exp(type_spread * productivity + shock)


def after_tax(earnings, tax_level, progressivity, average_earnings):
    return tax_level * earnings ** (1 - progressivity) * average_earnings**progressivity


def benefit(health, hours, age, retirement_age, benefit_rate, average_earnings):
    entitled = (health == Health.bad) & (hours == 0) & (age < retirement_age)
    return jnp.where(entitled, benefit_rate * average_earnings, 0.0)


def pension(education, age, retirement_age, replacement, wage_start, wage_growth, wage_bend, mean_luck):
    last = (retirement_age - 25) / 2 - 1
    full = mean_wage(last, education, Health.good, wage_start, wage_growth, wage_bend, jnp.zeros(2), mean_luck)
    return jnp.where(age >= retirement_age, replacement * full, 0.0)


def resources(wealth, gross_return, after_tax, benefit, pension):
    return gross_return * wealth + after_tax + benefit + pension


def consumption(resources, saving, floor, average_earnings):
    return jnp.maximum(resources - saving, floor * average_earnings)


def joy(consumption, health, risk_aversion, joy_of_life, illness_taste):
    taste = jnp.where(health == Health.bad, illness_taste, 1.0)
    return taste * (consumption ** (1 - risk_aversion) / (1 - risk_aversion) + joy_of_life)


def toil(hours, health, education, toil_weight):
    return toil_weight[education, health] * hours**2 / 2


def strain(effort, health, education, strain_weight, effort_elasticity):
    power = 1 + 1 / effort_elasticity
    return strain_weight[education, health] * effort**power / power


def change(effort, habit, adjustment_cost):
    return adjustment_cost * (effort != habit)


def utility(joy, toil, strain, change):
    return joy - toil - strain - change


def health_chances(health, effort, habit, education, health_type, health_constant, health_by_age, health_weights):
    by_effort, by_habit, by_health, by_college, by_type = health_weights
    x = health_constant + health_by_age + by_effort * effort + by_habit * habit
    x = x + by_health * health + by_college * education + by_type * health_type
    good = jax.nn.sigmoid(x)
    return jnp.stack([1 - good, good])


def alive_or_dead(education, health, survival):
    return {"alive": survival[education, health], "dead": 1 - survival[education, health]}


def stated(levels: int) -> bx.Model:
    """The model with so many levels of effort, from 0 to 1."""
    efforts = np.linspace(0.0, 1.0, levels)
    fixed = ("education", "patience", "productivity", "health_type")
    alive = bx.Regime(
        states={
            "shock": bx.AR1("persistence", "innovation_sd"),
            "adjustment_cost": bx.IID(bx.shocks.Uniform(0.0, "largest_adjustment_cost")),
            "habit": bx.Discrete(efforts),
            "education": bx.Discrete(Education),
            "productivity": bx.Discrete([-1, 1]),
            "patience": bx.Discrete(Patience),
            "health_type": bx.Discrete([0, 1]),
            "health": bx.Discrete(Health),
            "wealth": bx.Continuous(0.0, RICHEST),
        },
        actions={
            "hours": bx.Discrete([0.0, 0.5, 1.0]),
            "effort": bx.Discrete(efforts),
            "saving": bx.Continuous(0.0, "resources"),
        },
        functions={
            function.__name__: function
            for function in (mean_wage, mean_luck, earnings, after_tax, benefit, pension, resources)
            + (consumption, joy, toil, strain, change)
        },
        transitions={"wealth": "saving", "habit": "effort", "health": bx.Markov(health_chances)}
        | dict.fromkeys(fixed, bx.fixed),
        constraints={"rest": lambda hours, age, retirement_age: (hours == 0) | (age < retirement_age)},
        reward=utility,
        discount=lambda patience, discounts: discounts[patience],
        next_regime=alive_or_dead,
    )
    return bx.Model(regimes={"alive": alive, "dead": bx.Terminal()}, horizon=bx.Ages(25, 99, step="2Y"))


def joined(knots: tuple[int, ...], values: tuple[float, ...]) -> np.ndarray:
    """The cubic through four knots, numbered from the first period = 1, level after the last and nowhere negative."""
    at = np.minimum(np.arange(1, PERIODS + 1), knots[-1])
    cubic = np.linalg.solve(np.vander(knots), values)
    return np.maximum(np.polyval(cubic, at), 0.0)


def _work_costs() -> np.ndarray:
    """nu by period, education and health; without college all are more costly."""
    knots = (1, 8, 13, 20)
    bad = joined(knots, (2.41177758126754, 1.8133670880598, 1.39103558901915, 2.41466980231321))
    good = joined(knots, (2.63390750888379, 1.66602983591164, 1.27839561280412, 1.71439043350863))
    college = np.stack([bad, good], axis=1)
    found = np.stack([np.exp(0.807247922589072) * college, college], axis=1)
    return np.where(np.arange(PERIODS)[:, None, None] < knots[-1], found, 0.0)


def _effort_costs() -> np.ndarray:
    """xi by period, education and health."""
    values = (
        (0.628031290227532, 1.36593242946612, 1.64963812690034, 0.734873142494319),
        (0.146075197675677, 0.55992411008533, 1.04795036000287, 1.60294886005945),
        (0.46921037985024, 0.996665589702672, 1.65388250352532, 1.08866246911941),
        (0.091312997289004, 0.302477689083851, 0.739843441095022, 1.36582077051777),
    )
    return np.stack([joined((1, 12, 20, 31), own) for own in values], axis=1).reshape(PERIODS, 2, 2)


_AGES = 25 + 2 * np.arange(PERIODS)
_FADING = np.array([0.0, -0.289, -0.644, -0.881, -1.138, -1.586])
params: dict[str, Any] = {
    "gross_return": 1.04**2,
    "average_earnings": 57706.57 / 48201,
    "floor": 0.1,
    "benefit_rate": 0.115,
    "tax_level": 1 - 0.321,
    "progressivity": 0.128,
    "retirement_age": 65,
    "replacement": 0.358766004066242,
    "wage_start": [0.899399488241831, 1.1654726432446],
    "wage_growth": [0.0615804210614531, 0.0874283672769353],
    "wage_bend": [-0.00250769285750586, -0.00293713499239749],
    "illness_cut": [0.17769766414897, 0.144836058314823],
    "persistence": 0.975,
    "innovation_sd": 0.0289408524185787**0.5,
    "type_spread": 0.2898,
    "risk_aversion": 2.0,
    "joy_of_life": 13.1079320277342,
    "illness_taste": 0.871503495423925,
    "toil_weight": bx.by_period(_work_costs()),
    "strain_weight": bx.by_period(_effort_costs()),
    "effort_elasticity": 1.11497911620865,
    "largest_adjustment_cost": bx.by_period(0.000120437772838191 * np.exp(0.14468204213946 * np.arange(PERIODS))),
    "health_constant": -0.906,
    "health_by_age": bx.by_period(_FADING[np.minimum((_AGES - 25) // 10, 5)]),
    "health_weights": [0.693, 0.734, 2.311, 0.238, 0.632],
    "survival": bx.by_period(np.concatenate([tables.SURVIVAL, np.zeros((1, 2, 2))])),
    "discounts": [0.942749393405227 - 0.0283688760224992, 0.942749393405227 + 0.0283688760224992],
}


def by_candidates(wealth: int, shocks: int, costs: int, **options: Any) -> bx.solvers.BackwardInduction:
    """Backward induction with so many nodes of each, savings among those of wealth.

    The nodes of wealth lie dense where people are poor: they are even in the logarithm of 1 + 3.3 a.
    """
    nodes = bx.grids.Given(wealth_nodes(wealth))
    return bx.solvers.BackwardInduction(
        grid={"wealth": nodes, "shock": bx.grids.Rouwenhorst(shocks), "adjustment_cost": costs},
        maximiser=bx.maximise.Enumerate(grid={"saving": nodes}),
        interpolant=bx.interpolants.Linear(),
        **options,
    )


def wealth_nodes(count: int) -> np.ndarray:
    """Nodes of wealth and candidates of saving, shape (count,)."""
    return RICHEST * (100.0 ** np.linspace(0.0, 1.0, count) - 1) / 99


model = stated(5)
solver = by_candidates(wealth=20, shocks=3, costs=3)
start: dict[str, Any] = {"regime": "alive", "wealth": 0.0, "health": "good", "habit": 0.75} | {
    "education": dict(zip(("school", "college"), tables.TYPE_SHARES.sum((1, 2, 3)).tolist(), strict=True)),
    "patience": dict(zip(("low", "high"), tables.TYPE_SHARES.sum((0, 2, 3)).tolist(), strict=True)),
    "productivity": dict(zip((-1, 1), tables.TYPE_SHARES.sum((0, 1, 3)).tolist(), strict=True)),
    "health_type": dict(zip((0, 1), tables.TYPE_SHARES.sum((0, 1, 2)).tolist(), strict=True)),
}
periods = None


def newborns(agents: int, efforts: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """People of 25 by the published shares of types, without wealth; effort before 25 is the nearest of its levels."""
    draw = np.random.default_rng(seed)
    shares = tables.TYPE_SHARES.ravel()
    kind = np.unravel_index(draw.choice(shares.size, agents, p=shares / shares.sum()), tables.TYPE_SHARES.shape)
    education, patience, productivity, health_type = kind
    nearest = np.abs(efforts - tables.EFFORT_BEFORE_25[kind][:, None]).argmin(axis=1)
    return pd.DataFrame(
        {
            "regime": "alive",
            "wealth": 0.0,
            "health": (draw.random(agents) < tables.HEALTHY_AT_25[kind]).astype(int),
            "habit": efforts[nearest],
            "education": education,
            "patience": patience,
            "productivity": 2 * productivity - 1,
            "health_type": health_type,
        }
    )


def recursion(levels: int, wealth: int, shocks: int, costs: int) -> Lifestyle:
    """V and choices on the nodes of `stated(levels)` and `by_candidates(wealth, shocks, costs)`, without bellax."""
    given = {name: np.asarray(getattr(value, "values", value)) for name, value in params.items()}
    chain = rouwenhorst(float(given["persistence"]), float(given["innovation_sd"]), shocks)
    x, w = np.polynomial.legendre.leggauss(costs)
    return lifestyle(wealth_nodes(wealth), np.linspace(0.0, 1.0, levels), chain, ((1 + x) / 2, w / 2), given)


def compared(levels: int, wealth: int, shocks: int, costs: int, ages: tuple[int, ...]) -> list[Check]:
    """V at every node and age, and choices at every node of some ages, beside those of the reference."""
    known = recursion(levels, wealth, shocks, costs)
    solution = bx.solve(stated(levels), params, by_candidates(wealth, shocks, costs))["alive"]
    found = [comparison.of_value("V", solution.values["alive"].levels, known.value, 1e-10, SOURCE)]
    candidates = (
        ("hours", np.array([0.0, 0.5, 1.0]), known.hours),
        ("effort", np.linspace(0.0, 1.0, levels), known.effort),
        ("saving", wealth_nodes(wealth), known.saving),
    )
    for age in ages:
        period = (age - 25) // 2
        chosen = solution.policy(age=age, **_nodes(levels, wealth, shocks, costs, period))
        for name, values, places in candidates:
            what = f"{name} at {age}"
            found.append(comparison.absolute(what, chosen[name], values[places[period]], 1e-12, SOURCE))
    return found


def _nodes(levels: int, wealth: int, shocks: int, costs: int, period: int) -> dict[str, np.ndarray]:
    """Every node of a period, by state: arrays whose shapes broadcast to that of V."""
    z, _ = rouwenhorst(params["persistence"], params["innovation_sd"], shocks)
    x, _ = np.polynomial.legendre.leggauss(costs)
    draws = (1 + x) / 2 * params["largest_adjustment_cost"].values[period]
    two = np.arange(2)
    axes = {"shock": z, "adjustment_cost": draws, "habit": np.linspace(0.0, 1.0, levels), "education": two}
    axes |= {"productivity": 2 * two - 1, "patience": two, "health_type": two, "health": two}
    axes |= {"wealth": wealth_nodes(wealth)}
    return dict(zip(axes, np.ix_(*axes.values()), strict=True))


def moments(solution: Any, levels: int, agents: int) -> dict[str, dict[int, float]]:
    """Some moments by age of people who are simulated from 25 on: mean wealth, and who is healthy and alive.

    They begin as in the simulation of pylcm, at each of five nodes of the shock with equal probability: productivity is
    more unequal then than by its stationary law, by which `newborns` begin otherwise. Nobody reckons beyond the nodes
    of the chain: 5 of them leave people a quarter richer at 35 than 11 do.
    """
    people = newborns(agents, np.linspace(0.0, 1.0, levels))
    shocks, _ = rouwenhorst(params["persistence"], params["innovation_sd"], 5)
    people["shock"] = np.random.default_rng(1).choice(shocks, agents)
    frame = bx.simulate(solution, agents, people, seed=1).frame()
    by_age = frame[frame["regime"] == "alive"].groupby("age")
    every = {
        "mean wealth": by_age["wealth"].mean(),
        "share in good health": by_age["health"].apply(lambda health: float((health == "good").mean())),
        "share alive": by_age.size() / agents,
    }
    for hours, name in ((0.0, "share at rest"), (0.5, "share in part time")):
        every[name] = by_age["hours"].apply(lambda worked, hours=hours: float((worked == hours).mean()))
    return {name: {age: float(every[name].loc[age]) for age in known} for name, known in tables.SIMULATED.items()}


def checks() -> list[Check]:
    """V of every age and choices of three on few nodes."""
    return compared(levels=3, wealth=6, shocks=2, costs=2, ages=(25, 63, 65))


def long_checks() -> list[Check]:
    """The same on more nodes, and moments of a simulation, which say no more than that they are in the right place."""
    found = compared(levels=5, wealth=12, shocks=3, costs=3, ages=(25, 45, 63, 65, 99))
    ours = moments(bx.solve(model, params, by_candidates(wealth=50, shocks=11, costs=2)), 5, 10_000)
    for name, known in tables.SIMULATED.items():
        tolerance = 0.15 if name == "mean wealth" else 0.03
        values = [ours[name][age] for age in known]
        found.append(comparison.absolute(name, values, list(known.values()), tolerance, "sanity: pylcm's simulation"))
    return found
