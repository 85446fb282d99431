"""A model under `ILQG`: checks, the programs of a solve, and what is said of a failure."""

import warnings
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool

from bellax.bellman.checks import check_arguments, sound
from bellax.bellman.options import key
from bellax.bellman.reach import users_line
from bellax.errors import KinkWarning, check_names
from bellax.model.model import Model
from bellax.numerics.once import once
from bellax.numerics.programs import all_concrete, quickly_at_first
from bellax.numerics.scalar import as_small
from bellax.problem.averages import Rules
from bellax.problem.draws import random_leaves
from bellax.problem.problem import Arguments
from bellax.problem.rough import may_be_rough
from bellax.solution.gridless import GridlessSetting, GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.quadratic import complaints, search, starts, stationary
from bellax.solvers.quadratic.doubts import Gap, gap
from bellax.solvers.quadratic.path import Along
from bellax.solvers.quadratic.rough import rough
from bellax.solvers.quadratic.stage import Layout, Stage
from bellax.solvers.quadratic.trajectory import Trajectory, stacked

_LITTLE = 20  # states and actions up to which a solve is over sooner than it is compiled well
_LEAST = 1e-13  # step that is told from rounding, in 64 bits
_AHEAD = 100  # periods for which paths are simulated where there is no end


class Found(NamedTuple):
    """What a solve found, how it ended, and numbers about it."""

    behaviour: Trajectory
    code: Array
    stats: dict[str, Array]


class Begin(NamedTuple):
    """Where a search begins: numbers by state, and by action; none where nothing was given."""

    start: dict[str, Any]
    guess: dict[str, Any]


