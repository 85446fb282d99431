"""Which law gives a state its value at the boundary from one regime to another, and why that one.

In this order: the target's `entry` for that source; the source's `exit` for that target; for a state that is
drawn afresh in every period, its distribution in the target; then, only where the categories agree, the
source's law (of which `bx.fixed` is the identity), and where the source has no such state, the target's. Else
ModelError.

A process that the source lacks enters by a law, too, or by a distribution: one of `bx.shocks`, whose parameters are
mappings, or `bx.ergodic`, its own stationary one.

Inside a mapping, states, actions and functions are the source's, and next_<state> is what the source's own
law gives; parameters are those of the regime that owns it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bellax.errors import ModelError, listed, nearest
from bellax.model import shapes
from bellax.model.distribution import Distribution
from bellax.model.graph import Graph
from bellax.model.laws import Ergodic, Fixed, Markov
from bellax.model.quantity import Quantity, quantity
from bellax.model.regime import kinds
from bellax.model.spaces import IID, PROCESSES, agree
from bellax.model.statement import Statement


@dataclass(frozen=True, eq=False)
class Boundary:
    """How one state gets its value when the model moves from one regime to another.

    Attributes:
        source: the regime that is left.
        target: the regime that is reached.
        state: a state of the target.
        law: a Quantity as the user gave it, `bx.Markov`, `bx.fixed`, a distribution, `bx.ergodic`, or the space of a
            process.
        owner: the regime whose parameters the law sees.
        why: the rule that chose it.
        carried: whether that is the source's own law, so that the value is the source's own next state.
    """

    source: str
    target: str
    state: str
    law: Any
    owner: str
    why: str
    carried: bool = False


def boundaries(model: Statement, parameters: Mapping[str, Any] | None = None) -> list[Boundary]:
    """The law of every state at every boundary that can be crossed.

    Args:
        model: the model.
        parameters: as `model.parameters` returns them; without them boundaries are left out whose
            `next_regime` needs to see the shapes of the parameters.
    Raises:
        ModelError: if `next_regime` names no regime, or no law serves.
    """
    return [
        resolve(model, source, target, state)
        for source in model.graphs
        for target in targets(model, source, parameters) or ()
        if target != source
        for state in model.graphs[target].regime.states
    ]


def targets(model: Statement, source: str, parameters: Mapping[str, Any] | None = None) -> list[str] | None:
    """The regimes that `next_regime` of `source` names; None where only parameters can tell."""
    graph = model.graphs[source]
    if "slot:next_regime" not in graph.slots:
        return [source] if graph.regime.reward is not None else []
    names = shapes.keys(graph, "slot:next_regime", parameters, source)
    for name in names or ():
        if name not in model.graphs:
            raise ModelError(
                f"next_regime of {source!r} names the regime {name!r}, which does not "
                f"exist.{nearest(str(name), model.graphs)} Regimes: {listed(model.graphs)}."
            )
    return None if names is None else [name for name in model.graphs if name in names]


def resolve(model: Statement, source: str, target: str, state: str) -> Boundary:
    """The law that gives `state` its value on the way from `source` to `target`.

    Raises:
        ModelError: if none does, or the one that does reads what the source does not have.
    """
    leaving, reached = model.graphs[source].regime, model.graphs[target].regime
    ours, theirs, carried = leaving.states.get(state), reached.states[state], False
    if source in reached.entry.get(state, {}):
        law, owner, why = reached.entry[state][source], target, f"entry of {target!r} for {source!r}"
    elif target in leaving.exit.get(state, {}):
        law, owner, why = leaving.exit[state][target], source, f"exit of {source!r} for {target!r}"
    elif isinstance(theirs, IID):
        law, owner, why = theirs, target, f"drawn afresh in {target!r}"
    elif ours is not None and agree(ours, theirs):
        law, owner, carried = ours if isinstance(ours, PROCESSES) else leaving.transitions[state], source, True
        why = f"{source!r} has {state!r} with the same categories; its law holds"
    elif ours is None and not isinstance(theirs, PROCESSES) and state in reached.transitions:
        law, owner, why = (
            reached.transitions[state],
            target,
            f"{source!r} has no {state!r}; the law of {target!r} holds",
        )
    else:
        raise ModelError(_no_law(source, target, state, ours is None, isinstance(theirs, PROCESSES)))
    boundary = Boundary(source, target, state, law, owner, why, carried)
    _check_reads(model, boundary)
    return boundary


def mappings(graph: Graph, regime: str) -> list[tuple[str, str, str, Any]]:
    """Entry and exit laws that `regime` owns: state, source, target, law."""
    found = [
        (state, source, regime, law)
        for state, laws in getattr(graph.regime, "entry", {}).items()
        for source, law in laws.items()
    ]
    return found + [
        (state, regime, target, law)
        for state, laws in getattr(graph.regime, "exit", {}).items()
        for target, law in laws.items()
    ]


def mapping_quantities(state: str, source: str, target: str, law: Any) -> dict[str, Quantity]:
    """A mapping in the common form: one Quantity under no name, or those of a distribution by parameter.

    None of `bx.fixed`, `bx.ergodic` and a process, which name nothing.
    """
    label = f"the mapping of {state!r} from {source!r} to {target!r}"
    if isinstance(law, (Fixed, Ergodic, *PROCESSES)):
        return {}
    if isinstance(law, Distribution):
        return {key: quantity(value, f"{label} ({key})") for key, value in law.parameters().items()}
    return {"": quantity(law.probabilities if isinstance(law, Markov) else law, label)}


def source_names(source: Graph) -> set[str]:
    """What a mapping may name, besides parameters."""
    return {*source.kinds, *source.slots} | {f"next_{state}" for state in source.regime.states}


def _no_law(source: str, target: str, state: str, absent: bool, process: bool) -> str:
    cause = f"{source!r} has no such state" if absent else "its categories differ and no mapping is given"
    drawn = " In place of f a process takes a distribution of bx.shocks, or bx.ergodic." if process else ""
    return (
        f"the state {state!r} has no value on the way from {source!r} to {target!r}: {cause}. Give one on the target, "
        f"Regime(entry={{{state!r}: {{{source!r}: f}}}}), or on the source, "
        f"Regime(exit={{{state!r}: {{{target!r}: f}}}}).{drawn}"
    )


def _check_reads(model: Statement, boundary: Boundary) -> None:
    mapped = mapping_quantities(boundary.state, boundary.source, boundary.target, boundary.law)
    known = source_names(model.graphs[boundary.source])
    needs = [name for q in mapped.values() for name in q.names]
    if isinstance(boundary.law, Fixed):
        needs = [boundary.state]
    somewhere = kinds(graph.regime for graph in model.graphs.values())
    for name in needs:
        if name in known or (name not in somewhere and not name.startswith("next_")):
            continue
        raise ModelError(
            f"the state {boundary.state!r} gets its value on the way from {boundary.source!r} to {boundary.target!r} "
            f"by a law that reads {name!r}, which {boundary.source!r} does not have "
            f"({boundary.why}).{nearest(name, known)} Give entry={{{boundary.state!r}: "
            f"{{{boundary.source!r}: f}}}} on the target."
        )
