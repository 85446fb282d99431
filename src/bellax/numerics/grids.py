"""Grids along a line: what a solver is told (`Scaled`, `Given`, ...), and the nodes of one period (`Line`).

A `Line` is uniform in the coordinate of a scale, so that the cell of a point is found by arithmetic; only given nodes
are searched.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.errors import ModelError, check_count, named_options
from bellax.numerics import scales
from bellax.numerics.bend import Bend
from bellax.numerics.chains import Autoregression, FarmerToda, Rouwenhorst, Tauchen
from bellax.numerics.scalar import numeric, take, where

__all__ = ["Autoregression", "FarmerToda", "Given", "Regular", "Rouwenhorst", "Scaled", "Tauchen"]


@named_options
@dataclass(frozen=True)
class Scaled:
    """Nodes that are equally spaced in a scale's coordinate.

    Args:
        count: number of nodes, at least 2.
        scale: a scale of `bx.scales`; None for the scale that the space declares.
    """

    count: int
    scale: Any = None

    def __post_init__(self) -> None:
        check_count(self.count, "grids.Scaled: count")


@named_options
@dataclass(frozen=True)
class Regular:
    """Equally spaced nodes."""

    count: int

    def __post_init__(self) -> None:
        check_count(self.count, "grids.Regular: count")


@named_options
@dataclass(frozen=True)
class Given:
    """These nodes, increasing.

    Args:
        nodes: at least 2, shape (n,).
        scale: the scale in whose coordinate an interpolant is a polynomial; None for the scale that the space declares.
    """

    nodes: tuple[float, ...]
    scale: Any = None

    def __init__(self, nodes: Any, scale: Any = None) -> None:
        try:
            array = numeric(nodes)
        except (TypeError, ValueError) as cause:
            raise ModelError(f"grids.Given is {nodes!r}; give the nodes, at least two increasing numbers.") from cause
        if array.ndim != 1 or array.size < 2 or not np.all(np.diff(array) > 0) or not np.all(np.isfinite(array)):
            raise ModelError("grids.Given takes at least two increasing nodes in one dimension, all finite.")
        object.__setattr__(self, "nodes", tuple(array.tolist()))
        object.__setattr__(self, "scale", scale)


@dataclass(frozen=True)
class Wider:
    """A line that goes on beyond the bounds of its state, which is not for users: what is there, a model may not say.

    Args:
        spec: the specification of the line between the bounds.
        below, above: by how much of its length in the coordinate it goes on; uniform nodes end sooner where that is
            negative.
    """

    spec: Any
    below: float = 0.0
    above: float = 0.0

    def added(self, count: int) -> tuple[int, int]:
        """How many nodes more there are before and after so many."""
        low, high = (round(share * (count - 1)) for share in (self.below, self.above))
        return low, high

    @property
    def scale(self) -> Any:
        """As of the specification."""
        return scales.linear if isinstance(self.spec, Regular) else self.spec.scale


class Cell(NamedTuple):
    """Where a point lies: left node, fraction of the way to the right one (outside [0, 1] off the grid), width in y.

    `straight` says whether V goes on by the secant of the cell, whatever its slopes; None where it never does.
    """

    node: Int[Array, ""]
    fraction: Float[Array, ""]
    width: Float[Array, ""]
    straight: Bool[Array, ""] | None = None


class Line(eqx.Module):
    """The nodes of one line.

    Attributes:
        scale: coordinate in which an interpolant is a polynomial.
        count: number of nodes.
        origin: coordinate of the first node.
        step: distance of nodes in the coordinate; their mean distance where nodes are given.
        given: coordinates of given nodes, shape (n,); None where they are uniform.
        bend: how distances off the grid are shortened; None where they are what they are.
        fall: coordinates of one unit of the state below zero, as at the first node; None where the scale has its own.
    """

    scale: Any = eqx.field(static=True)
    count: int = eqx.field(static=True)
    origin: Float[Array, ""]
    step: Float[Array, ""]
    given: Float[Array, "n"] | None = None
    bend: Bend | None = None
    fall: Float[Array, ""] | None = None

    @property
    def coordinates(self) -> Float[Array, "n"]:
        """Nodes in the coordinate of the scale."""
        if self.given is not None:
            return self.given
        return self.origin + self.step * jnp.arange(self.count, dtype=self.origin.dtype)

    @property
    def nodes(self) -> Float[Array, "n"]:
        """Nodes in the units of the state."""
        return self.scale.inverse(self.coordinates)

    def spanning(self, lower: Float[Array, ""], upper: Float[Array, ""]) -> "Line":
        """The line; given nodes, which span these bounds, have the derivatives of nodes stretched between them."""
        if self.given is None:
            return self
        first, last = self.scale.forward(lower), self.scale.forward(upper)
        share = (self.given - self.given[0]) / (self.given[-1] - self.given[0])
        moved = first + share * (last - first)
        given = self.given + moved - jax.lax.stop_gradient(moved)
        return replace(self, origin=given[0], given=given)

    def padded(self) -> "Line":
        """The line with more nodes at each end, at the distances of `beyond`."""
        low, high = self.beyond
        if self.given is None:
            return replace(self, count=self.count + 2 * len(low), origin=self.origin - len(low) * self.step)
        nodes = jnp.concatenate([self.given[0] - low[::-1], self.given, self.given[-1] + high])
        return replace(self, count=len(nodes), origin=nodes[0], given=nodes)

    @property
    def beyond(self) -> tuple[Float[Array, "p"], Float[Array, "p"]]:
        """Distances of padding nodes from the first and from the last node: the last but one is a twentieth of the line
        away, or the next node of a uniform one, and the last another cell."""
        if self.given is None:
            found = self.step * jnp.arange(1, (self.tenth + 1) // 2 + 2, dtype=self.origin.dtype)
            return found, found
        twice = jnp.arange(1, 3, dtype=self.origin.dtype)
        low, high = self.twentieths
        return low * twice, high * twice

    @property
    def twentieths(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """How far a twentieth of the line is, at its first and at its last node."""
        y = self.coordinates
        return 0.5 * (y[self.tenth] - y[0]), 0.5 * (y[-1] - y[-1 - self.tenth])

    def bent(self, below: Float[Array, ""], above: Float[Array, ""]) -> "Line":
        """The line with distances off the grid shortened at these rates."""
        return replace(self, bend=Bend(self.coordinates[0], self.coordinates[-1], below, above))

    @property
    def tenth(self) -> int:
        """How many cells are a tenth of the line."""
        return max(1, (self.count - 1) // 10)

    def coordinate(self, x: Float[Array, ""]) -> Float[Array, ""]:
        """Where x lies, off the scale's numbers, too."""
        y = self.scale.forward(x)
        return y if self.fall is None else y + where(x < 0, x, 0.0) * self.fall

    def number(self, y: Float[Array, ""]) -> Float[Array, ""]:
        """What lies at a coordinate, in the units of the state."""
        x = self.scale.inverse(y)
        if self.fall is None:
            return x
        zero = self.scale.forward(jnp.zeros_like(y))
        return where(y < zero, (y - zero) / self.fall, x)

    def locate(self, x: Float[Array, ""]) -> Cell:
        """The cell of x, in arithmetic where nodes are uniform, by search where they are given."""
        y = self.coordinate(x)
        y = y if self.bend is None else self.bend(y)
        cell = self._cell(y)
        return cell._replace(straight=cell.fraction < 0) if self.by_secant else cell

    @property
    def by_secant(self) -> bool:
        """Whether V goes on below the line by the secant of the first cell, as its slope may say nothing there."""
        return isinstance(self.scale, scales.Power)

    def _cell(self, y: Float[Array, ""]) -> Cell:
        if self.given is not None:
            inner = jnp.searchsorted(self.given, y, side="right").astype(jnp.int32) - 1
            index = lax.clamp(np.int32(0), inner, np.int32(self.count - 2))
            left = take(self.given, index)
            width = take(self.given, index + 1) - left
            return Cell(index, (y - left) / width, width)
        t = (y - self.origin) * (1 / self.step)
        # clamped after the conversion, which saturates: in a plane of candidates a third faster than before it
        index = lax.clamp(np.int32(0), t.astype(jnp.int32), np.int32(self.count - 2))
        return Cell(index, t - index.astype(t.dtype), self.step)


