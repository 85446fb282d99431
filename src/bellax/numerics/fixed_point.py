"""Fixed points X = T(X), differentiable by the implicit function theorem: dX = (I - T_X)^-1 T_p dp.

Memory does not grow with the iterations that found X. The linear system is solved by GMRES without forming T_X.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax


def implicit(operator: Callable[[Any], Any], found: Any) -> Any:
    """The fixed point `found` of `operator`, with its derivative.

    Args:
        operator: T, a function of a pytree of float arrays; closes over what is differentiated.
        found: its fixed point, however it was found; its own derivative is ignored.
    """
    found = lax.stop_gradient(found)

    def residual(x: Any) -> Any:
        return jax.tree.map(jnp.subtract, operator(x), x)

    return lax.custom_root(residual, found, lambda _, guess: guess, solve_linear)


def solve_linear(function: Callable[[Any], Any], right: Any) -> Any:
    """x with function(x) = right for a linear function of pytrees, by GMRES to 1e-11."""
    structure = jax.eval_shape(lambda: right)
    operator = lx.FunctionLinearOperator(function, structure)
    size = sum(leaf.size for leaf in jax.tree.leaves(right))
    restart = min(size, 100)
    solver = lx.GMRES(rtol=1e-11, atol=1e-13, restart=restart, stagnation_iters=restart, max_steps=50 * restart)
    return lx.linear_solve(operator, right, solver=solver, throw=False).value
