"""The Bellman operator of nets: what decisions are worth at one state, with V a critic and continuous actions an actor.

    Q(s, d, a) = E[r(s, d, a) + b V(s')],    V(s) = max over d of Q(s, d, pi_d(s)), and of what stopping pays,

with d the combinations of the discrete actions, each of which has outputs of the actor of its own. Where bounds cross,
or a constraint does not hold, Q is minus infinity. Tomorrow's V is the critic at tomorrow's state, of which nothing is
taken but what a net sees: bounds of tomorrow's actions are a matter of tomorrow.
"""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from bellax.learning import nets
from bellax.learning.nets import Shape
from bellax.learning.training import Method
from bellax.numerics.scalar import take
from bellax.problem.period import Combination, by_action, in_a_row, over_combinations
from bellax.solvers.neural.euler import Euler, States, Terms, Worth, width
from bellax.solvers.neural.evaluation import Evaluation, Looked, Scale
from bellax.solvers.neural.heads import Acted
from bellax.solvers.neural.inputs import Inputs
from bellax.solvers.neural.wiring import Wiring

_INSIDE = 1e-6  # of a side of the box: what still lies in it


class Option(NamedTuple):
    """A combination of discrete actions with continuous ones.

    Attributes:
        acted: what is done.
        row: what it brings.
        feasible: whether bounds and constraints allow it.
    """

    acted: Acted
    row: Looked
    feasible: Bool[Array, ""]


class Greedy(NamedTuple):
    """The best decision at one state.

    Attributes:
        place: of the combination.
        stop: whether stopping pays as much.
        value: V.
        choice_values: Q of every combination, shape (k,).
        option: the best one.
        row: what the decision brings; after stopping what that pays.
    """

    place: Int[Array, ""]
    stop: Bool[Array, ""]
    value: Float[Array, ""]
    choice_values: Float[Array, "k"]
    option: Option
    row: Looked


Outputs = Callable[[Array, States], Float[Array, "k m"]]
"""Outputs of the actor for every combination, in a period and a state."""


