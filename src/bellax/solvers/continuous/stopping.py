"""Where one stops: V = max(payoff, V of going on), Howard's method with one more action, and borders between nodes.

A node next to one that stops may reach the border before its neighbour: its arm ends between the two, at the payoff
there, and of all such places it takes the best, which is smooth pasting. So V is of second order in the step, and the
border is known better than to a node. Arms of unequal length: Shortley & Weller (1938).

A border that is drawn too tight moves by one node a step, one that is too wide by many: so the first steps widen it.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.numerics import loops
from bellax.numerics.generator import rates
from bellax.solvers.continuous.scheme import Scheme
from bellax.solvers.continuous.tangent import Tangent

_SHORTEST = 0.02  # arm, of the distance to the neighbour
_ROUNDS = 60
_RATIO = (math.sqrt(5) - 1) / 2


class Arms(NamedTuple):
    """How far the border is along every axis, and what is lost there.

    Attributes:
        share: by state, below and above, of the distance to the neighbour, at the nodes; one where there is no border.
        tangent: whose rates towards borders are none, and whose reward has what is paid there.
        leak: the rate at which the border is reached.
    """

    share: dict[str, tuple[Array, Array]]
    tangent: Tangent
    leak: Array

    def apart(self, scheme: Scheme) -> Array:
        """Nodes without a border beside them."""
        found = jnp.ones(scheme.shape, bool)
        for low, high in self.share.values():
            found = found & (low == 1) & (high == 1)
        return found


def widened(scheme: Scheme, stopping: Array, step: Array) -> Array:
    """Which nodes stop, if in early steps those near to others that go on do so, too."""
    for own in scheme.axes.values():
        reach = jnp.right_shift(jnp.int32(own.count // 8), jnp.minimum(step, 30))
        onward = jnp.moveaxis(~stopping, own.place, -1).astype(jnp.int32)
        total = jnp.concatenate(
            [jnp.zeros((*onward.shape[:-1], 1), jnp.int32), jnp.cumsum(onward, axis=-1, dtype=jnp.int32)], axis=-1
        )
        numbers = jnp.arange(own.count, dtype=jnp.int32)
        last = jnp.minimum(numbers + reach + 1, own.count)
        first = jnp.maximum(numbers - reach, 0)
        near = jnp.take(total, last, axis=-1) - jnp.take(total, first, axis=-1)
        stopping = stopping & (jnp.moveaxis(near, -1, own.place) == 0)
    return stopping


def armed(scheme: Scheme, tangent: Tangent, value: Array, stopping: Array, rate: Array, extra: Array) -> Arms:
    """The tangent, with arms that end at borders.

    Args:
        value: V that neighbours have.
        stopping: which nodes stop.
        rate, extra: the discount and a reward, with what an implicit step of time adds.
    """
    generator, up, down = tangent.generator, list(tangent.generator.up), list(tangent.generator.down)
    leaving, leak, paid = generator.leaving, jnp.zeros(scheme.shape), jnp.zeros(scheme.shape)
    onward = tangent.reward + extra + generator.apply(value) + leaving * value
    shares = {}
    for place, (name, own) in enumerate(scheme.axes.items()):
        variance = scheme.in_coordinate(name, tangent.variance[name])
        below, above = scheme.over(name, "below"), scheme.over(name, "above")
        first, last = scheme.ends(name)
        borders = []
        for which, shift in enumerate((1, -1)):
            there = jnp.roll(stopping, shift, own.place) & ~first & ~last & (variance > 0)
            # of what is left if this axis is taken out
            rest = onward - up[place] * _neighbour(value, own.place, -1) - down[place] * _neighbour(value, own.place, 1)
            other = _neighbour(value, own.place, -shift)
            known = (tangent.drift[name], variance, below, above, rate + leaving - up[place] - down[place], rest, other)
            share = _best(scheme, name, which, known)
            borders.append(jnp.where(there, share, 1.0))
        low, high = borders
        shares[name] = (low, high)
        # as in the tangent, velocities of driven states move rewards and not the rates
        drift = lax.stop_gradient(tangent.drift[name]) if name in tangent.selected else tangent.drift[name]
        spread = lax.stop_gradient(variance) if name in scheme.flow.risky else variance
        rising, falling = rates(drift, spread, low * below, high * above)
        # what the tangent's reward says of how its own rates move holds of these
        here = lax.stop_gradient(value)
        ahead, behind = (_neighbour(here, own.place, shift) - here for shift in (-1, 1))
        full_up, full_down = scheme.moving(name, drift, spread)
        moves = jnp.where(high < 1, 0.0, rising) * ahead + jnp.where(low < 1, 0.0, falling) * behind
        moves = moves - full_up * ahead - full_down * behind
        moves = jnp.where((low < 1) | (high < 1), moves, 0.0)
        paid = paid + moves - lax.stop_gradient(moves)
        up[place] = jnp.where((low < 1) | (high < 1), rising, up[place])
        down[place] = jnp.where((low < 1) | (high < 1), falling, down[place])
        for share, sign, moved in ((low, -1, down), (high, 1, up)):
            lost = jnp.where(share < 1, moved[place], 0.0)
            step = below if sign < 0 else above
            leak, paid = leak + lost, paid + lost * _payoff(scheme, name, sign * share * step)
            moved[place] = moved[place] - lost
    changed = tangent._replace(generator=_with(generator, up, down), reward=tangent.reward + paid)
    return Arms(shares, changed, leak)


def ahead(going_on: Array, scheme: Scheme, arms: Arms, stopping: Array) -> Array:
    """By how much going on is worth more than stopping; beside a border what makes a straight line cross zero there."""
    found = going_on - scheme.payoff
    size = jnp.maximum(jnp.max(jnp.abs(found)), 1.0)
    for name, (low, high) in arms.share.items():
        place = scheme.axes[name].place
        # in a unit of its own, so that both ends of the cell have the same
        for share, shift in ((low, -1), (high, 1)):
            here = (share < 1) & ~stopping
            beyond = jnp.roll(here, shift, place)
            found = jnp.where(here, size * share, found)
            found = jnp.where(beyond, -size * (1 - jnp.roll(share, shift, place)), found)
    return found


def _with(generator: Any, up: list[Array], down: list[Array]) -> Any:
    return eqx.tree_at(lambda g: (g.up, g.down), generator, (tuple(up), tuple(down)))


def _neighbour(value: Array, place: int, shift: int) -> Array:
    return jnp.roll(value, shift, place)


def _payoff(scheme: Scheme, name: str, distance: Array) -> Array:
    """Of stopping at a distance from the node, in the coordinate of a state."""
    line = scheme.axes[name].line

    def one(states: Any, distance: Array) -> Array:
        there = line.scale.inverse(line.scale.forward(states[name]) + distance)
        return scheme.flow.stop(scheme.arguments, {**states, name: there})

    return scheme.at_nodes(one, distance)


def _best(scheme: Scheme, name: str, which: int, known: tuple[Array, ...]) -> Array:
    """The arm at whose end stopping is worth most, as a share of the distance to the neighbour."""
    velocity, variance, below, above, rate, rest, other = lax.stop_gradient(known)
    still = scheme.stopped

    def worth(share: Array) -> Array:
        low, high = (share * below, above) if which == 0 else (below, share * above)
        up, down = rates(velocity, variance, low, high)
        paid = _payoff(still, name, -low if which == 0 else high)
        out, back = (down, up) if which == 0 else (up, down)
        return (rest + out * paid + back * other) / (rate + up + down)

    def narrowed(state: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = state
        left, right = high - _RATIO * (high - low), low + _RATIO * (high - low)
        better = jnp.greater_equal(*jax.vmap(worth)(jnp.stack([left, right])))
        return jnp.where(better, low, left), jnp.where(better, right, high)

    one = jnp.ones(scheme.shape)
    low, high = loops.repeat(_ROUNDS, narrowed, (_SHORTEST * one, one))
    found = 0.5 * (low + high)
    return jnp.where(found > 1 - 1e-9, 1.0, found)
