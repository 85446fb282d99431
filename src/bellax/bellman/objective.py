"""Q of one state and one action: Q(s, a) = E[ r(s, a, w, s') + b(s, a, w, s') V(s') ], pointwise.

Actions come as a combination of the discrete ones and as u in [0, 1] for each number of the continuous ones, resolved
in the order in which their bounds name each other: a = (1 - u) lower + u upper, which hits both bounds exactly.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.bellman.continuation import Continuation
from bellax.bellman.expectation import expectation
from bellax.bellman.mesh import Point, Process
from bellax.bellman.plan import Plan
from bellax.errors import ModelError
from bellax.model.distribution import Distribution, is_distribution, rounding, without_rounding
from bellax.model.spaces import Discrete
from bellax.numerics.rules import Nodes
from bellax.numerics.scalar import seen_type, take, where


class Decision(NamedTuple):
    """An action as the maximisers see it: the place of the discrete combination, and u of the continuous numbers.

    u is the share of the way between the bounds, and the value itself of the actions in `Objective.absolute`.
    """

    combination: Int[Array, ""]
    u: Float[Array, "m"]


class Outcome(NamedTuple):
    """What one node of the scan leads to."""

    reward: Float[Array, ""]
    discount: Float[Array, ""]
    following: dict[str, Array]
    weights: dict[str, Array]


class Objective(eqx.Module):
    """The one-period problem.

    Attributes:
        environment: parameters, literals, period and age of this period, by name.
        continuation: tomorrow's value.
        processes: today's processes, by name.
        rules: standard nodes of the shocks, by name.
        absolute: continuous actions whose u is the value itself: candidates that a user gave as values stay what they
            are, to the last digit and when bounds move.
    """

    environment: dict[str, Array]
    continuation: Continuation
    processes: dict[str, Process]
    rules: dict[str, Nodes]
    plan: Plan = eqx.field(static=True)
    absolute: frozenset[str] = eqx.field(static=True, default=frozenset())

    # -- actions --------------------------------------------------------------------------------------------------

    @property
    def combinations(self) -> np.ndarray:
        """Codes of every combination of discrete actions, shape (k, number of discrete actions)."""
        return combinations(self.plan)

    def choices(self, combination: Int[Array, ""]) -> dict[str, Array]:
        """What functions see of the discrete actions of a combination."""
        table = self.combinations
        values: dict[str, Array] = {}
        for place, (name, space) in enumerate(self.plan.choices.items()):
            assert isinstance(space, Discrete)
            column = space.values[table[:, place]] if len(table) else space.values
            values[name] = take(jnp.asarray(column, seen_type(column)), combination)
        return values

    def actions(self, point: Point, decision: Decision) -> tuple[dict[str, Array], Bool[Array, ""]]:
        """The actions of a decision, and whether its bounds allow them."""
        values = self.choices(decision.combination)
        allowed = jnp.ones((), bool)
        start = 0
        for name, space in self.plan.controls.items():
            lower, upper = self.bounds(name, point, values)
            u = decision.u[start : start + space.size].reshape(space.shape)
            start += space.size
            if name in self.absolute:
                values[name] = u
                allowed = allowed & jnp.all((u >= lower) & (u <= upper))
            else:
                values[name] = (1 - u) * lower + u * upper
                allowed = allowed & jnp.all(lower <= upper)
        return values, allowed

    def shares(self, point: Point, decision: Decision) -> Float[Array, "m"]:
        """u of a decision as shares of the way between the bounds, zero where these are equal."""
        if not self.absolute:
            return decision.u
        values, start, parts = self.choices(decision.combination), 0, []
        for name, space in self.plan.controls.items():
            own = decision.u[start : start + space.size].reshape(space.shape)
            start += space.size
            lower, upper = self.bounds(name, point, values)
            if name in self.absolute:
                width = upper - lower
                values[name] = own
                own = jnp.where(width > 0, (own - lower) / jnp.where(width > 0, width, 1.0), 0.0)
            else:
                values[name] = (1 - own) * lower + own * upper
            parts.append(own.reshape(-1))
        return jnp.concatenate(parts)

    def bounds(self, name: str, point: Point, before: Mapping[str, Array]) -> tuple[Array, Array]:
        """Lower and upper bound of a continuous action, given the actions before it, in its shape."""
        found = self.plan.evaluate_bounds[name](**self.environment, **point.values, **before)
        shape = self.plan.controls[name].shape
        lower, upper = (jnp.broadcast_to(as_float(found[f"{side}:{name}"]), shape) for side in ("lower", "upper"))
        return lower, upper

    def feasible(self, point: Point, actions: Mapping[str, Array]) -> Bool[Array, ""]:
        """Whether every constraint holds; a smooth one may be negative by rounding."""
        holds = jnp.ones((), bool)
        leaves = {**point.values, **actions}
        for node, value in self.plan.evaluate_constraints(**self.environment, **leaves).items():
            if node in self.plan.smooth_constraints:
                value = as_float(value) >= -rounding() * self._size(node, leaves)
            holds = holds & jnp.asarray(value)
        return holds

    def _size(self, node: str, leaves: Mapping[str, Array]) -> Float[Array, ""]:
        """The largest of the states and actions that a node reads, and at least one."""
        read = self.plan.graph.leaves(node, "state", "action")
        sizes = [jnp.max(jnp.abs(as_float(leaves[name]))) for name in sorted(read)]
        return jnp.max(jnp.stack([jnp.ones((), jnp.result_type(float)), *sizes]))

    def payoff(self, point: Point) -> Float[Array, ""]:
        """What stopping pays; minus infinity where the model has no `stop`."""
        if self.plan.evaluate_stop is None:
            return jnp.full((), -jnp.inf)
        return as_float(self.plan.evaluate_stop(**self.environment, **point.values)["slot:stop"])

    # -- value ----------------------------------------------------------------------------------------------------

    def __call__(self, point: Point, decision: Decision) -> Float[Array, ""]:
        """Q, and minus infinity where bounds or constraints forbid the action."""
        value, allowed = self.judged(point, decision)
        return where(allowed, value, -jnp.inf)

    def judged(self, point: Point, decision: Decision) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """Q whether or not the action is allowed, and whether bounds and constraints allow it."""
        return self.plan.shared(judged)(self, point, decision)

    def value(self, point: Point, actions: Mapping[str, Array]) -> Float[Array, ""]:
        """Q of allowed actions."""
        leaves = {**self.environment, **point.values, **actions}
        known = self.plan.evaluate_known(**leaves)
        nodes, count = self.nodes(point)
        early = "slot:reward" in known and "slot:discount" in known

        def term(node: Any) -> tuple[Array, Array]:
            weight, outcome = self.outcome(point, leaves, known, node)
            following = self.continuation(point, outcome.following, outcome.weights)
            return weight, following if early else outcome.reward + outcome.discount * following

        total = expectation(term, nodes, count)
        if early:
            return as_float(known["slot:reward"]) + self.discount(known) * total
        return total

    def outcomes(self, point: Point, actions: Mapping[str, Array]) -> tuple[Float[Array, "q"], Outcome]:
        """Weights and outcomes of every scanned node, along the first axis."""
        return self.plan.shared(outcomes)(self, point, dict(actions))

    def outcome(self, point: Point, leaves: dict, known: dict, node: dict[str, Array]) -> tuple[Array, Outcome]:
        """The weight and the outcome of one scanned node."""
        weight, realised, following = self.realise(point, leaves, known, node)
        values = {**known, **self.plan.evaluate_random(**leaves, **known, **realised)}
        for name in (*self.plan.continuous, *self.plan.discrete):
            if name not in self.plan.markov:
                following[name] = self._shaped(name, values[f"next_{name}"])
        weights = {name: self._probabilities(name, values) for name in self.plan.dotted}
        return weight, Outcome(as_float(values["slot:reward"]), self.discount(values), following, weights)

    def realise(
        self, point: Point, leaves: dict, known: dict, node: dict[str, Array]
    ) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        """The weight of a scanned node, its realised leaves by name, and the codes of scanned states tomorrow."""
        weight = jnp.ones((), jnp.result_type(float))
        realised: dict[str, Array] = {}
        codes: dict[str, Array] = {}
        for name in self.plan.scanned:
            codes[name] = code = node[f"next_{name}"]
            realised[f"next_{name}"] = take(self._tomorrow(name), code)
            if name in self.plan.processes:
                weight = weight * take(self.row(name, point), code)
        given = {**known, **self.plan.evaluate_early(**leaves, **known, **realised)}
        for name in self.plan.shocks:
            parameters = {n.rpartition(".")[2]: as_float(given[n]) for n in self.plan.shock_nodes(name)}
            shock = self.plan.graph.regime.shocks[name]
            realised[name] = shock.realise(node[name], **parameters)
            chance = shock.weight(node[name], node[f"weight:{name}"], **parameters)
            weight = weight * (where(shock.sound(**parameters), chance, jnp.nan) if self.plan.moves(name) else chance)
        chances = {**known, **self.plan.evaluate_chances(**leaves, **known, **realised)}
        for name in self.plan.scanned:
            if name in self.plan.markov:
                weight = weight * take(self._probabilities(name, chances), codes[name])
        return weight, realised, codes

    def discount(self, values: Mapping[str, Any]) -> Float[Array, ""]:
        """The discount among the values of functions; NaN where it is negative and no check before the solve saw it."""
        found = as_float(values["slot:discount"])
        seen_before = not self.plan.graph.leaves("slot:discount", "state", "action", "shock", "next")
        return found if seen_before else where(found >= 0, found, jnp.nan)

    def _probabilities(self, name: str, values: Mapping[str, Any]) -> Float[Array, "n"]:
        """Probabilities of the categories of a `Markov` state; NaN where a function gives what are none."""
        given = as_float(values[f"probabilities:{name}"])
        law = self.plan.graph.regime.transitions[name]
        if law.over:  # a table, checked before the solve
            return without_rounding(given)
        return where(jnp.broadcast_to(is_distribution(given), given.shape), without_rounding(given), jnp.nan)

    def _tomorrow(self, name: str) -> Array:
        """What functions see of the categories or nodes of a scanned state tomorrow."""
        arrivals = self.continuation.arrivals
        return arrivals[name].values if name in arrivals else self.continuation.discrete[name]

    def _shaped(self, name: str, value: Any) -> Array:
        space = self.plan.continuous.get(name)
        return jnp.asarray(value) if space is None else jnp.broadcast_to(as_float(value), space.shape)

    def row(self, name: str, point: Point) -> Float[Array, "n"]:
        """Probabilities of a process's nodes tomorrow, given today's value, between nodes a mixture of two rows."""
        process = self.processes[name]
        if process.memoryless:
            return self.continuation.arrivals[name].transition
        row = take(process.transition, point.codes[name])
        if name in point.fractions:
            above = take(process.transition, point.codes[name] + 1)
            row = row + point.fractions[name] * (above - row)
        return row

    def nodes(self, point: Point) -> tuple[dict[str, Array], int]:
        """The product of all scanned nodes, along the first axis, and their number."""
        lengths: dict[str, int] = {f"next_{name}": self._categories(name) for name in self.plan.scanned}
        lengths |= {name: self.rules[name].weights.shape[0] for name in self.plan.shocks}
        places = np.indices(tuple(lengths.values())).reshape(len(lengths), -1) if lengths else np.zeros((0, 1), int)
        nodes: dict[str, Array] = {"place": jnp.zeros(1, jnp.int32)} if not lengths else {}
        for (name, _), place in zip(lengths.items(), places, strict=True):
            if name in self.plan.shocks:
                rule = self.rules[name]
                # without a product there is nothing to lay out
                alone = len(lengths) == 1
                nodes[name] = rule.nodes if alone else rule.nodes[place]
                nodes[f"weight:{name}"] = rule.weights if alone else rule.weights[place]
            else:
                nodes[name] = jnp.asarray(place, jnp.int32)
        return nodes, places.shape[1]

    def _categories(self, name: str) -> int:
        if name in self.processes:
            return self.processes[name].count
        space = self.plan.states[name]
        assert isinstance(space, Discrete)
        return len(space.values)


def judged(objective: Objective, point: Point, decision: Decision) -> tuple[Float[Array, ""], Bool[Array, ""]]:
    """What `Objective.judged` traces."""
    actions, allowed = objective.actions(point, decision)
    if objective.plan.constraints:
        allowed = allowed & objective.feasible(point, actions)
    return objective.value(point, actions), allowed


def outcomes(objective: Objective, point: Point, actions: dict[str, Array]) -> tuple[Float[Array, "q"], Outcome]:
    """What `Objective.outcomes` traces."""
    leaves = {**objective.environment, **point.values, **actions}
    known = objective.plan.evaluate_known(**leaves)
    nodes, _ = objective.nodes(point)
    return jax.vmap(lambda node: objective.outcome(point, leaves, known, node))(nodes)


def combinations(plan: Plan) -> np.ndarray:
    """Codes of every combination of discrete actions, shape (k, number of discrete actions), k = 1 without any."""
    ranges = [range(len(space.values)) for space in plan.choices.values() if isinstance(space, Discrete)]
    rows = list(itertools.product(*ranges))
    return np.asarray(rows, dtype=np.int32).reshape(len(rows), len(ranges))


def as_float(value: Any) -> Array:
    """A float array of the default precision, from whatever a user's function returned."""
    if jnp.iscomplexobj(value):
        raise ModelError("a function of the model gives complex numbers; keep the arguments of its roots positive.")
    return jnp.asarray(value).astype(jnp.result_type(float))


def rules(
    plan: Plan, quadrature: Mapping[str, Any], sizes: Mapping[str, Mapping[str, tuple[int, ...]]]
) -> dict[str, Nodes]:
    """Standard nodes of every scanned shock."""
    shocks: Mapping[str, Distribution] = plan.graph.regime.shocks
    return {name: shocks[name].rule(quadrature.get(name), sizes.get(name, {})) for name in plan.shocks}
