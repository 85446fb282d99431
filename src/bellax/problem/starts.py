"""The states in which a simulation starts, from what a user gave: numbers, labels, arrays, weights or a DataFrame."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int

from bellax.errors import ModelError, ParameterError, check_names, listed, nearest
from bellax.model.quantity import is_table
from bellax.model.slots import view
from bellax.model.time import Clock
from bellax.numerics.machine import physical_memory
from bellax.numerics.programs import all_concrete, concrete
from bellax.numerics.scalar import put
from bellax.problem.draws import draw_place
from bellax.problem.plan import Plan
from bellax.problem.problem import Problem
from bellax.problem.reading import as_seen

AGENTS = 10_000
_ROUNDING = 1e-6  # by which weights may miss one


class Spaces(NamedTuple):
    """The names of a model that has no periods, as a `Plan` has them.

    Attributes:
        states, actions: spaces by name.
        processes: names of states that are drawn by themselves where a start has none.
    """

    states: Mapping[str, Any]
    actions: Mapping[str, Any]
    processes: tuple[str, ...]


class Entrance(NamedTuple):
    """What a start is of, where there is no `Problem`."""

    plan: Spaces
    clock: Clock


class Start(NamedTuple):
    """Who starts where.

    Attributes:
        states: those that were given, one row an agent.
        agents: how many there are.
        entry: the period in which each of them enters.
    """

    states: dict[str, Array]
    agents: int
    entry: Int[Array, "n"]


def starting_states(
    problem: Problem | Entrance, start: Any, agents: int | None, periods: int = 1, key: Array | None = None
) -> Start:
    """The given states, one row an agent, how many agents there are, and when they enter.

    Args:
        periods: how many will be kept of each agent.
        key: by which weights are drawn.
    Raises:
        ModelError: for an unknown state.
        ParameterError: if a state that is no process is missing, a start does not fit its state, weights are none, or
            so many agents do not fit in the machine's memory.
    """
    plan = problem.plan
    given = _columns(start, plan) if is_table(start) else start
    if not isinstance(given, Mapping):
        raise ParameterError(f"start is {start!r}; give a dict by state, such as {{'wealth': 10.0}}, or a DataFrame.")
    given, when = split_clock(given)
    check_names(given, plan.states, "start: state")
    missing = [name for name in plan.states if name not in given and name not in plan.processes]
    if missing:
        raise ParameterError(
            f"start lacks the states {listed(missing)}.{nearest(missing[0], given)} Give each a number, or one an "
            "agent; only processes are drawn by themselves."
        )
    weights = {name: check_weights(name, value) for name, value in given.items() if isinstance(value, Mapping)}
    arrays = {name: _seen(plan, name, value) for name, value in given.items() if name not in weights}
    check_agents(agents)
    count = _count(plan, arrays, agents, when)
    _check_memory(plan, count, periods)
    found = {name: _rows(plan, name, array, count) for name, array in arrays.items()}
    for name, chances in weights.items():
        values = _seen(plan, name, labels(chances))
        found[name] = jnp.asarray(values)[draw_weights(name, chances, count, key)]
    entry = entry_periods(problem.clock, when, count, periods)
    return Start({name: found[name] for name in given}, count, jnp.asarray(entry))


def _seen(plan: Plan | Spaces, name: str, value: Any) -> Any:
    return as_seen(plan.states[name], value, view(plan.states[name]).dtype, f"start of {name!r}")


# -- when they enter ---------------------------------------------------------------------------------------------------


def split_clock(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a start says of states, and what of the clock: `age`, or `period`."""
    _check_index(given)
    states = dict(given)
    when: dict[str, Any] = {name: states.pop(name) for name in ("age", "period") if name in states}
    if len(when) == 2:
        raise ParameterError("start has both 'age' and 'period'; give one of them.")
    return states, when


def entry_periods(clock: Clock, when: Mapping[str, Any], count: int, periods: int) -> np.ndarray:
    """The period in which each agent enters, shape (count,): the first one where nothing is said.

    Raises:
        ParameterError: for what is no age or no period of the simulation.
    """
    if not when:
        return np.zeros(count, np.int32)
    ((name, value),) = when.items()
    if not clock.finite:
        raise ParameterError(f"start: the horizon is infinite, and every period is alike; leave out {name!r}.")
    if not concrete(value):
        raise ModelError(f"start: {name!r} is being traced, and it must be a number.")
    given = np.asarray(value)
    if given.dtype.kind not in "iuf":
        raise ParameterError(f"start: {name} is {value!r}, which is no number.")
    found = (given - clock.first) / clock.years if name == "age" else given.astype(float)
    fits = (np.abs(found - np.round(found)) < 1e-6) & (found > -0.5) & (found < periods - 0.5)
    if not fits.all():
        bad = np.flatnonzero(~fits.reshape(-1))[0]
        last = clock.age(periods - 1) if name == "age" else periods - 1
        first = clock.age(0) if name == "age" else 0
        steps = f", in steps of {clock.years:g}" if name == "age" else ""
        counted = f" periods={periods} counts from {name} {first:g} on." if periods < clock.count else ""
        raise ParameterError(
            f"start: {name} of agent {bad} is {given.reshape(-1)[bad]:g}; agents enter from {first:g} to "
            f"{last:g}{steps}.{counted}"
        )
    return np.broadcast_to(np.round(found).astype(np.int32), (count,))


