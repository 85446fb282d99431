"""What Bellman's equation says of a solution at sampled states: what its maximiser misses, and by how much V is off."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bellax.certify.compared import parts, sampled
from bellax.certify.examine import Sample, scanning
from bellax.certify.stretch import BySides, Sides
from bellax.numerics.programs import quickly
from bellax.solution.solution import Solution

_POINTS = 200


class Scanned(NamedTuple):
    """What Bellman's equation at sampled states says of a solution, over max(1, |V|).

    Attributes:
        missed: what a scan of more candidates finds, in all periods together.
        residual: by how much V is not the maximum.
    """

    missed: float = math.nan
    residual: float = math.nan

    @property
    def known(self) -> bool:
        return not math.isnan(self.missed)

    def agrees(self, accuracy: float) -> bool:
        """Whether V may be as accurate: errors of today and of tomorrow are at least half of the residual."""
        return self.missed <= accuracy and self.residual <= 2 * accuracy

    def words(self, accuracy: float) -> str:
        """What speaks against an accuracy; empty where nothing does, or is known."""
        if self.missed > accuracy:
            return f" A scan of more candidates still gains {self.missed:.2g}."
        if self.residual > 2 * accuracy:
            return f" Bellman's equation is off by {self.residual:.2g} between the nodes."
        return ""


def scanned(solution: Any, sides: BySides) -> Scanned:
    """The worst of what is found in any regime.

    Args:
        sides: by how much lines are longer than those on which V is asked for.
    """
    found = [_of_one(own, sides.get(regime, {})) for regime, own in parts(solution).items()]
    return Scanned(*(max(each) for each in zip(*found, strict=True))) if found else Scanned(0.0, 0.0)


def _of_one(solution: Solution, sides: Sides) -> Scanned:
    """What a denser scan of actions gains over the maximiser, at most and in every period, and by how much V is not
    what it finds."""
    setting = solution.setting
    if not setting.plan.actions or setting.follows:
        return Scanned(0.0, 0.0)
    looked = _within(sampled(solution, _POINTS), [sides.get(label, {}) for label in setting.plan.labels])
    run = setting.program(("scanning", looked.shifts.shape), lambda: quickly(scanning(setting.numerics), True))
    found = (np.asarray(each) for each in run(solution.arguments, solution.values, looked))
    lost, residual, value, discount = found
    clock = setting.problem.clock
    periods = clock.count if clock.finite else 1 / max(1 - float(np.nanmax(discount)), 1e-6)
    return Scanned(_most(lost, value) * periods, _most(residual, value))


def _most(off: np.ndarray, value: np.ndarray) -> float:
    """The largest number of all that are finite, over max(1, |V|)."""
    relative = np.abs(off) / np.maximum(1.0, np.abs(value))
    return float(np.where(np.isfinite(relative), relative, 0.0).max(initial=0.0))


def _within(looked: Sample, sides: Sequence[Mapping[str, float]]) -> Sample:
    """The same shares of lines before they became longer."""
    below = np.array([own.get("below", 0.0) for own in sides])
    above = np.array([own.get("above", 0.0) for own in sides])
    within = (below + np.asarray(looked.shares)) / (1 + below + above)
    return looked._replace(shares=jnp.asarray(within, looked.shares.dtype))
