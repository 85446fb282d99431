"""Whether actions that a policy does not take are better, by V: shares are tried all over the way between bounds.

First-order conditions, and gradients of returns, hold on every hill, and see no step of a reward. What leads to where V
is a guess is not tried, and what V's own error may pretend is not counted.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.solvers.neural.bellman import Bellman
from bellax.solvers.neural.candidates import Candidates, Far
from bellax.solvers.neural.euler import Outputs
from bellax.solvers.neural.points import Points

_SHARES = 41  # that are tried of every action
_POINTS = 64


class Elsewhere(NamedTuple):
    """What other actions bring in a period.

    Attributes:
        gain: the most that one of them is better by, at some point.
        stake: by how much the best is better than any, on average: what decisions are about.
    """

    gain: Float[Array, ""]
    stake: Float[Array, ""]


def elsewhere(
    at: Callable[[Array], tuple[Bellman, Array]],
    outputs: Outputs,
    points: tuple[Any, Array],
    seed: int,
    far: Callable[[Array], Far] | None = None,
) -> Elsewhere:
    """Looks at some of the points, the first and the last of them.

    Args:
        at: the operator in a period, with weights of tomorrow's V.
        outputs: of the policy.
        far: of a period, how far out one is tomorrow; by default beyond the box.
    """

    def one(states: Any, number: Array) -> tuple[Array, Array]:
        bellman, critic = at(number)
        candidates = Candidates(bellman, _SHARES, seed, None if far is None else far(number))
        found = candidates.better(number, states, outputs(number, states)[None], critic)
        return jnp.max(found.gain), found.stake

    half = _POINTS // 2
    few = jax.tree.map(lambda leaf: jnp.concatenate([leaf[:half], leaf[-half:]]), Points(*points))
    gain, stake = jax.vmap(one)(*few)
    none = lambda x: jnp.where(jnp.isfinite(x), x, 0.0)  # noqa: E731
    return Elsewhere(jnp.maximum(jnp.max(none(gain)), 0.0), jnp.mean(none(stake)))
