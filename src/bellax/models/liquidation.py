"""Liquidation of many assets that one signal moves: sold quickly they move prices, kept they are a risk.

    V_t(q, p) = max over v of sum_i (v_i p_i - 2 v_i^2) - .02 (sum_i b_i q_i)^2 + E V_{t+1}(q - v, .7 p + .4 b f)
    V_T(q, p) = sum_i (q_i p_i - 8 q_i^2),    f ~ N(0, 1)

with inventories q, an expected price p for each asset, and one common factor f that each of them loads on by b. Ten
periods, no discounting. Without bounds the value is quadratic and the best sales are linear in (q, p); the bounds
0 <= v <= q of `constrained` make it a problem without a closed form.

Calibration (ours): N assets with b from .7 to 1.3 and q from .8 to .4 at the start, p = 0; of one asset b = 1, q = .6.
Source: Almgren & Chriss (2001), "Optimal execution of portfolio transactions", Journal of Risk 3.
"""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import QuadraticControl, linear_quadratic

SOURCE = "matrix Riccati equation in numpy"
ASSETS, HORIZON = 40, 10


def gains(sold, signal, inventory, loading, impact, risk):
    return jnp.sum(sold * signal - impact * sold**2) - risk * jnp.sum(loading * inventory) ** 2


def next_inventory(inventory, sold):
    return inventory - sold


def next_signal(signal, factor, loading, persistence, volatility):
    return persistence * signal + volatility * loading * factor


def left_over(inventory, signal, penalty):
    return jnp.sum(inventory * signal - penalty * inventory**2)


def liquidation(assets: int) -> bx.Model:
    """The model of so many assets, without bounds on what is sold."""
    return bx.Model(
        states={
            "inventory": bx.Continuous(-2.0, 2.0, shape=(assets,)),
            "signal": bx.Continuous(-4.0, 4.0, shape=(assets,)),
        },
        actions={"sold": bx.Continuous(shape=(assets,))},
        shocks={"factor": bx.shocks.Normal()},
        transitions={"inventory": next_inventory, "signal": next_signal},
        reward=gains,
        terminal=left_over,
        horizon=HORIZON,
    )


def constrained(assets: int) -> bx.Model:
    """The model in which nothing is bought, and no more is sold than there is."""
    return replace(
        liquidation(assets),
        actions={"sold": bx.Continuous(0.0, "inventory", shape=(assets,))},
    )


def calibration(assets: int) -> dict[str, Any]:
    """Parameters for so many assets."""
    loading = np.ones(1) if assets == 1 else np.linspace(0.7, 1.3, assets)
    return {
        "discount": 1.0,
        "loading": loading,
        "impact": 2.0,
        "risk": 0.02,
        "persistence": 0.7,
        "volatility": 0.4,
        "penalty": 8.0,
    }


def beginning(assets: int) -> dict[str, Any]:
    """What is held at the start, without a signal."""
    held = np.array([0.6]) if assets == 1 else np.linspace(0.8, 0.4, assets)
    return {"inventory": held, "signal": np.zeros(assets)}


model = liquidation(ASSETS)
params = calibration(ASSETS)
start = beginning(ASSETS)
solver = bx.solvers.ILQG(start=start)
trained = bx.solvers.PolicyGradient(start=start, paths=1024, budget=200, finish=250, critic=(16,), points=2000)
"""A policy of nets, along simulated paths: where bounds bind it is better than what a quadratic value suggests."""
periods = None


def regulator(given: dict[str, Any]) -> QuadraticControl:
    """The Riccati solution of a calibration, the state being inventories and then signals."""
    b = np.asarray(given["loading"], float)
    n = len(b)
    eye, zero = np.eye(n), np.zeros((n, n))
    reward = np.zeros((3 * n, 3 * n))  # of (q, p, v), as z'M z / 2
    reward[:n, :n] = -2 * given["risk"] * np.outer(b, b)
    reward[n : 2 * n, 2 * n :] = reward[2 * n :, n : 2 * n] = eye
    reward[2 * n :, 2 * n :] = -2 * given["impact"] * eye
    law = np.block([[eye, zero, -eye], [zero, given["persistence"] * eye, zero]])
    noise = np.zeros((2 * n, 2 * n))
    noise[n:, n:] = given["volatility"] ** 2 * np.outer(b, b)
    last = np.block([[-2 * given["penalty"] * eye, eye], [eye, zero]])
    return linear_quadratic(reward, law, noise, float(given["discount"]), HORIZON, last)


def reference(given: dict[str, Any], inventory: Any, signal: Any) -> dict[str, Any]:
    """Value and sales of the Riccati equation in period 0."""
    exact, x = regulator(given), np.concatenate([np.ravel(inventory), np.ravel(signal)])
    return {"value": float(exact.value(0, x)), "sold": exact.gain[0] @ x}


