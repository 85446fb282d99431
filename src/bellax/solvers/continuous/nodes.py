"""A model of continuous time on nodes: what does not depend on V, and how mass moves at given drifts."""

import copy
from collections.abc import Mapping
from functools import cached_property
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.model.diffusion import Absorbing, Boundary, Natural
from bellax.numerics import loops
from bellax.numerics.generator import Generator, Landing, Pattern, rates
from bellax.numerics.grids import Line
from bellax.problem.flow import Arguments, Flow
from bellax.problem.period import as_float
from bellax.solvers.continuous.axis import axis

SIDES = ("lower", "upper")


class Nodes:
    """All nodes, made inside a compiled program.

    Args:
        moment: the time, of a model with an end.
    Attributes:
        shape: nodes along every state.
        states: of all nodes, flat, by name.
        discount: at the nodes.
        variance: of every continuous state whose diffusion no action moves, at the nodes.
    """

    def __init__(
        self,
        flow: Flow,
        arguments: Arguments,
        lines: Mapping[str, Line],
        sides: Mapping[str, tuple[Boundary, Boundary]],
        moment: Array | None = None,
    ) -> None:
        self.flow = flow
        self.arguments = arguments if moment is None else {**arguments, "time": moment}
        names = list(flow.spaces)
        self.chain_values = {name: flow.chain(arguments, name) for name in flow.chains}
        self.axes = {name: axis(names.index(name), lines[name], sides[name]) for name in flow.continuous}
        counts = {name: one.count for name, one in self.axes.items()}
        counts |= {name: found[0].shape[0] for name, found in self.chain_values.items()}
        self.shape = tuple(counts[name] for name in names)
        own = {name: one.line.nodes for name, one in self.axes.items()}
        own |= {name: found[0] for name, found in self.chain_values.items()}
        self.states = {name: self.laid(own[name], names.index(name)).reshape(-1) for name in names}
        point = lambda function: jax.vmap(function)(self.states).reshape(self.shape)  # noqa: E731
        given = self.arguments
        self.discount = point(lambda states: flow.discount(given, states))
        still = [name for name in flow.continuous if name not in flow.risky]
        self.variance = {n: point(lambda states, n=n: flow.variance(given, states, n)) for n in still}
        rows = {name: flow.spread(given, {n: v[0] for n, v in self.states.items()}, name).ndim for name in still}
        together = [name for name in still if rows[name]]
        self.pairs = [(one, other) for k, one in enumerate(together) for other in together[k + 1 :]]
        places = [(self.axes[one].place, self.axes[other].place) for one, other in self.pairs]
        self.common = [point(lambda states, pair=pair: flow.covariance(given, states, *pair)) for pair in self.pairs]
        self.landings = tuple(self._landing(name) for name in flow.resets)
        self.pattern = Pattern(
            self.shape,
            tuple(self.axes[name].place for name in flow.continuous),
            tuple(names.index(name) for name in flow.chains),
            tuple(places),
            tuple(landing.columns.shape[0] for landing in self.landings),
        )

    def laid(self, along: Array, place: int) -> Array:
        """Numbers along one axis, over all nodes."""
        shape = [1] * len(self.shape)
        shape[place] = along.shape[0]
        return jnp.broadcast_to(along.reshape(shape), self.shape)

    def over(self, name: str, what: str) -> Array:
        """An attribute of the axis of a state, over all nodes."""
        return self.laid(getattr(self.axes[name], what), self.axes[name].place)

    def steps(self, name: str, value: Array) -> tuple[Array, Array]:
        """What V changes by to the neighbour above, and from the one below; nothing where there is none."""
        place = self.axes[name].place
        step = jnp.diff(value, axis=place)
        pad = [(0, 0)] * value.ndim
        pad[place] = (0, 1)
        ahead = jnp.pad(step, pad)
        pad[place] = (1, 0)
        return ahead, jnp.pad(step, pad)

    def at_nodes(self, function: Any, *of: Any) -> Any:
        """A pointwise function of states and of more, at all nodes."""
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1), of)
        found = jax.vmap(function)(self.states, *flat)
        return jax.tree.map(lambda leaf: leaf.reshape(self.shape), found)

    def at_some(self, asked: Array, function: Any, known: Any, *of: Any) -> Any:
        """As `at_nodes`, at some of them, one batch after the other; elsewhere what is known."""
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1), (known, asked, of))
        found = loops.among(flat[1], lambda given: function(given[0], *given[1]), (self.states, flat[2]), flat[0])
        return jax.tree.map(lambda leaf: leaf.reshape(self.shape), found)

    def ends(self, name: str) -> tuple[Array, Array]:
        """Which nodes are at the lower and the upper edge of a state."""
        own = self.axes[name]
        numbers = self.laid(jnp.arange(own.count, dtype=jnp.int32), own.place)
        return numbers == 0, numbers == own.count - 1

    @property
    def absorbs(self) -> bool:
        """Whether the problem ends at an edge."""
        return any(isinstance(kind, Absorbing) for own in self.axes.values() for kind in own.sides)

    @cached_property
    def absorbed(self) -> tuple[Array, Array]:
        """Which nodes are at an edge where the problem ends, and what that is worth."""
        mask, worth = jnp.zeros(self.shape, bool), jnp.zeros(self.shape)
        for name, own in self.axes.items():
            for which, (side, kind) in enumerate(zip(SIDES, own.sides, strict=True)):
                if isinstance(kind, Absorbing):
                    node, here = f"boundary:{side}.{name}", self.ends(name)[which]
                    value = self.at_nodes(lambda states, node=node: self._one(node, states))
                    mask, worth = mask | here, jnp.where(here, value, worth)
        return mask, worth

    def _one(self, node: str, states: Mapping[str, Array]) -> Array:
        return as_float(self.flow.graph.compose([node])(**{**self.arguments, **states})[node])

    @cached_property
    def payoff(self) -> Array:
        """Of stopping."""
        return self.at_nodes(lambda states: self.flow.stop(self.arguments, states))

    def in_coordinate(self, name: str, variance: Array) -> Array:
        """The variance of the coordinate; none at an edge that is never reached."""
        found = variance * self.over(name, "slope") ** 2
        first, last = self.ends(name)
        lower, upper = self.axes[name].sides
        return jnp.where((first & isinstance(lower, Natural)) | (last & isinstance(upper, Natural)), 0.0, found)

    def shift(self, name: str, variance: Array) -> Array:
        """The drift of the coordinate of a state that has none itself."""
        return 0.5 * variance * self.over(name, "bend")

    def moving(self, name: str, velocity: Array, variance: Array) -> tuple[Array, Array]:
        """Rates up and down along a state.

        Args:
            velocity, variance: in the coordinate.
        """
        up, down = rates(velocity, variance, self.over(name, "below"), self.over(name, "above"))
        first, last = self.ends(name)
        # beyond a wall is a mirror, and the node at it stands for half a cell
        lower, upper = self.axes[name].sides
        wall = lambda kind: not isinstance(kind, Absorbing)  # noqa: E731
        up = jnp.where(first & wall(lower) & (variance > 0) & (down > 0), 2 * up, up)
        down = jnp.where(last & wall(upper) & (variance > 0) & (up > 0), 2 * down, down)
        return jnp.where(last, 0.0, up), jnp.where(first, 0.0, down)

    def generator(self, velocity: Mapping[str, Array], variance: Mapping[str, Array]) -> tuple[Generator, Array]:
        """How mass moves at these velocities, in coordinates, and variances; and the least variance that diagonals
        leave to an axis, as a share of its own.

        One below zero says that no monotone stencil of these neighbours has so much covariance.
        """
        velocity = dict(velocity)
        own = {name: self.in_coordinate(name, variance[name]) for name in velocity}
        left, diagonals = dict(own), []
        for (one, other), common in zip(self.pairs, self.common, strict=True):
            found = self._diagonal(one, other, common)
            diagonals.append(found)
            # what goes along diagonals moves both states, and is taken from what goes along the axes
            for name, signs in ((one, (1, -1, 1, -1)), (other, (1, -1, -1, 1))):
                steps = [self.over(name, "above" if sign > 0 else "below") for sign in signs]
                for rate, step, sign in zip(found, steps, signs, strict=True):
                    velocity[name] = velocity[name] - sign * rate * step
                    left[name] = left[name] - rate * step**2
        least, up, down = jnp.ones(()), [], []
        for name in self.flow.continuous:
            if self.pairs:
                least = jnp.minimum(least, jnp.min(jnp.where(own[name] > 0, left[name] / own[name], 1.0)))
            rising, falling = self.moving(name, velocity[name], jnp.maximum(left[name], 0.0))
            up.append(rising)
            down.append(falling)
        chains = tuple(self.chain_values[name][1] for name in self.flow.chains)
        return Generator(self.pattern, tuple(up), tuple(down), chains, tuple(diagonals), self.landings), least

    def _diagonal(self, one: str, other: str, common: Array) -> tuple[Array, Array, Array, Array]:
        """Rates along the diagonals that give two states their covariance; none at an edge."""
        slopes = self.over(one, "slope") * self.over(other, "slope")
        inside = jnp.ones(self.shape, bool)
        for name in (one, other):
            first, last = self.ends(name)
            inside = inside & ~first & ~last
        share = jnp.where(inside, common * slopes, 0.0)
        plus, minus = jnp.maximum(share, 0.0), jnp.maximum(-share, 0.0)
        ahead, behind = (lambda name: self.over(name, "above")), (lambda name: self.over(name, "below"))
        return (
            plus / (2 * ahead(one) * ahead(other)),
            plus / (2 * behind(one) * behind(other)),
            minus / (2 * ahead(one) * behind(other)),
            minus / (2 * behind(one) * ahead(other)),
        )

    def _landing(self, name: str) -> Landing:
        """A reset: the nodes around the place that it leads to, shared as straight lines between nodes would."""
        names, count = list(self.flow.spaces), len(self.shape)
        strides = [1] * count
        for place in range(count - 2, -1, -1):
            strides[place] = strides[place + 1] * self.shape[place + 1]
        jumping = self.flow.resets[name]
        continuous = [state for state in jumping if state in self.axes]

        def one(states: Any) -> tuple[Array, Array, Array]:
            found = self.flow.jumping(self.arguments, states, name)
            base, shares = jnp.zeros((), jnp.int32), []
            for state, value in found.to.items():
                stride = strides[names.index(state)]
                if state in self.axes:
                    cell = self.axes[state].line.locate(as_float(value))
                    base = base + cell.node * stride
                    share = jnp.clip(cell.fraction, 0.0, 1.0)
                    shares.append(((0, 1 - share), (stride, share)))
                else:
                    nearest = jnp.argmin(jnp.abs(self.chain_values[state][0] - value))
                    base = base + nearest.astype(jnp.int32) * stride
            corners = [tuple(zip(*corner, strict=True)) for corner in product(*shares)] if shares else [((0,), (1.0,))]
            columns = jnp.stack([base + sum(steps) for steps, _ in corners])
            return found.rate, columns, jnp.stack([_product(parts) for _, parts in corners])

        rate, columns, shares = jax.vmap(one)(self.states)
        numbers = jnp.arange(rate.shape[0], dtype=jnp.int32)
        kept = jnp.zeros_like(numbers)
        for place, state in enumerate(names):
            if state not in jumping:
                kept = kept + (numbers // strides[place]) % self.shape[place] * strides[place]
        assert columns.shape[1] == 2 ** len(continuous)
        wide = lambda array: jnp.moveaxis(array, 1, 0).reshape(-1, *self.shape)  # noqa: E731
        return Landing(rate.reshape(self.shape), wide(columns + kept[:, None]), wide(shares))

    @cached_property
    def stopped(self) -> Any:
        """The same without derivatives."""
        still = copy.copy(self)
        for name, kept in vars(self).items():
            if name not in ("flow", "pattern", "shape", "pairs"):
                setattr(still, name, jax.tree.map(lax.stop_gradient, kept))
        return still


def _product(parts: tuple[Any, ...]) -> Array:
    found = jnp.ones(())
    for part in parts:
        found = found * part
    return found
