"""Tomorrow's value where it is known pointwise, and not by a table: a function of raw states, expected over those that
are open when the decision is made.

What a regime that ends is worth is such a function, and so is what an endogenous grid finds.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.continuation import Way
from bellax.bellman.mesh import Mesh, Point, Process, landed
from bellax.numerics import interpolate
from bellax.numerics.grids import Line
from bellax.numerics.interpolants import Linear
from bellax.numerics.interpolate import Interpolant
from bellax.numerics.kinks import branch
from bellax.numerics.scalar import take, where
from bellax.problem.categories import category, close, nearest_place
from bellax.problem.period import Period
from bellax.problem.plan import Plan


class Place(eqx.Module):
    """Where a state lies on a discrete axis: the code, and how far on the way to the next node, None at a node.

    Attributes:
        nodes: how many there are on the axis, if what is known at them may be laid through by a curve.
    """

    code: Array
    fraction: Array | None = None
    nodes: int | None = eqx.field(static=True, default=None)


class Function(eqx.Module):
    """V of a period and regime, of states as functions see them.

    Attributes:
        period: of it.
    """

    period: eqx.AbstractVar[Period]

    @property
    def exact(self) -> bool:
        """Whether V is known between the nodes of processes, too."""
        return False

    def __call__(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Float[Array, ""]:
        """V at a state, and its places on the discrete axes that have some."""
        raise NotImplementedError

    def kind(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Array:
        """A whole number that changes where V has a kink or a jump, as far as that is known."""
        return jnp.zeros((), jnp.uint32)


class Ending(Function):
    """The value of a regime that ends."""

    period: Period

    @property
    def exact(self) -> bool:
        return True

    def __call__(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Float[Array, ""]:
        return self.period.terminal(states)

    def kind(self, states: Mapping[str, Array], places: Mapping[str, Place]) -> Array:
        return kind_of_end(self.period, states)


def kind_of_end(period: Period, states: Mapping[str, Array]) -> Array:
    """A whole number that changes where the value after the last decision has a kink in a continuous state."""
    total = jnp.zeros((), jnp.uint32)
    if period.plan.evaluate_terminal is None:
        return total
    for name in (name for name, space in period.plan.continuous.items() if space.shape == ()):
        along = lambda value, name=name: period.terminal({**states, name: value})  # noqa: E731
        total = total * jnp.uint32(31) + branch(along, states[name])
    return total


class Pointwise(eqx.Module):
    """Expected value of tomorrow; see `Continuation`, whose attributes are the same.

    Attributes:
        function: V.
        seen: what functions see of the categories and nodes of each state that has some.
        rows: probabilities of these, as in `continuation`.
        lawful: processes whose nodes these are tomorrow, so that a state between them brings its own row.
        discrete, arrivals, ends, ways: as of a `Continuation`.
    """

    function: Function
    seen: dict[str, Array]
    rows: dict[str, Array]
    discrete: dict[str, Array]
    arrivals: dict[str, Process]
    ends: tuple[Line, ...]
    ways: dict[str, Way] = eqx.field(static=True)
    interpolant: Interpolant = eqx.field(static=True, default=Linear())
    lawful: frozenset[str] = eqx.field(static=True, default=frozenset())

    @property
    def plan(self) -> Plan:
        """Of the regime."""
        return self.function.period.plan

    def __call__(self, point: Point, following: Mapping[str, Array], weights: Mapping[str, Array]) -> Float[Array, ""]:
        """E[V] at tomorrow's states; see `Continuation`."""

        def at(states: dict[str, Array], places: dict[str, Place]) -> Array:
            value = self.function(states, places)
            return where(value == -jnp.inf, interpolate.barrier(value.dtype), value)

        def mean(chances: Array, values: Array) -> Array:
            return jnp.dot(interpolate.telling(chances), values)

        return self._over(point, following, weights, at, mean, jnp.nan)

    def kind(self, point: Point, following: Mapping[str, Array], weights: Mapping[str, Array]) -> Array:
        """A whole number that changes where V of some state that may follow has a kink or a jump."""

        def mixed(chances: Array, kinds: Array) -> Array:
            return jnp.sum(jnp.where(chances > 0, kinds * odd(kinds.shape[0]), 0), dtype=jnp.uint32)

        return self._over(point, following, weights, self.function.kind, mixed, 0)

    def places(
        self, point: Point, following: Mapping[str, Array], weights: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Place], dict[str, tuple[Array, Array, Place]], Array]:
        """Tomorrow's states that are known, and their places; of those that are open the probabilities, values and
        places; and whether a law gives no category that its state does not have."""
        plan, known = self.plan, jnp.ones((), bool)
        states = {name: _shaped(following[name], plan, name) for name in plan.continuous}
        places: dict[str, Place] = {}
        open_: dict[str, tuple[Array, Array, Place]] = {}
        for name, way in self.ways.items():
            nodes = self.seen[name]
            if way is Way.coded:
                states[name], places[name] = take(nodes, following[name]), Place(following[name])
            elif way is Way.between:
                states[name] = following[name]
                process = self.arrivals[name]
                places[name] = Place(*process.place(following[name]), process.count if process.law else None)
            elif way is Way.category:
                code, fits = self._category(name, following[name])
                states[name], places[name] = take(nodes, code), Place(code)
                known = known & fits
            elif way is Way.drawn:
                codes, fractions = jax.vmap(self.arrivals[name].place)(following[name])
                open_[name] = weights[name], following[name], Place(codes, fractions)
            else:
                own = {name: point.rows[name] for name in self.lawful & point.rows.keys()}
                chances = weights[name] if way is Way.dotted else own.get(name, _row(self.rows[name], point, name))
                open_[name] = chances, nodes, Place(jnp.arange(nodes.shape[0], dtype=jnp.int32))
        return states, places, open_, known

    def _over(
        self,
        point: Point,
        following: Mapping[str, Array],
        weights: Mapping[str, Array],
        at: Callable[..., Array],
        mean: Callable[[Array, Array], Array],
        unknown: Any,
    ) -> Array:
        states, places, open_, known = self.places(point, following, weights)
        for name in (name for name, way in self.ways.items() if way is Way.drawn and not self.function.exact):
            chances, values, _ = open_[name]
            found = landed(self.arrivals[name], values, chances, closely=False)
            open_[name] = found, self.seen[name], Place(jnp.arange(found.shape[0], dtype=jnp.int32))

        def average(states: dict[str, Array], places: dict[str, Place], rest: list[str]) -> Array:
            if not rest:
                return at(states, places)
            name, others = rest[0], rest[1:]
            chances, values, along = open_[name]
            each = lambda value, place: average({**states, name: value}, {**places, name: place}, others)  # noqa: E731
            return mean(chances, jax.vmap(each)(values, along))

        return where(known, average(states, places, list(open_)), unknown)

    def _category(self, name: str, value: Array) -> tuple[Array, Array]:
        values = self.seen[name]
        if name in self.plan.discrete:
            return category(self.plan.states[name], value)
        place = nearest_place(values, value)
        return place, jnp.all(close(value, take(values, place)))


