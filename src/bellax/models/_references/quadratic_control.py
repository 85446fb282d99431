"""A quadratic reward of states and actions together, and a linear law, over a finite horizon.

    V_t(x) = max_u z'M z / 2 + beta E V_{t+1}(A x + B u + e),    z = (x, u),    E e = 0, E e e' = Sigma

V_t(x) = x'P_t x / 2 + d_t, with Q_zz = M + beta (A B)'P_{t+1}(A B) in blocks S, N (rows are actions) and U:

    u = -U^(-1) N x,    P_t = S - N'U^(-1) N,    d_t = beta (d_{t+1} + tr(P_{t+1} Sigma) / 2).

Source: Ljungqvist & Sargent (2018), "Recursive macroeconomic theory", 4th edition, chapter 5, with cross products.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class QuadraticControl(NamedTuple):
    """V_t(x) = x'P_t x / 2 + d_t of periods 0 to T, and u = K_t x of periods 0 to T - 1."""

    matrix: Float[np.ndarray, "t n n"]
    constant: Float[np.ndarray, "t"]
    gain: Float[np.ndarray, "u m n"]

    def value(self, period: int, x: Float[np.ndarray, "n"]) -> np.floating:
        """V at a state."""
        return 0.5 * x @ self.matrix[period] @ x + self.constant[period]


def linear_quadratic(
    reward: Float[np.ndarray, "z z"],
    law: Float[np.ndarray, "n z"],
    noise: Float[np.ndarray, "n n"],
    discount: float,
    horizon: int,
    last: Float[np.ndarray, "n n"],
) -> QuadraticControl:
    """The Riccati recursion.

    Args:
        reward: M, symmetric.
        law: (A B).
        noise: Sigma.
        discount: beta.
        horizon: T.
        last: P_T.
    """
    n = len(last)
    matrix, constant, gain = [last], [0.0], []
    for _ in range(horizon):
        both = reward + discount * law.T @ matrix[-1] @ law
        gain.append(-np.linalg.solve(both[n:, n:], both[n:, :n]))
        before = both[:n, :n] + both[n:, :n].T @ gain[-1]
        constant.append(discount * (constant[-1] + 0.5 * np.trace(matrix[-1] @ noise)))
        matrix.append(0.5 * (before + before.T))
    return QuadraticControl(np.array(matrix[::-1]), np.array(constant[::-1]), np.array(gain[::-1]))
