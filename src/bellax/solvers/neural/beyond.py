"""Jumps of a model within the box: conditions hold on each side of one, and say nothing of what lies beyond it."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import sampling
from bellax.numerics import steps
from bellax.solvers.neural.bellman import Bellman

_LINES = 16
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
