"""T V - V of a solution without a grid, at any states: what one period of the best action says of V, and of the policy.

    T V(s) = max(payoff, max_a E[r + discount V(s')]),    lost(s) = T V(s) - Q(s, a of the policy)

The expectation is over nodes of all that is random (nodes.py, problem/averages.py), the maximum over every combination
of discrete actions and a scan of the continuous ones (moves.py), whatever the solver did.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from bellax.bellman.chunks import over_batch
from bellax.certify.moves import evaluations, highest
from bellax.problem.averages import Averages, Rules
from bellax.problem.categories import category
from bellax.problem.period import by_action, combinations, in_a_row
from bellax.solution.gridless import GridlessPolicy, GridlessSetting
from bellax.solution.policy import Chosen

_SLACK = 1e-9  # of an action's size, by which rounding may carry it beyond a bound


class Looked(NamedTuple):
    """What is found at one state, or at many.

    Attributes:
        value: V.
        best: T V; minus infinity where nothing is allowed.
        own: Q of what the policy does, or what stopping pays where it stops.
        allowed: whether what it does is within bounds and constraints, where anything is.
    """

    value: Float[Array, ""]
    best: Float[Array, ""]
    own: Float[Array, ""]
    allowed: Bool[Array, ""]


def looking(setting: GridlessSetting, rules: Rules) -> Callable[..., Looked]:
    """A program that looks at many states of one period.

    Args:
        rules: by which expectations are taken.
    """

    def run(policy: GridlessPolicy, number: Array, states: Mapping[str, Array], keys: Array) -> Looked:
        here = Here(setting, policy, number, rules)
        return over_batch(lambda row: here.look(*row), (states, keys), here.cells, setting.numerics.memory)

    return run


def cost(setting: GridlessSetting, nodes: int) -> int:
    """About how many numbers are worked out at one state, with so many nodes of what is random."""
    plan = setting.plan
    size = sum(math.prod(getattr(space, "shape", ())) for space in plan.states.values())
    return len(combinations(plan)) * evaluations(len(plan.coordinates)) * nodes * (size + 8)


class Here:
    """One period of a policy, ready to be looked at."""

    def __init__(self, setting: GridlessSetting, policy: GridlessPolicy, number: Array, rules: Rules) -> None:
        self.problem, self.plan, self.policy, self.number = setting.problem, setting.plan, policy, number
        self.averages = Averages(self.problem, policy.arguments, number, *rules)
        self.today = self.averages.today
        self.next = number + 1 if self.problem.finite else number
        self.tomorrow = self.problem.period(policy.arguments, self.next)
        self.choose = policy.at(number)

    @property
    def cells(self) -> int:
        """Numbers that one state needs at once."""
        width = max(1, evaluations(len(self.plan.coordinates)) // 8)
        size = sum(math.prod(getattr(space, "shape", ())) for space in self.plan.states.values())
        return len(combinations(self.plan)) * width * self.averages.nodes.weights.shape[0] * (size + 8)

    def value(self, states: Mapping[str, Array]) -> Float[Array, ""]:
        """V tomorrow."""
        value = self.policy.behaviour.chosen(self.tomorrow, self.next, states).value
        if not self.problem.finite:
            return value
        return jnp.where(self.next >= self.problem.clock.count, self.tomorrow.terminal(states), value)

    def q(self, states: Mapping[str, Array], actions: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean of r + discount V over what may happen."""
        found = self.averages.branches(states, actions)
        worth = found.outcome.reward + found.outcome.discount * jax.vmap(self.value)(found.following)
        return jnp.sum(jnp.where(found.weights == 0, 0.0, found.weights * worth))

    def look(self, states: Mapping[str, Array], key: Array) -> Looked:
        """What is found at one state."""
        chosen = self.choose(states)
        payoff = self.today.payoff(states)
        own = jnp.where(chosen.stop, payoff, self.q(states, chosen.actions))
        places = jnp.arange(len(combinations(self.plan)), dtype=jnp.int32)
        found = jax.vmap(lambda k: self.best(states, chosen, k, jax.random.fold_in(key, k)))(places)
        allowed = chosen.stop | within(self.today, states, chosen.actions)
        best = jnp.maximum(jnp.maximum(payoff, jnp.where(allowed, own, -jnp.inf)), jnp.max(found))
        return Looked(chosen.value, best, own, allowed | (best == -jnp.inf))

    def best(self, states: Mapping[str, Array], chosen: Chosen, k: Array, key: Array) -> Float[Array, ""]:
        """The largest Q that is found of a combination of discrete actions."""
        known = in_a_row({name: chosen.actions[name] for name in self.plan.controls})
        there = by_action(self.plan, known)

        def shares(name: str, lower: Array, upper: Array) -> tuple[Array, Array]:
            low, high = _window(there[name], lower, upper)
            return there[name], jnp.clip((there[name] - low) / jnp.where(high > low, high - low, 1.0), 0.0, 1.0)

        _, start = self.today.resolved(states, k, shares)
        u = in_a_row(start)

        def score(u: Array) -> Array:
            own = by_action(self.plan, u)

            def act(name: str, lower: Array, upper: Array) -> tuple[Array, Array]:
                low, high = _window(there[name], lower, upper)
                return low + own[name] * (high - low), jnp.all(lower <= upper)

            actions, ordered = self.today.resolved(states, k, act)
            fine = self.today.feasible(states, actions)
            for ok in ordered.values():
                fine = fine & ok
            return jnp.where(fine, self.q(states, actions), -jnp.inf)

        return highest(score, u, key)


def within(today: Any, states: Mapping[str, Array], actions: Mapping[str, Array]) -> Bool[Array, ""]:
    """Whether actions are within their bounds up to rounding, and hold the constraints.

    Args:
        today: the `Period`.
    """
    codes = tuple(category(space, actions[name])[0] for name, space in today.plan.choices.items())
    place = today.place(codes) if codes else jnp.zeros((), jnp.int32)

    def act(name: str, lower: Array, upper: Array) -> tuple[Array, Array]:
        x = actions[name]
        slack = _SLACK * jnp.maximum(1.0, jnp.abs(x))
        return x, jnp.all((x >= lower - slack) & (x <= upper + slack))

    _, inside = today.resolved(states, place, act)
    fine = today.feasible(states, actions)
    for ok in inside.values():
        fine = fine & ok
    return fine


def _window(action: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Between what an action is tried: its bounds, or where one is infinite, as far from the action as its own size."""
    reach = jnp.maximum(1.0, jnp.abs(action))
    low = jnp.where(jnp.isfinite(lower), lower, action - reach)
    high = jnp.where(jnp.isfinite(upper), upper, action + reach)
    return low, high
