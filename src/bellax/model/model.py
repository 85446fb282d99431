"""`Model`: a dynamic model in discrete time, as functions of names, without any numerics.

V_t(s) = max over a of E[ r(s, a, w, s') + b V_{t+1}(s') ],  s' = law(s, a, w),  V_T = terminal.

The state is seen, the action chosen, the shock realised, the reward paid, and the next state reached, in this
order.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax

from bellax.errors import ModelError, check_names, listed, named_options
from bellax.model import checks, codes, frozen, shapes, tables
from bellax.model import parameters as _parameters
from bellax.model.boundaries import Boundary, boundaries, mapping_quantities, mappings
from bellax.model.describe import describe
from bellax.model.graph import Graph
from bellax.model.regime import Regime, Slots, Terminal, merge_all
from bellax.model.slots import regime_graph
from bellax.model.statement import Statement
from bellax.model.time import Ages, Clock, clock


@named_options
@dataclass(frozen=True, eq=False, kw_only=True)
class Model(Slots, Statement):
    """A model: states, actions, laws and a reward, a horizon, and regimes where it has several.

    Args:
        states, actions, shocks, functions, transitions, reward, discount, constraints, stop, terminal, ...: the slots
            of a `Regime`; `help(bx.Regime)` says what each of them is.
        horizon: number of periods, `math.inf`, or `bx.Ages(first, last, step)`.
        regimes: regimes by name; the other slots are then shared by all of them.

    Raises:
        ModelError: if a name is reserved, doubled or unknown, a slot names what it may not, a state has no
            law, a horizon has no decision; the message names the slot.
    """

    horizon: int | float | Ages = math.inf
    regimes: Mapping[str, Regime | Terminal] | None = None
    programs: dict[Any, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.clock
        checks.check_regimes(self, self.regimes)
        for graph in self.graphs.values():
            checks.check_regime(graph, self.clock)
        checks.check_mappings(self.graphs)
        _parameters.entries(self)
        self._check_codes()
        _ = self.active_periods
        self.boundaries()

    def _check_codes(self) -> None:
        owned = [mapping for name, graph in self.graphs.items() for mapping in mappings(graph, name)]
        for name, graph in self.graphs.items():
            laws = [q for mapping in owned if mapping[1] == name for q in mapping_quantities(*mapping).values()]
            codes.check(graph, shapes.environment(graph, None, name), laws)

    @cached_property
    def clock(self) -> Clock:
        """Periods and ages."""
        return clock(self.horizon)

    @cached_property
    def all_regimes(self) -> dict[str, Slots]:
        """Every regime with the shared slots merged in; a model without regimes has one, named ''."""
        if self.regimes is None:
            regimes: dict[str, Slots] = {
                "": Regime(**{name: getattr(self, name) for name in Slots.__dataclass_fields__})
            }
        else:
            regimes = merge_all(self, self.regimes)
        return {
            name: replace(regime, discount="discount")
            if isinstance(regime, Regime) and regime.discount is None
            else regime
            for name, regime in regimes.items()
        }

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """The graph of every regime."""
        return {
            name: regime_graph(regime, f"regime {name!r}: " if name else "", self.clock)
            for name, regime in self.all_regimes.items()
        }

    @property
    def graph(self) -> Graph:
        """The graph of a model with one regime."""
        if self.regimes is not None:
            raise ModelError(
                f"this model has the regimes {listed(self.graphs)}, and what was asked takes a model of one. `solve`, "
                "`simulate` and `certify` take several."
            )
        return self.graphs[""]

    @cached_property
    def active_periods(self) -> dict[str, tuple[bool, ...]]:
        """For each regime that says when it is active, whether it is in each period."""
        return {
            name: checks.active_periods(name, regime.active, self.clock)
            for name, regime in self.all_regimes.items()
            if regime.active is not None
        }

    def boundaries(self, parameters: Mapping[str, Any] | None = None) -> list[Boundary]:
        """Which law gives each state its value at each boundary between regimes, and why.

        Args:
            parameters: as the method `parameters` returns them. Without them those boundaries are left out
                whose `next_regime` evaluates only with the shapes of the parameters.
        """
        return boundaries(self, parameters)

    def describe(self, parameters: Mapping[str, Any] | None = None) -> str:
        """The model in words: its regimes, who may reach whom, and which law holds at every boundary, and why.

        Args:
            parameters: as the method `parameters` returns them, where only these tell which regimes may follow.
        """
        return describe(self, parameters)

    def template(self, regime: str | None = None) -> Any:
        """The parameters: a pandas DataFrame of name, where it is used, default and annotation."""
        if regime is not None:
            check_names([regime], self.graphs, "template: regime")
        return _parameters.template(self, regime)

    def parameters(self, given: Mapping[str, Any], horizon: int | None = None) -> dict[str, Any]:
        """The parameters as solvers take them: checked, defaults filled in, tables aligned, floats.

        Args:
            given: values by name; those of one regime under its name.
            horizon: number of periods that values by period must cover, where it is not the model's.
        Raises:
            ParameterError: if one is missing, surplus, misspelt, not a number, or does not fit the horizon.
            ModelError: if a slot does not evaluate, or gives the wrong shape, whatever the parameters.
        """
        found = _parameters.parameters(self, given, None if horizon is None else clock(horizon))
        key = ("shapes", *((name, *_parameters.signature(found, name)) for name in self.graphs))
        if key not in self.programs:
            for name, graph in self.graphs.items():
                shapes.check(graph, found, name)
            if self.regimes is not None:
                self.boundaries(found)
            self.programs[key] = True
        self._check_tables(found, ("tables", *key[1:]))
        return found

    def check(self, given: Mapping[str, Any]) -> None:
        """Everything that `parameters` checks, and that no function draws a random number or reads a clock in Python.

        Such a number is drawn once, while a function is traced, and is a constant of every solve: two traces differ.

        Args:
            given: values by name, as for `parameters`.
        Raises:
            ParameterError, ModelError: as `parameters`, and for a function that differs from trace to trace.
        """
        found = self.parameters(given)
        for name, graph in self.graphs.items():
            frozen.check(graph, found, name)

    def _check_tables(self, found: Mapping[str, Any], key: tuple[Any, ...]) -> None:
        """Once for each set of shapes, where parameters are numbers."""
        if key in self.programs or any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(found)):
            return
        for name, graph in self.graphs.items():
            tables.check(graph, found, name)
        self.programs[key] = True
