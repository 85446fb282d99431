"""Which chain stands for an AR1 state on a grid, as an option: its nodes and its transition, in standard deviations.

Each says how far its nodes reach, `span`, and gives the transition between two periods of given correlation, so that an
AR1 whose law moves with time and one that does not are laid on nodes in the same way.
"""

import math
from dataclasses import dataclass

from jaxtyping import Array, Float

from bellax.errors import ModelError, check_count, check_positive, named_options
from bellax.numerics import markov


@named_options
@dataclass(frozen=True)
class Rouwenhorst:
    """The chain of Rouwenhorst (1995) for an AR1 state: exact first and second moments, also near a unit root."""

    count: int

    def __post_init__(self) -> None:
        check_count(self.count, "grids.Rouwenhorst: count")

    @property
    def span(self) -> float:
        """Distance of the last node from the mean, in standard deviations."""
        return math.sqrt(self.count - 1)

    def chain(self, correlation: Float[Array, ""]) -> markov.Chain:
        """Nodes from -1 to 1, and the transition between two periods of given correlation."""
        return markov.standard_rouwenhorst(self.count, correlation)


@named_options
@dataclass(frozen=True)
class Tauchen:
    """The chain of Tauchen (1986) for an AR1 state, on +- width unconditional standard deviations."""

    count: int
    width: int | float = 3.0

    def __post_init__(self) -> None:
        check_count(self.count, "grids.Tauchen: count")
        check_positive(self.width, "grids.Tauchen: width", "3")

    @property
    def span(self) -> float:
        """Distance of the last node from the mean, in standard deviations."""
        return float(self.width)

    def chain(self, correlation: Float[Array, ""]) -> markov.Chain:
        """Nodes from -1 to 1, and the transition between two periods of given correlation."""
        return markov.standard_tauchen(self.count, correlation, self.width)


@named_options
@dataclass(frozen=True)
class FarmerToda:
    """The chain of Farmer and Toda (2017) for an AR1 state: equally spaced nodes, exact conditional moments.

    Args:
        count: number of nodes.
        moments: conditional moments that are met where nodes can have them: mean and variance, or with 4 also skewness
            and kurtosis. In rows that cannot have four there are two; the mean is met everywhere.
        width: distance of the last node from the mean, in unconditional standard deviations; by default
            sqrt(count - 1), with which every row can have its mean and variance.
    """

    count: int
    moments: int = 2
    width: int | float | None = None

    def __post_init__(self) -> None:
        check_count(self.count, "grids.FarmerToda: count")
        if self.moments not in (2, 4):
            raise ModelError(f"grids.FarmerToda: moments is {self.moments!r}; give 2 or 4.")
        if self.width is not None:
            check_positive(self.width, "grids.FarmerToda: width", "3")
            if self.width < 1:
                raise ModelError(
                    f"grids.FarmerToda: width is {self.width}; nodes within one standard deviation cannot have the "
                    "variance of the process. Give 3, or leave it out."
                )

    @property
    def span(self) -> float:
        """Distance of the last node from the mean, in standard deviations."""
        return math.sqrt(self.count - 1) if self.width is None else float(self.width)

    def chain(self, correlation: Float[Array, ""]) -> markov.Chain:
        """Nodes from -1 to 1, and the transition between two periods of given correlation."""
        return markov.standard_farmer_toda(self.count, correlation, self.moments, self.width)


CHAINS = (Rouwenhorst, Tauchen, FarmerToda)
