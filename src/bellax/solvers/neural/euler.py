"""First-order and envelope conditions of any differentiable model, by autodiff, at one state.

    dQ/da = E[ r_a + (b V(s'))_a ] = m,    V_s = dQ/ds with the shares of the way between bounds held fixed,

where Q(s, a) = E[r + b V(s')], and the multiplier m is zero inside the bounds. Two ways to know what tomorrow's states
are worth at the margin:

- *static*: where tomorrow sees today's continuous states through actions alone, V_s = r_s + m a_s needs no V, nor where
  it sees both through one function (envelope.py). That is the Euler equation of textbooks: E[b V_s(s')] / u'(c) = 1.
- *costates*: V is a net, too, whose slopes stand in the first-order condition, and equation, slopes and condition hold
  together. It serves every differentiable model, laws whose probabilities or discount move with actions among them.

A condition is divided by the size of its own terms: one minus the ratio of what a little more of an action costs to
what it brings.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from bellax.problem.averages import Averages
from bellax.problem.period import as_float, by_action, in_a_row
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.neural.envelope import along, met_through
from bellax.solvers.neural.heads import Acted, Head

_ROUNDING = 1e-9  # relative, of what is equal
_FAR = 10.0  # an output at which an action is at a bound

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
        share: of the way between bounds.
        idle: of the lower and the upper bound, whether nothing would depend on their multipliers, shape (m, 2).
            Neither is known where nobody asked.
    """

    now: Array
    later: Array
    beyond: Array
    width: Array
    share: Array | None = None
    idle: Array | None = None


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

        acted = self.acted(number, states, outputs)
        actions = in_a_row(acted.actions)
        by_state, by_act = jax.grad(paid, (0, 1))(own, actions)
        _, pull = jax.vjp(self._done(number, states, outputs), own)
        multiplier = acted.beyond * jnp.abs(by_act)
        slopes = by_state + pull(multiplier)[0]
        if through_actions(self.plan):
            return slopes
        return slopes + (by_act - multiplier) @ self._along(number, states, actions)

    def _done(self, number: Array | int, states: States, outputs: Array) -> Callable[[Array], Array]:
        """Actions as a function of the continuous states, outputs held."""
        return lambda own: in_a_row(self.acted(number, with_moving(self.plan, states, own), outputs).actions)

    def _along(self, number: Array | int, states: States, actions: Array) -> Float[Array, "m n"]:
        """See `along`."""
        meeting = met_through(self.plan, driven(self.plan))
        assert meeting is not None
        period, moved = self.problem.period(self.arguments, number), partial(with_moving, self.plan, states)
        return along(period, meeting, moving(self.plan, states), actions, moved)

    def idle(self, number: Array | int, states: States, outputs: Array) -> Bool[Array, "m 2"]:
        """Of both bounds of every number of the actions, whether V_s is the same whatever the multiplier would be: at
        such a bound an action moves as A does."""
        own = moving(self.plan, states)

        def at(k: Array, end: Array) -> Array:
            done = self._done(number, states, outputs.at[k].set(end))
            way = 0.0 if through_actions(self.plan) else self._along(number, states, done(own))
            apart = (jax.jacfwd(done)(own) - way)[k]
            return jnp.all(jnp.abs(apart) <= _ROUNDING * (1 + jnp.max(jnp.abs(way))))

        each, ends = jnp.arange(outputs.shape[0]), jnp.asarray([-_FAR, _FAR])
        found = lax.stop_gradient(jax.vmap(jax.vmap(at, (None, 0)), (0, None))(each, ends))
        return found & ~jnp.asarray(self.head.stated)[:, None]  # of which nobody knows what leads to a bound

    def terminal(self, number: Array, states: States, slopes: Array) -> Array:
        """The slopes of V in a period, or, after the last decision, those of the terminal value."""
        if not self.problem.finite:
            return slopes
        period = self.problem.period(self.arguments, number)
        last = jax.grad(lambda own: period.terminal(with_moving(self.plan, states, own)))(moving(self.plan, states))
        return jnp.where(number >= self.problem.clock.count, last, slopes)

    def first_order(self, number: Array, states: States, outputs: Outputs, then: Outputs | None = None) -> Terms:
        """The conditions of the actions, with `static` for tomorrow.

        Args:
            then: outputs from tomorrow on, where they are others.
        """
        x = outputs(number, states)
        acted = self.acted(number, states, x)
        now, later = self._first(number, states, in_a_row(acted.actions), outputs if then is None else then)
        terms = Terms(now, later, acted.beyond, width(acted))
        return terms._replace(share=acted.share, idle=self.idle(number, states, x)) if self.head.binds else terms

    def bends(self, number: Array, states: States, outputs: Outputs, worth: Worth | None = None) -> Float[Array, "m m"]:
        """d2Q/da da' of the actions, with V for tomorrow, or where there is none with `static`."""
        actions = in_a_row(self.acted(number, states, outputs(number, states)).actions)

        def q(actions: Array) -> Array:
            assert worth is not None
            return sum(self.q(number, states, by_action(self.plan, actions), worth), jnp.zeros(()))

        both = lambda actions: jnp.sum(jnp.stack(self._first(number, states, actions, outputs)), axis=0)  # noqa: E731
        rows = jax.jacfwd(both if worth is None else jax.grad(q))(actions)
        return 0.5 * (rows + rows.T)

    def _first(self, number: Array, states: States, actions: Array, outputs: Outputs) -> tuple[Array, Array]:
        """What a little more of given actions brings today, and later where outputs decide from then on."""
        averages, following = self.averages(number), self.following(number)

        def brings(actions: Array) -> tuple[Array, Array]:
            found = averages.branches(states, by_action(self.plan, actions))
            return found.outcome.reward, jax.vmap(lambda s: moving(self.plan, s))(found.following)

        _, pull = jax.vjp(brings, actions)
        found = averages.branches(states, by_action(self.plan, actions))

        def worth(states: States) -> Array:
            return self.terminal(following, states, self.static(following, states, outputs(following, states)))

        slopes = jax.vmap(worth)(found.following)
        weights = found.weights
        now = pull((weights, jnp.zeros_like(slopes)))[0]
        later = pull((jnp.zeros_like(weights), (weights * found.outcome.discount)[:, None] * slopes))[0]
        return now, later

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