def line(spec: Any, lower: Float[Array, ""], upper: Float[Array, ""], scale: Any, quick: bool = False) -> Line:
    """The line between two bounds that a specification asks for.

    Args:
        spec: `Scaled`, `Regular` or `Given`.
        lower: first node, in the units of the state.
        upper: last node.
        scale: the scale that the space declares.
        quick: whether points are located in planes of candidates, where a quick logarithm pays.
    """
    if isinstance(spec, Wider):
        return _wider(line(spec.spec, lower, upper, scale, quick), spec)
    chosen = _scale(spec, scale)
    chosen = scales.quick(chosen) if quick else chosen
    if isinstance(spec, Given):
        y = chosen.forward(jnp.asarray(spec.nodes))
        return _going_on(Line(chosen, len(spec.nodes), y[0], (y[-1] - y[0]) / (len(spec.nodes) - 1), y))
    first, last = chosen.forward(lower), chosen.forward(upper)
    return _going_on(Line(chosen, spec.count, first, (last - first) / (spec.count - 1)))


def _wider(inner: Line, spec: Wider) -> Line:
    """The line that goes on, at about the same distance between its nodes; or that ends sooner, if it is uniform."""
    length, low, high = inner.step * (inner.count - 1), *spec.added(inner.count)
    origin, count = inner.origin - spec.below * length, inner.count + low + high
    step = length * (1 + spec.below + spec.above) / (count - 1)
    if inner.given is None:
        return _going_on(replace(inner, count=count, origin=origin, step=step))
    return _going_on(Line(inner.scale, count, origin, step, jnp.asarray(_extended(inner.given, spec))))


