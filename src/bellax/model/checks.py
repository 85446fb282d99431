"""What a model must satisfy before any number is known, beyond what its graphs check."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bellax.errors import ModelError, listed, nearest
from bellax.model.align import each_period
from bellax.model.demands import complaint, discount
from bellax.model.graph import RESERVED, RESERVED_PREFIXES, Graph
from bellax.model.quantity import quantity
from bellax.model.regime import DICTS, Regime, Slots, Terminal
from bellax.model.spaces import AR1, PROCESSES, Continuous, Discrete, MarkovChain
from bellax.model.time import Clock


def check_regimes(model: Slots, regimes: Mapping[str, Any] | None) -> None:
    """Regimes are regimes, and a model without them says nothing that only regimes have."""
    if regimes is None:
        for slot in ("next_regime", "active", "entry", "exit"):
            if getattr(model, slot):
                raise ModelError(
                    f"{slot} is given and the model has no regimes; give regimes={{'name': bx.Regime(...)}}."
                )
        for slot in DICTS:
            for name, value in getattr(model, slot).items():
                if value is None:
                    raise ModelError(f"{slot}[{name!r}] is None.")
        return
    if not isinstance(regimes, Mapping):
        raise ModelError(f"regimes is {regimes!r}; give a dict by name.")
    for name, regime in regimes.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ModelError(f"a regime is named {name!r}; use a Python identifier.")
        if name in RESERVED or name.startswith(RESERVED_PREFIXES):
            raise ModelError(
                f"a regime is named {name!r}, which is reserved (period, age, regime, next_*, marginal_*, curvature_*)."
            )
        if not isinstance(regime, Regime | Terminal):
            raise ModelError(f"regimes[{name!r}] is {regime!r}; it must be a bx.Regime or a bx.Terminal.")
    if not any(isinstance(regime, Regime) for regime in regimes.values()):
        raise ModelError("regimes holds no bx.Regime: nobody decides anything.")


def check_regime(graph: Graph, time: Clock) -> None:
    """A regime pays a reward, every state has a law, and the horizon suits what it says."""
    regime, where = graph.regime, graph.where
    if not isinstance(regime, Regime):  # a Terminal, which decides nothing
        return
    if regime.reward is None:
        raise ModelError(
            f"{where}reward is missing: a Quantity of states, actions, shocks, next_<state> and parameters."
        )
    for name, space in regime.states.items():
        _check_state(name, space, regime, where, time.finite)
    if regime.stop is not None and "stop" in {
        *regime.actions,
        *regime.states,
        *regime.shocks,
        *regime.functions,
    }:
        raise ModelError(f"{where}'stop' names the decision to stop; rename what else has that name.")
    if not time.finite and regime.terminal is not None:
        raise ModelError(f"{where}terminal is given and the horizon is infinite; remove one of them.")
    _check_discount(graph, time)
    for slot in graph.slots.values() if not time.finite else ():
        clock = sorted(graph.leaves(slot.node, "clock"))
        if clock:
            raise ModelError(
                f"{slot.quantity.label} reads {clock[0]!r} and the horizon is infinite: the value is the same in every "
                "period. Give a finite horizon, or a parameter by period to a solve with horizon=."
            )
    for name in regime.taste_shocks.over if regime.taste_shocks is not None else ():
        space = regime.actions.get(name)
        if not isinstance(space, Discrete):
            what = "no discrete action" + ("" if space is None else ", but a continuous one")
            known = [action for action, own in regime.actions.items() if isinstance(own, Discrete)]
            raise ModelError(
                f"{where}taste shocks over {name!r}, which is {what}.{nearest(str(name), known)} Discrete actions: "
                f"{listed(known)}."
            )


def _check_state(name: str, space: Any, regime: Regime, where: str, finite: bool) -> None:
    if not isinstance(space, PROCESSES) and name not in regime.transitions:
        raise ModelError(
            f"{where}state {name!r} has no law. Give transitions={{{name!r}: ...}}: a function of names, "
            "bx.Markov(...) for probabilities, or bx.fixed where it never moves."
        )
    if isinstance(space, Continuous) and not space.bounded:
        raise ModelError(
            f"{where}state {name!r} has an infinite bound; say where grids live: Continuous(lower, upper)."
        )
    if isinstance(space, AR1) and space.start is not None and not finite:
        raise ModelError(
            f"{where}state {name!r} has a start and the horizon is infinite: there is no first period. Remove start=."
        )
    if isinstance(space, MarkovChain) and space.transition is None:
        raise ModelError(f"{where}state {name!r} has intensities, which are for continuous time; give transition=.")


def _check_discount(graph: Graph, time: Clock) -> None:
    key = graph.slots["slot:discount"].quantity.key
    given = graph.literals().get(key)
    for value in each_period(given) if given is not None else ():
        wrong = complaint(discount(time.finite), value)
        if wrong is not None:
            raise ModelError(f"{graph.where}discount {wrong}")


def active_periods(name: str, active: Callable[[Any], bool], time: Clock) -> tuple[bool, ...]:
    """Whether a regime is active in each period, from a function of age."""
    if not time.finite:
        raise ModelError(f"regime {name!r} is active at some ages only, and the horizon is infinite.")
    names = quantity(active, f"active of regime {name!r}").names if callable(active) else ()
    if names != ("age",):
        read = [other for other in names if other != "age"]
        what = f"reads {listed(read)}, and it is decided by age alone" if read else f"is {active!r}"
        raise ModelError(f"active of regime {name!r} {what}; give a function of age, such as lambda age: age < 65.")
    found = []
    for period in range(time.count):
        try:
            answer = active(time.age(period))
        except Exception as error:
            raise ModelError(f"active of regime {name!r} fails at age {time.age(period):g}: {error}") from error
        if not isinstance(answer, bool | np.bool_):
            raise ModelError(
                f"active of regime {name!r} gives {answer!r} at age {time.age(period):g}; it must be True or False."
            )
        found.append(bool(answer))
    if not any(found):
        raise ModelError(
            f"regime {name!r} is active at no age from {time.first:g} to {time.age(time.count - 1):g}; remove it, or "
            "mend its active."
        )
    return tuple(found)


def check_mappings(graphs: Mapping[str, Graph]) -> None:
    """Entry and exit laws name regimes and states that exist."""
    for name, graph in graphs.items():
        others = [key for key in graphs if key != name]
        for slot in ("entry", "exit"):
            for state, laws in getattr(graph.regime, slot).items():
                if not isinstance(laws, Mapping):
                    raise ModelError(
                        f"{slot}[{state!r}] of regime {name!r} must be a dict by regime, {{'other': law}}."
                    )
                for other in laws:
                    if other not in others:
                        raise ModelError(
                            f"{slot}[{state!r}] of regime {name!r} names the regime {other!r}, which is none of the "
                            f"others.{nearest(str(other), others)} Others: {listed(others)}."
                        )
                    target = name if slot == "entry" else other
                    states = graphs[target].regime.states
                    if state not in states:
                        raise ModelError(
                            f"{slot}[{state!r}] of regime {name!r}: regime {target!r} has no state "
                            f"{state!r}.{nearest(state, states)} States: {listed(states)}."
                        )
