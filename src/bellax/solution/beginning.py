"""Where a solver without a grid must not begin, and where agents must not who follow what it finds."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import Array

from bellax.bellman.reach import entries, first_outside, reach
from bellax.bellman.setting import Setting
from bellax.errors import ParameterError
from bellax.numerics.programs import quickly
from bellax.problem.problem import Arguments


def check_begins(setting: Setting, arguments: Arguments, begins: Mapping[str, np.ndarray]) -> None:
    """Raises ParameterError for a beginning outside the bounds of a state, before anything is compiled for the solve.

    Args:
        arguments: concrete.
        begins: by state, one row each, or one in all.
    """
    rows = {name: np.asarray(array) for name, array in begins.items()}
    if not rows:
        return
    plan, count = setting.plan, max(len(array) for array in rows.values())
    rows = {name: np.broadcast_to(array, (count, *array.shape[1:])) for name, array in rows.items()}
    at_first = lambda arguments: reach(setting.numerics.mesh(arguments, 0))  # noqa: E731
    ends = jax.tree.map(np.asarray, setting.program("ends at first", lambda: quickly(at_first, True))(arguments))
    found = np.zeros((count, 2, len(entries(plan))), bool)
    for k, (name, place) in enumerate(entries(plan).values()):
        if name in rows:
            at, slack = rows[name].reshape(count, -1)[:, place], ends.slack[:, k] + ends.margin[k]
            found[:, 0, k] = ~(at >= ends.first[k] - slack[0])  # what is no number is outside
            found[:, 1, k] = at > ends.last[k] + slack[1]
    wrong = first_outside(plan, ends, found, rows)
    if wrong is not None:
        raise ParameterError(
            f"{type(setting.options).__name__}: start: {wrong}. Start between the bounds of the state, or widen them."
        )


def beyond(policy: Any, entry: Array, states: dict[str, Array]) -> dict[str, Array]:
    """By state, which agents enter beyond all that a solver has seen.

    Args:
        policy: a `GridlessPolicy`.
        entry: the period in which each agent enters.
        states: one row an agent.
    """
    problem = policy.numerics.problem

    def at(number: Array, states: dict[str, Array]) -> dict[str, Array]:
        return policy.behaviour.beyond(problem.period(policy.arguments, number), number, states)

    return jax.vmap(at)(entry, states)
