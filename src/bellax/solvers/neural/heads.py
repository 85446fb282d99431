"""What a net says becomes what may be done: outputs as actions that keep to their bounds by construction.

An action with two bounds is a share of the way between them, one with a single bound lies beyond it, and one without is
the output itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.errors import ModelError
from bellax.numerics.shares import Logistic, Shares
from bellax.problem.period import Period, by_action, in_a_row
from bellax.problem.plan import Plan
from bellax.solvers.neural.stated import Stated, kept, stated

_EDGE = 1e-6  # how near a share comes to a bound where an output is sought for it


class Acted(NamedTuple):
    """What is done at one state.

    Attributes:
        actions: by name.
        lower, upper: bounds of the continuous actions, one number after the other, shape (m,).
        share: of the way between them; of those without two bounds 1/2.
        beyond: see `Shares.beyond`.
    """

    actions: dict[str, Array]
    lower: Float[Array, "m"]
    upper: Float[Array, "m"]
    share: Float[Array, "m"]
    beyond: Float[Array, "m"]


@dataclass(frozen=True)
class Head:
    """Outputs of a net as the continuous actions of a model. Static.

    Attributes:
        plan: of the model.
        shares: of the actions with two bounds, by name; `Logistic` where none is given.
        own: functions that say what an output means, by action, see stated.py.
    """

    plan: Plan
    shares: tuple[tuple[str, Shares], ...] = ()
    own: tuple[tuple[str, Stated], ...] = ()

    @property
    def size(self) -> int:
        """How many outputs it takes."""
        return len(self.plan.coordinates)

    @property
    def binds(self) -> bool:
        """Whether an action may be at a bound."""
        return any(shares.binding for _, shares in self.shares)

    @property
    def stated(self) -> list[bool]:
        """Of every number of the actions, whether what its output means is a function of the user's."""
        own = dict(self.own)
        return [name in own for name, space in self.plan.controls.items() for _ in range(space.size)]

    def of(self, name: str) -> Shares:
        """How outputs become shares of one action."""
        return dict(self.shares).get(name, Logistic())

    def act(self, period: Period, states: Mapping[str, Array], outputs: Float[Array, "m"], combination: Any = ()):
        """What is done.

        Args:
            combination: of the discrete actions, as `Period.resolved` takes it.
        """
        own, functions = by_action(self.plan, outputs), dict(self.own)

        def one(name: str, lower: Array, upper: Array) -> tuple[Array, tuple[Array, ...]]:
            shares, x = self.of(name), own[name]
            if name in functions:
                raw = stated(name, functions[name], x, period, states)
                action, beyond = kept(raw, lower, upper)
                return action, (lower, upper, jnp.full(x.shape, 0.5), beyond)
            below, above = jnp.isfinite(lower), jnp.isfinite(upper)
            low, high = jnp.where(below, lower, 0.0), jnp.where(above, upper, 0.0)
            share = shares.share(x)
            inside = (1 - share) * low + share * high  # both bounds are hit exactly
            aside = jnp.where(below, low + jax.nn.softplus(x), high - jax.nn.softplus(-x))
            action = jnp.where(below & above, inside, jnp.where(below | above, aside, x))
            both = below & above
            return action, (lower, upper, jnp.where(both, share, 0.5), jnp.where(both, shares.beyond(x), 0.0))

        actions, beside = period.resolved(states, combination, one)
        rows = [in_a_row({name: found[k] for name, found in beside.items()}) for k in range(4)]
        return Acted(actions, *rows)

    def outputs(self, period: Period, states: Mapping[str, Array], actions: Mapping[str, Array], combination: Any = ()):
        """Outputs for given actions, shape (m,): the inverse of `act`, up to what is nearest to a bound.

        Raises:
            ModelError: if what an output means is a function of the user's.
        """
        if self.own:
            raise ModelError(
                f"warm_start= gives actions, and what an output means for {self.own[0][0]!r} is a function, whose "
                "inverse nobody knows. Begin with what the function says of an output of zero, or leave outputs= out."
            )

        def one(name: str, lower: Array, upper: Array) -> tuple[Array, Array]:
            action, shares = actions[name], self.of(name)
            below, above = jnp.isfinite(lower), jnp.isfinite(upper)
            both = below & above
            low, high = jnp.where(below, lower, 0.0), jnp.where(above, upper, 1.0)
            x = shares.output(jnp.where(both, (action - low) / jnp.where(both, high - low, 1.0), 0.5))
            aside = jnp.where(below, _unsoft(action - low), -_unsoft(high - action))
            return action, jnp.where(both, x, jnp.where(below | above, aside, action))

        _, found = period.resolved(states, combination, one)
        return in_a_row(found)


def _unsoft(y: Array) -> Array:
    """x with softplus(x) = y."""
    y = jnp.maximum(y, _EDGE)
    return y + jnp.log(-jnp.expm1(-y))


def check_shares(plan: Plan, given: Mapping[str, Any]) -> tuple[tuple[str, Shares], ...]:
    """What a solver was given as `shares=`, checked."""
    for name, shares in given.items():
        if name not in plan.controls:
            raise ModelError(f"shares: {name!r} is no continuous action; there are {', '.join(plan.controls)}.")
        if not isinstance(shares, Shares):
            raise ModelError(f"shares: {name!r} is {shares!r}; give bx.shares.Logistic() or bx.shares.Clipped().")
    return tuple(given.items())
