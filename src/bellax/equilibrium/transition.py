"""Paths after a shock that nobody expected: values backward, mass forward, and prices that clear at each time.

Between two times V is one implicit step of the equation, and mass one of its transpose, so that it is conserved:

    (discount + 1/dt) V_n = H_n(V_n) + V_{n+1}/dt,        (1/dt - A_n') g_{n+1} = g_n/dt.

The path of prices is one vector of unknowns, one number a time. Its Jacobian is taken once, at the path of the end,
through both passes; Broyden's updates follow it from there. Derivatives are those of the implicit function theorem.

Source: Achdou, Han, Lasry, Lions & Moll (2022), section 4; Broyden (1965).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.equilibrium.asked import Asked, read, split
from bellax.equilibrium.clearing import Equilibrium
from bellax.equilibrium.search import moving_root
from bellax.errors import ModelError, ParameterError, SolveError, check_count, check_positive, listed, named_arguments
from bellax.model.diffusion import DiffusionModel
from bellax.numerics import loops, sparse
from bellax.numerics.programs import all_concrete
from bellax.numerics.shared import Shared
from bellax.population.density import Density, unchecked
from bellax.problem.period import as_float
from bellax.solution.flowing import FlowSolution
from bellax.solution.solution import Result
from bellax.solution.table import Table
from bellax.solvers.continuous.prepared import Later, PreparedFlow


class TransitionPath(eqx.Module):
    """What happens over time, on the way to where it ends.

    Attributes:
        times: from 0, shape (t,).
        unknowns: by name, shape (t,); the last one is that of the end.
        residuals: of the conditions, by name, shape (t,); at the last time no unknown makes them zero.
        aggregates: by name, shape (t,).
        solutions: at every time, arrays with a first axis of times; see `at`.
        mass: at every node, an axis for each state, shape (t, ...); sums to one.
        apart: how far mass is at last from that of the end, half of the sum of differences.
        steps: how often the path was computed.
    """

    times: Array
    unknowns: dict[str, Array]
    residuals: dict[str, Array]
    aggregates: dict[str, Array]
    solutions: FlowSolution
    mass: Array
    apart: Array
    steps: Array

    def at(self, number: int) -> Density:
        """The population at one of the times, with its solution."""
        solution: FlowSolution = jax.tree.map(lambda leaf: leaf[number], self.solutions)
        mass = self.mass[number]
        return Density(solution, mass, jnp.zeros(mass.shape, bool), jnp.zeros(()))

    def __str__(self) -> str:
        most = {name: float(jnp.max(jnp.abs(left[:-1]))) for name, left in self.residuals.items()}
        left = ", ".join(f"{name} {value:.2g}" for name, value in most.items())
        return (
            f"TransitionPath of {len(self.times)} times until {float(self.times[-1]):g}"
            f"{f'; what is left: {left}' if left else ''}; at last {float(self.apart):.2g} of the mass is elsewhere "
            f"than at the end; {int(self.steps)} computed."
        )


class Along(NamedTuple):
    """What happens along a path of unknowns: the fields of `TransitionPath`, residuals of shape (t, n)."""

    residuals: Array
    aggregates: dict[str, Array]
    solutions: FlowSolution
    mass: Array


class _Known(NamedTuple):
    """What is given: arguments of the model and of conditions at every time, with a first axis of times; and at both
    ends the mass, V and the unknowns.

    Attributes:
        steps: between times, shape (t-1,).
    """

    arguments: dict[str, Array]
    others: dict[str, Array]
    steps: Array
    mass: Array
    values: Table
    unknowns: Array


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
        ModelError: as `equilibrium`; if the end is that of another model, or was solved by another solver than
            `FiniteDifference`.
        ParameterError: if a path has not one number a time.
        SolveError: if a solve fails, and when; if no path of unknowns is found; if the population is not at
            the end.
    """
    if isinstance(end, Equilibrium):
        ending, prices = end.solution, end.unknowns
    elif isinstance(end, FlowSolution):
        ending, prices = end, {}
    else:
        raise ModelError(f"transition_path: end is {end!r}; give what bx.equilibrium or bx.solve returns.")
    setting: Any = _setting(model, ending)
    at_end = {**ending.params, **prices}
    asked = read(
        model, {**params, **paths}, dict.fromkeys(unknowns), aggregates or {}, conditions or {}, {}, "transition_path"
    )
    for name in asked.unknowns:
        if name not in at_end:
            raise ModelError(f"the end says nothing of the unknown {name!r}; it knows {listed(at_end)}.")
    check_positive(tolerance, "transition_path: tolerance", "1e-9")
    check_count(max_steps, "transition_path: max_steps")
    clock = _times(times, duration, step)
    population = unchecked(ending) if isinstance(end, FlowSolution) else end.density
    mass = population.mass if start is None else _at_first(start, ending).mass
    known = _known(setting, asked, params, paths, clock, ending, at_end, mass)
    _check_rest(params, paths, ending.params, settled)
    stated = ("transition", asked.stated, tolerance, max_steps)
    search = setting.program(stated, lambda: _Search(setting, asked, tolerance, max_steps))
    sure = all_concrete((known, params))
    still = lax.stop_gradient(known)
    last = search.run(still, all_concrete(still))
    path = last.x
    if not sure and asked.unknowns:
        path = moving_root(lambda given, x: search.evaluate(given, x).residuals[:-1], search.slopes, known, path)
        path = jnp.where(_far(last) <= tolerance, path, jnp.nan)
    found = search.evaluate(known, path)
    apart = 0.5 * jnp.sum(jnp.abs(found.mass[-1] - population.mass))
    if sure:
        _check(setting, asked, clock, found, last, tolerance, max_steps)
        if not float(apart) <= settled:
            raise SolveError(
                f"after {float(clock[-1]):g} the population is not where the end has it: {float(apart):.3g} of the "
                f"mass is elsewhere, and settled={settled:g}. Give a longer duration, paths that come to rest at the "
                "parameters of the end, or an end to which they lead."
            )
    whole = jnp.concatenate([path, known.unknowns[None]])
    return TransitionPath(
        jnp.asarray(clock),
        dict(zip(asked.unknowns, whole.T, strict=True)),
        dict(zip(asked.conditions, found.residuals.T, strict=True)),
        found.aggregates,
        found.solutions,
        found.mass,
        apart,
        last.steps,
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
) -> _Known:
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
    return _Known(arguments, others, jnp.asarray(np.diff(clock)), mass, values, unknowns)


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


