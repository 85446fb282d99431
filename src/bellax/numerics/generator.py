"""Generators of diffusions and chains on nodes: rates at which mass moves to neighbours, as exact as monotone allows.

At a node with neighbours at distances h- and h+, the rates up and down that give the drift b and the variance s^2,

    up h+ - down h- = b,    up h+^2 + down h-^2 = s^2,

are those of central differences. They are at least zero where s^2 >= |b| h, h the distance to the neighbour towards
which the drift leads; elsewhere there is the drift and a larger variance, |b| h, which is upwinding. So mean and
variance are exact wherever a monotone scheme with three nodes allows it, and the two meet without a jump.

Where two states share shocks, mass moves along diagonals, too: at the rate covariance / (2 h_i h_j) towards both
corners of its sign, which is taken from the rates along the axes (Kushner & Dupuis). A reset is a jump to a place
between nodes, shared by the corners of its cell.

Mass moves along the transpose of what values obey: nothing is lost, and the mass that does not move is never negative.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float


def rates(
    drift: Float[Array, "*n"], variance: Float[Array, "*n"], below: Float[Array, "*n"], above: Float[Array, "*n"]
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Rates up and down.

    Args:
        drift, variance: per unit of time.
        below, above: distances to the neighbours.
    """
    span = below + above
    up = (variance + drift * below) / (above * span)
    down = (variance - drift * above) / (below * span)
    # where one of them would be negative there is only the other: the mean stays
    onward = jnp.where(down < 0, drift / above, jnp.where(up < 0, 0.0, up))
    backward = jnp.where(up < 0, -drift / below, jnp.where(down < 0, 0.0, down))
    return onward, backward


class Pattern:
    """Which entries the matrix of a generator has: static, and told apart by its shape.

    Args:
        shape: nodes along every axis.
        lines: the axes along which mass moves to neighbours.
        chains: the axes along which it may go anywhere.
        pairs: pairs of axes along whose diagonals it moves.
        jumps: of every reset, over how many nodes a landing is shared.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        lines: tuple[int, ...],
        chains: tuple[int, ...],
        pairs: tuple[tuple[int, int], ...] = (),
        jumps: tuple[int, ...] = (),
    ) -> None:
        self.shape, self.lines, self.chains = tuple(shape), tuple(lines), tuple(chains)
        self.pairs, self.jumps = tuple(pairs), tuple(jumps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple:
        return self.shape, self.lines, self.chains, self.pairs, self.jumps

    @property
    def count(self) -> int:
        """Nodes."""
        return int(np.prod(self.shape, dtype=int))

    @cached_property
    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the entries, in the order of `values`; of jumps, which come last, rows alone."""
        numbers = np.arange(self.count, dtype=np.int32).reshape(self.shape)
        rows, columns = [numbers.ravel()], [numbers.ravel()]
        for axis in self.lines:
            for by in (1, -1):
                rows.append(inner(numbers, {axis: by}).ravel())
                columns.append(inner(numbers, {axis: -by}).ravel())
        for one, other in self.pairs:
            for move in corners(one, other):
                rows.append(inner(numbers, move).ravel())
                columns.append(inner(numbers, {axis: -by for axis, by in move.items()}).ravel())
        for axis in self.chains:
            along = np.moveaxis(numbers, axis, 0)
            for source in range(along.shape[0]):
                for target in range(along.shape[0]):
                    if source != target:
                        rows.append(along[source].ravel())
                        columns.append(along[target].ravel())
        rows += [numbers.ravel()] * sum(self.jumps)
        return np.concatenate(rows), np.concatenate(columns)


def inner(array: Any, move: Mapping[int, int]) -> Any:
    """The nodes that have a neighbour in a direction: axes and the sign along each."""
    cut: list[Any] = [slice(None)] * array.ndim
    for axis, by in move.items():
        count = array.shape[axis]
        cut[axis] = slice(0, count - 1) if by > 0 else slice(1, count)
    return array[tuple(cut)]


def corners(one: int, other: int) -> tuple[dict[int, int], ...]:
    """The directions of the diagonals of two axes: both up, both down, and two of opposite sign."""
    return {one: 1, other: 1}, {one: -1, other: -1}, {one: 1, other: -1}, {one: -1, other: 1}


class Landing(NamedTuple):
    """A jump: at which rate to which nodes.

    Attributes:
        rate: shape of the nodes.
        columns: numbers of the nodes that share it, (corner, *nodes).
        shares: of each, (corner, *nodes), which sum to one.
    """

    rate: Array
    columns: Array
    shares: Array


