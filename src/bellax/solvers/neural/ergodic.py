"""Where a policy leads: states along simulated paths, at which equations are asked to hold, too."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.numerics import loops
from bellax.problem.draws import Laws
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.neural.euler import driven
from bellax.solvers.neural.inputs import Inputs

Rule = Callable[[Array, Mapping[str, Array]], dict[str, Array]]
"""Actions in a period and a state."""


class Visited(NamedTuple):
    """Where paths led.

    Attributes:
        points: states, and the period, one row an agent.
        left: of each agent, the share of periods in which it was put back into the box, beyond which its law led.
    """

    points: tuple[dict[str, Array], Array]
    left: Array


def visited(
    problem: Problem, arguments: Arguments, inputs: Inputs, rule: Rule, start: Any, key: Array, steps: int, wider: float
) -> Visited:
    """States in which agents are after some periods, of a model without end.

    Args:
        start: states to begin with, one row an agent.
        steps: how many periods; agents who leave the box are put back.
        wider: by how much states are drawn apart afterwards, in the coordinates of the inputs.
    """
    agents = jax.tree.leaves(start)[0].shape[0]
    keys = jax.random.split(key, agents)
    moved_by = driven(problem.plan)
    own = np.concatenate(
        [np.full(part.numbers, part.name in moved_by) for part in inputs.layout.numbers] or [np.zeros(0, bool)]
    )

    def one(states: dict[str, Array], key: Array) -> tuple[dict[str, Array], Array]:
        found = Laws(problem, arguments, 0).advance(states, rule(jnp.zeros((), jnp.int32), states), key).following
        y = inputs.coordinates(found)
        moved = inputs.at_coordinates(found, y)
        # a path that has no number goes on where it was
        fine = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(moved)]))
        slack = 1e-9 * (inputs.box.upper - inputs.box.lower)
        out = jnp.any(own & ((y < inputs.box.lower - slack) | (y > inputs.box.upper + slack))) | ~fine
        return jax.tree.map(lambda new, old: jnp.where(fine, new, old), moved, states), out

    def step(state: Any) -> Any:
        states, left, number = state
        states, out = jax.vmap(lambda states, own: one(states, jax.random.fold_in(own, number)))(states, keys)
        # at first agents are where nobody may ever come
        return states, left + (out & (number >= steps // 2)).astype(left.dtype), number + 1

    begin = (start, jnp.zeros(agents), jnp.zeros((), jnp.int32))
    states, left, _ = loops.repeat(steps, step, begin)
    y = jax.vmap(inputs.coordinates)(states)
    centre = jnp.mean(y, axis=0, keepdims=True)
    apart = jax.vmap(inputs.at_coordinates)(states, centre + wider * (y - centre))
    return Visited((apart, jnp.zeros(agents, jnp.int32)), left / (steps - steps // 2))
