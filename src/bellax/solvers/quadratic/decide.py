"""The best action of a period whose Q is quadratic, how it moves with the state, and what V is then.

    a(s) = a + K (s - x),    V(s) = max over a of Q(s, a)

Actions that are held at a bound follow it as the state moves, and what a curved bound costs is in the curvature of V:
in the free actions v and the state, Q(s, a(s, v)) is expanded once more.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float

from bellax.solvers.quadratic.box import Held, actions, best, factored
from bellax.solvers.quadratic.expansion import Expansion, Quadratic
from bellax.solvers.quadratic.stage import Stage


class Rule(NamedTuple):
    """What is done near a state of a path.

    Attributes:
        at: the state.
        free: each free action there; of one that is held zero.
        side: -1 of an action that is held at its lower bound, 1 at its upper one, else 0.
        gain: how free actions move with the state.
    """

    at: Float[Array, "n"]
    free: Float[Array, "m"]
    side: Float[Array, "m"]
    gain: Float[Array, "m n"]


class Decision(NamedTuple):
    """What one period of a backward pass finds.

    Attributes:
        rule: what is done.
        step: from the action of the path to the best one.
        sound: whether Q is strictly concave in the free actions.
        steep: the largest slope of Q in a free action, in units of its curvature.
    """

    rule: Rule
    step: Float[Array, "m"]
    sound: Bool[Array, ""]
    steep: Float[Array, ""]


def decide(
    stage: Stage, expansion: Expansion, x: Float[Array, "n"], u: Float[Array, "m"], damping: Array | float = 0.0
) -> tuple[Decision, Quadratic]:
    """What is done at a state and near it, and V there.

    Derivatives pass through the expansion and through bounds; which actions are held does not move.

    Args:
        damping: a share of the curvature that is taken off, so that steps are short.
    """
    still = lax.stop_gradient((x, u, expansion.by_action, expansion.actions))
    held = best(stage.bounds.still, *still, damping)
    free = held.side == 0
    into = _moved(stage, x, held)
    step = into.action - u
    by_action = expansion.by_action + expansion.actions @ step
    by_state = expansion.by_state + expansion.mixed.T @ step
    level = expansion.level + step @ (expansion.by_action + 0.5 * (expansion.actions @ step))
    bent = into.bent(by_action)
    count = x.shape[0]
    cross = expansion.mixed + expansion.actions @ into.by_state
    states = expansion.states + into.by_state.T @ cross + expansion.mixed.T @ into.by_state + bent[:count, :count]
    mixed = into.by_free.T @ cross + bent[count:, :count]
    curved = into.by_free.T @ expansion.actions @ into.by_free + bent[count:, count:]
    slope, by_free = by_state + into.by_state.T @ by_action, into.by_free.T @ by_action
    factor = factored(curved, free, damping)
    last, gain = factor.ascent(by_free), factor.ascent(mixed)
    pulled = curved @ gain + mixed
    value = Quadratic(
        x,
        level + last @ (by_free + 0.5 * (curved @ last)),
        slope + gain.T @ by_free + mixed.T @ last + gain.T @ (curved @ last),
        _symmetric(states + gain.T @ pulled + mixed.T @ gain),
    )
    step = step + into.by_free @ last
    steep = jnp.max(jnp.where(free, jnp.abs(expansion.by_action) * factor.scale**2, 0.0))
    rule = Rule(x, jnp.where(free, held.free + last, 0.0), held.side, gain)
    return Decision(rule, step, factor.sound, steep), value


class _Moved(NamedTuple):
    """Actions as functions of the state and of what is free, to second order."""

    action: Float[Array, "m"]
    by_state: Float[Array, "m n"]
    by_free: Float[Array, "m m"]
    bent: Callable[[Float[Array, "m"]], Float[Array, "z z"]]  # second derivatives, weighted


def _moved(stage: Stage, x: Float[Array, "n"], held: Held) -> _Moved:
    layout, count, free = stage.layout, x.shape[0], held.free
    point = jnp.concatenate([x, free])
    straight = lambda slopes: jnp.zeros((point.shape[0], point.shape[0]))  # noqa: E731
    along, own = jnp.zeros((free.shape[0], count)), jnp.eye(free.shape[0])
    if not layout.bounded:
        return _Moved(free, along, own, straight)
    of = lambda z: actions(stage.bounds, z[:count], held._replace(free=z[count:]))  # noqa: E731
    if not layout.moving:
        return _Moved(of(point), along, own, straight)
    law = jax.jacfwd(of)(point)
    bent = lambda slopes: jax.jacfwd(jax.grad(lambda z: slopes @ of(z)))(point)  # noqa: E731
    return _Moved(of(point), law[:, :count], law[:, count:], bent)


def _symmetric(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    return 0.5 * (matrix + matrix.T)
