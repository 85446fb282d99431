"""The sets that states and actions live in, and the processes that move by themselves.

`Continuous` is a box, `Discrete` a finite set. A process state (`MarkovChain`, `AR1`, `IID`) is seen before
the decision and brings its own law. None of them says how many nodes a grid gives it: that is the solver's
business.
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bellax.errors import ModelError, check_not_negative, named_options
from bellax.model.autoregressions import AR1, VAR
from bellax.model.demands import Demand, broken, ordered, probabilities
from bellax.model.distribution import Distribution, as_shape
from bellax.model.quantity import ByAge, ByPeriod, QuantityLike, is_literal, read
from bellax.numerics import scales
from bellax.numerics.scalar import numeric, rounding


@named_options
@dataclass(frozen=True, eq=False)
class Continuous:
    """A box of real numbers, or of arrays of them.

    Args:
        lower: smallest value, a Quantity; for an action it may name states and other actions.
        upper: largest value, likewise. A state's bounds say where grids live; they are not constraints.
        scale: how distance is measured: `bx.scales.linear`, `log`, `asinh(unit)`, `power(exponent)`, or a
            pair of functions (forward, inverse). Grids use it by default.
        shape: shape of the arrays that functions see; () for a number.
    """

    lower: QuantityLike = -math.inf
    upper: QuantityLike = math.inf
    scale: Any = scales.linear
    shape: Any = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", scales.as_scale(self.scale))
        shape = as_shape(self.shape, "a Continuous space")
        object.__setattr__(self, "shape", shape)
        known = {side: read(bound, f"a Continuous space: {side}") for side, bound in self._literals.items()}
        for side, none in (("lower", math.inf), ("upper", -math.inf)):
            if np.any(known.get(side, 0.0) == none):
                raise ModelError(f"a Continuous space has the {side} bound {none}, and so no point; give a number.")
        wrong = broken([ordered("lower", "upper")], known) if len(known) == 2 else None
        if wrong is not None:
            raise ModelError(f"a Continuous space {wrong.complaint(known)}")

    def demands(self) -> tuple[Demand, ...]:
        """What the values of its bounds must be where it is the space of a state."""
        return (
            Demand(
                ("lower", "upper"),
                lambda lower, upper: (lower < upper).all(),
                lambda lower, upper: f"runs from {lower} to {upper}; the lower bound must be below the upper.",
            ),
        )

    @property
    def _literals(self) -> dict[str, Any]:
        return {side: bound for side, bound in (("lower", self.lower), ("upper", self.upper)) if is_literal(bound)}

    @property
    def size(self) -> int:
        """How many numbers one point of the space is."""
        return math.prod(self.shape)

    @property
    def bounded(self) -> bool:
        """False where a bound is literally infinite."""
        return all(bool(np.all(np.isfinite(bound))) for bound in self._literals.values())


@named_options
@dataclass(frozen=True, eq=False)
class Discrete:
    """A finite set. Functions see the code of an IntEnum or of range(n), or the number of a value list.

    Args:
        categories: an IntEnum, a number of categories, or a list of distinct numbers.
    """

    categories: Any

    def __post_init__(self) -> None:
        categories(self.categories, "Discrete")  # raises where they are none

    @property
    def size(self) -> int:
        """How many categories there are."""
        return len(self.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the categories, for tables."""
        return categories(self.categories, "Discrete")[0]

    @property
    def values(self) -> np.ndarray:
        """What functions see, one entry a category."""
        return categories(self.categories, "Discrete")[1]


