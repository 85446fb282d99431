"""Value and density as nets, and the least squares that train them on the residuals of a model's equations.

The Hamilton-Jacobi-Bellman equation is quadratic in V_s, so that its residual is zero on wrong branches, too. Howard's
iteration selects the right one: the Hamiltonian is replaced by its tangent at marginal values that are frozen for a
round, starting from those of the linear approximation (core.py), under which states return inwards. In the last rounds
the tangent is at V itself, so that the residual is the equation's, with what leads outward at an edge punished.

The density is exp(normal of the linear approximation + net), whose mass is a quadrature: it is positive, and cannot be
nearly zero everywhere, which nearly solves its equation, too.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.learning import nets, sampling
from bellax.learning.levenberg import Groups, LevenbergMarquardt
from bellax.learning.nets import Box, Shape
from bellax.model.diffusion import Reflecting
from bellax.problem.flow import Arguments
from bellax.solution.flowing import FlowSetting
from bellax.solution.table import Local, Representation
from bellax.solvers.continuous.core import Core
from bellax.solvers.continuous.pointwise import (
    Moving,
    Pointwise,
    current,
    forward_left,
    moving,
    slopes,
)

_BENDS = 1e-4  # what the condition on how V bends at an edge counts for
_WIDE, _LEAST = 6.0, 0.05  # points count for this root of the normal density, and for something beyond it
_STILL = 1e-4  # relative decrease of squares by a step at which a round is over
_FLOOR = 0.01  # of the square root of the largest density, what tails count for


class NetTable(Representation):
    """V as a net of the coordinates, and the density as another; nothing outside the box that they were trained on.

    Attributes:
        value: weights of V.
        density: weights of the logarithm of the density in coordinates.
        level, unit: V is level + unit times the net.
        core: where they were trained.
    """

    value: Float[Array, "w"]
    density: Float[Array, "v"]
    level: Array
    unit: Array
    core: Core
    shape: Shape = eqx.field(static=True)
    thin: Shape = eqx.field(static=True)
    form: "Form" = eqx.field(static=True)

    def of(self, y: Float[Array, "d"]) -> Array:
        """V at coordinates."""
        return value(self.shape, self.core.box, self.level, self.unit, self.value, y)

    def log_density(self, y: Float[Array, "d"]) -> Array:
        """Of the density of the coordinates, up to a constant."""
        return self.form.log(self.thin, self.core, self.density, y)

    def at(self, setting: FlowSetting, arguments: Arguments, point: Mapping[str, Array]) -> Local:
        of, box = Pointwise(setting.flow, arguments), self.core.inner
        y = of.coordinates(dict(point))
        slack = 1e-9 * (box.upper - box.lower)
        inside = jnp.all((y >= box.lower - slack) & (y <= box.upper + slack))
        found, slope = jax.value_and_grad(self.of)(y)
        p = of.marginals(y, slope)
        return Local(jnp.where(inside, found, jnp.nan), dict(zip(of.names, p, strict=True)), {})


def value(shape: Shape, box: Box, level: Array, unit: Array, weights: Array, y: Array) -> Array:
    """V at coordinates."""
    return level + unit * _net(shape, weights, box.scaled(y))[0]


def _net(shape: Shape, weights: Array, u: Array) -> Array:
    """The outputs of a net at scaled coordinates."""
    return nets.forward(nets.layers(shape, weights), u, shape.degrees)


class Form(abc.ABC):
    """What a net says of a density."""

    whole: ClassVar[bool]
    """Whether its mass is that of its quadrature by definition."""

    @abc.abstractmethod
    def log(self, shape: Shape, core: Core, weights: Array, y: Array) -> Array:
        """The logarithm of the density of the coordinates; where it is `whole` up to a constant."""


@dataclass(frozen=True)
class AroundNormal(Form):
    """exp(normal of the linear approximation + net)."""

    whole: ClassVar[bool] = True

    def log(self, shape: Shape, core: Core, weights: Array, y: Array) -> Array:
        return core.normal(y) + _net(shape, weights, core.box.scaled(y))[0]


@dataclass(frozen=True)
class SquaredSoftplus(Form):
    """softplus(net)^2."""

    whole: ClassVar[bool] = False

    def log(self, shape: Shape, core: Core, weights: Array, y: Array) -> Array:
        return 2 * jnp.log(nets.positive(_net(shape, weights, core.box.scaled(y))[0]))


class Edges(NamedTuple):
    """A box with points.

    Attributes:
        inside: shape (n, d).
        diffusing: edges along which states diffuse: the axis, whether a mirror is there, and points.
    """

    box: Box
    inside: Array
    diffusing: tuple[tuple[int, Array, Array], ...]


class Rows(NamedTuple):
    """What belongs to points inside: coordinates, marginal values that are frozen, whether they are, and what the point
    counts for."""

    y: Array
    frozen: Array
    hold: Array
    weight: Array


class Edge(NamedTuple):
    """What belongs to points at an edge: coordinates, the axis, outwards as +1 or -1, whether a mirror is there, and
    whether marginal values are frozen."""

    y: Array
    axis: Array
    sign: Array
    mirror: Array
    hold: Array


class Points(NamedTuple):
    """Where equations are asked: inside, and at every edge, by axis and side."""

    inside: Array
    edges: tuple[tuple[Array, Array], ...]


def points(core: Core, count: int, edge: int, seed: int) -> Points:
    """Low-discrepancy points of the box."""
    dimensions = core.centre.shape[0]
    inside = jax.vmap(core.box.at)(jnp.asarray(sampling.points(count, dimensions, seed)))
    number = edge if dimensions > 1 else 1
    shares = jnp.asarray(sampling.points(number, dimensions, seed + 1))
    place = lambda axis, side: jax.vmap(core.box.at)(shares.at[:, axis].set(float(side)))  # noqa: E731
    return Points(inside, tuple((place(axis, 0), place(axis, 1)) for axis in range(dimensions)))


def _joined(rows: Sequence[Any]) -> Any:
    """Rows of several edges, one after another."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows)


