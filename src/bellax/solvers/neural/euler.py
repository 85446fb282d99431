"""First-order and envelope conditions of any differentiable model, by autodiff, at one state.

    dQ/da = E[ r_a + (b V(s'))_a ] = m,    V_s = dQ/ds with the shares of the way between bounds held fixed,

where Q(s, a) = E[r + b V(s')], and the multiplier m is zero inside the bounds. Two ways to know what tomorrow's states
are worth at the margin:

- *static*: where tomorrow sees today's continuous states through actions alone, V_s = r_s + m a_s needs no V. That is
  the Euler equation of textbooks: E[b V_s(s')] / u'(c) = 1.
- *costates*: V is a net, too, whose slopes stand in the first-order condition, and equation, slopes and condition hold
  together. It serves every differentiable model, laws whose probabilities or discount move with actions among them.

A condition is divided by the size of its own terms: one minus the ratio of what a little more of an action costs to
what it brings.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from bellax.problem.averages import Averages
from bellax.problem.period import as_float, by_action, in_a_row
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.neural.heads import Acted, Head

States = Mapping[str, Array]
Outputs = Callable[[Array | int, States], Float[Array, "m"]]
"""Outputs of the policy net in a period and a state."""
Worth = Callable[[Array | int, States], Float[Array, ""]]
"""V in a period and a state."""


class Terms(NamedTuple):
    """A condition for every number of the actions, shape (m,).

    Attributes:
        now: what a little more of it brings today.
        later: what it brings later.
        beyond: see `Shares.beyond`.
        width: of the way between its bounds; one where there are none.
    """

    now: Array
    later: Array
    beyond: Array
    width: Array


class Euler:
    """The conditions of a model; made inside a compiled program.

    Args:
        given, degree: see `Averages`.
    """

    def __init__(
        self, problem: Problem, arguments: Arguments, head: Head, given: Mapping[str, Any], degree: int | None
    ) -> None:
        self.problem, self.arguments, self.head = problem, arguments, head
        self.plan: Plan = problem.plan
        self.given, self.degree = given, degree

    def averages(self, number: Array | int) -> Averages:
        """The period, ready to be averaged over."""
        return Averages(self.problem, self.arguments, number, self.given, self.degree)

    def acted(self, number: Array | int, states: States, outputs: Array) -> Acted:
        """What outputs do."""
        return self.head.act(self.problem.period(self.arguments, number), states, outputs)

    # -- what tomorrow is worth at the margin, without V

    def static(self, number: Array | int, states: States, outputs: Array) -> Float[Array, "n"]:
        """V_s at one state, where tomorrow sees the continuous states through actions alone."""
        own = moving(self.plan, states)

        def paid(own: Array, actions: Array) -> Array:
            found = self.averages(number).branches(with_moving(self.plan, states, own), by_action(self.plan, actions))
            return jnp.sum(found.weights * found.outcome.reward)

        def done(own: Array) -> Array:
            return in_a_row(self.acted(number, with_moving(self.plan, states, own), outputs).actions)

        acted = self.acted(number, states, outputs)
        by_state, by_act = jax.grad(paid, (0, 1))(own, in_a_row(acted.actions))
        _, pull = jax.vjp(done, own)
        return by_state + pull(acted.beyond * jnp.abs(by_act))[0]

    def terminal(self, number: Array, states: States, slopes: Array) -> Array:
        """The slopes of V in a period, or, after the last decision, those of the terminal value."""
        if not self.problem.finite:
            return slopes
        period = self.problem.period(self.arguments, number)
        last = jax.grad(lambda own: period.terminal(with_moving(self.plan, states, own)))(moving(self.plan, states))
        return jnp.where(number >= self.problem.clock.count, last, slopes)

    def first_order(self, number: Array, states: States, outputs: Outputs) -> Terms:
        """The conditions of the actions, with `static` for tomorrow."""
        acted = self.acted(number, states, outputs(number, states))
        averages, following = self.averages(number), self.following(number)

        def brings(actions: Array) -> tuple[Array, Array]:
            found = averages.branches(states, by_action(self.plan, actions))
            return found.outcome.reward, jax.vmap(lambda s: moving(self.plan, s))(found.following)

        actions = in_a_row(acted.actions)
        _, pull = jax.vjp(brings, actions)
        found = averages.branches(states, acted.actions)

        def worth(states: States) -> Array:
            return self.terminal(following, states, self.static(following, states, outputs(following, states)))

        slopes = jax.vmap(worth)(found.following)
        weights = found.weights
        now = pull((weights, jnp.zeros_like(slopes)))[0]
        later = pull((jnp.zeros_like(weights), (weights * found.outcome.discount)[:, None] * slopes))[0]
        return Terms(now, later, acted.beyond, width(acted))

    # -- with V

    def q(self, number: Array, states: States, actions: Mapping[str, Array], worth: Worth) -> tuple[Array, Array]:
        """E r, and E[b V(s')]."""
        found, following = self.averages(number).branches(states, actions), self.following(number)
        period = self.problem.period(self.arguments, following)

        def value(states: States) -> Array:
            own = worth(following, states)
            if not self.problem.finite:
                return own
            return jnp.where(following >= self.problem.clock.count, period.terminal(states), own)

        later = jax.vmap(value)(found.following)
        return (
            jnp.sum(found.weights * found.outcome.reward),
            jnp.sum(found.weights * found.outcome.discount * later),
        )

    def all(self, number: Array, states: States, outputs: Outputs, worth: Worth) -> tuple[Terms, Array, Array]:
        """Conditions with slopes of V; then V and its slopes, shape (1 + n,), and what they should be."""
        x = outputs(number, states)
        acted, own = self.acted(number, states, x), moving(self.plan, states)
        total = lambda actions: self.q(  # noqa: E731
            number, states, by_action(self.plan, actions), worth
        )
        _, pull = jax.vjp(total, in_a_row(acted.actions))
        one, zero = jnp.ones(()), jnp.zeros(())
        terms = Terms(pull((one, zero))[0], pull((zero, one))[0], acted.beyond, width(acted))

        def held(own: Array) -> Array:
            moved = with_moving(self.plan, states, own)
            now, later = self.q(number, moved, self.acted(number, moved, x).actions, worth)
            return now + later

        right, slope = jax.value_and_grad(held)(own)
        value, by_state = jax.value_and_grad(lambda own: worth(number, with_moving(self.plan, states, own)))(own)
        return terms, jnp.concatenate([value[None], by_state]), jnp.concatenate([right[None], slope])

    def following(self, number: Array | int) -> Array:
        return jnp.asarray(number) + 1 if self.problem.finite else jnp.asarray(number)


def width(acted: Acted) -> Array:
    both = jnp.isfinite(acted.lower) & jnp.isfinite(acted.upper)
    return jnp.where(both, jnp.where(both, acted.upper - acted.lower, 1.0), 1.0)


def moving(plan: Plan, states: States) -> Float[Array, "n"]:
    """The continuous states of a state, one number after the other."""
    found = [jnp.ravel(as_float(states[name])) for name in plan.continuous]
    return jnp.concatenate(found) if found else jnp.zeros(0)


def with_moving(plan: Plan, states: States, own: Float[Array, "n"]) -> dict[str, Array]:
    """The state with other continuous states: the inverse of `moving`."""
    found, start = dict(states), 0
    for name, space in plan.continuous.items():
        size = math.prod(space.shape)
        found[name] = own[start : start + size].reshape(space.shape)
        start += size
    return found


def driven(plan: Plan) -> set[str]:
    """The continuous states that actions move, by themselves or through each other."""
    seen = {name: set(plan.graph.leaves(f"next_{name}", "state", "action", "next")) for name in plan.continuous}
    found: set[str] = set()
    while True:
        moved = set(plan.controls) | found | {f"next_{name}" for name in found}
        more = {name for name, leaves in seen.items() if leaves & moved}
        if more <= found:
            return found
        found |= more


def is_static(plan: Plan) -> bool:
    """Whether V_s needs no V: tomorrow sees the states that actions move through actions alone, every action is paid
    for today, and neither chances nor the discount move with what is differentiated."""
    graph, controls, moved = plan.graph, set(plan.controls), driven(plan)
    chances = [f"probabilities:{name}" for name in plan.markov] + ["slot:discount"]
    chances += [node for name in plan.shocks for node in plan.shock_nodes(name)]
    through = all(not set(graph.leaves(f"next_{name}", "state")) & moved for name in moved)
    fixed = all(not set(graph.leaves(node, "state", "action")) & (moved | controls) for node in chances)
    paid = controls <= set(graph.leaves("slot:reward", "action"))
    return bool(moved) and through and fixed and paid


def unit_free(terms: Terms, scale: Array | None) -> Float[Array, "*k m"]:
    """The conditions without units, zero where they hold.

    Args:
        scale: what to divide by; None for what an action costs or brings today.
    """
    size = jnp.abs(terms.now) if scale is None else scale
    return (terms.now + terms.later) / size - terms.beyond


def sizes(terms: Terms) -> Float[Array, "*k m"]:
    """The size of the terms of each condition."""
    return lax.stop_gradient(jnp.abs(terms.now) + jnp.abs(terms.later))
