"""Tomorrow in another regime: where its states come from, and what V is there.

Of each state of the target the `Arrival` says whether it is the source's own next state, what a mapping gives, or
drawn. A distribution that is the same in every state becomes probabilities of the target's nodes before any look-up. A
`Terminal` is asked for its function, exactly; another regime for its table. Targets that differ by numbers alone are
asked together, along a first axis, so that a program with many regimes is no longer than one with a few.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from bellax.bellman.continuation import Continuation, Way
from bellax.bellman.joint import Joint
from bellax.bellman.mesh import Mesh, Point, Process, laid, landed, realised
from bellax.bellman.pointwise import Pointwise
from bellax.errors import ModelError
from bellax.model.crossing import Arrival
from bellax.model.demands import fulfilled, one_stationary
from bellax.model.spaces import MarkovChain
from bellax.numerics import markov
from bellax.numerics.rules import Nodes
from bellax.numerics.scalar import take
from bellax.problem.period import Outcome
from bellax.problem.plan import Plan


class Reached(eqx.Module):
    """Tomorrow in another regime, or in several that are alike, as today's regime sees it.

    Attributes:
        value: expected V at tomorrow's states; of several along a first axis.
        tomorrow: what functions see of the source's own categories and nodes tomorrow.
        rules: standard nodes of the distributions by which states enter, by state.
        joint: all targets as one, weighed by their probabilities; None where they are asked each for itself.
    """

    value: Continuation | Pointwise
    tomorrow: dict[str, Array]
    rules: dict[str, Nodes]
    arrivals: dict[str, Arrival] = eqx.field(static=True)
    targets: tuple[str, ...] = eqx.field(static=True)
    joint: Joint | None = None

    @property
    def plan(self) -> Plan:
        """Of the regimes that are reached."""
        return self.value.plan

    def __call__(self, point: Point, outcome: Outcome) -> Float[Array, "r"]:
        """E[V] in each target.

        Args:
            point: today's state.
            outcome: what the period brings; of scanned states, codes.
        """
        return self.over(lambda value, arrived: value(point, *arrived), lambda name: self.arrived(outcome, name))

    def kind(self, point: Point, outcome: Outcome) -> Array:
        """Of each target a whole number that changes where V there has a kink, as far as that is known."""
        if isinstance(self.value, Continuation):
            return jnp.zeros(len(self.targets), jnp.uint32)
        return self.over(lambda value, arrived: value.kind(point, *arrived), lambda name: self.arrived(outcome, name))

    def over(self, function: Callable[[Any, Any], Array], given: Callable[[str], Any]) -> Array:
        """`function` of V in each target and of what is given by its name, along a first axis."""
        if len(self.targets) == 1:
            return function(self.value, given(self.targets[0]))[None]
        columns = list(zip(*(jax.tree.leaves(given(name)) for name in self.targets), strict=True))
        # what is the same for all, such as the state that goes on, stays one number
        axes = [None if all(leaf is column[0] for leaf in column) else 0 for column in columns]
        leaves = [column[0] if axis is None else jnp.stack(column) for axis, column in zip(axes, columns, strict=True)]
        structure = jax.tree.structure(given(self.targets[0]))
        whole, places = jax.tree.unflatten(structure, leaves), jax.tree.unflatten(structure, axes)
        return jax.vmap(function, in_axes=(0, places))(self.value, whole)

    def arrived(self, outcome: Outcome, target: str) -> tuple[dict[str, Array], dict[str, Array]]:
        """The states there, and the probabilities of those that are open."""
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
        return following, weights


def each(function: Callable[..., Any], given: Sequence[tuple[Any, ...]]) -> Any:
    """`function` of what is given for each of several targets, along a first axis; of one of them without it."""
    if len(given) == 1:
        return function(*given[0])
    return jax.vmap(function)(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *given))


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
                probabilities[name] = landed(mesh.processes[name], values, weights, closely=True)
        elif way is Way.averaged:
            process = mesh.processes[name]
            probabilities[name] = process.transition if process.memoryless else ergodic(process.transition)
        elif way is Way.integrated:
            process, theirs = moving[name], mesh.processes[name]
            if process.frame is not None and not exact:
                _check_count(name, process, theirs)
                probabilities[name] = jnp.where(same_nodes(process, theirs), process.transition, jnp.nan)
            elif exact or not process.continuous:
                seen[name], probabilities[name] = process.values, process.transition
            else:
                probabilities[name] = _carried(process, theirs)
    return probabilities, seen


def _carried(ours: Process, theirs: Process) -> Array:
    """Probabilities of the nodes that a process has where it goes on, by those that it has here."""
    known = jnp.all(jax.vmap(theirs.reaches)(ours.values))
    if ours.memoryless:
        return jnp.where(known, laid(theirs, ours.values, ours.transition, closely=True), jnp.nan)
    rows = jax.vmap(lambda row: laid(theirs, ours.values, row, closely=True))(ours.transition)
    return jnp.where(known, rows, jnp.nan)


def _check_count(name: str, ours: Process, theirs: Process) -> None:
    if ours.values.shape != theirs.values.shape:
        raise ModelError(
            f"the VAR {name!r} has {ours.count} nodes in one regime, and {theirs.count} in another where it goes on: "
            "give it the same grid in both."
        )


def same_nodes(ours: Process, theirs: Process) -> Bool[Array, ""]:
    """Whether two vector processes have the same nodes, up to rounding."""
    size = jnp.max(jnp.abs(theirs.values))
    return jnp.all(jnp.abs(ours.values - theirs.values) <= 1e-9 * size)


def ergodic(transition: Float[Array, "n n"]) -> Float[Array, "n"]:
    """The stationary distribution of a chain; NaN where it has several."""
    one = fulfilled(one_stationary("transition"), {"transition": transition})
    return jnp.where(one, markov.stationary(transition), jnp.nan)
