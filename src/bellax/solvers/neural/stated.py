"""Actions as a user's own function of what a net puts out: `outputs={"capital_next": lambda capital, output: ...}`.

The output is any number, in the shape of the action; the function gives the action, in its own units, and may name
states, parameters, the period, the age, and functions of the model that need nothing else. Zero is where a training
begins. What lies beyond a bound is cut off, and by how much, in units of the way between the bounds where there are
two, is the multiplier of that bound.

Source: Garcia & Zangwill (1981) for one number that is an action or its multiplier.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jax import Array

from bellax.errors import ModelError
from bellax.problem.period import Period, as_float
from bellax.problem.plan import Plan

OUTPUT = "output"
Stated = Callable[..., Any]


def check_outputs(plan: Plan, given: Mapping[str, Any], shares: Mapping[str, Any]) -> tuple[tuple[str, Stated], ...]:
    """What a solver was given as `outputs=`, checked.

    Raises:
        ModelError: for what is no function of an action of the model, one that does not see the output, and an action
            that has `shares=`, too.
    """
    for name, function in given.items():
        if name not in plan.controls:
            raise ModelError(f"outputs: {name!r} is no continuous action; there are {', '.join(plan.controls)}.")
        if not callable(function):
            raise ModelError(f"outputs: {name!r} is {function!r}; give a function of states, parameters and `output`.")
        if OUTPUT not in inspect.signature(function).parameters:
            raise ModelError(f"outputs: the function of {name!r} does not name `output`, which is what the net says.")
        if name in shares:
            raise ModelError(f"outputs: {name!r} stands in shares=, too; a net says one or the other.")
    return tuple(given.items())


def stated(name: str, function: Stated, output: Array, period: Period, states: Mapping[str, Any]) -> Array:
    """The action that an output means.

    Raises:
        ModelError: if the function names what is not known of a state.
    """
    graph, known = period.plan.graph, {**period.environment, **states, OUTPUT: output}
    wanted = list(inspect.signature(function).parameters)
    composed = [one for one in wanted if one not in known and one in graph.regime.functions]
    for one in wanted:
        if one not in known and one not in composed:
            raise ModelError(
                f"outputs: the function of {name!r} names {one!r}, which is neither a state nor a parameter nor a "
                "function of the model nor `output`."
            )
    for one in composed:
        beyond = graph.leaves(one, "action", "shock", "next")
        if beyond:
            raise ModelError(
                f"outputs: the function of {name!r} names {one!r}, which needs {sorted(beyond)[0]!r}: that is not "
                "known before the action is."
            )
    known |= graph.compose(composed)(**known)
    return jnp.broadcast_to(as_float(function(**{one: known[one] for one in wanted})), output.shape)


def kept(raw: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """An action within its bounds, and by how much it was beyond them."""
    action = jnp.clip(raw, lower, upper)
    both = jnp.isfinite(lower) & jnp.isfinite(upper) & (upper > lower)
    return action, (raw - action) / jnp.where(both, jnp.where(both, upper - lower, 1.0), 1.0)
