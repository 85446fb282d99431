"""The graph of a regime with all that it needs to know of the regimes that it may reach.

What a boundary asks of a law of its own becomes a node in the graph of the *source*, since its states, actions and
functions are the source's: `arrival:<target>.<state>`, or `chances:<target>.<state>` where it gives probabilities. A
parameter that belongs to the target is a leaf there, under a name that says whose it is. Of a distribution by which a
process enters each parameter is such a node, `entry:<target>.<state>.<parameter>`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from bellax.errors import ModelError
from bellax.model.boundaries import Boundary, mapping_quantities, resolve, source_names
from bellax.model.demands import probabilities
from bellax.model.distribution import Distribution
from bellax.model.graph import Graph, Slot
from bellax.model.laws import Ergodic, Fixed, Markov
from bellax.model.parameters import OWNED, entries, lookup
from bellax.model.quantity import Quantity, quantity
from bellax.model.shocks import Categorical
from bellax.model.slots import view
from bellax.model.spaces import AR1, IID, PROCESSES, VAR, Continuous, Discrete, MarkovChain
from bellax.model.statement import Statement


class Arrival(NamedTuple):
    """How one state of a target gets its value.

    Attributes:
        way: `carried` where it is the source's own next state; `given` where a node says it; `chances` where a node
            gives the probability of each category; `afresh` where it is drawn from its distribution in the target;
            `drawn` where it is drawn from one of the boundary; `ergodic` where from the stationary one of its process.
        node: of the source's graph, or what the names of several begin with; none where nothing is asked there.
        distribution: of what is drawn.
    """

    way: str
    node: str = ""
    distribution: Distribution | None = None

    @property
    def nodes(self) -> list[str]:
        """Of the source's graph."""
        if self.distribution is None:
            return [self.node] if self.node else []
        return [f"{self.node}.{key}" for key in self.distribution.parameters()]


class Crossing(NamedTuple):
    """The graph of a regime, and how the states of each *other* regime that it may reach get their values.

    Attributes:
        graph: with the nodes of every arrival.
        targets: every regime that may be reached, itself among them.
        arrivals: by target, then by state.
        owned: parameters of others: the name in the graph, whose it is, and its name there.
    """

    graph: Graph
    targets: tuple[str, ...]
    arrivals: dict[str, dict[str, Arrival]]
    owned: tuple[tuple[str, str, str], ...]


def crossing(model: Statement, source: str, targets: Iterable[str]) -> Crossing:
    """The graph of a regime for solving it.

    Args:
        targets: the regimes that it may reach.
    """
    graph, known = model.graphs[source], source_names(model.graphs[source])
    slots = list(graph.slots.values())
    arrivals: dict[str, dict[str, Arrival]] = {}
    owned: dict[str, tuple[str, str]] = {}
    for target in targets:
        if target == source:
            continue
        arrivals[target] = {}
        for state, space in model.graphs[target].regime.states.items():
            boundary = resolve(model, source, target, state)
            _check_carried(boundary, graph.regime.states.get(state), space)
            arrivals[target][state] = found = _arrival(boundary, space)
            slots += _slots(boundary, found, space, known, owned)
    whole = Graph(slots, graph.kinds, graph.seen, graph.regime, graph.where, graph.clock)
    return Crossing(whole, tuple(targets), arrivals, tuple((name, *where) for name, where in owned.items()))


