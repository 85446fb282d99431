"""Many quadratic programmes with one Hessian and one matrix of constraints: bounds from above on their values.

    max_u -u'M u / 2 + q'u  subject to  G u <= b    <=    (q - G'y)' M^-1 (q - G'y) / 2 + b'y    for every y >= 0

so that the right side is a bound wherever a search for the least one stops. The search is by the method of multipliers
with one factor for all, split as y = z with z >= 0.

Source: Boyd, Parikh, Chu, Peleato & Eckstein (2011), "Distributed optimization and statistical learning via the
alternating direction method of multipliers".
"""

import numpy as np
from scipy import linalg

_TRIAL = 24  # programmes on which the weight of the penalty is chosen
_WEIGHTS = (0.1, 1.0, 10.0)  # of the mean of the diagonal
_RELAXED = 1.6


class Programme:
    """What the programmes have in common.

    Args:
        hessian: M, symmetric and positive definite, shape (u, u).
        rows: G, shape (r, u).
    Raises:
        numpy.linalg.LinAlgError: where M is not positive definite.
    """

    def __init__(self, hessian: np.ndarray, rows: np.ndarray) -> None:
        self.rows = rows
        self.factor = linalg.cho_factor(hessian)
        self.through = linalg.cho_solve(self.factor, rows.T)  # M^-1 G'
        self.dual = rows @ self.through
        self.weight: float | None = None  # found once

    def bound(self, linear: np.ndarray, limits: np.ndarray, most: int) -> np.ndarray:
        """Above the value of each programme, shape (p,).

        Args:
            linear: q, shape (p, u).
            limits: b, shape (p, r).
            most: steps of the search.
        """
        free = 0.5 * np.einsum("pu,pu->p", linear, linalg.cho_solve(self.factor, linear.T).T)
        if not len(self.rows):
            return free
        right = linear @ self.through - limits
        if self.weight is None:
            self.weight = self._weight(right[:_TRIAL], max(1, most // 3))
        best = self._search(right, self.weight, most)
        return free + np.minimum(self._value(right, best), 0.0)

    def _weight(self, right: np.ndarray, steps: int) -> float:
        """The weight of the penalty with which a few steps lead farthest."""
        scale = max(float(np.mean(np.diag(self.dual))), 1e-300)
        tried = [self._value(right, self._search(right, scale * weight, steps)).mean() for weight in _WEIGHTS]
        return scale * _WEIGHTS[int(np.argmin(tried))]

    def _value(self, right: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
        """y'G M^-1 G'y / 2 - y'right: by how much multipliers move the bound."""
        return np.einsum("pr,pr->p", multipliers, 0.5 * multipliers @ self.dual - right)

    def _search(self, right: np.ndarray, weight: float, steps: int) -> np.ndarray:
        """Multipliers that are not negative, shape (p, r)."""
        count = len(self.rows)
        inverse = linalg.inv(self.dual + weight * np.eye(count))
        held, scaled = np.zeros_like(right), np.zeros_like(right)
        for _ in range(steps):
            free = (right + weight * (held - scaled)) @ inverse
            mixed = _RELAXED * free + (1 - _RELAXED) * held
            held = np.maximum(mixed + scaled, 0.0)
            scaled = scaled + mixed - held
        return held
