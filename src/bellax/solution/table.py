"""V between nodes, or without any, asked pointwise; and where a population is.

A `setting` is the `FlowSetting` of the solution: the model, its lines of nodes, its chains.
"""

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from bellax.errors import ModelError
from bellax.numerics import lagrange
from bellax.numerics.grids import Cell, Line
from bellax.numerics.linear import multilinear
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments


class Local(NamedTuple):
    """What is known of V at a point.

    Attributes:
        value: V; not a number outside the domain.
        marginals: V_s of every continuous state, by name.
        curvatures: V_ss of the states whose diffusion an action moves, by name.
    """

    value: Array
    marginals: dict[str, Array]
    curvatures: dict[str, Array]


class Representation(eqx.Module):
    """V between nodes, or without any."""

    @abc.abstractmethod
    def at(self, setting: Any, arguments: Arguments, point: Mapping[str, Array]) -> Local:
        """What is known at a point: states by name, numbers, chains by what functions see; `time` where it ends."""

    def stops(self, setting: Any, arguments: Arguments, point: Mapping[str, Array]) -> Array:
        """Whether one stops at a point, asked only where one may: where V is no more than that is worth, unless
        something is known of the border."""
        payoff = setting.flow.stop(arguments, point)
        return self.at(setting, arguments, point).value <= payoff + rounding() * (1 + jnp.abs(payoff))

    def smooth(self, setting: Any, arguments: Arguments, point: Mapping[str, Array]) -> Array:
        """V at a point as something whose two derivatives by autodiff are those of V: V itself, unless it is pieced
        together of straight lines."""
        return self.at(setting, arguments, point).value

    def balance(self, setting: Any, arguments: Arguments, mass: Array) -> Array:
        """What the forward equation leaves of a mass at the nodes that should not move: the largest change of it per
        unit of time, over the largest flow out of a node. Not a number where there are no nodes between which it moves.
        """
        return jnp.full((), jnp.nan)

    def laid(self, numbers: Array) -> "Representation":
        """Other numbers at the same nodes, which are between them as V is.

        Raises:
            ModelError: where there are no nodes.
        """
        raise ModelError(f"{type(self).__name__} has no nodes, between which a density could be.")


class Mass(NamedTuple):
    """Where a population is that follows a policy.

    Attributes:
        mass: at every node of `FlowSetting.nodes`, an axis for each state in their order; sums to one.
        held: whether a node holds mass as an atom.
        apart: how far apart densities are that began at different places; zero where there is one alone.
    """

    mass: Array
    held: Array
    apart: Array


class Table(Representation):
    """Tables at nodes, between which all are straight lines in the coordinates of the scales, and in time.

    Attributes:
        values: V at the nodes, an axis for each state in their order; of a finite horizon, behind one of moments.
        marginals: of every continuous state the derivative of V that the policy answers, at the nodes.
        curvatures: the second one, of states whose diffusion an action moves.
        ahead: by how much going on is worth more than stopping; empty where nobody may stop.
    """

    values: Array
    marginals: dict[str, Array]
    curvatures: dict[str, Array] = eqx.field(default_factory=dict)
    ahead: Array = eqx.field(default_factory=lambda: jnp.zeros(0))

    def at(self, setting: Any, arguments: Arguments, point: Mapping[str, Array]) -> Local:
        look, inside = self._look(setting, arguments, point)
        value = jnp.where(inside, look(self.values), jnp.nan)
        known = ({n: look(t) for n, t in tables.items()} for tables in (self.marginals, self.curvatures))
        return Local(value, *known)

    def stops(self, setting: Any, arguments: Arguments, point: Mapping[str, Array]) -> Array:
        return self._look(setting, arguments, point)[0](self.ahead) < 0

    def balance(self, setting: Any, arguments: Arguments, mass: Array) -> Array:
        generator = setting.scheme(arguments).carried(self.marginals, self.curvatures)
        return left(generator.push(mass), generator.leaving * mass)

    def laid(self, numbers: Array) -> "Table":
        return Table(numbers, {})

    def _look(self, setting: Any, arguments: Arguments, point: Mapping[str, Array]) -> tuple[Any, Array]:
        """What a table says at a point, and whether that is in the domain."""
        flow, lines = setting.flow, setting.lines(arguments)
        base, cells, steps, inside = jnp.zeros((), jnp.int32), [], [], jnp.asarray(True)
        sizes, stride = dict(zip(flow.spaces, self.values.shape[-len(flow.spaces) :], strict=True)), self.values.size
        if flow.timed:
            moments = setting.moments()
            stride //= len(moments)
            steps.append(stride)
            share = point["time"] / moments[-1] * (len(moments) - 1)
            cell = jnp.clip(share.astype(jnp.int32), 0, len(moments) - 2)
            cells.append(Cell(cell, share - cell.astype(share.dtype), moments[1]))
        for name in flow.spaces:
            stride //= sizes[name]
            if name in flow.chains:
                values = flow.chain(arguments, name)[0]
                base = base + jnp.argmin(jnp.abs(values - point[name])).astype(jnp.int32) * stride
                continue
            cells.append(lines[name].locate(point[name]))
            steps.append(stride)
            slack, nodes = rounding() * (1 + jnp.abs(point[name])), lines[name].nodes
            inside = inside & (point[name] >= nodes[0] - slack) & (point[name] <= nodes[-1] + slack)
        return (lambda table: multilinear(table.reshape(-1), base, cells, steps, "linear")), inside

    def smooth(self, setting: Any, arguments: Arguments, point: Mapping[str, Array]) -> Array:
        """The polynomial through the nodes around the point, in the coordinates of the scales, and in time; where one
        may stop through nodes on the same side of the border, where there are so many."""
        flow, lines = setting.flow, setting.lines(arguments)
        axes: list[tuple[Line | None, Array]] = [(setting.timeline(), point["time"])] if flow.timed else []
        for name in flow.spaces:
            if name in flow.chains:
                values = flow.chain(arguments, name)[0]
                axes.append((None, jnp.argmin(jnp.abs(values - point[name])).astype(jnp.int32)))
            else:
                axes.append((lines[name], point[name]))
        alike = (self.ahead < 0) == self.stops(setting, arguments, point) if flow.stops else None
        return lagrange.through(self.values, axes, alike)


def left(change: Array, out: Array) -> Array:
    """The largest change of mass over the largest flow out of a node; zero where nothing moves."""
    most = jnp.max(jnp.abs(out))
    return jnp.max(jnp.abs(change)) / jnp.where(most > 0, most, 1.0)
