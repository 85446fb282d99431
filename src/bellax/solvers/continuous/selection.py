"""Which difference of V stands for its derivative along a driven state, pointwise: the direction in which values
travel.

Godunov's choice: the difference ahead where the velocity it implies is upwards, the one behind where that is
downwards, the larger Hamiltonian where both are, and where neither is, the marginal value at which the state stays
where it is. Where there is variance enough the central difference is monotone, and better.
"""

import enum
from collections.abc import Callable
from typing import NamedTuple

import jax
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


class Sought(NamedTuple):
    """Where a state may stay where it is: at a marginal value between these, or not far beyond."""

    low: Array
    high: Array


def select(
    of: Velocity, known: Differences, probe: Array, kept: Callable[[Array, Array], Array]
) -> tuple[Selected, Sought]:
    """The marginal value of one state at one node where the state moves, and what to look for where it stays.

    Args:
        probe: one more marginal value at which the Hamiltonian is asked for.
        kept: what is taken of marginal values, the probe last, and of whether the Hamiltonian and its derivative are
            numbers there.
    """
    own = jnp.stack([known.ahead, known.behind, known.central, probe])

    def asked(state: tuple) -> tuple:
        marginals, *_ = state
        found = jax.vmap(of)(marginals)
        fine = jnp.isfinite(found[0]) & jnp.isfinite(found[1])
        return kept(own, fine), marginals, found

    # twice, in a loop and all together, so that what flows is written into the program once
    none = (jnp.zeros(4),) * 3
    _, marginals, (totals, velocities, variances) = loops.repeat(2, asked, (own, own, none))
    known = known._replace(ahead=marginals[0], behind=marginals[1], central=marginals[2])
    total_up, total_down, _, _ = totals
    up, down, middle, _ = velocities
    variance = variances[2]
    has_up, has_down = ~jnp.isnan(known.ahead), ~jnp.isnan(known.behind)
    rises, falls = has_up & (up > 0), has_down & (down < 0)
    reach = jnp.where(middle > 0, middle * known.above, -middle * known.below)
    diffuses = has_up & has_down & (variance > 0) & (reach <= variance)
    both = rises & falls
    ahead = rises & (~both | (total_up >= total_down))
    moves = diffuses | rises | falls
    marginal = jnp.where(diffuses, known.central, jnp.where(ahead, known.ahead, known.behind))
    kind = jnp.where(diffuses, Kind.central, jnp.where(ahead, Kind.ahead, Kind.behind))
    kind = jnp.where(moves, kind, Kind.stays).astype(jnp.int32)
    return Selected(marginal, kind, moves), _between(known)


def stay(of: Velocity, sought: Sought) -> Selected:
    """The marginal value at which a state stays where it is."""
    low, high, ends = _bracket(of, sought)
    marginal, found = root(lambda marginal: of(marginal)[1], low, high, ends)
    return Selected(marginal, jnp.full((), Kind.stays, jnp.int32), found)


def _between(known: Differences) -> Sought:
    """Marginal values at which a state does not move are between those at which it would turn back."""
    low = jnp.where(
        jnp.isnan(known.ahead), known.behind, jnp.minimum(known.ahead, jnp.nan_to_num(known.behind, nan=jnp.inf))
    )
    high = jnp.where(
        jnp.isnan(known.behind), known.ahead, jnp.maximum(known.behind, jnp.nan_to_num(known.ahead, nan=-jnp.inf))
    )
    return Sought(low, high)


def _bracket(of: Velocity, sought: Sought) -> tuple[Array, Array, tuple[Array, Array]]:
    """Marginal values below and above that at which the state stays, and velocities there."""

    def widen(state: tuple) -> tuple:
        count, low, high, _, _ = state
        share = 2.0**count
        lower = jnp.where(low > 0, low / share, low - share)
        upper = jnp.where(high > 0, high * share, high + share)
        velocity = jax.vmap(of)(jnp.stack([low, high]))[1]
        # what is no number is that of a marginal value that is too low
        bad = jnp.stack([velocity[0] > 0, (velocity[1] < 0) | jnp.isnan(velocity[1])])
        return count + 1, jnp.where(bad[0], lower, low), jnp.where(bad[1], upper, high), jnp.any(bad), velocity

    over = lambda state: ~state[3] | (state[0] > 11)  # noqa: E731
    begin = (jnp.ones(()), sought.low, sought.high, jnp.asarray(True), jnp.zeros(2))
    _, low, high, _, (below, above) = loops.until(over, widen, begin)
    return low, high, (below, above)


def of_kind(kind: Array, stays: Array, ahead: Array, behind: Array, central: Array) -> Array:
    """What belongs to each `Kind`; numbers that are none where they do not belong."""
    clean = lambda which, value: jnp.where(kind == which, value, 0.0)  # noqa: E731
    return (
        clean(Kind.stays, stays) + clean(Kind.ahead, ahead) + clean(Kind.behind, behind) + clean(Kind.central, central)
    )
