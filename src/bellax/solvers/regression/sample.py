"""The states on which Q is regressed: paths that begin around a start, and move by the model's own laws.

Where paths begin in one state, nothing could be regressed in period 0. They begin around it, as far away as one period
leads: with x the coordinate of a continuous state,

    x_0 = x_start + (x_1 - x_start) - E[x_1 - x_start].

Categories are drawn afresh in every period, all alike: each has regressions of its own.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.discretisation import Discretisation
from bellax.problem.draws import Laws, draw_first
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments
from bellax.solvers.regression.behaviour import at_category, count

States = dict[str, Array]


def sample(
    numerics: Discretisation, arguments: Arguments, given: Mapping[str, Array], number: int, key: Array
) -> States:
    """States of every period, by name, shape (t, n, ...).

    Args:
        given: where paths begin, one row each; the middle of the bounds, or a draw of a process, for a state that is
            not among them.
        number: n.
    """
    problem = numerics.problem
    plan, periods = problem.plan, problem.clock.count
    keys = jax.random.split(jax.random.fold_in(key, periods), number)
    middle = _middle(numerics, arguments)

    def first(row: Array, own: Array) -> States:
        found = dict(middle)
        for name in plan.processes:
            found[name] = draw_first(problem, arguments, name, jax.random.fold_in(own, 0))
        found |= {name: rows[row % rows.shape[0]] for name, rows in given.items()}
        return found | _categories(plan, jax.random.fold_in(own, 1))

    def moved(period: Array, states: States, own: Array) -> States:
        laws = Laws(problem, arguments, period)
        own = jax.random.fold_in(own, 2 + period)
        some = jax.random.randint(jax.random.fold_in(own, 0), (), 0, count(plan)[1], jnp.int32)
        found = laws.advance(states, laws.today.choices(some), jax.random.fold_in(own, 1)).following
        return found | _categories(plan, jax.random.fold_in(own, 2))

    def step(states: States, period: Array) -> tuple[States, States]:
        return jax.vmap(lambda s, own: moved(period, s, own))(states, keys), states

    start = jax.vmap(first)(jnp.arange(number, dtype=jnp.int32), keys)
    after = jax.vmap(lambda s, own: moved(jnp.zeros((), jnp.int32), s, own))(start, jax.random.split(key, number))
    around = start | {name: _around(numerics, name, start[name], after[name]) for name in plan.continuous}
    _, states = jax.lax.scan(step, around, jnp.arange(periods, dtype=jnp.int32))
    return states


def _around(numerics: Discretisation, name: str, start: Float[Array, "n ..."], after: Float[Array, "n ..."]) -> Array:
    scale = numerics.plan.continuous[name].scale
    x, moved = scale.forward(start), scale.forward(after)
    change = moved - x
    return scale.inverse(x + change - jnp.mean(change, axis=0)[None])


def _middle(numerics: Discretisation, arguments: Arguments) -> States:
    """The middle of the bounds of each continuous state."""
    mesh = numerics.mesh(arguments, 0)
    codes = {name: jnp.zeros((), jnp.int32) for name in mesh.discrete_axes}
    middle = [0.5 * (line.coordinates[0] + line.coordinates[-1]) for line in mesh.lines]
    found = mesh.point(codes, jnp.stack(middle) if middle else jnp.zeros(0)).values
    return {name: found[name] for name in numerics.plan.continuous}


def _categories(plan: Plan, key: Array) -> States:
    place = jax.random.randint(key, (), 0, count(plan)[0], jnp.int32)
    return at_category(plan, place)
