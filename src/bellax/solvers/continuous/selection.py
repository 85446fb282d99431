"""Which difference of V stands for its derivative along a driven state, pointwise: the direction in which values
travel.

Godunov's choice: the difference ahead where the velocity it implies is upwards, the one behind where that is
downwards, the larger Hamiltonian where both are, and where neither is, the marginal value at which the state stays
where it is. Where there is variance enough the central difference is monotone, and better.
"""

import enum
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from bellax.numerics import loops
from bellax.numerics.bracket import root

Velocity = Callable[[Array], tuple[Array, Array, Array]]
"""Of a marginal value the Hamiltonian, its derivative, and the variance per unit of time, in coordinates."""


class Differences(NamedTuple):
    """What is known of V at a node along a line, in units of the state; not a number where there is no neighbour.

    Attributes:
        ahead, behind, central: differences.
        below, above: distances to the neighbours in coordinates.
    """

    ahead: Array
    behind: Array
    central: Array
    below: Array
    above: Array


class Kind(enum.IntEnum):
    """What stands for the derivative."""

    stays = 0
    ahead = 1
    behind = 2
    central = 3


class Selected(NamedTuple):
    """The marginal value of a driven state at a node, without derivatives.

    Attributes:
        marginal: the marginal value.
        kind: where it comes from, a `Kind`.
        found: whether there is any.
    """

    marginal: Array
    kind: Array
    found: Array


def select(of: Velocity, known: Differences) -> Selected:
    """The marginal value of one state at one node."""
    worst = lambda velocity, sign: jnp.where(jnp.isnan(velocity), sign * jnp.inf, velocity)  # noqa: E731
    total_up, up, _ = of(known.ahead)
    total_down, down, _ = of(known.behind)
    _, middle, variance = of(known.central)
    has_up, has_down = ~jnp.isnan(known.ahead), ~jnp.isnan(known.behind)
    rises, falls = has_up & (up > 0), has_down & (down < 0)
    reach = jnp.where(middle > 0, middle * known.above, -middle * known.below)
    diffuses = has_up & has_down & (variance > 0) & (reach <= variance)
    both = rises & falls
    ahead = rises & (~both | (total_up >= total_down))
    moves = diffuses | rises | falls
    # marginal values at which it does not move are between those at which it would turn back
    low, high = _bracket(of, known, worst(up, -1.0), worst(down, 1.0), moves)
    still, found = root(lambda marginal: of(marginal)[1], low, high, moves)
    marginal = jnp.where(diffuses, known.central, jnp.where(ahead, known.ahead, known.behind))
    marginal = jnp.where(moves, marginal, still)
    kind = jnp.where(diffuses, Kind.central, jnp.where(ahead, Kind.ahead, Kind.behind))
    return Selected(marginal, jnp.where(moves, kind, Kind.stays).astype(jnp.int32), moves | found)


def _bracket(of: Velocity, known: Differences, up: Array, down: Array, done: Array) -> tuple[Array, Array]:
    """Marginal values below and above that at which the state stays."""
    low = jnp.where(
        jnp.isnan(known.ahead), known.behind, jnp.minimum(known.ahead, jnp.nan_to_num(known.behind, nan=jnp.inf))
    )
    high = jnp.where(
        jnp.isnan(known.behind), known.ahead, jnp.maximum(known.behind, jnp.nan_to_num(known.ahead, nan=-jnp.inf))
    )

    def widen(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, low, high = state
        share = 2.0**count
        lower = jnp.where(low > 0, low / share, low - share)
        upper = jnp.where(high > 0, high * share, high + share)
        bad_low, bad_high = _velocity(of, low) > 0, _velocity(of, high) < 0
        return count + 1, jnp.where(bad_low, lower, low), jnp.where(bad_high, upper, high)

    def over(state: tuple[Array, Array, Array]) -> Array:
        count, low, high = state
        fine = (_velocity(of, low) <= 0) & (_velocity(of, high) >= 0)
        return done | fine | (count > 10)

    _, low, high = loops.until(over, widen, (jnp.ones(()), low, high))
    return low, high


def _velocity(of: Velocity, marginal: Array) -> Array:
    """What is no number is that of a marginal value that is too low."""
    found = of(marginal)[1]
    return jnp.where(jnp.isnan(found), -jnp.inf, found)
