"""Where a policy leads: states along simulated paths, at which equations are asked to hold, too."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.numerics import loops
from bellax.problem.draws import Laws
from bellax.problem.problem import Arguments, Problem
from bellax.solvers.neural.inputs import Inputs

Rule = Callable[[Array, Mapping[str, Array]], dict[str, Array]]
"""Actions in a period and a state."""


def visited(
    problem: Problem, arguments: Arguments, inputs: Inputs, rule: Rule, start: Any, key: Array, steps: int, wider: float
) -> tuple[dict[str, Array], Array]:
    """States in which agents are after some periods without end, and the period, one row an agent.

    Args:
        start: states to begin with, one row an agent.
        wider: by how much they are drawn apart afterwards, in the coordinates of the inputs.
    """
    agents = jax.tree.leaves(start)[0].shape[0]
    keys = jax.random.split(key, agents)

    def one(states: dict[str, Array], own: Array, step: Array) -> dict[str, Array]:
        laws = Laws(problem, arguments, 0)
        found = laws.advance(states, rule(jnp.zeros((), jnp.int32), states), jax.random.fold_in(own, step))
        moved = _inside(inputs, found.following)
        # a path that has no number, or left the box for good, begins again
        fine = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(moved)]))
        return jax.tree.map(lambda new, old: jnp.where(fine, new, old), moved, states)

    def step(state: tuple[dict[str, Array], Array]) -> tuple[dict[str, Array], Array]:
        states, number = state
        return jax.vmap(lambda states, own: one(states, own, number))(states, keys), number + 1

    states, _ = loops.repeat(steps, step, (start, jnp.zeros((), jnp.int32)))
    y = jax.vmap(inputs.coordinates)(states)
    centre = jnp.mean(y, axis=0)
    apart = centre + wider * (y - centre)
    return jax.vmap(inputs.at_coordinates)(states, apart), jnp.zeros(agents, jnp.int32)


def _inside(inputs: Inputs, states: Mapping[str, Array]) -> dict[str, Array]:
    return inputs.at_coordinates(states, inputs.coordinates(states))
