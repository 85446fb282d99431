"""What a trained actor does, with the value that least squares found for it."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.learning import nets
from bellax.learning.nets import Shape
from bellax.numerics.held import held
from bellax.problem.period import Period
from bellax.solution.gridless import Behaviour
from bellax.solution.policy import Chosen
from bellax.solvers.neural.inputs import Inputs
from bellax.solvers.neural.roles import Decided, Roles, Scale, Weights

_STILL = (
    "what DDPG and ActorCritic find does not move with parameters: it comes of draws and of many small steps, and has "
    "no derivative in what was solved for. Use bx.solvers.EulerNet() or bx.solvers.NeuralValueIteration() where "
    "parameters are differentiated, or differences with the same seed."
)


class Trained(Behaviour):
    """An actor, the critics that choose among combinations of discrete actions, and V.

    Derivatives in states are those of the nets; those in parameters are refused.

    Attributes:
        weights: of actor and critics.
        worth: weights of the net that V is.
        scale: of Q and V.
        inputs: how nets see states.
        roles, shape: of actor and critics, and of V.
    """

    weights: Weights
    worth: Float[Array, "v"]
    scale: Scale
    inputs: Inputs
    roles: Roles = eqx.field(static=True)
    shape: Shape = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        return True

    def decided(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> Decided:
        """What is done at one state."""
        return self.roles.decide(self.weights, self.scale, self.inputs, period, number, states)

    def chosen(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> Chosen:
        roles, decided = self.roles, self.decided(period, number, states)
        u = roles.see(self.inputs, number, states)
        value = self.scale.level + self.scale.unit * nets.forward(nets.layers(self.shape, self.worth), u)[0]
        if roles.plan.evaluate_stop is not None:
            value = jnp.where(decided.stop, period.payoff(states), value)
        value = jnp.where(self.inputs.layout.sound(states), value, jnp.nan)
        still = lambda x: held(x, period.environment, _STILL)  # noqa: E731
        others = value + self.scale.unit * (decided.values - decided.values[decided.place])
        one = (jnp.arange(roles.count, dtype=jnp.int32) == decided.place) & ~decided.stop
        return Chosen(
            still(value),
            {name: still(action) for name, action in decided.acted.actions.items()},
            decided.stop,
            still(others),
            one.astype(value.dtype),
        )
