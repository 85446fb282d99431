"""Paths of a finite horizon: forwards by a rule for each period, backwards by expansions to second order.

    forwards     u_t = a_t(x_t),    x_{t+1} = E f(x_t, u_t, w)
    backwards    a_t and V_t from the expansion of Q_t at (x_t, u_t), with V_T that of the terminal value

What is earned on a path where everything random has its mean is what the search maximises.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from bellax.numerics import loops
from bellax.problem.averages import Rules
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.quadratic.box import Held, followed
from bellax.solvers.quadratic.decide import Decision, Rule, decide
from bellax.solvers.quadratic.expansion import Quadratic, expand, terminal
from bellax.solvers.quadratic.stage import Bounds, Layout, Lottery, Stage, Within


class Path(NamedTuple):
    """What happens where everything random has its mean.

    Attributes:
        states: of periods 0 to T.
        actions: of periods 0 to T - 1.
        worth: discounted rewards and the terminal value.
        size: what they would be without their signs, for what is rounding.
        crossed: whether a lower bound was above the upper one.
    """

    states: Float[Array, "t n"]
    actions: Float[Array, "u m"]
    worth: Float[Array, ""]
    size: Float[Array, ""]
    crossed: Bool[Array, ""]


class Backward(NamedTuple):
    """A backward pass.

    Attributes:
        decisions: by period.
        values: V near each state of the path, of periods 0 to T - 1.
        last: V near the last state.
    """

    decisions: Decision
    values: Quadratic
    last: Quadratic


class Along:
    """A model with numbers along its finite horizon.

    Args:
        layout: of the model.
        problem, arguments: the model and its parameters.
        given: nodes of random quantities, see `Averages`.
    """

    def __init__(self, layout: Layout, problem: Problem, arguments: Arguments, given: Rules) -> None:
        self.layout, self.problem, self.arguments, self.given = layout, problem, arguments, given

    @property
    def count(self) -> int:
        """How many periods there are."""
        return self.problem.clock.count

    def stage(self, number: Array | int) -> Stage:
        """One period."""
        return Stage(self.layout, self.problem, self.arguments, number, self.given)

    def terminal(self, x: Float[Array, "n"]) -> Float[Array, ""]:
        """V after the last decision."""
        return self.problem.period(self.arguments, self.count).terminal(self.layout.by_state(x))

    def forward(self, start: Float[Array, "n"], act: Callable[[Bounds, Any, Array], Within], rules: Any) -> Path:
        """The path from a start.

        Args:
            act: of the bounds of a period, what `rules` say of it and the state, what is done.
            rules: by period, along a first axis; a tuple whose first entry is the number of the period.
        """

        def step(carry: tuple[Array, ...], rule: Any) -> tuple[Any, Any]:
            x, share, worth, size, crossed = carry
            stage = self.stage(rule[0])
            done = act(stage.bounds, rule, x)
            found = stage.certain(x, done.action)
            worth = worth + share * found.rewards[0]
            size = size + jnp.abs(share * found.rewards[0])
            crossed = crossed | jnp.any(done.lower > done.upper)
            return (found.following[0], share * found.discounts[0], worth, size, crossed), (x, done.action)

        zero = jnp.zeros(())
        (last, share, worth, size, crossed), (states, actions) = jax.lax.scan(
            step, (start, jnp.ones(()), zero, zero, jnp.zeros((), bool)), rules
        )
        end = share * self.terminal(last)
        return Path(jnp.concatenate([states, last[None]]), actions, worth + end, size + jnp.abs(end), crossed)

    def periods(self) -> Array:
        """Their numbers."""
        return jnp.arange(self.count, dtype=jnp.int32)

    def backward(
        self, path: Path, damping: Array | float, lottery: Callable[[Stage], Lottery] = lambda stage: stage.certain
    ) -> Backward:
        """V and what is done along a path."""

        def step(later: Quadratic, number: Array) -> tuple[Quadratic, tuple[Decision, Quadratic]]:
            stage, x, u = self.stage(number), path.states[number], path.actions[number]
            decision, value = decide(stage, expand(lottery(stage), x, u, later), x, u, damping)
            return value, (decision, value)

        last = terminal(self.terminal, path.states[-1])
        _, (decisions, values) = loops.backward(step, last, self.count)
        return Backward(decisions, values, last)

    def moved(self, path: Path, found: Backward, share: Array | float = 1.0) -> Path:
        """The path of what a backward pass has found, or of a share of the way there."""
        decisions = found.decisions
        rule, step = decisions.rule, decisions.step
        # a share of the step of what is free, and of the distance to its bound of what is not
        part = jnp.where(rule.side == 0, path.actions + share * step, (share - 1) * step)
        rules = (self.periods(), rule._replace(free=part))
        return self.forward(path.states[0], lambda bounds, given, x: acted(bounds, given[1], x), rules)


def acted(bounds: Bounds, rule: Rule, x: Float[Array, "n"]) -> Within:
    """What a rule says at a state, cut off at bounds."""
    held = Held(rule.free + rule.gain @ (x - rule.at), rule.side)
    return bounds.within(x, lambda part, low, high: _cut(followed(held, part, low, high), low, high))


def _cut(action: Array, low: Array, high: Array) -> Array:
    """Within bounds; at a bound it moves as it would, where a cut would halve its derivative."""
    return jnp.where((action >= low) & (action <= high), action, jnp.where(action < low, low, high))
