"""Points where a bound begins to bind, as outputs say it: there a policy has a kink, and equations are to hold on both
sides of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from bellax.solvers.neural.heads import Acted
from bellax.solvers.neural.points import Points


def clustered(acted: Callable[[dict[str, Array], Array], Acted], pool: Points, few: int, points: Points) -> Points:
    """Points of which the last ones are, of a pool, those whose outputs are nearest to where they reach a bound that
    binds somewhere in it; as they were where none does.

    Args:
        acted: what is done in a state and a period.
        few: how many.
    """
    found = jax.vmap(acted)(*pool)
    asked = found.share + found.beyond
    below, above = jnp.any(asked < 0, axis=0), jnp.any(asked > 1, axis=0)
    away = jnp.minimum(jnp.where(below, jnp.abs(asked), jnp.inf), jnp.where(above, jnp.abs(asked - 1), jnp.inf))
    away = jnp.min(away, axis=1)
    _, places = jax.lax.top_k(-away, few)
    some = jnp.isfinite(jnp.min(away))

    def joined(old: Array, own: Array) -> Array:
        return jnp.concatenate([old[:-few], jnp.where(some, own[places], old[-few:])])

    return jax.tree.map(joined, points, pool)
