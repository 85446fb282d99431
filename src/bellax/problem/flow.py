"""A model of continuous time with numbers and without a grid: what flows at one state, pointwise.

At a state s, given marginal values p = V_s, and q = V_ss where an action moves the diffusion, the actions are those of
closed forms, or the best ones (best.py), and

    H(s, p, q) = r + sum of p_i drift_i + 1/2 sum of q_i variance_i

is the Hamiltonian. Its derivative in p is the velocity at which values travel: the drift, by the envelope theorem,
where actions maximise; something else where reward or functions name `marginal_<state>` by themselves.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.errors import ModelError
from bellax.model.diffusion import DiffusionModel
from bellax.model.graph import Graph
from bellax.model.spaces import Continuous, Discrete, MarkovChain
from bellax.problem.best import Candidates, best
from bellax.problem.period import as_float

Arguments = dict[str, Any]
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Flowing(NamedTuple):
    """What flows at a state.

    Attributes:
        reward: the flow of reward.
        drift: of each continuous state, in its own units.
        actions: by name.
        variance: per unit of time, of each state whose diffusion an action moves.
    """

    reward: Array
    drift: dict[str, Array]
    actions: dict[str, Array]
    variance: dict[str, Array]


class Jumping(NamedTuple):
    """A jump to a given state.

    Attributes:
        rate: per unit of time.
        to: where to, of the states that jump.
    """

    rate: Array
    to: dict[str, Array]


class Flow:
    """The static side of a diffusion model: no array, no grid.

    Args:
        scan: candidates of actions without closed forms; none where the first-order condition is enough.
    Attributes:
        continuous: names of the continuous states.
        chains: names of the others.
        free: continuous actions without a closed form.
        choices: discrete actions without one.
        risky: states whose diffusion sees an action.
        driven: continuous states whose drift sees an action or a marginal value.
        adjoint: whether marginal values are named by closed forms of actions alone, so that values and mass follow the
            same drift.
    """

    def __init__(self, model: DiffusionModel, scan: Candidates | None = None) -> None:
        self.graph: Graph = model.graphs[""]
        self.spaces = dict(model.states)
        self.actions = dict(model.actions)
        self.policy = tuple(model.policy)
        self.spreads = tuple(model.diffusion)
        self.resets = {name: tuple(reset.to) for name, reset in model.resets.items()}
        self.stops = model.stop is not None
        self.timed = math.isfinite(model.horizon)
        self.scan = scan
        self.continuous = tuple(n for n, space in model.states.items() if isinstance(space, Continuous))
        self.chains = tuple(name for name in model.states if name not in self.continuous)
        open_ended = [name for name in self.actions if name not in self.policy]
        self.choices = tuple(name for name in open_ended if isinstance(self.actions[name], Discrete))
        self.free = tuple(name for name in open_ended if name not in self.choices)
        self.risky = tuple(name for name in self.spreads if self.graph.leaves(f"diffusion:{name}", "action"))
        moved = {name: self.graph.leaves(f"drift:{name}", "action", "marginal") for name in self.continuous}
        self.driven = tuple(name for name in self.continuous if moved[name] or name in self.risky)
        seen = ["slot:reward", *(f"drift:{name}" for name in self.continuous)]
        self.adjoint = not any(self.graph.leaves(node, "marginal") for node in seen)
        self.order = self._order()
        self._check_bounds()
        self._check_still()

    def _check_bounds(self) -> None:
        """Raises ModelError for an action that is sought between bounds that move with another one that is: one after
        the other they end in a corner that need not be the best."""
        sought = {*self.free, *self.choices}
        for name in self.free:
            for side in ("lower", "upper"):
                others = self.graph.leaves(f"{side}:{name}", "action") & sought
                if others:
                    raise ModelError(
                        f"the {side} bound of the action {name!r} names {sorted(others)[0]!r}, and both are sought. "
                        "Give one of them a closed form (policy=); or let it be a share of what the other leaves."
                    )

    @cached_property
    def placing(self) -> frozenset[str]:
        """Names of parameters with which nodes move: those that the bounds of states see."""
        sides = [f"{side}:{name}" for name in self.continuous for side in ("lower", "upper")]
        return frozenset().union(*(self.graph.reach(node) for node in sides))

    def _check_still(self) -> None:
        """Raises ModelError for nodes or intensities that move with time: they are the same at all moments."""
        nodes = {
            f"{side}:{name}": f"the {side} bound of the state {name!r}"
            for name in self.continuous
            for side in ("lower", "upper")
        }
        nodes |= {
            f"process:{name}.{part}": f"the {part} of the state {name!r}"
            for name in self.chains
            for part in ("values", "intensity")
        }
        moving = [node for node in nodes if node in self.graph.slots and self.graph.leaves(node, "clock")]
        if moving:
            raise ModelError(
                f"{nodes[moving[0]]} names 'time', and nodes and intensities are the same at all moments. Let drifts, "
                "diffusions, rewards or the rates of resets= move with time; between categories, too: one bx.Reset "
                "for each."
            )

    def _order(self) -> tuple[str, ...]:
        """Closed forms, each after those that it names."""
        left, order = list(self.policy), []
        while left:
            ready = [n for n in left if not (self.graph.leaves(f"policy:{n}", "action") & set(left))]
            if not ready:
                raise ModelError(f"the closed forms of {left} name each other in a circle.")
            order += ready
            left = [name for name in left if name not in ready]
        return tuple(order)

    def bounds(self, arguments: Arguments, name: str) -> tuple[Array, Array]:
        """Bounds of a continuous state."""
        found = self.graph.compose([f"lower:{name}", f"upper:{name}"])(**arguments)
        return as_float(found[f"lower:{name}"]), as_float(found[f"upper:{name}"])

    def chain(self, arguments: Arguments, name: str) -> tuple[Array, Array]:
        """Values of a chain as functions see them, and its intensities."""
        node, space = f"process:{name}", self.spaces[name]
        assert isinstance(space, MarkovChain)
        intensity = as_float(self.graph.compose([f"{node}.intensity"])(**arguments)[f"{node}.intensity"])
        if space.known:
            return jnp.asarray(space.values), intensity
        return self.graph.compose([f"{node}.values"])(**arguments)[f"{node}.values"], intensity

    def discount(self, arguments: Arguments, states: Mapping[str, Array]) -> Array:
        return self._one("slot:discount", arguments, states)

    def variance(self, arguments: Arguments, states: Mapping[str, Array], name: str) -> Array:
        """The variance of a continuous state per unit of time, where no action moves it."""
        return jnp.sum(self.spread(arguments, states, name) ** 2)

    def spread(self, arguments: Arguments, states: Mapping[str, Array], name: str) -> Array:
        """The standard deviation of a continuous state, or its loadings on common shocks."""
        if name not in self.spreads:
            return jnp.zeros(())
        return self._one(f"diffusion:{name}", arguments, states)

    def covariance(self, arguments: Arguments, states: Mapping[str, Array], one: str, other: str) -> Array:
        """The covariance of two continuous states per unit of time: none unless both have loadings."""
        rows = [self.spread(arguments, states, name) for name in (one, other)]
        if any(row.ndim == 0 for row in rows):
            return jnp.zeros(())
        if rows[0].shape != rows[1].shape:
            raise ModelError(
                f"diffusion of {one!r} has loadings on {rows[0].shape[0]} shocks, and that of {other!r} on "
                f"{rows[1].shape[0]}; all rows are loadings on the same shocks."
            )
        return jnp.sum(rows[0] * rows[1])

    def correlated(self, arguments: Arguments, states: Mapping[str, Array]) -> list[tuple[str, str]]:
        """Pairs of states that have loadings on the same shocks."""
        still = [name for name in self.spreads if name not in self.risky]
        together = [name for name in still if self.spread(arguments, states, name).ndim]
        return [(one, other) for place, one in enumerate(together) for other in together[place + 1 :]]

    def variances(self, arguments: Arguments, states: Mapping[str, Array], found: Flowing) -> dict[str, Array]:
        """Of every continuous state per unit of time, whether an action moves it or not."""
        still = [name for name in self.continuous if name not in self.risky]
        return {**{name: self.variance(arguments, states, name) for name in still}, **found.variance}

    def stop(self, arguments: Arguments, states: Mapping[str, Array]) -> Array:
        """The payoff of stopping."""
        return self._one("slot:stop", arguments, states)

    def terminal(self, arguments: Arguments, states: Mapping[str, Array]) -> Array:
        """V at the end of a finite horizon."""
        return self._one("slot:terminal", arguments, states)

    def jumping(self, arguments: Arguments, states: Mapping[str, Array], name: str) -> Jumping:
        """One of the resets."""
        nodes = [f"to:{name}.{state}" for state in self.resets[name]]
        found = self.graph.compose([f"rate:{name}", *nodes])(**arguments, **states)
        to = {state: found[node] for state, node in zip(self.resets[name], nodes, strict=True)}
        to = {state: as_float(own) if state in self.continuous else own for state, own in to.items()}
        return Jumping(as_float(found[f"rate:{name}"]), to)

    def flowing(
        self,
        arguments: Arguments,
        states: Mapping[str, Array],
        marginals: Mapping[str, Array],
        curvatures: Mapping[str, Array] = _NOTHING,
    ) -> Flowing:
        """What flows at a state where marginal values are these.

        Args:
            curvatures: second derivatives of V, of states whose diffusion an action moves.
        """
        known = self._known(arguments, states, marginals, curvatures)
        return self.under(known, self._decided(known))

    def _known(self, arguments: Arguments, states: Any, marginals: Any, curvatures: Any) -> Arguments:
        known = {**arguments, **states, **{f"marginal_{name}": value for name, value in marginals.items()}}
        return known | {f"curvature_{name}": value for name, value in curvatures.items()}

    def under(self, known: Arguments, actions: Mapping[str, Array]) -> Flowing:
        """What flows under given actions."""
        spreads = [f"diffusion:{name}" for name in self.risky]
        nodes = ["slot:reward", *(f"drift:{name}" for name in self.continuous), *spreads]
        found = self.graph.compose(nodes)(**{**known, **actions})
        drift = {name: as_float(found[f"drift:{name}"]) for name in self.continuous}
        rows = {name: as_float(found[f"diffusion:{name}"]) for name in self.risky}
        shared = [name for name, row in rows.items() if row.ndim and len(self.spreads) > 1]
        if shared:
            raise ModelError(
                f"the diffusion of {shared[0]!r} moves with an action and has loadings on several shocks, and other "
                "states diffuse, too: its covariance with them is not known in this version. Give it a shock alone."
            )
        variance = {name: jnp.sum(row**2) for name, row in rows.items()}
        return Flowing(as_float(found["slot:reward"]), drift, dict(actions), variance)

    def _decided(self, known: Arguments) -> dict[str, Array]:
        """All actions: the best of discrete ones, under each of which the others are the best."""
        if not self.choices:
            return self.answering(known, {})

        def one(chosen: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            actions = self.answering(known, chosen)
            value = jnp.sum(self.terms(known, actions))
            return jnp.where(jnp.isnan(value), -jnp.inf, value), actions

        values, found = jax.vmap(one)(self.combinations())
        place = jnp.argmax(values)
        return {name: line[place] for name, line in found.items()}

    def combinations(self) -> dict[str, Array]:
        """All combinations of the discrete actions without closed forms, flat, by name."""
        spaces: dict[str, Any] = {name: self.actions[name] for name in self.choices}
        laid = jnp.meshgrid(*(jnp.asarray(space.values) for space in spaces.values()), indexing="ij")
        return {name: line.reshape(-1) for name, line in zip(self.choices, laid, strict=True)}

    def answering(self, known: Arguments, chosen: Mapping[str, Array]) -> dict[str, Array]:
        """All actions, where the discrete ones without closed forms are given."""
        own = {**known, **chosen}
        return {**chosen, **self._completed(own, self._searched(own))}

    def _searched(self, known: Arguments) -> dict[str, Array]:
        if not self.free:
            return {}
        total = lambda known, free: jnp.sum(self.terms(known, self._completed(known, free)))  # noqa: E731
        return best(total, self.limits, known, self.free, self.scan)

    def _completed(self, known: Arguments, actions: Mapping[str, Array]) -> dict[str, Array]:
        """These actions, and those of closed forms."""
        found = dict(actions)
        for name in self.order:
            found[name] = as_float(self.graph.compose([f"policy:{name}"])(**{**known, **found})[f"policy:{name}"])
        return found

    def limits(self, known: Arguments, actions: Mapping[str, Array], name: str) -> tuple[Array, Array]:
        """Bounds of an action."""
        sides = [f"lower:{name}", f"upper:{name}"]
        found = self.graph.compose(sides)(**{**known, **actions})
        return as_float(found[sides[0]]), as_float(found[sides[1]])

    def terms(self, known: Arguments, actions: Mapping[str, Array]) -> Array:
        """What the Hamiltonian is the sum of, and actions move: reward, flows of value, and what variance is worth."""
        found = self.under(known, actions)
        flows = [known[f"marginal_{name}"] * found.drift[name] for name in self.driven]
        risks = [0.5 * known[f"curvature_{name}"] * found.variance[name] for name in self.risky]
        return jnp.stack([found.reward, *flows, *risks])

    def hamiltonian(
        self,
        arguments: Arguments,
        states: Mapping[str, Array],
        marginals: Mapping[str, Array],
        name: str,
        curvatures: Mapping[str, Array] = _NOTHING,
    ) -> tuple[Array, Array, Flowing]:
        """H less the flows of states that are not driven, its derivative in the marginal value of one state, and what
        flows."""

        def of(marginal: Array) -> tuple[Array, Flowing]:
            given = {**marginals, name: marginal}
            found = self.flowing(arguments, states, given, curvatures)
            total = found.reward + sum(given[each] * found.drift[each] for each in self.driven)
            return total + sum(0.5 * curvatures[each] * found.variance[each] for each in self.risky), found

        one = jnp.ones_like(marginals[name])
        total, velocity, found = jax.jvp(of, (marginals[name],), (one,), has_aux=True)
        return total, velocity, found

    def _one(self, node: str, arguments: Arguments, states: Mapping[str, Array]) -> Array:
        return as_float(self.graph.compose([node])(**arguments, **states)[node])
