"""Q of one state and one action: Q(s, a) = E[ r(s, a, w, s') + b(s, a, w, s') V(s') ], pointwise.

Actions come as a combination of the discrete ones and as u in [0, 1] for each number of the continuous ones, resolved
in the order in which their bounds name each other: a = (1 - u) lower + u upper, which hits both bounds exactly.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float

from bellax.bellman.continuation import Continuation, mixed
from bellax.bellman.expectation import contribution, expectation
from bellax.bellman.mesh import Point, Process
from bellax.bellman.pointwise import Pointwise, odd
from bellax.bellman.reached import Reached
from bellax.model.demands import fulfilled
from bellax.model.spaces import Discrete
from bellax.numerics.interpolate import least_weight
from bellax.numerics.rules import Nodes
from bellax.numerics.scalar import take, where
from bellax.problem.period import Combination, Outcome, Period, as_float, by_action, in_a_row
from bellax.problem.plan import Plan


class Decision(NamedTuple):
    """An action as the maximisers see it: the discrete combination, and u of the continuous numbers.

    u is the share of the way between the bounds, and the value itself of the actions in `Objective.absolute`.
    """

    combination: Combination
    u: Float[Array, "m"]


class Objective(eqx.Module):
    """The one-period problem.

    Attributes:
        period: what may be done in it, and what that brings, on raw states and actions.
        continuation: tomorrow's value, in the same regime.
        processes: today's processes, by name.
        shock_nodes: standard nodes of the shocks, by name.
        absolute: continuous actions whose u is the value itself: candidates that a user gave as values stay what they
            are, to the last digit and when bounds move.
        elsewhere: tomorrow in the other regimes that may be reached, those together that are alike.
        exists: whether a regime is active tomorrow, of those that are not always.
        regime: today's.
        solved: what the maximiser knows of the period already, where it is asked of many states: today's V, or a part
            of the problem.
        sided: whether an optimum of numbers may be at a kink of Q, where derivatives of one side are not those of V.
    """

    period: Period
    continuation: Continuation | Pointwise
    processes: dict[str, Process]
    shock_nodes: dict[str, Nodes]
    absolute: frozenset[str] = eqx.field(static=True, default=frozenset())
    elsewhere: tuple[Reached, ...] = ()
    exists: dict[str, Array] = eqx.field(default_factory=dict)
    regime: str = eqx.field(static=True, default="")
    solved: eqx.Module | None = None
    sided: bool = eqx.field(static=True, default=False)

    @property
    def plan(self) -> Plan:
        """Which stages the period has."""
        return self.period.plan

    # -- actions --------------------------------------------------------------------------------------------------

    def actions(self, point: Point, decision: Decision) -> tuple[dict[str, Array], Bool[Array, ""]]:
        """The actions of a decision, and whether its bounds allow them."""
        own = by_action(self.plan, decision.u)

        def act(name: str, lower: Array, upper: Array) -> tuple[Array, Array]:
            u = own[name]
            if name in self.absolute:
                return u, jnp.all((u >= lower) & (u <= upper))
            return (1 - u) * lower + u * upper, jnp.all(lower <= upper)

        values, inside = self.period.resolved(point.values, decision.combination, act)
        return values, functools.reduce(jnp.logical_and, inside.values(), jnp.ones((), bool))

    def shares(self, point: Point, decision: Decision) -> Float[Array, "m"]:
        """u of a decision as shares of the way between the bounds, zero where these are equal."""
        if not self.absolute:
            return decision.u
        own = by_action(self.plan, decision.u)

        def act(name: str, lower: Array, upper: Array) -> tuple[Array, Array]:
            u, width = own[name], upper - lower
            if name in self.absolute:
                return u, jnp.where(width > 0, (u - lower) / jnp.where(width > 0, width, 1.0), 0.0)
            return (1 - u) * lower + u * upper, u

        return in_a_row(self.period.resolved(point.values, decision.combination, act)[1])

    # -- value ----------------------------------------------------------------------------------------------------

    def __call__(self, point: Point, decision: Decision) -> Float[Array, ""]:
        """Q, and minus infinity where bounds or constraints forbid the action."""
        value, allowed = self.judged(point, decision)
        return where(allowed, value, -jnp.inf)

    def judged(self, point: Point, decision: Decision) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """Q whether or not the action is allowed, and whether bounds and constraints allow it."""
        codes = self.period.codes(decision.combination)  # of one structure, so that it is traced once
        return self.plan.shared(judged)(self, point, Decision(codes, decision.u))

    def margins(self, point: Point, decision: Decision) -> tuple[Float[Array, "j"], Float[Array, "j"]]:
        """Numbers of the smooth constraints on continuous actions, and how far below zero rounding may take them."""
        codes = self.period.codes(decision.combination)
        return self.plan.shared(margins)(self, point, Decision(codes, decision.u))

    def limit(self, k: int, point: Point, decision: Decision) -> Float[Array, ""]:
        """One of these numbers by itself: what others do to derivatives does not matter."""
        return self.period.limits(point.values, self.actions(point, decision)[0])[k]

    def value(self, point: Point, actions: Mapping[str, Array]) -> Float[Array, ""]:
        """Q of allowed actions."""
        known = self.period.known(point.values, actions)
        nodes, count = self.nodes()
        early = "slot:reward" in known and "slot:discount" in known

        def term(node: Any) -> tuple[Array, Array]:
            weight, outcome = self.outcome(point, actions, known, node)
            following = self.tomorrow(point, actions, outcome)
            return weight, following if early else outcome.reward + outcome.discount * following

        total = expectation(term, nodes, count)
        if early:
            return as_float(known["slot:reward"]) + self.period.discount(known) * total
        return total

    def future(self, point: Point, actions: Mapping[str, Array], sparing: bool = False) -> Float[Array, ""]:
        """E[b V'], Q without the reward.

        Args:
            sparing: do not look at what has no probability, if that is the same in every state. Right where nobody asks
                for derivatives in parameters, which a probability of zero has, too.
        """
        known = self.period.known(point.values, actions)
        nodes, count = self.nodes()
        early, sparing = "slot:discount" in known, sparing and self.plan.weighed

        def term(node: Any) -> tuple[Array, Array]:
            weight, realised, codes = self.realise(point, actions, known, node)

            def following() -> Array:
                outcome = self._outcome(point, actions, known, realised, codes)
                found = self.tomorrow(point, actions, outcome)
                return found if early else outcome.discount * found

            if not sparing:
                return weight, following()
            none = lambda: jnp.zeros((), jnp.result_type(float))  # noqa: E731
            return weight, lax.cond(weight >= least_weight(weight.dtype), following, none)

        total = expectation(term, nodes, count)
        return self.period.discount(known) * total if early else total

    def kind(self, point: Point, actions: Mapping[str, Array]) -> Array:
        """A whole number that changes where V of some state that may follow has a kink or a jump, as far as known."""
        known = self.period.known(point.values, actions)
        nodes, count = self.nodes()

        def at(node: Any) -> Array:
            weight, outcome = self.outcome(point, actions, known, node)
            return jnp.where(weight > 0, self._kind(point, outcome), 0)

        return jnp.sum(jax.vmap(at)(nodes) * odd(count), dtype=jnp.uint32)

    def _kind(self, point: Point, outcome: Outcome) -> Array:
        total = jnp.zeros((), jnp.uint32)
        if (not outcome.regimes or self.regime in outcome.regimes) and isinstance(self.continuation, Pointwise):
            total = self.continuation.kind(point, outcome.following, outcome.weights)
            total = jnp.where(jnp.asarray(outcome.staying(self.regime)) > 0, total, 0)
        factors = odd(sum(len(reached.targets) for reached in self.elsewhere))
        for reached in self.elsewhere:
            count = len(reached.targets)
            chances = jnp.stack([outcome.regimes[name] for name in reached.targets])
            found = jnp.where(chances > 0, reached.kind(point, outcome) * factors[:count], 0)
            total, factors = total + jnp.sum(found, dtype=jnp.uint32), factors[count:]
        return total

    def tomorrow(self, point: Point, actions: Mapping[str, Array], outcome: Outcome) -> Float[Array, ""]:
        """E[V] of what a period brings; NaN where a regime is probable that does not exist tomorrow."""
        if not outcome.regimes:
            value = self.continuation(point, outcome.following, outcome.weights)
            return where(self.exists[self.regime], value, jnp.nan) if self.regime in self.exists else value
        total = jnp.zeros(())
        if self.regime in outcome.regimes:
            value = self.continuation(point, outcome.following, outcome.weights)
            total = self._weighed(outcome, (self.regime,), value[None])
        for reached in self.elsewhere:
            if reached.joint is not None:
                total = total + reached.joint(point, actions, *reached.arrived(outcome, reached.targets[0]))
            else:
                total = total + self._weighed(outcome, reached.targets, reached(point, outcome))
        return total

    def _weighed(self, outcome: Outcome, regimes: tuple[str, ...], values: Float[Array, "r"]) -> Float[Array, ""]:
        """V of each of these regimes times its probability, summed."""
        if any(name in self.exists for name in regimes):
            values = jax.vmap(lambda there, value: where(there, value, jnp.nan))(self.there(regimes), values)
        chances = jnp.stack([outcome.regimes[name] for name in regimes])
        return jnp.sum(jax.vmap(contribution)(chances, values))

    def there(self, regimes: tuple[str, ...]) -> Bool[Array, "r"]:
        """Whether each of these regimes is active tomorrow."""
        return jnp.stack([self.exists.get(name, jnp.ones((), bool)) for name in regimes])

    def outcomes(self, point: Point, actions: Mapping[str, Array]) -> tuple[Float[Array, "q"], Outcome]:
        """Weights and outcomes of every scanned node, along the first axis."""
        return self.plan.shared(outcomes)(self, point, dict(actions))

    def outcome(self, point: Point, actions: Mapping[str, Array], known: dict, node: dict) -> tuple[Array, Outcome]:
        """The weight and the outcome of one scanned node."""
        weight, realised, codes = self.realise(point, actions, known, node)
        return weight, self._outcome(point, actions, known, realised, codes)

    def _outcome(
        self, point: Point, actions: Mapping[str, Array], known: dict, realised: dict[str, Array], codes: dict
    ) -> Outcome:
        found = self.period.outcome(point.values, actions, realised, known)
        # the categories of scanned states are known by their place
        return found._replace(following=codes | found.following)

    def realise(
        self, point: Point, actions: Mapping[str, Array], known: dict, node: dict[str, Array]
    ) -> tuple[Array, dict[str, Array], dict[str, Array]]:
        """The weight of a scanned node, its realised leaves by name, and the codes of scanned states tomorrow."""
        weight = jnp.ones((), jnp.result_type(float))
        leaves = {**self.period.environment, **point.values, **actions}
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
            if self.plan.moves(name):  # with the state, so that no check before the solve saw it
                chance = where(fulfilled(shock.demands(), parameters), chance, jnp.nan)
            weight = weight * chance
        chances = {**known, **self.plan.evaluate_chances(**leaves, **known, **realised)}
        for name in self.plan.scanned:
            if name in self.plan.markov:
                weight = weight * take(self.period.probabilities(name, chances), codes[name])
        return weight, realised, codes

    def _tomorrow(self, name: str) -> Array:
        """What functions see of the categories or nodes of a scanned state tomorrow."""
        arrivals = self.continuation.arrivals
        return arrivals[name].values if name in arrivals else self.continuation.discrete[name]

    def row(self, name: str, point: Point) -> Float[Array, "n"]:
        """Probabilities of a process's nodes tomorrow, given today's value, between nodes a mixture of rows."""
        process = self.processes[name]
        if process.memoryless:
            return self.continuation.arrivals[name].transition
        if name in point.rows:
            return point.rows[name]
        rows = lambda place: take(process.transition, place)  # noqa: E731
        if name not in point.fractions:
            return rows(point.codes[name])
        return mixed(rows, point.codes[name], *process.sides(name, 1, point.fractions[name]))

    def nodes(self) -> tuple[dict[str, Array], int]:
        """The product of all scanned nodes, along the first axis, and their number."""
        lengths: dict[str, int] = {f"next_{name}": self._categories(name) for name in self.plan.scanned}
        lengths |= {name: self.shock_nodes[name].weights.shape[0] for name in self.plan.shocks}
        places = np.indices(tuple(lengths.values())).reshape(len(lengths), -1) if lengths else np.zeros((0, 1), int)
        nodes: dict[str, Array] = {"place": jnp.zeros(1, jnp.int32)} if not lengths else {}
        for (name, _), place in zip(lengths.items(), places, strict=True):
            if name in self.plan.shocks:
                rule = self.shock_nodes[name]
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
        allowed = allowed & objective.period.feasible(point.values, actions)
    return objective.value(point, actions), allowed


def margins(objective: Objective, point: Point, decision: Decision) -> tuple[Float[Array, "j"], Float[Array, "j"]]:
    """What `Objective.margins` traces."""
    return objective.period.margins(point.values, objective.actions(point, decision)[0])


def outcomes(objective: Objective, point: Point, actions: dict[str, Array]) -> tuple[Float[Array, "q"], Outcome]:
    """What `Objective.outcomes` traces."""
    known = objective.period.known(point.values, actions)
    nodes, _ = objective.nodes()
    return jax.vmap(lambda node: objective.outcome(point, actions, known, node))(nodes)
