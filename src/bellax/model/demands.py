"""What numbers must be: each predicate once, with the message for numbers that are not.

Where numbers are known, the first demand that they break becomes an error. Inside a compiled program nothing raises:
whether they fulfil all demands is a number of the program, and what rests on them is NaN where they do not. Both ask
the same `Demand`.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool

from bellax.numerics.scalar import rounding


@dataclass(frozen=True, eq=False)
class Demand:
    """What is asked of some numbers that belong to one thing, such as the parameters of a shock.

    Attributes:
        names: of the numbers that it reads.
        holds: whether it is met; of arrays of numpy or of jax in the order of the names, and of no other function of
            either: operators, methods, and what `value.__array_namespace__()` has.
        says: what is wrong with known numbers that do not meet it, to follow their name.
    """

    names: tuple[str, ...]
    holds: Callable[..., Any]
    says: Callable[..., str]

    def complaint(self, values: Mapping[str, Any]) -> str:
        """The message for known numbers."""
        return self.says(*(np.asarray(values[name], float) for name in self.names))


def broken(demands: Iterable[Demand], values: Mapping[str, Any]) -> Demand | None:
    """The first demand that known numbers do not meet, if any. They are read in the precision of the programs."""
    dtype = jnp.result_type(float)
    with np.errstate(all="ignore"):
        for demand in demands:
            if not demand.holds(*(np.asarray(values[name], dtype) for name in demand.names)):
                return demand
    return None


def fulfilled(demands: Iterable[Demand], values: Mapping[str, Array]) -> Bool[Array, ""]:
    """Whether numbers meet all demands, inside a program. A yes or no has no derivative."""
    held: list[Any] = []
    for demand in demands:
        holds = demand.holds(*(lax.stop_gradient(values[name]) for name in demand.names))
        if holds is False:  # a shape, which is known in a program, too, and on which the demands that follow rest
            return jnp.zeros((), bool)
        held += [] if holds is True else [holds]
    return functools.reduce(operator.and_, held) if held else jnp.ones((), bool)


def alone(demands: Iterable[Demand], name: str) -> tuple[Demand, ...]:
    """The demands that read one number and no other."""
    return tuple(demand for demand in demands if demand.names == (name,))


def complaint(demands: Iterable[Demand], value: np.ndarray) -> str | None:
    """What is wrong with one known number, or None; of demands that read no other."""
    values = _Same(value)
    found = broken(demands, values)
    return None if found is None else found.complaint(values)


class _Same(dict[str, Any]):
    """One value under every name."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __missing__(self, name: str) -> Any:
        return self.value


# -- what several kinds of numbers must be ---------------------------------------------------------------------------


def not_negative(name: str) -> Demand:
    """A number, or each of an array, is not below zero."""
    return Demand(
        (name,),
        lambda value: (value >= 0).all(),
        lambda value: f"is {np.min(value):g}; it must not be negative.",
    )


def ordered(lower: str, upper: str) -> Demand:
    """One bound is not above the other."""
    return Demand(
        (lower, upper),
        lambda least, most: (least <= most).all(),
        lambda least, most: f"runs from {least} down to {most}; swap its bounds.",
    )


def discount(finite: bool) -> tuple[Demand, ...]:
    """A discount is not negative, and below one where there is no end: a value without end is finite only then."""
    endless = "and the horizon is infinite; the value would be too. It must be below one."
    below_one = Demand(("discount",), lambda value: (value < 1).all(), lambda value: f"is {np.max(value):g} {endless}")
    return (not_negative("discount"), *(() if finite else (below_one,)))


def one_stationary(name: str) -> tuple[Demand, ...]:
    """A transition, shape (n, n), has one stationary distribution: some state is reached from every other."""

    def reached(transition: Any) -> Any:
        reach = (transition > 0) | np.eye(len(transition), dtype=bool)
        for _ in range(max(1, math.ceil(math.log2(len(transition))))):
            reach = (reach[:, :, None] & reach[None, :, :]).any(axis=1)
        return reach

    return (
        Demand(
            (name,),
            lambda transition: reached(transition).all(axis=0).any(),
            lambda transition: (
                "has several stationary distributions: which one depends on where the chain starts. Give the "
                "probabilities of its categories, bx.shocks.Categorical(probabilities=...)."
            ),
        ),
    )


def probabilities(name: str, tolerance: float = 1e-8, advice: str = "") -> tuple[Demand, ...]:
    """An array, shape (..., n), is probabilities along its last axis.

    Args:
        tolerance: by how much sums may be off one; at least by rounding.
        advice: what else there is to do about sums that are off; `{off}` in it is the tolerance that would do.
    """
    tolerance = max(tolerance, rounding())

    def sums(value: np.ndarray) -> str:
        total = np.sum(value, axis=-1)
        worst = np.unravel_index(np.argmax(np.abs(total - 1)), total.shape)
        row = f" in row {', '.join(map(str, worst))}" if worst else ""
        off = abs(float(total[worst]) - 1)
        more = advice.format(off=f"{10 ** math.ceil(math.log10(off)):g}") if math.isfinite(off) else ""
        return f"sums to {total[worst]:.10g}{row}; probabilities sum to one.{more}"

    return (
        Demand(
            (name,),
            lambda value: (value >= -rounding()).all(),
            lambda value: f"holds the probability {np.min(value):g}; none may be negative.",
        ),
        Demand((name,), lambda value: (abs(value.sum(axis=-1) - 1) <= tolerance).all(), sums),
    )
