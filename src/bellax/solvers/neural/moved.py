"""Derivatives of an actor and a critic in parameters: by the implicit function theorem at both equations together.

    dQ/da = 0,    V(s) = T V(s),    V_s(s) = dQ/ds with the shares of the way between bounds held,

where the decisions between combinations, and to stop, are held. The slopes follow from the other two; an equation for
them makes the derivatives of slopes, and so of actions, as good as those of levels.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from bellax.learning import levenberg
from bellax.numerics.scalar import take
from bellax.problem.problem import Arguments
from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.conditions import condition_sizes
from bellax.solvers.neural.euler import moving, unit_free, with_moving
from bellax.solvers.neural.points import Points

_DAMPING = 1e-10


def moved(
    bellman: Callable[[Arguments], Bellman], arguments: Arguments, points: Points, actor: Array, critic: Array
) -> tuple[Array, Array]:
    """Weights with derivatives in arguments.

    Args:
        bellman: the operator, of arguments.
        actor, critic: what a training found.
    """
    still, moves = bellman(lax.stop_gradient(arguments)), bellman(arguments)
    cut = actor.shape[0]

    def decided(states: Any, number: Array) -> tuple[Array, Array, Array]:
        outputs = still.outputs(actor)(number, states)
        found = still.greedy(number, states, outputs, critic)
        return outputs, found.place, found.stop

    outputs, *choices = jax.vmap(decided)(*points)
    size = condition_sizes(still, points, outputs, critic)
    rows = (*points, *lax.stop_gradient((size, *choices)))

    def residual(weights: Array, row: Any) -> Array:
        states, number, size, place, stop = row
        outputs = moves.outputs(weights[:cut])(number, states)
        left = unit_free(moves.every_terms(number, states, outputs, weights[cut:]), size).reshape(-1)
        x = take(outputs, place)

        def equation(own: Array) -> Array:
            here = with_moving(moves.plan, states, own)
            row = moves.option(number, here, place, x).row
            now, later = moves.halves(row, weights[cut:])
            payoff = moves.problem.period(moves.arguments, number).payoff(here)
            worth = moves.evaluation.worth(weights[cut:])(number, here)
            return (worth - jnp.where(stop, payoff, now + later)) / moves.evaluation.scale.unit

        value, slopes = jax.value_and_grad(equation)(moving(moves.plan, states))
        return jnp.concatenate([left, value[None], slopes])

    found = levenberg.moved([(residual, rows)], jnp.concatenate([actor, critic]), _DAMPING)
    return found[:cut], found[cut:]
