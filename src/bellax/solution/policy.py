"""What a policy is: pointwise, from the states of a period to what is done there. Nobody above asks how it is found.

A `Solution` re-maximises or follows a rule, a `Tabulated` interpolates. Simulations, certificates and rules that follow
another policy know this interface alone.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.setting import Arguments, Setting


class Chosen(NamedTuple):
    """The answer at one state: value, actions by name, whether to stop, and the value of every discrete combination."""

    value: Array
    actions: dict[str, Array]
    stop: Array
    choice_values: Array


class Policy(eqx.Module):
    """Pointwise, from the states of a period to what is done there.

    Attributes:
        arguments: parameters and literals.
        setting: the model and its numerics.
    """

    arguments: eqx.AbstractVar[Arguments]
    setting: eqx.AbstractVar[Setting]

    @property
    @abstractmethod
    def smooth(self) -> bool:
        """Whether continuous actions move with states and parameters, so that they can be differentiated."""

    @property
    @abstractmethod
    def last(self) -> Value | None:
        """V after the last decision, on its mesh; None for an infinite horizon."""

    @abstractmethod
    def rule(self, period: Any) -> Callable[[Mapping[str, Array]], Chosen]:
        """A pointwise function from the states of a period to what is chosen there."""

    @abstractmethod
    def pieces(self) -> dict[str, Any]:
        """What it is made of besides its setting, by field: arrays that a compiled program takes."""

    @abstractmethod
    def check_one(self) -> None:
        """Raises ModelError for a batch of policies."""