class Generator(eqx.Module):
    """Rates at which a state moves between nodes: A, of which values obey, and mass the transpose.

    Attributes:
        up, down: rates along each line, shape of the nodes; zero where there is no neighbour.
        chains: intensities along each chain, shape (k, k), rows sum to zero.
        diagonals: rates along each pair, four of the shape of the nodes, in the order of `corners`.
        landings: of each reset.
        active: whether a node takes part, one or zero; None where all do. Of the others all rates are zero.
    """

    pattern: Pattern = eqx.field(static=True)
    up: tuple[Array, ...]
    down: tuple[Array, ...]
    chains: tuple[Array, ...]
    diagonals: tuple[tuple[Array, ...], ...] = ()
    landings: tuple[Landing, ...] = ()
    active: Array | None = None

    def among(self, active: Array) -> "Generator":
        """The same, where nodes that do not take part are left by nothing."""
        kept = lambda rate: jnp.where(active, rate, 0.0)  # noqa: E731
        moving = (self.up, self.down, self.diagonals)
        landings = tuple(one._replace(rate=kept(one.rate)) for one in self.landings)
        up, down, diagonals = jax.tree.map(kept, moving)
        return Generator(self.pattern, up, down, self.chains, diagonals, landings, active.astype(self.up[0].dtype))

    def _moves(self) -> Iterator[tuple[Mapping[int, int], Array]]:
        """Directions, and the rates along them."""
        for axis, up, down in zip(self.pattern.lines, self.up, self.down, strict=True):
            yield {axis: 1}, up
            yield {axis: -1}, down
        for pair, rates_of in zip(self.pattern.pairs, self.diagonals, strict=True):
            yield from zip(corners(*pair), rates_of, strict=True)

    def _chained(self) -> Iterator[tuple[int, Array, Array]]:
        """Axes of chains, intensities, and the rate at which a node is left, shape of the nodes."""
        for axis, intensity in zip(self.pattern.chains, self.chains, strict=True):
            shape = [1] * len(self.pattern.shape)
            shape[axis] = intensity.shape[0]
            leaving = jnp.broadcast_to(-jnp.diagonal(intensity).reshape(shape), self.pattern.shape)
            yield axis, intensity, leaving if self.active is None else leaving * self.active

    @property
    def leaving(self) -> Array:
        """The rate at which mass leaves each node."""
        found = jnp.zeros(self.pattern.shape)
        for _, rate in self._moves():
            found = found + rate
        for _, _, rate in self._chained():
            found = found + rate
        for landing in self.landings:
            found = found + landing.rate
        return found

    def apply(self, value: Array) -> Array:
        """The expected change of a function of states per unit of time."""
        found = jnp.zeros_like(value)
        for move, rate in self._moves():
            found = found + rate * (_shifted(value, move, -1) - value)
        for axis, intensity, _ in self._chained():
            moved = jnp.moveaxis(jnp.tensordot(intensity, value, axes=(1, axis)), 0, axis)
            found = found + (moved if self.active is None else moved * self.active)
        for landing in self.landings:
            there = jnp.sum(landing.shares * value.reshape(-1)[landing.columns], axis=0)
            found = found + landing.rate * (there - value)
        return found

    def push(self, mass: Array) -> Array:
        """The change of mass per unit of time: the transpose of `apply`."""
        found = jnp.zeros_like(mass)
        for move, rate in self._moves():
            found = found - rate * mass + _shifted(rate * mass, move, 1)
        for axis, intensity, _ in self._chained():
            moving = mass if self.active is None else mass * self.active
            found = found + jnp.moveaxis(jnp.tensordot(intensity.T, moving, axes=(1, axis)), 0, axis)
        for landing in self.landings:
            moving = landing.rate * mass
            flat = (landing.shares * moving[None]).reshape(-1)
            there = jnp.zeros(mass.size, mass.dtype).at[landing.columns.reshape(-1)].add(flat)
            found = found - moving + there.reshape(mass.shape)
        return found

    def values(self, rate: Array) -> Float[Array, "e"]:
        """Entries of the matrix diag(rate) - A, in the order of the pattern's.

        Args:
            rate: shape of the nodes, or a number.
        """
        diagonal = jnp.broadcast_to(rate, self.pattern.shape) + self.leaving
        parts = [-inner(rate, move).ravel() for move, rate in self._moves()]
        for axis, intensity, _ in self._chained():
            size = self.pattern.shape[axis]
            off = intensity[~np.eye(size, dtype=bool)].reshape(size, size - 1, 1)
            if self.active is None:
                parts.append(jnp.repeat(-off.ravel(), self.pattern.count // size))
            else:
                there = jnp.moveaxis(self.active, axis, 0).reshape(size, 1, -1)
                parts.append((-off * there).ravel())
        parts += [-(landing.rate[None] * landing.shares).ravel() for landing in self.landings]
        return jnp.concatenate([diagonal.ravel(), *parts])

    def columns(self) -> Array:
        """Columns of the entries of jumps."""
        none = jnp.zeros(0, jnp.int32)
        return jnp.concatenate([none, *(landing.columns.ravel() for landing in self.landings)])


def _shifted(array: Array, move: Mapping[int, int], by: int) -> Array:
    """The neighbour's number, `by` times the direction back; of what has none, zero."""
    for axis, sign in move.items():
        count, first = array.shape[axis], (slice(None),) * axis
        none = jnp.zeros_like(array[(*first, slice(0, 1))])
        if by * sign < 0:
            array = jnp.concatenate([array[(*first, slice(1, count))], none], axis)
        else:
            array = jnp.concatenate([none, array[(*first, slice(0, count - 1))]], axis)
    return array
