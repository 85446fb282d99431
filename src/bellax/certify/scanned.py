"""What Bellman's equation says of a solution: what its maximiser misses, and by how much V is off between its nodes, at
the end, and where paths go that leave the grid."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bellax.bellman.checks import work_of
from bellax.certify.compared import parts, sampled, states_of
from bellax.certify.examine import scanning
from bellax.certify.otherwise import otherwise
from bellax.certify.stretch import BySides, Sides
from bellax.certify.wandering import Paths, paid_at_the_end, paid_beyond, paths, picked, within
from bellax.numerics.programs import quickly
from bellax.solution.solution import Solution

_FEWEST, _MOST = 1000, 2000  # states of a regime at which the equation is asked
_OF_NODES = 4  # one for so many nodes


class Scanned(NamedTuple):
    """What Bellman's equation at sampled states says of a solution, over max(1, |V|) unless it was asked otherwise.

    Attributes:
        missed: what a scan of more candidates finds, in all periods together.
        residual: by how much V is not the maximum; infinite where one of both is.
        first: the same in the first period.
        mean: the mean of that with its sign, in all periods together: what V is off by where errors add up.
        end: by how much what is paid after the last decision is off between its nodes.
        beyond: by how much V is off on account of where paths go that leave the grid.
        gained: by how much simple rules that do not know V pay more than it.
        sides: by how much lines would have to be longer for the paths on which that is paid.
    """

    missed: float = math.nan
    residual: float = math.nan
    first: float = math.nan
    mean: float = math.nan
    end: float = math.nan
    beyond: float = math.nan
    gained: float = math.nan
    sides: BySides = {}

    @property
    def known(self) -> bool:
        return not math.isnan(self.missed)

    def agrees(self, accuracy: float) -> bool:
        """Whether V may be as accurate: errors of today and of tomorrow are at least half of the residual."""
        return self.excess(accuracy) <= 1

    def excess(self, accuracy: float) -> float:
        """The most that speaks against an accuracy, over what it allows; NaN where nothing is known."""
        return max(self.missed, 0.5 * self.residual, self.mean, self.end, self.beyond, self.gained) / accuracy

    def words(self, accuracy: float) -> str:
        """What speaks against an accuracy; empty where nothing does, or is known."""
        if self.missed > accuracy:
            return f" A scan of more candidates still gains {self.missed:.2g}."
        if self.gained > accuracy:
            return f" Simple rules that are held on to pay {self.gained:.2g} more than V."
        if self.beyond > accuracy:
            return f" Where paths go that leave the bounds, V is another, by {self.beyond:.2g} where they start."
        if self.end > accuracy:
            return f" What is paid after the last decision is off by {self.end:.2g} between the nodes."
        if math.isinf(self.residual):
            return (
                " V is infinite between nodes where Bellman's equation gives a number: leave the states out at which "
                "it is infinite by other bounds, or give an action that is always possible."
            )
        if self.residual > 2 * accuracy:
            return f" Bellman's equation is off by {self.residual:.2g} between the nodes."
        if self.mean > accuracy:
            return f" What Bellman's equation is off by between the nodes adds up to {self.mean:.2g} over the periods."
        return ""


def scanned(solution: Any, sides: BySides, relative: bool = True) -> Scanned:
    """The worst of what is found in any regime.

    Args:
        sides: by how much lines are longer than those on which V is asked for.
        relative: whether over max(1, |V|); else in units of the reward.
    """
    walked = paths(solution, sides, relative)
    owns = parts(solution).items()
    found = [_of_one(own, sides.get(name, {}), walked.get(name), relative) for name, own in owns]
    if not found:
        return Scanned(*np.zeros(7))
    *worst, discount = (max(each) for each in zip(*found, strict=True))
    other = otherwise(solution, sides, relative, discount)
    return Scanned(*worst)._replace(gained=other.gained, sides=other.sides)


def _of_one(solution: Solution, sides: Sides, walked: Paths | None, relative: bool) -> tuple[float, ...]:
    """Of one regime, in the order of `Scanned`, and the largest discount of a period."""
    setting = solution.setting
    looked = within(sampled(solution, _count(solution), seed=1), setting.plan, sides)
    states: dict[str, Any] = dict(states_of(solution, looked))
    beyond = None if walked is None else picked(solution, walked, np.asarray(looked.periods))
    shifts, (rows, inner) = looked.shifts, looked.shifts.shape
    if beyond is not None:
        states = {n: np.concatenate([each, beyond.states[n]], axis=1) for n, each in states.items()}
        shifts = jnp.concatenate([shifts, jnp.full(beyond.weights.shape, 0.5, shifts.dtype)], axis=1)
    run = setting.program(("scanning", shifts.shape), lambda: quickly(scanning(setting.numerics), True))
    found = run(solution.arguments, solution.values, looked.periods, states, shifts)
    lost, residual, value, discount = map(np.asarray, found)
    residual = np.where(np.isnan(residual), np.inf, residual)
    size = np.maximum(1.0, np.abs(np.where(np.isfinite(value) & relative, value, 1.0)))
    most = float(np.nanmax(discount[:, :inner]))
    periods = _periods(solution, most)
    lost = np.zeros(1) if setting.follows or not setting.plan.actions else np.nan_to_num(lost / size, posinf=0.0)
    off = 0.0
    if beyond is not None:
        each = beyond.weights * np.where(beyond.weights > 0, np.abs(residual[:, inner:]), 0.0)
        many = _decided(solution) if setting.problem.finite else 1
        off = float(each.sum()) * many / rows
    if walked is not None and setting.plan.evaluate_terminal is not None:
        off += paid_beyond(solution, walked.final, walked.final_weights)
    residual = residual[:, :inner] / size[:, :inner]
    bulk = residual[:, : inner - inner // 4]
    return (
        float(lost[..., :inner].max()) * periods,
        float(np.abs(residual).max(initial=0.0)),
        float(np.abs(residual[0]).max(initial=0.0)),
        abs(float(bulk.mean())) * periods if bulk.size else 0.0,
        paid_at_the_end(solution, sides, relative),
        off,
        most,
    )


def _count(solution: Solution) -> int:
    """At how many states the equation is asked: as the grid has nodes, so that it costs a part of the solve."""
    nodes = math.prod(work_of(solution.setting, solution.arguments).states.values())
    periods = min(_decided(solution), 20)
    return int(np.clip(nodes * periods // _OF_NODES, _FEWEST, _MOST))


def _decided(solution: Solution) -> int:
    """In how many periods something is decided; one where they have no end."""
    setting = solution.setting
    if not setting.problem.finite:
        return 1
    active = setting.model.active_periods.get(setting.problem.regime)
    count = setting.problem.clock.count
    return count if active is None else max(1, sum(active[:count]))


def _periods(solution: Solution, discount: float) -> float:
    """What one in every period is worth at the first."""
    if solution.setting.problem.finite:
        count = _decided(solution)
        return float(np.sum(min(discount, 1.0) ** np.arange(count)))
    return 1 / max(1 - discount, 1e-6)