class Bellman:
    """The operator; made inside a compiled program.

    Args:
        shapes: of the actor, whose outputs are those of one combination after the other, and of the critic.
        wiring: of the critic.
    """

    def __init__(
        self, euler: Euler, seen: Inputs, shapes: tuple[Shape, Shape], scale: Scale, wiring: Wiring | None = None
    ) -> None:
        self.conditions, self.seen, self.shapes = euler, seen, shapes
        self.problem, self.arguments = euler.problem, euler.arguments
        self.plan, self.head = euler.plan, euler.head
        self.evaluation = Evaluation(euler, seen, shapes[1], scale, wiring)

    def outputs(self, actor: Array) -> Outputs:
        """The actor's, of its weights."""
        layers, size = nets.layers(self.shapes[0], actor), self.head.size
        if not size:  # nothing but discrete actions
            return lambda number, states: jnp.zeros((self.shapes[0].outputs, 0))
        return lambda number, states: nets.forward(layers, self.seen.of(number, states)).reshape(-1, size)

    def option(self, number: Array, states: States, combination: Combination, x: Array) -> Option:
        """What outputs do and bring under a combination of discrete actions."""
        period = self.problem.period(self.arguments, number)
        acted = self.head.act(period, states, x, combination)
        feasible = jnp.all(acted.lower <= acted.upper) & period.feasible(states, acted.actions)
        return Option(acted, self.evaluation.look(states, number, acted.actions), feasible)

    def halves(self, row: Looked, critic: Array) -> tuple[Array, Array]:
        """E r, and E[b V(s')]."""
        worth = jax.vmap(lambda u: self.evaluation.value(critic, u))(row.later)
        # what has no weight may have no number
        return row.reward, row.last + jnp.sum(jnp.where(row.weights == 0, 0.0, row.weights * worth))

    def worth(self, row: Looked, critic: Array) -> Float[Array, ""]:
        """E[r + b V(s')]."""
        now, later = self.halves(row, critic)
        return now + later

    def q(self, option: Option, critic: Array) -> Float[Array, ""]:
        """Q; minus infinity where a decision is not feasible."""
        return jnp.where(option.feasible, self.worth(option.row, critic), -jnp.inf)

    def excess(self, row: Looked) -> Float[Array, ""]:
        """How far beyond the box one may be tomorrow, in sides of it."""
        numbers = row.later[:, : self.seen.layout.dimensions]
        if not numbers.shape[1]:
            return jnp.zeros(())
        far = jnp.max(jnp.abs(numbers), axis=1) - 1
        return jnp.maximum(jnp.max(jnp.where(row.weights == 0, 0.0, far)) / 2, 0.0)

    def greedy(self, number: Array, states: States, outputs: Array, critic: Array) -> Greedy:
        """The best of all combinations, with the actor's continuous actions, and of stopping."""
        period = self.problem.period(self.arguments, number)
        every: Option = over_combinations(
            self.plan, lambda c: self.option(number, states, c, take(outputs, self.place(number, c)))
        )
        values = jax.vmap(lambda option: self.q(option, critic))(every)
        place = jnp.argmax(values).astype(jnp.int32)
        best = jax.tree.map(lambda leaf: take(leaf, place), every)
        payoff, value = period.payoff(states), take(values, place)
        stop = payoff >= value if self.plan.evaluate_stop is not None else jnp.zeros((), bool)
        nothing = best.row._replace(reward=payoff, weights=jnp.zeros_like(best.row.weights), last=jnp.zeros(()))
        row = jax.tree.map(lambda stopped, on: jnp.where(stop, stopped, on), nothing, best.row)
        return Greedy(place, stop, jnp.maximum(payoff, value), values, best, row)

    def ahead(self, actor: Array, critic: Array) -> Worth:
        """V by one look ahead, whose slopes are those of the envelope: shares of the way between bounds are held."""
        outputs = self.outputs(actor)

        def worth(number: Array | int, states: States) -> Array:
            number = jnp.asarray(number)
            held = lax.stop_gradient(outputs(number, states))
            return self.greedy(number, states, held, critic).value

        return worth

    def euler(self, number: Array, states: States, greedy: Greedy, ahead: Worth) -> Terms:
        """dQ/da of the best decision with V by one look ahead: what is left is an Euler error of the actor, which does
        not take the critic's slopes for granted."""
        acted = greedy.option.acted
        choices = {name: acted.actions[name] for name in self.plan.choices}
        total = lambda own: self.conditions.q(  # noqa: E731
            number, states, choices | by_action(self.plan, own), ahead
        )
        _, pull = jax.vjp(total, in_a_row({name: acted.actions[name] for name in self.plan.controls}))
        one, zero = jnp.ones(()), jnp.zeros(())
        return Terms(pull((one, zero))[0], pull((zero, one))[0], acted.beyond, width(acted))

    def place(self, number: Array, combination: Combination) -> Array:
        """Of a combination, among all of them."""
        if not self.plan.choices:
            return jnp.zeros((), jnp.int32)
        return self.problem.period(self.arguments, number).place(combination)

    def terms(self, number: Array, states: States, combination: Combination, x: Array, critic: Array) -> Terms:
        """dQ/da of the continuous actions under a combination; zero where it is not feasible."""
        option = self.option(number, states, combination, x)
        x = jnp.where(option.feasible, x, 0.0)  # no derivative comes from where there may be no number
        acted = self.head.act(self.problem.period(self.arguments, number), states, x, combination)
        choices = {name: acted.actions[name] for name in self.plan.choices}

        def brings(actions: Array) -> tuple[Array, Array]:
            row = self.evaluation.look(states, number, choices | by_action(self.plan, actions))
            return self.halves(row, critic)

        continuous = {name: acted.actions[name] for name in self.plan.controls}
        _, pull = jax.vjp(brings, in_a_row(continuous))
        one, zero = jnp.ones(()), jnp.zeros(())
        found = Terms(pull((one, zero))[0], pull((zero, one))[0], acted.beyond, width(acted))
        return jax.tree.map(lambda leaf: jnp.where(option.feasible, leaf, 0.0), found)

    def curvature(
        self, number: Array, states: States, combination: Combination, x: Array, critic: Array
    ) -> tuple[Array, Array, Array]:
        """Of every number of the actions d2Q/da2, the number, and how far it is from bound to bound: infinite where
        there are none."""
        option = self.option(number, states, combination, x)
        acted = option.acted
        choices = {name: acted.actions[name] for name in self.plan.choices}
        own = in_a_row({name: acted.actions[name] for name in self.plan.controls})

        def q(actions: Array) -> Array:
            row = self.evaluation.look(states, number, choices | by_action(self.plan, actions))
            return self.worth(row, critic)

        along = lambda one: jnp.sum(one * jax.jvp(jax.grad(q), (own,), (one,))[1])  # noqa: E731
        bends = jax.vmap(along)(jnp.eye(own.shape[0]))
        return jnp.where(option.feasible, bends, 0.0), own, acted.upper - acted.lower

    def every_curvature(self, number: Array, states: States, outputs: Array, critic: Array) -> tuple[Array, ...]:
        """`curvature` of every combination, along a first axis."""
        return over_combinations(
            self.plan, lambda c: self.curvature(number, states, c, take(outputs, self.place(number, c)), critic)
        )

    def every_terms(self, number: Array, states: States, outputs: Array, critic: Array) -> Terms:
        """`terms` of every combination, along a first axis."""
        return over_combinations(
            self.plan, lambda c: self.terms(number, states, c, take(outputs, self.place(number, c)), critic)
        )


class ActorCritic(Method):
    """A training of an actor and a critic."""

    @abc.abstractmethod
    def begin(self, actor: Array, critic: Array) -> Any:
        """The first state, with weights to begin with."""

    @abc.abstractmethod
    def weights(self, state: Any) -> tuple[Array, Array]:
        """Those of the actor and of the critic."""


def inside(excess: Array) -> Array:
    """Whether an excess is none."""
    return excess <= _INSIDE
