"""Rules that do not know V: each holds on to a share of the way between the bounds of every action, and to a choice; it
may change to others once."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.setting import Setting, Settings
from bellax.certify.compared import parts
from bellax.problem.period import by_action, combinations
from bellax.problem.problem import Arguments
from bellax.solution.policy import Chosen, Policy, Queried
from bellax.solution.regimes import QueriedRegimes, RegimeSolution
from bellax.solution.solution import Solution

_RULES = 16
_EARLY = 40  # periods in which rules change


class Held(Policy):
    """A rule that holds on to a share of the way between the bounds of every action, and to a choice.

    Attributes:
        shares: before and after it changes, shape (2, m); NaN are drawn anew in every period, the same for all.
        choice: the combination of discrete actions, shape (2,); -1 is drawn anew.
        turn: the period in which it changes.
        final: V after the last decision, on its mesh; None for an infinite horizon.
    """

    arguments: Arguments
    shares: Array
    choice: Array
    turn: Array
    final: Value | None
    numerics: Discretisation = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        """The actions move with their bounds."""
        return True

    @property
    def last(self) -> Value | None:
        """V after the last decision."""
        return self.final

    def at(self, period: Any) -> Callable[[Mapping[str, Array]], Chosen]:
        """What is done in a period; the value is NaN where that is not feasible."""
        plan, today = self.numerics.plan, self.numerics.problem.period(self.arguments, period)
        many = len(combinations(plan))
        drawn = jax.random.uniform(jax.random.fold_in(jax.random.key(0), period), (1 + self.shares.shape[1],))
        now = jnp.where(period >= self.turn, 1, 0)
        shares = self.shares[now]
        own = by_action(plan, jnp.where(jnp.isnan(shares), drawn[1:], shares))
        choice = jnp.where(self.choice[now] < 0, (drawn[0] * many).astype(jnp.int32), self.choice[now])

        def act(name: str, lower: Array, upper: Array) -> tuple[Array, Array]:
            # of an action without a bound what is close to the other one, or to zero
            low = jnp.where(jnp.isfinite(lower), lower, jnp.where(jnp.isfinite(upper), upper - 1.0, -1.0))
            high = jnp.where(jnp.isfinite(upper), upper, low + jnp.where(jnp.isfinite(lower), 1.0, 2.0))
            return (1 - own[name]) * low + own[name] * high, jnp.all(lower <= upper)

        def decide(states: Mapping[str, Array]) -> Chosen:
            actions, allowed = today.resolved(states, choice, act)
            fits = today.feasible(states, actions)
            for each in allowed.values():
                fits = fits & each
            none = jnp.zeros(many)
            return Chosen(jnp.where(fits, 0.0, jnp.nan), actions, jnp.zeros((), bool), none, none)

        return decide


class Follower(Queried):
    """Who holds on to a rule, in a model of one regime or in one of several."""

    rule: Held
    setting: Setting = eqx.field(static=True)

    @property
    def pointwise(self) -> Policy:
        """The rule."""
        return self.rule

    def check_one(self) -> None:
        """There is one."""


class Followers(QueriedRegimes):
    """The same in a model of several regimes.

    Attributes:
        rules: of each regime in which something is decided.
    """

    arguments: dict[str, Arguments]
    rules: dict[str, Held]
    settings: Settings = eqx.field(static=True)

    def of(self, regime: str) -> Follower:
        """The rule of one regime."""
        return Follower(rule=self.rules[regime], setting=self.settings.regimes[regime])

    def check_one(self) -> None:
        """There is one."""


def rules(solution: Any, periods: int) -> list[Any]:
    """Some rules, for one regime or for all of them; half of them change, in one of the first periods.

    Args:
        periods: how many are looked at.
    """
    drawn = np.random.default_rng(0)
    found: list[Any] = []
    for k in range(_RULES):
        turn = periods if k < _RULES // 2 else int(min(periods, _EARLY) * (0.25, 0.5, 0.75)[k % 3])
        held = {name: _held(own, k, turn, drawn) for name, own in parts(solution).items()}
        if isinstance(solution, RegimeSolution):
            found.append(Followers(arguments=solution.arguments, rules=held, settings=solution.settings))
        else:
            found.append(Follower(rule=held[""], setting=solution.setting))
    return found


def _held(own: Solution, k: int, turn: int, drawn: np.random.Generator) -> Held:
    """The rule of that number: of the first ones all actions are at one end, in the middle, or drawn."""
    plan, finite = own.setting.plan, own.setting.problem.finite
    numbers, many = len(plan.coordinates), len(combinations(plan))
    shares = drawn.choice([0.0, 0.5, 1.0, math.nan], (2, numbers), p=(0.35, 0.15, 0.35, 0.15))
    choice = drawn.integers(0, many, 2)
    if k < 4:
        shares[:], choice[:] = ((1.0, many - 1), (0.0, 0), (0.5, 0), (math.nan, -1))[k]
    return Held(
        arguments=own.arguments,
        shares=jnp.asarray(shares, float),
        choice=jnp.asarray(choice, jnp.int32),
        turn=jnp.asarray(turn, jnp.int32),
        final=jax.tree.map(lambda leaf: leaf[-1], own.own) if finite else None,
        numerics=own.setting.numerics,
    )
