"""The Hamilton-Jacobi-Bellman equation at Chebyshev's nodes.

    discount V = H(s, V_s, V_ss) + intensities . V,    H = reward + drift . V_s + 1/2 variance . V_ss,

with V_s and V_ss those of the polynomial through V at the nodes. Its tangent in V is the matrix

    discount - diag(H_p) D - diag(H_q) D^2 - intensities,

dense, and Newton's method on it is Howard's improvement of the policy where actions maximise.

At an edge where the state is reflected, the equation holds of a state that a wall pushes back: its node stands for the
length w of Clenshaw and Curtis's weight, through which 1/2 variance / w flows inwards. So V_s is zero there as closely
as V is resolved, and the transpose of the matrix keeps mass. At other edges the equation itself holds, which needs no
condition where nothing comes from outside.

Source: Trefethen (2000), "Spectral methods in MATLAB"; Funaro & Gottlieb (1988) on conditions that are added.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.model.diffusion import Absorbing, Boundary, Reflecting, StateConstraint
from bellax.numerics import chebyshev
from bellax.numerics.grids import Line
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments, Flow, Flowing
from bellax.problem.optimality import Optimality, optimality
from bellax.problem.period import as_float
from bellax.solution.flowing import Drawn, Unstated
from bellax.solvers.continuous.links import Links
from bellax.solvers.continuous.tensor import along, laid, spread

SIDES = ("lower", "upper")
Named = dict[str, Array]


class Points(NamedTuple):
    """A tensor of states, and what takes values at the nodes to it.

    Attributes:
        states: by name, shape (n,).
        onto: along each axis the matrix from values at the nodes to those at the points.
        slope, bend: first and second derivative of each continuous state's coordinate, shape (n,).
        wall: what a unit of 1/2 variance pushes away from a reflecting edge, in coordinates, shape (n,).
        discount: shape (n,).
    """

    states: Named
    onto: list[Any]
    slope: Named
    bend: Named
    wall: Named
    discount: Array


class Tangent(NamedTuple):
    """H at marginal values and curvatures, and its derivatives in them; shape of the nodes."""

    total: Array
    by_marginal: Named
    by_curvature: Named


class Collocated:
    """The equation for given parameters, made inside a compiled program."""

    def __init__(
        self,
        flow: Flow,
        arguments: Arguments,
        lines: Mapping[str, Line],
        sides: Mapping[str, tuple[Boundary, Boundary]],
    ) -> None:
        self.flow, self.arguments, self.lines, self.sides = flow, arguments, lines, sides
        self.names = list(flow.spaces)
        self.chains = {name: flow.chain(arguments, name) for name in flow.chains}
        counts = {name: line.count for name, line in lines.items()}
        counts |= {name: found[0].shape[0] for name, found in self.chains.items()}
        self.shape = tuple(counts[name] for name in self.names)
        self.halves = {n: 0.5 * (line.coordinates[-1] - line.coordinates[0]) for n, line in lines.items()}
        self.links = Links(flow, arguments, lines, self.chains)
        self.points = self._points({name: np.eye(line.count) for name, line in lines.items()})
        self.states = self.points.states
        self.discount = self.points.discount
        self.linked = self._linked(self.points)
        self.absorbed, self.worth = self._absorbing()

    # -- where

    def between(self) -> Points:
        """The points between the nodes, halfway in the angle."""
        onto = {}
        for name, line in self.lines.items():
            middle = -np.cos(np.pi * (np.arange(line.count - 1) + 0.5) / (line.count - 1))
            onto[name] = chebyshev.interpolation(line.count, middle)
        return self._points(onto)

    def _points(self, onto: Mapping[str, np.ndarray]) -> Points:
        own, matrices = {}, []
        for name in self.names:
            if name in self.chains:
                own[name] = self.chains[name][0]
                matrices.append(np.eye(own[name].shape[0]))
                continue
            line = self.lines[name]
            own[name] = line.scale.inverse(jnp.asarray(onto[name]) @ line.coordinates)
            matrices.append(onto[name])
        shape = tuple(matrix.shape[0] for matrix in matrices)
        lay = lambda numbers, place: laid(numbers, place, shape).reshape(-1)  # noqa: E731
        slope, bend, wall = {}, {}, {}
        for place, name in enumerate(self.names):
            if name in self.chains:
                continue
            forward = self.lines[name].scale.forward
            one = lambda x, f=forward: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]  # noqa: E731
            two = lambda x, f=one: jax.jvp(f, (x,), (jnp.ones_like(x),))[1]  # noqa: E731
            slope[name], bend[name] = (lay(jax.vmap(each)(own[name]), place) for each in (one, two))
            wall[name] = lay(self._wall(name, matrices[place]), place)
        states = {name: lay(own[name], place) for place, name in enumerate(self.names)}
        discount = jax.vmap(lambda states: self.flow.discount(self.arguments, states))(states)
        return Points(states, matrices, slope, bend, wall, discount)

    def _wall(self, name: str, onto: np.ndarray) -> Array:
        """Inwards at nodes on an edge that reflects; nothing elsewhere."""
        count = self.lines[name].count
        push = np.zeros(count)
        if onto.shape[0] == count:
            reflects = [isinstance(side, Reflecting) for side in self.sides[name]]
            push[0], push[-1] = (sign * each for sign, each in zip((1.0, -1.0), reflects, strict=True))
            push /= chebyshev.weights(count)
        return jnp.asarray(push[: onto.shape[0]]) / self.halves[name]

    def _absorbing(self) -> tuple[Array, Array]:
        """Nodes at which the problem ends, and with what."""
        absorbed, worth = jnp.zeros(self.shape, bool), jnp.zeros(self.shape)
        for name in self.flow.continuous:
            for edge, side, kind in zip(self.ends(name), SIDES, self.sides[name], strict=True):
                if isinstance(kind, Absorbing):
                    node = f"boundary:{side}.{name}"
                    of = self.flow.graph.compose([node])
                    value = lambda states, of=of, node=node: as_float(of(**self.arguments, **states)[node])  # noqa: E731
                    worth = jnp.where(edge, jax.vmap(value)(self.states).reshape(self.shape), worth)
                    absorbed = absorbed | edge
        return absorbed, worth

    def ends(self, name: str) -> tuple[Array, Array]:
        """Whether a node is at the lower edge of a state, and at the upper one."""
        place, count = self.names.index(name), self.lines[name].count
        numbers = laid(np.arange(count), place, self.shape)
        return numbers == 0, numbers == count - 1

    # -- derivatives of V

    def derivatives(self, value: Array, points: Points | None = None) -> tuple[Array, Named, Named]:
        """V, its slopes and its curvatures at points, in units of the states; by default at the nodes."""
        at = self.points if points is None else points
        seen = lambda values: along(values, at.onto).reshape(-1)  # noqa: E731
        slopes, bends = {}, {}
        for name in self.flow.continuous:
            once = self._derived(value, name)
            slopes[name] = at.slope[name] * seen(once)
            bends[name] = at.slope[name] ** 2 * seen(self._derived(once, name)) + at.bend[name] * seen(once)
        return seen(value), slopes, bends

    def _derived(self, value: Array, name: str) -> Array:
        place = self.names.index(name)
        matrix = jnp.asarray(chebyshev.differentiation(self.lines[name].count)) / self.halves[name]
        return jnp.moveaxis(jnp.tensordot(matrix, value, axes=(1, place)), 0, place)

    # -- the equation

    def hamiltonian(self, points: Points, marginals: Named, curvatures: Named) -> Array:
        """H at points."""
        return jax.vmap(self._one)(points.states, points.slope, points.wall, marginals, curvatures)

    def _one(self, states: Named, slope: Named, wall: Named, marginals: Named, curvatures: Named) -> Array:
        flow = self.flow
        found = flow.flowing(self.arguments, states, marginals, curvatures)
        total = found.reward
        for name in flow.continuous:
            half = 0.5 * self._variance(found, states, name)
            pushed = wall[name] * slope[name] * marginals[name]
            total = total + found.drift[name] * marginals[name] + half * (curvatures[name] + pushed)
        return total

    def _variance(self, found: Flowing, states: Named, name: str) -> Array:
        """Of a state at one state, in its units."""
        return found.variance[name] if name in self.flow.risky else self.flow.variance(self.arguments, states, name)

    def residual(self, value: Array) -> Array:
        """What is left of the equation at the nodes, shape of the nodes."""
        seen, marginals, curvatures = self.derivatives(value)
        total = self.hamiltonian(self.points, marginals, curvatures) + _sum(self.linked, value)
        left, discount = self.discount * seen - total, self.discount.reshape(self.shape)
        return jnp.where(self.absorbed, discount * (value - self.worth), left.reshape(self.shape))

    def off_nodes(self, value: Array) -> Array:
        """The largest residual between the nodes, by the discount: V that it makes, if it is held for ever."""
        points = self.between()
        seen, marginals, curvatures = self.derivatives(value, points)
        total = self.hamiltonian(points, marginals, curvatures)
        left = points.discount * seen - total - _sum(self._linked(points), value)
        return jnp.max(jnp.abs(left) / points.discount)

    def smoothed(self, value: Array, degree: int) -> Array:
        """The part of low degree along every continuous state: half of what the nodes bear, `degree` at the most."""
        matrices = []
        for name, count in zip(self.names, self.shape, strict=True):
            whole = np.eye(count)
            if name in self.lines:
                low = np.arange(count) <= min(degree, (count - 1) // 2)
                whole = np.linalg.inv(chebyshev.coefficients(count)) @ (low[:, None] * chebyshev.coefficients(count))
            matrices.append(whole)
        return along(value, matrices)

    def tails(self, value: Array) -> dict[str, Array]:
        """The last two coefficients of V along each continuous state, by the largest one that is no constant's."""
        matrices = [
            chebyshev.coefficients(n) if name not in self.chains else np.eye(n)
            for name, n in zip(self.names, self.shape, strict=True)
        ]
        found = jnp.abs(along(value, matrices))
        constant = jnp.ones(self.shape, bool)
        for name in self.flow.continuous:
            constant = constant & self.ends(name)[0]
        most = jnp.maximum(jnp.max(jnp.where(constant, 0.0, found)), rounding() * jnp.max(found))
        last = lambda name: jnp.take(found, np.asarray([-2, -1]), axis=self.names.index(name))  # noqa: E731
        return {name: jnp.max(last(name)) / jnp.where(most > 0, most, 1.0) for name in self.flow.continuous}

    def _linked(self, points: Points) -> list[Array]:
        return self.links.at(points.states, points.onto, points.slope)

    def tangent(self, marginals: Named, curvatures: Named) -> Tangent:
        """H and its derivatives at the nodes, in marginal values and curvatures."""
        points = self.points

        def one(states: Named, slope: Named, wall: Named, *own: Named) -> tuple[Array, tuple[Named, Named]]:
            return jax.value_and_grad(lambda *given: self._one(states, slope, wall, *given), argnums=(0, 1))(*own)

        total, (by_marginal, by_curvature) = jax.vmap(one)(
            points.states, points.slope, points.wall, marginals, curvatures
        )
        return Tangent(total, by_marginal, by_curvature)

    def system(self, tangent: Tangent, marginals: Named, curvatures: Named) -> tuple[Array, Array]:
        """The matrix that is tangent to the equation, shape (n, n), and the right side."""
        right = tangent.total
        for name in self.flow.continuous:
            right = right - tangent.by_marginal[name] * marginals[name]
            right = right - tangent.by_curvature[name] * curvatures[name]
        rate = self.discount
        matrix = jnp.diag(rate) - self._matrix(tangent.by_marginal, tangent.by_curvature)
        absorbed = self.absorbed.reshape(-1)
        matrix = jnp.where(absorbed[:, None], jnp.diag(rate), matrix)
        return matrix, jnp.where(absorbed, rate * self.worth.reshape(-1), right)

    def _matrix(self, drift: Named, half: Named) -> Array:
        """What takes V to drift V_s + half V_ss and what is linear in V by itself."""
        points, shape, size = self.points, self.shape, int(np.prod(self.shape))
        found = sum(self.linked, start=jnp.zeros((size, size)))
        for name in self.flow.continuous:
            place = self.names.index(name)
            once = jnp.asarray(chebyshev.differentiation(self.lines[name].count)) / self.halves[name]
            one = points.slope[name] * drift[name] + points.bend[name] * half[name]
            two = points.slope[name] ** 2 * half[name]
            found = found + spread(one.reshape(shape), once, place)
            found = found + spread(two.reshape(shape), once @ once, place)
        return found

    # -- the population

    def moving(self, marginals: Named, curvatures: Named) -> tuple[Named, Named]:
        """Drift and half the variance of every continuous state under the policy, in its units, shape (n,)."""

        def one(states: Named, *own: Named) -> tuple[Named, Named]:
            found = self.flow.flowing(self.arguments, states, *own)
            return found.drift, {n: 0.5 * self._variance(found, states, n) for n in self.flow.continuous}

        return jax.vmap(one)(self.states, marginals, curvatures)

    def generator(self, marginals: Named, curvatures: Named) -> Array:
        """What takes a function of states to its expected change under the policy, shape (n, n)."""
        points, (drift, half) = self.points, self.moving(marginals, curvatures)
        pushed = {name: half[name] * points.wall[name] * points.slope[name] for name in drift}
        return self._matrix({name: drift[name] + pushed[name] for name in drift}, half)

    def flags(self, marginals: Named, curvatures: Named) -> dict[str, Array]:
        """What is wrong at edges.

        `outward`: at how many nodes the drift leads outward, and nothing but a constraint that binds keeps it.
        `spread`: at how many the state diffuses where no condition holds, or the drift alone is to keep it. `still`: at
        how many nothing moves away. `leak`: what is beyond an edge that is drawn may count in V within.
        """
        found: dict[str, Array] = {}
        drift, half = self.moving(marginals, curvatures)
        for name in self.flow.continuous:
            slope, bend = self.points.slope[name], self.points.bend[name]
            velocity = (drift[name] * slope + half[name] * bend).reshape(self.shape)
            variance = (half[name] * slope**2).reshape(self.shape)
            slack = rounding() * (1 + jnp.max(jnp.abs(velocity)))
            spreads = variance > rounding() * jnp.max(variance)
            leaks = self._leaks(name, velocity, variance, spreads)
            for which, (edge, side, kind) in enumerate(zip(self.ends(name), SIDES, self.sides[name], strict=True)):
                sign = (-1, 1)[which]
                bound, drawn = isinstance(kind, StateConstraint | Unstated), isinstance(kind, Drawn)
                alone = ~spreads & (drawn or isinstance(kind, Reflecting))
                found[f"outward:{side}:{name}"] = jnp.sum(edge & (sign * velocity > slack) & (alone | bound))
                found[f"spread:{side}:{name}"] = jnp.sum(edge & spreads & bound)
                found[f"still:{side}:{name}"] = jnp.sum(edge & ~spreads & (sign * velocity >= -slack))
                leaves = found[f"outward:{side}:{name}"] > 0
                found[f"leak:{side}:{name}"] = jnp.where(leaves, 1.0, leaks[which]) if drawn else jnp.zeros(())
        return found

    def _leaks(self, name: str, velocity: Array, variance: Array, spreads: Array) -> tuple[Array, Array]:
        """By how much the density falls from where a state drifts to, down to its edges, at the most."""
        place, count = self.names.index(name), self.lines[name].count
        pull = jnp.where(spreads, velocity / jnp.where(spreads, variance, 1.0), 0.0)
        whole = jnp.asarray(chebyshev.integration(count)) * self.halves[name]
        potential = jnp.tensordot(jnp.moveaxis(pull, place, 0), whole.T, axes=(0, 0))
        most = jnp.max(potential, axis=-1, keepdims=True)
        lower, upper = (jnp.max(jnp.exp(potential[..., end, None] - most)) for end in (0, -1))
        none = ~jnp.any(spreads)
        return jnp.where(none, 0.0, lower), jnp.where(none, 0.0, upper)

    def optimality(self, marginals: Named, curvatures: Named) -> Optimality:
        """At all nodes, flat."""
        gap = lambda *own: optimality(self.flow, self.arguments, *own)  # noqa: E731
        return jax.vmap(gap)(self.states, marginals, curvatures)


def _sum(matrices: list[Array], value: Array) -> Array:
    """Of what matrices make of V, shape (m,)."""
    return sum((matrix @ value.reshape(-1) for matrix in matrices), start=jnp.zeros(()))
