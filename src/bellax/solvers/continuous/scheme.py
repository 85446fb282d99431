"""The Hamilton-Jacobi-Bellman equation on nodes: rates and rewards that are linear in V, and touch it there.

    discount V = H(s, V_s, V_ss) + drift of other states . V_s + 1/2 variance . V_ss + jumps and intensities . V

Along driven states H is replaced by its tangent at the marginal values that selection.py picks, state by state: reward
H - w p, and rates that have the velocity w. Newton's method on that is Howard's improvement of the policy where actions
maximise.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.model.diffusion import Absorbing, Natural, Reflecting, StateConstraint
from bellax.numerics import elimination, loops
from bellax.numerics.generator import Generator
from bellax.numerics.scalar import rounding
from bellax.problem.flow import Flowing
from bellax.problem.optimality import Optimality, optimality
from bellax.solution.flowing import Unstated
from bellax.solvers.continuous.nodes import SIDES, Nodes
from bellax.solvers.continuous.selection import Differences, Kind, Selected, Velocity, of_kind, select, stay
from bellax.solvers.continuous.tangent import Given, Tangent, tangent

_NEAR = 1e-4  # of the marginal value at which a state stays, how much less the first ones are at most
_PASSES = 3  # over driven states, where there are several
_TOGETHER = 3  # steps of Newton's method
_SAME = 1e-9  # relative difference of marginal values that are one, up to rounding
_LEAVES = 1e-6  # of a marginal value, by how much that within is another one than that at which a state stays
_BENT = 4.0  # over the length of a line, how fast marginal values fall that nothing is known of
_AROUND = 100.0  # how many times more or less V may bend in the first steps

Marginals = Mapping[str, Array]


class Scheme(Nodes):
    """The equation for given parameters, made inside a compiled program."""

    stopped: "Scheme"  # type: ignore[assignment]

    # -- differences of V

    def differences(self, name: str, value: Array) -> Differences:
        """Of V along a state, in units of the state."""
        own = self.axes[name]
        below, above = self.over(name, "below"), self.over(name, "above")
        up, down = self.steps(name, value)
        ahead, behind = up / self.over(name, "right"), down / self.over(name, "left")
        first, last = self.ends(name)
        mirrored = [isinstance(side, Reflecting) for side in own.sides]
        no_behind, no_ahead = first & ~jnp.asarray(mirrored[0]), last & ~jnp.asarray(mirrored[1])
        share = above / (below + above)
        # central differences are of the coordinate, as rates have them
        central = self.over(name, "slope") * (share * down / below + (1 - share) * up / above)
        central = jnp.where(no_behind, ahead, jnp.where(no_ahead, behind, central))
        # not a number, and without derivatives of it
        ahead, behind = jnp.where(no_ahead, jnp.nan, ahead), jnp.where(no_behind, jnp.nan, behind)
        return Differences(ahead, behind, central, below, above)

    def curved(self, value: Array) -> dict[str, Array]:
        """Second derivatives of V in the states whose diffusion an action moves; at an edge that of its neighbour."""
        found = {}
        for name in self.flow.risky:
            own = self.axes[name]
            below, above = self.over(name, "below"), self.over(name, "above")
            ahead, behind = self.steps(name, value)
            ahead, behind = ahead / above, behind / below
            share = above / (below + above)
            first = share * behind + (1 - share) * ahead
            second = 2 * (ahead - behind) / (below + above)
            bent = self.over(name, "bend") * first + self.over(name, "slope") ** 2 * second
            low, high = self.ends(name)
            mirrored = [isinstance(side, Reflecting) for side in own.sides]
            bent = jnp.where(low & ~jnp.asarray(mirrored[0]), jnp.roll(bent, -1, own.place), bent)
            found[name] = jnp.where(high & ~jnp.asarray(mirrored[1]), jnp.roll(bent, 1, own.place), bent)
        return found

    # -- tangents

    def select(
        self,
        value: Array,
        marginals: Marginals,
        transport: Any = False,
        near: Marginals | None = None,
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
        bent, selected = still.curved(value), {}
        for _ in range(_PASSES if len(self.flow.driven) > 1 else 1):
            for name in self.flow.driven:
                known = still.differences(name, value)
                close = {} if near is None else near
                selected[name] = still._chosen(name, found, bent, known, transport, close, early)
                found[name] = selected[name].marginal
        return still._settled(selected, found, bent, transport) if len(self.flow.driven) > 1 else selected

    def _settled(
        self, selected: Mapping[str, Selected], marginals: Marginals, curvatures: Marginals, transport: Any
    ) -> dict[str, Selected]:
        """Where several states stay, by Newton's method on all their marginal values: one after the other they come
        near to it slowly."""
        names = self.flow.driven
        stays = jnp.stack([selected[name].kind == Kind.stays for name in names], axis=-1)
        usual = [self.variance.get(name, jnp.zeros(self.shape)) for name in names]
        shifts = [self.shift(n, one) / self.over(n, "slope") for n, one in zip(names, usual, strict=True)]

        def asked(own: Array) -> tuple[Array, Array]:
            given = {**marginals, **{name: own[..., k] for k, name in enumerate(names)}}
            velocity, steep = self._velocities(given, curvatures, transport)
            left = jnp.stack([velocity[n] + shift for n, shift in zip(names, shifts, strict=True)], axis=-1)
            slopes = jnp.stack([jnp.stack([steep[n][m] for m in names], axis=-1) for n in names], axis=-2)
            return jnp.where(stays, left, 0.0), slopes

        def step(own: Array) -> Array:
            left, slopes = asked(own)
            both = stays[..., :, None] & stays[..., None, :]
            matrix = jnp.where(both, slopes, jnp.broadcast_to(jnp.eye(len(names)), slopes.shape))
            moved = own - at_nodes(matrix, left)
            better = jnp.sum(asked(moved)[0] ** 2, axis=-1) < jnp.sum(left**2, axis=-1)
            return jnp.where(better[..., None] & jnp.all(jnp.isfinite(moved), axis=-1, keepdims=True), moved, own)

        at_nodes = jnp.vectorize(elimination.solve, signature="(n,n),(n)->(n)")
        own = loops.repeat(_TOGETHER, step, jnp.stack([selected[name].marginal for name in names], axis=-1))
        return {name: selected[name]._replace(marginal=own[..., k]) for k, name in enumerate(names)}

    def tangent(
        self, value: Array, selected: Mapping[str, Selected], transport: Any = False, early: Any = False
    ) -> Tangent:
        """Rates and rewards that touch the equation at V; with derivatives in V and in parameters."""
        found = {**{name: one.marginal for name, one in selected.items()}, **self._free(value)}
        bent = self._usual(self.curved(value), found, early)
        for _ in range(_PASSES if len(self.flow.driven) > 1 else 1):
            for name in self.flow.driven:
                known = self.differences(name, value)
                found[name] = self._moving_with(name, selected[name], known, found, bent, transport)
        return self._assembled(value, found, bent, dict(selected), transport)

    def _usual(self, curvatures: Marginals, marginals: Marginals, early: Any, bends: Any = None) -> dict[str, Array]:
        """Curvatures; in the first steps, whose V may bend upwards, not far from those that marginal values suggest."""
        found = {}
        for name, bent in curvatures.items():
            usual = -jnp.abs(marginals[name]) * (self._bends[name] if bends is None else bends[name])
            near = jnp.clip(jnp.nan_to_num(bent, nan=0.0), usual * _AROUND, usual / _AROUND)
            found[name] = jnp.where(early, near, bent)
        return found

    @cached_property
    def _bends(self) -> dict[str, Array]:
        length = lambda line: line.coordinates[-1] - line.coordinates[0]  # noqa: E731
        risky = self.flow.risky
        return {name: _BENT * jnp.abs(self.over(name, "slope")) / length(self.axes[name].line) for name in risky}

    def carried(self, marginals: Marginals, curvatures: Marginals) -> Generator:
        """How mass moves under the policy that answers marginal values."""
        found = self.flowing(marginals, curvatures)
        variance = {**self.variance, **found.variance}
        velocity = {n: found.drift[n] * self.over(n, "slope") + self.shift(n, variance[n]) for n in variance}
        return self.generator(velocity, variance)[0]

    def _free(self, value: Array) -> dict[str, Array]:
        """Marginal values of states that nobody moves."""
        free = [name for name in self.flow.continuous if name not in self.flow.driven]
        return {name: self.differences(name, value).central for name in free}

    def _chosen(
        self,
        name: str,
        marginals: Marginals,
        curvatures: Marginals,
        known: Differences,
        transport: Any,
        near: Marginals,
        early: Any,
    ) -> Selected:
        close = near.get(name, jnp.zeros(self.shape))
        own_variance = self.variance.get(name, jnp.zeros(self.shape))
        wide = self.in_coordinate(name, jnp.ones(self.shape))  # what a variance of one is in coordinates
        bend = 0.5 * self.over(name, "bend")

        def velocity(states: Any, others: Any, curved: Any, more: Any) -> Velocity:
            slope, bend, wide, usual, bends = more

            def of(marginal: Array) -> tuple[Array, Array, Array]:
                given = {**others, name: marginal}
                bent = self._usual(curved, given, early, bends)
                total, velocity, flowing = self.flow.hamiltonian(self.arguments, states, given, name, bent)
                velocity = jnp.where(transport, flowing.drift[name], velocity)
                variance = flowing.variance.get(name, usual)
                return total, velocity * slope + bend * variance, wide * variance

            return of

        def one(states: Any, others: Any, curved: Any, more: Any, own: Differences, close: Array) -> Any:
            def kept(marginals: Array, fine: Array) -> Array:
                # where marginal values may have either sign there are none that they have to be near to
                free = (fine & ~jnp.asarray(early)) | ~(close > 0) | fine[-1]
                near = jnp.clip(marginals, _NEAR * close, close / _NEAR)
                return jnp.where(free | (jnp.arange(4) == 3), marginals, near)

            chosen, sought = select(velocity(states, others, curved, more), own, -close, kept)
            itself = of_kind(chosen.kind, chosen.marginal, own.ahead, own.behind, own.central)
            return chosen._replace(
                found=chosen.found & (jnp.abs(itself - chosen.marginal) <= _SAME * jnp.abs(itself))
            ), sought

        more = (self.over(name, "slope"), bend, wide, own_variance, self._bends)
        given = (dict(marginals), dict(curvatures), more)
        chosen, sought = self.at_nodes(one, *given, known, close)
        # few stay, and what a loop does it does at all nodes that are in it
        still = lambda *at: stay(velocity(*at[:-1]), at[-1])  # noqa: E731
        return self.at_some(chosen.kind == Kind.stays, still, chosen, *given, sought)

    def _velocities(
        self, marginals: Marginals, curvatures: Marginals, transport: Any
    ) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
        """Velocities of driven states in their own units, and how fast they rise with each of their marginal values."""
        driven = self.flow.driven
        if not driven:
            return {}, {}

        def one(states: Any, own: dict[str, Array], bent: dict[str, Array]) -> Any:
            def total(moved: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
                given = {**own, **moved}
                found = self.flow.flowing(self.arguments, states, given, bent)
                value = found.reward + sum(given[each] * found.drift[each] for each in driven)
                value = value + sum(0.5 * bent[each] * found.variance[each] for each in self.flow.risky)
                return value, {name: found.drift[name] for name in driven}

            def velocity(moved: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
                slopes, drift = jax.jacfwd(total, has_aux=True)(moved)
                found = {name: jnp.where(transport, drift[name], slopes[name]) for name in driven}
                return found, found

            steep, found = jax.jacfwd(velocity, has_aux=True)({name: own[name] for name in driven})
            return found, steep

        return self.at_nodes(one, dict(marginals), dict(curvatures))

    def _moving_with(
        self,
        name: str,
        chosen: Selected,
        known: Differences,
        marginals: Marginals,
        curvatures: Marginals,
        transport: Any,
    ) -> Array:
        """The marginal value, with its derivative: that of a difference, or of where the velocity is zero."""
        fixed = {**marginals, name: lax.stop_gradient(chosen.marginal)}
        velocity, steep = self._velocities(fixed, curvatures, transport)
        own = steep[name][name]
        root = -velocity[name] / lax.stop_gradient(jnp.where(own == 0, 1.0, own))
        moved = of_kind(chosen.kind, root, known.ahead, known.behind, known.central)
        return fixed[name] + moved - lax.stop_gradient(moved)

    def flowing(self, marginals: Marginals, curvatures: Marginals) -> Flowing:
        """What flows at all nodes."""
        flow = lambda states, own, bent: self.flow.flowing(self.arguments, states, own, bent)  # noqa: E731
        return self.at_nodes(flow, dict(marginals), dict(curvatures))

    def _assembled(
        self,
        value: Array,
        marginals: dict[str, Array],
        curvatures: dict[str, Array],
        selected: dict[str, Selected],
        transport: Any,
    ) -> Tangent:
        found = self.flowing(marginals, curvatures)
        moving, steep = self._velocities(marginals, curvatures, transport)
        variance = {**self.variance, **found.variance}
        given = Given(marginals, curvatures, selected, found, moving, steep, variance)
        return tangent(self, value, given, transport)

    def start(self) -> tuple[Array, dict[str, Array]]:
        """V of staying where one is for ever, and marginal values at which one does."""
        still, flowing = self.begun
        reward = jnp.where(jnp.isfinite(flowing.reward), flowing.reward, 0.0)
        return reward / self.discount, {name: still[name] for name in self.flow.driven}

    @cached_property
    def begun(self) -> tuple[dict[str, Array], Flowing]:
        """Marginal values at which one stays where one is, and what flows then."""
        still = {name: jnp.ones(self.shape) for name in self.flow.continuous}
        bent = {name: jnp.zeros(self.shape) for name in self.flow.risky}
        none, tiny = jnp.full(self.shape, jnp.nan), jnp.full(self.shape, 1e-12)
        for name in self.flow.driven:
            below, above = self.over(name, "below"), self.over(name, "above")
            known = Differences(tiny, none, tiny, below, above)
            chosen = self.stopped._chosen(name, still, bent, known, True, {}, True)
            stays = chosen.found & (chosen.kind == Kind.stays)
            still[name] = jnp.where(stays, chosen.marginal, 1.0)
        return still, self.flowing(still, self._usual(bent, still, True))

    def flags(self, tangent: Tangent, value: Array, among: Array) -> dict[str, Array]:
        """How many nodes there are at which something is wrong, among those that take part.

        `outward`: at an edge the drift leads outward, and nothing keeps it. `spread`: the state diffuses at an edge
        that has no condition, or where the drift alone is to keep it. `lost`: elsewhere nothing stands for the
        derivative of V, or the state goes another way than the difference that does. An edge that is never reached
        keeps nobody: where V within would have a driven state leave, that it stays is no answer.
        """
        found: dict[str, Array] = {}
        for name, own in self.axes.items():
            edges, velocity, none = self.ends(name), tangent.drift[name], jnp.zeros(self.shape, bool)
            slack = rounding() * (1 + jnp.max(jnp.abs(velocity)))
            variance = tangent.variance[name]
            spreads = variance > rounding() * jnp.max(variance)
            lost = none
            if name in tangent.selected:
                way, missing = tangent.selected[name].kind, ~tangent.selected[name].found
                against = ((way == Kind.ahead) & (velocity < -slack)) | ((way == Kind.behind) & (velocity > slack))
                lost = missing | ((against | tangent.astray[name]) & (len(self.flow.driven) > 1))
            for which, (side, kind) in enumerate(zip(SIDES, own.sides, strict=True)):
                outward = velocity < -slack if which == 0 else velocity > slack
                if isinstance(kind, Natural) and name in tangent.selected:
                    outward = outward | self._kept(name, which, tangent.selected[name], value)
                bad = edges[which] & (none if isinstance(kind, Reflecting | Absorbing) else outward | lost) & among
                unkept = edges[which] & (spreads if isinstance(kind, Unstated | StateConstraint) else none) & among
                lost = lost & ~bad
                found |= {f"outward:{side}:{name}": jnp.sum(bad), f"spread:{side}:{name}": jnp.sum(unkept)}
            found[f"lost:{name}"] = jnp.sum(lost & among)
        return found

    def _kept(self, name: str, which: int, chosen: Selected, value: Array) -> Array:
        """Whether a driven state stays where the difference of V within would lead it out: velocities rise with
        marginal values."""
        known = self.differences(name, value)
        beyond = chosen.marginal - known.ahead if which == 0 else known.behind - chosen.marginal
        return (chosen.kind == Kind.stays) & (beyond > _LEAVES * jnp.abs(chosen.marginal))

    def held(self, generator: Generator) -> Array:
        """Nodes at an edge that mass enters along a state without diffusing, and does not leave along it."""
        found, least = jnp.zeros(self.shape, bool), rounding() * jnp.max(generator.leaving)
        for place, name in enumerate(self.flow.continuous):
            up, down = generator.up[place], generator.down[place]
            first, last = self.ends(name)
            still = self.variance.get(name, jnp.ones(self.shape)) == 0
            still = still | (first & isinstance(self.axes[name].sides[0], Natural))
            still = still | (last & isinstance(self.axes[name].sides[1], Natural))
            axis = self.axes[name].place
            entered_down = jnp.roll(down, -1, axis) > least  # from the neighbour
            entered_up = jnp.roll(up, 1, axis) > least
            found = (
                found | (first & still & (up <= least) & entered_down) | (last & still & (down <= least) & entered_up)
            )
        return found

    def optimality(self, marginals: Marginals, curvatures: Marginals) -> Optimality:
        """At all nodes; see problem/optimality.py."""
        if not self.flow.policy and not self.flow.free:
            return Optimality(*(jnp.zeros(self.shape),) * 3)
        gap = lambda states, own, bent: optimality(self.flow, self.arguments, states, own, bent)  # noqa: E731
        return self.at_nodes(gap, dict(marginals), dict(curvatures))
