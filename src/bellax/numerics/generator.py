"""Generators of diffusions and chains on nodes: rates at which mass moves to neighbours, as exact as monotone allows.

At a node with neighbours at distances h- and h+, the rates up and down that give the drift b and the variance s^2,

    up h+ - down h- = b,    up h+^2 + down h-^2 = s^2,

are those of central differences. They are at least zero where s^2 >= |b| h, h the distance in the direction of the
drift's opposite; elsewhere there is a drift and a larger variance, |b| h, which is upwinding. So mean and variance are
exact wherever a monotone scheme with three nodes allows it, and the two meet without a jump.

Mass moves along the transpose of what values obey: nothing is lost, and a density is never negative.
"""

from functools import cached_property

import equinox as eqx
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
    """

    def __init__(self, shape: tuple[int, ...], lines: tuple[int, ...], chains: tuple[int, ...]) -> None:
        self.shape, self.lines, self.chains = tuple(shape), tuple(lines), tuple(chains)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple:
        return self.shape, self.lines, self.chains

    @property
    def count(self) -> int:
        """Nodes."""
        return int(np.prod(self.shape, dtype=int))

    @cached_property
    def entries(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the entries, in the order of `values`."""
        numbers = np.arange(self.count).reshape(self.shape)
        rows, columns = [numbers.ravel()], [numbers.ravel()]
        for axis in self.lines:
            low, high = self._inner(numbers, axis)
            rows += [low.ravel(), high.ravel()]
            columns += [high.ravel(), low.ravel()]
        for axis in self.chains:
            along = np.moveaxis(numbers, axis, 0)
            for source in range(along.shape[0]):
                for target in range(along.shape[0]):
                    if source != target:
                        rows.append(along[source].ravel())
                        columns.append(along[target].ravel())
        return np.concatenate(rows), np.concatenate(columns)

    @staticmethod
    def _inner(array, axis: int):
        """All nodes but the last, and all but the first, along an axis."""
        count = array.shape[axis]
        cut = lambda span: array[(slice(None),) * axis + (span,)]  # noqa: E731
        return cut(slice(0, count - 1)), cut(slice(1, count))


class Generator(eqx.Module):
    """A V, and how mass moves.

    Attributes:
        up, down: rates along each line, shape of the nodes; zero where there is no neighbour.
        chains: intensities along each chain, shape (k, k), rows sum to zero.
    """

    pattern: Pattern = eqx.field(static=True)
    up: tuple[Array, ...]
    down: tuple[Array, ...]
    chains: tuple[Array, ...]

    @property
    def leaving(self) -> Array:
        """The rate at which mass leaves each node."""
        found = jnp.zeros(self.pattern.shape)
        for up, down in zip(self.up, self.down, strict=True):
            found = found + up + down
        for axis, intensity in zip(self.pattern.chains, self.chains, strict=True):
            shape = [1] * len(self.pattern.shape)
            shape[axis] = intensity.shape[0]
            found = found - jnp.diagonal(intensity).reshape(shape)
        return found

    def apply(self, value: Array) -> Array:
        """The expected change of a function of states per unit of time."""
        found = jnp.zeros_like(value)
        for axis, up, down in zip(self.pattern.lines, self.up, self.down, strict=True):
            found = found + up * (_shifted(value, axis, -1) - value) + down * (_shifted(value, axis, 1) - value)
        for axis, intensity in zip(self.pattern.chains, self.chains, strict=True):
            moved = jnp.tensordot(intensity, value, axes=(1, axis))
            found = found + jnp.moveaxis(moved, 0, axis)
        return found

    def push(self, mass: Array) -> Array:
        """The change of mass per unit of time: the transpose of `apply`."""
        found = jnp.zeros_like(mass)
        for axis, up, down in zip(self.pattern.lines, self.up, self.down, strict=True):
            found = found - (up + down) * mass + _shifted(up * mass, axis, 1) + _shifted(down * mass, axis, -1)
        for axis, intensity in zip(self.pattern.chains, self.chains, strict=True):
            moved = jnp.tensordot(intensity.T, mass, axes=(1, axis))
            found = found + jnp.moveaxis(moved, 0, axis)
        return found

    def values(self, rate: Array) -> Float[Array, "e"]:
        """Entries of the matrix diag(rate) - A, in the order of the pattern's.

        Args:
            rate: shape of the nodes, or a number.
        """
        pattern = self.pattern
        diagonal, parts = jnp.broadcast_to(rate, pattern.shape), []
        for axis, up, down in zip(pattern.lines, self.up, self.down, strict=True):
            diagonal = diagonal + up + down
            parts += [-pattern._inner(up, axis)[0].ravel(), -pattern._inner(down, axis)[1].ravel()]
        for axis, intensity in zip(pattern.chains, self.chains, strict=True):
            size = pattern.shape[axis]
            others = pattern.count // size
            shape = [1] * len(pattern.shape)
            shape[axis] = size
            diagonal = diagonal - jnp.diagonal(intensity).reshape(shape)
            off = intensity[~np.eye(size, dtype=bool)]
            parts.append(jnp.repeat(-off, others))
        return jnp.concatenate([diagonal.ravel(), *parts])


def _shifted(array: Array, axis: int, by: int) -> Array:
    """The neighbour's number; what has none gets its own, whose rate is zero."""
    count = array.shape[axis]
    first = (slice(None),) * axis
    ends = array[(*first, slice(0, 1))], array[(*first, slice(count - 1, count))]
    if by < 0:
        return jnp.concatenate([array[(*first, slice(1, count))], jnp.zeros_like(ends[1])], axis)
    return jnp.concatenate([jnp.zeros_like(ends[0]), array[(*first, slice(0, count - 1))]], axis)
