"""One period of a model, pointwise: what may be done in a state, and what it brings.

Everything is written on raw states and actions, as functions see them. Grids, simulations, certificates and diagnoses
all ask here, so that a period is written once. Looking up codes in tables, and working out first what does not see the
shock, are matters of those who ask many times.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.errors import ModelError
from bellax.model.demands import fulfilled, not_negative, probabilities
from bellax.model.distribution import without_rounding
from bellax.model.spaces import Discrete
from bellax.numerics.scalar import rounding, seen_type, take, where
from bellax.problem.plan import Plan

Values = Mapping[str, Any]
T = TypeVar("T")

Codes: TypeAlias = tuple[Int[Array, ""], ...]
Combination: TypeAlias = Int[Array, ""] | Codes
"""A combination of discrete actions: its place among all of them, or the code of each."""


class Outcome(NamedTuple):
    """What a period brings, once everything random is known.

    Attributes:
        reward, discount: of the period.
        following: tomorrow's states that a law gives, by name.
        weights: of the `Markov` states that are left open, the probabilities of their categories.
        regimes: of each regime that may be reached, its probability; none where the model has but one.
        arrivals: what `following` and `weights` are in each other regime, where mappings say it.
    """

    reward: Float[Array, ""]
    discount: Float[Array, ""]
    following: dict[str, Array]
    weights: dict[str, Array]
    regimes: dict[str, Array]
    arrivals: dict[str, "Arrived"]

    def staying(self, regime: str) -> Array | float:
        """The probability of today's regime tomorrow."""
        return self.regimes.get(regime, 0.0) if self.regimes else 1.0


class Arrived(NamedTuple):
    """States of another regime that a mapping gives: values, probabilities of categories, and parameters of
    distributions, by name."""

    following: dict[str, Array]
    weights: dict[str, Array]
    drawn: dict[str, dict[str, Array]]


