"""Puterman's two-state example: stay and be paid 5, or leave for 10 and lose 1 a period for ever.

    v(1) = max(5 + beta (v(1) + v(2)) / 2, 10 + beta v(2)),    v(2) = -1 + beta v(2)

In s1 both actions are available: `first` pays 5 and stays with an even chance, `second` pays 10 and leaves. In s2 only
`second` is: it pays -1 and stays there. So v(2) = -1 / (1-beta), and for beta >= 10/11 the first action is the better
one in s1: v(1) = (5 - 5.5 beta) / ((1 - beta/2) (1-beta)).

Calibration: beta = .95, where v = (-8.5714286, -20).
Source: Puterman (1994), "Markov decision processes", sections 3.1 and 6.2.1.
"""

import enum
from typing import Any

import jax.numpy as jnp
import numpy as np

import bellax as bx
from bellax.models import comparison
from bellax.models.check import Check
from bellax.models.references import puterman_621

SOURCE = "Puterman (1994), section 6.2.1"


class State(enum.IntEnum):
    s1 = 0
    s2 = 1


class Action(enum.IntEnum):
    first = 0
    second = 1


def reward(state, action):
    of_second = jnp.where(state == State.s1, 10.0, -1.0)
    return jnp.where(action == Action.first, 5.0, of_second)


def moves(state, action):
    stays = (state == State.s1) & (action == Action.first)
    return jnp.where(stays, jnp.array([0.5, 0.5]), jnp.array([0.0, 1.0]))


def available(state, action):
    return (state == State.s1) | (action == Action.second)


model = bx.Model(
    states={"state": bx.Discrete(State)},
    actions={"action": bx.Discrete(Action)},
    transitions={"state": bx.Markov(moves)},
    constraints={"available": available},
    reward=reward,
)
params: dict[str, Any] = {"discount": 0.95}
solver = bx.solvers.PolicyIteration()
start = {"state": 0}
periods = 20


def reference(given: dict[str, Any], state: Any) -> dict[str, Any]:
    """Value of exact policy iteration."""
    exact = puterman_621(float(given["discount"]))
    return {"value": exact.value[int(state)]}


def checks() -> list[Check]:
    """The two values, and the action in each state."""
    solution = bx.solve(model, params, solver)
    states = np.array([State.s1, State.s2])
    exact = puterman_621(params["discount"])
    values, actions = solution.value(state=states), solution.policy(state=states)["action"]
    return [
        comparison.of_value("v, published", values, (-8.5714286, -20.0), 1e-7, SOURCE),
        comparison.of_value("v", values, exact.value, 1e-10, "exact policy iteration, " + SOURCE),
        comparison.absolute("action", actions, (Action.first, Action.second), 0.0, SOURCE),
    ]
