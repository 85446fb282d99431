"""What conditions of a policy do not say by themselves: whether they hold where Q is least, and whether V is right."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.chunks import in_chunks
from bellax.learning import sampling
from bellax.learning.levenberg import Groups
from bellax.solvers.neural.behaviour import NetBehaviour
from bellax.solvers.neural.euler import Euler, sizes
from bellax.solvers.neural.evaluation import Rule
from bellax.solvers.neural.floors import TINY
from bellax.solvers.neural.points import Points
from bellax.solvers.neural.single import SHARE

_FAINT = 0.1  # of the mean size of slopes: what one is judged by where it is nothing
_AT_ONCE = 2**26  # numbers that second derivatives at points may need together
TENTH = 0.1  # of the way between bounds: how far to the sides of an action Q is looked at


def rising(euler: Euler, found: NetBehaviour, points: Any, static: bool, tolerance: float) -> Array:
    """The share of points at which Q rises to both sides of where it is along some way that actions can go together:
    at a minimum, or a saddle, conditions hold as they do at a maximum.

    The largest eigenvalue of the Hessian of Q in the actions that are not at a bound, each of which goes a tenth of the
    way between its bounds, in units of its own terms.

    Args:
        static: whether V is not in the conditions, and worse than they are.
    """
    worth = None if static else found.worth

    def bent(states: Any, number: Array) -> Array:
        bends = euler.bends(number, states, found.outputs, worth)
        if static:
            terms = euler.first_order(number, states, found.outputs)
        else:
            terms, _, _ = euler.all(number, states, found.outputs, found.worth)
        width, own = terms.width, jnp.abs(jnp.diagonal(bends))
        unit = 0.5 * sizes(terms) * width + SHARE * own * width**2 + TINY * found.unit
        gained = 0.5 * TENTH**2 * bends * jnp.outer(width, width) / jnp.sqrt(jnp.outer(unit, unit))
        free = terms.beyond == 0
        return jnp.where(jnp.outer(free, free), gained, 0.0)

    actions, states = found.head.size, found.inputs.layout.size
    cells = actions**2 * states * euler.averages(0).nodes.weights.shape[0]
    matrices = in_chunks(lambda point: bent(*point), tuple(points), max(1, _AT_ONCE // cells))
    known = jnp.all(jnp.isfinite(matrices), axis=(1, 2), keepdims=True)  # conditions that are none say so themselves
    gained = jnp.linalg.eigvalsh(jnp.where(known, matrices, 0.0))[:, -1]
    return jnp.mean((gained > TENTH * tolerance).astype(gained.dtype))


def paid(euler: Euler, rule: Rule, points: Any) -> Array:
    """Whether what a policy is paid is a number at points: conditions see its derivatives alone."""

    def reward(states: Any, number: Array) -> Array:
        found = euler.averages(number).branches(states, rule(number, states))
        return jnp.sum(jnp.where(found.weights == 0, 0.0, found.weights * found.outcome.reward))

    return jnp.all(jnp.isfinite(jax.vmap(reward)(*points)))


def everywhere(found: NetBehaviour, count: int, seed: int) -> Points:
    """Points all over the box, and after them some at its edges."""
    layout = found.inputs.layout
    with jax.ensure_compile_time_eval():
        shares = sampling.edges(layout.dimensions, sampling.points(count, layout.columns, seed))
    return Points(*jax.vmap(found.inputs.state)(jnp.asarray(shares)))


class Sides(NamedTuple):
    """V and its slopes at points, shape (p, 1 + n), and what they should be."""

    left: Float[Array, "p k"]
    right: Float[Array, "p k"]


def sides_left(sides: Sides, size: Float[Array, "k"]) -> tuple[Array, Array]:
    """Root mean squares of what is left of V's own equation, in units of its size, and of V_s = dQ/ds, in units of the
    slopes themselves.

    Args:
        size: see `sizes_of`.
    """
    off = sides.left - sides.right
    slopes = 0.5 * (jnp.abs(sides.left) + jnp.abs(sides.right))[:, 1:] + _FAINT * size[None, 1:]
    root = lambda x: jnp.sqrt(jnp.sum(x**2) / max(1, x.size))  # noqa: E731
    return root(off[:, 0] / size[0]), root(off[:, 1:] / slopes)


def sizes_of(sides: Sides) -> Float[Array, "k"]:
    """The spread of V and a little of V, and the mean size of each of its slopes."""
    value = sides.left[:, 0]
    least = float(jnp.finfo(value.dtype).tiny)
    spread = jnp.std(value) + 1e-3 * jnp.mean(jnp.abs(value)) + least
    slopes = 0.5 * (jnp.abs(sides.left) + jnp.abs(sides.right))[:, 1:]
    return jnp.concatenate([spread[None], jnp.mean(jnp.where(jnp.isfinite(slopes), slopes, 0.0), axis=0) + least])


def value_error(found: NetBehaviour, equations: Groups, points: Points) -> Array:
    """What is left of V = E[r + b V(s')] at most, relative to the spread of V and a little of V there.

    Args:
        equations: at the points, in units of V.
    """
    (residual, rows), *_ = equations
    left = jax.vmap(residual, (None, 0))(found.critic, rows) * found.unit
    value = jax.vmap(lambda states, number: found.worth(number, states))(points.states, points.periods)
    # the spread of most, where V falls without end at an edge
    low, high = jnp.quantile(value, jnp.asarray([0.16, 0.84]))
    size = jnp.minimum(jnp.std(value), 0.5 * (high - low)) + 1e-3 * jnp.abs(value) + TINY * found.unit
    return jnp.max(jnp.where(jnp.isfinite(left), jnp.abs(left) / size, jnp.inf))
