"""Paths of a model under a rule, as functions of the rule: what is paid along them may be differentiated.

    J = E[ sum_t D_t r_t + D_T W(s_T) ],    D_t the product of discounts before t,

with W the terminal value, or a guess of V where there is no end. A path begins in a period of its own.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bellax.numerics import loops
from bellax.problem.draws import Laws
from bellax.problem.period import as_float
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem
from bellax.problem.steered import Steered

Act = Callable[[Array, Mapping[str, Array], Array], dict[str, Array]]
"""Actions in a period and a state, each moved by a nudge, shape (m,)."""

Worth = Callable[[Mapping[str, Array]], Array]
"""What a state after the last period is worth."""


class First(NamedTuple):
    """Where paths begin: states, one row a path, and the period."""

    states: dict[str, Array]
    periods: Int[Array, "n"]


class Chances(NamedTuple):
    """What paths draw.

    Attributes:
        shares: numbers between zero and one, shape (n, t, d).
        key: for what only a key can draw.
    """

    shares: Float[Array, "n t d"]
    key: Array


class Walk(NamedTuple):
    """What paths brought.

    Attributes:
        total: of each, what was paid and what its last state is worth, discounted, shape (n,).
        left: the product of discounts before the last state, shape (n,).
        states: in every period, leaves of shape (t, n, ...).
        actions: in every period, leaves of shape (t, n, ...).
        begun: the period in which each begins, shape (n,).
        fault: the first place of `quantities` that was no number, per period and path, shape (t, n); -1 where none.
    """

    total: Float[Array, "n"]
    left: Float[Array, "n"]
    states: dict[str, Array]
    actions: dict[str, Array]
    begun: Int[Array, "n"]
    fault: Int[Array, "t n"]


def quantities(plan: Plan) -> list[str]:
    """What may be no number, in the order in which it is looked for."""
    return [*plan.controls, "reward", "discount", *plan.states]


class Paths:
    """Paths of a model; made inside a compiled program.

    Args:
        length: how many periods.
    """

    def __init__(self, problem: Problem, arguments: Arguments, length: int) -> None:
        self.problem, self.arguments, self.length = problem, arguments, length
        self.plan = problem.plan

    def walk(self, act: Act, worth: Worth, first: First, chances: Chances, nudges: Array | None = None) -> Walk:
        """All paths.

        Args:
            nudges: by how much actions are moved, shape (t, n, m).
        """
        count = first.periods.shape[0]
        size = sum(space.size for space in self.plan.controls.values())
        moved = jnp.zeros((self.length, 1, size)) if nudges is None else nudges
        keys = jax.vmap(lambda path: jax.random.fold_in(chances.key, path))(jnp.arange(count, dtype=jnp.uint32))

        def step(carry: Any, row: Any) -> tuple[Any, Any]:
            states, total, left = carry
            number, shares, nudge = row
            period = number if self.problem.finite else jnp.zeros_like(number)
            laws = Steered(Laws(self.problem, self.arguments, period))
            nudge = jnp.broadcast_to(nudge, (count, size))

            def one(states: Any, begun: Array, own: Array, nudge: Array, key: Array) -> Any:
                actions = act(period, states, nudge)
                found = laws.advance(states, actions, own, jax.random.fold_in(key, number))
                held = {name: jnp.where(begun, found.following[name], states[name]) for name in states}
                reward, discount = jnp.where(begun, found.reward, 0.0), jnp.where(begun, found.discount, 1.0)
                return held, reward, discount, actions, jnp.where(begun, self._fault(actions, found), -1)

            begun = number >= first.periods
            held, reward, discount, actions, fault = jax.vmap(one)(states, begun, shares, nudge, keys)
            record = (states, actions, fault)
            return (held, total + left * reward, left * discount), record

        one, zero = jnp.ones(count), jnp.zeros(count)
        steps = jnp.arange(self.length, dtype=jnp.int32)
        rows = (steps, jnp.moveaxis(chances.shares, 0, 1), moved)
        (last, total, left), (states, actions, fault) = loops.over(step, (first.states, zero, one), rows)
        return Walk(total + left * jax.vmap(worth)(last), left, states, actions, first.periods, fault)

    def _fault(self, actions: Mapping[str, Array], found: Any) -> Array:
        """The first of `quantities` that is no number in a period."""
        every = [actions[name] for name in self.plan.controls] + [found.reward, found.discount]
        every += [found.following[name] for name in self.plan.states]
        wrong = jnp.stack([~jnp.all(jnp.isfinite(as_float(value))) for value in every])
        return jnp.where(jnp.any(wrong), jnp.argmax(wrong), -1).astype(jnp.int32)
