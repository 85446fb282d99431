"""The Hamilton-Jacobi-Bellman equation on nodes: rates and rewards that are linear in V, and touch it there.

    discount V = H(s, V_s) + drift of other states . V_s + 1/2 variance . V_ss + intensities . V

Along a driven state H is replaced by its tangent at the marginal value that selection.py picks: reward H - w p, and
rates that have the velocity w. Newton's method on that is Howard's improvement of the policy where actions maximise.
"""

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.model.diffusion import Boundary, Natural, Reflecting, StateConstraint
from bellax.numerics.generator import Generator, Pattern, rates
from bellax.numerics.grids import Line
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Arguments, Flow, Flowing
from bellax.solution.flowing import Unstated
from bellax.solvers.continuous.selection import Differences, Kind, Selected, select

_SIDES = ("lower", "upper")
_NEAR = 1e-4  # of the marginal value at which a state stays, how much less the first ones are at most


class Axis(eqx.Module):
    """Nodes of one continuous state, laid out over all nodes.

    Attributes:
        below, above: distances in the coordinate to the neighbours, at the ends those of the other one, shape (n,).
        slope, bend: first and second derivative of the coordinate in the state, shape (n,).
    """

    place: int = eqx.field(static=True)
    sides: tuple[Boundary, Boundary] = eqx.field(static=True)
    line: Line
    below: Array
    above: Array
    slope: Array
    bend: Array

    @property
    def count(self) -> int:
        return self.line.count


def axis(place: int, line: Line, sides: tuple[Boundary, Boundary]) -> Axis:
    """The axis of a line of nodes."""
    steps = jnp.diff(line.coordinates)
    one = lambda x: jax.jvp(line.scale.forward, (x,), (jnp.ones_like(x),))[1]  # noqa: E731
    slope = jax.vmap(one)(line.nodes)
    bend = jax.vmap(lambda x: jax.jvp(one, (x,), (jnp.ones_like(x),))[1])(line.nodes)
    below, above = jnp.concatenate([steps[:1], steps]), jnp.concatenate([steps, steps[-1:]])
    return Axis(place, sides, line, below, above, slope, bend)


class Tangent(NamedTuple):
    """What is linear in V.

    Attributes:
        generator: of values.
        reward: shape of the nodes.
        selected: of every driven state, by name.
        marginals: of every continuous state, by name.
        drift: of every continuous state, by name, in coordinates.
    """

    generator: Generator
    reward: Array
    selected: dict[str, Selected]
    marginals: dict[str, Array]
    drift: dict[str, Array]


