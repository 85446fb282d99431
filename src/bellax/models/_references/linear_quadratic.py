"""The linear regulator with a quadratic reward, discounted and with noise.

    V_t(x) = max_u -x'Q x - u'R u + beta E V_{t+1}(A x + B u + e),    V_T(x) = -x'P_T x,

with E e = 0 and E e e' = Sigma. The value stays quadratic, V_t(x) = -x'P_t x - d_t, and the best control
linear, u = -F_t x:

    F_t = (R + beta B'P B)^(-1) beta B'P A,
    P_t = Q + beta A'P A - beta A'P B F_t,
    d_t = beta (d + tr(P Sigma)),

where P and d are those of t + 1. The stationary P solves the algebraic Riccati equation of sqrt(beta) A and
sqrt(beta) B.

Source: Ljungqvist & Sargent (2018), "Recursive macroeconomic theory", 4th edition, chapter 5.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class LinearQuadratic(NamedTuple):
    """V(x) = -x'P x - d and u = -F x; with a leading axis of periods if there is a last one."""

    value_matrix: Float[np.ndarray, "*t n n"]  # T + 1 of them: the last is the terminal one
    constant: Float[np.ndarray, "*t"]
    gain: Float[np.ndarray, "*u m n"]  # T of them


def riccati(  # eight arguments: the letters of the equation, and each is data
    A: Float[np.ndarray, "n n"],
    B: Float[np.ndarray, "n m"],
    Q: Float[np.ndarray, "n n"],
    R: Float[np.ndarray, "m m"],
    noise_covariance: Float[np.ndarray, "n n"],
    discount: float,
    horizon: int | None = None,
    terminal: Float[np.ndarray, "n n"] | None = None,
) -> LinearQuadratic:
    """Value and gains of the linear regulator, by recursion or, without a horizon, stationary.

    Args:
        A: law of the state, shape (n, n).
        B: effect of the control on the next state, shape (n, m).
        Q: cost of the state, symmetric, shape (n, n).
        R: cost of the control, symmetric, shape (m, m).
        noise_covariance: Sigma, shape (n, n).
        discount: beta; below 1 for the stationary problem.
        horizon: T, for decisions in periods 0..T-1; none for the stationary problem.
        terminal: P_T, shape (n, n); zero if not given. Only with a horizon.
    Returns:
        P and d of periods 0..T and F of periods 0..T-1, or the stationary P, d and F.
    Raises:
        ValueError: if `terminal` is given without a horizon.
    """
    if horizon is not None:
        last = np.zeros_like(A) if terminal is None else terminal
        return _by_period(A, B, Q, R, noise_covariance, discount, horizon, last)
    if terminal is not None:
        raise ValueError("terminal was given without a horizon: the stationary value does not depend on it")
    from scipy.linalg import solve_discrete_are  # .1 s at import, which a solve of the model does not need

    P = solve_discrete_are(math.sqrt(discount) * A, math.sqrt(discount) * B, Q, R)
    constant = discount * np.trace(P @ noise_covariance) / (1 - discount)
    return LinearQuadratic(P, np.array(constant), _gain(A, B, R, discount, P))


def _by_period(
    A: np.ndarray,
    B: np.ndarray,
    Q: np.ndarray,
    R: np.ndarray,
    noise_covariance: np.ndarray,
    discount: float,
    horizon: int,
    terminal: np.ndarray,
) -> LinearQuadratic:
    value_matrix, constant, gain = [terminal], [0.0], []
    for _ in range(horizon):
        P = value_matrix[-1]
        F = _gain(A, B, R, discount, P)
        before = Q + discount * A.T @ P @ (A - B @ F)
        value_matrix.append(0.5 * (before + before.T))  # rounding breaks the symmetry
        constant.append(discount * (constant[-1] + np.trace(P @ noise_covariance)))
        gain.append(F)
    return LinearQuadratic(np.array(value_matrix[::-1]), np.array(constant[::-1]), np.array(gain[::-1]))


def _gain(A: np.ndarray, B: np.ndarray, R: np.ndarray, discount: float, P: np.ndarray) -> np.ndarray:
    """F, where P is next period's value matrix."""
    return np.linalg.solve(R + discount * B.T @ P @ B, discount * B.T @ P @ A)
