"""Whether a policy that was trained along paths sits on a lesser hill, by the V that was fitted to it."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from bellax.learning import nets
from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.candidates import Far
from bellax.solvers.neural.elsewhere import elsewhere
from bellax.solvers.neural.euler import Euler
from bellax.solvers.neural.evaluation import Looked, Scale, measure
from bellax.solvers.neural.paths import Walk
from bellax.solvers.neural.staged import StagedBehaviour
from bellax.solvers.neural.stakes import decisive

_WIDER = 0.1  # of how far states are apart, by which tomorrow may lie beyond those that were seen


def better(
    euler: Euler,
    found: StagedBehaviour,
    points: tuple[Any, Array],
    seen: Walk | None,
    size: Array,
    off: Array,
    seed: int,
) -> tuple[Array, Array]:
    """By how much other actions are better, for ever, in the second: the spread of returns, or what decisions are about
    for ever where that is less.

    Args:
        seen: paths beside which V is a guess; None where it is known all over the box.
        size: the spread of returns.
        off: what is left of V's equation, in that unit.
    """
    policy, value = found.nets

    def at(number: Array) -> tuple[Bellman, Array]:
        following = euler.following(number)
        shift = found.shift[jnp.clip(following, 0, found.shift.shape[0] - 1)]
        scale = Scale(found.scale.level + shift, found.scale.unit)
        critic = ravel_pytree(value.at(found.critic, following))[0]
        return Bellman(euler, found.inputs, (policy.shape, value.shape), scale), critic

    def outputs(number: Array | int, states: Any) -> Array:
        return nets.forward(policy.at(found.actor, number), found.inputs.of(number, states))

    rule = lambda number, states: euler.acted(number, states, outputs(number, states)).actions  # noqa: E731
    _, left = measure(euler, rule, *points)
    far = None if seen is None else beside(euler, found, seen)
    other = elsewhere(at, outputs, points, seed, far)
    sure = jnp.maximum(other.gain - 2 * left * off * size, 0.0)  # of V itself nothing is better known
    unit = decisive(size / left, other.stake)
    return sure / unit, unit * left


def beside(euler: Euler, found: StagedBehaviour, walk: Walk) -> Any:
    """How far beside the states of paths one may be tomorrow, by period."""
    count, finite = jax.tree.leaves(walk.states)[0].shape[0], euler.problem.finite
    numbers = jnp.arange(count, dtype=jnp.int32) if finite else jnp.zeros(count, jnp.int32)
    dimensions = found.inputs.layout.dimensions
    see = lambda number, states: found.inputs.of(number, states)[:dimensions]  # noqa: E731
    rows = jax.vmap(jax.vmap(see, (None, 0)))(numbers, walk.states)
    axes = 1 if finite else (0, 1)
    low, high = jnp.min(rows, axis=axes), jnp.max(rows, axis=axes)
    room = _WIDER * (high - low)

    def of(number: Array) -> Far:
        place = jnp.clip(number + 1, 0, count - 1)
        ends = (low - room, high + room)
        first, last = (end[place] for end in ends) if finite else ends

        def far(row: Looked) -> Array:
            u = row.later[:, :dimensions]
            if not u.shape[1]:
                return jnp.zeros(())
            most = jnp.max(jnp.maximum(first[None] - u, u - last[None]), axis=1)
            return jnp.maximum(jnp.max(jnp.where(row.weights == 0, 0.0, most)), 0.0)

        return far

    return of