class PreparedTrajectory(GridlessSetting):
    """A model under `ILQG`."""

    def __init__(self, model: Model, options: Any) -> None:
        super().__init__(model, options)
        plan = self.plan
        self.layout = plan.once("layout", lambda: Layout(plan))
        seen = {name: plan.graph.seen[name].shape for name in plan.states}
        starts.check(options.start, seen, "ILQG: start of the state", whole=True)
        controls = {name: space.shape for name, space in plan.controls.items()}
        starts.check(options.guess, controls, "ILQG: guess of the action", whole=False)
        random = [leaf.removeprefix("next_") for leaf in random_leaves(plan)]
        check_names(options.quadrature, random, "ILQG: quadrature of the shock")

    @property
    def rules(self) -> Rules:
        return self.options.quadrature, self.options.degree  # type: ignore[attr-defined]

    @property
    def tolerance(self) -> float:
        """The largest step that is none, and no less than what rounding leaves of one."""
        return max(self.options.tolerance, as_small(_LEAST))  # type: ignore[attr-defined]

    def begins(self) -> dict[str, Any]:
        """Where the path begins, of the states that have a start, one row."""
        return {name: array[None] for name, array in _numbers(self.options.start).items()}

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError for numbers that make no model."""
        check_arguments(self, arguments)
        self.check_begins(arguments)

    def solve(self, arguments: Arguments, final: None = None, ticket: Any = None, well: bool = False) -> Any:
        """Solves; `final` is of grids, and nothing is told of so few steps."""
        options: Any = self.options
        checked = all_concrete(arguments) and not well
        # where a search begins is an argument: one program serves all starts
        begin = Begin(_numbers(options.start), _numbers(options.guess))
        name = ("ILQG", key(replace(options, start=None, guess=None)), *map(tuple, begin), checked)
        if name not in self.model.programs:
            little = checked and self.layout.states + self.layout.actions <= _LITTLE
            self.model.programs[name] = quickly_at_first(partial(self.found, checked), little)
        found = self.model.programs[name](arguments, begin)
        solution = GridlessSolution(
            arguments=arguments, values=found.behaviour, code=found.code, stats=found.stats, setting=self
        )
        said = self.doubts(solution) if checked and not ticket else ""
        if said:
            warnings.warn(f"ILQG: {said}", KinkWarning, stacklevel=users_line())
        return solution

    def doubts(self, solution: GridlessSolution) -> str:
        return complaints.doubts(solution)

    def found(self, known: bool, arguments: Arguments, begin: Begin) -> Found:
        """The whole of a solve, inside a compiled program.

        Args:
            known: whether nothing is differentiated, and the parameters were checked.
            begin: where the search begins.
        """
        arguments = arguments if known else once(arguments, "what ILQG finds")
        way = self._path if self.problem.finite else self._steady
        own = way(known, arguments, begin)
        if known:
            return own
        sane = sound(self.numerics, lax.stop_gradient(arguments))
        code = jnp.where(sane, own.code, int(Result.nonfinite)).astype(jnp.int32)
        return Found(once(own.behaviour, "what ILQG finds"), code, own.stats)

    def _path(self, known: bool, arguments: Arguments, begin: Begin) -> Found:
        options: Any = self.options
        make = partial(Along, self.layout, self.problem)
        along, live = make(lax.stop_gradient(arguments), self.rules), make(arguments, self.rules)
        start = starts.state(along.stage(0), begin.start)
        guess = lambda number, x: starts.actions(along.stage(number[0]), x, begin.guess)  # noqa: E731
        first = along.forward(start, lambda bounds, number, x: guess(number, x), (along.periods(),))
        ended = search.search(along, first, options.max_steps, self.tolerance)
        path = lax.stop_gradient(ended.path)
        if not known:
            path = live.moved(path, live.backward(path, 0.0))
        final = live.backward(path, 0.0, lambda stage: stage.lottery)
        trajectory = Trajectory(final.decisions.rule, final.values)
        still = lax.stop_gradient((trajectory, final.last))
        missed = gap(along, *still, along.count)
        concave = final.decisions.sound
        good = (ended.status == search.CONVERGED) & jnp.all(concave)
        code = _code(good, ended.status != search.EXHAUSTED, trajectory)
        code = jnp.where(ended.status == search.BROKEN, int(Result.nonfinite), code)
        code = jnp.where(path.crossed, int(Result.infeasible), code).astype(jnp.int32)
        convex = jnp.max(jnp.where(concave, -1, along.periods()))
        stats = {"steps": ended.steps, "rounds": ended.rounds, "slope": ended.steep, "last_not_concave": convex}
        return self._weighed(along, Found(trajectory, code, _told(stats, missed)))

    def _steady(self, known: bool, arguments: Arguments, begin: Begin) -> Found:
        model = stationary.Model(self.layout, self.problem, self.rules, *begin)
        still = lax.stop_gradient(arguments)
        ended = lax.stop_gradient(stationary.sought(model, still, self.tolerance))
        point = ended.point
        if not known:
            point = stationary.steady.moved(model.stage(arguments), point)
        decision, value, settled = stationary.with_noise(model, arguments, point, ended.curved.value)
        trajectory = Trajectory(stacked(decision.rule), stacked(value))
        along = Along(self.layout, self.problem, still, self.rules)
        missed = gap(along, lax.stop_gradient(trajectory), None, _AHEAD)
        own = ended.curved
        concave = own.sound & ended.peak & (decision.sound | ~settled)
        good = ended.good & settled & concave
        code = _code(good, ended.there & ~concave, trajectory)
        code = jnp.where(ended.there & concave & ~(own.radius < 1), int(Result.unstable), code).astype(jnp.int32)
        stats = {"steps": ended.steps, "starts": ended.tries, "radius": own.radius}
        stats |= {"steady": ended.there.astype(jnp.int32), "settled": settled.astype(jnp.int32)}
        return self._weighed(along, Found(trajectory, code, _told(stats, missed)))

    def _weighed(self, along: Along, found: Found) -> Found:
        """The same, and no success where the model jumps between its bounds, or where what the policy earns is no
        number; whether kinks are near is said."""
        unearned = (found.code == int(Result.successful)) & ~jnp.isfinite(found.stats["value_gap"])
        found = found._replace(code=jnp.where(unearned, int(Result.nonfinite), found.code).astype(jnp.int32))
        if not may_be_rough(self.plan):
            return found
        seen = rough(along, lax.stop_gradient(found.behaviour))
        failed = (found.code == int(Result.successful)) & (seen.jump > 0)
        code = jnp.where(failed, int(Result.not_concave), found.code).astype(jnp.int32)
        stats = {**found.stats, "jump": seen.jump, "kinks": seen.kink.astype(jnp.int32)}
        return found._replace(code=code, stats=stats)

    def stage(self, arguments: Arguments, number: int) -> Stage:
        """One period."""
        return Stage(self.layout, self.problem, arguments, number, self.rules)

    def structure(self, arguments: Arguments) -> Trajectory:
        return jax.eval_shape(partial(self.found, True), arguments, Begin({}, {})).behaviour

    def explain(self, solution: GridlessSolution) -> str:
        """Why a solve failed; empty where nothing is wrong."""
        return complaints.explain(self, solution)


def _numbers(given: Any) -> dict[str, Any]:
    return {name: np.asarray(value, jnp.result_type(float)) for name, value in (given or {}).items()}


def _code(good: Bool[Array, ""], not_concave: Bool[Array, ""], found: Trajectory) -> Array:
    """The code of the `Result`."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(found)]))
    failed = jnp.where(not_concave, int(Result.not_concave), int(Result.max_steps_reached))
    return jnp.where(good, jnp.where(finite, int(Result.successful), int(Result.nonfinite)), failed)


def _told(stats: dict[str, Array], missed: Gap) -> dict[str, Array]:
    return {**stats, "value_gap": missed.mean, "value_gap_error": missed.error}