@named_options
@dataclass(frozen=True, eq=False)
class MarkovChain:
    """A finite Markov chain, seen before the decision.

    Args:
        categories: an IntEnum, a list of numbers, or a Quantity that gives them (functions see the integer or
            the number).
        transition: a Quantity, rows today, columns tomorrow, shape (n, n); rows sum to one.
        row_tolerance: how far a row may be from one before it is an error. Published tables are often off in
            the last digit; they are used as they are.
        intensity: in continuous time, instead of `transition`: rates, rows sum to zero, shape (n, n).
    """

    categories: Any
    transition: QuantityLike = None
    row_tolerance: int | float = 1e-8
    intensity: QuantityLike = None

    def __post_init__(self) -> None:
        if (self.transition is None) == (self.intensity is None):
            raise ModelError("a MarkovChain takes either transition= (discrete time) or intensity= (continuous time).")
        check_not_negative(self.row_tolerance, "MarkovChain: row_tolerance", "1e-4")
        if self.known:
            categories(self.categories, "MarkovChain")

    @property
    def values(self) -> np.ndarray | None:
        """What functions see, one entry a category; None where a parameter gives it."""
        return categories(self.categories, "MarkovChain")[1] if self.known else None

    @property
    def size(self) -> int | None:
        """How many categories there are; None where a parameter gives them."""
        return len(self.labels) if self.labels is not None else None

    def demands(self, slack: float = 0.0) -> tuple[Demand, ...]:
        """What the values of its parameters must be: `transition` or `intensity`, and `values` where it has these.

        Args:
            slack: by how much rows may be off one even where `row_tolerance` is less.
        """
        if self.intensity is not None:
            return (_square("intensity"), *_rates(self.row_tolerance))
        advice = " Correct it, or give MarkovChain(..., row_tolerance={off}) to use published numbers as they are."
        fitting = () if self.known else (_fitting(),)
        rows = probabilities("transition", max(self.row_tolerance, slack), advice)
        return (_square("transition"), *fitting, *rows)

    @property
    def known(self) -> bool:
        """True where the categories are given by the model and not by a parameter."""
        return not (isinstance(self.categories, str | ByPeriod | ByAge) or _is_function(self.categories))

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The names of the categories, for tables; None where a parameter gives their values."""
        return categories(self.categories, "MarkovChain")[0] if self.known else None


@named_options
@dataclass(frozen=True, eq=False)
class IID:
    """A state drawn afresh every period, seen before the decision.

    Args:
        distribution: one of `bx.shocks`; its parameters may name parameters, `period` and `age` only.
    """

    distribution: Distribution

    def __post_init__(self) -> None:
        if not isinstance(self.distribution, Distribution):
            raise ModelError(f"IID takes a distribution of bx.shocks, not {self.distribution!r}.")

    def demands(self, slack: float = 0.0) -> tuple[Demand, ...]:
        """What the values of the parameters of its distribution must be; `slack` is for rows of a chain."""
        return self.distribution.demands()


def _square(name: str) -> Demand:
    return Demand(
        (name,),
        lambda matrix: matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1],
        lambda matrix: f"has shape {matrix.shape}; it must be (n, n), rows today and columns tomorrow.",
    )


def _fitting() -> Demand:
    """A row and a column for each category that a parameter gives."""
    return Demand(
        ("transition", "values"),
        lambda matrix, values: matrix.shape == 2 * values.shape,
        lambda matrix, values: (
            f"has a transition of shape {matrix.shape}; with {values.size} categories it must be {2 * (values.size,)}."
        ),
    )


def _rates(tolerance: float) -> tuple[Demand, ...]:
    """The demands of rates of leaving each category for each other."""

    def off(matrix: Any) -> Any:
        return matrix.__array_namespace__().where(np.eye(len(matrix), dtype=bool), 0.0, matrix)

    def sums(matrix: np.ndarray) -> str:
        worst = int(np.argmax(np.abs(matrix.sum(axis=1))))
        return f"sums to {matrix[worst].sum():.6g} in row {worst}; rates sum to zero."

    return (
        Demand(
            ("intensity",),
            lambda matrix: (off(matrix) >= -rounding()).all(),
            lambda matrix: f"holds the rate {np.min(off(matrix)):g} off the diagonal; none may be negative.",
        ),
        Demand(("intensity",), lambda matrix: (abs(matrix.sum(axis=1)) <= max(tolerance, rounding())).all(), sums),
    )


def agree(a: Any, b: Any) -> bool:
    """True where a value of space `a` is one of `b`: the same categories, or numbers of one shape."""
    discrete = [isinstance(space, Discrete | MarkovChain) for space in (a, b)]
    if all(discrete):
        if a.values is None or b.values is None:
            return a.categories is b.categories or a.categories == b.categories
        return a.labels == b.labels and np.array_equal(a.values, b.values)
    return not any(discrete) and _shape(a) == _shape(b)


def _shape(space: Any) -> tuple[int, ...]:
    if isinstance(space, IID):
        return space.distribution.shape
    return space.shape if isinstance(space, Continuous | VAR) else ()


StateSpace: TypeAlias = Continuous | Discrete | MarkovChain | AR1 | VAR | IID
PROCESSES = (MarkovChain, AR1, VAR, IID)


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)


_MOST = 10_000_000  # categories of one state


def categories(given: Any, what: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels and values of an IntEnum, a count or a list of numbers.

    Returns:
        Labels, and the values that functions see, shape (n,), integers for an IntEnum or a count.
    Raises:
        ModelError: if there are none, some are equal, or an Enum's members are not 0, 1, 2, ...
    """
    if isinstance(given, type) and issubclass(given, enum.Enum):
        if not issubclass(given, enum.IntEnum):
            raise ModelError(
                f"{what}({given.__name__}): derive {given.__name__} from enum.IntEnum. Functions compare an array with "
                "a member, and only an integer compares; of another member it is silently False."
            )
        members = list(given)
        labels, values = tuple(m.name for m in members), np.asarray([int(m) for m in members], dtype=np.int64)
        if values.tolist() != list(range(len(members))):
            raise ModelError(
                f"{what}({given.__name__}): its members are {values.tolist()}; write 0, 1, 2, ... in this order. "
                "Functions see the code, and look it up in arrays; for other numbers give a list of them."
            )
    elif isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        if given > _MOST:
            raise ModelError(
                f"{what} has {given} categories; more than {_MOST} are a grid beyond memory. Give fewer, or Continuous."
            )
        labels, values = tuple(str(i) for i in range(given)), np.arange(given, dtype=np.int64)
    elif isinstance(given, (Sequence, np.ndarray)) or hasattr(given, "__array__"):
        try:
            values = numeric(given)
        except (TypeError, ValueError) as error:
            raise ModelError(
                f"{what}: the values must be numbers; use an IntEnum for labels. Got {given!r}."
            ) from error
        labels = tuple(f"{value:.12g}" for value in values.ravel())
    else:
        raise ModelError(f"{what} takes an IntEnum, a number of categories or a list of numbers, not {given!r}.")
    if values.ndim != 1 or values.size == 0:
        raise ModelError(f"{what} needs at least one category, in one dimension; got shape {values.shape}.")
    if len(np.unique(values)) != values.size or not np.all(np.isfinite(values)):
        raise ModelError(f"{what}: the categories {values.tolist()} are not distinct finite numbers.")
    return labels, values
