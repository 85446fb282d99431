"""A quadratic advantage: Q in actions is a parabola around the policy, so that its maximum is known.

    Q(s, x) = V(s) - (x - mu(s))' P(s) (x - mu(s)) / 2,    P = L L',  L lower triangular with a positive diagonal,

where x are outputs that become actions (heads.py). It is fitted to Q(s, x) = E[r + b V(s')] at actions around the
policy of the last round, closer from round to round, since Q is a parabola nearby. Sums and differences of the
equations at x0 + h d, x0 and x0 - h d are the same equations as they are: they weigh level, slope and curvature alike.

Source: Gu, Lillicrap, Sutskever & Levine (2016), "Continuous deep Q-learning with model-based acceleration". Departs
    from it in: exact expectations, and least squares by Levenberg and Marquardt.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bellax.learning import nets
from bellax.learning.levenberg import Fit, LevenbergMarquardt
from bellax.learning.nets import Shape
from bellax.solvers.neural.bellman import ActorCritic, Bellman
from bellax.solvers.neural.evaluation import Looked
from bellax.solvers.neural.points import Points

_LEAST = 1e-3  # of the first curvature: what the diagonal of L is at least


class Sampled(NamedTuple):
    """Actions that are tried in a round, and what they bring.

    Attributes:
        around: outputs x0 at the points, shape (n, m).
        reach: h.
        rows: at x0 and then at x0 + h d and x0 - h d, shape (n, 1 + 2 d, ...).
        curvature: what slopes and curvatures are divided by.
        key: of draws, as data.
        number: of the round.
    """

    around: Float[Array, "n m"]
    reach: Float[Array, ""]
    rows: Looked
    curvature: Float[Array, ""]
    key: Array
    number: Array


class AdvantageFit(LevenbergMarquardt, ActorCritic):
    """The fit of V, mu and P together; made inside a compiled program.

    Args:
        recipe: a `Quadratic`.
    """

    def __init__(self, bellman: Bellman, points: Points, recipe: Any, seed: int) -> None:
        super().__init__(self._groups, self._refresh, (recipe.budget,) * recipe.rounds + (recipe.finish,))
        self.bellman, self.points, self.recipe, self.seed = bellman, points, recipe, seed
        size = bellman.head.size
        self.shape = Shape(bellman.shapes[0].inputs, recipe.hidden, size * (size + 1) // 2)
        pairs = [np.eye(size)[i] + np.eye(size)[j] for i in range(size) for j in range(i)]
        with jax.ensure_compile_time_eval():
            self.directions = jnp.asarray(np.stack([*np.eye(size), *pairs]), float)
        self.cuts = np.cumsum([shape.weights for shape in bellman.shapes])

    def begin(self, actor: Array, critic: Array) -> Fit:
        """The first state."""
        weights = jnp.concatenate([actor, critic, nets.flat(self.shape, self.seed + 2)])
        key = jax.random.key_data(jax.random.key(self.seed))
        return self.init(weights, self._sampled(weights, key, jnp.zeros((), jnp.int32)))

    def weights(self, state: Fit) -> tuple[Array, Array]:
        return self.split(state.weights)[:2]

    def split(self, weights: Array) -> tuple[Array, Array, Array]:
        """Weights of mu, of V and of P."""
        first, second = self.cuts
        return weights[:first], weights[first:second], weights[second:]

    def _refresh(self, weights: Array, frozen: Sampled) -> Sampled:
        return self._sampled(weights, frozen.key, frozen.number + 1)

    def _sampled(self, weights: Array, key: Array, number: Array) -> Sampled:
        """Actions around the policy of now."""
        recipe, bellman = self.recipe, self.bellman
        own = jax.random.fold_in(jax.random.wrap_key_data(key), number)
        share = number.astype(float) / recipe.rounds
        reach = (
            recipe.spread * (recipe.closer / recipe.spread) ** share * jax.random.uniform(own, minval=0.8, maxval=1.2)
        )
        outputs = bellman.outputs(self.split(weights)[0])
        around = jax.vmap(lambda states, number: outputs(number, states)[0])(*self.points)

        def look(states: Any, number: Array, x: Array) -> Looked:
            steps = jnp.concatenate([jnp.zeros_like(self.directions[:1]), self.directions, -self.directions])
            return jax.vmap(lambda d: bellman.option(number, states, (), x + reach * d).row)(steps)

        rows = jax.vmap(look)(*self.points, around)
        critic = self.split(weights)[1]
        worth = jax.vmap(jax.vmap(lambda row: bellman.worth(row, critic)))(rows)
        bends = self._apart(worth / bellman.evaluation.scale.unit, reach)[2]
        curvature = jnp.mean(jnp.abs(bends)) + 1e-12
        return lax.stop_gradient(Sampled(around, reach, rows, curvature, key, number))

    def _apart(self, values: Float[Array, "... k"], reach: Array) -> tuple[Array, Array, Array]:
        """Level, slopes and curvatures of values at x0, x0 + h d and x0 - h d."""
        count = self.directions.shape[0]
        middle, above, below = values[..., :1], values[..., 1 : 1 + count], values[..., 1 + count :]
        return middle, (above - below) / (2 * reach), (above - 2 * middle + below) / reach**2

    def _groups(self, frozen: Sampled, number: Array) -> Any:
        one = lambda weights, row: self._residual(weights, frozen, *row)  # noqa: E731
        return [(one, (*self.points, frozen.around, frozen.rows))]

    def _residual(
        self, weights: Array, frozen: Sampled, states: Any, number: Array, around: Array, rows: Looked
    ) -> Array:
        """What is left of the equations at the actions of one point: level, slopes, curvatures."""
        bellman = self.bellman
        actor, critic, metric = self.split(weights)
        mu = bellman.outputs(actor)(number, states)[0]
        lower = self.lower(metric, number, states, frozen.curvature)
        steps = jnp.concatenate([jnp.zeros_like(self.directions[:1]), self.directions, -self.directions])
        away = jax.vmap(lambda d: lower.T @ (around + frozen.reach * d - mu))(steps)
        worth = jax.vmap(lambda row: bellman.worth(row, critic))(rows)
        own = bellman.evaluation.worth(critic)(number, states)
        # what is alike in all actions leaves no rounding in their differences
        first = worth[:1]
        apart = -0.5 * jnp.sum(away**2, axis=1) - (worth - first) / bellman.evaluation.scale.unit
        level, slopes, bends = self._apart(apart, frozen.reach)
        level = level + (own - first) / bellman.evaluation.scale.unit
        return jnp.concatenate([level, slopes / frozen.curvature, bends / frozen.curvature])

    def lower(self, metric: Array, number: Array, states: Any, curvature: Array) -> Float[Array, "m m"]:
        """L, with L L' = P, in units of V."""
        size = self.bellman.head.size
        outputs = nets.forward(nets.layers(self.shape, metric), self.bellman.seen.of(number, states))
        places = np.tril_indices(size)
        found = jnp.zeros((size, size)).at[places].set(outputs)
        diagonal = jnp.diagonal(found)
        return jnp.sqrt(curvature) * (found + jnp.diag(_LEAST + jax.nn.softplus(diagonal + 0.54) - diagonal))
