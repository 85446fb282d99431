"""The equations of a model in continuous time at a point, in the coordinates of the states' scales.

With y the coordinates, V(y) and q = V_y, p = V_y dy/dx the marginal values in units of the states,

    discount V = H(x, p) + sum over i of 1/2 variance_i (V_yy (dy/dx)^2 + V_y d2y/dx2)_i,

and a density mu(y) that does not move under the drift b and the variance D of the coordinates

    0 = - sum over i of d(b_i mu)/dy_i + 1/2 d2(D_i mu)/dy_i2.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.errors import ModelError, listed
from bellax.problem.flow import Arguments, Flow, Flowing

Function = Callable[[Array], Array]
"""Of coordinates a number."""


class Slopes(NamedTuple):
    """A function of coordinates at a point: its value, first and second derivatives along each axis, shape (d,)."""

    value: Array
    first: Array
    second: Array


class Metric(NamedTuple):
    """First and second derivatives of the coordinates in the states, shape (d,)."""

    slope: Array
    bend: Array


def slopes(function: Function, y: Float[Array, "d"]) -> Slopes:
    """Of a function at a point."""
    one = jax.value_and_grad(function)

    def along(axis: Array) -> tuple[Array, Array, Array]:
        (value, first), (_, moved) = jax.jvp(one, (y,), (axis,))
        return value, first, jnp.sum(moved * axis)

    value, first, second = jax.vmap(along)(jnp.eye(y.shape[0]))
    return Slopes(value[0], first[0], second)


class Pointwise:
    """A model with numbers, asked in coordinates."""

    def __init__(self, flow: Flow, arguments: Arguments) -> None:
        self.flow, self.arguments, self.names = flow, arguments, flow.continuous
        self.scales = [getattr(flow.spaces[name], "scale") for name in self.names]  # noqa: B009

    def domain(self) -> tuple[Array, Array]:
        """The coordinates of the bounds of all states, shape (d,) each."""
        bounds = [self.flow.bounds(self.arguments, name) for name in self.names]
        sides = [
            [scale.forward(pair[side]) for pair, scale in zip(bounds, self.scales, strict=True)] for side in (0, 1)
        ]
        return jnp.stack(sides[0]), jnp.stack(sides[1])

    def states(self, y: Float[Array, "d"]) -> dict[str, Array]:
        """The states at coordinates, by name."""
        return {name: scale.inverse(y[i]) for i, (name, scale) in enumerate(zip(self.names, self.scales, strict=True))}

    def coordinates(self, states: dict[str, Array]) -> Float[Array, "d"]:
        return jnp.stack([scale.forward(states[name]) for name, scale in zip(self.names, self.scales, strict=True)])

    def metric(self, states: dict[str, Array]) -> Metric:
        found = []
        for name, scale in zip(self.names, self.scales, strict=True):
            one = jnp.ones_like(states[name])
            slope = lambda x, scale=scale, one=one: jax.jvp(scale.forward, (x,), (one,))[1]  # noqa: E731
            found.append(jax.jvp(slope, (states[name],), (one,)))
        return Metric(jnp.stack([slope for slope, _ in found]), jnp.stack([bend for _, bend in found]))

    def variance(self, states: dict[str, Array]) -> Float[Array, "d"]:
        """Per unit of time, in units of the states."""
        rows = [name for name in self.names if self.flow.spread(self.arguments, states, name).ndim]
        if len(rows) > 1:
            raise ModelError(f"PINN does not solve this model in this version: {listed(rows)} share shocks.")
        return jnp.stack([self.flow.variance(self.arguments, states, name) for name in self.names])

    def discount(self, states: dict[str, Array]) -> Array:
        return self.flow.discount(self.arguments, states)

    def flowing(self, states: dict[str, Array], p: Float[Array, "d"]) -> Flowing:
        return self.flow.flowing(self.arguments, states, dict(zip(self.names, p, strict=True)))

    def hamiltonian(self, states: dict[str, Array], p: Float[Array, "d"]) -> Array:
        """Reward and what drifts are worth."""
        found = self.flowing(states, p)
        return found.reward + sum(p[i] * found.drift[name] for i, name in enumerate(self.names))

    def drift(self, y: Float[Array, "d"], q: Float[Array, "d"]) -> Float[Array, "d"]:
        """Of the coordinates, where V_y is q."""
        states = self.states(y)
        metric = self.metric(states)
        found = self.flowing(states, q * metric.slope).drift
        own = jnp.stack([found[name] for name in self.names])
        return own * metric.slope + 0.5 * self.variance(states) * metric.bend

    def spread(self, y: Float[Array, "d"]) -> Float[Array, "d"]:
        """The variance of the coordinates."""
        states = self.states(y)
        return self.variance(states) * self.metric(states).slope ** 2

    def travelling(self, y: Float[Array, "d"], q: Float[Array, "d"]) -> Array:
        """H in coordinates, with the drift that curved scales add."""
        states = self.states(y)
        metric = self.metric(states)
        return self.hamiltonian(states, q * metric.slope) + 0.5 * jnp.sum(self.variance(states) * metric.bend * q)

    def left(self, y: Float[Array, "d"], value: Slopes, frozen: Float[Array, "d"]) -> Array:
        """What the Hamilton-Jacobi-Bellman equation leaves at a point, H replaced by its tangent at `frozen`."""
        states = self.states(y)
        metric = self.metric(states)
        p = value.first * metric.slope
        total, velocity = jax.value_and_grad(lambda p: self.hamiltonian(states, p))(frozen)
        curved = value.second * metric.slope**2 + value.first * metric.bend
        diffusing = 0.5 * jnp.sum(self.variance(states) * curved)
        return self.discount(states) * value.value - total - jnp.sum(velocity * (p - frozen)) - diffusing

    def marginals(self, y: Float[Array, "d"], q: Float[Array, "d"]) -> Float[Array, "d"]:
        """V_y in units of the states."""
        return q * self.metric(self.states(y)).slope


class Moving(NamedTuple):
    """How the coordinates move at a point under a policy, shape (d,) each.

    Attributes:
        drift, divergence: b_i, and db_i/dy_i.
        spread, slope, bend: D_i, and its first and second derivative along its own axis.
    """

    drift: Array
    divergence: Array
    spread: Array
    slope: Array
    bend: Array


def moving(point: Pointwise, value: Function, y: Float[Array, "d"]) -> Moving:
    """Of the policy that answers V."""
    drift = lambda y: point.drift(y, jax.grad(value)(y))  # noqa: E731

    def along(axis: Array) -> tuple[Array, ...]:
        onto = lambda function: lambda y: jnp.sum(function(y) * axis)  # noqa: E731
        first = lambda y: jax.jvp(onto(point.spread), (y,), (axis,))  # noqa: E731
        (spread, slope), (_, bend) = jax.jvp(first, (y,), (axis,))
        return *jax.jvp(onto(drift), (y,), (axis,)), spread, slope, bend

    return Moving(*jax.vmap(along)(jnp.eye(y.shape[0])))


def forward_left(how: Moving, log: Slopes) -> Array:
    """What the Kolmogorov forward equation leaves at a point, as a share of the density exp(log)."""
    inwards = how.divergence + how.drift * log.first
    spreading = how.bend + 2 * how.slope * log.first + how.spread * (log.second + log.first**2)
    return jnp.sum(0.5 * spreading - inwards)


def current(how: Moving, log: Slopes) -> Float[Array, "d"]:
    """The flow of mass along each axis, as a share of the density."""
    return how.drift - 0.5 * (how.slope + how.spread * log.first)
