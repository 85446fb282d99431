"""V between its nodes: the interpolant itself, as tomorrow's problem sees it, without any expectation."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.continuation import Value
from bellax.bellman.mesh import Mesh, Point
from bellax.numerics import interpolate
from bellax.numerics.interpolate import Hermite, Interpolant


def interpolated(value: Value, mesh: Mesh, interpolant: Interpolant) -> Callable[[Point], Float[Array, ""]]:
    """V on a mesh as a pointwise function of points that were located on it; minus infinity next to such a node."""
    levels = jnp.where(value.levels == -jnp.inf, interpolate.barrier(value.levels.dtype), value.levels)
    tables = [levels]
    if isinstance(interpolant, Hermite):
        tables = interpolate.hermite_tables(levels, value.slopes, mesh.lines)
    flat = tuple(table.reshape(-1) for table in tables)
    strides = _strides(levels.shape)
    names = list(mesh.discrete_axes)
    steps = dict(zip(names, strides, strict=False))

    def look_up(base: Array, cells: list, between: list[str], point: Point) -> Array:
        if between:
            name, rest = between[0], between[1:]
            low = look_up(base, cells, rest, point)
            high = look_up(base + steps[name], cells, rest, point)
            return low + point.fractions[name] * (high - low)
        if isinstance(interpolant, Hermite):
            return interpolate.hermite(flat, base, cells, strides[len(names) :], interpolant)
        return interpolate.multilinear(flat[0], base, cells, strides[len(names) :], interpolant)

    def at(point: Point) -> Float[Array, ""]:
        parts = [jnp.ravel(point.values[name]) for name in mesh.plan.continuous]
        numbers = jnp.concatenate(parts) if parts else jnp.zeros(0)
        cells = [line.locate(numbers[k]) for k, line in enumerate(mesh.lines)]
        base = jnp.zeros((), jnp.int32)
        for name in names:
            base = base + point.codes[name] * steps[name]
        found = look_up(base, cells, [name for name in names if name in point.fractions], point)
        return jnp.where(interpolate.is_barrier(found), -jnp.inf, found)

    return at


def _strides(shape: tuple[int, ...]) -> list[int]:
    steps = [1] * len(shape)
    for k in range(len(shape) - 2, -1, -1):
        steps[k] = steps[k + 1] * shape[k + 1]
    return steps
