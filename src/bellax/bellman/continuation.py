"""Tomorrow's value as a function of tomorrow's state: tables averaged over integrated processes, then interpolated.

E[V(x', z') | z] = sum over z' of P(z, z') V(x', z') is taken at the nodes, so that one look-up at x' with today's z
replaces as many as z has nodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bellax.bellman.mesh import Mesh, Point, Process, encode
from bellax.bellman.plan import Plan
from bellax.numerics import interpolate
from bellax.numerics.grids import Line
from bellax.numerics.interpolate import Hermite, Interpolant


class Value(eqx.Module):
    """V on a mesh.

    Attributes:
        levels: V at the nodes, shape of the mesh; minus infinity where nothing is feasible or pays it.
        slopes: derivative along each line, in its coordinate, one array of that shape a line; none for `Linear`.
    """

    levels: Array
    slopes: tuple[Array, ...]


class Continuation(eqx.Module):
    """Expected value of tomorrow, given today's processes.

    Attributes:
        tables: flat tables of the interpolant.
        strides: by discrete axis, the distance of neighbours in a flat table; absent for a state that is averaged out.
        lines: tomorrow's lines.
        discrete: what functions see of tomorrow's discrete states.
    """

    tables: tuple[Float[Array, "n"], ...]
    lines: tuple[Line, ...]
    discrete: dict[str, Array]
    strides: dict[str, int] = eqx.field(static=True)
    steps: tuple[int, ...] = eqx.field(static=True)
    interpolant: Interpolant = eqx.field(static=True)
    plan: Plan = eqx.field(static=True)

    def __call__(self, point: Point, following: Mapping[str, Array], weights: Mapping[str, Array]) -> Float[Array, ""]:
        """E[V] at tomorrow's states.

        Args:
            point: today's state.
            following: tomorrow's values of continuous and discrete states, and codes of scanned processes.
            weights: probabilities of the categories of dotted states, by name.
        """
        base = jnp.zeros((), jnp.int32)
        for name in self.plan.scanned:
            base = base + following[name] * self.strides[name]
        for name in self.plan.discrete:
            if name not in self.plan.markov:
                base = base + encode(self.discrete[name], following[name]) * self.strides[name]
        mixed = [name for name in self.plan.integrated if name in point.fractions and name in self.strides]
        for name in self.plan.integrated:
            if name in self.strides:
                base = base + point.codes[name] * self.strides[name]
        numbers = jnp.concatenate([jnp.ravel(following[name]) for name in self.plan.continuous]) if self.lines else ()
        cells = [line.locate(numbers[k]) for k, line in enumerate(self.lines)]
        return self._average(base, cells, weights, list(self.plan.dotted), mixed, point)

    def _average(
        self, base: Array, cells: Sequence[Any], weights: Mapping[str, Array], dotted: list[str], mixed: list[str], point: Point
    ) -> Float[Array, ""]:
        if mixed:
            name, rest = mixed[0], mixed[1:]
            low = self._average(base, cells, weights, dotted, rest, point)
            high = self._average(base + self.strides[name], cells, weights, dotted, rest, point)
            return low + point.fractions[name] * (high - low)
        if dotted:
            name, rest = dotted[0], dotted[1:]
            codes = jnp.arange(weights[name].shape[0], dtype=jnp.int32)
            values = jax.vmap(lambda j: self._average(base + j * self.strides[name], cells, weights, rest, [], point))(codes)
            return jnp.dot(weights[name], values)
        return self._look_up(base, cells)

    def _look_up(self, base: Int[Array, ""], cells: Sequence[Any]) -> Float[Array, ""]:
        if isinstance(self.interpolant, Hermite):
            return interpolate.hermite(self.tables, base, cells, self.steps, self.interpolant)
        return interpolate.multilinear(self.tables[0], base, cells, self.steps, self.interpolant)


def continuation(value: Value, mesh: Mesh, today: Mapping[str, Process], interpolant: Interpolant) -> Continuation:
    """The continuation from V on tomorrow's mesh and the transitions of today's processes."""
    plan = mesh.plan
    low = interpolate.barrier(value.levels.dtype)
    levels = jnp.where(value.levels == -jnp.inf, low, value.levels)
    tables = [levels]
    if isinstance(interpolant, Hermite):
        tables = interpolate.hermite_tables(levels, value.slopes, mesh.lines)
    names = list(mesh.discrete_axes)
    for name in plan.integrated:
        axis, process = names.index(name), today[name]
        tables = [_averaged(table, process, axis) for table in tables]
        if process.memoryless:
            names.remove(name)
    shape = tables[0].shape
    steps = [1] * len(shape)
    for k in range(len(shape) - 2, -1, -1):
        steps[k] = steps[k + 1] * shape[k + 1]
    lead = len(names)
    strides = dict(zip(names, steps[:lead], strict=True))
    flat = tuple(table.reshape(-1) for table in tables)
    return Continuation(flat, mesh.lines, mesh.discrete, strides, tuple(steps[lead:]), interpolant, plan)


def _averaged(table: Array, process: Process, axis: int) -> Array:
    moved = jnp.moveaxis(table, axis, 0)
    averaged = jnp.tensordot(process.transition, moved, axes=1)
    return averaged if process.memoryless else jnp.moveaxis(averaged, 0, axis)
