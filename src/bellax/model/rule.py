"""A rule: every action of a model as a quantity in states, and in a stopping problem whether to stop.

Its functions are nodes of the model's own graph, under the names of the actions. So they may name states, parameters,
the clock, functions of the model and other actions, in no circle, and what they name besides is a parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax

from bellax.errors import ModelError, check_names, listed
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
        model: of one regime.
        functions: a number, a name or a function of names for each action, and `stop` in a stopping problem.
    Raises:
        ModelError: if one is missing or surplus, or names what it may not.
    """

    model: Model
    functions: Mapping[str, Any]
    programs: dict[Any, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        wanted = wanted_of(self.model)
        check_names(self.functions, wanted, "rule: action")
        missing = [name for name in wanted if name not in self.functions]
        if missing:
            raise ModelError(
                f"the rule lacks {listed(missing)}; give a function of states for each of {listed(wanted)}."
            )
        for name, given in self.functions.items():
            if isinstance(given, jax.core.Tracer):
                raise ModelError(
                    f"rule[{name!r}] is a number that is being traced. Name a parameter in its place, and give its "
                    "value among the parameters."
                )
        _parameters.entries(self)
        self._check_clock()
        codes.check(self.graph, shapes.environment(self.graph, None))

    @property
    def clock(self) -> Clock:
        """Periods and ages of the model."""
        return self.model.clock

    @cached_property
    def graph(self) -> Graph:
        """The graph of the model, in which actions are no leaves."""
        own = self.model.graph
        spaces = own.regime.actions
        slots = [*own.slots.values()]
        for name, given in self.functions.items():
            q = quantity(given, f"rule[{name!r}]")
            node, shape = (name, view(spaces[name]).shape) if name in spaces else (STOP, ())
            slots.append(Slot(node, "rule", q, shape))
        kinds = {name: kind for name, kind in own.kinds.items() if name not in spaces}
        seen = {name: shape for name, shape in own.seen.items() if name not in spaces}
        return Graph(slots, kinds, seen, own.regime, own.where, own.clock)

    @property
    def graphs(self) -> Mapping[str, Graph]:
        """The graph, under the name of the only regime."""
        return {"": self.graph}

    @property
    def nodes(self) -> list[str]:
        """The nodes of the graph that are given: the actions by name, and `STOP` where there is stopping."""
        return [name if name in self.graph.regime.actions else STOP for name in self.functions]

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of model and rule, checked as `Model.parameters` checks them."""
        found = _parameters.parameters(self, given)
        key = ("shapes", _parameters.signature(found, ""))
        if key not in self.programs:
            shapes.check(self.graph, found)
            self.programs[key] = True
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(found))
        if ("tables", *key) not in self.programs and not traced:
            tables.check(self.graph, found)
            self.programs["tables", *key] = True
        return found

    def _check_clock(self) -> None:
        if self.clock.finite:
            return
        for node in self.nodes:
            named = {"period", "age"} & self.graph.reach(node)
            if named:
                label = self.graph.slots[node].quantity.label
                raise ModelError(f"{label} names {sorted(named)[0]!r}, and the horizon is infinite.")


def wanted_of(model: Model) -> list[str]:
    """What a rule has to say of a model: its actions, and `stop` where there is stopping."""
    regime = model.graph.regime
    return [*regime.actions, *([] if regime.stop is None else ["stop"])]
