"""A recursion over work, retirement and death by plain loops: candidates of consumption, V linear between nodes."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def work_and_retirement(
    nodes: np.ndarray,
    candidates: int,
    first_age: int,
    periods: int,
    working: Mapping[str, Any],
    retired: Mapping[str, Any],
    dead: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """V of workers, shape (periods + 1, 3, n), and of the retired, (periods + 1, 2, n); zero after the last period.

    Args:
        nodes: of wealth, shape (n,).
        candidates: of consumption, between .01 and .01 more than wealth.
        first_age: of the first period.
        working, retired, dead: the parameters of each regime; those by age with one row a period.
    """
    shares = np.linspace(0.0, 1.0, candidates)
    value = {"working": np.zeros((periods + 1, 3, len(nodes))), "retired": np.zeros((periods + 1, 2, len(nodes)))}
    decline = np.array([[1.0, 0.0], [retired["decline"], 1 - retired["decline"]]])
    bequest = lambda wealth: dead["bequest_weight"] * np.log(wealth + dead["luxury"])  # noqa: E731
    for t in range(periods - 1, -1, -1):
        retires = first_age + t + 1 >= working["retirement_age"]
        for k, wealth in enumerate(nodes):
            c = (1 - shares) * 0.01 + shares * (wealth + 0.01)
            utility, left = -1 / c, (1 + working["interest"]) * (wealth - c)

            for h in range(3):
                later = value["retired"][t + 1][(np.arange(3) >= retired["robust_from"]).astype(int)]
                later = later if retires else value["working"][t + 1]
                best = -np.inf
                for labor in range(2):
                    income = working["wage"][t] * working["productivity"][h] * labor
                    alive, chances = working["survival"][t, h], working["health_risk"][labor, h]
                    after = left + income
                    expected = sum(p * _linear(nodes, v, after) for p, v in zip(chances, later, strict=True))
                    going_on = alive * expected + (1 - alive) * bequest(after)
                    q = utility - working["disutility"] * labor + working["discount"] * going_on
                    best = max(best, float(np.max(q)))
                value["working"][t, h, k] = best
            for h in range(2):
                alive = retired["survival"][t, h]
                after = left + retired["pension"]
                each = [_linear(nodes, v, after) for v in value["retired"][t + 1]]
                going_on = alive * (decline[h] @ np.stack(each)) + (1 - alive) * bequest(after)
                value["retired"][t, h, k] = np.max(utility + retired["discount"] * going_on)
    return value


def _linear(nodes: np.ndarray, values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Linear interpolation, and straight lines beyond the ends."""
    cell = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
    share = (x - nodes[cell]) / (nodes[cell + 1] - nodes[cell])
    return values[cell] + share * (values[cell + 1] - values[cell])
