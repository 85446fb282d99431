"""The first-order condition of an endogenous grid: what follows from savings, with derivatives, and the inverse of
marginal utility.
"""

from dataclasses import replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from bellax.bellman.endogenous import Endogenous, Utility
from bellax.bellman.mesh import Point
from bellax.bellman.objective import Objective
from bellax.numerics import loops
from bellax.numerics.interpolate import is_barrier
from bellax.numerics.scalar import where


class Future(NamedTuple):
    """W and its first two derivatives, of one or of many savings."""

    value: Float[Array, "*n"]
    first: Float[Array, "*n"]
    second: Float[Array, "*n"]

    @property
    def sound(self) -> Bool[Array, "*n"]:
        """Whether all of them are numbers."""
        return jnp.isfinite(self.value) & jnp.isfinite(self.first) & jnp.isfinite(self.second)

    @property
    def worth(self) -> Float[Array, "*n"]:
        """W, minus infinity where it is a barrier."""
        return where(is_barrier(self.value), -jnp.inf, self.value)


@eqx.filter_custom_jvp
def future(
    savings: Float[Array, ""], spare: Array, objective: Objective, point: Point, actions: dict[str, Array], name: str
) -> Future:
    """W of savings, all else given; with derivatives that are zero where W is no number.

    Args:
        spare: savings of which it is one.
        objective: in whose graph savings are given.
        actions: all others.
        name: of savings.
    """
    ours = lambda node: isinstance(node, Endogenous)  # noqa: E731
    quick = jax.tree.map(lambda node: replace(node, quick=True) if ours(node) else node, objective, is_leaf=ours)
    return _derivatives(savings, quick, point, actions, name, sparing=True)


def _derivatives(
    savings: Array, objective: Objective, point: Point, actions: dict[str, Array], name: str, sparing: bool = False
) -> Future:
    one = jnp.ones_like(savings)

    def first(a: Array) -> tuple[Array, Array]:
        return jax.jvp(lambda a: objective.future(point, {**actions, name: a}, sparing), (a,), (one,))

    (value, slope), (_, second) = jax.jvp(first, (savings,), (one,))
    return Future(value, slope, second)


@future.def_jvp
def _future_jvp(primals: tuple, tangents: tuple) -> tuple[Future, Future]:
    savings, spare, *rest = primals
    found = future(*primals)
    sound = found.sound & ~is_barrier(found.value)
    held = where(sound, savings, spare)
    _, moved = eqx.filter_jvp(_derivatives, (held, *rest), (tangents[0], *tangents[2:]))
    zero = jnp.zeros_like(found.value)
    return found, Future(*(zero if t is None else where(sound, t, 0.0) for t in moved))


@eqx.filter_custom_jvp
def inverse(marginal: Float[Array, ""], utility: Utility, floor: Float[Array, ""]) -> Float[Array, ""]:
    """c above `floor` with u'(c) = marginal; NaN where there is none that is found.

    Newton's method on log u' as a function of log c, a straight line where relative risk aversion is constant.
    """
    target = jnp.log(marginal)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, _, count = state
        c = jnp.exp(x)
        at, curvature = utility.marginal(floor + c), utility.curvature(floor + c)
        gap = jnp.log(at) - target
        move = jnp.clip(-gap * at / (curvature * c), -4.0, 4.0)
        # where marginal utility is not positive there is less to consume
        move = jnp.where(at > 0, move, -1.0)
        return x + move, jnp.where(at > 0, jnp.abs(move), 1.0), count + 1

    tolerance = 16 * float(jnp.finfo(marginal.dtype).eps)
    done = lambda state: ~(state[1] > tolerance) | (state[2] > 200)  # noqa: E731
    start = (jnp.zeros_like(marginal), jnp.ones_like(marginal), jnp.zeros((), jnp.int32))
    x, move, _ = loops.until(done, step, start)
    return jnp.where((marginal > 0) & (move <= max(1e-9, tolerance)), floor + jnp.exp(x), jnp.nan)


@inverse.def_jvp
def _inverse_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    marginal, utility, floor = primals
    t_marginal, t_utility, _ = tangents
    c = inverse(marginal, utility, floor)
    held = jnp.where(jnp.isfinite(c), c, floor + 1.0)
    _, at = eqx.filter_jvp(lambda utility: utility.marginal(held), (utility,), (t_utility,))
    change = jnp.zeros_like(c) if t_marginal is None else t_marginal
    change = change if at is None else change - at
    return c, change / utility.curvature(held)