# -- weights -----------------------------------------------------------------------------------------------------------


def check_weights(name: str, weights: Mapping[Any, Any]) -> dict[Any, float]:
    """Weights by category, as numbers that sum to one; ParameterError for what are none."""
    if not all_concrete(dict(weights)):
        raise ModelError(
            f"start: the weights of {name!r} are being traced. Who is of which type does not move with them: simulate "
            "each type, and weight the moments."
        )
    try:
        found = {label: float(weight) for label, weight in weights.items()}
    except (TypeError, ValueError):
        raise ParameterError(f"start: the weights of {name!r} are {dict(weights)!r}; give a number for each.") from None
    wrong = next((label for label, weight in found.items() if not weight >= 0), None)
    if wrong is not None:
        raise ParameterError(f"start: the weight of {wrong!r} of {name!r} is {found[wrong]:g}; none may be negative.")
    total = sum(found.values())
    if not abs(total - 1) <= _ROUNDING:
        raise ParameterError(f"start: the weights of {name!r} sum to {total:.6g}; they must sum to one.")
    return found


def labels(weights: Mapping[Any, float]) -> np.ndarray:
    """The categories that have weights, as a user wrote them."""
    found = np.empty(len(weights), object)
    found[:] = list(weights)
    return found if any(isinstance(label, str) for label in weights) else np.asarray(list(weights))


def draw_weights(name: str, weights: Mapping[Any, float], count: int, key: Array | None) -> Array:
    """The place of the category that each agent draws, by the name of the state: the same whatever else is drawn."""
    chances = jnp.asarray(list(weights.values()))
    own = jax.random.key(0) if key is None else key

    def draw(agent: Array) -> Array:
        return draw_place(jax.random.fold_in(jax.random.fold_in(own, agent), 0), name, chances)

    return jax.jit(jax.vmap(draw))(jnp.arange(count, dtype=jnp.uint32))


# -- rows --------------------------------------------------------------------------------------------------------------


def check_agents(agents: Any) -> None:
    """Raises ParameterError for what is no count of agents."""
    if agents is not None and (isinstance(agents, bool) or not isinstance(agents, int | np.integer) or agents < 1):
        raise ParameterError(f"agents is {agents!r}; give a whole number of at least 1.")


def _check_index(given: Mapping[str, Any]) -> None:
    """Raises ParameterError for Series whose rows are not the same agents."""
    series = {name: value for name, value in given.items() if is_table(value)}
    first = next(iter(series), "")
    for name, value in series.items():
        if not value.index.equals(series[first].index):
            raise ParameterError(
                f"start: the Series of {first!r} and {name!r} have different indices, and each row is to be one agent. "
                "Give a DataFrame, or arrays."
            )


def _columns(frame: Any, plan: Plan | Spaces) -> dict[str, Any]:
    """A DataFrame as a dict; columns `name[0]`, `name[1]`, ... make one vector."""
    found: dict[str, Any] = {column: frame[column].to_numpy() for column in frame.columns}
    for name in plan.states:
        shape = view(plan.states[name]).shape
        parts = [f"{name}[{', '.join(map(str, place))}]" for place in np.ndindex(shape)] if shape else []
        if parts and all(part in found for part in parts):
            found[name] = np.stack([found.pop(part) for part in parts], axis=1).reshape(-1, *shape)
    return found


def _count(plan: Plan | Spaces, arrays: Mapping[str, Any], agents: int | None, when: Mapping[str, Any]) -> int:
    lengths = {name: len(value) for name, value in when.items() if np.ndim(value)}
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


def bytes_of_a_row(plan: Plan | Spaces) -> int:
    """What a panel takes for one agent in one period: states, actions, reward, discount, value, and whether it is."""
    numbers = sum(math.prod(view(space).shape) for space in (*plan.states.values(), *plan.actions.values()))
    return (numbers + 3) * jnp.result_type(float).itemsize + 1


def _check_memory(plan: Plan | Spaces, agents: int, periods: int) -> None:
    """Raises ParameterError for a panel that does not fit in the machine's memory."""
    names = (*plan.states, *plan.actions)
    needed = agents * periods * bytes_of_a_row(plan)
    available = physical_memory()
    if needed > available:
        raise ParameterError(
            f"a panel of {agents} agents over {periods} periods takes {needed:.3g} bytes ({needed / 2**30:.1f} GiB) "
            f"for {listed(names)}, reward, discount and value, and this machine has {available:.3g} "
            f"({available / 2**30:.1f} GiB). Give fewer agents, or fewer periods; several seeds make several panels."
        )
    if agents >= 2**32:
        raise ParameterError(f"agents is {agents}; a seed has numbers for 2^32 of them. Give fewer, and several seeds.")


def _rows(plan: Plan | Spaces, name: str, array: Any, count: int) -> Array:
    shape = view(plan.states[name]).shape
    known = concrete(array)
    if array.shape == shape:
        array = (np if known else jnp).broadcast_to(array, (count, *shape))
    return put(array) if known else array
