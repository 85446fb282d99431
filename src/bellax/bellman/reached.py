"""Tomorrow in another regime: where its states come from, and what V is there.

Of each state of the target the `Arrival` says whether it is the source's own next state, what a mapping gives, or
drawn. A distribution that is the same in every state becomes probabilities of the target's nodes before any look-up. A
`Terminal` is asked for its function, exactly; another regime for its table.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.continuation import Continuation, Way
from bellax.bellman.mesh import Mesh, Point, Process, landed, realised, shares
from bellax.model.crossing import Arrival
from bellax.model.demands import fulfilled, one_stationary
from bellax.model.spaces import MarkovChain
from bellax.numerics import interpolate, markov
from bellax.numerics.rules import Nodes
from bellax.numerics.scalar import take, where
from bellax.problem.categories import category, close, nearest_place
from bellax.problem.period import Outcome, Period
from bellax.problem.plan import Plan


class Ending(eqx.Module):
    """The value of a regime that ends, at states that are partly random.

    Attributes:
        period: of the regime, tomorrow.
        seen: what functions see of the categories and nodes of each state that has some.
        rows: probabilities of these, as in `continuation`.
        ways: as of a `Continuation`.
    """

    period: Period
    seen: dict[str, Array]
    rows: dict[str, Array]
    ways: dict[str, Way] = eqx.field(static=True)

    @property
    def plan(self) -> Plan:
        """Of the regime."""
        return self.period.plan

    def __call__(self, point: Point, following: Mapping[str, Array], weights: Mapping[str, Array]) -> Float[Array, ""]:
        """E[V] at tomorrow's states; see `Continuation`."""
        plan, known = self.period.plan, jnp.ones((), bool)
        states = {name: _shaped(following[name], plan, name) for name in plan.continuous}
        open_: dict[str, tuple[Array, Array]] = {}
        for name, way in self.ways.items():
            if way is Way.coded:
                states[name] = take(self.seen[name], following[name])
            elif way is Way.between:
                states[name] = following[name]
            elif way is Way.category:
                states[name], fits = self._category(name, following[name])
                known = known & fits
            elif way is Way.dotted:
                open_[name] = weights[name], self.seen[name]
            elif way is Way.drawn:
                open_[name] = weights[name], following[name]
            else:
                open_[name] = _row(self.rows[name], point, name), self.seen[name]
        return where(known, self._average(states, open_), jnp.nan)

    def _category(self, name: str, value: Array) -> tuple[Array, Array]:
        values = self.seen[name]
        if name in self.period.plan.discrete:
            place, fits = category(self.period.plan.states[name], value)
            return take(values, place), fits
        found = take(values, nearest_place(values, value))
        return found, jnp.all(close(value, found))

    def _average(self, states: dict[str, Array], open_: dict[str, tuple[Array, Array]]) -> Float[Array, ""]:
        """E[V] over states that are left open: of each the probabilities, and of what."""
        if not open_:
            return self._at(states)
        (name, (chances, seen)), *rest = open_.items()
        values = jax.vmap(lambda value: self._average({**states, name: value}, dict(rest)))(seen)
        return jnp.dot(interpolate.telling(chances), values)

    def _at(self, states: dict[str, Array]) -> Float[Array, ""]:
        value = self.period.terminal(states)
        return where(value == -jnp.inf, interpolate.barrier(value.dtype), value)


