"""A model under `ILQG`: checks, the programs of a solve, and what is said of a failure."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool

from bellax.bellman.checks import check_arguments, sound
from bellax.errors import check_names
from bellax.model.model import Model
from bellax.numerics.once import once
from bellax.numerics.programs import all_concrete
from bellax.numerics.shared import Shared
from bellax.problem.draws import random_leaves
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSetting, GridlessSolution
from bellax.solution.solution import Result
from bellax.solvers.quadratic import complaints, search, starts, stationary
from bellax.solvers.quadratic.doubts import Gap, gap
from bellax.solvers.quadratic.path import Along
from bellax.solvers.quadratic.stage import Layout, Stage
from bellax.solvers.quadratic.trajectory import Trajectory, stacked

_AHEAD = 100  # periods for which paths are simulated where there is no end


class Found(NamedTuple):
    """What a solve found, how it ended, and numbers about it."""

    behaviour: Trajectory
    code: Array
    stats: dict[str, Array]


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
    def nodes(self) -> tuple[Any, int | None]:
        """Of random quantities."""
        return self.options.quadrature, self.options.degree  # type: ignore[attr-defined]

    def check(self, arguments: Arguments) -> None:
        """Raises ParameterError for numbers that make no model."""
        check_arguments(self, arguments)

    def solve(self, arguments: Arguments, final: None = None, ticket: Any = None, well: bool = False) -> Any:
        """Solves; `final` is of grids, and nothing is told of so few steps."""
        known = all_concrete(arguments)
        build = lambda: Shared(partial(self.found, known and not well))  # noqa: E731
        found = self.program(("solve", known and not well), build)(arguments)
        return GridlessSolution(arguments, found.behaviour, found.code, found.stats, self)

    def found(self, known: bool, arguments: Arguments) -> Found:
        """The whole of a solve, inside a compiled program.

        Args:
            known: whether nothing is differentiated, and the parameters were checked.
        """
        arguments = arguments if known else once(arguments, "what ILQG finds")
        own = self._path(known, arguments) if self.problem.finite else self._steady(known, arguments)
        if known:
            return own
        sane = sound(self.numerics, lax.stop_gradient(arguments))
        code = jnp.where(sane, own.code, int(Result.nonfinite)).astype(jnp.int32)
        return Found(once(own.behaviour, "what ILQG finds"), code, own.stats)

    def _path(self, known: bool, arguments: Arguments) -> Found:
        options: Any = self.options
        make = partial(Along, self.layout, self.problem)
        along, live = make(lax.stop_gradient(arguments), self.nodes), make(arguments, self.nodes)
        start = starts.state(along.stage(0), options.start)
        guess = lambda number, x: starts.actions(along.stage(number[0]), x, options.guess)  # noqa: E731
        first = along.forward(start, lambda bounds, number, x: guess(number, x), (along.periods(),))
        ended = search.search(along, first, options.max_steps, options.tolerance)
        path = lax.stop_gradient(ended.path)
        if not known:
            path = live.moved(path, live.backward(path, 0.0))
        final = live.backward(path, 0.0, lambda stage: stage.lottery)
        trajectory = Trajectory(final.decisions.rule, final.values)
        still = lax.stop_gradient((trajectory, final.last))
        missed = gap(along, *still, along.count)
        concave = final.decisions.sound
        code = _code(ended.status == search.CONVERGED, ended.status == search.EXHAUSTED, jnp.all(concave), trajectory)
        code = jnp.where(ended.status == search.BROKEN, int(Result.nonfinite), code)
        code = jnp.where(path.crossed, int(Result.infeasible), code).astype(jnp.int32)
        convex = jnp.max(jnp.where(concave, -1, along.periods()))
        stats = {"steps": ended.steps, "rounds": ended.rounds, "slope": ended.steep, "last_not_concave": convex}
        return Found(trajectory, code, _told(stats, missed))

    def _steady(self, known: bool, arguments: Arguments) -> Found:
        options: Any = self.options
        model = stationary.Model(self.layout, self.problem, self.nodes, options.start, options.guess)
        still = lax.stop_gradient(arguments)
        ended = lax.stop_gradient(stationary.sought(model, still, options.tolerance))
        point = ended.point
        if not known:
            point = stationary.steady.moved(model.stage(arguments), point)
        decision, value, settled = stationary.with_noise(model, arguments, point, ended.curved.value)
        trajectory = Trajectory(stacked(decision.rule), stacked(value))
        along = Along(self.layout, self.problem, still, self.nodes)
        missed = gap(along, lax.stop_gradient(trajectory), None, _AHEAD)
        own = ended.curved
        reached = ended.there & own.settled & settled
        concave = own.sound & ended.peak & decision.sound
        code = _code(reached & concave, ~reached, concave, trajectory)
        unstable = ended.there & ~(own.radius < 1)
        code = jnp.where(unstable, int(Result.unstable), code).astype(jnp.int32)
        stats = {"steps": ended.steps, "starts": ended.tries, "radius": own.radius}
        stats |= {"steady": ended.there.astype(jnp.int32), "settled": settled.astype(jnp.int32)}
        return Found(trajectory, code, _told(stats, missed))

    def stage(self, arguments: Arguments, number: int) -> Stage:
        """One period."""
        return Stage(self.layout, self.problem, arguments, number, self.nodes)

    def structure(self, arguments: Arguments) -> Trajectory:
        return jax.eval_shape(partial(self.found, True), arguments).behaviour

    def explain(self, solution: GridlessSolution) -> str:
        """Why a solve failed; empty where nothing is wrong."""
        return complaints.explain(self, solution)


def _code(good: Bool[Array, ""], ran_out: Bool[Array, ""], concave: Bool[Array, ""], found: Trajectory) -> Array:
    """The code of the `Result`."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(found)]))
    code = jnp.where(ran_out, int(Result.max_steps_reached), int(Result.not_concave))
    code = jnp.where(good & concave, int(Result.successful), code)
    return jnp.where(finite | ran_out | ~concave, code, int(Result.nonfinite))


def _told(stats: dict[str, Array], missed: Gap) -> dict[str, Array]:
    return {**stats, "value_gap": missed.mean, "value_gap_error": missed.error}