def _check_rest(params: Any, paths: Any, at_end: Mapping[str, Any], settled: float) -> None:
    """Raises ParameterError where parameters do not come to rest where the end has them: V there is that of the end."""
    for name, last in at_end.items():
        given = paths.get(name, params.get(name))
        if given is None or not all_concrete((given, last)):
            continue
        there, last = np.asarray(given, float), np.asarray(last, float)
        still = np.broadcast_shapes(there.shape, last.shape) == last.shape and name in params
        left = np.max(np.abs((there if still else there[-1]) - last), initial=0.0)
        most = 0.0 if still else settled * np.nanmax(np.abs(there - last), initial=0.0)
        if not left <= most + 1e-9 * (1 + np.max(np.abs(last), initial=0.0)):
            raise ParameterError(
                f"{name!r} is off by {left:.3g} at last from where the end has it, and V there is that of the end. "
                "Give an end that was solved at where it comes to rest, or a longer path."
            )


class _State(NamedTuple):
    """The best path so far, with its residuals; about the inverse of their Jacobian; and the share of a step that comes
    next."""

    steps: Array
    x: Array
    left: Array
    inverse: Array
    share: Array

    @property
    def move(self) -> Array:
        return -(self.inverse @ self.left.ravel()).reshape(self.x.shape)


def _far(state: _State) -> Array:
    """How much unknowns would still move, relative to 1 + abs(unknown)."""
    return jnp.max(jnp.abs(state.move) / (1 + jnp.abs(state.x)), initial=0.0)


