"""Two solutions of one model by different grids, compared at the same states."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from bellax.bellman.checks import work_of
from bellax.bellman.setting import Setting
from bellax.certify.aim import aimed
from bellax.certify.examine import Sample, points_of, sample
from bellax.numerics.programs import quickly
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Solution


class Place(NamedTuple):
    """Where solutions are compared: states of one regime in one period.

    Attributes:
        regime: its name; empty where there is one.
        period: the period; 0 without a horizon.
        states: by name, along a first axis.
    """

    regime: str
    period: int
    states: Mapping[str, np.ndarray]


def parts(solution: Any) -> dict[str, Solution]:
    """The solution of each regime in which something is decided; of a model of one regime under no name."""
    if isinstance(solution, RegimeSolution):
        return {name: solution.of(name) for name in solution.settings.deciding}
    return {"": solution}


def owner(regime: str, label: str) -> tuple[str, str]:
    """The regime and the line of a label: `retired.wealth` is that of another regime."""
    other, _, line = label.rpartition(".")
    return (other, line) if other else (regime, label)


def sampled(solution: Solution, points: int, seed: int = 0) -> Sample:
    """States of one regime, over the periods in which it decides; those at which V bends most among them, as the last
    quarter of each period."""
    setting = solution.setting
    spread = sample(setting.problem, discrete_axes(solution), points, seed, active_of(setting))
    return aimed(setting.numerics, solution.own, spread, True)[0]


def discrete_axes(solution: Solution) -> dict[str, int]:
    """Lengths of the discrete axes of the mesh of one regime."""
    plan, shape = solution.setting.plan, work_of(solution.setting, solution.arguments).states.values()
    return dict(zip([*plan.processes, *plan.discrete], shape, strict=False))


def states_of(solution: Solution, looked: Sample) -> dict[str, np.ndarray]:
    """The states of a sample, by name along periods and points."""
    numerics = solution.setting.numerics
    run = solution.setting.program(("points of", looked.shifts.shape), lambda: quickly(points_of(numerics), True))
    return {name: np.asarray(each) for name, each in run(solution.arguments, looked).items()}


def places(solution: Any, points: int, later: bool) -> list[Place]:
    """States of the first period of every regime, and of later ones.

    Args:
        points: about how many of a regime.
        later: whether one in the middle and the last are wanted.
    """
    found = []
    for regime, own in parts(solution).items():
        setting, looked = own.setting, sampled(own, points)
        count = len(looked.periods)
        some = {0, count // 2, count - 1} if later and setting.problem.finite else {0}
        for place in sorted(some):
            period = int(looked.periods[place])
            today = looked._replace(periods=jnp.full_like(looked.periods, period))
            states = {name: each.reshape(-1, *each.shape[2:]) for name, each in states_of(own, today).items()}
            found.append(Place(regime, period, states))
    return found


def values(solution: Any, where: list[Place]) -> list[np.ndarray]:
    """V at places, by place."""
    return [_value(parts(solution)[place.regime], place) for place in where]


def _value(solution: Solution, place: Place) -> np.ndarray:
    when = {"period": place.period} if solution.setting.problem.finite else {}
    return np.asarray(solution.value(**when, **place.states)).reshape(-1)


def active_of(setting: Setting) -> np.ndarray | None:
    """Periods in which a regime decides; None without a horizon, or where it always does."""
    active = setting.model.active_periods.get(setting.problem.regime)
    return None if active is None else np.flatnonzero(active[: setting.problem.clock.count])
