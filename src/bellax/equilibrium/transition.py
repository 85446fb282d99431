"""Paths after a shock that nobody expected: values backward, mass forward, and prices that clear at each time.

Between two times V is one implicit step of the equation, and mass one of its transpose, so that it is conserved:

    (discount + 1/dt) V_n = H_n(V_n) + V_{n+1}/dt,        (1/dt - A_n') g_{n+1} = g_n/dt.

The path of prices is one vector of unknowns, one number a time. Its Jacobian is taken once, at the path of the end,
through both passes; Broyden's updates follow it from there. Derivatives are those of the implicit function theorem.

Source: Achdou, Han, Lasry, Lions & Moll (2022), section 4; Broyden (1965).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.equilibrium.along import Along, Known, PathSearch, Walk, far
from bellax.equilibrium.asked import Asked, read, split
from bellax.equilibrium.clearing import Equilibrium
from bellax.equilibrium.search import moving_root, only_if
from bellax.errors import ModelError, ParameterError, SolveError, check_count, check_positive, listed, named_arguments
from bellax.model.diffusion import DiffusionModel
from bellax.numerics.programs import all_concrete
from bellax.population.density import Density, stationary
from bellax.problem.period import as_float
from bellax.solution.flowing import FlowSolution
from bellax.solution.solution import Result
from bellax.solution.table import Table
from bellax.solvers.continuous.prepared import PreparedFlow


class TransitionPath(eqx.Module):
    """What happens over time, on the way to where it ends.

    Attributes:
        times: from 0, shape (t,).
        unknowns: by name, shape (t,); the last one is that of the end.
        residuals: of the conditions, by name, shape (t,); at the last time no unknown makes them zero.
        aggregates: by name, shape (t,).
        solutions: at every time, arrays with a first axis of times; see `at`.
        mass: at every node, an axis for each state, shape (t, ...); sums to one.
        held: whether a node holds mass at an edge, as an atom, shape (t, ...).
        apart: how far mass is at last from that of the end, half of the sum of differences.
        steps: how often the path was computed.
    """

    times: Array
    unknowns: dict[str, Array]
    residuals: dict[str, Array]
    aggregates: dict[str, Array]
    solutions: FlowSolution
    mass: Array
    held: Array
    apart: Array
    steps: Array

    def at(self, number: int) -> Density:
        """The population at one of the times, with its solution."""
        solution: FlowSolution = jax.tree.map(lambda leaf: leaf[number], self.solutions)
        return Density(solution, self.mass[number], self.held[number], jnp.zeros(()))

    def __str__(self) -> str:
        most = {name: float(jnp.max(jnp.abs(left[:-1]))) for name, left in self.residuals.items()}
        left = ", ".join(f"{name} {value:.2g}" for name, value in most.items())
        return (
            f"TransitionPath of {len(self.times)} times until {float(self.times[-1]):g}"
            f"{f'; what is left: {left}' if left else ''}; at last {float(self.apart):.2g} of the mass is elsewhere "
            f"than at the end; {int(self.steps)} computed."
        )


@named_arguments
def transition_path(
    model: DiffusionModel,
    params: Mapping[str, Any],
    paths: Mapping[str, Any],
    end: Equilibrium | FlowSolution,
    unknowns: Iterable[str] = (),
    aggregates: Mapping[str, Any] | None = None,
    conditions: Mapping[str, Any] | None = None,
    *,
    times: Any = None,
    duration: float | None = None,
    step: float | None = None,
    start: Density | None = None,
    tolerance: float = 1e-9,
    max_steps: int = 40,
    settled: float = 0.01,
) -> TransitionPath:
    """What happens after a shock that nobody expected, with everything known from time 0 on.

    Args:
        model: of the agents, that of `end`.
        params: parameters by name, of the model and of conditions, that do not move, without the unknowns.
        paths: by name of a parameter, its numbers at all times, shape (t,).
        end: where it ends: an equilibrium, or a solution.
        unknowns: names of what is found at every time; they begin at the numbers of `end`, and end there. Without any
            it is a partial equilibrium.
        aggregates: as of `equilibrium`, at every time.
        conditions: as of `equilibrium`, at every time but the last.
        times: increasing from 0, shape (t,); or
        duration, step: how long, and the time between two times.
        start: where the population is at first; by default where it is at the end.
        tolerance: by how much unknowns may still move, relative to 1 + abs(unknown).
        max_steps: paths that are computed at most.
        settled: share of the mass that may at last be elsewhere than at the end.
    Raises:
        ModelError: as `equilibrium`; if a bound of a state moves along the path; if the end is that of another model,
            or was solved by another solver than `FiniteDifference`.
        ParameterError: if a path has not one number a time.
        SolveError: if a solve fails, and when; if no path of unknowns is found; if the population is not at
            the end.
    """
    ending, prices = _ending(end)
    setting: Any = _setting(model, ending)
    at_end = {**ending.params, **prices}
    asked = read(
        model, {**params, **paths}, dict.fromkeys(unknowns), aggregates or {}, conditions or {}, {}, "transition_path"
    )
    for name in asked.unknowns:
        if name not in at_end:
            raise ModelError(f"the end says nothing of the unknown {name!r}; it knows {listed(at_end)}.")
    _check_placed(setting, [*paths, *asked.unknowns])
    check_positive(tolerance, "transition_path: tolerance", "1e-9")
    check_positive(settled, "transition_path: settled", "0.01")
    check_count(max_steps, "transition_path: max_steps")
    clock = _times(times, duration, step)
    population = end.density if isinstance(end, Equilibrium) else stationary(ending)
    mass = population.mass if start is None else _at_first(start, ending).mass
    known = _known(setting, asked, params, paths, clock, ending, at_end, mass)
    rests = _rests(params, paths, ending.params, settled)
    stated = ("transition", asked.stated, tolerance, max_steps)
    search = setting.program(stated, lambda: PathSearch(setting, asked, tolerance, max_steps))
    still = lax.stop_gradient(known)
    last = search.run(still, all_concrete(still))
    path = last.x
    sure = all_concrete((known, params, paths))
    if not sure and asked.unknowns:
        path = moving_root(lambda given, x: search.evaluate(given, x).residuals[:-1], search.slopes, known, path)
    found = search.evaluate(known, path)
    apart = 0.5 * jnp.sum(jnp.abs(found.mass[-1] - population.mass))
    if sure:
        _check(setting, asked, clock, found, last, tolerance, max_steps)
        _check_settled(float(apart), settled, float(clock[-1]))
    else:
        good = rests & (apart <= settled) & jnp.all(found.solutions.code == int(Result.successful))
        path, found = only_if(good & (far(last) <= tolerance), (path, found))
    whole = jnp.concatenate([path, known.unknowns[None]])
    return TransitionPath(
        jnp.asarray(clock),
        dict(zip(asked.unknowns, whole.T, strict=True)),
        dict(zip(asked.conditions, found.residuals.T, strict=True)),
        found.aggregates,
        found.solutions,
        found.mass,
        found.held,
        apart,
        last.steps,
    )


def _ending(end: Any) -> tuple[FlowSolution, dict[str, Array]]:
    """The solution at the end, and prices there."""
    if isinstance(end, Equilibrium):
        return end.solution, end.unknowns
    if isinstance(end, FlowSolution):
        return end, {}
    raise ModelError(f"transition_path: end is {end!r}; give what bx.equilibrium or bx.solve returns.")


def _check_placed(setting: Any, moving: list[str]) -> None:
    """Raises ModelError for what moves nodes along a path: mass and V go from one time to the next by the node."""
    for name in moving:
        if name in setting.flow.placing:
            raise ModelError(
                f"{name!r} moves along the path, and so does a bound of a state that names it: V and mass would be "
                "those of other places from one time to the next. Let the bound stand, and what it stands for be in "
                "drifts or rewards; or solve for both limits, and compare."
            )


def _check_settled(apart: float, settled: float, end: float) -> None:
    """Raises SolveError where the population is elsewhere at last than at the end."""
    if not apart <= settled:
        raise SolveError(
            f"after {end:g} the population is not where the end has it: {apart:.3g} of the mass is elsewhere, and "
            f"settled={settled:g}. Give a longer duration, paths that come to rest at the parameters of the end, or an "
            "end to which they lead."
        )


def _setting(model: Any, ending: FlowSolution) -> PreparedFlow:
    if not isinstance(ending.setting, PreparedFlow):
        name = type(ending.setting.options).__name__
        raise ModelError(f"transition_path takes the end by bx.solvers.FiniteDifference(), not by {name}.")
    if ending.model is not model:
        raise ModelError("the end is that of another model; solve it for this one.")
    ending.setting.check_dense()
    return ending.setting


def _times(times: Any, duration: float | None, step: float | None) -> np.ndarray:
    """Times, from 0."""
    if times is None:
        if duration is None or step is None:
            raise ModelError("transition_path lacks times: give times=, or duration= and step=.")
        check_positive(duration, "transition_path: duration", "100.0")
        check_positive(step, "transition_path: step", "0.5")
        count = round(duration / step)
        if count < 1 or abs(count * step - duration) > 1e-6 * duration:
            raise ModelError(
                f"transition_path: duration={duration:g} is no whole number of steps of {step:g}. Give another step=, "
                "or times=, which need not be evenly spaced."
            )
        return np.linspace(0.0, duration, count + 1)
    if duration is not None or step is not None:
        raise ModelError("transition_path has times=, and duration= or step=, too; remove one of them.")
    found = np.asarray(times, float)
    if found.ndim != 1 or found.size < 2 or found[0] != 0 or not np.all(np.diff(found) > 0):
        raise ParameterError("times must increase from 0, shape (t,).")
    return found


def _known(
    setting: Any, asked: Asked, params: Any, paths: Any, clock: np.ndarray, ending: FlowSolution, at_end: Any, mass: Any
) -> Known:
    count = clock.size
    for name, path in paths.items():
        if name in params:
            raise ParameterError(f"{name!r} has a path, and is a parameter, too; remove it from one of them.")
        if jnp.shape(path)[:1] != (count,):
            raise ParameterError(
                f"the path of {name!r} has shape {jnp.shape(path)}, and there are {count} times; give one number a "
                "time."
            )
    last = {name: at_end[name] for name in asked.unknowns}
    own, others = split(asked, {**params, **{name: path[0] for name, path in paths.items()}})
    arguments = setting.arguments({**own, **{name: last[name] for name in asked.own}})
    laid = lambda tree: jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), tree)  # noqa: E731
    moved = {name: as_float(path) for name, path in paths.items()}
    arguments = {**laid(arguments), **{name: moved[name] for name in paths if name in arguments}}
    others = {**laid(others), **{name: moved[name] for name in paths if name in others}}
    values = ending.values
    assert isinstance(values, Table)
    unknowns = as_float([last[name] for name in asked.unknowns])
    return Known(arguments, others, jnp.asarray(np.diff(clock)), mass, values, unknowns)


def _at_first(start: Any, ending: FlowSolution) -> Density:
    """The population of the first moment, checked: on the nodes of the end, whose program moves it."""
    if not isinstance(start, Density):
        raise ModelError(f"transition_path: start is {start!r}; give a density, bx.stationary(solution).")
    own, others = start.solution.nodes(), ending.nodes()
    if list(own) != list(others):
        raise ModelError(f"start is over the states {listed(own)}, and the end over {listed(others)}.")
    for name, line in others.items():
        if own[name].shape != line.shape or (
            all_concrete((own[name], line)) and not np.allclose(own[name], line, rtol=1e-9, atol=1e-12)
        ):
            raise ModelError(
                f"start is on {len(own[name])} nodes of {name!r} from {float(own[name][0]):.6g} to "
                f"{float(own[name][-1]):.6g}, and the end on {len(line)} from {float(line[0]):.6g} to "
                f"{float(line[-1]):.6g}, or on others between. Solve both on one grid=."
            )
    return start


def _rests(params: Any, paths: Any, at_end: Mapping[str, Any], settled: float) -> Array:
    """Whether parameters come to rest where the end has them, since V there is that of the end.

    Raises:
        ParameterError: where they do not, and are known.
    """
    good = jnp.ones((), bool)
    for name, last in at_end.items():
        given = paths.get(name, params.get(name))
        if given is None:
            continue
        there, last = as_float(given), as_float(last)
        still = name in params
        left = jnp.max(jnp.abs((there if still else there[-1]) - last), initial=0.0)
        most = 0.0 if still else settled * jnp.nanmax(jnp.abs(there - last), initial=0.0)
        fits = left <= most + 1e-9 * (1 + jnp.max(jnp.abs(last), initial=0.0))
        good = good & fits
        if all_concrete(fits) and not bool(fits):
            raise ParameterError(
                f"{name!r} is off by {float(left):.3g} at last from where the end has it, and V there is that of the "
                "end. Give an end that was solved at where it comes to rest, or a longer path."
            )
    return good


def _check(
    setting: Any, asked: Asked, clock: np.ndarray, found: Along, last: Walk, tolerance: float, max_steps: int
) -> None:
    """Raises SolveError for what is no path."""
    codes = np.asarray(found.solutions.code)
    bad = np.flatnonzero(codes != int(Result.successful))
    if bad.size:
        solution = jax.tree.map(lambda leaf: leaf[bad[-1]], found.solutions)
        raise SolveError(f"at time {clock[bad[-1]]:g}: {setting.explain(solution)}")
    if not asked.unknowns:
        return
    left = np.abs(np.asarray(found.residuals))[:-1]
    moves = float(far(last))
    if not moves <= tolerance:
        when, which = np.unravel_index(np.argmax(left), left.shape)
        raise SolveError(
            f"no path of {listed(asked.unknowns)} is found after {int(last.steps)} paths (max_steps={max_steps}): the "
            f"condition {tuple(asked.conditions)[which]!r} is {left[when, which]:.3g} at time {clock[when]:g}, and "
            f"unknowns would still move by {moves:.3g}. Likely causes: a shock so large that the path begins far from "
            "the end; steps of time so long that conditions do not tell the unknowns apart."
        )