def checks() -> list[Check]:
    """Value and sales from the start, and in every period at other states, of one asset and of forty."""
    return [check for assets in (1, ASSETS) for check in of_assets(assets)]


def long_checks() -> list[Check]:
    """With bounds: how wide the bracket of forty assets is, and of one asset how far it is from the value of a grid;
    and what nets find."""
    wide, one = bracket(ASSETS), bracket(1)
    boxed = replace(
        constrained(1),
        states={"inventory": bx.Continuous(0.0, 1.0, shape=(1,)), "signal": bx.Continuous(-3.5, 3.5, shape=(1,))},
    )
    grid = bx.solvers.BackwardInduction(grid={"inventory": (41,), "signal": (61,)}, quadrature={"factor": 9})
    known = float(bx.solve(boxed, calibration(1), grid).value(0, **beginning(1)))
    width = (wide[1] - wide[0]) / abs(sum(wide) / 2)
    return [
        comparison.absolute("width of the bracket, 40 assets, relative", width, 0.0, 0.01, "none: less is better"),
        *comparison.bracketed("bracket of one asset", one, (known, known), 0.15, "BackwardInduction", 1e-9),
        *of_nets(),
    ]


def bracket(assets: int) -> tuple[float, float]:
    """Between what the value with bounds lies at the start, with a confidence of 95 %."""
    begin = beginning(assets)
    solution = bx.solve(constrained(assets), calibration(assets), replace(solver, start=begin))
    return bx.certify(solution, points=20, start=begin, seed=1).bracket.interval


def of_assets(assets: int) -> list[Check]:
    """The comparison for so many assets."""
    given, begin, own = calibration(assets), beginning(assets), liquidation(assets)
    solution = bx.solve(own, given, replace(solver, start=begin))
    exact = regulator(given)
    known = {1: -0.0264012886, 40: -22.0879222827}[assets]
    drawn = np.random.default_rng(0).normal(0.0, 0.4, (5, 2 * assets))
    at: dict[str, Any] = {"inventory": drawn[:, :assets], "signal": drawn[:, assets:]}
    values = np.stack([solution.value(t, **at) for t in range(HORIZON)])
    sold = np.stack([solution.policy(t, **at)["sold"] for t in range(HORIZON)])
    name = "asset" if assets == 1 else "assets"
    return [
        comparison.absolute(f"V at the start, {assets} {name}", solution.value(0, **begin), known, 1e-10, SOURCE),
        comparison.of_value(
            f"V, {assets} {name}",
            values,
            np.array([[exact.value(t, x) for x in drawn] for t in range(HORIZON)]),
            1e-10,
            SOURCE,
        ),
        comparison.of_value(f"sold, {assets} {name}", sold, np.einsum("tmn,kn->tkm", exact.gain, drawn), 1e-10, SOURCE),
    ]


def of_nets() -> list[Check]:
    """The policy of nets, without bounds and within them, against the Riccati equation; two minutes."""
    free = bx.solve(model, params, trained)
    within = replace(trained, shares={"sold": bx.shares.Clipped()}, budget=300, finish=300)
    bounded = bx.solve(constrained(ASSETS), params, within)
    exact = regulator(params)

    def cut(period: int, inventory: Any, signal: Any) -> Any:
        return np.clip(np.concatenate([inventory, signal], axis=1) @ exact.gain[period].T, 0.0, inventory)

    def ours(period: int, inventory: Any, signal: Any) -> Any:
        return np.asarray(bounded.policy(period, inventory=inventory, signal=signal)["sold"])

    better = float(np.mean(earned(ours) - earned(cut)))
    return [
        comparison.relative("V at the start, nets", free.value(0, **start), -22.0879222827, 5e-4, SOURCE),
        Check(
            "gain of nets within bounds",
            better,
            0.05,
            max(0.05 - better, 0.0),
            0.0,
            "the rule of the Riccati equation, cut off at the bounds, on the same paths",
        ),
    ]


def earned(rule: Any, agents: int = 8000) -> Any:
    """What a rule of (period, inventory, signal) earns along paths from the start, of factors of both signs."""
    half = np.random.default_rng(0).normal(size=(HORIZON, agents // 2))
    factors = np.concatenate([half, -half], axis=1)
    inventory, signal = (np.tile(start[name], (agents, 1)) for name in ("inventory", "signal"))
    total = np.zeros(agents)
    for period in range(HORIZON):
        sold = rule(period, inventory, signal)
        risk = params["risk"] * (inventory @ params["loading"]) ** 2
        total += np.sum(sold * signal - params["impact"] * sold**2, axis=1) - risk
        inventory = inventory - sold
        news = params["volatility"] * factors[period][:, None] * params["loading"]
        signal = params["persistence"] * signal + news
    return total + np.sum(inventory * signal - params["penalty"] * inventory**2, axis=1)