def _extended(y: Any, spec: Wider) -> Any:
    """Coordinates with more before and after them, equally spaced."""
    xp, length = (jnp if isinstance(y, jax.Array) else np), y[-1] - y[0]
    low, high = (xp.arange(1, count + 1) / max(1, count) for count in spec.added(len(y)))
    return xp.concatenate([y[0] - spec.below * length * low[::-1], y, y[-1] + spec.above * length * high])


def resized(spec: Any, ratio: float, least: int = 2) -> Any:
    """The specification with `ratio` times as many intervals, or chains as many nodes less one; at least so many nodes.

    Of given nodes, places along them are equally spaced in their numbers.
    """
    if isinstance(spec, Wider):
        return replace(spec, spec=resized(spec.spec, ratio, least))
    if is_count(spec):
        return _times(int(spec), ratio, least)
    if isinstance(spec, Given):
        places = np.linspace(0.0, len(spec.nodes) - 1.0, _times(len(spec.nodes), ratio, least))
        return replace(spec, nodes=tuple(np.interp(places, np.arange(len(spec.nodes)), spec.nodes).tolist()))
    return replace(spec, count=_times(spec.count, ratio, least))


def _times(count: int, ratio: float, least: int) -> int:
    return max(least, math.ceil(ratio * (count - 1) - 1e-9) + 1)


def halved(spec: Any) -> Any:
    """The specification with half as many intervals; of given nodes every other one, and the last."""
    if isinstance(spec, Given):
        kept = spec.nodes[:-1:2]
        return replace(spec, nodes=(*kept, spec.nodes[-1]))
    return replace(spec, count=(spec.count - 1) // 2 + 1)


def beyond(coordinates: np.ndarray, which: int, share: float) -> np.ndarray:
    """Coordinates that go on beyond their first (0) or last (-1) one by a share of their length, at the last step."""
    ends, steps = coordinates[[0, -1]], np.diff(coordinates)
    step = steps[which]
    added = step * np.arange(1, max(1, round(share * (ends[1] - ends[0]) / step)) + 1)
    if which == 0:
        return np.concatenate([coordinates[0] - added[::-1], coordinates])
    return np.concatenate([coordinates, coordinates[-1] + added])


def shares(spec: Any, scale: Any) -> np.ndarray:
    """How far along a line the nodes lie that a specification asks for, in its coordinate: from zero to one.

    Args:
        scale: the scale that the space declares.
    """
    if isinstance(spec, Wider):
        y = shares(spec.spec, scale)
        if not isinstance(spec.spec, Given):
            return np.linspace(0.0, 1.0, len(y) + sum(spec.added(len(y))))
        y = _extended(y, spec)
        return (y - y[0]) / (y[-1] - y[0])
    if not isinstance(spec, Given):
        return np.linspace(0.0, 1.0, spec.count)
    y = np.asarray(_scale(spec, scale).forward(jnp.asarray(spec.nodes)))
    return (y - y[0]) / (y[-1] - y[0])


def _scale(spec: Any, scale: Any) -> Any:
    """The scale of a specification, or what the space declares."""
    own = scales.linear if isinstance(spec, Regular) else spec.scale
    return scale if own is None else scales.as_scale(own)


def _going_on(line: Line) -> Line:
    """The line with coordinates for states below zero, if its scale has none."""
    if not line.scale.nonnegative:
        return line
    y = line.coordinates[:2]
    x = line.scale.inverse(y)
    if line.by_secant:
        return replace(line, fall=(y[1] - y[0]) / (x[1] - x[0]))
    return replace(line, fall=jax.jvp(line.scale.forward, (x[0],), (jnp.ones_like(x[0]),))[1])


def is_count(given: Any) -> bool:
    """True for a whole number, which True is not."""
    return isinstance(given, int | np.integer) and not isinstance(given, bool)


def as_spec(given: Any, what: str, least: int = 2) -> Any:
    """A specification from a count or itself; ModelError where it is neither or has fewer than `least` nodes."""
    if isinstance(given, Wider):
        return given
    if not (is_count(given) or isinstance(given, Scaled | Regular | Given)):
        raise ModelError(f"the grid of {what} is {given!r}; give a number of nodes or one of bx.grids.")
    count = given if is_count(given) else len(given.nodes) if isinstance(given, Given) else given.count
    if count < least:
        raise ModelError(f"the grid of {what} has {count} nodes; its interpolant needs at least {least}.")
    return Scaled(int(given)) if is_count(given) else given
