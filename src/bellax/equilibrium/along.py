"""The search for a path of prices: what happens along some path, and Broyden's method around it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.equilibrium.asked import Asked
from bellax.numerics import loops, sparse
from bellax.numerics.shared import Shared
from bellax.population.density import Density
from bellax.solution.flowing import FlowSolution
from bellax.solution.solution import Result
from bellax.solution.table import Table
from bellax.solvers.continuous.prepared import Later, PreparedFlow


class Along(NamedTuple):
    """What happens along a path of unknowns: the fields of `TransitionPath`, residuals of shape (t, n)."""

    residuals: Array
    aggregates: dict[str, Array]
    solutions: FlowSolution
    mass: Array
    held: Array


class Known(NamedTuple):
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


class Walk(NamedTuple):
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


def far(state: Walk) -> Array:
    """How much unknowns would still move, relative to 1 + abs(unknown)."""
    return jnp.max(jnp.abs(state.move) / (1 + jnp.abs(state.x)), initial=0.0)


class PathSearch:
    """The path of unknowns; compiled programs."""

    def __init__(self, setting: PreparedFlow, asked: Asked, tolerance: float, max_steps: int) -> None:
        self.setting, self.asked, self.tolerance, self.max_steps = setting, asked, tolerance, max_steps
        self.evaluate = Shared(self._along)
        self.slopes = Shared(lambda known, x: jax.jacfwd(lambda x: self._along(known, x).residuals[:-1])(x))
        self._told = Shared(self._after)
        self._done = Shared(self._over)

    def run(self, known: Known, sure: bool) -> Walk:
        """The path of unknowns but the last, shape (t-1, n).

        Args:
            sure: whether nothing is traced.
        """
        count = known.steps.shape[0]
        x = jnp.broadcast_to(known.unknowns, (count, known.unknowns.size))
        zero = jnp.zeros((), jnp.int32)
        if not self.asked.unknowns:
            return Walk(zero + 1, x, x, jnp.zeros((0, 0)), jnp.ones(()))
        jacobian = self.slopes(known, x).reshape(x.size, x.size)
        left = self.evaluate(known, x).residuals[:-1]
        begin = Walk(zero + 1, x, left, jnp.linalg.inv(jacobian), jnp.ones(()))

        def step(state: Walk) -> Walk:
            there = state.x + state.share * state.move
            return self._told(state, self.evaluate(known, there).residuals[:-1])

        return loops.until_known(self._done, step, begin, sure)

    def _after(self, state: Walk, left: Array) -> Walk:
        move = state.share * state.move
        change = (left - state.left).ravel()
        better = jnp.linalg.norm(left) < jnp.linalg.norm(state.left)
        # Broyden's good update of the inverse
        along = state.inverse @ change
        weight = move.ravel() @ state.inverse
        updated = state.inverse + jnp.outer(move.ravel() - along, weight) / jnp.dot(move.ravel(), along)
        fine = jnp.all(jnp.isfinite(updated))
        pick = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        return Walk(
            state.steps + 1,
            pick(state.x + move, state.x),
            pick(left, state.left),
            jnp.where(fine, updated, state.inverse),
            pick(1.0, 0.5 * state.share),
        )

    def _over(self, state: Walk) -> Array:
        return ~(far(state) > self.tolerance) | (state.share < 1e-4) | (state.steps >= self.max_steps)

    def _along(self, known: Known, x: Array) -> Along:
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
            scheme = setting.scheme(solution.arguments)
            carried = scheme.carried(solution.values.marginals, solution.values.curvatures)
            after = sparse.solve(carried, 1 / step, mass / step, transposed=True)
            return after, (mass, scheme.held(carried), means, jnp.stack(zeros) if zeros else jnp.zeros(0))

        steps = jnp.concatenate([known.steps, known.steps[-1:]])
        _, (mass, held, means, residuals) = lax.scan(forth, known.mass, (solutions, known.others, whole, steps))
        good = (solutions.code == int(Result.successful))[:, None]
        return Along(jnp.where(good, residuals, jnp.nan), means, solutions, mass, held)
