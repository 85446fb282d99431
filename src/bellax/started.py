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
from bellax.errors import ParameterError, listed
from bellax.model.spaces import Continuous
from bellax.numerics.programs import all_concrete
from bellax.problem.period import Period, combinations
from bellax.problem.problem import Arguments, Problem
from bellax.solution.policy import Policy
from bellax.solution.query import ending

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
