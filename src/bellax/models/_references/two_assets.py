"""Two assets by another method, in numpy: at every node the best of many deposits, each with the best consumption.

Drifts are upwind: money that comes in goes to the neighbour above, money that goes out to the one below, so that for
given actions V is that of a chain on the nodes, and Howard's iteration finds the best of them.

Source: Kushner & Dupuis (2001), "Numerical methods for stochastic control problems in continuous time".
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve


class Solved(NamedTuple):
    """V and what is done, (liquid, illiquid, income)."""

    value: np.ndarray
    consumption: np.ndarray
    deposit: np.ndarray


def solved(
    liquid: np.ndarray, illiquid: np.ndarray, incomes: np.ndarray, switch: float, given: Mapping[str, float]
) -> Solved:
    """Howard's iteration from what is eaten without saving."""
    b, a, z = np.meshgrid(liquid, illiquid, incomes, indexing="ij")
    most = illiquid[-1]
    pay = (1 - given["xi"]) * given["wage"] * z + np.where(b < 0, given["loans"], given["bonds"]) * b
    grow = given["premium"] * a * (1 - (a / (1.33 * most)) ** 14) + given["xi"] * given["wage"] * z
    power = 1 - given["gamma"]
    utility = lambda c: c**power / power  # noqa: E731
    # shares of the illiquid asset that are moved within a unit of time, finer around none
    shares = np.concatenate([-np.geomspace(2.0, 1e-3, 120), [0.0], np.geomspace(1e-3, 2.0, 120)])
    value = utility(np.maximum(pay, 0.1)) / given["rho"]
    for _ in range(200):
        consumption, deposit, down, up, left, right = _improved(value, liquid, illiquid, pay, grow, shares, a, given)
        new = _evaluated(utility(consumption), down, up, left, right, switch, given["rho"])
        change = np.max(np.abs(new - value))
        value = new
        if change < 1e-8:
            break
    return Solved(value, consumption, deposit)


def _slopes(value: np.ndarray, nodes: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Differences to the neighbour below and above; of what has none, not a number."""
    step = np.diff(value, axis=axis) / np.diff(nodes).reshape([-1 if k == axis else 1 for k in range(3)])
    pad = [(0, 0)] * 3
    pad[axis] = (1, 0)
    behind = np.pad(step, pad, constant_values=np.nan)
    pad[axis] = (0, 1)
    return behind, np.pad(step, pad, constant_values=np.nan)


def _improved(value, liquid, illiquid, pay, grow, shares, a, given):
    """The best actions at a V, and the drifts to each side."""
    behind_b, ahead_b = _slopes(value, liquid, 0)
    behind_a, ahead_a = _slopes(value, illiquid, 1)
    power, best = 1 - given["gamma"], np.full(value.shape, -np.inf)
    kept = [np.zeros(value.shape) for _ in range(4)]
    with np.errstate(invalid="ignore", divide="ignore"):
        for share in shares:
            deposit = share * np.maximum(a, 1e-5)
            cost = given["chi_0"] * np.abs(deposit) + 0.5 * given["chi_1"] * deposit**2 / np.maximum(a, 1e-5)
            left, moved = pay - deposit - cost, grow + deposit
            flow_a = np.where(moved > 0, moved * ahead_a, np.where(moved < 0, moved * behind_a, 0.0))
            for slope, sign in ((ahead_b, 1), (behind_b, -1), (None, 0)):
                c = left if slope is None else np.maximum(slope, 1e-12) ** (-1 / given["gamma"])
                drift = left - c
                fits = (c > 0) & (drift * sign >= 0)
                total = c**power / power + (0.0 if slope is None else drift * slope) + flow_a
                better = fits & np.isfinite(total) & (total > best)
                best = np.where(better, total, best)
                for place, new in enumerate((c, deposit, drift if sign else 0.0 * c, moved)):
                    kept[place] = np.where(better, new, kept[place])
    consumption, deposit, drift_b, drift_a = kept
    wide = lambda nodes, axis: np.diff(nodes).reshape([-1 if k == axis else 1 for k in range(3)])  # noqa: E731
    rates = []
    for drift, nodes, axis in ((drift_b, liquid, 0), (drift_a, illiquid, 1)):
        pad = [(0, 0)] * 3
        pad[axis] = (1, 0)
        before = np.pad(
            np.broadcast_to(wide(nodes, axis), np.diff(value, axis=axis).shape), pad, constant_values=np.inf
        )
        pad[axis] = (0, 1)
        after = np.pad(np.broadcast_to(wide(nodes, axis), np.diff(value, axis=axis).shape), pad, constant_values=np.inf)
        rates += [np.maximum(-drift, 0.0) / before, np.maximum(drift, 0.0) / after]
    return consumption, deposit, *rates


def _evaluated(reward, down, up, left, right, switch: float, rate: float) -> np.ndarray:
    """V of following given drifts."""
    shape = reward.shape
    numbers = np.arange(reward.size).reshape(shape)
    rows, columns, entries = [numbers], [numbers], [rate + down + up + left + right + switch]
    for rates, axis, by in ((down, 0, -1), (up, 0, 1), (left, 1, -1), (right, 1, 1)):
        there = rates > 0
        rows.append(numbers[there])
        columns.append(np.roll(numbers, -by, axis)[there])
        entries.append(-rates[there])
    rows.append(numbers)
    columns.append(numbers[..., ::-1])
    entries.append(np.full(shape, -switch))
    flat = [np.concatenate([np.ravel(part) for part in parts]) for parts in (entries, rows, columns)]
    matrix = coo_matrix((flat[0], (flat[1], flat[2])), shape=(reward.size, reward.size)).tocsc()
    return spsolve(matrix, reward.ravel()).reshape(shape)
