"""How far V is from what the policy earns, where the model is not linear-quadratic.

    V_0(s_0) - J(s_0) = E sum_t beta^t (V_t(s_t) - E[r + beta V_{t+1}(s_{t+1})])

along paths of the policy, s_0 given. Of a linear-quadratic model away from bounds every term is zero, whatever is
drawn; elsewhere the terms are what V as a quadratic, and mean shocks on the path, leave out.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.problem.draws import Laws
from bellax.problem.period import by_action
from bellax.solvers.quadratic.expansion import Quadratic
from bellax.solvers.quadratic.path import Along, acted
from bellax.solvers.quadratic.trajectory import Trajectory

_PATHS, _FEW, _WIDE = 64, 16, 20  # paths; of states that are so many numbers, fewer


class Gap(NamedTuple):
    """By how much V at the start exceeds what the policy earns: an estimate, and its standard error."""

    mean: Float[Array, ""]
    error: Float[Array, ""]


def gap(along: Along, found: Trajectory, last: Quadratic | None, periods: int) -> Gap:
    """The gap along simulated paths from where the trajectory begins.

    Args:
        last: V after the last decision as the trajectory has it; None where there is no end.
        periods: how many are simulated.
    """
    problem, layout, plan = along.problem, along.layout, along.layout.plan
    forever = last is None
    rules, values = found.rules, found.values
    after = values if last is None else jax.tree.map(lambda a, b: jnp.concatenate([a[1:], b[None]]), values, last)

    def step(carry: tuple[Array, ...], given: Any) -> tuple[Any, None]:
        x, share, missed, weight, key = carry
        number, rule, value, later = given
        stage = along.stage(number)
        u = acted(stage.bounds, rule, x).action
        every = stage.lottery(x, u)
        q = every.weights @ (every.rewards + every.discounts * jax.vmap(later)(every.following))
        drawn = Laws(problem, along.arguments, number).advance(
            layout.by_state(x), by_action(plan, u), jax.random.fold_in(key, number)
        )
        carry = (
            layout.in_a_row(drawn.following),
            share * drawn.discount,
            missed + share * (value(x) - q),
            weight + share,
            key,
        )
        return carry, None

    numbers = jnp.arange(periods, dtype=jnp.int32)
    pick = lambda tree: jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (periods, *leaf.shape[1:])), tree)  # noqa: E731
    given = (numbers, *(pick(tree) if forever else tree for tree in (rules, values, after)))

    def one(key: Array) -> Array:
        start = (values.at[0], jnp.ones(()), jnp.zeros(()), jnp.zeros(()), key)
        (x, share, missed, weight, _), _ = jax.lax.scan(step, start, given)
        if last is None:
            return missed * (weight + share / (1 - share ** (1 / periods))) / weight
        return missed + share * (last(x) - along.terminal(x))

    paths = _FEW if layout.states > _WIDE else _PATHS
    missed = jax.vmap(one)(jax.random.split(jax.random.key(0), paths))
    return Gap(jnp.mean(missed), jnp.std(missed) / paths**0.5)
