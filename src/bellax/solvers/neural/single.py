"""Conditions of one term: of an action that nothing later hangs on, at an optimum of today's reward alone.

What a little more of it brings passes zero there, so that it cannot be measured by its own size, as an Euler equation
is by that of its two sides. It is measured by what it changes by on a twentieth of the way between bounds, as in
conditions.py: a condition is then twenty times how far an action is from where it should be, as a share of that way.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.problem.plan import Plan
from bellax.solvers.neural.euler import Terms, driven

SHARE = 0.05  # of the way from bound to bound
_NOTHING = 1e-6  # of that change: what is later counts for nothing


def single(plan: Plan) -> np.ndarray:
    """Of every number of the actions, whether names say that no state of tomorrow hangs on it."""
    seen = set().union(*(plan.graph.leaves(f"next_{name}", "action") for name in driven(plan)), set())
    return np.array([name not in seen for name, _ in plan.coordinates], bool)


def of_one_term(terms: Terms, bends: Float[Array, "m m"]) -> Float[Array, "m"]:
    """What is added to the size of conditions of one term; nothing of the others.

    Args:
        bends: the Hessian of Q in the actions.
    """
    change = SHARE * jnp.abs(jnp.diagonal(bends)) * terms.width
    return jnp.where(jnp.abs(terms.later) <= _NOTHING * change, change, 0.0)
