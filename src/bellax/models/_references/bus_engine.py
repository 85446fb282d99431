"""Rust's replacement of bus engines by his nested fixed point: expected values, choice probabilities, and the score.

With mileage x in 0, ..., n-1, of which a month adds j with probability p_j, expected values W(x) = E[V(x + j)] obey

    W(x) = sum over j of p_j log(exp v(x + j, keep) + exp v(x + j, replace)),
    v(x, keep) = -.001 c x + beta W(x),    v(x, replace) = -R + beta W(0),

where x + j stops at n-1. Newton's method on it converges quadratically (Rust's "NFXP": Newton-Kantorovich).

Source: Rust (1987), "Optimal replacement of GMC bus engines: an empirical model of Harold Zurcher", Econometrica 55.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class BusEngine(NamedTuple):
    """What a bus of every mileage is worth, and the probability that its engine is replaced; how both move.

    Attributes:
        value: V, with taste shocks of mean zero and scale one, shape (x,).
        choice_values: of keeping and of replacing, shape (x, 2).
        probabilities: likewise.
        moved: derivatives of the choice values with respect to R and c, shape (2, x, 2).
    """

    value: Float[np.ndarray, " x"]
    choice_values: Float[np.ndarray, "x 2"]
    probabilities: Float[np.ndarray, "x 2"]
    moved: Float[np.ndarray, "2 x 2"]

    def log_likelihood(self, mileage: Int[np.ndarray, " n"], replaced: Bool[np.ndarray, " n"]) -> float:
        """Of what was done in some months."""
        return float(self._logs()[mileage, replaced.astype(int)].sum())

    def score(self, mileage: Int[np.ndarray, " n"], replaced: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "2"]:
        """The derivative of the log likelihood with respect to R and c: d log P = dv - sum of P dv."""
        moved = self.moved - (self.moved * self.probabilities).sum(axis=2, keepdims=True)
        return moved[:, mileage, replaced.astype(int)].sum(axis=1)

    def _logs(self) -> Float[np.ndarray, "x 2"]:
        return self.choice_values - np.logaddexp.reduce(self.choice_values, axis=1)[:, None]


def bus_engine(
    replacement_cost: float, maintenance: float, steps: Float[np.ndarray, " j"], discount: float, states: int = 90
) -> BusEngine:
    """The fixed point of expected values, by Newton's method, and its derivatives.

    Args:
        replacement_cost: R.
        maintenance: c, of a thousand steps of mileage.
        steps: p.
        discount: beta in [0, 1).
        states: n.
    """
    mileage, everyone = np.arange(states), np.eye(states)
    moves = np.zeros((states, states))
    for step, probability in enumerate(steps):
        moves[mileage, np.minimum(mileage + step, states - 1)] += probability
    of_new = np.zeros((states, states))
    of_new[:, 0] = 1.0  # the expected value of a new engine

    def choices(expected: Float[np.ndarray, " x"]) -> tuple[np.ndarray, np.ndarray]:
        kept = -0.001 * maintenance * mileage + discount * expected
        replaced = np.full(states, -replacement_cost + discount * expected[0])
        values = np.stack([kept, replaced], axis=1)
        return values, np.exp(values - np.logaddexp.reduce(values, axis=1)[:, None])

    expected = np.zeros(states)
    for _ in range(50):
        values, shares = choices(expected)
        slope = discount * moves @ (shares[:, :1] * everyone + shares[:, 1:] * of_new)
        change = np.linalg.solve(everyone - slope, moves @ np.logaddexp.reduce(values, axis=1) - expected)
        expected = expected + change
        if np.abs(change).max() <= 1e-13 * np.abs(expected).max():
            break
    values, shares = choices(expected)
    slope = discount * moves @ (shares[:, :1] * everyone + shares[:, 1:] * of_new)
    direct = np.zeros((2, states, 2))
    direct[0, :, 1], direct[1, :, 0] = -1.0, -0.001 * mileage
    by_parameter = np.linalg.solve(everyone - slope, moves @ (shares * direct).sum(axis=2).T).T
    moved = direct + discount * np.stack([by_parameter, np.repeat(by_parameter[:, :1], states, axis=1)], axis=2)
    return BusEngine(np.logaddexp.reduce(values, axis=1), values, shares, moved)