class ValueEquation:
    """Least squares of V; made inside a compiled program.

    Args:
        setting: the model.
        core: the box of the net.
        where: the points of the training.
        shape: of the net.
    """

    def __init__(self, setting: FlowSetting, arguments: Arguments, core: Core, where: Points, shape: Shape) -> None:
        self.point, self.core, self.where, self.shape = Pointwise(setting.flow, arguments), core, where, shape
        self.sides = [setting.sides(name) for name in setting.flow.continuous]
        self.driven = [name in setting.flow.driven for name in setting.flow.continuous]
        middle = self.point.states(core.centre)
        rate = self.point.discount(middle)
        half = 0.5 * (core.box.upper - core.box.lower)
        slope = self.point.metric(middle).slope
        noise = 0.5 * jnp.sum(self.point.variance(middle) * jnp.diagonal(core.tilt) * slope)
        self.level = lax.stop_gradient((self.point.hamiltonian(middle, core.marginal) + noise) / rate)
        # how far V moves over the core, by slopes and by curvature
        moves = jnp.abs(core.marginal) + 0.5 * jnp.abs(core.tilt) @ half
        self.unit = lax.stop_gradient(jnp.maximum(jnp.sum(moves * half / slope), 0.1 * jnp.abs(self.level) + 1e-3))
        self.rate = lax.stop_gradient(rate)

    @property
    def edges(self) -> Edges:
        """The points, and the edges along which states diffuse."""
        found = []
        for axis, pair in enumerate(self.where.edges):
            for side, y in enumerate(pair):
                if self.point.names[axis] in self.point.flow.spreads:
                    mirror = isinstance(self.sides[axis][side], Reflecting)
                    found.append((axis, self.real(axis, side) & mirror, y))
        return Edges(self.core.box, self.where.inside, tuple(found))

    def real(self, axis: int, side: int) -> Array:
        """Whether an edge of the box is that of the domain."""
        box, domain = self.core.box, self.core.domain
        return (box.lower == domain.lower)[axis] if side == 0 else (box.upper == domain.upper)[axis]

    def residuals(self, weights: Array, y: Array) -> Array:
        """Those of the equation itself at other points, shape (n,)."""
        rows = Rows(y, jnp.zeros_like(y), jnp.zeros(y.shape[0], bool), jnp.ones(y.shape[0]))
        return jax.vmap(self.inside, (None, 0))(weights, rows)

    def of(self, weights: Array, y: Array) -> Array:
        return value(self.shape, self.core.box, self.level, self.unit, weights, y)

    def marginals(self, weights: Array, y: Array) -> Array:
        return self.point.marginals(y, jax.grad(lambda y: self.of(weights, y))(y))

    def start(self) -> Array:
        """Marginal values at the points inside to begin with."""
        return jax.vmap(self.core.costate)(self.where.inside)

    def refresh(self, weights: Array, frozen: Array) -> Array:
        """Those of V; where the model has no numbers there, those that were."""

        def one(y: Array, before: Array) -> Array:
            p = self.marginals(weights, y)
            total, velocity = jax.value_and_grad(lambda p: self.point.hamiltonian(self.point.states(y), p))(p)
            return jnp.where(jnp.isfinite(total) & jnp.all(jnp.isfinite(velocity)), p, before)

        return jax.vmap(one)(self.where.inside, frozen)

    def groups(self, frozen: Array, hold: Array) -> Groups:
        """Residuals, of order one where V is off by its unit.

        Args:
            hold: whether tangents are at what is frozen.
        """
        count, flow = self.where.inside.shape[0], self.point.flow
        weight = jax.vmap(lambda y: jnp.exp(self.core.normal(y) / _WIDE) + _LEAST)(self.where.inside)
        inside = Rows(self.where.inside, frozen, jnp.broadcast_to(hold, (count,)), weight)
        across: list[Edge] = []
        driven: list[Edge] = []
        for axis, pair in enumerate(self.where.edges):
            for side, y in enumerate(pair):
                wide = lambda x, number=y.shape[0]: jnp.broadcast_to(jnp.asarray(x), (number,))  # noqa: E731
                mirror = self.real(axis, side) & isinstance(self.sides[axis][side], Reflecting)
                rows = Edge(y, wide(axis), wide(2.0 * side - 1.0), wide(mirror), wide(hold))
                across += [rows] if self.point.names[axis] in flow.spreads else []
                driven += [rows] if self.driven[axis] else []
        parts = ((self._across, across), (self._kept, driven))
        return [(self.inside, inside), *((one, _joined(rows)) for one, rows in parts if rows)]

    def inside(self, weights: Array, row: Rows) -> Array:
        """The residual at a point."""
        found = slopes(lambda y: self.of(weights, y), row.y)
        p = lax.stop_gradient(self.point.marginals(row.y, found.first))
        at = jnp.where(row.hold, row.frozen, p)
        return row.weight * self.point.left(row.y, found, at) / (self.rate * self.unit)

    def _across(self, weights: Array, row: Edge) -> Array:
        """V_s is zero at a mirror; at other edges across which a state diffuses V bends as the linear approximation."""
        half = 0.5 * (self.core.box.upper - self.core.box.lower)[row.axis]
        found = slopes(lambda y: self.of(weights, y), row.y)
        approximate = lambda y: self.core.costate(y) / self.point.metric(self.point.states(y)).slope  # noqa: E731
        onto = jnp.zeros_like(row.y).at[row.axis].set(1.0)
        bend = jnp.sum(jax.jvp(approximate, (row.y,), (onto,))[1] * onto)
        bends = _BENDS * (found.second[row.axis] - bend) * half**2
        return jnp.where(row.mirror, found.first[row.axis] * half, bends) / self.unit

    def _kept(self, weights: Array, row: Edge) -> Array:
        """By how much the drift leads outward, once the equation is its own."""
        q = jax.grad(lambda y: self.of(weights, y))(row.y)
        half = 0.5 * (self.core.box.upper - self.core.box.lower)[row.axis]
        outward = jax.nn.relu(row.sign * self.point.drift(row.y, q)[row.axis]) / (half * self.rate)
        return jnp.where(row.hold, 0.0, outward)

    def fit(self, rounds: int, budget: int, finish: int) -> LevenbergMarquardt:
        """Howard's rounds, then the equation itself."""
        groups = lambda frozen, number: self.groups(frozen, number < rounds)  # noqa: E731
        return LevenbergMarquardt(groups, self.refresh, (*(budget,) * rounds, finish), still=_STILL)


