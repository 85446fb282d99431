"""Huggett's economy by the published algorithm, in numpy: the peer of `bench_continuous.py`.

Line by line what the authors' code does (`huggett_equilibrium_iterate.m`): upwind differences on even nodes, implicit
steps of length 1,000, the forward equation by the transpose of the last matrix with one equation replaced, bisection on
the rate, each solve from the V of the last one. MATLAB's backslash is SuperLU here.

Source: Achdou, Han, Lasry, Lions & Moll (2022), "Income and wealth distribution in macroeconomics: a continuous-time
approach", Review of Economic Studies 89, and the authors' code.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import bmat, csc_matrix, diags, eye
from scipy.sparse.linalg import splu

STEP = 1000.0
STEPS = 100


class Economy(NamedTuple):
    """What the model is given.

    Attributes:
        incomes: two of them.
        intensity: rates out of the first, and out of the second.
        bounds: of assets.
    """

    risk_aversion: float
    discount: float
    incomes: tuple[float, float]
    intensity: tuple[float, float]
    bounds: tuple[float, float]


class Cleared(NamedTuple):
    """The rate, how many solves it took, and V and the density at the nodes, shape (n, 2)."""

    rate: float
    solves: int
    value: np.ndarray
    density: np.ndarray


def equilibrium(
    economy: Economy, count: int, bracket: tuple[float, float], first: float, excess: float, change: float
) -> Cleared:
    """The rate at which bonds are in zero supply.

    Args:
        bracket: of rates, in which `first` is.
        excess: how much demand may be left.
        change: how much V may move in the last step.
    """
    assets = np.linspace(*economy.bounds, count)
    low, high, rate, value = *bracket, first, None
    solves = 0
    while True:
        value, matrix = solved(economy, assets, rate, value, change)
        density = stationary(matrix, assets)
        demand = float(np.sum(density * assets[:, None]) * (assets[1] - assets[0]))
        solves += 1
        if abs(demand) < excess or solves == STEPS:
            return Cleared(rate, solves, value, density)
        low, high = (low, rate) if demand > 0 else (rate, high)
        rate = 0.5 * (low + high)


def solved(
    economy: Economy, assets: np.ndarray, rate: float, value: np.ndarray | None, change: float
) -> tuple[np.ndarray, csc_matrix]:
    """V at a given rate, and the matrix of the chain that savers are."""
    gamma, discount, incomes, intensity, _ = economy
    size, count = assets[1] - assets[0], len(assets)
    income = np.array(incomes)[None, :]
    flow = income + rate * assets[:, None]
    if value is None:
        value = flow ** (1 - gamma) / (1 - gamma) / discount
    first, second = intensity
    switch = bmat([[-first * eye(count), first * eye(count)], [second * eye(count), -second * eye(count)]])
    matrix = csc_matrix(switch.shape)
    for _ in range(STEPS):
        slope = np.diff(value, axis=0) / size
        # at the edges the state stays inside
        ahead = np.vstack([slope, flow[-1:] ** -gamma])
        behind = np.vstack([flow[:1] ** -gamma, slope])
        saved_ahead, saved_behind = flow - ahead ** (-1 / gamma), flow - behind ** (-1 / gamma)
        rises, falls = saved_ahead > 0, saved_behind < 0
        still = ~(rises | falls)
        marginal = ahead * rises + behind * falls + flow**-gamma * still
        reward = (marginal ** (-1 / gamma)) ** (1 - gamma) / (1 - gamma)
        down, up = -np.minimum(saved_behind, 0) / size, np.maximum(saved_ahead, 0) / size
        blocks = [diags([down[1:, j], -(up + down)[:, j], up[:-1, j]], [-1, 0, 1]) for j in range(2)]
        matrix = csc_matrix(bmat([[blocks[0], None], [None, blocks[1]]]) + switch)
        system = csc_matrix((1 / STEP + discount) * eye(2 * count) - matrix)
        right = reward.ravel("F") + value.ravel("F") / STEP
        last, value = value, splu(system).solve(right).reshape(count, 2, order="F")
        if np.max(np.abs(value - last)) < change:
            break
    return value, matrix


def stationary(matrix: csc_matrix, assets: np.ndarray) -> np.ndarray:
    """The density: the transpose times it is zero, with the first equation replaced."""
    system = matrix.T.tolil()
    system[0, :] = 0
    system[0, 0] = 1
    right = np.zeros(matrix.shape[0])
    right[0] = 0.1
    found = splu(csc_matrix(system)).solve(right).reshape(len(assets), 2, order="F")
    return found / (found.sum() * (assets[1] - assets[0]))
