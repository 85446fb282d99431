"""Where simulated agents begin, and where they end: what one regime and several have in common.

A start is refused where V is extrapolated, and where nothing may be done.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.discretisation import Discretisation
from bellax.bellman.outside import Extrapolate
from bellax.bellman.reach import Reach, entries, first_outside, numbers, outside, reach
from bellax.errors import ModelError, ParameterError, listed, nearest
from bellax.model.quantity import is_table
from bellax.model.slots import view
from bellax.model.spaces import Continuous
from bellax.numerics.programs import all_concrete
from bellax.problem.period import Period, combinations
from bellax.problem.problem import Arguments, Problem
from bellax.problem.starts import (
    AGENTS,
    check_agents,
    check_weights,
    draw_weights,
    entry_periods,
    labels,
    split_clock,
    starting_states,
)
from bellax.solution.policy import Policy
from bellax.solution.query import ending
from bellax.solution.regimes import QueriedRegimes

_LOOKED_AT = 20  # agents without an answer whose bounds are asked


class Begun(NamedTuple):
    """How agents begin, one row an agent; nothing is said of those who begin elsewhere.

    Attributes:
        outside: whether their states are outside the grid, shape (n, 2, e).
        idle: whether there is no answer to what they do.
        barred: whether V is minus infinity, too: the policy finds nothing that is feasible.
    """

    outside: Array
    idle: Array
    barred: Array

    def joined(self, here: Array, other: "Begun") -> "Begun":
        """This, and what is found of agents who begin here and now."""
        wide = lambda leaf: here.reshape(-1, *(1,) * (leaf.ndim - 1))  # noqa: E731
        return Begun(*(a | (b & wide(b)) for a, b in zip(self, other, strict=True)))


def nothing_begun(numerics: Discretisation, agents: int) -> Begun:
    """Before anybody begins."""
    no = jnp.zeros(agents, bool)
    return Begun(jnp.zeros((agents, 2, len(entries(numerics.plan))), bool), no, no)


def begun(
    numerics: Discretisation, ends: Reach, states: Mapping[str, Array], actions: Mapping[str, Array], value: Array
) -> Begun:
    """How agents would begin in these states.

    Args:
        ends: of the grid, in this period.
        states, actions: by name, one row an agent; `stop` says when there need not be an action.
        value: V.
    """
    agents = value.shape[0]
    off = jax.vmap(lambda own: outside(ends, numbers(numerics.plan, own)), axis_size=agents)(states)
    idle = jnp.zeros(agents, bool)
    for name, action in actions.items():
        if name != "stop":
            none = jnp.isnan(action) if jnp.issubdtype(action.dtype, jnp.floating) else action == -1
            idle = idle | jnp.any(none.reshape(agents, -1), axis=1)
    idle = idle & ~actions["stop"] if "stop" in actions else idle
    return Begun(off, idle, idle & (value == -jnp.inf))


def check_start(
    numerics: Discretisation,
    arguments: Arguments,
    given: Mapping[str, Array],
    entry: Array,
    states: Mapping[str, Array],
    found: Begun,
) -> None:
    """Raises ParameterError for a start outside the grid, unless extrapolation was asked for by name, and for one that
    allows no action.

    Args:
        arguments: of the solution.
        given: the states that a user gave, one row an agent.
        entry: the period in which each agent enters.
        states: in which they do.
    """
    if not all_concrete((arguments, given, found, entry)):
        return
    regime, periods = numerics.problem.regime, np.asarray(entry)
    where = f"start in regime {regime!r}" if regime else "start"
    if not isinstance(numerics.outside, Extrapolate):
        for period in np.unique(periods[np.asarray(found.outside).any(axis=(1, 2))]):
            ends = reach(numerics.mesh(arguments, int(period)))
            now = np.asarray(found.outside) & (periods == period)[:, None, None]
            wrong = first_outside(numerics.plan, ends, now, given)
            if wrong is not None:
                raise ParameterError(
                    f"{where}: {wrong}. V is extrapolated there, and no certificate covers it. Start inside, widen the "
                    "bounds of the state, or ask for it by name: outside=bx.outside.Extrapolate() in the solver."
                )
    barred = np.asarray(found.barred)
    worst = np.flatnonzero(barred)[:1] if barred.any() else np.flatnonzero(np.asarray(found.idle))[:_LOOKED_AT]
    for agent in worst:
        own = {name: states[name][agent] for name in numerics.plan.states}
        _check_feasible(numerics.problem, arguments, own, (int(agent), int(periods[agent])), where, bool(barred[agent]))


def _check_feasible(
    problem: Problem,
    arguments: Arguments,
    states: Mapping[str, Array],
    who: tuple[int, int],
    where: str,
    barred: bool,
) -> None:
    """Raises ParameterError where bounds or constraints forbid every action of an agent that does none.

    Args:
        who: the agent, and the period in which it enters.
        barred: whether the policy says that nothing is feasible.
    """
    agent, number = who
    period = problem.period(arguments, number)
    refused = [_refused(period, states, k, barred) for k in range(len(combinations(problem.plan)))]
    if not barred and not all(refused):
        return
    shown = ", ".join(f"{name} = {_shown(problem.plan.states[name], value)}" for name, value in states.items())
    clock = problem.clock
    when = f" at age {clock.age(number):g}" if clock.aged else f" in period {number}" if clock.finite else ""
    why = "; ".join(dict.fromkeys(reason for reason in refused if reason))
    raise ParameterError(
        f"{where}: agent {agent} ({shown}{when}) can do nothing: {why or 'bounds or constraints forbid what it would'}."
        " Start it where some action is feasible, or move the bounds."
    )


def _refused(period: Period, states: Mapping[str, Array], combination: int, barred: bool) -> str:
    """Why a combination of discrete actions is not feasible at a state, whatever else is done; empty where it may be.

    Args:
        barred: whether the policy says that nothing is feasible: then a constraint on a continuous action counts that
            does not hold at its lower bound.
    """
    low = lambda name, lower, upper: (lower, (np.asarray(lower), np.asarray(upper)))  # noqa: E731
    actions, bounds = period.resolved(states, jnp.asarray(combination, jnp.int32), low)
    for name, (lower, upper) in bounds.items():
        if (lower > upper).any():
            ends = (np.array2string(end, precision=6) for end in (lower, upper))
            return f"the bounds of {name!r} are {' and '.join(ends)}"
    plan = period.plan
    held = period.held(states, actions)
    asked = [node for node in held if barred or not plan.graph.leaves(node, "action") & set(plan.controls)]
    broken = [node.partition(":")[2] for node in asked if not held[node]]
    return f"the constraint {listed(broken)} does not hold" if broken else ""


def _shown(space: Any, value: Array) -> str:
    """A state as a user writes it."""
    labels = getattr(space, "labels", None)
    if labels and not isinstance(space, Continuous):
        return labels[int(np.argmin(np.abs(np.asarray(space.values) - float(value))))]
    return np.array2string(np.asarray(value), precision=6)


def worth_at_end(policy: Policy, problem: Problem, arguments: Arguments) -> Callable[[Mapping[str, Array]], Array]:
    """V after the last decision, pointwise: by the laws that hold, or else what the solution has."""
    perceived = policy.numerics
    if problem is perceived.problem:
        return ending(perceived, arguments, policy.last)
    if problem.plan.evaluate_terminal is None and perceived.plan.evaluate_terminal is None:
        return ending(perceived, policy.arguments, policy.last)
    return problem.period(arguments, problem.clock.count).terminal


# -- several regimes -------------------------------------------------------------------------------------------------


class Placed(NamedTuple):
    """Who starts where: the place of a regime, the period of entry, and states by regime, one row an agent."""

    where: Array
    entry: Array
    states: dict[str, dict[str, Array]]


def placed_agents(solution: QueriedRegimes, start: Any, agents: int | None, periods: int, key: Array) -> Placed:
    """Where each agent starts, and the states that were given."""
    settings, clock = solution.settings.regimes, solution.model.clock
    frame = {column: start[column].to_numpy() for column in start.columns} if is_table(start) else start
    if not isinstance(frame, Mapping):
        raise ParameterError(f"start is {start!r}; give a dict with 'regime' and by state, or a DataFrame.")
    if not all_concrete(dict(frame)):
        raise ModelError("start is being traced: a simulation of several regimes is differentiated in parameters only.")
    given, when = split_clock(frame)
    if "regime" not in given:
        raise ParameterError(f"start lacks 'regime': the regime of each agent, one of {listed(settings)}.")
    everywhere = {state for setting in settings.values() for state in setting.plan.states}
    for state in given:
        if state != "regime" and state not in everywhere:
            raise ModelError(f"start names the state {state!r}, which no regime has.{nearest(state, everywhere)}")
    check_agents(agents)
    count = _count(settings, {**when, **given}, agents)
    for name, value in given.items():
        if isinstance(value, Mapping):
            weights = check_weights(name, value)
            given[name] = labels(weights)[np.asarray(draw_weights(name, weights, count, key))]
    where = _regimes(given.pop("regime"), list(settings), count)
    entry = entry_periods(clock, when, count, periods)
    states = {}
    for place in np.unique(where):
        regime, here = list(settings)[place], where == place
        _check_active(solution, regime, here, entry)
        plan = settings[regime].plan
        own = {
            state: np.asarray(value)[here] if _rows(settings, state, value) else value
            for state, value in given.items()
            if state in plan.states
        }
        found = starting_states(settings[regime].problem, own, int(here.sum()), periods)
        states[regime] = {
            state: jnp.zeros((count, *array.shape[1:]), array.dtype).at[np.flatnonzero(here)].set(array)
            for state, array in found.states.items()
        }
    return Placed(jnp.asarray(where), jnp.asarray(entry), states)


def _count(settings: Mapping[str, Any], given: Mapping[str, Any], agents: int | None) -> int:
    """How many agents there are."""
    rows = {name: len(value) for name, value in given.items() if _rows(settings, name, value)}
    count = int(agents) if agents is not None else next(iter(rows.values()), AGENTS)
    wrong = next((name for name, length in rows.items() if length != count), None)
    if wrong is not None and np.ndim(given["regime"]) < 2:
        raise ParameterError(f"start of {wrong!r} has {rows[wrong]} rows, and there are {count} agents.")
    return count


def _regimes(given: Any, names: list[str], count: int) -> np.ndarray:
    """The place of the regime of each agent."""
    found = np.asarray(given)
    if found.ndim > 1 or found.size == 0:
        raise ParameterError(f"start: regime has shape {found.shape}; give one label, or one an agent.")
    unknown = next((str(label) for label in found.reshape(-1) if str(label) not in names), None)
    if unknown is not None:
        raise ParameterError(
            f"start: there is no regime {unknown!r}.{nearest(unknown, names)} There are {listed(names)}."
        )
    places = {name: place for place, name in enumerate(names)}
    return np.broadcast_to(np.asarray([places[str(label)] for label in found.reshape(-1)], np.int32), (count,))


def _check_active(solution: QueriedRegimes, regime: str, here: np.ndarray, entry: np.ndarray) -> None:
    """Raises ParameterError for an agent who starts where nobody decides then."""
    clock = solution.model.clock
    if solution.settings.regimes[regime].numerics.ends:
        raise ParameterError(f"start: the regime {regime!r} ends, so that nobody decides there; start elsewhere.")
    active = np.asarray(solution.model.active_periods.get(regime, (True,) * (int(entry.max()) + 1)))
    idle = np.flatnonzero(here & ~active[entry])
    if len(idle):
        number = int(entry[idle[0]])
        when = f"at age {clock.age(number):g}" if clock.aged else f"in period {number}"
        raise ParameterError(
            f"start: agent {idle[0]} starts in the regime {regime!r} {when}, which is not active then; nobody decides "
            "there."
        )


def _rows(settings: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether there is one value an agent."""
    if isinstance(value, Mapping):
        return False
    spaces = [setting.plan.states[name] for setting in settings.values() if name in setting.plan.states]
    return np.ndim(value) > (len(view(spaces[0]).shape) if spaces else 0)
