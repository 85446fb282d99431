"""What a maximiser is, and the maximum over discrete combinations that all of them share.

A maximiser finds the best continuous actions u for one combination of the discrete ones, pointwise. `maximum` runs it
over the combinations and takes the best; the first of equals.
"""

import abc
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.bellman.constrained import Edges
from bellax.bellman.continuation import Value
from bellax.bellman.mesh import Mesh, Point
from bellax.bellman.objective import Decision, Objective
from bellax.bellman.pointwise import Function
from bellax.errors import ModelError, listed
from bellax.model.spaces import Discrete
from bellax.numerics import interpolate
from bellax.numerics.pieces import Pieces
from bellax.numerics.scalar import take, where
from bellax.problem.period import Combination, Period, combinations, over_combinations
from bellax.problem.plan import Plan

_REFINED = 120
"""Evaluations that it costs to refine the best candidate: steps with derivatives, until the slowest state is done. The
second derivatives of several actions are as many as their square."""


class Best(NamedTuple):
    """The best continuous actions of one combination: Q, u, and how many Q were evaluated."""

    value: Float[Array, ""]
    u: Float[Array, "m"]
    evaluations: Float[Array, ""]


class Nearby(NamedTuple):
    """The best continuous action of one combination, from what is close by it.

    Attributes:
        best: after the last step of Newton's method.
        moved: the last step relative to u, before the bounds of the action cut it; zero where a bound holds u, infinite
            where the objective is not concave or has no number.
        curvature: second derivative of Q in u, where the last step began.
    """

    best: Best
    moved: Float[Array, ""]
    curvature: Float[Array, ""]


class Optimum(NamedTuple):
    """The best decision at one state.

    Attributes:
        value: Q of the decision; minus infinity where nothing is feasible; None where it was not evaluated, because
            there is nothing to choose: then `choice_values` and `shares` are not known either.
        decision: the combination and u; under taste shocks the most probable one.
        choice_values: Q of the best continuous actions of every combination, shape (k,).
        shares: the best continuous actions of every combination, shape (k, m).
        feasible: False where bounds and constraints leave no action at all; an action that pays NaN is one.
        evaluations: how many Q were evaluated.
        stop: whether a rule says to stop; None where stopping is weighed against going on.
        edges: of smooth constraints on continuous actions, which hold the decision, or under taste shocks that of every
            combination; None where there are none, or nobody asked for derivatives yet.
    """

    value: Float[Array, ""] | None
    decision: Decision
    choice_values: Float[Array, "k"]
    shares: Float[Array, "k m"]
    feasible: Bool[Array, ""]
    evaluations: Float[Array, ""]
    stop: Bool[Array, ""] | None = None
    edges: Edges | None = None


