"""What a policy is: pointwise, from the states of a period to what is done there. Nobody above asks how it is found.

`Remaximising` takes the maximum at the state that is asked, or does what a rule says; `Interpolating` looks up a table.
Simulations, certificates and rules that follow another policy know this interface alone. A policy is a pytree of
arrays: compiled programs take it as an argument.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.maximum import first_maximum
from bellax.bellman.setting import Setting
from bellax.model.distribution import drawn_by
from bellax.numerics.scalar import take
from bellax.problem.problem import Arguments


class Chosen(NamedTuple):
    """The answer at one state.

    Attributes:
        value: V.
        actions: by name; under taste shocks those of the most probable combination of the discrete ones.
        stop: whether to stop.
        choice_values: of every discrete combination, shape (k,).
        probabilities: with which each is chosen, shape (k,): one and zeros without taste shocks.
        alternatives: under taste shocks the actions of every combination, by name, shape (k, ...); None where one thing
            is done whatever they are.
    """

    value: Array
    actions: dict[str, Array]
    stop: Array
    choice_values: Array
    probabilities: Array
    alternatives: dict[str, Array] | None = None

    def drawn(self, shocks: Float[Array, "k"]) -> tuple[dict[str, Array], Array]:
        """The actions that taste shocks make the best, and the shock of their combination.

        Args:
            shocks: of every combination.
        """
        if self.alternatives is None:
            return self.actions, jnp.zeros(())
        best = first_maximum(drawn_by(self.choice_values) + shocks)
        # where there is no answer, there is none with shocks
        known = jnp.isfinite(self.value)
        taken = {n: jnp.where(known, take(own, best), self.actions[n]) for n, own in self.alternatives.items()}
        return taken, take(shocks, best)


Way = Callable[[Mapping[str, Array]], tuple[Chosen, Array]]
"""What is chosen at a state, and whether that is certain."""


class Policy(eqx.Module):
    """Pointwise, from the states of a period to what is done there.

    Attributes:
        arguments: parameters and literals.
        numerics: the problem and how it was discretised.
    """

    arguments: eqx.AbstractVar[Arguments]
    numerics: eqx.AbstractVar[Discretisation]

    @property
    @abstractmethod
    def smooth(self) -> bool:
        """Whether continuous actions move with states and parameters, so that they can be differentiated."""

    @property
    @abstractmethod
    def last(self) -> Value | None:
        """V after the last decision, on its mesh; None for an infinite horizon."""

    @abstractmethod
    def at(self, period: Any) -> Callable[[Mapping[str, Array]], Chosen]:
        """A pointwise function from the states of a period to what is chosen there."""

    def near(self, period: Any) -> Sequence[Way]:
        """Ways to answer as `at` does, each quicker than the next, and whether the answer is certain: if not, the next
        way is to be asked, and in the end `at`."""
        return ()


class Queried(eqx.Module):
    """What a user asks: a policy, and whose it is.

    Attributes:
        setting: the model and its numerics.
    """

    setting: eqx.AbstractVar[Setting]

    @property
    @abstractmethod
    def pointwise(self) -> Policy:
        """The policy, as simulations and certificates ask it."""

    def for_many(self) -> Policy:
        """The policy for very many states, of which some work beforehand makes each quicker."""
        return self.pointwise

    @abstractmethod
    def check_one(self) -> None:
        """Raises ModelError for a batch of policies."""

    def check_start(self, given: Mapping[str, Array], entry: Array, states: Mapping[str, Array]) -> None:
        """Raises ParameterError for agents who start where a solver has not looked, though it is between bounds.

        Args:
            given: the states that a user gave; others were drawn.
            entry: the period in which each agent enters.
            states: in which they do, one row an agent.
        """
