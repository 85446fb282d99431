"""Finite decision processes by exact policy iteration, and replacement in continuous usage in closed form.

A finite process has rewards R(s, a) and transition probabilities Q(s, a, s'); policy iteration alternates

    v = R_sigma + beta Q_sigma v                                         (one linear solve),
    sigma(s) in argmax_a R(s, a) + beta sum over s' of Q(s, a, s') v(s'),

and stops, after finitely many rounds, at a policy that improves on no state.

Source: Puterman (1994), "Markov decision processes", section 6.4.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bellax.models._references.numbers import Numbers


class DiscreteSolution(NamedTuple):
    """Value and optimal action in every state."""

    value: Float[np.ndarray, " s"]
    policy: Int[np.ndarray, " s"]


def discrete_dp(R: Float[np.ndarray, "s a"], Q: Float[np.ndarray, "s a s"], beta: float) -> DiscreteSolution:
    """Value and policy of a finite process by exact policy iteration. v = max_a R + beta Q v.

    Args:
        R: rewards, minus infinity where an action is not available, shape (s, a).
        Q: probabilities of the next state, finite everywhere, shape (s, a, s).
        beta: discount factor in [0, 1).
    Returns:
        The value, exact to the rounding of a linear solve, and a policy that attains it.
    """
    states = np.arange(len(R))
    policy = R.argmax(axis=1)
    while True:
        value = np.linalg.solve(np.eye(len(R)) - beta * Q[states, policy], R[states, policy])
        choice_values = R + beta * Q @ value
        # An action replaces the old one only if it gains more than rounding: ties would otherwise cycle.
        gain = choice_values.max(axis=1) - choice_values[states, policy]
        better = gain > 1e-12 * (1 + np.abs(value))
        if not better.any():
            return DiscreteSolution(value, policy)
        policy = np.where(better, choice_values.argmax(axis=1), policy)


def puterman_621(discount: float) -> DiscreteSolution:
    """Two-state example of Puterman (1994), section 6.2.1, whose first state stays or leaves.

    State 0 has two actions: reward 5 and an even chance to stay, or reward 10 and a move to state 1. State 1
    has one: reward -1, for ever. So v(1) = -1 / (1-beta), and v(0) = (5 - 5.5 beta) / ((1 - beta/2) (1-beta))
    by the first action, the better one for beta >= 10/11, or 10 - beta / (1-beta) by the second.

    Args:
        discount: beta in [0, 1).
    Returns:
        Value and policy of the two states; (-8.5714286, -20) at .95.
    """
    rewards = np.array([[5.0, 10.0], [-1.0, -np.inf]])
    transitions = np.array([[[0.5, 0.5], [0.0, 1.0]], [[0.0, 1.0], [0.5, 0.5]]])
    return discrete_dp(rewards, transitions, discount)


class Replacement(NamedTuple):
    """Replace where accumulated usage is at or above the threshold; `value` is V(x)."""

    threshold: float
    rate: float
    maintenance: float
    discount: float

    def value(self, x: Numbers) -> Numbers:
        """Value before the decision at usage x: minus the expected discounted cost."""
        patience, growth = 1 - self.discount, self.rate * (1 - self.discount)
        kept = np.minimum(x, self.threshold)
        curvature = self.discount * self.maintenance / (growth * patience)
        return -self.maintenance * kept / patience + curvature * np.expm1(growth * (kept - self.threshold))


def rust_replacement(rate: float, maintenance: float, cost: float, discount: float) -> Replacement:
    """Optimal replacement of a machine with exponential wear, in closed form (with c(x) = c x).

    Timing: accumulated usage x >= 0 is seen. Keep: the cost c x is paid now and next usage is x + e, where e
    is exponential with mean 1 / lambda. Replace: the cost K + c(0) = K is paid now, the new machine has usage
    0 in this period, and next usage is e.

        V(x) = max(-c x + beta E V(x + e), -K + beta E V(e)).

    W(x) = E V(x + e) solves W' = lambda (W - V). Where the machine is kept, below the threshold g, this is
    linear, as V = -c x + beta W; above g, V is the constant V(0) - K. At g the two actions are worth the same
    and W is that constant, so W(g) = V(0) - K = -c g / (1-beta), hence

        V(x) = -c x / (1-beta) - beta c / (lambda (1-beta)^2) (1 - exp(-lambda (1-beta) (g - x))),    x <= g,
        K = c g / (1-beta) - beta c / (lambda (1-beta)^2) (1 - exp(-lambda (1-beta) g)).

    The last line determines g: its right side increases, being the integral over [0, g] of
    (1 - beta exp(-lambda (1-beta) y)) c / (1-beta).

    Args:
        rate: lambda, one over mean usage in a period.
        maintenance: c, cost of a period per unit of usage.
        cost: K, cost of a new machine net of scrap.
        discount: beta in (0, 1).
    Returns:
        The threshold g and the value as a function of usage; g is 52.86545636 at lambda = .5, c = 200, K =
        1e5 and beta = .95.
    Source: Rust (1985), "Stationary equilibrium in a market for durable assets", Econometrica 53, for the
    threshold; Rust (1996), "Numerical dynamic programming in economics", Handbook of computational
    economics 1, chapter 14.
    """
    patience, growth = 1 - discount, rate * (1 - discount)

    def excess(threshold: float) -> float:
        saved = discount / growth * -math.expm1(-growth * threshold)
        return maintenance / patience * (threshold - saved) - cost

    # The integrand is between c and c / (1-beta), so the threshold is between (1-beta) K / c and K / c.
    from scipy.optimize import brentq  # .2 s at import, which a solve of the model does not need

    threshold = brentq(excess, 0.0, cost / maintenance, xtol=1e-12, rtol=1e-15)
    return Replacement(threshold, rate, maintenance, discount)


def mccall(offers: Float[np.ndarray, " n"], probabilities: Float[np.ndarray, " n"], pay: float, beta: float) -> float:
    """Reservation wage of McCall's searcher, by enumerating which offers are accepted.

    Who accepts w has it for ever; who does not is paid c and draws again. If the k best offers are accepted, searching
    is worth r / (1-beta) with (1-beta) (r - c) = beta sum over those of p_i (w_i - r), and the best k is the optimum.

    Args:
        offers: wages w, shape (n,).
        probabilities: p, shape (n,).
        pay: c, income of a period of search.
        beta: discount factor in (0, 1).
    Returns:
        r: offers above it are accepted.
    Source: McCall (1970), "Economics of information and job search", Quarterly Journal of Economics 84.
    """
    best_first = np.argsort(offers)[::-1]
    taken = np.append(0.0, np.cumsum(probabilities[best_first]))
    earned = np.append(0.0, np.cumsum((probabilities * offers)[best_first]))
    return float(np.max(((1 - beta) * pay + beta * earned) / (1 - beta + beta * taken)))