class Scheme:
    """The equation for given parameters, made inside a compiled program."""

    def __init__(self, flow: Flow, arguments: Arguments, lines: Mapping[str, Line], sides: Mapping[str, Any]) -> None:
        self.flow, self.arguments = flow, arguments
        names = list(flow.spaces)
        self.chain_values = {name: flow.chain(arguments, name) for name in flow.chains}
        self.axes = {name: axis(names.index(name), lines[name], sides[name]) for name in flow.continuous}
        counts = {name: one.count for name, one in self.axes.items()}
        counts |= {name: found[0].shape[0] for name, found in self.chain_values.items()}
        self.shape = tuple(counts[name] for name in names)
        chained = tuple(names.index(name) for name in flow.chains)
        self.pattern = Pattern(self.shape, tuple(self.axes[name].place for name in flow.continuous), chained)
        own = {name: one.line.nodes for name, one in self.axes.items()}
        own |= {name: found[0] for name, found in self.chain_values.items()}
        self.states = {name: self._laid(own[name], names.index(name)).reshape(-1) for name in names}
        point = lambda function: jax.vmap(function)(self.states).reshape(self.shape)  # noqa: E731
        self.discount = point(lambda states: flow.discount(arguments, states))
        self.variance = {
            name: point(lambda states, name=name: flow.variance(arguments, states, name)) for name in flow.continuous
        }

    def _laid(self, along: Array, place: int) -> Array:
        """Numbers along one axis, over all nodes."""
        shape = [1] * len(self.shape)
        shape[place] = along.shape[0]
        return jnp.broadcast_to(along.reshape(shape), self.shape)

    def _over(self, name: str, what: str) -> Array:
        return self._laid(getattr(self.axes[name], what), self.axes[name].place)

    # -- differences of V

    def differences(self, name: str, value: Array) -> Differences:
        """Of V along a state, in units of the state."""
        own = self.axes[name]
        below, above = self._over(name, "below"), self._over(name, "above")
        step = jnp.diff(value, axis=own.place)
        apart = jnp.diff(own.line.nodes)
        left, right = jnp.concatenate([apart[:1], apart]), jnp.concatenate([apart, apart[-1:]])
        pad = [(0, 0)] * value.ndim
        pad[own.place] = (0, 1)
        ahead = jnp.pad(step, pad, constant_values=jnp.nan) / self._laid(right, own.place)
        pad[own.place] = (1, 0)
        behind = jnp.pad(step, pad, constant_values=jnp.nan) / self._laid(left, own.place)
        first, last = self._ends(name)
        lower, upper = own.sides
        behind = jnp.where(first & isinstance(lower, Reflecting), 0.0, behind)
        ahead = jnp.where(last & isinstance(upper, Reflecting), 0.0, ahead)
        share = above / (below + above)
        central = share * behind + (1 - share) * ahead
        central = jnp.where(jnp.isnan(central), jnp.where(jnp.isnan(ahead), behind, ahead), central)
        return Differences(ahead, behind, central, below, above, self._variance(name))

    def _ends(self, name: str) -> tuple[Array, Array]:
        own = self.axes[name]
        numbers = self._laid(jnp.arange(own.count), own.place)
        return numbers == 0, numbers == own.count - 1

    def _variance(self, name: str) -> Array:
        """In the coordinate; none at an edge that is never reached."""
        found = self.variance[name] * self._over(name, "slope") ** 2
        first, last = self._ends(name)
        lower, upper = self.axes[name].sides
        none = (first & isinstance(lower, Natural)) | (last & isinstance(upper, Natural))
        return jnp.where(none, 0.0, found)

    def moving(self, name: str, velocity: Array) -> tuple[Array, Array]:
        """Rates up and down along a state.

        Args:
            velocity: in the coordinate.
        """
        variance = self._variance(name)
        up, down = rates(velocity, variance, self._over(name, "below"), self._over(name, "above"))
        first, last = self._ends(name)
        # beyond a wall is a mirror, and the node at it stands for half a cell
        up = jnp.where(first & (variance > 0) & (down > 0), 2 * up, up)
        down = jnp.where(last & (variance > 0) & (up > 0), 2 * down, down)
        return jnp.where(last, 0.0, up), jnp.where(first, 0.0, down)

    # -- tangents

    def select(
        self,
        value: Array,
        marginals: Mapping[str, Array],
        transport: Any = False,
        near: Mapping[str, Array] | None = None,
        early: Any = False,
    ) -> dict[str, Selected]:
        """What stands for the derivatives of V along driven states, by name; without derivatives.

        Args:
            marginals: the last ones of driven states, by name.
            transport: whether velocities are those of mass and not of values.
            near: marginal values from which those of driven states are not far where V asks for control without end, as
                a V may that says little.
            early: whether they never are.
        """
        value, still = lax.stop_gradient(value), self.stopped
        found = {**lax.stop_gradient(dict(marginals)), **still._free(value)}
        selected = {}
        for name in self.flow.driven:
            known = still.differences(name, value)
            selected[name] = still._chosen(name, found, known, transport, {} if near is None else near, early)
            found[name] = selected[name].marginal
        return selected

    def tangent(self, value: Array, selected: Mapping[str, Selected], transport: Any = False) -> Tangent:
        """Rates and rewards that touch the equation at V; with derivatives in V and in parameters."""
        found = {**{name: one.marginal for name, one in selected.items()}, **self._free(value)}
        for name in self.flow.driven:
            found[name] = self._moving_with(name, selected[name], self.differences(name, value), found, transport)
        return self._assembled(value, found, dict(selected), transport)

    def carried(self, marginals: Mapping[str, Array]) -> Generator:
        """How mass moves under the policy that answers marginal values."""
        found, up, down = self.flowing(marginals), [], []
        for name in self.flow.continuous:
            rising, falling = self.moving(name, found.drift[name] * self._over(name, "slope") + self._shift(name))
            up.append(rising)
            down.append(falling)
        return Generator(self.pattern, tuple(up), tuple(down), self._chained())

    def _chained(self) -> tuple[Array, ...]:
        return tuple(self.chain_values[name][1] for name in self.flow.chains)

    def _free(self, value: Array) -> dict[str, Array]:
        """Marginal values of states that nobody moves."""
        free = [name for name in self.flow.continuous if name not in self.flow.driven]
        return {name: self.differences(name, value).central for name in free}

    def _chosen(
        self,
        name: str,
        marginals: Mapping[str, Array],
        known: Differences,
        transport: Any,
        near: Mapping[str, Array],
        early: Any,
    ) -> Selected:
        close = near.get(name, jnp.zeros(self.shape))

        def one(states: Any, others: Any, own: Differences, slope: Array, shift: Array, close: Array) -> Selected:
            def of(marginal: Array) -> tuple[Array, Array]:
                total, velocity = self._travelling(name, states, {**others, name: marginal}, transport)
                return total, velocity * slope + shift

            def kept(marginal: Array) -> Array:
                total, velocity = of(marginal)
                fine = jnp.isfinite(total) & jnp.isfinite(velocity) & ~jnp.asarray(early)
                return jnp.where(fine | ~(close > 0), marginal, jnp.clip(marginal, _NEAR * close, close / _NEAR))

            sought = own._replace(ahead=kept(own.ahead), behind=kept(own.behind), central=kept(own.central))
            chosen = select(of, sought)
            itself = _of_kind(chosen.kind, chosen.marginal, own.ahead, own.behind, own.central)
            return chosen._replace(found=chosen.found & (itself == chosen.marginal))

        return self._at_nodes(one, marginals, known, self._over(name, "slope"), self._shift(name), close)

    def _travelling(
        self, name: str, states: Mapping[str, Array], marginals: Mapping[str, Array], transport: Any
    ) -> tuple[Array, Array]:
        """H, and the velocity of a driven state, in its own units."""
        total, velocity, flowing = self.flow.hamiltonian(self.arguments, states, marginals, name)
        return total, jnp.where(transport, flowing.drift[name], velocity)

    def _shift(self, name: str) -> Array:
        """The drift of the coordinate of a state that has none itself."""
        return 0.5 * self.variance[name] * self._over(name, "bend")

    def _at_nodes(self, function: Any, *of: Any) -> Any:
        """A pointwise function of states and of more, at all nodes."""
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1), of)
        found = jax.vmap(function)(self.states, *flat)
        return jax.tree.map(lambda leaf: leaf.reshape(self.shape), found)

    def _velocities(self, name: str, marginals: Mapping[str, Array], transport: Any) -> tuple[Array, Array]:
        """The velocity of a driven state in its own units, and how fast it rises with the marginal value."""

        def one(states: Any, own: dict[str, Array]) -> tuple[Array, Array]:
            of = lambda marginal: self._travelling(name, states, {**own, name: marginal}, transport)[1]  # noqa: E731
            return jax.jvp(of, (own[name],), (jnp.ones_like(own[name]),))

        return self._at_nodes(one, dict(marginals))

    def _moving_with(
        self, name: str, chosen: Selected, known: Differences, marginals: Mapping[str, Array], transport: Any
    ) -> Array:
        """The marginal value, with its derivative: that of a difference, or of where the velocity is zero."""
        fixed = {**marginals, name: lax.stop_gradient(chosen.marginal)}
        velocity, steep = self._velocities(name, fixed, transport)
        root = -velocity / lax.stop_gradient(jnp.where(steep == 0, 1.0, steep))
        moved = _of_kind(chosen.kind, root, known.ahead, known.behind, known.central)
        return fixed[name] + moved - lax.stop_gradient(moved)

    def flowing(self, marginals: Mapping[str, Array]) -> Flowing:
        """What flows at all nodes."""
        return self._at_nodes(lambda states, own: self.flow.flowing(self.arguments, states, own), dict(marginals))

    def _assembled(
        self, value: Array, marginals: dict[str, Array], selected: dict[str, Selected], transport: Any
    ) -> Tangent:
        found = self.flowing(marginals)
        reward, up, down, drift = found.reward, [], [], {}
        for name in self.flow.continuous:
            slope, shift = self._over(name, "slope"), self._shift(name)
            velocity = found.drift[name] * slope + shift
            if name in selected:
                moving, steep = self._velocities(name, marginals, transport)
                moving = jnp.where(selected[name].kind == Kind.stays, 0.0, moving)
                at, steeper, wide = self._rise(name, value, selected[name].kind)
                marginal, kept = marginals[name], lax.stop_gradient(steep * marginals[name]) * (steeper - 1)
                # marginal values are of differences in the state, and rates of those in its coordinate: to the tangent
                # at the former belongs what the marginal value changes by that
                onward = jnp.where(transport, 0.0, kept)
                velocity = jnp.where(selected[name].kind == Kind.stays, 0.0, moving * slope + shift + onward * wide)
                reward = reward + marginal * found.drift[name] + moving * (slope * at - marginal)
                reward = reward - lax.stop_gradient((moving * slope + onward * wide) * at)
            drift[name] = velocity
            rising, falling = self.moving(name, velocity)
            up.append(rising)
            down.append(falling)
        generator = Generator(self.pattern, tuple(up), tuple(down), self._chained())
        return Tangent(generator, reward, selected, marginals, drift)

    def _rise(self, name: str, value: Array, kind: Array) -> tuple[Array, Array, Array]:
        """Of the selected kind: the derivative of V in the coordinate; what that makes of a derivative in the state,
        as a share of it; and coordinates to a unit of the state between the nodes.
        """
        own, value = self.axes[name], lax.stop_gradient(value)
        step, below, above = jnp.diff(value, axis=own.place), self._over(name, "below"), self._over(name, "above")
        pad = [(0, 0)] * value.ndim
        pad[own.place] = (0, 1)
        ahead = jnp.pad(step, pad) / above
        pad[own.place] = (1, 0)
        behind = jnp.pad(step, pad) / below
        share = above / (below + above)
        wide = jnp.diff(own.line.coordinates) / jnp.diff(own.line.nodes)
        after = self._laid(jnp.concatenate([wide, wide[-1:]]), own.place)
        before = self._laid(jnp.concatenate([wide[:1], wide]), own.place)
        none, one, slope = jnp.zeros(self.shape), jnp.ones(self.shape), self._over(name, "slope")
        at = _of_kind(kind, none, ahead, behind, share * behind + (1 - share) * ahead)
        return at, _of_kind(kind, one, slope / after, slope / before, one), _of_kind(kind, none, after, before, none)

    def start(self) -> tuple[Array, dict[str, Array]]:
        """V of staying where one is for ever, and marginal values at which one does."""
        still = {name: jnp.ones(self.shape) for name in self.flow.continuous}
        none, tiny = jnp.full(self.shape, jnp.nan), jnp.full(self.shape, 1e-12)
        for name in self.flow.driven:
            below, above = self._over(name, "below"), self._over(name, "above")
            known = Differences(tiny, none, tiny, below, above, jnp.zeros(self.shape))
            chosen = self.stopped._chosen(name, still, known, True, {}, False)
            stays = chosen.found & (chosen.kind == Kind.stays)
            still[name] = jnp.where(stays, chosen.marginal, 1.0)
        flowing = self.flowing(still)
        reward = jnp.where(jnp.isfinite(flowing.reward), flowing.reward, 0.0)
        return reward / self.discount, {name: still[name] for name in self.flow.driven}

    @cached_property
    def stopped(self) -> "Scheme":
        """The same without derivatives."""
        still = copy.copy(self)
        for name, kept in vars(self).items():
            if name not in ("flow", "pattern", "shape"):
                setattr(still, name, jax.tree.map(lax.stop_gradient, kept))
        return still

    def flags(self, tangent: Tangent) -> dict[str, Array]:
        """How many nodes there are at which something is wrong.

        `outward`: at an edge the drift leads outward, and nothing keeps it. `spread`: the state diffuses at an edge
        that has no condition, or where the drift alone is to keep it. `lost`: elsewhere nothing stands for the
        derivative of V.
        """
        found: dict[str, Array] = {}
        for name, own in self.axes.items():
            edges, velocity, none = self._ends(name), tangent.drift[name], jnp.zeros(self.shape, bool)
            slack = rounding() * (1 + jnp.max(jnp.abs(velocity)))
            spreads = self.variance[name] > rounding() * jnp.max(self.variance[name])
            lost = ~tangent.selected[name].found if name in tangent.selected else none
            for which, (side, kind) in enumerate(zip(_SIDES, own.sides, strict=True)):
                outward = velocity < -slack if which == 0 else velocity > slack
                bad = edges[which] & (none if isinstance(kind, Reflecting) else outward | lost)
                unkept = edges[which] & (spreads if isinstance(kind, Unstated | StateConstraint) else none)
                lost = lost & ~bad
                found |= {f"outward:{side}:{name}": jnp.sum(bad), f"spread:{side}:{name}": jnp.sum(unkept)}
            found[f"lost:{name}"] = jnp.sum(lost)
        return found

    def held(self, generator: Generator) -> Array:
        """Nodes at an edge that mass enters along a state without diffusing, and does not leave along it."""
        found, least = jnp.zeros(self.shape, bool), rounding() * jnp.max(generator.leaving)
        for place, name in enumerate(self.flow.continuous):
            up, down = generator.up[place], generator.down[place]
            first, last = self._ends(name)
            still = self._variance(name) == 0
            axis = self.axes[name].place
            entered_down = jnp.roll(down, -1, axis) > least  # from the neighbour
            entered_up = jnp.roll(up, 1, axis) > least
            found = (
                found | (first & still & (up <= least) & entered_down) | (last & still & (down <= least) & entered_up)
            )
        return found

    def first_order_gap(self, marginals: Mapping[str, Array]) -> Array:
        """The largest of all nodes; see `Flow`."""
        flat = {name: value.reshape(-1) for name, value in marginals.items()}
        gap = lambda states, own: self.flow.first_order_gap(self.arguments, states, own)  # noqa: E731
        return jnp.max(jax.vmap(gap)(self.states, flat))


def _of_kind(kind: Array, stays: Array, ahead: Array, behind: Array, central: Array) -> Array:
    """What belongs to each `Kind`; numbers that are none where they do not belong."""
    clean = lambda which, value: jnp.where(kind == which, value, 0.0)  # noqa: E731
    return (
        clean(Kind.stays, stays) + clean(Kind.ahead, ahead) + clean(Kind.behind, behind) + clean(Kind.central, central)
    )
