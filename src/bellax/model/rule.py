"""A rule: every action of a model as a quantity in states, and in a stopping problem whether to stop.

Its functions are nodes of the model's own graph, under the names of the actions. So they may name states, parameters,
the clock, functions of the model and other actions, in no circle, and what they name besides is a parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax

from bellax.errors import ModelError, check_names, listed, nearest
from bellax.model import codes, shapes, tables
from bellax.model import parameters as _parameters
from bellax.model.graph import Graph, Slot
from bellax.model.model import Model
from bellax.model.quantity import quantity
from bellax.model.slots import view
from bellax.model.statement import Statement
from bellax.model.time import Clock

STOP = "rule:stop"
"""The node that says whether to stop."""


@dataclass(frozen=True, eq=False)
class Rule(Statement):
    """A model whose actions are given.

    Args:
        model: whose.
        functions: a number, a name or a function of names for each action, and `stop` in a stopping problem; those of
            one regime under its name, before those that are given for all.
    Raises:
        ModelError: if one is missing or surplus, or names what it may not.
    """

    model: Model
    functions: Mapping[str, Any]
    programs: dict[Any, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        _check_names(self.model, self.functions)
        for regime, own in self.by_regime.items():
            missing = [name for name in wanted_of(self.model.graphs[regime]) if name not in own]
            if missing:
                where = f" in regime {regime!r}" if regime else ""
                raise ModelError(
                    f"the rule lacks {listed(missing)}{where}; give a function of states for each of "
                    f"{listed(wanted_of(self.model.graphs[regime]))}."
                )
            for name, given in own.items():
                if isinstance(given, jax.core.Tracer):
                    raise ModelError(
                        f"rule[{name!r}] is a number that is being traced. Name a parameter in its place, and give its "
                        "value among the parameters."
                    )
        _parameters.entries(self)
        for regime, graph in self.graphs.items():
            self._check_clock(regime)
            codes.check(graph, shapes.environment(graph, None, regime))

    @property
    def clock(self) -> Clock:
        """Periods and ages of the model."""
        return self.model.clock

    @cached_property
    def by_regime(self) -> dict[str, dict[str, Any]]:
        """What is given for each regime."""
        nested = {n: own for n, own in self.functions.items() if n in self.model.graphs and isinstance(own, Mapping)}
        shared = {name: given for name, given in self.functions.items() if name not in nested}
        found = {}
        for regime, graph in self.model.graphs.items():
            own = {**shared, **nested.get(regime, {})}
            found[regime] = {name: own[name] for name in wanted_of(graph) if name in own}
        return found

    @cached_property
    def graphs(self) -> Mapping[str, Graph]:
        """The graph of every regime, in which actions are no leaves."""
        return {regime: self._graph(regime, own) for regime, own in self.model.graphs.items()}

    @property
    def graph(self) -> Graph:
        """The graph of a model with one regime."""
        return self.graphs[""]

    def _graph(self, regime: str, own: Graph) -> Graph:
        spaces = own.regime.actions
        slots = [*own.slots.values()]
        for name, given in self.by_regime[regime].items():
            q = quantity(given, f"{own.where}rule[{name!r}]")
            node, shape = (name, view(spaces[name]).shape) if name in spaces else (STOP, ())
            slots.append(Slot(node, "rule", q, shape))
        kinds = {name: kind for name, kind in own.kinds.items() if name not in spaces}
        seen = {name: shape for name, shape in own.seen.items() if name not in spaces}
        return Graph(slots, kinds, seen, own.regime, own.where, own.clock)

    def nodes(self, regime: str = "") -> tuple[str, ...]:
        """The nodes of a graph that are given: the actions by name, and `STOP` where there is stopping."""
        actions = self.model.graphs[regime].regime.actions
        return tuple(name if name in actions else STOP for name in self.by_regime[regime])

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of model and rule, checked as `Model.parameters` checks them."""
        found = _parameters.parameters(self, given)
        key = ("shapes", *((name, *_parameters.signature(found, name)) for name in self.graphs))
        if key not in self.programs:
            for name, graph in self.graphs.items():
                shapes.check(graph, found, name)
            self.programs[key] = True
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(found))
        if ("tables", *key) not in self.programs and not traced:
            for name, graph in self.graphs.items():
                tables.check(graph, found, name)
            self.programs["tables", *key] = True
        return found

    def _check_clock(self, regime: str) -> None:
        if self.clock.finite:
            return
        graph = self.graphs[regime]
        for node in self.nodes(regime):
            named = {"period", "age"} & graph.reach(node)
            if named:
                label = graph.slots[node].quantity.label
                raise ModelError(f"{label} names {sorted(named)[0]!r}, and the horizon is infinite.")


def _check_names(model: Model, functions: Mapping[str, Any]) -> None:
    """Raises ModelError for what is given for no action and no regime."""
    wanted = {regime: wanted_of(graph) for regime, graph in model.graphs.items()}
    anywhere = list(dict.fromkeys(name for own in wanted.values() for name in own))
    for name, given in functions.items():
        if name in model.graphs and isinstance(given, Mapping):
            if not wanted[name] and given:
                raise ModelError(
                    f"rule: nothing is decided in the regime {name!r}, and {listed(given)} is given. Leave it out."
                )
            check_names(given, wanted[name], f"rule: regime {name!r}: action")
        elif name in model.graphs and name not in anywhere:
            raise ModelError(
                f"rule[{name!r}] is {given!r}, and {name!r} is a regime: give a dict by action, "
                f"rule={{{name!r}: {{...}}}}."
            )
        elif isinstance(given, Mapping) and model.regimes is not None:
            hint = nearest(str(name), model.graphs)
            raise ModelError(f"rule: there is no regime {name!r}.{hint} There are {listed(model.graphs)}.")
        else:
            check_names([name], anywhere, "rule: action")


def wanted_of(graph: Graph) -> list[str]:
    """What a rule has to say of a regime: its actions, and `stop` where there is stopping."""
    regime = graph.regime
    return [*regime.actions, *([] if regime.stop is None else ["stop"])]
