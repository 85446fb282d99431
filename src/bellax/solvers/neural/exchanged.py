"""Whether members of a group are exchangeable: who is called what must not matter for what a period brings.

At states and actions of which two members change places, or all move on by one, rewards and discounts are the same,
and actions, tomorrow's means and covariances change places with them. Every permutation is made of these two.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.problem.period import as_float, by_action, in_a_row
from bellax.solvers.neural.euler import Euler

_NOTHING = 1e-12  # of what a number is summed up of

States = Mapping[str, Array]
Brought = dict[str, tuple[Array, Array]]
"""What a period brings, by name, and how large what it is summed up of is."""


def asymmetry(euler: Euler, names: Sequence[str], members: int, points: tuple[States, Array], outputs: Array) -> Array:
    """By how much what a period brings differs, relative to its size, at the most.

    Args:
        names: of the states and actions of the group.
        members: how many there are.
        points: states and periods, one row each.
        outputs: of a net there, shape (n, m).
    """
    swapped, rolled = np.arange(members), np.roll(np.arange(members), 1)
    swapped[:2] = 1, 0

    def of(states: States, number: Array, x: Array, order: np.ndarray | None) -> Brought:
        """What a period brings, of which members changed places, who have them back then."""
        if order is not None:
            states = _placed(names, states, order)
            x = in_a_row(_placed(names, by_action(euler.plan, x), order))
        back = np.arange(members) if order is None else np.argsort(order)
        return _brings(euler, names, number, states, x, back)

    def most(found: Array, other: Array, size: Array) -> Array:
        # of what is nothing but rounding no digit has to agree, and of nothing at all there is none
        whole = jnp.max(jnp.abs(found)) + _NOTHING * jnp.max(size)
        return jnp.max(jnp.abs(found - other)) / jnp.where(whole == 0, 1.0, whole)

    def every(order: np.ndarray | None) -> Brought:
        return jax.vmap(lambda states, number, x: of(states, number, x, order))(*points, outputs)

    own = every(None)
    moved = [every(order) for order in (swapped, rolled)]
    return jnp.max(jnp.stack([most(own[name][0], other[name][0], own[name][1]) for other in moved for name in own]))


def _placed(names: Sequence[str], values: Mapping[str, Array], order: np.ndarray) -> dict[str, Array]:
    return {name: value[order] if name in names else value for name, value in values.items()}


def _brings(
    euler: Euler, names: Sequence[str], number: Array, states: States, x: Float[Array, "m"], back: np.ndarray
) -> Brought:
    """Actions, rewards, discounts, means and covariances of tomorrow's numbers, at one state."""
    acted = euler.acted(number, states, x)
    found = euler.averages(number).branches(states, acted.actions)
    later = {name: as_float(value) for name, value in found.following.items()}
    later = {name: value[:, back] if name in names else value for name, value in later.items()}
    rows = jnp.concatenate([value.reshape(found.weights.shape[0], -1) for value in later.values()], axis=1)
    mean = found.weights @ rows
    apart = rows - mean[None, :]
    actions, size = in_a_row(_placed(names, acted.actions, back)), found.weights @ jnp.abs(rows)
    paid, discount = found.weights * found.outcome.reward, found.weights * found.outcome.discount
    return {
        "actions": (actions, jnp.abs(actions)),
        "reward": (jnp.sum(paid), jnp.sum(jnp.abs(paid))),
        "discount": (jnp.sum(discount), jnp.sum(jnp.abs(discount))),
        "mean": (mean, size),
        "covariance": ((apart * found.weights[:, None]).T @ apart, jnp.max(size) ** 2),
    }
