"""What regressions say is done: the best of the regressed values, or stopping where that pays more."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bellax.bellman.maximisers.maximum import first_maximum
from bellax.model.spaces import Discrete, MarkovChain
from bellax.numerics.scalar import take
from bellax.problem.categories import as_seen, category, nearest_place
from bellax.problem.period import Period, combinations
from bellax.problem.plan import Plan
from bellax.solution.gridless import Behaviour
from bellax.solution.policy import Chosen
from bellax.solvers.regression.basis import Basis, Measure


class Regressed(Behaviour):
    """Q of every combination of discrete actions in every period, as regressions have it.

    Attributes:
        coefficients: shape (t, c, k, f), of the category of the discrete states, and of the combination of actions.
        least, most: of what Q was regressed on, beyond which it says nothing, shape (t, c, k).
        measure: how states are standardised, by period along the first axis.
    """

    coefficients: Float[Array, "t c k f"]
    least: Float[Array, "t c k"]
    most: Float[Array, "t c k"]
    measure: Measure
    basis: Basis = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        return True  # there is no continuous action

    def chosen(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> Chosen:
        number = jnp.minimum(jnp.asarray(number, jnp.int32), self.coefficients.shape[0] - 1)
        place = category_of(self.basis.plan, states)
        measure = jax.tree.map(lambda leaf: leaf[number], self.measure)
        seen = self.basis.seen(period, states)
        fitted = jax.vmap(lambda own: self.basis.value(measure, seen, own))(take(self.coefficients[number], place))
        q = jnp.clip(fitted, take(self.least[number], place), take(self.most[number], place))
        best, payoff = first_maximum(q), period.payoff(states)
        highest = take(q, best)
        chances = (jnp.arange(q.shape[0], dtype=jnp.int32) == best).astype(q.dtype)
        stop = payoff > highest
        return Chosen(jnp.where(stop, payoff, highest), period.choices(best), stop, q, chances)

    def beyond(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> dict[str, Array]:
        number = jnp.clip(jnp.asarray(number, jnp.int32), 0, self.coefficients.shape[0] - 1)
        measure = jax.tree.map(lambda leaf: leaf[number], self.measure)
        return self.basis.beyond(measure, states)


def categories(plan: Plan) -> dict[str, Array]:
    """What functions see of the categories of each state that has them, by name."""
    finite = {name: space for name, space in plan.states.items() if isinstance(space, Discrete | MarkovChain)}
    return {name: as_seen(space.values) for name, space in finite.items() if space.values is not None}


def category_of(plan: Plan, states: Mapping[str, Array]) -> Int[Array, ""]:
    """The number of the categories of a state among all combinations of them."""
    place = jnp.zeros((), jnp.int32)
    for name, known in categories(plan).items():
        space = plan.states[name]
        discrete = isinstance(space, Discrete)
        own = category(space, states[name])[0] if discrete else nearest_place(known, states[name])
        place = place * known.shape[0] + own
    return place


def at_category(plan: Plan, place: Int[Array, ""]) -> dict[str, Array]:
    """The states of a combination of categories: the inverse of `category_of`."""
    found = {}
    for name, known in reversed(categories(plan).items()):
        found[name] = take(known, place % known.shape[0])
        place = place // known.shape[0]
    return found


def count(plan: Plan) -> tuple[int, int]:
    """How many combinations there are of categories of states, and of discrete actions."""
    states = 1
    for known in categories(plan).values():
        states *= known.shape[0]
    return states, len(combinations(plan))
