"""Other actions than the actor's: shares all over the way between bounds, which say whether a lesser maximum was found.

What leads further out of the box than the actor goes is no candidate, since the critic knows nothing there.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from bellax.learning import sampling
from bellax.numerics.scalar import take
from bellax.problem.period import Combination, over_combinations
from bellax.solvers.neural.bellman import Bellman, inside
from bellax.solvers.neural.euler import States
from bellax.solvers.neural.evaluation import Looked
from bellax.solvers.neural.stakes import mean_of_finite

_BEYOND = 0.25  # of the way between bounds: how far beyond one an output asks that is to sit there
_SPAN = 3.0  # of outputs, for actions that have not two bounds


class Better(NamedTuple):
    """The best candidate of every combination at one state.

    Attributes:
        outputs: of it, shape (k, m).
        gain: by how much its Q is above the actor's, shape (k,); not positive where none is.
        stake: by how much the best of all is above the mean of what was tried.
    """

    outputs: Float[Array, "k m"]
    gain: Float[Array, "k"]
    stake: Float[Array, ""]


Far = Callable[[Looked], Float[Array, ""]]
"""How far out one may be tomorrow; zero where V is known."""


class Candidates:
    """Shares to try, all at once and one action after the other.

    Args:
        count: of shares of an action; four times as many of several actions together.
        far: what leads further out than the actor goes is no candidate; by default beyond the box.
    """

    def __init__(self, bellman: Bellman, count: int, seed: int, far: Far | None = None) -> None:
        self.bellman, self.far = bellman, bellman.excess if far is None else far
        size = bellman.head.size
        line = np.linspace(0.0, 1.0, count)
        line[[0, -1]] = -_BEYOND, 1 + _BEYOND
        rows, which = [], []
        for number in range(size):  # one action moves, the others are the actor's
            own = np.zeros((count, size), bool)
            own[:, number] = True
            rows.append(np.repeat(line[:, None], size, axis=1))
            which.append(own)
        if size > 1:
            rows.append(sampling.points(4 * count, size, seed))
            which.append(np.ones((4 * count, size), bool))
        with jax.ensure_compile_time_eval():
            self.shares = jnp.asarray(np.concatenate(rows), float)
            self.which = jnp.asarray(np.concatenate(which))

    def better(self, number: Array, states: States, outputs: Float[Array, "k m"], critic: Array) -> Better:
        """The best candidate of every combination at one state."""
        bellman = self.bellman

        def of(combination: Combination) -> tuple[Array, ...]:
            x = take(outputs, bellman.place(number, combination))
            own = bellman.option(number, states, combination, x)
            base, reach = bellman.q(own, critic), self.far(own.row)
            bounded = jnp.isfinite(own.acted.lower) & jnp.isfinite(own.acted.upper)
            every = jax.vmap(lambda share, moves: jnp.where(moves, self._outputs(share, x, bounded), x))(
                self.shares, self.which
            )

            def worth(x: Array) -> Array:
                option = bellman.option(number, states, combination, x)
                far = self.far(option.row)
                value = bellman.q(option, critic)
                allowed = (inside(far) | (far <= reach)) & jnp.isfinite(value)
                return jnp.where(allowed, value, -jnp.inf)

            values = jax.vmap(worth)(every)
            best = jnp.argmax(values).astype(jnp.int32)
            gain = jnp.where(own.feasible, take(values, best) - base, -jnp.inf)
            return take(every, best), gain, jnp.where(own.feasible, jnp.append(values, base), -jnp.inf)

        x, gain, tried = over_combinations(bellman.plan, of)
        return Better(x, gain, jnp.max(tried) - mean_of_finite(jnp.ravel(tried)))

    def _outputs(self, share: Array, x: Array, bounded: Array) -> Array:
        """Outputs for shares; where an action has not two bounds, around the actor's."""
        parts = []
        for place, component in enumerate(self.bellman.plan.coordinates):
            shares = self.bellman.head.of(component.name)
            around = x[place] + _SPAN * jnp.maximum(1.0, jnp.abs(x[place])) * (2 * share[place] - 1)
            parts.append(jnp.where(bounded[place], shares.output(share[place]), around))
        return jnp.stack(parts)
