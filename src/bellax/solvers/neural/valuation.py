"""What a policy is worth that was trained along paths: V by least squares at states where it leads.

Small nets are fitted by Levenberg and Marquardt's method, larger ones by L-BFGS, which needs no matrix. What is left of
the equation along fresh paths says by how much V is off at their starts:

    E[ sum_t D_t r_t + D_T V(s_T) ] = V(s_0) + E[ sum_t D_t d_t ],    d_t = E[r + b V(s')] - V(s_t),

without the noise of the returns themselves. By period its mean is added to V.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import lbfgs, levenberg, nets, training
from bellax.learning.levenberg import Groups, LevenbergMarquardt
from bellax.learning.stages import Stages
from bellax.numerics import loops
from bellax.solvers.neural.euler import Euler
from bellax.solvers.neural.evaluation import Evaluation, Looked, Rule, Scale
from bellax.solvers.neural.inputs import Inputs
from bellax.solvers.neural.paths import Walk

_SMALL = 800  # weights up to which least squares go by matrices
_STEPS, _LONG = 60, 800  # of the small, and of the others


class Leftover(NamedTuple):
    """What is left of V's equation along paths, shape (t, n).

    Attributes:
        left: E[r + b V(s')] - V(s).
        discount: the expected one.
    """

    left: Float[Array, "t n"]
    discount: Float[Array, "t n"]


class Valuation:
    """V under given actions; made inside a compiled program.

    Args:
        net: of V.
        scale: V is the net times the unit, beside the level.
    """

    def __init__(self, euler: Euler, seen: Inputs, net: Stages, scale: Scale) -> None:
        self.euler, self.seen, self.net, self.scale = euler, seen, net, scale
        self.evaluation = Evaluation(euler, seen, net.shape, scale)

    def value(self, weights: Array, number: Array, u: Array) -> Array:
        """V in a period at inputs."""
        return self.scale.level + self.scale.unit * nets.forward(self.net.at(weights, number), u)[0]

    def left(self, weights: Array, looked: Looked, number: Array) -> Array:
        """E[r + b V(s')] - V(s)."""
        following = self.euler.following(number)
        later = jnp.sum(looked.weights * jax.vmap(lambda u: self.value(weights, following, u))(looked.later))
        return looked.reward + looked.last + later - self.value(weights, number, looked.here)

    def groups(self, rule: Rule, points: tuple[Any, Array]) -> Groups:
        """The equations at points, in units of V.

        Args:
            points: states and periods.
        """
        look = lambda states, number: self.evaluation.look(states, number, rule(number, states))  # noqa: E731
        residual = lambda weights, row: self.left(weights, *row) / self.scale.unit  # noqa: E731
        return [(residual, (jax.vmap(look)(*points), points[1]))]

    def fitted(self, groups: Groups, start: Array) -> Array:
        """The weights that make the sum of squares least."""
        if self.net.weights <= _SMALL:
            method = LevenbergMarquardt(lambda frozen, number: groups, lambda weights, frozen: frozen, (_STEPS,))
            return training.run(method, method.init(start, None)).weights
        squares = jax.value_and_grad(lambda weights: jnp.mean(levenberg.residuals(groups, weights) ** 2))
        step = lambda state: lbfgs.step(state, *squares(state.trial))  # noqa: E731
        return loops.repeat(_LONG, step, lbfgs.begin(start)).point

    def along(self, weights: Array, rule: Rule, walk: Walk) -> Leftover:
        """What is left of the equation along paths."""
        length = jax.tree.leaves(walk.states)[0].shape[0]
        finite = self.euler.problem.finite

        def step(carry: None, row: Any) -> tuple[None, Leftover]:
            number, states = row
            period = number if finite else jnp.zeros_like(number)

            def one(states: Any) -> Leftover:
                looked = self.evaluation.look(states, period, rule(period, states))
                return Leftover(self.left(weights, looked, period), jnp.sum(looked.weights))

            return None, jax.vmap(one)(states)

        return loops.over(step, None, (jnp.arange(length, dtype=jnp.int32), walk.states))[1]


def shifts(found: Leftover, alive: Array) -> Float[Array, "t"]:
    """What is added to V in every period, so that on average nothing is left of its equation.

    Args:
        alive: which paths have begun, shape (t, n).
    """
    weight = alive / jnp.maximum(jnp.sum(alive, axis=1, keepdims=True), 1.0)

    def step(after: Array, row: Any) -> tuple[Array, Array]:
        left, discount = row
        own = left + discount * after
        return own, own

    rows = (jnp.sum(weight * found.left, axis=1), jnp.sum(weight * found.discount, axis=1))
    return loops.over(step, jnp.zeros(()), rows, reverse=True)[1]


def off(found: Leftover, shift: Array, alive: Array) -> Float[Array, "n"]:
    """By how much V is off where each path begins, along it.

    Args:
        shift: what was added to V, shape (t + 1,).
        alive: which paths have begun, shape (t, n).
    """
    own = alive * (found.left + found.discount * shift[1:, None] - shift[:-1, None])
    before = jnp.cumprod(jnp.where(alive > 0, found.discount, 1.0), axis=0)
    before = jnp.concatenate([jnp.ones_like(before[:1]), before[:-1]])
    return jnp.sum(before * own, axis=0)
