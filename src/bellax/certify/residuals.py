"""The Bellman residual between the nodes: T V - V with more quadrature than the solver used.

For a finite horizon V is the interpolant of V_t from its nodes, and T V the maximum of Q_t at the point itself, from
the interpolant of V_{t+1}. In a stationary model |V - V*| <= max |T V - V| / (1 - b), with b the modulus of T; with a
finite horizon |V_t - V*_t| is at most the sum of b^(k-t) max |T V_{k+1} - V_k| over the periods k from t on. Both are
estimates here: a maximum over sampled points, not over all. States that are drawn afresh have more nodes in T V than
in V. An AR1 keeps the nodes of the solver; how far its chain is from the continuous law shows in the simulated value.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.bellman.decided import each, followed
from bellax.bellman.maximisers.maximum import Optimum, guarded
from bellax.bellman.mesh import Point
from bellax.bellman.taste import chosen, expected
from bellax.certify.scan import best
from bellax.certify.stage import Stage
from bellax.numerics.interpolate import is_barrier


class Residual(NamedTuple):
    """What was found at one point.

    Attributes:
        error: T V - V; NaN where one of them is infinite and the other is not.
        missed: by how much T V is larger than the value of what is done: what the solver's maximiser
            missed, which is in the error, or what a rule loses, which is not, since V is the value of the rule.
        value: V between its nodes.
        stop: whether it is stopped.
    """

    error: Float[Array, ""]
    missed: Float[Array, ""]
    value: Float[Array, ""]
    stop: Array


def residual(asked: Stage, point: Point, optimum: Optimum, shift: Float[Array, ""]) -> Residual:
    """The Bellman residual at one point.

    T V is a maximum over a denser scan of every action and discrete alternative than the solver's: what its maximiser
    missed is in it.

    Args:
        optimum: what the solver's maximiser found.
        shift: by which the scan is moved here.
    """
    plan, period = asked.numerics.plan, asked.judge.period
    decisions, probabilities = followed(asked.judge, point, optimum)
    each_own = each(lambda one: guarded(asked.judge, point, one), decisions)
    every = best(asked.judge, point, decisions, each_own, shift)
    value = jnp.max(every) if plan.taste_shocks is None else chosen(period, every).value
    own = each_own[0] if each_own.shape[0] == 1 else expected(period, each_own, probabilities)
    own = jnp.where(is_barrier(own), -jnp.inf, own)
    missed = jnp.where(optimum.feasible & jnp.isfinite(own), value - own, 0.0)
    value = jnp.where(~is_barrier(value), value, -jnp.inf)
    stop = jnp.zeros((), bool)
    if asked.numerics.follows:
        return _of_rule(asked, point, optimum, own, value)
    if plan.evaluate_stop is not None:
        payoff = asked.judge.period.payoff(point.values)
        stop, missed = payoff >= value, jnp.where(payoff >= value, 0.0, missed)
        value = jnp.maximum(payoff, value)
    stored = asked.stored(point)
    both = (value == -jnp.inf) & (stored == -jnp.inf)
    error = jnp.where(both, 0.0, value - stored)
    return Residual(jnp.where(jnp.isfinite(error), error, jnp.nan), missed, stored, stop)


def _of_rule(asked: Stage, point: Point, optimum: Optimum, own: Array, best: Array) -> Residual:
    """Residual and loss of a rule: (T_rule V - V), and T V - T_rule V.

    Args:
        own: Q of the action of the rule.
        best: the largest Q.
    """
    stop = jnp.zeros((), bool)
    if optimum.stop is not None:
        payoff = asked.judge.period.payoff(point.values)
        stop, own, best = optimum.stop, jnp.where(optimum.stop, payoff, own), jnp.maximum(payoff, best)
    stored = asked.stored(point)
    both = (own == -jnp.inf) & (stored == -jnp.inf)
    error = jnp.where(both, 0.0, own - stored)
    return Residual(jnp.where(jnp.isfinite(error), error, jnp.nan), best - own, stored, stop)


def value_error(largest: Float[np.ndarray, "k"], periods: np.ndarray, discount: float, count: int | None) -> float:
    """The estimate of |V - V*| that follows from residuals; for a finite horizon in period 0.

    Args:
        largest: largest |residual| in each sampled period.
        periods: the sampled periods, increasing.
        discount: modulus of the Bellman operator.
        count: the horizon; None where it is infinite.
    """
    if count is None:
        if not largest.any():
            return 0.0
        return float(largest.max() / (1 - discount)) if discount < 1 else float("inf")
    every = np.arange(count)
    below = np.clip(np.searchsorted(periods, every, side="right") - 1, 0, len(periods) - 1)
    above = np.clip(np.searchsorted(periods, every), 0, len(periods) - 1)
    # Between two sampled periods the larger of their residuals counts.
    return float(np.sum(discount**every * np.maximum(largest[below], largest[above])))
