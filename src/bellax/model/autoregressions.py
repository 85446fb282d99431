"""Autoregressions of one number and of several, which are seen before the decision and bring their own law."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bellax.errors import ModelError, check_count, named_options
from bellax.model.demands import Demand, not_negative
from bellax.model.distribution import Distribution
from bellax.model.quantity import ByAge, ByPeriod, QuantityLike, is_literal
from bellax.model.shocks import Normal
from bellax.numerics.covariance import factor, semidefinite


@named_options
@dataclass(frozen=True, eq=False)
class AR1:
    """z' = mean + rho (z - mean) + sigma e with e standard normal, seen before the decision.

    Parameters that move with time (`bx.by_period`, `bx.by_age`, functions of `period` or `age`) are today's: those of
    period t move z from t to t + 1. Period 0 is drawn from the stationary distribution of its own parameters, or from
    `start`: then z spreads with age.

    Args:
        rho: autocorrelation, a Quantity; |rho| < 1. Where it moves with time, later ones than that of period 0 may be
            one, and with a `start` all of them.
        sigma: standard deviation of the innovation, a Quantity.
        mean: unconditional mean, a Quantity.
        start: of a finite horizon, what z is in period 0: a Quantity, or `bx.shocks.Normal(mean, sd)`.
    """

    rho: QuantityLike
    sigma: QuantityLike
    mean: QuantityLike = 0.0
    start: Any = None

    def __post_init__(self) -> None:
        if isinstance(self.start, Distribution) and not (isinstance(self.start, Normal) and self.start.shape == ()):
            raise ModelError(
                f"AR1: start is {self.start!r}; give the value of period 0, or bx.shocks.Normal(mean, sd)."
            )

    def parameters(self) -> Mapping[str, QuantityLike]:
        """The Quantities that it takes, by name; of a start the mean and the standard deviation."""
        own = {"rho": self.rho, "sigma": self.sigma, "mean": self.mean}
        if self.start is None:
            return own
        if isinstance(self.start, Normal):
            return {**own, "start": self.start.mean, "start_sd": self.start.sd}
        return {**own, "start": self.start, "start_sd": 0.0}

    def demands(self, slack: float = 0.0) -> tuple[Demand, ...]:
        """What the values of its parameters must be, in each `period`; `slack` is for rows of probabilities."""
        number = Demand(("rho",), lambda rho: abs(rho) < np.inf, lambda rho: f"is {rho:g}; it must be a number.")
        if self.start is not None:
            return (number, not_negative("sigma"), not_negative("start_sd"))
        return (
            number,
            Demand(
                ("rho", "period"),
                lambda rho, period: (abs(rho) < 1) | (period > 0),
                lambda rho, period: (
                    f"has rho = {rho:g}; a chain needs |rho| < 1. It starts from its stationary distribution; where "
                    "rho moves with time, later ones may be one, and all with start=."
                ),
            ),
            not_negative("sigma"),
        )


@named_options
@dataclass(frozen=True, eq=False)
class VAR:
    """z' = mean + rho (z - mean) + e with e ~ N(0, covariance), seen before the decision; functions see shape (n,).

    Its parameters do not move with time, and it is drawn from its stationary distribution in period 0.

    Args:
        rho: a Quantity, shape (n, n); its eigenvalues are inside the unit circle.
        covariance: of the innovations, a Quantity, shape (n, n), positive definite.
        mean: unconditional mean, a Quantity, shape (n,) or a number.
        size: n; read off `rho` or `covariance` where one of them is a literal.
    """

    rho: QuantityLike
    covariance: QuantityLike
    mean: QuantityLike = 0.0
    size: int | None = None

    def __post_init__(self) -> None:
        for name, given in (("rho", self.rho), ("covariance", self.covariance)):
            if not is_literal(given) or isinstance(given, ByPeriod | ByAge):
                continue
            shape = np.shape(given)
            if len(shape) != 2 or shape[0] != shape[1] or self.size not in (None, shape[0]):
                raise ModelError(f"VAR: {name} has shape {shape}; it must be (n, n), with one n for all.")
            object.__setattr__(self, "size", int(shape[0]))
        if self.size is None:
            raise ModelError("VAR needs size= where both rho and covariance are names or functions.")
        check_count(self.size, "VAR: size")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one value."""
        assert self.size is not None
        return (self.size,)

    def parameters(self) -> Mapping[str, QuantityLike]:
        """The Quantities that it takes, by name."""
        return {"rho": self.rho, "covariance": self.covariance, "mean": self.mean}

    def demands(self, slack: float = 0.0) -> tuple[Demand, ...]:
        """What the values of its parameters must be; `slack` is for rows of probabilities."""
        return (
            Demand(
                ("rho",),
                _vanishes,
                lambda rho: (
                    f"has an eigenvalue of size {np.abs(np.linalg.eigvals(rho)).max():.6g}; all must be below one, or "
                    "there is no stationary distribution."
                ),
            ),
            Demand(
                ("covariance",),
                lambda covariance: semidefinite(covariance) & (factor(covariance).diagonal() > 0).all(),
                lambda covariance: (
                    f"is {covariance.tolist()}; it must be symmetric and positive definite. Of numbers that are "
                    "functions of others only the others are states."
                ),
            ),
        )


def _vanishes(matrix: Any) -> Any:
    """Whether the powers of a matrix go to zero."""
    for _ in range(24):
        matrix = (matrix @ matrix).clip(-1e15, 1e15)  # in single precision, too, its square is a number
    return (abs(matrix) < 1.0).all()