def arguments(statement: Statement, regime: str, found: Crossing, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a regime: its own, those of its mappings among them, and those of others that its graph reads,
    under their names in it."""
    here = lookup(parameters, regime)
    own = {entry.name: here[entry.name] for entry in entries(statement) if entry.regime == regime}
    return own | {name: lookup(parameters, owner)[theirs] for name, owner, theirs in found.owned}


def _arrival(boundary: Boundary, space: Any) -> Arrival:
    if boundary.carried:
        return Arrival("carried")
    if isinstance(boundary.law, PROCESSES):
        if isinstance(boundary.law, IID) and isinstance(space, IID):
            return Arrival("afresh")
        raise ModelError(
            f"the state {boundary.state!r} of {boundary.target!r} enters from {boundary.source!r} by a "
            f"bx.{type(boundary.law).__name__}; give a function of names, or bx.Markov(...) for probabilities."
        )
    if isinstance(boundary.law, Distribution | Ergodic):
        return _drawn(boundary, space)
    if isinstance(boundary.law, Markov):
        if boundary.law.over:
            raise ModelError(
                f"the mapping of {boundary.state!r} from {boundary.source!r} to {boundary.target!r} is a table with "
                "over=; give a function that looks the table up."
            )
        if not isinstance(space, Discrete | MarkovChain):
            raise ModelError(
                f"the mapping of {boundary.state!r} from {boundary.source!r} to {boundary.target!r} is bx.Markov, "
                f"and the state is a bx.{type(space).__name__}; probabilities are for categories."
            )
        return Arrival("chances", f"chances:{boundary.target}.{boundary.state}")
    return Arrival("given", f"arrival:{boundary.target}.{boundary.state}")


def _drawn(boundary: Boundary, space: Any) -> Arrival:
    """By a distribution, or by the stationary one of the process."""
    what = f"the mapping of {boundary.state!r} from {boundary.source!r} to {boundary.target!r} is"
    if not isinstance(space, AR1 | VAR | MarkovChain | Discrete) or (
        isinstance(boundary.law, Ergodic) and isinstance(space, Discrete)
    ):
        raise ModelError(
            f"{what} {'bx.ergodic' if isinstance(boundary.law, Ergodic) else 'a distribution'}, and the state is a "
            f"bx.{type(space).__name__}; that is for processes. Declare a shock in {boundary.source!r} and name it in "
            "the mapping."
        )
    if isinstance(boundary.law, Ergodic):
        return Arrival("ergodic")
    law, label = boundary.law, f"{boundary.target}.{boundary.state}"
    coded = isinstance(law, Categorical) and law.values is None
    numbers = isinstance(space, AR1 | VAR)
    if numbers and law.shape == view(space).shape and not coded:
        return Arrival("drawn", f"entry:{label}", law)
    if not numbers and coded:
        return Arrival("chances", f"chances:{label}")
    kind = type(law).__name__
    raise ModelError(
        f"{what} shocks.{kind}, and the state is a bx.{type(space).__name__}. "
        + (
            f"Give a distribution of {_LIKE[type(space)]}."
            if numbers
            else "Give probabilities in the order of its categories: bx.shocks.Categorical(probabilities=...)."
        )
    )


_LIKE = {
    AR1: "single numbers, such as bx.shocks.Normal(mean, sd)",
    VAR: "as many numbers, such as bx.shocks.MultivariateNormal(mean, covariance)",
}


def _check_carried(boundary: Boundary, ours: Any, theirs: Any) -> None:
    """Raises ModelError for a process that becomes a number that a law moves, or the other way round: which number, a
    mapping must say; and for a mapping to what is drawn afresh."""
    if isinstance(theirs, IID) and not isinstance(boundary.law, IID):
        raise ModelError(
            f"the state {boundary.state!r} of {boundary.target!r} is a bx.IID, which is drawn afresh in every period: "
            f"remove its mapping from {boundary.source!r}."
        )
    if boundary.carried and isinstance(ours, Continuous) and isinstance(theirs, AR1 | VAR):
        raise ModelError(
            f"the state {boundary.state!r} is a bx.Continuous in {boundary.source!r} and a bx.{type(theirs).__name__} "
            f"in {boundary.target!r}. Say what it becomes: entry={{{boundary.state!r}: {{{boundary.source!r}: "
            f"'next_{boundary.state}'}}}} on the target."
        )
    if boundary.carried and isinstance(ours, AR1 | VAR | IID) and isinstance(theirs, Continuous):
        raise ModelError(
            f"the state {boundary.state!r} is a bx.{type(ours).__name__} in {boundary.source!r} and a bx.Continuous in "
            f"{boundary.target!r}. Say what it becomes: entry={{{boundary.state!r}: {{{boundary.source!r}: "
            f"'next_{boundary.state}'}}}} on the target."
        )


def _slots(
    boundary: Boundary, found: Arrival, space: Any, known: set[str], owned: dict[str, tuple[str, str]]
) -> list[Slot]:
    """The nodes of one arrival."""
    if not found.nodes:
        return []
    label = f"the mapping of {boundary.state!r} from {boundary.source!r} to {boundary.target!r}"
    mapped = mapping_quantities(boundary.state, boundary.source, boundary.target, boundary.law)
    if isinstance(boundary.law, Fixed):
        mapped = {"": quantity(boundary.state, label)}
    if boundary.owner != boundary.source:
        mapped = {key: _renamed(law, boundary, known, owned) for key, law in mapped.items()}
    if found.distribution is not None:
        given = found.distribution
        return [
            Slot(f"{found.node}.{key}", "law", law, given.parameter_shape(key), given.broadcasts(key))
            for key, law in mapped.items()
        ]
    (law,) = mapped.values()
    if found.way == "chances":
        return [Slot(found.node, "law", law, (space.size,), demands=probabilities("probabilities"))]
    return [Slot(found.node, "law", law, view(space).shape)]


def _renamed(law: Quantity, boundary: Boundary, known: set[str], owned: dict[str, tuple[str, str]]) -> Quantity:
    """The law with its owner's parameters under names that nothing else in the graph has."""
    names = []
    for name in law.names:
        if name in known:
            names.append(name)
            continue
        other = f"{OWNED}{len(boundary.owner)}_{boundary.owner}_{name}"  # which can be taken apart in one way only
        owned[other] = (boundary.owner, name)
        names.append(other)
    back, function = dict(zip(names, law.names, strict=True)), law.function
    if function is None:
        return law

    def renamed(**arguments: Any) -> Any:
        return function(**{back[name]: value for name, value in arguments.items()})

    defaults = {new: law.defaults[old] for new, old in back.items() if old in law.defaults}
    return replace(law, names=tuple(names), function=renamed, defaults=defaults, annotations={}, alias=False)
