"""A regime: everything that a model says, but its horizon.

A model without regimes has one. Slots given to `Model` beside `regimes` are merged into every regime key by
key; the value None removes a key. What is shared serves the regimes that can use it: the law of a state that
a regime does not have, and a function that reads what a regime does not have, stay out of that regime.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bellax.errors import ModelError, listed, named_options, nearest
from bellax.model.constraints import Nonnegative
from bellax.model.preferences import ExtremeValue, Preferences
from bellax.model.quantity import QuantityLike, quantity
from bellax.model.spaces import StateSpace, agree


@named_options
@dataclass(frozen=True, eq=False, kw_only=True)
class Slots:
    """What a regime says. Every function is pointwise, and its argument names say what it needs.

    In a regime beside shared slots, None in place of a value removes what is shared.

    Args:
        states: spaces of the states, by name.
        actions: spaces of the actions, by name.
        shocks: distributions of what is realised after the decision, by name.
        functions: further functions of names, which others may name in turn.
        transitions: the law of each state that is no process: a Quantity, `bx.Markov(...)` or `bx.fixed`.
        reward: what the period pays, a Quantity.
        discount: a Quantity; by default the parameter `discount`.
        constraints: by name, functions of states and actions that give True or False, or `bx.nonnegative(f)`.
        stop: payoff of stopping, a Quantity in states; V is then the larger of it and of going on.
        terminal: value in the period after the last decision, a Quantity in states; zero where absent.
        preferences: expected utility where absent.
        taste_shocks: `bx.ExtremeValue` over discrete actions; shared ones are of the regimes that have these actions.
        next_regime: a function that gives the probability of each regime tomorrow, as a dict.
        active: a function of age that says when the regime exists.
        entry: how a state gets its value on arrival here, by state: a law, or a dict of laws by source regime. A
            process may enter by a distribution of `bx.shocks`, or by `bx.ergodic`, its stationary one.
        exit: how a state gets its value on leaving, by state, then by target regime.
    """

    states: Mapping[str, Any] = field(default_factory=dict)
    actions: Mapping[str, Any] = field(default_factory=dict)
    shocks: Mapping[str, Any] = field(default_factory=dict)
    functions: Mapping[str, Any] = field(default_factory=dict)
    transitions: Mapping[str, Any] = field(default_factory=dict)
    reward: QuantityLike = None
    discount: QuantityLike = None
    constraints: Mapping[str, QuantityLike | Nonnegative] = field(default_factory=dict)
    stop: QuantityLike = None
    terminal: QuantityLike = None
    preferences: Preferences | None = None
    taste_shocks: ExtremeValue | None = None
    next_regime: QuantityLike = None
    active: Callable[[Any], bool] | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)
    exit: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for slot in fields(Slots):
            if slot.default_factory is dict and not isinstance(getattr(self, slot.name), Mapping):
                raise ModelError(f"{slot.name} must be a dict by name, not {getattr(self, slot.name)!r}.")


@named_options
@dataclass(frozen=True, eq=False, kw_only=True)
class Regime(Slots):
    """A phase of a model with its own states, actions and laws."""

    __doc__ = (__doc__ or "") + (Slots.__doc__ or "").partition("\n")[2]


@named_options
@dataclass(frozen=True, eq=False)
class Terminal:
    """A regime that ends the problem: its value is a function of the states that the function reads.

    Args:
        value: a Quantity; zero by default. It may name the shared functions of the model, and parameters.
        states: spaces of the states that it reads; by default those of the other regimes.
        entry: how a state gets its value on arrival, by state: a law, or a dict of laws by source regime.
    """

    value: QuantityLike = 0.0
    states: Mapping[str, StateSpace] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)


DICTS = tuple(slot.name for slot in fields(Slots) if slot.default_factory is dict)


def merge_all(shared: Slots, regimes: Mapping[str, Regime | Terminal]) -> dict[str, Slots]:
    """Every regime with the shared slots merged in; a `Terminal` as slots with a terminal value only."""
    merged = {name: _merge(name, shared, r) for name, r in regimes.items() if isinstance(r, Regime)}
    states = {state for regime in merged.values() for state in regime.states}
    for name, regime in merged.items():
        merged[name] = replace(regime, **_useful_laws(regime, regimes[name], states))
    elsewhere = kinds(merged.values())
    for name, regime in merged.items():
        functions = _useful_functions(regime, regimes[name], elsewhere)
        shocks = _useful_shocks(regime, regimes[name], elsewhere)
        merged[name] = replace(regime, functions=functions, taste_shocks=shocks)
    every = {
        name: _ending(name, regime, shared, merged) if isinstance(regime, Terminal) else merged[name]
        for name, regime in regimes.items()
    }
    return {name: replace(slots, entry=_by_source(name, slots.entry, merged)) for name, slots in every.items()}


def _by_source(name: str, entry: Mapping[str, Any], deciding: Iterable[str]) -> dict[str, Any]:
    """Laws of arrival by state and source: one that is given for every source is that of each."""
    others = [other for other in deciding if other != name]
    return {state: law if isinstance(law, Mapping) else dict.fromkeys(others, law) for state, law in entry.items()}


def kinds(regimes: Iterable[Slots]) -> dict[str, str]:
    """What each name is, somewhere: `state`, `action`, `shock` or `function`."""
    return {
        name: what
        for regime in regimes
        for what in ("state", "action", "shock", "function")
        for name in getattr(regime, f"{what}s")
    }


def _merge(name: str, shared: Slots, regime: Regime) -> Regime:
    merged: dict[str, Any] = {}
    for slot in fields(Slots):
        ours, theirs = getattr(regime, slot.name), getattr(shared, slot.name)
        if slot.name not in DICTS:
            merged[slot.name] = theirs if ours is None else ours
            continue
        for key in ours:
            if ours[key] is None and key not in theirs:
                raise ModelError(
                    f"regime {name!r}: {slot.name}[{key!r}] is None, which removes what is shared, and no such key "
                    f"is.{nearest(str(key), theirs)} Shared: {listed(theirs)}."
                )
        merged[slot.name] = {key: value for key, value in {**theirs, **ours}.items() if value is not None}
    return replace(regime, **merged)


def _useful_laws(merged: Slots, own: Regime | Terminal, states: set[str]) -> dict[str, Any]:
    """Laws without the shared ones of states that other regimes have and this one has not."""
    absent = states - set(merged.states)
    return {
        slot: {
            state: law
            for state, law in getattr(merged, slot).items()
            if state not in absent - set(getattr(own, slot, {}))
        }
        for slot in ("transitions", "entry", "exit")
    }


def _useful_functions(
    merged: Slots, own: Regime | Terminal, elsewhere: Mapping[str, str]
) -> dict[str, Callable[..., Any]]:
    """Functions without the shared ones that read what other regimes have and this one has not."""
    functions = dict(merged.functions)
    while True:
        here = {*merged.states, *merged.actions, *merged.shocks, *functions}
        here |= {f"next_{state}" for state in merged.states}
        missing = {*elsewhere, *(f"next_{name}" for name in elsewhere if elsewhere[name] == "state")} - here
        useless = [
            n
            for n, f in functions.items()
            if n not in getattr(own, "functions", {}) and missing & {*quantity(f, n).names}
        ]
        if not useless:
            return functions
        for name in useless:
            del functions[name]


def _useful_shocks(merged: Slots, own: Regime | Terminal, elsewhere: Mapping[str, str]) -> ExtremeValue | None:
    """Taste shocks, unless they are shared ones over an action that other regimes have and this one has not."""
    shocks = merged.taste_shocks
    if not isinstance(shocks, ExtremeValue) or getattr(own, "taste_shocks", None) is not None:
        return shocks
    absent = [name for name in shocks.over if name not in merged.actions and elsewhere.get(name) == "action"]
    return None if absent else shocks


def _ending(name: str, terminal: Terminal, shared: Slots, regimes: Mapping[str, Slots]) -> Slots:
    """A terminal regime as slots: its value, and the shared functions and the states that it reads."""
    functions: dict[str, Callable[..., Any]] = {}
    wanted = list(quantity(terminal.value, "value").names)
    for need in wanted:  # grows while it is walked
        if need in shared.functions and need not in functions:
            functions[need] = shared.functions[need]
            wanted += quantity(functions[need], need).names
    states = dict(terminal.states)
    for state in wanted:
        spaces = {key: regime.states[state] for key, regime in regimes.items() if state in regime.states}
        if state in states or not spaces:
            continue
        first, *others = spaces
        for other in others:
            if not agree(spaces[first], spaces[other]):
                raise ModelError(
                    f"regime {name!r} reads {state!r}, whose categories differ between {first!r} and {other!r}. Say "
                    f"which it sees: Terminal(value, states={{{state!r}: ...}}, entry=...)."
                )
        states[state] = spaces[first]
    return Slots(states=states, functions=functions, terminal=terminal.value, entry=terminal.entry)
