"""One period as a function of vectors: what is done within bounds, and what that brings on average.

States are numbers one after the other, in the order of the model; actions likewise, each after those that its bounds
name.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bellax.model.quantity import is_literal
from bellax.numerics.scalar import rounding
from bellax.problem.averages import Averages, Rules
from bellax.problem.period import Period, as_float, by_action
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem


class Outcomes(NamedTuple):
    """What a period may bring, each of it along a first axis.

    Attributes:
        weights: probabilities.
        rewards, discounts: of the period.
        following: tomorrow's state.
    """

    weights: Float[Array, "q"]
    rewards: Float[Array, "q"]
    discounts: Float[Array, "q"]
    following: Float[Array, "q n"]


Lottery = Callable[[Float[Array, "n"], Float[Array, "m"]], Outcomes]
"""Of a state and an action, what may come of them."""


class Layout:
    """Where the numbers of states and actions are in their vectors. Static.

    Attributes:
        states, actions: how many numbers they are.
        bounded: whether a bound of an action is finite.
        moving: whether a bound names a state or an action.
        linked: whether a bound names an action.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._states = _places({name: plan.graph.seen[name].shape for name in plan.states})
        self._actions = _places({name: space.shape for name, space in plan.controls.items()})
        self.states = sum(math.prod(shape) for _, shape in self._states.values())
        self.actions = sum(math.prod(shape) for _, shape in self._actions.values())
        spaces = plan.controls.values()
        self.bounded = any(_may_bind(bound) for space in spaces for bound in (space.lower, space.upper))
        names = lambda *kinds: {  # noqa: E731
            leaf
            for name in plan.controls
            for side in ("lower", "upper")
            for leaf in plan.graph.leaves(f"{side}:{name}", *kinds)
        }
        self.moving, self.linked = bool(names("state", "action")), bool(names("action"))

    def part(self, action: str) -> slice:
        """Where the numbers of an action are."""
        return self._actions[action][0]

    def by_state(self, numbers: Float[Array, "n"]) -> dict[str, Array]:
        """The numbers of states, by name and in their shapes."""
        return {name: numbers[part].reshape(shape) for name, (part, shape) in self._states.items()}

    def by_state_many(self, numbers: Float[Array, "q n"]) -> dict[str, Array]:
        """As `by_state`, of many along a first axis."""
        return {name: numbers[:, part] for name, (part, _) in self._states.items()}

    def in_a_row(self, states: Mapping[str, Any]) -> Float[Array, "n"]:
        """Numbers by state, one after the other: the inverse of `by_state`."""
        return jnp.concatenate([jnp.ravel(as_float(states[name])) for name in self._states])

    def labels(self) -> list[str]:
        """What messages call the numbers of the actions."""
        found = []
        for name, (_, shape) in self._actions.items():
            found += [name if shape == () else f"{name}{list(place)}" for place in np.ndindex(shape)]
        return found


class Within(NamedTuple):
    """Actions and their bounds."""

    action: Float[Array, "m"]
    lower: Float[Array, "m"]
    upper: Float[Array, "m"]


class Bounds(NamedTuple):
    """The bounds of actions in one period."""

    layout: Layout
    period: Period

    def within(self, x: Float[Array, "n"], choose: Callable[..., Array]) -> Within:
        """Actions that are chosen one after the other, as their bounds are known.

        Args:
            choose: of the places of an action in the vector and its bounds, its numbers.
        """

        def act(name: str, lower: Array, upper: Array) -> tuple[Array, Within]:
            low, high = jnp.ravel(lower), jnp.ravel(upper)
            found = choose(self.layout.part(name), low, high)
            return found.reshape(lower.shape), Within(found, low, high)

        _, beside = self.period.resolved(self.layout.by_state(x), (), act)
        parts = [beside[name] for name in self.layout.plan.controls]
        return Within(*(jnp.concatenate(list(each)) for each in zip(*parts, strict=True)))

    def box(self, x: Float[Array, "n"], u: Float[Array, "m"]) -> Within:
        """The bounds of actions at given ones."""
        return self.within(x, lambda part, lower, upper: u[part])

    @property
    def still(self) -> "Bounds":
        """The same, not differentiated."""
        return self._replace(period=lax.stop_gradient(self.period))


class Stage:
    """One period of a model, on vectors.

    Args:
        layout: of the model.
        problem, arguments: the model and its parameters.
        number: of the period.
        given: nodes of random quantities, see `Averages`.
    """

    def __init__(self, layout: Layout, problem: Problem, arguments: Arguments, number: Any, given: Rules) -> None:
        self.layout = layout
        self.averages = Averages(problem, arguments, number, *given)
        self.bounds = Bounds(layout, self.averages.today)

    def lottery(self, x: Float[Array, "n"], u: Float[Array, "m"]) -> Outcomes:
        """Everything that may happen."""
        found = self.averages.branches(self.layout.by_state(x), by_action(self.layout.plan, u))
        rows = [as_float(found.following[name]) for name in self.layout.plan.states]
        following = jnp.concatenate([row.reshape(row.shape[0], -1) for row in rows], axis=1)
        outcome = found.outcome
        return Outcomes(as_float(found.weights), outcome.reward, outcome.discount, following)

    def certain(self, x: Float[Array, "n"], u: Float[Array, "m"]) -> Outcomes:
        """The means of what may happen, as if they were certain."""
        found = self.lottery(x, u)
        means = [found.weights @ each for each in (found.rewards, found.discounts, found.following)]
        return Outcomes(jnp.ones(1), *(mean[None] for mean in means))


def units(number: Float[Array, "m"], low: Float[Array, "m"], high: Float[Array, "m"]) -> Float[Array, "m"]:
    """What sizes of numbers are compared with: their own, and one, or less where they have less room than that."""
    width = jnp.where(jnp.isfinite(high - low) & (high > low), high - low, 1.0)
    return jnp.abs(number) + jnp.minimum(1.0, width)


def slack(bound: Float[Array, "m"], low: Float[Array, "m"], high: Float[Array, "m"]) -> Float[Array, "m"]:
    """How near to one of two bounds an action is at it; infinite bounds have none."""
    return jnp.where(jnp.isfinite(bound), rounding() * units(bound, low, high), 0.0)


def _places(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[slice, tuple[int, ...]]]:
    found, start = {}, 0
    for name, shape in shapes.items():
        found[name] = (slice(start, start + math.prod(shape)), shape)
        start += math.prod(shape)
    return found


def _may_bind(bound: Any) -> bool:
    return not (is_literal(bound) and bool(np.all(np.isinf(np.asarray(bound, float)))))