class Maximiser(abc.ABC):
    """Configuration of how one period is solved at one state."""

    @property
    @abc.abstractmethod
    def smooth(self) -> bool:
        """Whether the optimum lies between candidates, so that it moves with parameters and can be differentiated."""

    @property
    def absolute(self) -> frozenset[str]:
        """Continuous actions whose optimum is a value and no share of the way between bounds."""
        return frozenset()

    @property
    def makes_pieces(self) -> bool:
        """Whether V is known between the nodes by itself, see `pieces`."""
        return False

    def completed(self, plan: Plan) -> "Maximiser":
        """The same with what the model says of options that were left out."""
        return self

    def resized(self, plan: Plan, ratio: float) -> "Maximiser":
        """The same with about `ratio` times as many candidates, or nodes of its own; itself where it has none."""
        return self

    def nearby(self, plan: Plan, u: Float[Array, "m"]) -> Float[Array, "n m"]:
        """What the optimum may as well be, for all that is known of it: itself, and candidates beside it."""
        return u[None]

    def given(self, objective: Objective, point: Point) -> Optimum | None:
        """What is done at a state where that is given, differentiable as it stands; None where a maximum is sought."""
        return None

    def prepared(self, objective: Objective, mesh: Mesh, memory: int) -> Objective:
        """The problem of a period with what is worked out of it once, before many states ask for their `best`.

        Args:
            memory: bytes that may be in flight.
        """
        return objective

    @abc.abstractmethod
    def best(self, objective: Objective, point: Point, combination: Combination) -> Best:
        """The best continuous actions of one combination of discrete ones."""

    def function(self, period: Period, value: Value) -> Function | None:
        """V of a period as a function of states, where this method knows it between the nodes; else it is interpolated.

        Args:
            value: as `pieces` and `ended` made it.
        """
        return None

    def pieces(self, objective: Objective, mesh: Mesh, memory: int) -> Pieces | None:
        """The optimum everywhere, of a method that makes arrays; None where it is found node by node.

        Args:
            memory: bytes that may be in flight.
        """
        return None

    def fault_of(self, objective: Objective, value: Value) -> Array:
        """The number of what keeps the method from solving a period; zero where nothing does.

        Args:
            objective: as `prepared`.
            value: of the period.
        """
        return jnp.zeros(()) if value.pieces is None else value.pieces.fault

    def fault(self, plan: Plan, code: int, when: str) -> str:
        """What that is, in words.

        Args:
            code: as `fault_of` gives it.
            when: it was, such as ` in period 3`.
        """
        raise NotImplementedError

    def ended(self, plan: Plan, mesh: Mesh) -> Pieces | None:
        """As `pieces`, in place of what follows the last decision."""
        return None

    def starts_near(self, plan: Plan) -> bool:
        """Whether `near` finds the best action of a model from what is close by it."""
        return False

    def near(
        self, objective: Objective, point: Point, combination: Combination, u: Float[Array, "m"], steps: int
    ) -> Nearby:
        """The best continuous action by some steps from what is close by it."""
        raise NotImplementedError

    def over(self, objective: Objective, mesh: Mesh, memory: int) -> Optimum | None:
        """The optima of all nodes together, nodes along the first axis; None where each node is solved by itself.

        Args:
            memory: bytes that may be in flight.
        """
        return None

    def plane(self, problem: Callable[[Value], Objective], mesh: Mesh, memory: int) -> "Plane | None":
        """What a stationary problem needs at every step and V does not change; None where there is none, or too much.

        Args:
            problem: the objective, given V on the mesh.
            memory: bytes that a step may have in flight.
        """
        return None

    def candidates(self, plan: Plan) -> list[Array]:
        """Candidates of every continuous number, from which the search starts."""
        return []

    def sizes(self, plan: Plan) -> dict[str, int]:
        """How many candidates there are, or nodes of its own, by name."""
        counts = zip(plan.coordinates, self.candidates(plan), strict=False)
        return {number.name: array.shape[0] for number, array in counts}

    def tried(self, plan: Plan) -> str:
        """What `print(solution)` says of it: how many candidates there are."""
        found = ", ".join(f"{name} {count}" for name, count in self.sizes(plan).items())
        return f"candidates: {found}" if found else ""

    @abc.abstractmethod
    def cells(self, plan: Plan) -> int:
        """How many numbers one combination of discrete actions needs at once; `cells` counts those of a state."""

    def evaluations(self, plan: Plan) -> int:
        """How many Q one combination takes, about: candidates, and some steps with derivatives around their best."""
        return self.cells(plan) + _REFINED * len(plan.coordinates) ** 2 * self.smooth

    @abc.abstractmethod
    def check(self, plan: Plan) -> None:
        """Raises ModelError where the model has what the maximiser cannot honour."""


class Plane(NamedTuple):
    """Q of every node and every combination of discrete actions, shape (s, k), as a function of V."""

    constant: Array
    linear: Callable[[Array], Array]

    def first(self, zero: Value) -> Value:
        """The best reward of every state, a Bellman step from V = 0 that costs nothing."""
        best = jnp.max(self.constant, axis=1).reshape(zero.levels.shape)
        return Value(jnp.where(jnp.isfinite(best), best, 0.0), ())

    def optima(self, levels: Array) -> Optimum:
        """The optimum at every node, nodes along the first axis."""
        low = interpolate.barrier(levels.dtype)
        q = self.constant + self.linear(jnp.where(levels == -jnp.inf, low, levels))
        q = jnp.where(q > -jnp.inf, jnp.maximum(q, low), q)
        count = jnp.ones_like(q)
        none = jnp.zeros((*q.shape, 0), q.dtype)
        return jax.vmap(best_combination)(Best(q, none, count))


