"""Richardson's estimate: V beside V on grids of half and of a quarter as many intervals.

Where the error is C h^p, the two differences say p, and the first of them the error. Orders are observed at several
quantiles of the differences, and the lowest counts: at a kink, or an edge, V converges more slowly than elsewhere.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bellax.certify.certificate import QUANTILES, quantiles
from bellax.errors import ModelError
from bellax.solution.flowing import FlowSolution
from bellax.solution.solution import Result

_LEAST, _MOST = 0.5, 16.0  # orders that are looked for
_EXACT = 1e-9  # of how far V is apart, and a thousandth of it: differences of the tolerance of a solve


@dataclass(frozen=True)
class Refinement:
    """What coarser grids say of the error of V.

    Attributes:
        error: quantiles of the estimated |V - V*| at sampled points, in units of the reward; NaN where there is none.
        order: that was observed; NaN where none was.
        nodes: of each coarser grid, by state; moments of a finite horizon under `time`.
        words: what the estimate rests on, or why there is none.
    """

    error: Mapping[str, float]
    order: float
    nodes: tuple[Mapping[str, int], ...]
    words: str


def coarser(solution: FlowSolution, count: int) -> tuple[list[FlowSolution], str]:
    """The same problem on coarser grids, each with half as many intervals as the one before, and why there are no more.

    Args:
        count: how many, at most two.
    """
    found: list[FlowSolution] = []
    for _ in range(count):
        finer = found[-1] if found else solution
        try:
            setting: Any = finer.setting.coarser()
        except ModelError as error:
            return found, f"no coarser grid: {error}"
        one = setting.solve(solution.arguments)
        if int(one.code) != int(Result.successful):
            return found, f"the solve on a coarser grid fails: {setting.explain(one)}"
        found.append(one)
    return found, "" if found else "no coarser grid was asked for"


def refinement(
    solutions: Sequence[FlowSolution], missing: str, states: Mapping[str, np.ndarray], value: np.ndarray
) -> Refinement:
    """The estimate for the first of some solutions, the others being on coarser grids.

    Args:
        missing: why there are no more.
        states: sampled points, by name.
        value: V of the first solution there.
    """
    values = [value, *(np.asarray(each.value(**states)) for each in solutions[1:])]
    nodes = tuple(_counts(each) for each in solutions[1:])
    if not nodes:
        return Refinement(dict.fromkeys(QUANTILES, math.nan), math.nan, (), missing)
    differences = [quantiles(np.abs(a - b)) for a, b in pairwise(values)]
    size = 2 * float(np.nanmax(np.abs(value - np.nanmean(value)))) + float(np.nanmax(np.abs(value))) / 1e3
    exact = _EXACT * size
    error, order, words = _estimated(differences, steps_of(solutions), solutions[0].setting.order, exact)
    left = solutions[0].setting.unfinished(solutions[0])
    if left > _EXACT:  # which grids do not see where all of them stop as early
        error = {name: own + left * size for name, own in error.items()}
        words = f"{words}, and the last step of the solve, which moved V by {left:.2g}: lower tolerance="
    return Refinement(error, order, nodes, f"{words}; {missing}" if missing else words)


def number_error(values: list[float], steps: list[float], highest: float) -> float:
    """The estimated error of one number, of which there are values on coarser grids, too; NaN where there are none.

    Two differences may cross zero, so that the larger of what each of them says counts.
    """
    differences = [abs(a - b) for a, b in pairwise(values)]
    if len(differences) < 2:
        return differences[0] if differences else math.nan
    order = min(_order(differences[0], differences[1], steps), highest)
    if order < _LEAST:
        return max(differences)
    first, second, third = (step**order for step in steps)
    return max(differences[0] * first / (second - first), differences[1] * first / (third - second))


def _estimated(
    differences: list[dict[str, float]], steps: list[float], highest: float, exact: float
) -> tuple[dict[str, float], float, str]:
    """Quantiles of the error, the order, and what they rest on."""
    first = differences[0]
    if len(differences) < 2:
        return dict(first), math.nan, "one coarser grid shows no order: the difference itself"
    largest = {name: max(own[name] for own in differences) for name in QUANTILES}
    if largest["max"] <= exact:
        return largest, math.nan, "the grids agree up to the tolerance of a solve"
    # of quantiles that are all rounding there is no order to see
    orders = [_order(first[n], differences[1][n], steps) for n in QUANTILES if differences[1][n] > exact]
    order = min(orders)
    if not order >= _LEAST:
        words = f"the observed order, {order:.2g}, is none; the larger difference itself, and V may be worse"
        return largest, order, words
    used = min(order, highest)
    share = steps[0] ** used / (steps[1] ** used - steps[0] ** used)
    limited = f", taken for {used:.2g}" if used != order else ""
    return {name: share * own for name, own in first.items()}, order, f"an observed order of {order:.2g}{limited}"


def _order(first: float, second: float, steps: list[float]) -> float:
    """The p at which errors C h^p differ so between the first two grids and between the next two."""
    low, high = 1e-3, _MOST
    of = lambda p: (steps[2] ** p - steps[1] ** p) / (steps[1] ** p - steps[0] ** p)  # noqa: E731
    if first == 0:
        return high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if of(middle) < second / first else (low, middle)
    return low


def _counts(solution: FlowSolution) -> dict[str, int]:
    setting = solution.setting
    found = {name: len(own) for name, own in solution.nodes().items() if name in setting.flow.continuous}
    return {**found, "time": len(setting.moments())} if setting.flow.timed else found


def steps_of(solutions: Sequence[FlowSolution]) -> list[float]:
    """The distances of nodes, as shares of the lines, in all states and in time alike."""
    found = []
    for each in solutions:
        shares = [1.0 / (count - 1) for count in _counts(each).values()]
        found.append(float(np.prod(shares) ** (1 / len(shares))))
    return found
