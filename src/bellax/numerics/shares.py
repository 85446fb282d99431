"""How a number without bounds becomes an action between two of them: a share of the way from one to the other.

A share by the logistic function is smooth and reaches no bound; where bounds bind, `Clipped` does: it is cut off at
zero and at one, and by how much it is cut says how much one would like to go on.
"""

import abc
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from bellax.errors import named_options

__all__ = ["Clipped", "Logistic"]

_EDGE = 1e-6  # how near a share comes to a bound where an output is sought for it


class Shares(abc.ABC):
    """How outputs become shares of the way between two bounds.

    Attributes:
        binding: whether bounds are reached.
    """

    binding: ClassVar[bool] = False

    @abc.abstractmethod
    def share(self, x: Array) -> Array:
        """In [0, 1]."""

    @abc.abstractmethod
    def output(self, share: Array) -> Array:
        """An output for a share."""

    @abc.abstractmethod
    def beyond(self, x: Array) -> Array:
        """By how much an output asks for more than all, or, negative, for less than nothing."""


@named_options
@dataclass(frozen=True)
class Logistic(Shares):
    """1 / (1 + exp(-x)): for actions whose bounds do not bind."""

    def share(self, x: Array) -> Array:
        return jax.nn.sigmoid(x)

    def output(self, share: Array) -> Array:
        inside = jnp.clip(share, _EDGE, 1 - _EDGE)
        return jnp.log(inside) - jnp.log1p(-inside)

    def beyond(self, x: Array) -> Array:
        return jnp.zeros_like(x)


@named_options
@dataclass(frozen=True)
class Clipped(Shares):
    """1/2 + x, cut off at zero and at one: for actions whose bounds bind.

    Source: Garcia & Zangwill (1981) for one number that is an action or its multiplier.
    """

    binding: ClassVar[bool] = True

    def share(self, x: Array) -> Array:
        return jnp.clip(0.5 + x, 0.0, 1.0)

    def output(self, share: Array) -> Array:
        return share - 0.5

    def beyond(self, x: Array) -> Array:
        return 0.5 + x - self.share(x)
