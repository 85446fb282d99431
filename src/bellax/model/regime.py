"""A regime: everything that a model says, but its horizon.

A model without regimes has one. Slots given to `Model` beside `regimes` are merged into every regime key by key; the
value None removes a key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bellax.errors import ModelError
from bellax.model.preferences import ExtremeValue, Preferences
from bellax.model.quantity import QuantityLike
from bellax.model.shocks import Distribution
from bellax.model.spaces import ActionSpace, StateSpace


@dataclass(frozen=True, eq=False, kw_only=True)
class Slots:
    """What a regime says. Every function is pointwise, and its argument names say what it needs.

    Args:
        states: spaces of the states, by name.
        actions: spaces of the actions, by name.
        shocks: distributions of what is realised after the decision, by name.
        functions: further functions of names, which others may name in turn.
        transitions: the law of each state that is no process: a Quantity, `bx.Markov(...)` or `bx.fixed`.
        reward: what the period pays, a Quantity.
        discount: a Quantity; by default the parameter `discount`.
        constraints: boolean functions of states and actions, by name.
        stop: payoff of stopping, a Quantity in states; V is then the larger of it and of going on.
        terminal: value in the period after the last decision, a Quantity in states; zero where absent.
        preferences: expected utility where absent.
        taste_shocks: `bx.ExtremeValue` over discrete actions.
        next_regime: a function that gives the probability of each regime tomorrow, as a dict.
        active: a function of age that says when the regime exists.
        entry: how a state gets its value on arrival here, by state, then by source regime.
        exit: how a state gets its value on leaving, by state, then by target regime.
    """

    states: Mapping[str, StateSpace] = field(default_factory=dict)
    actions: Mapping[str, ActionSpace] = field(default_factory=dict)
    shocks: Mapping[str, Distribution] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    transitions: Mapping[str, Any] = field(default_factory=dict)
    reward: QuantityLike = None
    discount: QuantityLike = None
    constraints: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    stop: QuantityLike = None
    terminal: QuantityLike = None
    preferences: Preferences | None = None
    taste_shocks: ExtremeValue | None = None
    next_regime: Callable[..., Any] | None = None
    active: Callable[[Any], bool] | None = None
    entry: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exit: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for slot in fields(Slots):
            if slot.default_factory is dict and not isinstance(getattr(self, slot.name), Mapping):
                raise ModelError(f"{slot.name} must be a dict by name, not {getattr(self, slot.name)!r}.")


@dataclass(frozen=True, eq=False, kw_only=True)
class Regime(Slots):
    """A phase of a model with its own states, actions and laws."""

    __doc__ = (__doc__ or "") + (Slots.__doc__ or "").partition("\n")[2]


@dataclass(frozen=True, eq=False)
class Terminal:
    """A regime that ends the problem: its value is a function of the states that the function reads.

    Args:
        value: a Quantity; zero by default. The names that are states of other regimes are its states.
        entry: how a state gets its value on arrival, by state, then by source regime.
    """

    value: QuantityLike = 0.0
    entry: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def merge(shared: Slots, regime: Regime) -> Regime:
    """`regime` with the slots that `shared` gives and it does not; None in a dict removes the key."""
    merged: dict[str, Any] = {}
    for slot in fields(Slots):
        ours, theirs = getattr(regime, slot.name), getattr(shared, slot.name)
        if slot.default_factory is dict:
            both = {**theirs, **ours}
            merged[slot.name] = {key: value for key, value in both.items() if value is not None}
        else:
            merged[slot.name] = theirs if ours is None else ours
    return replace(regime, **merged)