class Reached(eqx.Module):
    """Tomorrow in another regime, as today's regime sees it.

    Attributes:
        value: expected V at tomorrow's states.
        tomorrow: what functions see of the source's own categories and nodes tomorrow.
        rules: standard nodes of the distributions by which states enter, by state.
    """

    value: Continuation | Ending
    tomorrow: dict[str, Array]
    rules: dict[str, Nodes]
    arrivals: dict[str, Arrival] = eqx.field(static=True)

    @property
    def plan(self) -> Plan:
        """Of the regime that is reached."""
        return self.value.plan

    def __call__(self, point: Point, outcome: Outcome, target: str) -> Float[Array, ""]:
        """E[V] there.

        Args:
            point: today's state.
            outcome: what the period brings; of scanned states, codes.
        """
        arrived = outcome.arrivals[target]
        following, weights = dict(arrived.following), dict(arrived.weights)
        for name in (name for name, arrival in self.arrivals.items() if arrival.way == "carried"):
            if name in outcome.weights:
                weights[name] = outcome.weights[name]
            elif name in outcome.following:
                own = outcome.following[name]
                following[name] = take(self.tomorrow[name], own) if self.value.ways.get(name) is Way.between else own
        for name in (name for name, way in self.value.ways.items() if way is Way.drawn):
            distribution, given = self.arrivals[name].distribution, arrived.drawn[name]
            assert distribution is not None
            following[name], chances = realised(distribution, self.rules[name], given)
            # with the state, so that no check before the solve saw them
            weights[name] = jnp.where(fulfilled(distribution.demands(), given), chances, jnp.nan)
        return self.value(point, following, weights)


def ways(source: Plan, target: Plan, arrivals: Mapping[str, Arrival]) -> dict[str, Way]:
    """How places along the discrete axes of a target are found."""
    found: dict[str, Way] = {}
    for name in (*target.processes, *target.discrete):
        chain = name in target.discrete or isinstance(target.states[name], MarkovChain)
        by_value = Way.category if chain else Way.between
        way = arrivals[name].way
        if way == "chances":
            found[name] = Way.dotted
        elif way == "given":
            found[name] = by_value
        elif way == "drawn" and source.varies(arrivals[name]):
            found[name] = Way.drawn
        elif way in ("afresh", "drawn", "ergodic"):
            found[name] = Way.averaged
        elif name in source.scanned:
            found[name] = Way.coded if chain else Way.between
        elif name in source.processes:
            found[name] = Way.integrated
        else:
            found[name] = Way.dotted if name in source.markov else by_value
    return found


def rows(
    found: Mapping[str, Way],
    moving: Mapping[str, Process],
    drawn: Mapping[str, tuple[Array, Array]],
    mesh: Mesh,
    exact: bool,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Probabilities of what is averaged at the nodes, and what functions see there, by state of the target.

    Args:
        found: the ways.
        moving: the source's processes from today to tomorrow.
        drawn: the values of distributions that are the same in every state, and their weights.
        mesh: the target's, tomorrow.
        exact: whether V is known everywhere, and not only at the target's nodes.
    """
    probabilities, seen = {}, {**mesh.discrete, **{name: process.values for name, process in mesh.processes.items()}}
    for name, way in found.items():
        if way is Way.averaged and name in drawn:
            values, weights = drawn[name]
            if exact:
                seen[name], probabilities[name] = values, weights
            else:
                probabilities[name] = landed(mesh.processes[name].values, values, weights)
        elif way is Way.averaged:
            process = mesh.processes[name]
            probabilities[name] = process.transition if process.memoryless else ergodic(process.transition)
        elif way is Way.integrated:
            process = moving[name]
            if exact or not process.continuous:
                seen[name], probabilities[name] = process.values, process.transition
            else:
                probabilities[name] = process.transition @ shares(mesh.processes[name].values, process.values)
    return probabilities, seen


def ergodic(transition: Float[Array, "n n"]) -> Float[Array, "n"]:
    """The stationary distribution of a chain; NaN where it has several."""
    one = fulfilled(one_stationary("transition"), {"transition": transition})
    return jnp.where(one, markov.stationary(transition), jnp.nan)


def _row(rows: Array, point: Point, name: str) -> Array:
    """Today's row of a table, between two nodes a mixture; the only row where there is one."""
    if rows.ndim == 1:
        return rows
    row = take(rows, point.codes[name])
    if name not in point.fractions:
        return row
    return row + point.fractions[name] * (take(rows, point.codes[name] + 1) - row)


def _shaped(value: Any, plan: Plan, name: str) -> Array:
    return jnp.broadcast_to(jnp.asarray(value).astype(jnp.result_type(float)), plan.continuous[name].shape)
