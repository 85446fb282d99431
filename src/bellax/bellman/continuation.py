"""Tomorrow's value as a function of tomorrow's state: tables averaged over integrated processes, then interpolated.

E[V(x', z') | z] = sum over z' of P(z, z') V(x', z') is taken at the nodes, so that one look-up at x' with today's z
replaces as many as z has nodes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bellax.bellman.mesh import Mesh, Point, Process, row_major
from bellax.errors import ModelError
from bellax.numerics import interpolate
from bellax.numerics.grids import Line
from bellax.numerics.interpolate import Interpolant
from bellax.numerics.scalar import where
from bellax.problem.categories import category
from bellax.problem.plan import Plan


class Value(eqx.Module):
    """V on a mesh.

    Attributes:
        levels: V at the nodes, shape of the mesh; minus infinity where nothing is feasible or pays it.
        slopes: derivative along each line, in its coordinate, one array of that shape a line; none where the
            interpolant needs none.
    """

    levels: Array
    slopes: tuple[Array, ...]


class Continuation(eqx.Module):
    """Expected value of tomorrow, given today's processes.

    Attributes:
        table: what the interpolant reads, flat, shape (n,), or more axes that hold what a node keeps.
        strides: by discrete axis, the distance of neighbours in the table; absent for a state that is averaged out.
        lines: tomorrow's lines, as the table is laid along them.
        ends: tomorrow's lines, as the mesh has them.
        discrete: what functions see of tomorrow's discrete states.
        arrivals: tomorrow's processes: what they are worth there, and what IID states are drawn from.
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

    def __call__(self, point: Point, following: Mapping[str, Array], weights: Mapping[str, Array]) -> Float[Array, ""]:
        """E[V] at tomorrow's states; NaN where a law gives what is none of its categories.

        Args:
            point: today's state.
            following: tomorrow's values of continuous and discrete states, and codes of scanned processes.
            weights: probabilities of the categories of dotted states, by name.
        """
        base = jnp.zeros((), jnp.int32)
        for name in self.plan.scanned:
            base = base + following[name] * self.strides[name]
        known = None
        for name in self.plan.discrete:
            if name not in self.plan.markov:
                place, fits = category(self.plan.states[name], following[name])
                base = base + place * self.strides[name]
                known = fits if known is None else known & fits
        integrated = {name: self.strides[name] for name in self.plan.integrated if name in self.strides}
        for name, stride in integrated.items():
            base = base + point.codes[name] * stride
        numbers = jnp.concatenate([jnp.ravel(following[name]) for name in self.plan.continuous]) if self.lines else ()
        cells = [line.locate(numbers[k]) for k, line in enumerate(self.lines)]
        dotted = list(self.plan.dotted)
        found = mixed(lambda place: self._average(place, cells, weights, dotted), base, integrated, point)
        return found if known is None else where(known, found, jnp.nan)

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


def continuation(value: Value, mesh: Mesh, today: Mapping[str, Process], interpolant: Interpolant) -> Continuation:
    """The continuation from V on tomorrow's mesh and the transitions of today's processes."""
    plan = mesh.plan
    table, lines = _table(value, mesh, interpolant)
    names = list(mesh.discrete_axes)
    for name in plan.integrated:
        axis, process = names.index(name), today[name]
        process = mesh.processes[name] if process.memoryless else process
        table = _averaged(table, process, axis)
        if process.memoryless:
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
        plan,
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
    return mixed(lambda place: find(place, cells, steps), base, strides, point)


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


def mixed(look_up: Callable[[Array], Array], base: Int[Array, ""], strides: Mapping[str, int], point: Point) -> Array:
    """A look-up at the nodes around a point's processes, mixed by how far it lies between them."""
    between = [name for name in strides if name in point.fractions]
    if not between:
        return look_up(base)
    name, rest = between[0], {other: strides[other] for other in between[1:]}
    low, high = mixed(look_up, base, rest, point), mixed(look_up, base + strides[name], rest, point)
    return low + point.fractions[name] * (high - low)


def _averaged(table: Array, process: Process, axis: int) -> Array:
    moved = jnp.moveaxis(table, axis, 0)
    averaged = jnp.tensordot(interpolate.telling(process.transition), moved, axes=1)
    return averaged if process.memoryless else jnp.moveaxis(averaged, 0, axis)
