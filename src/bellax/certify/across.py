"""Euler errors of a regime from which others may be reached.

What tomorrow is worth in a regime, and how that moves with its states, is asked of one program a regime, at all states
to which decisions in any regime lead: a search is compiled once for each regime, and not for each pair of them. Today's
decisions are found by it, too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.chunks import over_batch
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.maximum import Optimum, cells
from bellax.bellman.mesh import Point
from bellax.certify.euler import Euler, euler
from bellax.certify.examine import Found, Sample, asked_in, looking, points_of
from bellax.certify.stage import decide, later, value_of
from bellax.numerics.programs import LITTLE, quickly
from bellax.problem.problem import Arguments
from bellax.solution.regimes import RegimeSolution

_AT_ONCE = 256  # states that are asked together, at least

States = dict[str, Any]


class Known(NamedTuple):
    """V at some states, and its derivatives along their continuous numbers, by state: one axis more, of numbers."""

    value: Array
    slopes: dict[str, Array]


def euler_across(solution: RegimeSolution, regime: str, looked: Sample) -> Found:
    """What is found at sampled points of a regime, Euler errors at the first of each period."""
    setting = solution.settings.regimes[regime]
    count, size = looked.shifts.shape, max(_AT_ONCE, looked.shifts.shape[1])
    finite = setting.problem.finite
    periods = np.asarray(looked.periods)
    given = solution.arguments, solution.values
    points = setting.program("points", lambda: jax.jit(points_of(setting.numerics)))(solution.arguments, looked)
    optima = [
        _asked(solution, regime, int(t), {n: leaf[k] for n, leaf in points.items()}, size)[0]
        for k, t in enumerate(periods)
    ]
    decided = jax.tree.map(lambda *leaves: np.stack(leaves), *optima)
    look = setting.program(("look", count), lambda: quickly(looking(setting.numerics), True))
    found, reached = look(*given, looked, decided)
    known = {
        target: _known(solution, target, [int(t) + finite for t in periods], states, size)
        for target, states in reached.items()
    }
    run = setting.program(("euler", count), lambda: quickly(_errors(setting.numerics), True))
    return found._replace(euler=run(*given, looked, decided, known))


def _known(
    solution: RegimeSolution, target: str, periods: Iterable[int], states: Mapping[str, Array], size: int
) -> Known:
    """V and its slopes at states of a regime, one row of them a period; zero where it does not exist."""
    numerics = solution.settings.regimes[target].numerics
    active = solution.settings.model.active_periods.get(target)
    found = []
    for row, period in enumerate(periods):
        here = {name: leaf[row] for name, leaf in states.items()}
        shape = here.pop("").shape
        if active is not None and not active[min(period, len(active) - 1)]:
            slopes = {name: np.zeros((*shape, space.size)) for name, space in numerics.plan.continuous.items()}
            found.append(Known(np.zeros(shape), slopes))  # type: ignore[arg-type]
            continue
        flat = {name: leaf.reshape(-1, *leaf.shape[len(shape) :]) for name, leaf in here.items()}
        flat = flat or {"": jnp.zeros(int(np.prod(shape)))}
        own = _asked(solution, target, period, flat, size)[1]
        found.append(jax.tree.map(lambda leaf, shape=shape: leaf.reshape(*shape, *leaf.shape[1:]), own))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def _asked(solution: RegimeSolution, regime: str, period: int, states: Mapping[str, Any], size: int) -> Any:
    """The optimum, V and its slopes at states of a regime, some after the others; None for the optimum where none is
    sought."""
    setting = solution.settings.regimes[regime]
    count = len(next(iter(states.values())))
    little = size * cells(setting.numerics.maximiser, setting.plan) <= LITTLE if not setting.numerics.ends else True
    run = setting.program(("asked", size, little), lambda: quickly(_answers(setting.numerics), little))
    parts = []
    for start in range(0, count, size):
        some = {name: np.asarray(leaf)[start : start + size] for name, leaf in states.items()}
        full = {n: np.concatenate([leaf, np.repeat(leaf[-1:], size - len(leaf), axis=0)]) for n, leaf in some.items()}
        answer = run(solution.arguments, solution.values, np.asarray(period, np.int32), full)
        parts.append(jax.tree.map(lambda leaf, start=start: np.asarray(leaf)[: count - start], answer))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _answers(numerics: Discretisation) -> Callable[..., Any]:
    """A program for the optimum, V and its slopes at a batch of states."""

    def run(arguments: Arguments, values: Any, period: Array, states: dict[str, Array]) -> Any:
        if numerics.ends:
            end = numerics.problem.period(arguments, period)
            return jax.vmap(lambda own: (None, _sloped(numerics, end.terminal, own)))(states)
        if numerics.problem.finite:
            objective, mesh, _, worth = later(numerics, arguments, values, period)
        else:
            objective, mesh = numerics.solved_period(arguments, values, 0)
            worth = value_of(objective)

        def at(states: dict[str, Array]) -> tuple[Optimum, Known]:
            point = mesh.locate(states)
            optimum = decide(numerics, objective, point)
            value = lambda moved: worth(replace(point, values={**point.values, **moved}), optimum)  # noqa: E731
            return optimum, _sloped(numerics, value, states)

        return over_batch(at, states, cells(numerics.maximiser, numerics.plan), numerics.memory)

    return run


def _sloped(numerics: Discretisation, value: Callable[[States], Array], states: States) -> Known:
    """A function of states and its partial derivatives; a few forward passes compile faster than a batch of them."""
    level, slopes = None, {}
    for name, space in numerics.plan.continuous.items():
        along = lambda x, name=name: value({**states, name: x})  # noqa: E731
        own = states[name]
        units = jnp.eye(space.size, dtype=own.dtype).reshape(space.size, *own.shape)
        passes = [jax.jvp(along, (own,), (unit,)) for unit in units]
        level, slopes[name] = passes[0][0], jnp.stack([slope for _, slope in passes])
    level = value(states) if level is None else level
    return Known(level, slopes)


def _errors(numerics: Discretisation) -> Callable[..., Euler]:
    """A program for the Euler errors of points, of which is known what tomorrow is worth where their decisions lead."""

    def run(arguments: Arguments, values: Any, looked: Sample, optima: Optimum, known: dict[str, Known]) -> Euler:
        def at_period(entry: Any) -> Euler:
            asked, points = asked_in(numerics, arguments, values, entry[0])
            some = next(iter(entry[2].values())).value.shape[0]
            chosen = jax.tree.map(lambda leaf: leaf[:some], (points, entry[1].decision))

            def at(entry: Any) -> Euler:
                (point, decision), known = entry
                return euler(asked, point, decision, {name: _near(own) for name, own in known.items()})

            return jax.vmap(at)((chosen, entry[2]))

        return jax.lax.map(at_period, (looked, optima, known))

    return run


def _near(known: Known) -> Callable[[Point], Array]:
    """V near the states at which it is known, straight."""

    def value(points: Point) -> Array:
        total = known.value
        for name, slopes in known.slopes.items():
            states = points.values[name]
            moved = (states - jax.lax.stop_gradient(states)).reshape(slopes.shape)
            total = total + jnp.sum(slopes * moved, axis=-1)
        return total

    return value
