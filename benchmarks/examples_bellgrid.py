"""bellgrid's own examples, as its README and its folder of examples state them: Merton, the American put, LQG.

And four sectors of growth, of which it has no example, with shares of output for actions: bounds there are numbers or
the names of states. Numbers come as inputs; grids and quadrature are those of bellgrid's examples.

Source: bellgrid 0.1.0a6, README and examples 01, 03 and 04 (MIT licence), https://github.com/tbb300/bellgrid
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from bellgrid import ContinuousAction, ContinuousState, DiscreteAction, Problem, solve
from bellgrid.grids import GoldenSearch, RegularGrid, WarpedGrid
from bellgrid.shocks import Normal
from bellgrid.solvers import BackwardInduction

SETTLES = 2

Answers = dict[str, Any]
Query = Callable[[dict[str, list[float]]], Answers]


def _tensors(at: dict[str, list[float]]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in at.items()}


def merton(given: dict[str, Any]) -> Query:
    beta, mu, sigma, periods = (given[name] for name in ("discount", "mu", "sigma", "periods"))
    B = 1.0 / (1.0 - beta)
    A = math.log(1 - beta) / (1 - beta) + (beta / (1 - beta) ** 2) * (math.log(beta) + mu)

    def transition(state, action, shock, t):
        return {"wealth": (state["wealth"] - action["consume"]) * torch.exp(mu + sigma * shock["z"])}

    problem = Problem(
        states=[ContinuousState("wealth", warp="asinh", range=(1e-3, 200.0))],
        actions=[ContinuousAction("consume", bounds=(1e-6, "wealth"))],
        transition=transition,
        reward=lambda state, action, shock, t: torch.log(action["consume"]),
        shocks=[Normal("z", sigma=1.0)],
        horizon=range(0, periods),
        discount=beta,
        terminal_reward=lambda state: A + B * torch.log(state["wealth"]),
    )
    policy, value = solve(
        problem,
        state_grid={"wealth": WarpedGrid(n=128)},
        action_grid={"consume": RegularGrid(n=500)},
        solver=BackwardInduction(n_quad=7),
        device="cpu",
    )

    def query(at: dict[str, list[float]]) -> Answers:
        state, t = _tensors(at), periods // 2
        return {"V": value(state, t=t), "c / w": policy(state, t=t)["consume"] / state["wealth"]}

    return query


def put(given: dict[str, Any]) -> Query:
    strike, rate, sigma, dates = (given[name] for name in ("strike", "rate", "volatility", "dates"))
    dt, dead = given["years"] / dates, -0.4
    drift, diffusion = (rate - 0.5 * sigma**2) * dt, sigma * math.sqrt(dt)

    def payoff(price):
        return torch.where(price < 0, torch.zeros_like(price), torch.clamp(strike - price, min=0.0))

    def transition(state, action, shock, t):
        price = state["price"]
        alive = (price >= 0) & (action["exercise"] == 0)
        moved = price * torch.exp(drift + diffusion * shock["z"])
        return {"price": torch.where(alive, moved, torch.full_like(price, dead))}

    def reward(state, action, shock, t):
        return action["exercise"].to(state["price"].dtype) * payoff(state["price"])

    problem = Problem(
        states=[ContinuousState("price", warp="asinh", range=(-0.5, 3.0))],
        actions=[DiscreteAction("exercise", n=2, labels=("hold", "exercise"))],
        transition=transition,
        reward=reward,
        shocks=[Normal("z", sigma=1.0)],
        horizon=range(0, dates),
        discount=math.exp(-rate * dt),
        terminal_reward=lambda state: payoff(state["price"]),
    )
    _, value = solve(
        problem,
        state_grid={"price": WarpedGrid(n=256)},
        action_grid={},
        solver=BackwardInduction(n_quad=11),
        device="cpu",
    )
    return lambda at: {"V": value(_tensors(at), t=0)}


def lqg(given: dict[str, Any]) -> Query:
    A, B, C = (torch.tensor(given[name], dtype=torch.float64) for name in ("A", "B", "C"))
    force_cost = given["force_cost"]

    def transition(state, action, shock, t):
        x1, x2, u, w = state["x1"], state["x2"], action["u"], shock["w"]
        return {
            "x1": A[0, 0] * x1 + A[0, 1] * x2 + B[0] * u + C[0] * w,
            "x2": A[1, 0] * x1 + A[1, 1] * x2 + B[1] * u + C[1] * w,
        }

    problem = Problem(
        states=[ContinuousState("x1", range=(-5.0, 5.0)), ContinuousState("x2", range=(-5.0, 5.0))],
        actions=[ContinuousAction("u", bounds=(-5.0, 5.0))],
        transition=transition,
        reward=lambda state, action, shock, t: -(state["x1"] ** 2 + state["x2"] ** 2 + force_cost * action["u"] ** 2),
        shocks=[Normal("w", sigma=1.0)],
        horizon=range(0, given["periods"]),
        discount=given["discount"],
        terminal_reward=lambda state: -(state["x1"] ** 2 + state["x2"] ** 2),
    )
    policy, value = solve(
        problem,
        state_grid={"x1": RegularGrid(n=129), "x2": RegularGrid(n=129)},
        action_grid={"u": RegularGrid(n=101)},
        solver=BackwardInduction(n_quad=7),
        device="cpu",
    )

    def query(at: dict[str, list[float]]) -> Answers:
        state = _tensors(at)
        return {"V": value(state, t=0), "u": policy(state, t=0)["u"]}

    return query


def sectors(given: dict[str, Any], search: Any) -> Query:
    capitals, shares = ([f"{what}_{j}" for j in range(1, 5)] for what in ("capital", "share"))
    alpha, productivity = given["alpha"], given["productivity"]

    def output(state):
        product = state["capital_1"] * state["capital_2"] * state["capital_3"] * state["capital_4"]
        return productivity * product ** (alpha / 4)

    def transition(state, action, shock, t):
        y = output(state)
        return {capital: action[share] * y for capital, share in zip(capitals, shares, strict=True)}

    def reward(state, action, shock, t):
        return torch.log((1 - sum(action[share] for share in shares)) * output(state))

    def terminal(state):
        return given["intercept"] + given["slope"] * sum(torch.log(state[name]) for name in capitals)

    problem = Problem(
        states=[ContinuousState(name, warp="log", range=tuple(given["capital"])) for name in capitals],
        actions=[ContinuousAction(name, bounds=tuple(given["share"])) for name in shares],
        transition=transition,
        reward=reward,
        shocks=[],
        horizon=range(0, given["periods"]),
        discount=given["discount"],
        terminal_reward=terminal,
    )
    policy, value = solve(
        problem,
        state_grid={name: WarpedGrid(n=given["nodes"]) for name in capitals},
        action_grid={name: search for name in shares},
        solver=BackwardInduction(),
        device="cpu",
    )

    def query(at: dict[str, list[float]]) -> Answers:
        state = _tensors(at)
        chosen = policy(state, t=0)
        return {"V": value(state, t=0), "share": torch.stack([chosen[name] for name in shares]).ravel()}

    return query


EXAMPLES: dict[str, Callable[[dict[str, Any]], Query]] = {
    "merton": merton,
    "put": put,
    "lqg": lqg,
    "sectors, multilinear": lambda given: sectors(given, RegularGrid(n=given["candidates"])),
    "sectors, search": lambda given: sectors(given, GoldenSearch()),
}
