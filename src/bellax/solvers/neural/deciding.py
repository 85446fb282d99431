"""What a trained actor does, with values that least squares found for it.

    V(s) = max over k of W_k(s),    W_k(s) = E[r + d V(s')] where k is chosen, with the actor's actions,

k through the combinations of discrete actions, and through stopping where the model has that.
"""

from collections.abc import Mapping
from typing import NamedTuple

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
from bellax.solvers.neural.heads import Acted
from bellax.solvers.neural.inputs import Inputs
from bellax.solvers.neural.roles import Roles, Scale

_STILL = (
    "what DDPG and ActorCritic find does not move with parameters: it comes of draws and of many small steps, and has "
    "no derivative in what was solved for. Use bx.solvers.EulerNet() or bx.solvers.NeuralValueIteration() where "
    "parameters are differentiated, or differences with the same seed."
)


class Decided(NamedTuple):
    """What is done at one state.

    Attributes:
        acted: the actions.
        place: of their combination.
        stop: whether to stop.
        value: V.
        values: of every combination, shape (k,); -inf where it may not be chosen.
    """

    acted: Acted
    place: Array
    stop: Array
    value: Array
    values: Float[Array, "k"]


class Trained(Behaviour):
    """An actor, and what every combination of discrete actions is worth.

    Derivatives in states are those of the nets; those in parameters are refused.

    Attributes:
        actor, worth: weights of the two nets.
        scale: of W.
        inputs: how nets see states.
        roles, shape: of the actor, and of the net that W is.
    """

    actor: Float[Array, "w"]
    worth: Float[Array, "v"]
    scale: Scale
    inputs: Inputs
    roles: Roles = eqx.field(static=True)
    shape: Shape = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        return True

    def said(self, u: Float[Array, "i"]) -> Float[Array, "k"]:
        """W of what is seen."""
        return self.scale.level + self.scale.unit * nets.forward(nets.layers(self.shape, self.worth), u)

    def decided(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> Decided:
        """What is done at one state."""
        roles = self.roles
        u = roles.see(self.inputs, number, states)
        x = roles.candidates(self.actor, u)
        values = jnp.where(roles.allowed(period, states, x), self.said(u), -jnp.inf)
        place = jnp.argmax(values).astype(jnp.int32)
        value, stop = values[place], jnp.zeros((), bool)
        if roles.plan.evaluate_stop is not None:
            payoff = period.payoff(states)
            stop, value = payoff >= value, jnp.maximum(payoff, value)
        return Decided(roles.head.act(period, states, x[place], place), place, stop, value, values)

    def chosen(self, period: Period, number: Array | int, states: Mapping[str, Array]) -> Chosen:
        decided = self.decided(period, number, states)
        known = self.inputs.layout.sound(states)
        still = lambda x: held(x, period.environment, _STILL)  # noqa: E731
        one = (jnp.arange(self.roles.count, dtype=jnp.int32) == decided.place) & ~decided.stop
        return Chosen(
            still(jnp.where(known, decided.value, jnp.nan)),
            {name: still(action) for name, action in decided.acted.actions.items()},
            decided.stop,
            still(jnp.where(known, decided.values, jnp.nan)),
            one.astype(decided.value.dtype),
        )
