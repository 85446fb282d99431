"""A bracket of the optimal value: what a policy earns on simulated paths, and a dual bound from above."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

_BEYOND = 0.025  # of an interval of 95 %, the probability of either side
_ROUNDING = 1e-6  # of its ends, by which they may lie the wrong way round where both are the value itself


@dataclass(frozen=True)
class Side:
    """One side of a bracket, an estimate of a bound.

    Attributes:
        mean: of the bound, over paths.
        standard_error: of that.
        how: what it is, in words.
        paths: how many there were.
    """

    mean: float
    standard_error: float
    how: str
    paths: int

    @property
    def margin(self) -> float:
        """How far an interval of 95 % reaches from the mean, by Student's t: few paths hardly know their error."""
        return float(stdtrit(self.paths - 1, 1 - _BEYOND)) * self.standard_error


@dataclass(frozen=True)
class Bracket:
    """Between what the optimal value at the start lies.

    Attributes:
        lower, upper: the sides; None where no valid one is known.
        lower_missing, upper_missing: why not.
    """

    lower: Side | None
    upper: Side | None
    lower_missing: str = ""
    upper_missing: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """In which the optimal value lies with a confidence of 95 %; minus or plus infinity where a side is missing, or
        where sides contradict each other."""
        low, high = self._ends
        if self.contradiction:
            return -math.inf, math.inf
        return min(low, high), max(low, high)

    @property
    def _ends(self) -> tuple[float, float]:
        """What the sides say, each by itself."""
        low = self.lower.mean - self.lower.margin if self.lower else -math.inf
        high = self.upper.mean + self.upper.margin if self.upper else math.inf
        return low, high

    @property
    def contradiction(self) -> str:
        """How the sides contradict each other, beyond noise and rounding; empty where they do not."""
        low, high = self._ends
        if not (self.lower and self.upper) or low - high <= _ROUNDING * max(abs(low), abs(high)):
            return ""
        return (
            f"the side from below ends at {low:.6g}, above {high:.6g}, where that from above does, so that one of them "
            "is no bound; likely causes are laws or rewards with jumps, and very few paths"
        )

    @property
    def width(self) -> float:
        """Of the interval."""
        low, high = self.interval
        return high - low

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        low, high = self.interval
        sides = {"lower": self.lower, "upper": self.upper}
        missing = {"lower": self.lower_missing, "upper": self.upper_missing}
        found: dict[str, Any] = {"low": low, "high": high, "contradiction": self.contradiction}
        return found | {name: vars(side) if side else {"missing": missing[name]} for name, side in sides.items()}

    def lines(self) -> Iterable[str]:
        """As text."""
        low, high = self.interval
        if self.contradiction:
            yield f"The optimal value there: no bracket, as {self.contradiction}"
        elif self.lower and self.upper:
            yield f"The optimal value there, with a confidence of 95 %: between {low:.6g} and {high:.6g}"
        else:
            yield "The optimal value there: no bracket"
        sides = ((self.lower, self.lower_missing, "below"), (self.upper, self.upper_missing, "above"))
        for side, missing, where in sides:
            if side is None:
                yield f"  from {where}: none, as {missing}"
                continue
            error = f"{side.mean:.6g}, standard error {side.standard_error:.1e}"
            yield f"  from {where}: {error}; {side.how}, {side.paths} paths"


def side_of(sample: np.ndarray, how: str) -> tuple[Side | None, str]:
    """A side from what every path says; None where one says nothing, and why."""
    if not np.all(np.isfinite(sample)):
        return None, f"{np.mean(~np.isfinite(sample)):.2%} of the paths have no finite value"
    if len(sample) < 2:
        return None, "one path has no standard error"
    error = float(sample.std(ddof=1) / math.sqrt(len(sample)))
    return Side(float(sample.mean()), error, how, len(sample)), ""
