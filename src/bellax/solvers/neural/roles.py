"""Actor and critics: who says what is done in a state, and who says what that is worth.

    V(s) = max over k of Q_k(s, a_k(s)),    Q_k = level + unit (truncated mean of the critics)_k,

where k goes through the combinations of discrete actions, of which there is one where there are none. The actor gives
the continuous actions a_k of each, and a critic Q of every k.

The truncated mean leaves out the largest estimates: a maximum over noisy ones is too large. Without any it is the mean,
and without all but one the minimum.

Source: Kuznetsov, Shvechikov, Grishin & Vetrov (2020), "Controlling overestimation bias with truncated mixture of
continuous distributional quantile critics", ICML; Fujimoto, van Hoof & Meger (2018), ICML, for the minimum. Departs
from the first in: critics of means, not of quantiles.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from bellax.errors import ModelError
from bellax.learning import nets
from bellax.learning.nets import Shape
from bellax.problem.period import Period, combinations
from bellax.problem.plan import Plan
from bellax.solvers.neural.heads import Head
from bellax.solvers.neural.inputs import Inputs, Layout

WIDE = 3.0  # half sides of the box, from its middle, up to which states are told apart

States = Mapping[str, Array]


class Weights(NamedTuple):
    """Of the actor, shape (w,), and of every critic, shape (n, v)."""

    actor: Array
    critics: Array


class Scale(NamedTuple):
    """Q is a critic times the unit, beside a level."""

    level: Array
    unit: Array


class Decision(NamedTuple):
    """What critics choose at one state.

    Attributes:
        outputs: of the actor for the combination that is chosen, shape (m,).
        place: of that combination.
        stop: whether to stop.
        values: of every combination by the mean of the critics, shape (k,); -inf where it may not be chosen.
    """

    outputs: Float[Array, "m"]
    place: Array
    stop: Array
    values: Float[Array, "k"]


class Roles:
    """The shapes of actor and critics, and what they say at one state. Static.

    Args:
        layout, head: how nets see states, and how outputs become actions.
        hidden: widths of hidden layers.
        critics, dropped: how many there are, and how many of the largest estimates are left out.
    """

    def __init__(self, layout: Layout, head: Head, hidden: tuple[int, ...], critics: int, dropped: int) -> None:
        self.plan: Plan = layout.plan
        self.layout, self.head, self.critics, self.dropped = layout, head, critics, dropped
        self.count, self.numbers = len(combinations(self.plan)), head.size
        self.actor = Shape(layout.size, hidden, self.count * self.numbers)
        self.critic = Shape(layout.size + 2 * self.numbers, hidden, self.count)
        self.bounded = np.concatenate(
            [np.full(space.size, space.bounded) for space in self.plan.controls.values()] or [np.zeros(0, bool)]
        )

    def begin(self, seed: int) -> Weights:
        """Weights to begin with."""
        actor = nets.flat(self.actor, seed) if self.numbers else jnp.zeros(0)
        return Weights(actor, jnp.stack([nets.flat(self.critic, seed + 1 + n) for n in range(self.critics)]))

    # -- what is seen

    def see(self, seen: Inputs, number: Array | int, states: States) -> Float[Array, "i"]:
        """What nets see of a state: far beyond the box no more than that it is far."""
        return jnp.clip(seen.of(number, states), -WIDE, WIDE)

    def features(self, outputs: Float[Array, "m"]) -> Float[Array, "f"]:
        """What a critic sees of the continuous actions: what the actor says, in which the logarithm of a share is
        nearly straight, and shares in [-1, 1]."""
        shares = self.shares(outputs)
        first = jnp.where(jnp.asarray(self.bounded), self.outputs_of(shares), outputs)
        return jnp.concatenate([first / 2, 2 * shares - 1])

    def shares(self, outputs: Float[Array, "m"]) -> Float[Array, "m"]:
        """Outputs as shares of the way between two bounds."""
        return self._each(lambda shares, own: shares.share(own), outputs)

    def outputs_of(self, shares: Float[Array, "m"]) -> Float[Array, "m"]:
        """Outputs for shares of the way between two bounds."""
        return self._each(lambda rule, own: rule.output(own), shares)

    def edges(self, least: float) -> np.ndarray:
        """How near shares that are tried come to a bound: `least`, or zero where bounds are reached, shape (m,)."""
        found = [np.zeros(0)]
        with jax.ensure_compile_time_eval():
            for name, space in self.plan.controls.items():
                shares = self.head.of(name)
                reached = float(shares.share(shares.output(jnp.zeros(())))) == 0.0
                found.append(np.full(space.size, 0.0 if reached else least))
        return np.concatenate(found)

    def beyond(self, outputs: Float[Array, "m"]) -> Float[Array, "m"]:
        """By how much outputs ask for more than all there is, or less than nothing."""
        return jnp.where(jnp.asarray(self.bounded), self._each(lambda shares, own: shares.beyond(own), outputs), 0.0)

    def _each(self, rule: Any, numbers: Array) -> Array:
        found, start = [], 0
        for name, space in self.plan.controls.items():
            found.append(rule(self.head.of(name), numbers[start : start + space.size]))
            start += space.size
        return jnp.concatenate(found) if found else numbers

    # -- what is said

    def candidates(self, actor: Array, u: Float[Array, "i"]) -> Float[Array, "k m"]:
        """The actor's outputs for every combination."""
        if not self.numbers:
            return jnp.zeros((self.count, 0))
        return nets.forward(nets.layers(self.actor, actor), u).reshape(self.count, self.numbers)

    def q(self, critics: Array, u: Float[Array, "i"], x: Float[Array, "k m"]) -> Float[Array, "n k"]:
        """What every critic says of every combination with these outputs."""

        def one(weights: Array) -> Array:
            layers = nets.layers(self.critic, weights)
            if self.count == 1 or not self.numbers:
                return nets.forward(layers, jnp.concatenate([u, self.features(x[0])]))
            rows = jax.vmap(lambda own: nets.forward(layers, jnp.concatenate([u, self.features(own)])))(x)
            return jnp.diagonal(rows)

        return jax.vmap(one)(critics)

    def truncated(self, q: Float[Array, "n k"]) -> Float[Array, "k"]:
        """The mean of what critics say, without the largest estimates."""
        if not self.dropped:
            return jnp.mean(q, axis=0)
        return jnp.mean(jnp.sort(q, axis=0)[: self.critics - self.dropped], axis=0)

    def allowed(self, period: Period, states: States, x: Float[Array, "k m"]) -> Bool[Array, "k"]:
        """Which combinations of discrete actions may be chosen."""
        if self.count == 1 or not (self.numbers or self.plan.constraints):
            return jnp.ones(self.count, bool)
        return self.fitting(period, states, x)

    def fitting(self, period: Period, states: States, x: Float[Array, "k m"]) -> Bool[Array, "k"]:
        """Of which combinations constraints hold, and bounds do not cross."""

        def one(place: Array, own: Array) -> Array:
            acted = self.head.act(period, states, own, place)
            # a bound that is no number is another fault, and named by itself
            return period.feasible(states, acted.actions) & ~jnp.any(acted.lower > acted.upper)

        return jax.vmap(one)(jnp.arange(self.count, dtype=jnp.int32), x)

    def worth(
        self, weights: Weights, scale: Scale, seen: Inputs, period: Period, number: Array, states: States
    ) -> Array:
        """V at one state."""
        u = self.see(seen, number, states)
        x = self.candidates(weights.actor, u)
        values = jnp.where(self.allowed(period, states, x), self.truncated(self.q(weights.critics, u, x)), -jnp.inf)
        best = scale.level + scale.unit * jnp.max(values)
        return best if self.plan.evaluate_stop is None else jnp.maximum(best, period.payoff(states))

    def decide(
        self, weights: Weights, scale: Scale, seen: Inputs, period: Period, number: Array | int, states: States
    ) -> Decision:
        """The best combination, with the actor's outputs."""
        u = self.see(seen, number, states)
        x = self.candidates(weights.actor, u)
        said = scale.level + scale.unit * jnp.mean(self.q(weights.critics, u, x), axis=0)
        values = jnp.where(self.allowed(period, states, x), said, -jnp.inf)
        # of a single combination nobody asks critics
        place = jnp.argmax(values).astype(jnp.int32) if self.count > 1 else jnp.zeros((), jnp.int32)
        stop = jnp.zeros((), bool)
        if self.plan.evaluate_stop is not None:
            stop = period.payoff(states) >= values[place]
        return Decision(x[place], place, stop, values)


def check_constraints(plan: Plan, what: str) -> None:
    """Raises ModelError for constraints on actions that are numbers: a net keeps to bounds and to no more."""
    for node in plan.constraints:
        held = set(plan.graph.leaves(node, "action")) & set(plan.controls)
        if held:
            name = node.partition(":")[2]
            raise ModelError(
                f"{what}: the constraint {name!r} is on {', '.join(sorted(map(repr, held)))}, and a net keeps to the "
                "bounds of an action only. Write it as a bound, which may name states and other actions, or use "
                "bx.solvers.ValueIteration() or bx.solvers.BackwardInduction()."
            )
