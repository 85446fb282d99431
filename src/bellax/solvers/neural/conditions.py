"""What conditions of actions are divided by, so that they have no units.

Of dQ/da it is the mean size of what a little more of an action costs and brings, which makes an Euler error of it.
Where an optimum is one of today's reward alone, both vanish there, so that a twentieth of what dQ/da changes by on the
way from bound to bound is added: a condition is then twenty times how far an action is from where it should be.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.euler import sizes
from bellax.solvers.neural.floors import least_size
from bellax.solvers.neural.points import Points
from bellax.solvers.neural.single import SHARE

_SMALL = 1e-3  # of the mean size of a condition: what counts as no size at all


def condition_sizes(
    bellman: Bellman, points: Points, outputs: Float[Array, "n k m"], critic: Array
) -> Float[Array, "n k m"]:
    """Of every condition at every point and of every combination."""

    def one(states: dict[str, Array], number: Array, outputs: Array) -> tuple[Any, ...]:
        terms = bellman.every_terms(number, states, outputs, critic)
        return terms, *bellman.every_curvature(number, states, outputs, critic)

    terms, bends, actions, widths = jax.vmap(one)(*points, outputs)
    reach = jnp.where(jnp.isfinite(widths), widths, jnp.mean(jnp.abs(actions), axis=0, keepdims=True))
    found = 0.5 * sizes(terms) + SHARE * jnp.abs(bends) * jnp.abs(reach)
    found = jnp.where(jnp.isfinite(found), found, 1.0)
    least = least_size(found, terms.width)
    return found + _SMALL * jnp.mean(found, axis=0, keepdims=True) + least[None]
