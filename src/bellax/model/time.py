"""Horizons: a number of periods, infinity, or ages.

With horizon T decisions are taken in periods 0..T-1, and `terminal` is the value at T. `Ages(25, 95)` takes
decisions at both ends.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from bellax.errors import ModelError
from bellax.numerics.programs import concrete

_NEAR = 1e-6  # of a period: an age that is so close is that of the period, also in single precision
_PER_YEAR = {"Y": 1, "Q": 4, "M": 12}


@dataclass(frozen=True)
class Ages:
    """Decisions at every age from `first` to `last`, both included.

    Args:
        first: age of period 0, in years.
        last: age of the last decision, in years.
        step: `1Y`, `2Y`, `1Q`, `1M`, ...: a count of years, quarters or months.
    """

    first: int | float
    last: int | float
    step: str = "1Y"

    def __post_init__(self) -> None:
        for end in ("first", "last"):
            age = getattr(self, end)
            if isinstance(age, bool) or not isinstance(age, int | float):
                raise ModelError(f"Ages has {end}={age!r}; it must be a number of years.")
        match = re.fullmatch(r"(\d+)([YQM])", str(self.step))
        if match is None or int(match[1]) == 0:
            raise ModelError(f"Ages has step {self.step!r}; write a count and Y, Q or M: '1Y', '5Y', '1Q', '6M'.")
        if not self.last >= self.first:
            raise ModelError(f"Ages runs from {self.first} to {self.last}; that is no period at all.")
        count = (self.last - self.first) / self.years
        if abs(count - round(count)) > 1e-9:
            raise ModelError(f"Ages: {self.last} is no whole number of steps of {self.step} after {self.first}.")

    @property
    def years(self) -> float:
        """Length of a period, in years."""
        count, per_year = self.fraction
        return count / per_year

    @property
    def fraction(self) -> tuple[int, int]:
        """Length of a period, as a count of years, quarters or months, and how many of them make a year."""
        match = re.fullmatch(r"(\d+)([YQM])", self.step)
        assert match is not None
        return int(match[1]), _PER_YEAR[match[2]]

    @property
    def periods(self) -> int:
        """How many decisions there are."""
        return round((self.last - self.first) / self.years) + 1


@dataclass(frozen=True)
class Clock:
    """Periods and ages of a model.

    Attributes:
        periods: number of decisions, or infinity.
        first: age of period 0 (the period itself where the model has no ages).
        step: length of a period, as a count of what `per_year` make a year (1 and 1 where the model has no ages).
        aged: whether the model has ages.
    """

    periods: int | float
    first: int | float = 0.0
    step: int = 1
    per_year: int = 1
    aged: bool = False

    @property
    def years(self) -> float:
        """Length of a period in years."""
        return self.step / self.per_year

    @property
    def finite(self) -> bool:
        return math.isfinite(self.periods)

    @property
    def count(self) -> int:
        """Number of decisions of a finite horizon."""
        assert self.finite
        return int(self.periods)

    def age(self, period: Any) -> Any:
        """Age at `period`, in years: a birthday is a whole number, also where a step is none of years."""
        return self.first + period * self.step / self.per_year

    def period(self, age: Any) -> Any:
        """The period of `age`; where it falls between two or outside ModelError, and -1 of an age that is traced."""
        numbers: Any = np if concrete(age) else jnp
        period = (numbers.asarray(age, jnp.result_type(float)) - self.first) / self.years
        near = numbers.round(period)
        found = (near - _NEAR <= period) & (period <= near + _NEAR) & (near >= 0) & (near <= self.periods)
        if not concrete(age):
            return jnp.where(found, near, -1.0).astype(jnp.int32)
        if not found:
            raise ModelError(f"age {age} is no age of this model: {self.first} to {self.age(int(self.periods) - 1)}.")
        return int(near)


def clock(horizon: Any) -> Clock:
    """The clock of a horizon: an integer, `math.inf` or `Ages`."""
    if isinstance(horizon, Ages):
        return Clock(horizon.periods, horizon.first, *horizon.fraction, aged=True)
    if horizon == math.inf:
        return Clock(math.inf)
    if isinstance(horizon, bool) or not isinstance(horizon, int):
        raise ModelError(f"horizon is {horizon!r}; give a whole number of periods, math.inf, or bx.Ages(first, last).")
    if horizon < 1:
        raise ModelError(f"horizon is {horizon}; there is no decision in it. Give at least 1.")
    return Clock(horizon)
