"""Nets whose last layers are of each period their own, as a policy and as the value of it."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import nets
from bellax.learning.stages import Stages
from bellax.problem.period import Period
from bellax.solution.gridless import Behaviour, certain
from bellax.solution.policy import Chosen
from bellax.solvers.neural.evaluation import Scale
from bellax.solvers.neural.heads import Head
from bellax.solvers.neural.inputs import Inputs


class StagedBehaviour(Behaviour):
    """Continuous actions by one net, V by another, whose last layers may be of each period their own.

    Attributes:
        actor, critic: weights, one vector each.
        scale: of V.
        shift: what is added to V, by period.
        inputs: how nets see states.
        head: how outputs become actions.
        nets: the policy's, and that of V.
    """

    actor: Float[Array, "w"]
    critic: Float[Array, "v"]
    scale: Scale
    shift: Float[Array, "t"]
    inputs: Inputs
    head: Head = eqx.field(static=True)
    nets: tuple[Stages, Stages] = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        return True

    def chosen(self, period: Period, number: Array | int, states: Any) -> Chosen:
        u = self.inputs.of(number, states)
        acted = self.head.act(period, states, nets.forward(self.nets[0].at(self.actor, number), u))
        value = self.scale.level + self.scale.unit * nets.forward(self.nets[1].at(self.critic, number), u)[0]
        value = value + self.shift[jnp.clip(jnp.asarray(number), 0, self.shift.shape[0] - 1)]
        known = self.inputs.layout.sound(states)
        return certain(period.plan, jnp.where(known, value, jnp.nan), acted.actions)
