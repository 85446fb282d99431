"""Richardson's estimate: V beside V on grids of half and of a quarter as many intervals.

Where the error is C h^p, the two differences say p, and the first of them the error. Orders are observed at several
quantiles of the differences, and the lowest counts: at a kink, or an edge, V converges more slowly than elsewhere.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bellax.certify.certificate import QUANTILES, quantiles
from bellax.errors import ModelError
from bellax.solution.flowing import FlowSetting, FlowSolution
from bellax.solution.solution import Result

_LEAST, _MOST = 0.5, 16.0  # orders that are looked for
_EXACT = 1e-9  # of 1 + abs(V): differences of the tolerance of a solve


@dataclass(frozen=True)
class Refinement:
    """What coarser grids say of the error of V.

    Attributes:
        error: quantiles of the estimated |V - V*| at sampled points, in units of the reward; NaN where there is none.
        order: that was observed; NaN where none was.
        nodes: of each coarser grid, by state.
        words: what the estimate rests on, or why there is none.
    """

    error: Mapping[str, float]
    order: float
    nodes: tuple[Mapping[str, int], ...]
    words: str


def refinement(solution: FlowSolution, states: Mapping[str, np.ndarray], value: np.ndarray, count: int) -> Refinement:
    """The estimate for a solution.

    Args:
        states: sampled points, by name.
        value: V there.
        count: how many coarser grids to solve on, at most two.
    """
    settings, differences, words = [solution.setting], [], ""
    finer = value
    for _ in range(count):
        found, words = _coarser(settings[-1], solution, states)
        if found is None:
            break
        setting, coarse = found
        settings.append(setting)
        differences.append(quantiles(np.abs(finer - coarse)))
        finer = coarse
    nodes = tuple(_counts(setting, solution) for setting in settings[1:])
    if not differences:
        return Refinement(dict.fromkeys(QUANTILES, math.nan), math.nan, (), words or "no coarser grid was asked for")
    steps = [_step(setting, solution) for setting in settings]
    error, order, found_words = _estimated(
        differences, steps, solution.setting.order, _EXACT * (1 + float(np.nanmax(np.abs(value))))
    )
    return Refinement(error, order, nodes, f"{found_words}; {words}" if words else found_words)


def _coarser(
    setting: FlowSetting, solution: FlowSolution, states: Mapping[str, np.ndarray]
) -> tuple[tuple[FlowSetting, np.ndarray] | None, str]:
    """A coarser setting and V there, or why there is none."""
    try:
        coarse: Any = setting.coarser()
    except ModelError as error:
        return None, f"no coarser grid: {error}"
    found = coarse.solve(solution.arguments)
    if int(found.code) != int(Result.successful):
        return None, f"the solve on a coarser grid fails: {coarse.explain(found)}"
    return (coarse, np.asarray(found.value(**states))), ""


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


def _counts(setting: FlowSetting, solution: FlowSolution) -> dict[str, int]:
    return {n: len(line) for n, line in setting.nodes(solution.arguments).items() if n in setting.flow.continuous}


def _step(setting: FlowSetting, solution: FlowSolution) -> float:
    """The distance of nodes, in units of all states alike."""
    counts = list(_counts(setting, solution).values())
    return float(np.prod([1.0 / (count - 1) for count in counts]) ** (1 / len(counts)))
