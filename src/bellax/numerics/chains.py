"""Which chain stands for an AR1 state on a grid, as an option: its nodes and its transition, in standard deviations.

Each says how far its nodes reach, `span`, and gives the transition between two periods of given correlation, so that an
AR1 whose law moves with time and one that does not are laid on nodes in the same way.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bellax.errors import ModelError, check_count, check_positive, named_options
from bellax.numerics import entropy, markov

_DENSE, _SPARSE = 1.6, 2.0  # distance of nodes in innovations: up to where moments alone decide, and from where coins do


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


@named_options
@dataclass(frozen=True)
class Autoregression:
    """Nodes of the autoregression itself, and not of a chain in its place: what a plain count means.

    They are equally spaced, as far as sqrt(count - 1) standard deviations, where Rouwenhorst's chain has them. A row of
    the transition is a quadrature of the innovation: of all probabilities of the nodes with the first four conditional
    moments those that are nearest to the conditional density, which for nodes not farther apart than 1.6 innovations are
    as good as the trapezoidal rule of a normal density. The same holds for a state between two nodes, so that V is no
    straight line there. Where nodes are farther apart, near a unit root, no probabilities have four moments: from 2
    innovations on the transition is Rouwenhorst's, with mixtures between them. No weight is negative.

    Args:
        count: number of nodes; 17 reach four standard deviations, and keep to four moments up to rho = .95.
    Source: Tanaka and Toda (2013); Farmer and Toda (2017); Rouwenhorst (1995).
    """

    count: int

    def __post_init__(self) -> None:
        check_count(self.count, "grids.Autoregression: count")

    @property
    def span(self) -> float:
        """Distance of the last node from the mean, in standard deviations."""
        return math.sqrt(self.count - 1)

    def chain(self, correlation: Float[Array, ""]) -> markov.Chain:
        """Nodes from -1 to 1, and the transition between two periods of given correlation."""
        units, coins = markov.standard_rouwenhorst(self.count, correlation)
        sparse = self._sparse(correlation)
        dense = markov.tilted_rows(self._deviations, self._safe(correlation, sparse), 4)
        return units, (1.0 - sparse) * dense + sparse * coins

    def row(self, correlation: Float[Array, ""], coins: Float[Array, "n"], here: Float[Array, ""]) -> Float[Array, "n"]:
        """Probabilities of the nodes tomorrow, given a state between two of today's.

        Args:
            coins: those of the mixture of the rows of the two nodes.
            here: the state, in standard deviations from the mean.
        """
        here, sparse = jnp.clip(here, -self.span, self.span), self._sparse(correlation)
        safe = self._safe(correlation, sparse)
        dense = entropy.matched(self._deviations, safe * here, markov.shrink(safe), 4)
        narrow, _ = entropy.narrowed(self._deviations, coins, markov.shrink(correlation) ** 2)
        return (1.0 - sparse) * dense + sparse * narrow

    @property
    def _deviations(self) -> Float[Array, "n"]:
        return jnp.asarray(self.span * np.linspace(-1.0, 1.0, self.count), float)

    def _sparse(self, correlation: Float[Array, ""]) -> Float[Array, ""]:
        """How far nodes are too far apart for four moments, from 0 to 1."""
        apart = 2.0 / self.span / jnp.maximum(markov.shrink(correlation), 1e-6)
        share = jnp.clip((apart - _DENSE) / (_SPARSE - _DENSE), 0.0, 1.0)
        return share**2 * (3.0 - 2.0 * share)

    def _safe(self, correlation: Float[Array, ""], sparse: Float[Array, ""]) -> Float[Array, ""]:
        """The correlation where moments count; where they do not a number at which they have a derivative."""
        return jnp.where(sparse < 1.0, correlation, 0.0)


CHAINS = (Autoregression, Rouwenhorst, Tauchen, FarmerToda)
