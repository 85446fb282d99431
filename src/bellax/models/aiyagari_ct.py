"""Aiyagari's economy in continuous time, with Poisson income.

Households hold assets a >= 0, earn w z, and choose consumption; z jumps between two values:

    rho V = max over c of c^(1 - gamma)/(1 - gamma) + V_a (w z + r a - c) + intensity (V' - V).

Firms produce A K^alpha L^(1 - alpha), so that r + delta = alpha A (L/K)^(1 - alpha) and w = (1 - alpha) A (K/L)^alpha:
a wage belongs to every interest rate, and a demand for capital. In equilibrium it is what households hold, and by
Walras's law consumption is then what is produced less what wears out.

After a shock to A, known from then on, interest clears the market at every time; the path is linear in a small shock.

Calibration: the transition code of the authors' project, gamma 2, rho .05, alpha 1/3, delta .05, A .1, z 1 or 2, each
left at the rate 1/3; the borrowing limit is of our own. No number is published: two grids, two methods and two accounts
agree, and are called so.

Source: Aiyagari (1994); Achdou, Han, Lasry, Lions & Moll (2022).
"""

from typing import Any

import jax
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check

HOLDINGS = {"assets": "assets", "labor": "skill", "consumption": "consumption"}
DECAY = 0.2  # of a shock, a year


def capital_ratio(interest, productivity, share, depreciation):
    """Capital that firms rent for each unit of labour."""
    return (share * productivity / (interest + depreciation)) ** (1 / (1 - share))


def wage(interest, productivity, share, depreciation):
    return (1 - share) * productivity * capital_ratio(interest, productivity, share, depreciation) ** share


def excess(assets, labor, interest, productivity, share, depreciation):
    return assets - labor * capital_ratio(interest, productivity, share, depreciation)


def produced(assets, labor, productivity, share):
    return productivity * assets**share * labor ** (1 - share)


def implied(assets, labor, productivity, share, depreciation):
    """The interest rate at which firms rent what households hold."""
    return share * produced(assets, labor, productivity, share) / assets - depreciation


households: dict[str, Any] = {
    "actions": {"consumption": bx.Continuous(1e-6)},
    "policy": {"consumption": lambda marginal_assets, risk_aversion: marginal_assets ** (-1 / risk_aversion)},
    "functions": {"wage": wage},
    "reward": lambda consumption, risk_aversion: consumption ** (1 - risk_aversion) / (1 - risk_aversion),
}


def saved(assets, skill, wage, interest, consumption):
    return wage * skill + interest * assets - consumption


model = bx.DiffusionModel(
    states={
        "assets": bx.Continuous(0.0, 6.0),
        "skill": bx.MarkovChain([1.0, 2.0], intensity=[[-1 / 3, 1 / 3], [1 / 3, -1 / 3]]),
    },
    drift={"assets": saved},
    boundary={"assets": bx.StateConstraint()},
    **households,
)
economy: dict[str, Any] = {
    "risk_aversion": 2.0, "discount": 0.05, "productivity": 0.1, "share": 1 / 3, "depreciation": 0.05,
}  # fmt: skip
equilibrium: dict[str, Any] = {
    "unknowns": {"interest": (0.0, 0.0495)},
    "aggregates": HOLDINGS,
    "conditions": {"capital": excess},
}
params: dict[str, Any] = {**economy, "interest": 0.0417}
start = {"assets": 0.3, "skill": 1.0}
periods = 50


def grid(count: int, power: float = 3.0) -> Any:
    """Nodes that are dense where the poor are."""
    return bx.grids.Given(6.0 * np.linspace(0.0, 1.0, count) ** power)


def by(count: int, power: float = 3.0) -> Any:
    return bx.solvers.FiniteDifference(grid={"assets": grid(count, power)})


solver = by(200)


def checks() -> list[Check]:
    """What households hold at a given rate, by another program; accounts of the equilibrium, and by damped logs."""
    found = bx.equilibrium(model, economy, **equilibrium, solver=solver)
    rate = float(found.unknowns["interest"])
    assets, labor, consumption = (float(found.aggregates[name]) for name in HOLDINGS)
    even = bx.stationary(bx.solve(model, params, by(200, 1.0)))
    pay = float(wage(*(params[name] for name in ("interest", "productivity", "share", "depreciation"))))
    nodes, mass = _upwind(np.asarray(even.solution.nodes()["assets"]), params["interest"], pay)
    output = produced(assets, labor, economy["productivity"], economy["share"])
    used = consumption + economy["depreciation"] * assets
    update = bx.clearing.DampedLogs(update={"interest": implied}, share=0.05)
    slow = bx.equilibrium(
        model, economy, **(equilibrium | {"unknowns": {"interest": (0.04, 0.0495)}}), solver=solver, method=update
    )
    return [
        comparison.relative(
            "capital", even.mean("assets"), nodes @ mass, 1e-8, "the published upwind algorithm, in scipy"
        ),
        comparison.relative("what is used", used, output, 1e-12, "what is produced: Walras's law"),
        comparison.absolute("interest", rate, slow.unknowns["interest"], 1e-8, "two methods that agree: damped logs"),
    ]


