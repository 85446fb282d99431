"""The ascent of `PolicyGradient`: Adam on fresh paths in rounds, then L-BFGS on one set of them.

A step evaluates the return and its gradient once, at the weights or at the trial of L-BFGS. Between rounds what a state
after the last period is worth, where there is no end, is found anew.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.learning import lbfgs
from bellax.learning.adam import Adam
from bellax.learning.lbfgs import Descent
from bellax.learning.training import Method

_CLIP = 10.0  # largest norm of a gradient of Adam's, in standard deviations of the return
_WINDOW = 50  # steps over which Adam's returns are averaged before they are compared
_FLAT, _FLATS = 1e-4, 3  # a gain from window to window that is none, and so many of them in a row
_CALM, _CALMS = 1e-12, 8  # the same of steps of L-BFGS


class Climb(NamedTuple):
    """A running ascent.

    Attributes:
        weights: of the policy.
        critic: of what a state after the last period is worth; empty where the model says it.
        moments: of Adam.
        descent: of L-BFGS.
        visited: states where paths begin, besides those that a step draws.
        key: of the draws.
        round, steps, total: which round, steps in it, and steps in all.
        loss: the last one, minus the return in standard deviations.
        mean, best: of the running window, and of the best one before.
        calm: how often in a row there was no gain.
        gain: of the last steps, a running mean.
        fault: 0; 1 where the return was no number, 2 where its gradient was none.
    """

    weights: Array
    critic: Array
    moments: Any
    descent: Descent
    visited: Any
    key: Array
    round: Array
    steps: Array
    total: Array
    loss: Array
    mean: Array
    best: Array
    calm: Array
    gain: Array
    fault: Array


class Plans(NamedTuple):
    """Budgets: rounds of Adam and steps of each, and the same of L-BFGS."""

    rounds: int
    budget: int
    finishes: int
    finish: int


class Ascent(Method):
    """The steps; made inside a compiled program.

    Args:
        plans: budgets.
        rate: of Adam, at first.
        slope: of weights and a state, the loss and its gradient there.
        renew: a state with what is made anew between rounds.
    """

    def __init__(
        self,
        plans: Plans,
        rate: float,
        slope: Callable[[Array, Climb], tuple[Array, Array]],
        renew: Callable[[Climb], Climb],
    ) -> None:
        import optax

        self.plans, self.slope, self.renew = plans, slope, renew
        steps = max(plans.rounds * plans.budget, 1)
        self.adam = Adam(optax.cosine_decay_schedule(rate, steps, 0.01), _CLIP)

    def init(self, weights: Array, critic: Array, visited: Any, key: Array) -> Climb:
        """A first state."""
        zero, none = jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf)
        return Climb(
            weights, critic, self.adam.init(weights), lbfgs.begin(weights), visited, key, zero, zero, zero, none,
            jnp.zeros(()), none, zero, none, zero,
        )  # fmt: skip

    def done(self, state: Climb) -> Array:
        return (state.round >= self.plans.rounds + self.plans.finishes) | (state.fault > 0)

    def told(self, state: Climb) -> tuple[Array, Array]:
        return state.total, state.loss

    def fresh(self, state: Climb) -> Array:
        """Whether this is a step of Adam's."""
        return state.round < self.plans.rounds

    def step(self, state: Climb) -> Climb:
        at = jnp.where(self.fresh(state), state.weights, state.descent.trial)
        loss, slope = self.slope(at, state)
        following = lax.cond(self.fresh(state), self._by_adam, self._by_memory, state, loss, slope)
        following = following._replace(steps=state.steps + 1, total=state.total + 1)
        budget = jnp.where(self.fresh(state), self.plans.budget, self.plans.finish)
        calm = jnp.where(self.fresh(state), following.calm >= _FLATS, following.calm >= _CALMS)
        over = calm | (following.steps >= budget) | following.descent.stuck
        settled = calm & ~self.fresh(state)  # the running mean remembers the gains of the beginning
        following = following._replace(gain=jnp.where(settled, _CALM, following.gain))
        return lax.cond(over & (following.fault == 0), self._next, lambda state: state, following)

    def _by_adam(self, state: Climb, loss: Array, slope: Array) -> Climb:
        weights, moments = self.adam.step(state.weights, slope, state.moments)
        fine = jnp.isfinite(loss) & jnp.all(jnp.isfinite(slope))
        fault = jnp.where(fine, 0, jnp.where(jnp.isfinite(loss), 2, 1)).astype(jnp.int32)
        place = state.steps % _WINDOW
        mean = jnp.where(place == 0, loss, state.mean + (loss - state.mean) / (place + 1).astype(loss.dtype))
        full = place == _WINDOW - 1
        gain = state.best - mean
        calm = jnp.where(full, jnp.where(gain > _FLAT, 0, state.calm + 1), state.calm).astype(jnp.int32)
        keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, old)  # noqa: E731
        return state._replace(
            weights=keep(weights, state.weights),
            moments=keep(moments, state.moments),
            loss=loss,
            mean=mean,
            best=jnp.where(full, jnp.minimum(mean, state.best), state.best),
            calm=calm,
            gain=jnp.where(full, gain / _WINDOW, state.gain),
            fault=fault,
        )

    def _by_memory(self, state: Climb, loss: Array, slope: Array) -> Climb:
        before = state.descent
        descent = lbfgs.step(before, loss, slope)
        first = ~jnp.isfinite(before.value)
        fine = jnp.isfinite(loss) & jnp.all(jnp.isfinite(slope))
        fault = jnp.where(first & ~fine, jnp.where(jnp.isfinite(loss), 2, 1), 0).astype(jnp.int32)
        gain = jnp.where(first, jnp.inf, before.value - descent.value)
        moved = jnp.any(descent.point != before.point)  # a trial that was too long says nothing of a plateau
        calm = jnp.where(gain > _CALM, 0, state.calm + moved.astype(jnp.int32)).astype(jnp.int32)
        kept = jnp.where(jnp.isfinite(state.gain), state.gain, 0.0)
        running = jnp.where(first, jnp.inf, jnp.where(jnp.isfinite(state.gain), 0.9 * kept + 0.1 * gain, gain))
        return state._replace(
            weights=jnp.where(jnp.isfinite(descent.value), descent.point, state.weights),
            descent=descent,
            loss=jnp.where(jnp.isfinite(descent.value), descent.value, loss),
            calm=calm,
            gain=running,
            fault=fault,
        )

    def _next(self, state: Climb) -> Climb:
        """The next round. Of the last one nothing is made anew, so that who looks finds what it ended with."""
        last = state.round + 1 >= self.plans.rounds + self.plans.finishes
        renewed = lax.cond(last, lambda state: state, self.renew, state)
        zero = jnp.zeros((), jnp.int32)
        return renewed._replace(
            descent=lbfgs.begin(renewed.weights),
            round=state.round + 1,
            steps=zero,
            best=jnp.asarray(jnp.inf),
            mean=jnp.zeros(()),
            calm=zero,
        )
