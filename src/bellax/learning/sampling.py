"""Points at which equations are asked to hold: low-discrepancy sequences, whose dimensions are independent.

Points whose dimensions are drawn with the same key lie on a diagonal, and an equation that holds there says nothing of
the rest: `dependence` finds it.
"""

import numpy as np


def points(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Points of the unit cube, a scrambled Sobol' sequence, shape (count, dimensions)."""
    from scipy.stats import qmc

    if dimensions == 0:
        return np.zeros((count, 0))
    power = max(int(np.ceil(np.log2(max(count, 1)))), 0)
    # numbers exactly at an edge are those of the edge's own conditions
    found = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed)).random_base2(power)[:count]
    return np.clip(found, 1e-9, 1 - 1e-9)


def edges(numbers: int, sample: np.ndarray, each: int = 8) -> np.ndarray:
    """A sample, and after it some of its points moved to each end of each of the first dimensions.

    Args:
        numbers: of dimensions that have ends.
        sample: shape (n, d).
        each: points at an end.
    """
    found = [sample]
    for place in range(numbers):
        for end in (1e-9, 1 - 1e-9):
            moved = sample[:each].copy()
            moved[:, place] = end
            found.append(moved)
    return np.concatenate(found)


def dependence(sample: np.ndarray) -> float:
    """The largest rank correlation of two dimensions of a sample, without its sign; zero of one dimension.

    Args:
        sample: shape (n, d).
    """
    if sample.shape[1] < 2 or sample.shape[0] < 2:
        return 0.0
    ranks = np.argsort(np.argsort(sample, axis=0), axis=0).astype(float)
    correlation = np.abs(np.corrcoef(ranks.T)) - np.eye(sample.shape[1])
    return float(np.max(np.nan_to_num(correlation, nan=1.0)))
