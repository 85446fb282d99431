"""The program of a certificate: residual, escape and Euler errors over a batch of points in every sampled period."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bellax.bellman.chunks import over_batch
from bellax.bellman.decided import averaged
from bellax.bellman.discretisation import Discretisation, Values
from bellax.bellman.maximisers.maximum import Optimum, cells, dotted_size
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.certify.branches import branches
from bellax.certify.escape import Escape, escape
from bellax.certify.euler import Euler, euler, unavailable
from bellax.certify.residuals import residual
from bellax.certify.scan import spread, width
from bellax.certify.stage import Stage, finer, stage
from bellax.problem.period import combinations
from bellax.problem.problem import Arguments, Problem

MOST_PERIODS = 20
"""Periods that are looked at, at most: first, last, and equally spaced between them."""

_EULER_QUERIES = 10_000  # states of tomorrow at which the policy is asked, for all Euler errors together

States = dict[str, Array]


class Sample(NamedTuple):
    """Where a certificate looks.

    Attributes:
        periods: shape (t,).
        codes: by discrete axis of the mesh, the category or node, shape (t, n).
        shares: how far along each line, in its coordinate, shape (t, n, d).
        shifts: by which the actions that are tried are moved, in [0, 1), shape (t, n).
    """

    periods: Int[Array, "t"]
    codes: dict[str, Int[Array, "t n"]]
    shares: Float[Array, "t n d"]
    shifts: Float[Array, "t n"]


class Found(NamedTuple):
    """What was found, along periods and points; Euler errors at the first points of every period only."""

    states: dict[str, Array]
    error: Float[Array, "t n"]
    missed: Float[Array, "t n"]
    value: Float[Array, "t n"]
    stop: Array
    escape: Escape
    euler: Euler | None


def sample(problem: Problem, axes: dict[str, int], points: int, seed: int, active: np.ndarray | None = None) -> Sample:
    """Points of low discrepancy along the lines, categories and nodes of processes in turn.

    Args:
        axes: lengths of the discrete axes of the mesh.
        points: about how many, over all periods.
        active: the periods to choose from; all of them by default.
    """
    clock, dimensions = problem.clock, len(problem.plan.lines)
    active = np.arange(clock.count if clock.finite else 1) if active is None else active
    count = min(len(active), MOST_PERIODS)
    periods = active[np.linspace(0, len(active) - 1, count).round().astype(int)]
    each = -(-points // count) if axes or dimensions else 1
    index = np.arange(count * each)
    lengths = tuple(axes.values())
    many = math.prod(lengths) > each  # not every node has its turn: they are drawn by one more dimension
    draws = spread(index, dimensions + many + 1, np.random.default_rng(seed).random(dimensions + many + 1))
    shares, shifts = draws[:, :-1], draws[:, -1].reshape(count, each)
    place = (shares[:, -1] * math.prod(lengths)).astype(int) if many else index % math.prod(lengths)
    places = np.unravel_index(place, lengths) if axes else ()
    shares = shares[:, :dimensions]
    codes = {name: jnp.asarray(place.reshape(count, each), jnp.int32) for name, place in zip(axes, places, strict=True)}
    where = jnp.asarray(shares.reshape(count, each, dimensions), float)
    return Sample(jnp.asarray(periods, jnp.int32), codes, where, jnp.asarray(shifts, float))


def examination(numerics: Discretisation) -> Callable[[Arguments, Values, Sample], Found]:
    """A program that looks at every point of a sample."""
    with_euler = unavailable(numerics) is None

    def run(arguments: Arguments, values: Values, looked: Sample) -> Found:
        def at_period(entry: Sample) -> Found:
            asked, points = asked_in(numerics, arguments, values, entry)
            size = _branches(asked)
            some = _some(looked, size)
            optima, tomorrow = _optima(asked, points, size, some if with_euler else 0)
            found = _over(asked, lambda entry: _look(asked, *entry), (points, optima, entry.shifts), _scanned(numerics))
            if not with_euler:
                return found
            chosen = jax.tree.map(lambda leaf: leaf[:some], (points, optima.decision))
            each = size * dotted_size(numerics.plan)
            errors = _over(asked, lambda entry: _euler(asked, *entry), (*chosen, tomorrow), each)
            return found._replace(euler=errors)

        return jax.lax.map(at_period, looked)

    return run


def looking(numerics: Discretisation) -> Callable[[Arguments, Values, Sample, Optimum], tuple[Found, Any]]:
    """A program that looks at every point of a sample, of which the optima are known.

    Its second answer is where decisions at the first points of each period lead: by regime the states by name, and
    under the name '' their probabilities, shape (t, n, q, c).
    """

    def run(arguments: Arguments, values: Values, looked: Sample, optima: Optimum) -> tuple[Found, Any]:
        def at_period(entry: tuple[Sample, Optimum]) -> tuple[Found, Any]:
            here, decided = entry
            asked, points = asked_in(numerics, arguments, values, here)
            found = _over(asked, lambda entry: _look(asked, *entry), (points, decided, here.shifts), _scanned(numerics))
            leads = lambda pair: _leads(asked, *pair)  # noqa: E731
            one = jax.tree.map(lambda leaf: leaf[0], (points, decided.decision))
            size = sum(own[""].size for own in jax.eval_shape(leads, one).values())
            chosen = jax.tree.map(lambda leaf: leaf[: _some(looked, size)], (points, decided.decision))
            return found, _over(asked, leads, chosen, size)

        return jax.lax.map(at_period, (looked, optima))

    return run


def scanning(numerics: Discretisation) -> Callable[[Arguments, Values, Array, States, Array], tuple[Array, ...]]:
    """A program for what a denser scan of actions gains at states, on the grid or beyond, the residual of Bellman's
    equation, NaN where one side alone is infinite, V and the discount there, shape (t, n).

    Its last three arguments are the periods, the states by name along periods and points, and the shifts of the scan.
    """

    def run(arguments: Arguments, values: Values, periods: Array, states: States, shifts: Array) -> tuple[Array, ...]:
        def at_period(entry: tuple[Array, States, Array]) -> tuple[Array, ...]:
            period, here, shift = entry
            asked = stage(numerics, arguments, values, period, finer(numerics, numerics.shock_nodes(arguments)))
            points = jax.vmap(lambda one: asked.mesh.locate(one, remember=True))(here)
            optima, _ = _optima(asked, points, 0, 0)

            def look(given: tuple[Point, Optimum, Array]) -> tuple[Array, ...]:
                point, optimum, shift = given
                found = residual(asked, point, optimum, shift)
                actions, _ = asked.objective.actions(point, optimum.decision)
                weights, outcome = asked.objective.outcomes(point, actions)
                return found.missed, found.error, found.value, jnp.sum(weights * outcome.discount)

            return _over(asked, look, (points, optima, shift), _scanned(numerics))

        return jax.lax.map(at_period, (periods, states, shifts))

    return run


def points_of(numerics: Discretisation) -> Callable[[Arguments, Sample], dict[str, Array]]:
    """A program for the states of a sample, by name."""

    def run(arguments: Arguments, looked: Sample) -> dict[str, Array]:
        def at_period(entry: Sample) -> dict[str, Array]:
            mesh = numerics.mesh(arguments, entry.periods)
            return jax.vmap(lambda c, y: _point(mesh, c, y))(entry.codes, entry.shares).values

        return jax.lax.map(at_period, looked)

    return run


def asked_in(numerics: Discretisation, arguments: Arguments, values: Values, entry: Sample) -> tuple[Stage, Point]:
    """What is asked in one period of a sample, and at which points."""
    counts = finer(numerics, numerics.shock_nodes(arguments))
    asked = stage(numerics, arguments, values, entry.periods, counts)
    return asked, jax.vmap(lambda c, y: _point(asked.mesh, c, y))(entry.codes, entry.shares)


def _some(looked: Sample, size: int) -> int:
    """At how many points of a period Euler errors are taken, each of which leads to so many states."""
    periods, points = looked.shifts.shape
    return min(points, max(1, _EULER_QUERIES // (size * periods)))


def _leads(asked: Stage, point: Point, decision: Decision) -> dict[str, dict[str, Array]]:
    """Where a decision may lead, by regime; see `looking`."""
    actions, _ = asked.objective.actions(point, decision)
    _, _, found = branches(asked, point, actions)
    return {regime: {"": own.chances, **own.points.values} for regime, own in found.items()}


def _optima(asked: Stage, points: Point, size: int, some: int) -> tuple[Optimum, Optimum | None]:
    """The optima at points, and tomorrow's at each of the `size` states to which those of the first `some` lead.

    Today and tomorrow take turns at one search, which is most of what there is to compile: one round of as many states
    for the points, and as many more as it takes for where they lead.
    """
    if not jax.tree.leaves(points):  # no state at all: one point, from which all is reached
        optimum = jax.tree.map(lambda leaf: leaf[None], asked.decide(asked.objective, points))
        return optimum, None
    count = jax.tree.leaves(points)[0].shape[0]
    rounds = -(-size * some // count)

    def search(objective: Objective, states: Point) -> Optimum:
        each = cells(asked.numerics.maximiser, asked.numerics.plan)
        return _over(asked, lambda point: asked.decide(objective, point), states, each)

    if rounds == 0:
        return search(asked.objective, points), None
    room = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (1 + rounds, *leaf.shape)), points)

    def reached(optima: Optimum) -> Point:
        chosen = jax.tree.map(lambda leaf: leaf[:some], (points, optima.decision))
        found = _over(asked, lambda pair: _reached(asked, *pair), chosen, size * dotted_size(asked.numerics.plan))
        places = jnp.arange(rounds * count, dtype=jnp.int32) % (some * size)

        def filled(leaf: Array, new: Array) -> Array:
            rows = new.reshape(some * size, *new.shape[2:])[places].astype(leaf.dtype)
            return leaf.at[1:].set(rows.reshape(rounds, count, *rows.shape[1:]))

        return jax.tree.map(filled, room, found)

    def turn(states: Point, turns: Array) -> tuple[Point, Optimum]:
        first = turns == 0
        problem = jax.tree.map(lambda now, then: jnp.where(first, now, then), asked.objective, asked.following)
        optima = search(problem, jax.tree.map(lambda leaf: leaf[turns], states))
        return jax.lax.cond(first, reached, lambda _: states, optima), optima

    def cut(leaf: Array) -> Array:
        rest = leaf.shape[2:]
        return leaf[1:].reshape(rounds * count, *rest)[: some * size].reshape(some, size, *rest)

    _, optima = jax.lax.scan(turn, room, jnp.arange(1 + rounds, dtype=jnp.int32))
    return jax.tree.map(lambda leaf: leaf[0], optima), jax.tree.map(cut, optima)


def _reached(asked: Stage, point: Point, decision: Decision) -> Point:
    """Where an action may lead, along one axis."""
    actions, _ = asked.objective.actions(point, decision)
    _, _, found = branches(asked, point, actions)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found[""].points)


def _euler(asked: Stage, point: Point, decision: Decision, tomorrow: Optimum) -> Euler:
    """Euler errors of a model of one regime, given the optima where a decision may lead, along one axis."""

    def value(points: Point) -> Array:
        shape = next(iter(points.values.values())).shape[:2]
        optima = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), tomorrow)
        return jax.vmap(jax.vmap(asked.value_next))(points, optima)

    return euler(asked, point, decision, {"": value})


def _look(asked: Stage, point: Point, optimum: Optimum, shift: Array) -> Found:
    found = residual(asked, point, optimum, shift)
    left = averaged(lambda decision: escape(asked, point, decision), asked.objective, point, optimum)
    left = jax.tree.map(lambda leaf: jnp.where(found.stop, 0.0, leaf), left)
    return Found(point.values, found.error, found.missed, found.value, found.stop, left, None)


def _point(mesh: Mesh, codes: dict[str, Array], shares: Array) -> Point:
    lines = mesh.lines
    ends = [(line.coordinates[0], line.coordinates[-1]) for line in lines]
    numbers = [first + shares[k] * (last - first) for k, (first, last) in enumerate(ends)]
    return mesh.point(codes, jnp.stack(numbers) if numbers else jnp.zeros(0))


def _over(asked: Stage, function: Callable[[Any], Any], batch: Any, each: int) -> Any:
    """`function` of every entry of a batch, in chunks that fit in memory; so many numbers an entry."""
    return over_batch(function, batch, each, asked.numerics.memory)


def _scanned(numerics: Discretisation) -> int:
    """Numbers that the scan of the actions of one point needs at once."""
    return width(numerics.plan) * len(combinations(numerics.plan)) * dotted_size(numerics.plan)


def _branches(asked: Stage) -> int:
    """How many states of tomorrow one action may lead to."""
    plan, mesh = asked.numerics.plan, asked.mesh_next
    sizes = [mesh.discrete_axes[name] for name in (*plan.scanned, *plan.integrated, *plan.dotted)]
    sizes += [rule.weights.shape[0] for rule in asked.fine.shock_nodes.values()]
    return int(np.prod(sizes, dtype=int))
