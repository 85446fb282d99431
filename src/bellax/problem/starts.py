"""The states in which a simulation starts, from what a user gave: numbers, labels, arrays or a DataFrame."""

import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.errors import ParameterError, check_names, listed, nearest
from bellax.model.quantity import is_table
from bellax.model.slots import view
from bellax.numerics.machine import physical_memory
from bellax.numerics.programs import concrete
from bellax.numerics.scalar import put
from bellax.problem.plan import Plan
from bellax.problem.problem import Problem
from bellax.problem.reading import as_seen

AGENTS = 10_000


def starting_states(problem: Problem, start: Any, agents: int | None, periods: int = 1) -> tuple[dict[str, Array], int]:
    """The given states, one row an agent, and how many agents there are.

    Args:
        periods: how many will be kept of each agent.
    Raises:
        ModelError: for an unknown state.
        ParameterError: if a state that is no process is missing, a start does not fit its state, or so many agents do
            not fit in the machine's memory.
    """
    plan = problem.plan
    given = _columns(start, plan) if is_table(start) else start
    if not isinstance(given, Mapping):
        raise ParameterError(f"start is {start!r}; give a dict by state, such as {{'wealth': 10.0}}, or a DataFrame.")
    check_names(given, plan.states, "start: state")
    missing = [name for name in plan.states if name not in given and name not in plan.processes]
    if missing:
        raise ParameterError(
            f"start lacks the states {listed(missing)}.{nearest(missing[0], given)} Give each a number, or one an "
            "agent; only processes are drawn by themselves."
        )
    arrays = {
        name: as_seen(plan.states[name], value, view(plan.states[name]).dtype, f"start of {name!r}")
        for name, value in given.items()
    }
    count = _count(plan, arrays, agents)
    _check_memory(plan, count, periods)
    return {name: _rows(plan, name, array, count) for name, array in arrays.items()}, count


def _columns(frame: Any, plan: Plan) -> dict[str, Any]:
    """A DataFrame as a dict; columns `name[0]`, `name[1]`, ... make one vector."""
    found: dict[str, Any] = {column: frame[column].to_numpy() for column in frame.columns}
    for name in plan.states:
        shape = view(plan.states[name]).shape
        parts = [f"{name}[{', '.join(map(str, place))}]" for place in np.ndindex(shape)] if shape else []
        if parts and all(part in found for part in parts):
            found[name] = np.stack([found.pop(part) for part in parts], axis=1).reshape(-1, *shape)
    return found


def _count(plan: Plan, arrays: Mapping[str, Any], agents: int | None) -> int:
    if agents is not None and (isinstance(agents, bool) or not isinstance(agents, int | np.integer) or agents < 1):
        raise ParameterError(f"agents is {agents!r}; give a whole number of at least 1.")
    lengths = {}
    for name, array in arrays.items():
        shape = view(plan.states[name]).shape
        if array.shape != shape:
            if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
                wanted = f"{shape} for all agents or {('agents', *shape)}".replace("'", "")
                raise ParameterError(f"start of {name!r} has shape {array.shape}; it must be {wanted}.")
            lengths[name] = array.shape[0]
    if agents is None:
        agents = next(iter(lengths.values()), AGENTS)
    wrong = {name: length for name, length in lengths.items() if length != agents}
    if wrong:
        name, length = next(iter(wrong.items()))
        raise ParameterError(f"start of {name!r} has {length} rows, and there are {agents} agents.")
    return int(agents)


def _check_memory(plan: Plan, agents: int, periods: int) -> None:
    """A panel holds every state, action, reward, discount, value and whether an agent is there, in every period."""
    names = (*plan.states, *plan.actions)
    numbers = sum(math.prod(view(space).shape) for space in (*plan.states.values(), *plan.actions.values()))
    width = jnp.result_type(float).itemsize
    needed = agents * periods * ((numbers + 3) * width + 1)
    available = physical_memory()
    if needed > available:
        raise ParameterError(
            f"a panel of {agents} agents over {periods} periods takes {needed:.3g} bytes ({needed / 2**30:.1f} GiB) "
            f"for {listed(names)}, reward, discount and value, and this machine has {available:.3g} "
            f"({available / 2**30:.1f} GiB). Give fewer agents, or fewer periods; several seeds make several panels."
        )
    if agents >= 2**32:
        raise ParameterError(f"agents is {agents}; a seed has numbers for 2^32 of them. Give fewer, and several seeds.")


def _rows(plan: Plan, name: str, array: Any, count: int) -> Array:
    shape = view(plan.states[name]).shape
    known = concrete(array)
    if array.shape == shape:
        array = (np if known else jnp).broadcast_to(array, (count, *shape))
    return put(array) if known else array