class Weighted(NamedTuple):
    """What belongs to a point of the density: coordinates, how they move there, and what it counts for."""

    y: Array
    how: Moving
    weight: Array


class DensityEquation:
    """Least squares of the logarithm of the density; made inside a compiled program."""

    def __init__(self, value: ValueEquation, weights: Array, thin: Shape, form: Form) -> None:
        self.value, self.core, self.thin, self.form = value, value.core, thin, form
        point = value.point
        self.how = lambda y: moving(point, lambda y: value.of(weights, y), y)
        half = 0.5 * (self.core.box.upper - self.core.box.lower)

        def speed(y: Array) -> Array:
            how = self.how(y)
            return jnp.max(jnp.abs(how.divergence) + jnp.abs(how.drift) / half + how.spread / half**2)

        self.rate = lax.stop_gradient(jnp.mean(jax.vmap(speed)(value.where.inside)))

    def log(self, weights: Array, y: Array) -> Array:
        return self.form.log(self.thin, self.core, weights, y)

    def refresh(self, weights: Array, frozen: Any = None) -> Array:
        """What points count for: the square root of the density, and something in the tails."""
        log = jax.vmap(lambda y: self.log(weights, y))(self.value.where.inside)
        return lax.stop_gradient(jnp.exp(0.5 * (log - jnp.max(log))) + _FLOOR)

    def groups(self, frozen: Array, number: Array) -> Groups:
        where = self.value.where
        inside = Weighted(where.inside, jax.vmap(self.how)(where.inside), frozen)
        across: list[Weighted] = []
        for axis, pair in enumerate(where.edges):
            for y in pair:
                if self.value.point.names[axis] in self.value.point.flow.spreads:
                    onto = jnp.zeros_like(y).at[:, axis].set(1.0)
                    across.append(Weighted(y, jax.vmap(self.how)(y), onto))
        return [(self._inside, inside), *([(self._edge, _joined(across))] if across else [])]

    def _inside(self, weights: Array, row: Weighted) -> Array:
        left = forward_left(row.how, slopes(lambda y: self.log(weights, y), row.y))
        return row.weight * left / self.rate

    def _edge(self, weights: Array, row: Weighted) -> Array:
        """No mass flows across an edge along which states diffuse."""
        half = 0.5 * (self.core.box.upper - self.core.box.lower)
        flow = current(row.how, slopes(lambda y: self.log(weights, y), row.y)) / half
        centre = lax.stop_gradient(self.log(weights, row.y) - self.log(weights, self.core.centre))
        share = jnp.exp(0.5 * jnp.minimum(centre, 0.0)) + _FLOOR
        return share * jnp.sum(flow * row.weight) / self.rate

    def fit(self, rounds: int, budget: int) -> LevenbergMarquardt:
        return LevenbergMarquardt(self.groups, self.refresh, (budget,) * rounds, still=_STILL)
