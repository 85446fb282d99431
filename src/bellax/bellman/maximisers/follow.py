"""Following a rule in place of a maximum: what is done at a state is given, and nothing is searched.

The value of a rule obeys V(s) = E[r(s, rule(s)) + b V(s')], which is the Bellman equation of a model without a choice.
So a rule stands where a maximiser stands, and every solver evaluates it by the same steps. Its actions are values, not
shares of bounds, and move with states and parameters by themselves: derivatives of V are total ones.
"""

import abc
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.bellman.maximisers.maximum import Best, Maximiser, Optimum
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Decision, Objective
from bellax.model.graph import Graph
from bellax.model.rule import STOP
from bellax.numerics.scalar import where
from bellax.problem.categories import category
from bellax.problem.period import Combination, as_float, in_a_row
from bellax.problem.plan import Plan


class Source(abc.ABC):
    """Where the actions of a rule come from: pointwise, from the leaves of a period and a state."""

    @property
    @abc.abstractmethod
    def smooth(self) -> bool:
        """Whether actions can be differentiated."""

    @abc.abstractmethod
    def __call__(self, environment: Mapping[str, Array], states: Mapping[str, Array]) -> dict[str, Any]:
        """Every action by name, and under `STOP` whether to stop in a stopping problem."""


@dataclass(frozen=True, eq=False)
class Functions(Source):
    """A rule that was stated as functions of names.

    Attributes:
        graph: in which the actions are nodes.
        nodes: the actions by name, and `STOP`.
    """

    graph: Graph
    nodes: tuple[str, ...]

    @property
    def smooth(self) -> bool:
        return True

    def __call__(self, environment: Mapping[str, Array], states: Mapping[str, Array]) -> dict[str, Any]:
        return self.graph.compose(self.nodes)(**environment, **states)


@dataclass(frozen=True, eq=False)
class Others(Source):
    """What another policy does.

    Attributes:
        structure: of the policy, whose arrays travel among the arguments, see `carried`.
        moves: whether it is smooth.
        timed: whether it differs from period to period.
    """

    structure: Any
    moves: bool
    timed: bool

    @property
    def smooth(self) -> bool:
        return self.moves

    def __call__(self, environment: Mapping[str, Array], states: Mapping[str, Array]) -> dict[str, Any]:
        leaves = [environment[_carried(k)] for k in range(self.structure.num_leaves)]
        period = environment["period"].astype(jnp.int32) if self.timed else 0
        chosen = jax.tree.unflatten(self.structure, leaves).at(period)(states)
        return {**chosen.actions, STOP: chosen.stop}


def carried(policy: Any) -> dict[str, Any]:
    """The arrays of a policy under names of their own, as compiled programs take them among the arguments."""
    return {_carried(k): leaf for k, leaf in enumerate(jax.tree.leaves(policy))}


def is_carried(name: str) -> bool:
    """Whether an argument is an array of the policy that is followed."""
    return name.startswith(_CARRIED)


_CARRIED = "rule:"


def _carried(place: int) -> str:
    return f"{_CARRIED}{place}"


@dataclass(frozen=True)
class Follow(Maximiser):
    """Does what a rule says.

    Attributes:
        source: of the actions.
        absolute: every continuous action: u is its value.
    """

    source: Source
    absolute: frozenset[str] = frozenset()

    @property
    def smooth(self) -> bool:
        return self.source.smooth

    def given(self, objective: Objective, point: Point) -> Optimum:
        found = self.source(objective.period.environment, point.values)
        combination, feasible = _combination(objective.plan, found)

        def act(name: str, lower: Array, upper: Array) -> tuple[Array, Array]:
            return _within(jnp.broadcast_to(as_float(found[name]), lower.shape), lower, upper)

        values, inside = objective.period.resolved(point.values, combination, act)
        feasible = functools.reduce(lambda fine, each: fine & jnp.all(each), inside.values(), feasible)
        u = in_a_row({name: values[name] for name in inside})
        stop = None if objective.plan.evaluate_stop is None else jnp.asarray(found[STOP]).astype(bool)
        one = jnp.ones(())
        feasible = feasible & objective.period.feasible(point.values, values)
        return Optimum(None, Decision(combination, u), one[None], u[None], feasible, one, stop)

    def best(self, objective: Objective, point: Point, combination: Combination) -> Best:
        u = self.given(objective, point).decision.u
        return Best(objective(point, Decision(combination, u)), u, jnp.ones(()))

    def cells(self, plan: Plan) -> int:
        return 1

    def evaluations(self, plan: Plan) -> int:
        return 1

    def check(self, plan: Plan) -> None:
        """A rule was checked when it was stated."""


def _combination(plan: Plan, found: Mapping[str, Any]) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """The place of the discrete actions among their combinations, and whether each is one of its categories."""
    combination, known = jnp.zeros((), jnp.int32), jnp.ones((), bool)
    for name, space in plan.choices.items():
        place, fits = category(space, found[name])
        combination, known = combination * len(space.values) + place, known & fits
    return combination, known


def _within(action: Array, lower: Array, upper: Array) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    """An action that rounding took beyond a bound, put on it, and whether the bounds allow it."""
    slack = 64 * float(jnp.finfo(action.dtype).eps)
    low = (action < lower) & (action >= lower - slack * jnp.maximum(jnp.abs(action), jnp.abs(lower)))
    high = (action > upper) & (action <= upper + slack * jnp.maximum(jnp.abs(action), jnp.abs(upper)))
    action = where(low, lower, where(high, upper, action))
    return action, (action >= lower) & (action <= upper)