class Period(eqx.Module):
    """One period.

    Attributes:
        environment: parameters, literals, period and age, by name.
    """

    environment: dict[str, Array]
    plan: Plan = eqx.field(static=True)

    # -- what may be done -----------------------------------------------------------------------------------------

    def choices(self, combination: Combination) -> dict[str, Array]:
        """What functions see of the discrete actions of a combination."""
        values: dict[str, Array] = {}
        for (name, space), code in zip(self.plan.choices.items(), self.codes(combination), strict=True):
            assert isinstance(space, Discrete)
            values[name] = take(jnp.asarray(space.values, seen_type(space.values)), code)
        return values

    def codes(self, combination: Combination) -> Codes:
        """The code of each discrete action of a combination."""
        if isinstance(combination, tuple):
            return combination
        if len(self.plan.choices) == 1:
            return (combination,)
        return tuple(take(jnp.asarray(column), combination) for column in combinations(self.plan).T)

    def place(self, combination: Combination) -> Int[Array, ""]:
        """The place of a combination of discrete actions among all of them."""
        if not isinstance(combination, tuple):
            return combination
        place = jnp.zeros((), jnp.int32)
        for space, code in zip(self.plan.choices.values(), combination, strict=True):
            assert isinstance(space, Discrete)
            place = place * len(space.values) + code
        return place

    def bounds(self, name: str, states: Values, before: Values) -> tuple[Array, Array]:
        """Lower and upper bound of a continuous action, given the actions before it, in its shape.

        Bounds that only rounding crosses, such as 0 and 10 - x at the last node of a grid that ends at 10, are equal.
        """
        leaves = {**states, **before}
        found = self.plan.evaluate_bounds[name](**self.environment, **leaves)
        shape = self.plan.controls[name].shape
        lower, upper = (jnp.broadcast_to(as_float(found[f"{side}:{name}"]), shape) for side in ("lower", "upper"))
        read = {n for side in ("lower", "upper") for n in self.plan.graph.leaves(f"{side}:{name}", "state", "action")}
        if not read:
            return lower, upper
        sizes = [jnp.max(jnp.abs(as_float(leaves[n]))) for n in sorted(read)]
        slack = 8 * float(jnp.finfo(upper.dtype).eps) * lax.stop_gradient(jnp.max(jnp.stack(sizes)))
        return lower, where((upper < lower) & (upper >= lower - slack), lower, upper)

    def resolved(
        self, states: Values, combination: Combination, act: Callable[[str, Array, Array], tuple[Array, T]]
    ) -> tuple[dict[str, Array], dict[str, T]]:
        """The actions of a combination, the continuous ones in the order in which their bounds name each other.

        Args:
            act: of a continuous action, from its name and its bounds: the action, and what else is known of it then.
        Returns:
            Every action by name, and by continuous action what else is known.
        """
        values = self.choices(combination)
        beside: dict[str, T] = {}
        for name in self.plan.controls:
            values[name], beside[name] = act(name, *self.bounds(name, states, values))
        return values, beside

    def feasible(self, states: Values, actions: Values) -> Bool[Array, ""]:
        """Whether every constraint holds."""
        feasible = jnp.ones((), bool)
        for holds in self.held(states, actions).values():
            feasible = feasible & holds
        return feasible

    def held(self, states: Values, actions: Values) -> dict[str, Bool[Array, ""]]:
        """Whether each constraint holds, by node; a smooth one may be negative by rounding."""
        leaves, found = {**states, **actions}, {}
        for node, value in self.plan.evaluate_constraints(**self.environment, **leaves).items():
            if node in self.plan.smooth_constraints:
                value = as_float(value) >= -rounding() * self._size(node, leaves)
            found[node] = jnp.asarray(value)
        return found

    def margins(self, states: Values, actions: Values) -> tuple[Float[Array, "j"], Float[Array, "j"]]:
        """Numbers of the smooth constraints on continuous actions, and how far below zero rounding may take them."""
        leaves = {**states, **actions}
        slack = rounding() * jnp.stack([self._size(node, leaves) for node in self.plan.limiting])
        return jnp.stack(self.limits(states, actions)), lax.stop_gradient(slack)

    def limits(self, states: Values, actions: Values) -> list[Float[Array, ""]]:
        """The same numbers, one by one."""
        values = self.plan.evaluate_limiting(**self.environment, **states, **actions)
        return [as_float(values[node]) for node in self.plan.limiting]

    def _size(self, node: str, leaves: Values) -> Float[Array, ""]:
        """The largest of the states and actions that a node reads, and at least one."""
        read = self.plan.graph.leaves(node, "state", "action")
        sizes = [jnp.max(jnp.abs(as_float(leaves[name]))) for name in sorted(read)]
        return jnp.max(jnp.stack([jnp.ones((), jnp.result_type(float)), *sizes]))

    def payoff(self, states: Values) -> Float[Array, ""]:
        """What stopping pays; minus infinity where the model has no `stop`."""
        if self.plan.evaluate_stop is None:
            return jnp.full((), -jnp.inf)
        return as_float(self.plan.evaluate_stop(**self.environment, **states)["slot:stop"])

    def terminal(self, states: Values) -> Float[Array, ""]:
        """The value after the last decision, if this is the period after it; zero where the model states none."""
        if self.plan.evaluate_terminal is None:
            return jnp.zeros(())
        return as_float(self.plan.evaluate_terminal(**self.environment, **states)["slot:terminal"])

    def taste_scale(self) -> Float[Array, ""]:
        """The scale of taste shocks; zero where there are none."""
        if self.plan.taste_shocks is None:
            return jnp.zeros(())
        return as_float(self.plan.graph.compose(["taste:scale"])(**self.environment)["taste:scale"])

    # -- what it brings -------------------------------------------------------------------------------------------

    def known(self, states: Values, actions: Values) -> dict[str, Any]:
        """By node, what nothing random is needed for: `outcome` takes it, where that is asked for many shocks."""
        return self.plan.evaluate_known(**self.environment, **states, **actions)

    def outcome(self, states: Values, actions: Values, realised: Values, known: Values | None = None) -> Outcome:
        """What the period brings.

        Args:
            states, actions: by name.
            realised: shocks by name, and `next_<state>` of processes and `Markov` states; what no function sees, and
                `Markov` states whose probabilities are asked for, may be absent.
            known: what `known` says of these states and actions.
        """
        known = self.known(states, actions) if known is None else known
        random = self.plan.evaluate_random(**self.environment, **states, **actions, **known, **realised)
        values = {**known, **random}
        plan = self.plan
        lawful = [name for name in (*plan.continuous, *plan.discrete) if name not in plan.markov]
        following = {name: self._shaped(name, values[f"next_{name}"]) for name in lawful}
        weights = {n: self.probabilities(n, values) for n in plan.markov if f"next_{n}" not in realised}
        regimes = self.regimes(values["slot:next_regime"]) if plan.moves_on else {}
        arrivals = {target: self._arrived(target, values) for target in plan.arrivals}
        return Outcome(as_float(values["slot:reward"]), self.discount(values), following, weights, regimes, arrivals)

    def regimes(self, given: Mapping[str, Any]) -> dict[str, Array]:
        """The probability of each regime tomorrow; NaN where a function gives what are none."""
        together = jnp.stack([as_float(probability) for probability in given.values()])
        fine = fulfilled(probabilities("next_regime"), {"next_regime": together})
        found = where(jnp.broadcast_to(fine, together.shape), without_rounding(together), jnp.nan)
        return {name: found[place] for place, name in enumerate(given)}

    def _arrived(self, target: str, values: Values) -> Arrived:
        """What the mappings to another regime give."""
        following, weights, drawn = {}, {}, {}
        for state, arrival in self.plan.arrivals[target].items():
            if arrival.way == "given":
                following[state] = jnp.asarray(values[arrival.node])
            elif arrival.way == "chances":
                given = as_float(values[arrival.node])
                fine = fulfilled(probabilities(state), {state: given})
                weights[state] = where(jnp.broadcast_to(fine, given.shape), without_rounding(given), jnp.nan)
            elif arrival.way == "drawn":
                drawn[state] = {node.rpartition(".")[2]: as_float(values[node]) for node in arrival.nodes}
        return Arrived(following, weights, drawn)

    def discount(self, values: Values) -> Float[Array, ""]:
        """The discount among the values of functions; NaN where it is negative and no check before the solve saw it."""
        found = as_float(values["slot:discount"])
        seen_before = not self.plan.graph.leaves("slot:discount", "state", "action", "shock", "next")
        return (
            found if seen_before else where(fulfilled([not_negative("discount")], {"discount": found}), found, jnp.nan)
        )

    def probabilities(self, name: str, values: Values) -> Float[Array, "n"]:
        """Probabilities of the categories of a `Markov` state; NaN where a function gives what are none."""
        given = as_float(values[f"probabilities:{name}"])
        law = self.plan.graph.regime.transitions[name]
        if law.over:  # a table, checked before the solve
            return without_rounding(given)
        fine = fulfilled(probabilities(name), {name: given})
        return where(jnp.broadcast_to(fine, given.shape), without_rounding(given), jnp.nan)

    def _shaped(self, name: str, value: Any) -> Array:
        space = self.plan.continuous.get(name)
        return jnp.asarray(value) if space is None else jnp.broadcast_to(as_float(value), space.shape)


