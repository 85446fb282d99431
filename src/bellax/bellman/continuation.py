"""Tomorrow's value as a function of tomorrow's state: tables averaged over integrated processes, then interpolated.

E[V(x', z') | z] = sum over z' of P(z, z') V(x', z') is taken at the nodes, so that one look-up at x' with today's z
replaces as many as z has nodes.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bellax.bellman.mesh import Mesh, Point, Process, landed, row_major
from bellax.errors import ModelError
from bellax.model.spaces import Continuous
from bellax.numerics import interpolate
from bellax.numerics.grids import Line
from bellax.numerics.interpolate import Interpolant
from bellax.numerics.pieces import Pieces
from bellax.numerics.scalar import take, where
from bellax.problem.categories import category, close, nearest_place
from bellax.problem.plan import Plan


class Value(eqx.Module):
    """V on a mesh.

    Attributes:
        levels: V at the nodes, shape of the mesh; minus infinity where nothing is feasible or pays it.
        slopes: derivative along each line, in its coordinate, one array of that shape a line; none where the
            interpolant needs none.
        pieces: where V is known between the nodes by itself, of an endogenous grid; None where it is interpolated.
    """

    levels: Array
    slopes: tuple[Array, ...]
    pieces: Pieces | None = None


def lifted(value: Value, by: Array) -> Value:
    """V larger by so much everywhere."""
    pieces = None if value.pieces is None else value.pieces.lifted(by)
    return Value(value.levels + by, value.slopes, pieces)


class Way(enum.Enum):
    """How the place of tomorrow's state along a discrete axis of V is found.

    Attributes:
        coded: its code is known.
        category: a law gives what functions see of it, which must be one of the categories.
        between: a law gives a number, which may lie between two nodes.
        dotted: the probabilities of its categories weigh their values.
        drawn: a distribution gives numbers and their probabilities, which weigh the values between two nodes.
        integrated: V is averaged over it at the nodes, by the row of today's node of the process.
        averaged: V is averaged over it at the nodes, in one way for every state.
    """

    coded = enum.auto()
    category = enum.auto()
    between = enum.auto()
    dotted = enum.auto()
    drawn = enum.auto()
    integrated = enum.auto()
    averaged = enum.auto()


class Continuation(eqx.Module):
    """Expected value of tomorrow, given today's processes.

    Attributes:
        table: what the interpolant reads, flat, shape (n,), or more axes that hold what a node keeps.
        strides: by discrete axis, the distance of neighbours in the table; absent for a state that is averaged out.
        lines: tomorrow's lines, as the table is laid along them.
        ends: tomorrow's lines, as the mesh has them.
        discrete: what functions see of tomorrow's discrete states.
        arrivals: tomorrow's processes: what they are worth there, and what IID states are drawn from.
        ways: how the place along each discrete axis is found.
        between: the same for states between the nodes of processes with a `Law`, which bring their own rows: not
            averaged over these. None where there is no such process.
        carried: nodes tomorrow of those of them that go on in another regime, where they may have others.
        own: those processes; another regime may have one of the same name that begins anew.
    """

    table: Float[Array, "n ..."]
    lines: tuple[Line, ...]
    ends: tuple[Line, ...]
    discrete: dict[str, Array]
    arrivals: dict[str, Process]
    strides: dict[str, int] = eqx.field(static=True)
    steps: tuple[int, ...] = eqx.field(static=True)
    interpolant: Interpolant = eqx.field(static=True)
    plan: Plan = eqx.field(static=True)
    ways: dict[str, Way] = eqx.field(static=True)
    between: "Continuation | None" = None
    carried: dict[str, Array] = eqx.field(default_factory=dict)
    own: frozenset[str] = eqx.field(static=True, default=frozenset())

    def __call__(self, point: Point, following: Mapping[str, Array], weights: Mapping[str, Array]) -> Float[Array, ""]:
        """E[V] at tomorrow's states; NaN where a law gives what is none of its categories.

        Args:
            point: today's state.
            following: tomorrow's values of states, and the codes of those that are `coded`.
            weights: probabilities of the categories of dotted states, and of the values of drawn ones, by name.
        """
        if self.between is not None and point.rows:
            rows = {name: row for name, row in point.rows.items() if name in self.own}
            return self.between(point, {**following, **self.carried}, {**weights, **rows})
        base, known = jnp.zeros((), jnp.int32), None
        fractions: dict[str, Array] = {}
        mixing: dict[str, int] = {}
        for name, way in self.ways.items():
            if way is Way.coded:
                base = base + following[name] * self.strides[name]
            elif way is Way.category:
                place, fits = self._category(name, following[name])
                base = base + place * self.strides[name]
                known = fits if known is None else known & fits
            elif way is Way.between:
                place, fraction = self.arrivals[name].place(following[name])
                inside = self.arrivals[name].reaches(following[name])
                known = inside if known is None else known & inside
                base = base + place * self.strides[name]
                sides = self.arrivals[name].sides(name, self.strides[name], fraction)
                mixing, fractions = mixing | sides[0], fractions | sides[1]
            elif way is Way.drawn:
                chances = landed(self.arrivals[name], following[name], weights[name], closely=False)
                weights = {**weights, name: chances}
            elif way is Way.integrated:
                base = base + point.codes[name] * self.strides[name]
                if name in point.fractions:
                    sides = self.arrivals[name].sides(name, self.strides[name], point.fractions[name])
                    mixing, fractions = mixing | sides[0], fractions | sides[1]
        numbers = [jnp.ravel(_as_numbers(following[name], space)) for name, space in self.plan.continuous.items()]
        joined = jnp.concatenate(numbers) if self.lines else ()
        cells = [line.locate(joined[k]) for k, line in enumerate(self.lines)]
        dotted = [name for name, way in self.ways.items() if way in (Way.dotted, Way.drawn)]
        found = mixed(lambda place: self._average(place, cells, weights, dotted), base, mixing, fractions)
        return found if known is None else where(known, found, jnp.nan)

    def _category(self, name: str, value: Array) -> tuple[Int[Array, ""], Array]:
        if name not in self.arrivals:
            return category(self.plan.states[name], value)
        values = self.arrivals[name].values
        place = nearest_place(values, value)
        return place, jnp.all(close(value, take(values, place)))

    def _average(
        self, base: Array, cells: Sequence[Any], weights: Mapping[str, Array], dotted: list[str]
    ) -> Float[Array, ""]:
        if not dotted:
            return self._look_up(base, cells)
        name, rest = dotted[0], dotted[1:]
        codes = jnp.arange(weights[name].shape[0], dtype=jnp.int32)
        values = jax.vmap(lambda j: self._average(base + j * self.strides[name], cells, weights, rest))(codes)
        return jnp.dot(interpolate.telling(weights[name]), values)

    def _look_up(self, base: Int[Array, ""], cells: Sequence[Any]) -> Float[Array, ""]:
        return _look_up(self.interpolant, self.table, base, cells, self.steps)


def _as_numbers(value: Array, space: Continuous) -> Array:
    return jnp.broadcast_to(jnp.asarray(value).astype(jnp.result_type(float)), space.shape)


def own_ways(plan: Plan) -> dict[str, Way]:
    """The ways of a regime into itself."""
    ways = dict.fromkeys(plan.scanned, Way.coded)
    ways |= {name: Way.category for name in plan.discrete if name not in plan.markov}
    ways |= dict.fromkeys(plan.integrated, Way.integrated)
    return ways | dict.fromkeys(plan.dotted, Way.dotted)


def continuation(
    value: Value,
    mesh: Mesh,
    ways: dict[str, Way],
    rows: Mapping[str, Array],
    interpolant: Interpolant,
    lawful: frozenset[str] = frozenset(),
    carried: Mapping[str, Array] = MappingProxyType({}),
) -> Continuation:
    """The continuation from V on tomorrow's mesh.

    Args:
        ways: how the place along each discrete axis is found.
        rows: of what is integrated the probabilities of tomorrow's nodes, one row for each of today's; of what is
            averaged the one row.
        lawful: processes of which a state between nodes brings its own row.
        carried: of those that come from another regime, the nodes that the row is of.
    """
    table, lines = _table(value, mesh, interpolant)
    own = lawful & {name for name, way in ways.items() if way is Way.integrated}
    between = None
    if own:
        weighed = ways | {name: Way.drawn if name in carried else Way.dotted for name in own}
        between = _averages(table, lines, mesh, weighed, rows, interpolant)
    nodes = {name: carried[name] for name in own & carried.keys()}
    return replace(
        _averages(table, lines, mesh, ways, rows, interpolant), between=between, carried=nodes, own=frozenset(own)
    )


def _averages(
    table: Array,
    lines: tuple[Line, ...],
    mesh: Mesh,
    ways: dict[str, Way],
    rows: Mapping[str, Array],
    interpolant: Interpolant,
) -> Continuation:
    """The continuation from the table of an interpolant."""
    names = list(mesh.discrete_axes)
    for name in [name for name in names if ways[name] in (Way.integrated, Way.averaged)]:
        axis = names.index(name)
        table = _averaged(table, rows[name], axis)
        if rows[name].ndim == 1:
            names.remove(name)
    lead = len(names)
    dimensions = lead + len(lines)
    steps = row_major(table.shape[:dimensions])
    strides = dict(zip(names, steps[:lead], strict=True))
    return Continuation(
        _flat(table, dimensions),
        lines,
        mesh.lines,
        mesh.discrete,
        mesh.processes,
        strides,
        tuple(steps[lead:]),
        interpolant,
        mesh.plan,
        {name: way for name, way in ways.items() if name in strides},
    )


def interpolated(value: Value, mesh: Mesh, interpolant: Interpolant, point: Point) -> Float[Array, ""]:
    """V between the nodes of its own mesh: nothing is averaged, and processes are mixed where they lie between nodes.

    Args:
        point: a state that `mesh.locate(..., remember=True)` gave.
    """
    table, lines = _table(value, mesh, interpolant)
    flat = _flat(table, len(mesh.shape))
    find = partial(_look_up, interpolant, flat)
    found = over_cells(replace(mesh, lines=lines), point, find)
    return jnp.where(interpolate.is_barrier(found), -jnp.inf, found)


def over_cells(mesh: Mesh, point: Point, find: Callable[..., Array]) -> Array:
    """A look-up on today's mesh at a located point, mixed where processes lie between nodes.

    Args:
        find: of a place in the flat table, the cell on each line and the steps along them.
    """
    strides, steps = mesh.strides
    numbers = [jnp.ravel(point.values[name]) for name in mesh.plan.continuous]
    joined = jnp.concatenate(numbers) if numbers else jnp.zeros(0)
    cells = [line.locate(joined[k]) for k, line in enumerate(mesh.lines)]
    base = jnp.zeros((), jnp.int32)
    for name, stride in strides.items():
        base = base + point.codes[name] * stride
    mixing: dict[str, int] = {}
    fractions: dict[str, Array] = {}
    for name, fraction in point.fractions.items():
        sides = mesh.processes[name].sides(name, strides[name], fraction)
        mixing, fractions = mixing | sides[0], fractions | sides[1]
    return mixed(lambda place: find(place, cells, steps), base, mixing, fractions)


def _table(value: Value, mesh: Mesh, interpolant: Interpolant) -> tuple[Array, tuple[Line, ...]]:
    """The table that an interpolant reads, a barrier in it for minus infinity, and the lines along which it lies."""
    levels = jnp.where(value.levels == -jnp.inf, interpolate.barrier(value.levels.dtype), value.levels)
    table, lines = interpolant.tables(levels, value.slopes, mesh.lines, mesh.rough)
    needed = (*mesh.discrete_axes.values(), *(line.count for line in lines))
    if len(lines) != len(mesh.lines) or table.shape[: len(needed)] != needed:
        raise ModelError(
            f"{type(interpolant).__name__}.tables gives a table of shape {table.shape}, and V has shape "
            f"{levels.shape} on {len(mesh.lines)} lines, {len(lines)} of which come back: the table needs {needed} "
            "first, and then only axes of what a node keeps."
        )
    return table, lines


def _look_up(
    interpolant: Interpolant, table: Array, base: Int[Array, ""], cells: Sequence[Any], steps: Sequence[int]
) -> Float[Array, ""]:
    """The interpolant at one point of a flat table."""
    found = interpolant.look_up(table, base, cells, steps)
    if jnp.shape(found) != ():
        raise ModelError(
            f"{type(interpolant).__name__}.look_up gives an array of shape {jnp.shape(found)} at one point; give one "
            "number: V there."
        )
    return found


def _flat(table: Array, dimensions: int) -> Array:
    """A table with the axes of its mesh as one."""
    return table.reshape(-1, *table.shape[dimensions:])


def mixed(
    look_up: Callable[[Array], Array], base: Array, strides: Mapping[str, int], fractions: Mapping[str, Array]
) -> Array:
    """A look-up at the nodes around a point's processes, mixed by how far it lies between them."""
    inside = [name for name in strides if name in fractions]
    if not inside:
        return look_up(base)
    name, rest = inside[0], {other: strides[other] for other in inside[1:]}
    low, high = mixed(look_up, base, rest, fractions), mixed(look_up, base + strides[name], rest, fractions)
    return low + fractions[name] * (high - low)


def _averaged(table: Array, rows: Array, axis: int) -> Array:
    averaged = jnp.tensordot(interpolate.telling(rows), jnp.moveaxis(table, axis, 0), axes=1)
    return averaged if rows.ndim == 1 else jnp.moveaxis(averaged, 0, axis)
