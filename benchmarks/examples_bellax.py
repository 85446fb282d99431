"""The same examples by bellax, with the solvers of the gallery; see `examples_bellgrid.py`.

A model is made once, so that a second solve finds its programs. Numbers come as inputs, the number of periods too.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import american_put, four_sectors
from bellax.models import lqg as gallery_lqg
from bellax.models import merton as gallery_merton

SETTLES = 5
"""The first four solves of a small program run in code that was compiled in haste; the fifth compiles the good one."""

Answers = dict[str, Any]
Query = Callable[[dict[str, list[float]]], Answers]


def _arrays(at: dict[str, list[float]]) -> dict[str, Any]:
    return {name: np.asarray(values) for name, values in at.items()}


@functools.cache
def merton_of(periods: int) -> bx.Model:
    return replace(gallery_merton.model, horizon=periods)


def merton(given: dict[str, Any]) -> Query:
    params = {name: given[name] for name in ("discount", "mu", "sigma")}
    solution = bx.solve(merton_of(given["periods"]), params, gallery_merton.solver)

    def query(at: dict[str, list[float]]) -> Answers:
        state, t = _arrays(at), given["periods"] // 2
        share = solution.policy(t, **state)["consumption"] / state["wealth"]
        return {"V": solution.value(t, **state), "c / w": share}

    return query


def put(given: dict[str, Any]) -> Query:
    params = {name: given[name] for name in ("strike", "rate", "volatility", "years")}
    solution = bx.solve(american_put.with_dates(given["dates"]), params, american_put.solver)
    return lambda at: {"V": solution.value(0, log_price=np.log(at["price"]))}


@functools.cache
def lqg_of(periods: int) -> bx.Model:
    return bx.Model(
        states={"x1": bx.Continuous(-5.0, 5.0), "x2": bx.Continuous(-5.0, 5.0)},
        actions={"u": bx.Continuous(-50.0, 50.0)},
        shocks={"w": bx.shocks.Normal()},
        transitions={
            "x1": lambda x1, x2, u, w, A, B, C: A[0, 0] * x1 + A[0, 1] * x2 + B[0] * u + C[0] * w,
            "x2": lambda x1, x2, u, w, A, B, C: A[1, 0] * x1 + A[1, 1] * x2 + B[1] * u + C[1] * w,
        },
        reward=lambda x1, x2, u, force_cost: -(x1**2 + x2**2 + force_cost * u**2),
        terminal=lambda x1, x2: -(x1**2 + x2**2),
        horizon=periods,
    )


LQG = replace(
    gallery_lqg.solver,
    grid={"x1": 5, "x2": 5},
    quadrature={"w": 2},
    maximiser=bx.maximise.Newton(grid={"u": 3}),
)


def lqg(given: dict[str, Any]) -> Query:
    params = _arrays({name: given[name] for name in ("A", "B", "C", "force_cost", "discount")})
    solution = bx.solve(lqg_of(given["periods"]), params, LQG)

    def query(at: dict[str, list[float]]) -> Answers:
        state = _arrays(at)
        return {"V": solution.value(0, **state), "u": solution.policy(0, **state)["u"]}

    return query


SHARES = ("share_1", "share_2", "share_3", "share_4")


@functools.cache
def sectors_of(periods: int) -> bx.Model:
    """`four_sectors` with investments as shares of output, between bounds that leave something to consume."""

    def value(capital_1, capital_2, capital_3, capital_4, intercept, slope):
        return intercept + slope * sum(jnp.log(k) for k in (capital_1, capital_2, capital_3, capital_4))

    return bx.Model(
        states={name: bx.Continuous("least", "most", scale=bx.scales.log) for name in four_sectors.CAPITALS},
        actions={name: bx.Continuous("thrifty", "lavish") for name in SHARES},
        functions={"output": four_sectors.output},
        transitions={
            "capital_1": lambda share_1, output: share_1 * output,
            "capital_2": lambda share_2, output: share_2 * output,
            "capital_3": lambda share_3, output: share_3 * output,
            "capital_4": lambda share_4, output: share_4 * output,
        },
        reward=lambda share_1, share_2, share_3, share_4, output: jnp.log(
            (1 - share_1 - share_2 - share_3 - share_4) * output
        ),
        terminal=value,
        horizon=periods,
    )


def sectors(given: dict[str, Any], interpolant: Any, maximiser: Any) -> Query:
    params = {name: given[name] for name in ("discount", "alpha", "productivity", "intercept", "slope")}
    (params["least"], params["most"]), (params["thrifty"], params["lavish"]) = given["capital"], given["share"]
    solver = bx.solvers.BackwardInduction(
        grid=dict.fromkeys(four_sectors.CAPITALS, given["nodes"]), interpolant=interpolant, maximiser=maximiser
    )
    solution = bx.solve(sectors_of(given["periods"]), params, solver)

    def query(at: dict[str, list[float]]) -> Answers:
        state = _arrays(at)
        policy = solution.policy(0, **state)
        return {"V": solution.value(0, **state), "share": np.stack([policy[name] for name in SHARES]).ravel()}

    return query


def _candidates(given: dict[str, Any]) -> Any:
    return bx.maximise.Enumerate(grid=dict.fromkeys(SHARES, given["candidates"]))


EXAMPLES: dict[str, Callable[[dict[str, Any]], Query]] = {
    "merton": merton,
    "put": put,
    "lqg": lqg,
    "sectors, multilinear": lambda given: sectors(given, bx.interpolants.Linear(), _candidates(given)),
    "sectors, Hermite": lambda given: sectors(given, bx.interpolants.Hermite(), _candidates(given)),
    "sectors, search": lambda given: sectors(
        given, bx.interpolants.Linear(), bx.maximise.Newton(grid=dict.fromkeys(SHARES, 2))
    ),
}
