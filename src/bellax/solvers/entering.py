"""Checks of how processes enter regimes by a distribution: whether there is one, and whether V is known where it lies.

A stationary distribution needs a law that is the same in every period, and a chain that forgets where it started. A
distribution that is given must lie on the nodes of the process that it enters, all but a little of it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax import Array

from bellax.bellman import reached
from bellax.bellman.mesh import strays
from bellax.bellman.setting import Setting
from bellax.errors import ModelError, ParameterError
from bellax.model.demands import broken, one_stationary
from bellax.model.spaces import AR1, VAR, MarkovChain
from bellax.problem.problem import Arguments
from bellax.problem.processes import chain

Regimes = Mapping[str, Setting]


def check_laws(regimes: Regimes, arguments: dict[str, Arguments]) -> None:
    """Raises ModelError for a process without a stationary distribution, which holds under a transformation, too."""
    for source, target, state in _entries(regimes, "ergodic"):
        problem = regimes[target].problem
        space, nodes = problem.plan.states[state], problem.plan.process_nodes(state)
        started = isinstance(space, AR1) and space.start is not None
        if started or (problem.finite and problem.timed(nodes, arguments)):
            raise ModelError(
                f"the state {state!r} enters {target!r} from {source!r} by bx.ergodic, and its distribution moves with "
                "time, so that there is no stationary one. Give one of bx.shocks, such as bx.shocks.Normal(mean, sd)."
            )


def check_numbers(regimes: Regimes, arguments: dict[str, Arguments]) -> None:
    """Raises ParameterError for a chain that has several stationary distributions, and ModelError for a distribution
    that lies beyond the nodes of the process that it enters.

    Args:
        arguments: concrete.
    """
    for source, target, state in _entries(regimes, "ergodic"):
        problem = regimes[target].problem
        if not isinstance(problem.plan.states[state], MarkovChain):
            continue
        with jax.ensure_compile_time_eval():
            transition = chain(problem.plan, state, problem.environment(arguments, 0))[1]
        wrong = broken(one_stationary("transition"), {"transition": transition})
        if wrong is not None:
            raise ParameterError(
                f"the chain {state!r}, which enters {target!r} from {source!r} by bx.ergodic, "
                f"{wrong.complaint({'transition': transition})}"
            )
    for source, target, state in _entries(regimes, "carried"):
        if isinstance(regimes[source].plan.states[state], VAR) and not regimes[target].numerics.ends:
            _check_vector(regimes, arguments, source, target, state)
    for source, target, state in _entries(regimes, "drawn"):
        if not regimes[target].numerics.ends and not regimes[source].plan.varies(
            regimes[source].plan.arrivals[target][state]
        ):
            _check_reach(regimes, arguments, source, target, state)


def _entries(regimes: Regimes, way: str) -> Iterable[tuple[str, str, str]]:
    """Source, target and state of the arrivals of a way."""
    for source, setting in regimes.items():
        for target, arrivals in setting.plan.arrivals.items():
            for state, arrival in arrivals.items():
                if arrival.way == way:
                    yield source, target, state


def _check_vector(regimes: Regimes, arguments: Any, source: str, target: str, state: str) -> None:
    """Raises ModelError for a vector process that has other nodes in a regime where it goes on."""
    ours, theirs = (regimes[name].numerics.mesh(arguments, 0).processes[state] for name in (source, target))
    if ours.values.shape != theirs.values.shape or not bool(reached.same_nodes(ours, theirs)):
        raise ModelError(
            f"the VAR {state!r} has other nodes in {target!r}, where it goes on, than in {source!r}: give it the same "
            f"law and grid in both, or a mapping that says what it becomes, entry={{{state!r}: {{{source!r}: "
            f"'next_{state}'}}}} on {target!r}."
        )


def _check_reach(regimes: Regimes, arguments: Any, source: str, target: str, state: str) -> None:
    ours, theirs = regimes[source], regimes[target]
    arrivals = ours.plan.arrivals[target]
    periods = ours.problem.clock.count if ours.problem.finite else 1

    def at(arguments: Any, period: Array) -> Any:
        ways = reached.ways(ours.plan, theirs.plan, arrivals)
        values, weights = ours.numerics.drawn(arrivals, ways, ours.problem.environment(arguments, period))[0][state]
        process = theirs.numerics.mesh(arguments, period + 1).processes[state]
        return (*strays(process, values, weights), process.values[np.array([0, -1])])

    build = lambda: jax.jit(jax.vmap(at, in_axes=(None, 0)))  # noqa: E731
    run = ours.program(("entering", target, state), build)
    off, far, ends = (np.asarray(found) for found in run(arguments, np.arange(periods, dtype=np.int32)))
    if far.any():
        place = int(far.argmax())
        first, last = (np.array2string(end, precision=4) for end in ends[place])
        raise ModelError(
            f"the state {state!r} enters {target!r} from {source!r} by a distribution that lies beyond its nodes, from "
            f"{first} to {last}, by {off[place]:.4g} on average: V is not known there. Give more nodes there, "
            f"grid={{{target!r}: {{{state!r}: n}}}}, or a distribution that the process may have."
        )
