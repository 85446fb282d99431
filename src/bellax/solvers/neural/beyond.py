"""What conditions do not see: jumps of a model within the box, and other actions that are better, by Q with a V.

First-order conditions hold on each side of a kink or a jump, and say nothing of what lies beyond it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import sampling
from bellax.numerics import steps
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.candidates import Candidates
from bellax.solvers.neural.points import Points

_LINES, _TRIED, _FEW, _PERIODS = 16, 33, 64, 3
_SPAN = 6.0  # of outputs: almost all of the way between bounds


def jump(bellman: Bellman, seed: int) -> Float[Array, ""]:
    """The largest jump of payments, laws, chances and the terminal value within the box, relative to its size."""
    layout, size = bellman.seen.layout, bellman.head.size
    columns, n = layout.columns, layout.dimensions
    with jax.ensure_compile_time_eval():
        ends = jnp.asarray(sampling.points(_LINES, 2 * (columns + size), seed))
    starts, ends = ends[:, : columns + size], ends[:, columns + size :]
    # categories and periods stay on a line
    ends = ends.at[:, n:columns].set(starts[:, n:columns])
    own = jnp.concatenate([jnp.eye(columns + size)[:n], jnp.eye(columns + size)[columns:]])
    centre = jnp.full(columns + size, 0.5)
    starts = jnp.concatenate([starts, centre[None] * (1 - own)])
    ends = jnp.concatenate([ends, centre[None] * (1 - own) + own])

    def brings(z: Array) -> Array:
        states, number = bellman.seen.state(z[:columns])
        acted = bellman.head.act(bellman.problem.period(bellman.arguments, number), states, _outputs(z[columns:]))
        row = bellman.evaluation.look(states, number, acted.actions)
        parts = (row.reward, row.last, row.weights, row.later, acted.lower, acted.upper)
        return jnp.concatenate([jnp.ravel(part) for part in parts])

    return steps.largest(brings, starts, ends).size


def _outputs(share: Array) -> Array:
    return _SPAN * (2 * share - 1)


def better_elsewhere(
    bellman: Bellman, found: NetBehaviour, points: Points, unit: Float[Array, ""], seed: int
) -> Float[Array, ""]:
    """What the best of other actions brings beyond the policy's, by Q with V of the policy, at most, in units of V."""
    candidates = Candidates(bellman, _TRIED, seed)
    few = jax.tree.map(lambda leaf: leaf[:_FEW], points)

    def gain(states: Any, number: Array) -> Array:
        return candidates.better(number, states, found.outputs(number, states)[None], found.critic).gain[0]

    gained = jax.vmap(gain)(few.states, few.periods)
    return jnp.max(jnp.where(jnp.isfinite(gained), gained, 0.0)) / unit