class _Search:
    """The path of unknowns; compiled programs."""

    def __init__(self, setting: PreparedFlow, asked: Asked, tolerance: float, max_steps: int) -> None:
        self.setting, self.asked, self.tolerance, self.max_steps = setting, asked, tolerance, max_steps
        self.evaluate = Shared(self._along)
        self.slopes = Shared(lambda known, x: jax.jacfwd(lambda x: self._along(known, x).residuals[:-1])(x))
        self._told = Shared(self._after)
        self._done = Shared(self._over)

    def run(self, known: _Known, sure: bool) -> _State:
        """The path of unknowns but the last, shape (t-1, n).

        Args:
            sure: whether nothing is traced.
        """
        count = known.steps.shape[0]
        x = jnp.broadcast_to(known.unknowns, (count, known.unknowns.size))
        zero = jnp.zeros((), jnp.int32)
        if not self.asked.unknowns:
            return _State(zero + 1, x, x, jnp.zeros((0, 0)), jnp.ones(()))
        jacobian = self.slopes(known, x).reshape(x.size, x.size)
        left = self.evaluate(known, x).residuals[:-1]
        begin = _State(zero + 1, x, left, jnp.linalg.inv(jacobian), jnp.ones(()))

        def step(state: _State) -> _State:
            there = state.x + state.share * state.move
            return self._told(state, self.evaluate(known, there).residuals[:-1])

        return loops.until_known(self._done, step, begin, sure)

    def _after(self, state: _State, left: Array) -> _State:
        move = state.share * state.move
        change = (left - state.left).ravel()
        better = jnp.linalg.norm(left) < jnp.linalg.norm(state.left)
        # Broyden's good update of the inverse
        along = state.inverse @ change
        weight = move.ravel() @ state.inverse
        updated = state.inverse + jnp.outer(move.ravel() - along, weight) / jnp.dot(move.ravel(), along)
        fine = jnp.all(jnp.isfinite(updated))
        pick = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        return _State(
            state.steps + 1,
            pick(state.x + move, state.x),
            pick(left, state.left),
            jnp.where(fine, updated, state.inverse),
            pick(1.0, 0.5 * state.share),
        )

    def _over(self, state: _State) -> Array:
        return ~(_far(state) > self.tolerance) | (state.share < 1e-4) | (state.steps >= self.max_steps)

    def _along(self, known: _Known, x: Array) -> Along:
        """What happens where unknowns go along x, shape (t-1, n); with derivatives."""
        setting, whole = self.setting, jnp.concatenate([x, known.unknowns[None]])
        given = jax.vmap(self.asked.given)(known.arguments, whole)
        before = jax.tree.map(lambda leaf: leaf[:-1], given)
        values = known.values

        def back(later: Table, at: tuple) -> tuple[Any, FlowSolution]:
            arguments, step = at
            found = setting.found(setting.scheme(arguments), later, Later(later.values, step))
            solution = setting.solution(arguments, found)
            return solution.values, solution

        _, solutions = lax.scan(back, values, (before, known.steps), reverse=True)
        final = jax.tree.map(lambda leaf: leaf[-1], given)
        one = jax.tree.map(lambda leaf: leaf[-1], solutions)
        last = FlowSolution(final, values, jnp.zeros_like(one.code), jax.tree.map(jnp.zeros_like, one.stats), setting)
        solutions = jax.tree.map(lambda path, end: jnp.concatenate([path, end[None]]), solutions, last)

        def forth(mass: Array, at: tuple) -> tuple[Array, tuple]:
            solution, others, unknowns, step = at
            where = Density(solution, mass, jnp.zeros(mass.shape, bool), jnp.zeros(()))
            means = self.asked.means(where)
            zeros = self.asked.valued(self.asked.conditions, {**solution.arguments, **others}, unknowns, means)
            carried = setting.scheme(solution.arguments).carried(solution.values.marginals, solution.values.curvatures)
            after = sparse.solve(carried, 1 / step, mass / step, transposed=True)
            return after, (mass, means, jnp.stack(zeros) if zeros else jnp.zeros(0))

        steps = jnp.concatenate([known.steps, known.steps[-1:]])
        _, (mass, means, residuals) = lax.scan(forth, known.mass, (solutions, known.others, whole, steps))
        good = (solutions.code == int(Result.successful))[:, None]
        return Along(jnp.where(good, residuals, jnp.nan), means, solutions, mass)


def _check(
    setting: Any, asked: Asked, clock: np.ndarray, found: Along, last: _State, tolerance: float, max_steps: int
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
    far = float(_far(last))
    if not far <= tolerance:
        when, which = np.unravel_index(np.argmax(left), left.shape)
        raise SolveError(
            f"no path of {listed(asked.unknowns)} is found after {int(last.steps)} paths (max_steps={max_steps}): the "
            f"condition {tuple(asked.conditions)[which]!r} is {left[when, which]:.3g} at time {clock[when]:g}, and "
            f"unknowns would still move by {far:.3g}. Likely causes: a shock so large that the path begins far from "
            "the end; steps of time so long that conditions do not tell the unknowns apart."
        )