def cells(maximiser: Maximiser, plan: Plan) -> int:
    """How many numbers a state needs at once, for the memory budget."""
    return maximiser.cells(plan) * len(combinations(plan)) * dotted_size(plan)


def dotted_size(plan: Plan) -> int:
    """How many values of tomorrow one Q weights by probabilities at once."""
    return math.prod(space.size for name in plan.dotted if isinstance(space := plan.states[name], Discrete))


def maximum(maximiser: Maximiser, objective: Objective, point: Point) -> Optimum:
    """The best decision at one state, over all combinations of discrete actions."""
    count = len(combinations(objective.plan))
    if count == 1:
        only = jnp.zeros((), jnp.int32)
        value, u, evaluations = maximiser.best(objective, point, only)
        return Optimum(value, Decision(only, u), value[None], u[None], value != -jnp.inf, evaluations)
    return best_combination(over_combinations(objective.plan, lambda k: maximiser.best(objective, point, k)))


def best_combination(found: Best) -> Optimum:
    """The optimum over combinations, which are the first axis."""
    value, place = highest(found.value)  # NaN where one of them is: then none is known to be best
    return Optimum(
        value=value,
        decision=Decision(place, take(found.u, place)),
        choice_values=found.value,
        shares=found.u,
        feasible=value != -jnp.inf,
        evaluations=jnp.sum(found.evaluations),
    )


def highest(values: Float[Array, "n"]) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """The maximum, NaN where one of the values is, and its place, the first of equals; ten times faster than `argmax`
    on the CPU."""
    # XLA may compute the values once for each reduction, and round them differently: then none equals the maximum, and
    # the first that is close is taken. (A barrier would keep one copy, for a tenth of a cheap Bellman step.)
    count = values.shape[0]
    places = jnp.arange(count, dtype=jnp.int32)
    top = jnp.max(values)
    eps, size = float(jnp.finfo(values.dtype).eps), jnp.maximum(1.0, jnp.abs(top))
    close = jnp.where(values >= top - eps**0.5 * size, places + 2 * count, 3 * count)
    close = jnp.where(values >= top - 1024 * eps * size, places + count, close)
    # the maximum of XLA may pass over what is no number where it is vectorised: the second pass finds it
    first = jnp.min(jnp.where(jnp.isnan(values), -1, jnp.where(values == top, places, close)))
    return jnp.where(first < 0, jnp.nan, top), jnp.maximum(first, 0) % count


def first_maximum(values: Float[Array, "n"]) -> Int[Array, ""]:
    """The place of the maximum alone."""
    return highest(values)[1]


def guarded(objective: Objective, point: Point, decision: Decision) -> Array:
    """Q, a finite barrier where an allowed action pays minus infinity, minus infinity where none is allowed."""
    value, allowed = objective.judged(point, decision)
    return where(allowed, jnp.maximum(value, interpolate.barrier(value.dtype)), -jnp.inf)


def check_bounded(plan: Plan, what: str) -> None:
    """Raises ModelError for a continuous action without bounds."""
    for name, space in plan.controls.items():
        if not space.bounded:
            raise ModelError(
                f"{what} searches between bounds, and action {name!r} has an infinite one. Give Continuous(lower, "
                "upper); bounds may name states."
            )


def check_constraints(plan: Plan, what: str) -> None:
    """Raises ModelError for a constraint on a continuous action."""
    for node in plan.limiting:
        raise ModelError(
            f"{what} cannot honour {_named(plan, node)}: it would stop short of the edge. Use bx.maximise.Newton, "
            "which follows the edge of a smooth constraint, or state it as a bound of the action."
        )
    check_comparisons(plan, what)


def check_comparisons(plan: Plan, what: str) -> None:
    """Raises ModelError for a comparison that sees a continuous action."""
    for node in plan.masking:
        raise ModelError(
            f"{what} cannot honour {_named(plan, node)}: True and False do not say how far it is to the edge. State it "
            "as a bound of the action, or as bx.nonnegative(f) with f >= 0 where it holds, for bx.maximise.Newton; "
            "bx.maximise.Enumerate masks its candidates with it, and stops short of the edge."
        )


def _named(plan: Plan, node: str) -> str:
    names = plan.graph.leaves(node, "action") & set(plan.controls)
    return f"{node.replace(':', ' ')!r}, which sees the continuous action {listed(sorted(names))}"
