"""`Model`: a dynamic model in discrete time, as functions of names, without any numerics.

V_t(s) = max over a of E[ r(s, a, w, s') + b V_{t+1}(s') ],  s' = law(s, a, w),  V_T = terminal.

The state is seen, the action chosen, the shock realised, the reward paid, and the next state reached, in this order.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from bellax.errors import ModelError, listed, nearest
from bellax.model import parameters as _parameters
from bellax.model.graph import Graph
from bellax.model.quantity import quantity
from bellax.model.regime import Regime, Slots, Terminal, merge
from bellax.model.spaces import PROCESSES, Continuous, Discrete
from bellax.model.time import Ages, Clock, clock


@dataclass(frozen=True, eq=False, kw_only=True)
class Model(Slots):
    """A model: the slots of a `Regime`, a horizon, and regimes where it has several.

    Args:
        horizon: number of periods, `math.inf`, or `bx.Ages(first, last, step)`.
        regimes: regimes by name; the other slots are then shared by all of them.

    Raises:
        ModelError: if a name is reserved, doubled or unknown, a slot names what it may not, a state has no law, a
            horizon has no decision; the message names the slot.
    """

    horizon: int | float | Ages = math.inf
    regimes: Mapping[str, Regime | Terminal] | None = None
    programs: dict[Any, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.clock
        _check_regime_names(self.regimes)
        for name, graph in self.graphs.items():
            _check_slots(graph, self.clock, f"regime {name!r}: " if self.regimes else "")
        for name, regime in (self.regimes or {}).items():
            _check_boundaries(name, regime, self)

    @cached_property
    def clock(self) -> Clock:
        """Periods and ages."""
        return clock(self.horizon)

    @cached_property
    def all_regimes(self) -> dict[str, Regime | Terminal]:
        """Every regime with the shared slots merged in; a model without regimes has one, named ''."""
        if self.regimes is None:
            slots = {name: getattr(self, name) for name in Slots.__dataclass_fields__}
            return {"": _with_discount(Regime(**slots))}
        return {
            name: regime if isinstance(regime, Terminal) else _with_discount(merge(self, regime))
            for name, regime in self.regimes.items()
        }

    @cached_property
    def graphs(self) -> dict[str, Graph]:
        """The graph of every regime."""
        states = {name: space for r in self.all_regimes.values() if isinstance(r, Regime) for name, space in r.states.items()}
        return {
            name: Graph(_as_regime(regime, states), f"regime {name!r}: " if name else "")
            for name, regime in self.all_regimes.items()
        }

    @property
    def graph(self) -> Graph:
        """The graph of a model with one regime."""
        if len(self.graphs) != 1:
            raise ModelError(
                f"this model has the regimes {listed(self.graphs)}; models of several regimes can be stated, validated "
                "and printed, and cannot be solved by this version of bellax."
            )
        return next(iter(self.graphs.values()))

    def template(self, regime: str | None = None) -> Any:
        """The parameters: a pandas DataFrame of name, where it is used, default, and annotated shape or type."""
        return _parameters.template(self, regime)

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as the solvers take them: checked, defaults filled in, pandas objects aligned, floats.

        Raises:
            ParameterError: if one is missing, surplus, misspelt, not a number, or does not fit the horizon.
        """
        return _parameters.parameters(self, given)


def _with_discount(regime: Regime) -> Regime:
    return replace(regime, discount="discount") if regime.discount is None else regime


def _as_regime(regime: Regime | Terminal, states: Mapping[str, Any]) -> Slots:
    """A terminal regime as slots: its value is a terminal value, its states those that the value reads."""
    if isinstance(regime, Regime):
        return regime
    names = quantity(regime.value, "value").names
    read = {name: states[name] for name in names if name in states}
    return Slots(states=read, terminal=regime.value, entry=regime.entry)


def _check_slots(graph: Graph, time: Clock, where: str) -> None:
    regime = graph.regime
    if not isinstance(regime, Regime):  # a Terminal, which decides nothing
        return
    if regime.reward is None:
        raise ModelError(f"{where}reward is missing: a Quantity of states, actions, shocks, next_<state> and parameters.")
    if not regime.states:
        raise ModelError(f"{where}states is empty; a dynamic model has at least one.")
    for name, space in regime.states.items():
        if not isinstance(space, PROCESSES) and name not in regime.transitions:
            raise ModelError(
                f"{where}state {name!r} has no law. Give transitions={{{name!r}: ...}}: a function of names, "
                "bx.Markov(...) for probabilities, or bx.fixed where it never moves."
            )
    if regime.stop is not None and "stop" in {*regime.actions, *regime.states}:
        raise ModelError(f"{where}'stop' names the decision to stop; rename the action or state of that name.")
    if not time.finite and regime.terminal is not None:
        raise ModelError(f"{where}terminal is given and the horizon is infinite; remove one of them.")
    discount = graph.slots["slot:discount"].quantity
    if not time.finite and discount.function is None and not float(discount.literal) < 1:
        raise ModelError(
            f"{where}discount is {float(discount.literal)} and the horizon is infinite; the value would be too. "
            "It must be below one."
        )
    over = regime.taste_shocks.over if regime.taste_shocks else ()
    for name in over:
        if not isinstance(regime.actions.get(name), Discrete):
            raise ModelError(
                f"{where}taste shocks over {name!r}, which is no discrete action.{nearest(name, regime.actions)}"
            )
    for name, space in regime.states.items():
        if isinstance(space, Continuous) and not space.bounded:
            raise ModelError(f"{where}state {name!r} has an infinite bound; say where grids live: Continuous(lower, upper).")


def _check_regime_names(regimes: Mapping[str, Any] | None) -> None:
    for name, regime in (regimes or {}).items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ModelError(f"a regime is named {name!r}; use a Python identifier.")
        if not isinstance(regime, Regime | Terminal):
            raise ModelError(f"regimes[{name!r}] is {regime!r}; it must be a bx.Regime or a bx.Terminal.")
    if regimes is not None and not any(isinstance(regime, Regime) for regime in regimes.values()):
        raise ModelError("regimes holds no bx.Regime: nobody decides anything.")


def _check_boundaries(name: str, regime: Regime | Terminal, model: Model) -> None:
    """Entry and exit laws name regimes and states that exist."""
    others: Iterable[str] = [key for key in model.all_regimes if key != name]
    for slot in ("entry", "exit"):
        for state, by_regime in (getattr(regime, slot, None) or {}).items():
            if not isinstance(by_regime, Mapping):
                raise ModelError(f"{slot}[{state!r}] of regime {name!r} must be a dict by regime, {{'other': law}}.")
            for other in by_regime:
                if other not in others:
                    raise ModelError(
                        f"{slot}[{state!r}] of regime {name!r} names the regime {other!r}, which is none of the others."
                        f"{nearest(other, others)} Others: {listed(others)}."
                    )
                target = name if slot == "entry" else other
                if state not in model.graphs[target].regime.states:
                    raise ModelError(
                        f"{slot}[{state!r}] of regime {name!r}: regime {target!r} has no state {state!r}."
                        f"{nearest(state, model.graphs[target].regime.states)}"
                    )