def pointwise(
    function: Function,
    mesh: Mesh,
    ways: dict[str, Way],
    rows: dict[str, Array],
    seen: dict[str, Array] | None = None,
    lawful: frozenset[str] = frozenset(),
) -> Pointwise:
    """The expected value of what is known pointwise.

    Args:
        mesh: of tomorrow.
        ways, rows: as in `continuation`.
        seen: what functions see of nodes, if not those of the mesh.
        lawful: see `Pointwise`.
    """
    if seen is None:
        seen = {**mesh.discrete, **{name: process.values for name, process in mesh.processes.items()}}
        seen = {name: seen[name] for name in ways}
    return Pointwise(function, seen, dict(rows), mesh.discrete, mesh.processes, mesh.lines, ways, lawful=lawful)


def located(point: Point) -> dict[str, Place]:
    """The places of a state on the discrete axes."""
    counts = {name: row.shape[0] for name, row in point.rows.items()}
    return {name: Place(code, point.fractions.get(name), counts.get(name)) for name, code in point.codes.items()}


def odd(count: int) -> Array:
    """Different odd whole numbers, so that sums of products with them tell which factor has changed."""
    return (2 * jnp.arange(count, dtype=jnp.uint32) + 1) * jnp.uint32(2654435761)


def _row(rows: Array, point: Point, name: str) -> Array:
    """Today's row of a table, between two nodes a mixture; the only row where there is one."""
    if rows.ndim == 1:
        return rows
    row = take(rows, point.codes[name])
    if name not in point.fractions:
        return row
    return row + point.fractions[name] * (take(rows, point.codes[name] + 1) - row)


def _shaped(value: Any, plan: Plan, name: str) -> Array:
    return jnp.broadcast_to(jnp.asarray(value).astype(jnp.result_type(float)), plan.continuous[name].shape)
