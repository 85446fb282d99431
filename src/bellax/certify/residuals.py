"""The Bellman residual between the nodes: T V - V with more quadrature than the solver used.

For a finite horizon V is the interpolant of V_t from its nodes, and T V the maximum of Q_t at the point itself, from
the interpolant of V_{t+1}. In a stationary model |V - V*| <= max |T V - V| / (1 - b), with b the modulus of T; with a
finite horizon |V_t - V*_t| is at most the sum of b^(k-t) max |T V_{k+1} - V_k| over the periods k from t on. Both are
estimates here: a maximum over sampled points, not over all. States that are drawn afresh have more nodes in T V than
in V. An AR1 keeps the nodes of the solver; how far its chain is from the continuous law shows in the simulated value.
"""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.maximum import Best, Optimum
from bellax.bellman.mesh import Point
from bellax.bellman.newton import Newton
from bellax.bellman.objective import Decision
from bellax.bellman.sweep import optimum_at
from bellax.certify.stage import Stage
from bellax.numerics.interpolate import is_barrier

_WIDTH = 0.1  # in u: how far from the solver's action the better one of the fine problem is looked for


class Residual(NamedTuple):
    """What was found at one point.

    Attributes:
        error: T V - V; NaN where one of them is infinite and the other is not.
        value: V between its nodes.
        stop: whether stopping is optimal.
        optimum: the solver's decision.
    """

    error: Float[Array, ""]
    value: Float[Array, ""]
    stop: Array
    optimum: Optimum


def residual(asked: Stage, point: Point, polish: bool) -> Residual:
    """The Bellman residual at one point.

    T V is taken at the solver's own action. Where that is a smooth maximum the better action of the fine problem would
    add the square of a quadrature error; candidates may be far from it.

    Args:
        polish: whether the action is improved in the fine problem before its value is taken.
    """
    plan = asked.setting.plan
    optimum = optimum_at(asked.setting.maximiser, asked.objective, point)
    combination, u = optimum.decision
    value = asked.judge(point, Decision(combination, u))
    if polish:
        start = Best(value, asked.judge.shares(point, optimum.decision), jnp.zeros(()))
        shares = replace(asked.judge, absolute=frozenset())
        value = Newton(steps=20).improve(shares, point, combination, start, _WIDTH).value
    value = jnp.where(optimum.feasible & ~is_barrier(value), value, -jnp.inf)
    stop = jnp.zeros((), bool)
    if plan.evaluate_stop is not None:
        payoff = asked.judge.payoff(point)
        stop, value = payoff >= value, jnp.maximum(payoff, value)
    stored = asked.stored(point)
    both = (value == -jnp.inf) & (stored == -jnp.inf)
    error = jnp.where(both, 0.0, value - stored)
    return Residual(jnp.where(jnp.isfinite(error), error, jnp.nan), stored, stop, optimum)


def value_error(largest: Float[np.ndarray, "k"], periods: np.ndarray, discount: float, count: int | None) -> float:
    """The estimate of |V - V*| that follows from residuals; for a finite horizon in period 0.

    Args:
        largest: largest |residual| in each sampled period.
        periods: the sampled periods, increasing.
        discount: modulus of the Bellman operator.
        count: the horizon; None where it is infinite.
    """
    if count is None:
        return float(largest.max() / (1 - discount)) if discount < 1 else float("inf")
    every = np.arange(count)
    below = np.clip(np.searchsorted(periods, every, side="right") - 1, 0, len(periods) - 1)
    above = np.clip(np.searchsorted(periods, every), 0, len(periods) - 1)
    # Between two sampled periods the larger of their residuals counts.
    return float(np.sum(discount**every * np.maximum(largest[below], largest[above])))