def through_actions(plan: Plan) -> bool:
    """Whether tomorrow sees the states that actions move through actions alone."""
    moved = driven(plan)
    return all(not set(plan.graph.leaves(f"next_{name}", "state")) & moved for name in moved)


def is_static(plan: Plan) -> bool:
    """Whether V_s needs no V: tomorrow sees the states that actions move through actions alone, or both through one
    function, every action is paid for today, and neither chances nor the discount move with what is differentiated."""
    graph, controls, moved = plan.graph, set(plan.controls), driven(plan)
    chances = [f"probabilities:{name}" for name in plan.markov] + ["slot:discount"]
    chances += [node for name in plan.shocks for node in plan.shock_nodes(name)]
    through = through_actions(plan) or met_through(plan, moved) is not None
    fixed = all(not set(graph.leaves(node, "state", "action")) & (moved | controls) for node in chances)
    paid = controls <= set(graph.leaves("slot:reward", "action"))
    return bool(moved) and through and fixed and paid


def unit_free(terms: Terms, scale: Array | None, margin: float = 0.0) -> Float[Array, "*k m"]:
    """The conditions without units, zero where they hold.

    Args:
        scale: what to divide by; None for what an action costs or brings today.
        margin: of what one would like to go on at a bound, by how much more outputs are to ask for.
    """
    size = jnp.abs(terms.now) if scale is None else scale
    more = (terms.now + terms.later) / size
    left = more - terms.beyond
    if terms.idle is None or terms.share is None:
        return left
    # no net has to know the multiplier then: an action is right at its bound, or where one wants neither more nor less
    low, high = terms.idle[..., 0] & (more < 0), terms.idle[..., 1] & (more > 0)
    asked = terms.share + terms.beyond
    left = jnp.where(high, jnp.minimum(more, jnp.maximum(1 + margin * more - asked, 0.0)), left)
    return jnp.where(low, jnp.maximum(more, jnp.minimum(margin * more - asked, 0.0)), left)


def sizes(terms: Terms) -> Float[Array, "*k m"]:
    """The size of the terms of each condition."""
    return lax.stop_gradient(jnp.abs(terms.now) + jnp.abs(terms.later))
