"""What a way to look for prices is: it owns no loop, is asked for prices, and told what conditions are there."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jax import Array

from bellax.errors import check_count, named_options

LEFT = 1e-6  # of what a condition was elsewhere, how much of it may be left
NEARLY = 1e-8  # of what a last step would still move, what is no failure


class Told(NamedTuple):
    """What was found at some prices.

    Attributes:
        residuals: of the conditions, shape (n,); not a number where the solve failed.
        slopes: their derivatives in unknowns, shape (n, n), where the method asks for `slopes`.
        updates: what the method's `update` gives, shape (n,), where it has one.
    """

    residuals: Array
    slopes: Array
    updates: Array


class Seen(NamedTuple):
    """Where it was looked, as numbers: names of unknowns and conditions; the path of both, shape (steps, n); and the
    conditions at the end, shape (n,)."""

    unknowns: tuple[str, ...]
    conditions: tuple[str, ...]
    path: np.ndarray
    residuals: np.ndarray
    left: np.ndarray

    def at(self, x: np.ndarray) -> str:
        return ", ".join(f"{name} = {value:.8g}" for name, value in zip(self.unknowns, x, strict=True))

    def are(self, residuals: np.ndarray) -> str:
        return ", ".join(f"{name!r} {value:.4g}" for name, value in zip(self.conditions, residuals, strict=True))


@named_options
@dataclass(frozen=True, kw_only=True)
class Method(abc.ABC):
    """A way to look for prices.

    Args:
        max_steps: prices at which the model is solved, at most.
    """

    slopes: ClassVar[bool] = False
    max_steps: int = 60

    def __post_init__(self) -> None:
        check_count(self.max_steps, f"{type(self).__name__}: max_steps")

    @property
    def name(self) -> tuple:
        """Hashable, the same for methods that differ by their updates alone."""
        fields = {key: value for key, value in vars(self).items() if key != "update"}
        return type(self), *fields.items()

    @property
    def updates(self) -> Mapping[str, Any]:
        """By unknown, the quantity that it is moved towards, where the method has such quantities."""
        return {}

    @abc.abstractmethod
    def check(self, unknowns: Mapping[str, tuple[float, float]]) -> None:
        """Raises where it does not find such unknowns."""

    @abc.abstractmethod
    def init(self, lower: Array, upper: Array) -> Any:
        """To begin with, given the ends of brackets, shape (n,). The state has `steps`."""

    @abc.abstractmethod
    def ask(self, state: Any) -> Array:
        """Where to look, shape (n,)."""

    @abc.abstractmethod
    def tell(self, state: Any, x: Array, told: Told, tolerance: Array) -> Any:
        """The state after what was found at x."""

    @abc.abstractmethod
    def done(self, state: Any, tolerance: Array) -> Array:
        """Whether there is nothing more to look for."""

    @abc.abstractmethod
    def ended(self, state: Any) -> tuple[Array, Array]:
        """The unknowns, and whether they were found."""

    @abc.abstractmethod
    def explain(self, state: Any, seen: Seen) -> str:
        """Why what it ended with is no equilibrium; empty where it is one."""
