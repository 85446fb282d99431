"""Which chain stands for an AR1 state on a grid, as an option: its nodes and its transition, in standard deviations.

Each says how far its nodes reach, `span`, and gives the transition between two periods of given correlation, so that an
AR1 whose law moves with time and one that does not are laid on nodes in the same way.
"""

import math
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bellax.errors import ModelError, check_count, check_positive, named_options
from bellax.numerics import entropy, markov

# all of these are distances of nodes in innovations, but _FAR, which is in standard deviations
_CLOSE = 1.6  # up to where nodes may be spread, so that they reach
_FAR = 4.0
_DENSE, _SPARSE = 1.8, 2.2  # up to where moments alone decide, and from where coins do


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

    A row of the transition is a quadrature of the innovation: of all probabilities of equally spaced nodes with the
    first four conditional moments those that are nearest to the conditional density. With nodes no farther apart than
    1.6 innovations that is as good as the trapezoidal rule of a normal density. The same holds for a state between two
    nodes, so that V is no straight line there. Where nodes are farther apart, near a unit root, no probabilities have
    four moments: from 2.2 innovations on nodes and transition are Rouwenhorst's, from 1.8 on they are mixed. No weight
    is negative.

    The nodes reach sqrt(count - 1) standard deviations, as Rouwenhorst's do, and farther, up to four, where they are
    then no more than 1.6 innovations apart.

    Args:
        count: number of nodes; 13 have four moments up to rho = .95, 17 up to .96.
    Source: Tanaka and Toda (2013); Farmer and Toda (2017); Rouwenhorst (1995).
    """

    count: int

    def __post_init__(self) -> None:
        check_count(self.count, "grids.Autoregression: count")

    @property
    def span(self) -> float:
        """Distance of the last node from the mean of a law that moves with time, in standard deviations."""
        return math.sqrt(self.count - 1)

    def reach(self, correlation: Float[Array, ""]) -> Float[Array, ""]:
        """The same of a law that does not move."""
        close = 0.5 * _CLOSE * (self.count - 1) * markov.shrink(correlation)
        return jnp.clip(close, self.span, max(_FAR, self.span))

    def chain(self, correlation: Float[Array, ""], span: Float[Array, ""] | float | None = None) -> markov.Chain:
        """Nodes from -1 to 1, and the transition between two periods of given correlation.

        Args:
            span: how far nodes reach in both; by default as far as `span`.
        """
        span = self.span if span is None else span
        units, coins = markov.standard_rouwenhorst(self.count, correlation)
        sparse = self._sparse(correlation, span)
        dense = markov.tilted_rows(span * units, _safe(correlation, sparse), 4)
        return units, (1.0 - sparse) * dense + sparse * coins

    def row(
        self,
        correlation: Float[Array, ""],
        span: Float[Array, ""] | float,
        shared: Float[Array, "n"],
        here: Float[Array, ""],
    ) -> Float[Array, "n"]:
        """Probabilities of the nodes tomorrow, given a state between two of today's.

        Args:
            shared: the mixture of the rows of these two.
            here: the state, in standard deviations from the mean.
        """
        nodes = span * jnp.asarray(np.linspace(-1.0, 1.0, self.count), float)
        sparse = self._sparse(correlation, span)
        safe = _safe(correlation, sparse)
        dense = entropy.matched(nodes, safe * jnp.clip(here, nodes[0], nodes[-1]), markov.shrink(safe), 4)
        narrow, _ = entropy.narrowed(nodes, shared, markov.shrink(correlation) ** 2)
        return (1.0 - sparse) * dense + sparse * jnp.maximum(narrow, 0.0)

    def _sparse(self, correlation: Float[Array, ""], span: Float[Array, ""] | float) -> Float[Array, ""]:
        """How far nodes are too far apart for four moments, from 0 to 1."""
        apart = 2.0 * span / (self.count - 1) / jnp.maximum(markov.shrink(correlation), 1e-6)
        share = jnp.clip((apart - _DENSE) / (_SPARSE - _DENSE), 0.0, 1.0)
        return share**2 * (3.0 - 2.0 * share)


def _safe(correlation: Float[Array, ""], sparse: Float[Array, ""]) -> Float[Array, ""]:
    """The correlation where moments count; where they do not a number at which they have a derivative."""
    return jnp.where(sparse < 1.0, correlation, 0.0)


class Law(eqx.Module):
    """The law of a process of numbers, by which a state between two nodes has a row of its own.

    Attributes:
        centre, spread: mean and standard deviation today.
        correlation: of today and tomorrow.
        span: distance of the last node from the mean, in standard deviations, on both days.
    """

    centre: Float[Array, ""]
    spread: Float[Array, ""]
    correlation: Float[Array, ""]
    span: Float[Array, ""] | float
    spec: Autoregression = eqx.field(static=True)

    def row(self, value: Float[Array, ""], shared: Float[Array, "n"]) -> Float[Array, "n"]:
        """Probabilities of tomorrow's nodes.

        Args:
            shared: those of the nodes around the value, mixed.
        """
        moving = self.spread > 0
        here = jnp.where(moving, value - self.centre, 0.0) / jnp.where(moving, self.spread, 1.0)
        return self.spec.row(self.correlation, self.span, shared, here)


CHAINS = (Autoregression, Rouwenhorst, Tauchen, FarmerToda)