def _upwind(nodes: np.ndarray, rate: float, pay: float) -> tuple[np.ndarray, np.ndarray]:
    """Assets and the mass at each: implicit steps of V with consumption by upwind differences, then the kernel."""
    from scipy.sparse import bmat, diags, identity
    from scipy.sparse.linalg import spsolve

    gamma, jumps, step = economy["risk_aversion"], 1 / 3, np.diff(nodes)[:, None]
    income = pay * np.array([1.0, 2.0]) + rate * nodes[:, None]
    utility = lambda c: c ** (1 - gamma) / (1 - gamma)  # noqa: E731
    values, count = utility(income) / economy["discount"], nodes.size
    for _ in range(200):
        slope = np.diff(values, axis=0) / step
        ahead = np.concatenate([slope, income[-1:] ** -gamma]) ** (-1 / gamma)
        behind = np.concatenate([income[:1] ** -gamma, slope]) ** (-1 / gamma)
        up = np.maximum(income - ahead, 0.0)
        down = np.where(up > 0, 0.0, np.minimum(income - behind, 0.0))
        used = np.where(up > 0, ahead, np.where(down < 0, behind, income))
        rising = np.concatenate([up[:-1] / step, np.zeros((1, 2))])
        falling = np.concatenate([np.zeros((1, 2)), -down[1:] / step])
        blocks = [diags([falling[1:, z], -rising[:, z] - falling[:, z], rising[:-1, z]], [-1, 0, 1]) for z in (0, 1)]
        stay, leave = -jumps * identity(count), jumps * identity(count)
        moves = bmat([[blocks[0] + stay, leave], [leave, blocks[1] + stay]]).tocsc()
        right = (utility(used) + values / 1000.0).T.ravel()
        new = spsolve((economy["discount"] + 1e-3) * identity(2 * count) - moves, right).reshape(2, count).T
        values, change = new, np.max(np.abs(new - values))
        if change < 1e-9:
            break
    system = moves.T.tolil()
    system[0], right = 1.0, np.eye(2 * count)[0]  # in the place of one equation, that all mass is one
    return nodes, spsolve(system.tocsc(), right).reshape(2, count).sum(axis=0)


def long_checks() -> list[Check]:
    """The rate on other grids, extrapolated; and the path after a shock, beside its derivative."""

    def extrapolated(power: float) -> Any:
        coarse, fine = (bx.equilibrium(model, economy, **equilibrium, solver=by(n, power)) for n in (200, 400))
        return 2 * fine.unknowns["interest"] - coarse.unknowns["interest"]  # the scheme is of the first order

    large, small, tiny = (_answer(size) / size for size in (1e-2, 5e-3, 1e-4))
    line = jax.jvp(_answer, (0.0,), (1.0,))[1]
    most = np.max(np.abs(line))
    ratio = np.max(np.abs(large - line)) / np.max(np.abs(small - line))
    return [
        comparison.absolute("interest", extrapolated(3.0), extrapolated(2.0), 1e-5, "two grids that agree"),
        comparison.absolute("path of a small shock / peak", tiny / most, line / most, 1e-3, "the implicit derivative"),
        comparison.absolute("bend of the path, halved shock", ratio, 2.0, 0.02, "two paths that agree: Taylor"),
    ]


def _answer(size: Any) -> Any:
    """By how much interest moves over time after productivity rises by a share, which decays."""
    households = by(100)
    found = bx.equilibrium(model, economy, **equilibrium, solver=households)
    times = 120.0 * np.linspace(0.0, 1.0, 61) ** 2
    shock = economy["productivity"] * (1 + size * np.exp(-DECAY * times))
    still = {name: value for name, value in economy.items() if name != "productivity"}
    path = bx.transition_path(
        model, still, {"productivity": shock}, found, ["interest"], HOLDINGS, equilibrium["conditions"], times=times
    )
    return path.unknowns["interest"] - found.unknowns["interest"]
