"""What nets do: the policy that a net's outputs are, and the value that another net is."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import nets
from bellax.learning.nets import Shape
from bellax.problem.period import Period
from bellax.solution.gridless import Behaviour, certain
from bellax.solution.policy import Chosen
from bellax.solution.query import masked
from bellax.solvers.neural.heads import Head
from bellax.solvers.neural.inputs import Inputs
from bellax.solvers.neural.wiring import Whole, Wiring


class NetBehaviour(Behaviour):
    """Continuous actions by one net, V by another.

    Attributes:
        actor, critic: weights, one vector each.
        level, unit: V is the critic times the unit, beside a level.
        inputs: how nets see states.
        head: how outputs become actions.
        shapes: of the actor and of the critic.
        wiring: of both.
    """

    actor: Float[Array, "w"]
    critic: Float[Array, "v"]
    level: Array
    unit: Array
    inputs: Inputs
    head: Head = eqx.field(static=True)
    shapes: tuple[Shape, Shape] = eqx.field(static=True)
    wiring: Wiring = eqx.field(static=True, default=Whole())

    @property
    def smooth(self) -> bool:
        return True

    def outputs(self, number: Array | int, states: Mapping[str, Array]) -> Array:
        """What the policy net says."""
        return self.wiring.outputs(nets.layers(self.shapes[0], self.actor), self.inputs.of(number, states))

    def worth(self, number: Array | int, states: Mapping[str, Array]) -> Array:
        """V."""
        found = self.wiring.worth(nets.layers(self.shapes[1], self.critic), self.inputs.of(number, states))
        return self.level + self.unit * found

    def chosen(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> Chosen:
        acted = self.head.act(period, states, self.outputs(number, states))
        known = self.inputs.layout.sound(states)
        actions = {name: masked(known, action) for name, action in acted.actions.items()}
        return certain(period.plan, jnp.where(known, self.worth(number, states), jnp.nan), actions)
