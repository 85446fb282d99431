"""A model of continuous time with numbers and without a grid: what flows at one state, pointwise.

At a state s, given marginal values p = V_s, the actions are those of closed forms, and

    H(s, p) = r + sum of p_i drift_i

is the Hamiltonian. Its derivative in p is the velocity at which values travel: the drift, by the envelope theorem,
where actions maximise; something else where reward or functions name `marginal_<state>` by themselves.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.errors import ModelError
from bellax.model.diffusion import DiffusionModel
from bellax.model.graph import Graph
from bellax.model.spaces import Continuous, MarkovChain
from bellax.numerics.scalar import rounding
from bellax.problem.period import as_float

Arguments = dict[str, Any]


class Flowing(NamedTuple):
    """What flows at a state.

    Attributes:
        reward: the flow of reward.
        drift: of each continuous state, in its own units.
        actions: by name.
    """

    reward: Array
    drift: dict[str, Array]
    actions: dict[str, Array]


class Flow:
    """The static side of a diffusion model: no array, no grid.

    Attributes:
        continuous: names of the continuous states.
        chains: names of the others.
        driven: continuous states whose drift sees an action or a marginal value.
        adjoint: whether marginal values are named by closed forms of actions alone, so that values and mass follow the
            same drift.
    """

    def __init__(self, model: DiffusionModel) -> None:
        self.graph: Graph = model.graphs[""]
        self.spaces = dict(model.states)
        self.actions = dict(model.actions)
        self.policy = tuple(model.policy)
        self.spreads = tuple(model.diffusion)
        self.continuous = tuple(n for n, space in model.states.items() if isinstance(space, Continuous))
        self.chains = tuple(name for name in model.states if name not in self.continuous)
        moved = {name: self.graph.leaves(f"drift:{name}", "action", "marginal") for name in self.continuous}
        self.driven = tuple(name for name in self.continuous if moved[name])
        seen = ["slot:reward", *(f"drift:{name}" for name in self.continuous)]
        self.adjoint = not any(self.graph.leaves(node, "marginal") for node in seen)
        self.order = self._order()

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
        """The variance of a continuous state per unit of time."""
        return self.spread(arguments, states, name) ** 2

    def spread(self, arguments: Arguments, states: Mapping[str, Array], name: str) -> Array:
        """The standard deviation of a continuous state."""
        if name not in self.spreads:
            return jnp.zeros(())
        return self._one(f"diffusion:{name}", arguments, states)

    def flowing(
        self,
        arguments: Arguments,
        states: Mapping[str, Array],
        marginals: Mapping[str, Array],
        curvatures: Mapping[str, Array] = MappingProxyType({}),
    ) -> Flowing:
        """What flows at a state where marginal values are these.

        Args:
            curvatures: second derivatives of V, of states whose diffusion an action moves.
        """
        known = {**arguments, **states, **{f"marginal_{name}": value for name, value in marginals.items()}}
        known |= {f"curvature_{name}": value for name, value in curvatures.items()}
        actions: dict[str, Array] = {}
        for name in self.order:
            actions[name] = as_float(self.graph.compose([f"policy:{name}"])(**known, **actions)[f"policy:{name}"])
        nodes = ["slot:reward", *(f"drift:{name}" for name in self.continuous)]
        found = self.graph.compose(nodes)(**known, **actions)
        drift = {name: as_float(found[f"drift:{name}"]) for name in self.continuous}
        return Flowing(as_float(found["slot:reward"]), drift, actions)

    def hamiltonian(
        self, arguments: Arguments, states: Mapping[str, Array], marginals: Mapping[str, Array], name: str
    ) -> tuple[Array, Array, Flowing]:
        """H less the flows of states that are not driven, its derivative in the marginal value of one state, and what
        flows."""

        def of(marginal: Array) -> tuple[Array, Flowing]:
            given = {**marginals, name: marginal}
            found = self.flowing(arguments, states, given)
            total = found.reward + sum(given[each] * found.drift[each] for each in self.driven)
            return total, found

        one = jnp.ones_like(marginals[name])
        total, velocity, found = jax.jvp(of, (marginals[name],), (one,), has_aux=True)
        return total, velocity, found

    def first_order_gap(
        self, arguments: Arguments, states: Mapping[str, Array], marginals: Mapping[str, Array]
    ) -> Array:
        """By how much closed forms are not the best actions, marginal values held fixed.

        Returns:
            By how much they leave the first-order condition, as a share of its terms; at a bound, where it holds with
            one sign, by how much that is the other one. Infinite where an action is beyond a bound, or where it is the
            worst and not the best. Zero where the condition has no number.
        """
        if not self.policy:
            return jnp.zeros(())
        known = {**arguments, **states, **{f"marginal_{name}": value for name, value in marginals.items()}}
        actions = self.flowing(arguments, states, marginals).actions
        nodes = ["slot:reward", *(f"drift:{name}" for name in self.driven)]

        def terms(actions: dict[str, Array]) -> Array:
            found = self.graph.compose(nodes)(**known, **actions)
            drifts = [marginals[name] * as_float(found[f"drift:{name}"]) for name in self.driven]
            return jnp.stack([as_float(found["slot:reward"]), *drifts])

        worst = jnp.zeros(())
        for name, action in actions.items():
            sides = [f"lower:{name}", f"upper:{name}"]
            lower, upper = (as_float(side) for side in self.graph.compose(sides)(**known, **actions).values())

            def slopes(own: Array, name: str = name) -> Array:
                return jax.jvp(lambda x: terms({**actions, name: x}), (own,), (jnp.ones_like(own),))[1]

            first, second = jax.jvp(slopes, (action,), (jnp.ones_like(action),))
            slack = rounding() * (1 + jnp.abs(action))
            size = jnp.sum(jnp.abs(first))
            gap = jnp.sum(first) / jnp.where(size > 0, size, 1.0)
            gap = jnp.where(action >= upper - slack, jnp.maximum(-gap, 0.0), gap)
            gap = jnp.where(action <= lower + slack, jnp.maximum(gap, 0.0), gap)
            convex = jnp.sum(second) > rounding() * jnp.sum(jnp.abs(second))
            bad = (action > upper + slack) | (action < lower - slack) | (convex & (lower < action) & (action < upper))
            gap = jnp.where(bad, jnp.inf, jnp.where(jnp.isfinite(gap), jnp.abs(gap), 0.0))
            worst = jnp.maximum(worst, gap)
        return worst

    def _one(self, node: str, arguments: Arguments, states: Mapping[str, Array]) -> Array:
        return as_float(self.graph.compose([node])(**arguments, **states)[node])
