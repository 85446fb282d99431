"""What nets do where there are discrete actions, or one may stop: the best of all by one look ahead with the critic."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.problem.period import Period, combinations
from bellax.problem.problem import Arguments
from bellax.solution.gridless import Behaviour
from bellax.solution.policy import Chosen
from bellax.solvers.neural.evaluation import Scale


class ChoosingBehaviour(Behaviour):
    """The best combination of discrete actions, with the actor's continuous ones.

    Attributes:
        actor, critic: weights, one vector each.
        level, unit: V is the critic times the unit, beside a level.
        arguments: of the model.
        prepared: the model under its solver, which has `bellman`.
    """

    actor: Float[Array, "w"]
    critic: Float[Array, "v"]
    level: Array
    unit: Array
    arguments: Arguments
    prepared: Any = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        return True

    def chosen(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> Chosen:
        bellman = self.prepared.bellman(self.arguments, Scale(self.level, self.unit))
        outputs = bellman.outputs(self.actor)(number, states)
        found = bellman.greedy(jnp.asarray(number), states, outputs, self.critic)
        value = jnp.where(bellman.seen.layout.sound(states), found.value, jnp.nan)
        one = jnp.arange(len(combinations(period.plan)), dtype=jnp.int32) == found.place
        probabilities = one.astype(jnp.result_type(float))
        return Chosen(value, found.option.acted.actions, found.stop, found.choice_values, probabilities)
