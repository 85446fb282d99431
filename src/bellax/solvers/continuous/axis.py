"""Nodes of one continuous state, laid out over all nodes."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from bellax.model.diffusion import Boundary
from bellax.numerics.grids import Line


class Axis(eqx.Module):
    """Nodes of one continuous state.

    Attributes:
        below, above: distances in the coordinate to the neighbours, at the ends those of the other one, shape (n,).
        slope, bend: first and second derivative of the coordinate in the state, shape (n,).
        left, right: distances in the state itself.
    """

    place: int = eqx.field(static=True)
    sides: tuple[Boundary, Boundary] = eqx.field(static=True)
    line: Line
    below: Array
    above: Array
    slope: Array
    bend: Array
    left: Array
    right: Array

    @property
    def count(self) -> int:
        return self.line.count


def axis(place: int, line: Line, sides: tuple[Boundary, Boundary]) -> Axis:
    """The axis of a line of nodes."""
    steps, apart = jnp.diff(line.coordinates), jnp.diff(line.nodes)
    one = lambda x: jax.jvp(line.scale.forward, (x,), (jnp.ones_like(x),))[1]  # noqa: E731
    slope = jax.vmap(one)(line.nodes)
    bend = jax.vmap(lambda x: jax.jvp(one, (x,), (jnp.ones_like(x),))[1])(line.nodes)
    before = lambda gaps: jnp.concatenate([gaps[:1], gaps])  # noqa: E731
    after = lambda gaps: jnp.concatenate([gaps, gaps[-1:]])  # noqa: E731
    return Axis(place, sides, line, before(steps), after(steps), slope, bend, before(apart), after(apart))
