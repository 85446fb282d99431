"""What a distribution is to a solver and a simulation."""

import abc
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bellax.errors import ModelError
from bellax.model.demands import Demand
from bellax.model.quantity import ByPeriod, QuantityLike
from bellax.numerics import rules
from bellax.numerics.held import held
from bellax.numerics.interpolate import least_weight, telling
from bellax.numerics.scalar import put, rounding


def as_shape(shape: Any, what: str) -> tuple[int, ...]:
    """The shape of an array, from that of a user, who may write n for (n,)."""
    lengths = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else (shape,)
    for length in lengths:
        if isinstance(length, bool) or not isinstance(length, int | np.integer) or length < 1:
            raise ModelError(f"{what} has shape {shape!r}; every length must be a whole number of at least 1.")
    return tuple(int(length) for length in lengths)


class Distribution(abc.ABC):
    """What a solver and a simulation ask of a distribution. Pointwise: the library vectorises.

    Attributes:
        shape: shape of one value.
    """

    shape: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", as_shape(self.shape, type(self).__name__))

    @abc.abstractmethod
    def parameters(self) -> Mapping[str, QuantityLike]:
        """The Quantities that the distribution takes, by name."""

    @abc.abstractmethod
    def rule(self, given: Any, sizes: Mapping[str, tuple[int, ...]]) -> rules.Nodes:
        """Standard nodes, shape (q, d), and weights, shape (q,).

        Args:
            given: the entry of the solver's `quadrature=`: None, a count or a rule.
            sizes: shapes of the parameters' values.
        """

    @abc.abstractmethod
    def realise(self, node: Float[Array, "d"], **parameters: Array) -> Array:
        """The value at one standard node."""

    @abc.abstractmethod
    def draw(self, key: Array, **parameters: Array) -> Array:
        """One random value."""

    def weight(self, node: Float[Array, "d"], weight: Float[Array, ""], **parameters: Array) -> Float[Array, ""]:
        """The weight of one node; the standard one unless parameters move it."""
        return weight

    def kinds(self, **parameters: Array) -> Float[Array, "k"] | None:
        """The probabilities of the finitely many kinds of values, such as the components of a mixture; None where all
        are of one kind."""
        return None

    def draw_kind(self, key: Array, kind: Int[Array, ""], **parameters: Array) -> Array:
        """One random value of a kind."""
        return self.draw(key, **parameters)

    def demands(self) -> tuple[Demand, ...]:
        """What the values of the parameters must be; the names are those of the parameters."""
        return ()

    def bearing_kinks(self, count: int) -> Any:
        """The rule of so many nodes for what has kinks in it; None where there is none, or several numbers."""
        return None

    weighs: ClassVar[bool] = False
    """Whether parameters say what nodes weigh."""

    mixes: ClassVar[bool] = True
    """Whether it may be part of a `Mixture`: its nodes are those of a rule in as many dimensions as it has numbers."""

    def each_dimension(self, count: int) -> int:
        """How many nodes there are along each dimension of a rule of `count` nodes."""
        return round(count ** (1 / max(1, math.prod(self.shape))))

    @property
    def seen(self) -> jax.ShapeDtypeStruct:
        """Shape and type of what functions see."""
        return jax.ShapeDtypeStruct(self.shape, jnp.result_type(float))

    def parameter_shape(self, name: str) -> tuple[int, ...] | None:
        """The shape to which a parameter's value must broadcast; None where it is free."""
        return self.shape

    def broadcasts(self, name: str) -> bool:
        """Whether one number will do for an array as the value of a parameter."""
        return True


_DRAWN = (
    "a category, or a number of jumps, is drawn with probabilities that move with what is differentiated. A simulated "
    "path does not show how they matter: differentiate solution.value(...), or take differences."
)


def drawn_by(probabilities: Array) -> Array:
    """Probabilities by which something countable is drawn; they refuse to be differentiated.

    A path keeps the category that it drew, so that its derivative is not that of the mean.
    """
    return held(probabilities, probabilities, _DRAWN)


def draw_place(key: Array, probabilities: Float[Array, "n"]) -> Int[Array, ""]:
    """The place of what is drawn with given probabilities."""
    return place_at(jax.random.uniform(key), drawn_by(probabilities))


def place_at(share: Float[Array, ""], probabilities: Float[Array, "n"]) -> Int[Array, ""]:
    """The place of what a number uniform on [0, 1) stands for, by the inverse of the distribution function."""
    # jax.random.choice would need a static size of its own
    probabilities = without_rounding(probabilities)
    drawn = share * jnp.sum(probabilities)
    index = jnp.searchsorted(jnp.cumsum(probabilities), drawn, side="right")
    last = probabilities.shape[0] - 1 - jnp.argmax(probabilities[::-1] > 0)  # rounding must not draw beyond it
    return jnp.minimum(index, last.astype(index.dtype))


def without_rounding(probabilities: Float[Array, "..."]) -> Float[Array, "..."]:
    """Probabilities in which what rounding left below zero is zero; derivatives are those of what was given."""
    negative = (probabilities < 0) & (probabilities >= -rounding(probabilities.dtype))
    return probabilities + jax.lax.stop_gradient(jnp.where(negative, -probabilities, 0.0))


def tidy_table(table: Any) -> Any:
    """A table of probabilities as a solver reads it in place, and many times: without rounding below zero, and without
    what is too small to tell of a value of minus infinity.

    By period it is a solver's affair, which looks at one row at a time.
    """
    if isinstance(table, ByPeriod):
        return table
    if isinstance(table, jax.core.Tracer):
        return telling(without_rounding(table))
    array = np.asarray(table)
    nothing = (array < least_weight(jnp.result_type(float))) & (array != 0)
    return put(np.where(nothing, 0.0, array).astype(array.dtype)) if nothing.any() else table