def combinations(plan: Plan) -> np.ndarray:
    """Codes of every combination of discrete actions, shape (k, number of discrete actions), k = 1 without any."""
    ranges = [range(len(space.values)) for space in plan.choices.values() if isinstance(space, Discrete)]
    rows = list(itertools.product(*ranges))
    return np.asarray(rows, dtype=np.int32).reshape(len(rows), len(ranges))


def over_combinations(plan: Plan, function: Callable[[Combination], T]) -> T:
    """`function` of every combination of discrete actions, in the order of `combinations`, along a first axis.

    Each action has an axis of its own on the way, so that what sees one of them is worked out once for the others.
    """
    lengths = [len(space.values) for space in plan.choices.values() if isinstance(space, Discrete)]

    def laid(codes: Codes) -> T:
        if len(codes) == len(lengths):
            return function(codes)
        return jax.vmap(lambda code: laid((*codes, code)))(jnp.arange(lengths[len(codes)], dtype=jnp.int32))

    found = laid(())
    return jax.tree.map(lambda leaf: leaf.reshape(math.prod(lengths), *leaf.shape[len(lengths) :]), found)


def taste_groups(plan: Plan) -> tuple[int, ...]:
    """Of every combination of discrete actions, which of the taste shocks it has: its place among their combinations.

    All have one without taste shocks.
    """
    over = () if plan.taste_shocks is None else plan.taste_shocks.over
    columns = [place for place, name in enumerate(plan.choices) if name in over]
    found: dict[tuple[int, ...], int] = {}
    return tuple(found.setdefault(tuple(row[columns].tolist()), len(found)) for row in combinations(plan))


def by_action(plan: Plan, numbers: Float[Array, "m"]) -> dict[str, Array]:
    """The numbers of the continuous actions, one after the other, by action and in its shape."""
    found, start = {}, 0
    for name, space in plan.controls.items():
        found[name] = numbers[start : start + space.size].reshape(space.shape)
        start += space.size
    return found


def in_a_row(actions: Mapping[str, Array]) -> Float[Array, "m"]:
    """Numbers by continuous action, one after the other: the inverse of `by_action`."""
    return jnp.concatenate([jnp.ravel(action) for action in actions.values()]) if actions else jnp.zeros(0)


def as_float(value: Any) -> Array:
    """A float array of the default precision, from whatever a user's function returned."""
    if jnp.iscomplexobj(value):
        raise ModelError("a function of the model gives complex numbers; keep the arguments of its roots positive.")
    return jnp.asarray(value).astype(jnp.result_type(float))
