"""A policy for very many states: the search for the maximum starts from a table, and is over after two or three steps.

A table of optimal shares u is interpolated between the nodes; where that is right to a part in a million, two steps of
Newton's method from there are right to rounding. Where the last of them still moves, or where u jumps between nodes, so
that between them there may be another maximum, nothing is certain, and the search has to be made in full.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.bellman.continuation import Value
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.maximum import Optimum
from bellax.bellman.objective import Decision
from bellax.bellman.reach import beyond, numbers, reach
from bellax.model.spaces import Discrete, MarkovChain
from bellax.problem.problem import Arguments
from bellax.solution.policy import Chosen, Policy
from bellax.solution.query import Remaximising, answered
from bellax.solution.record import axis_states
from bellax.solution.tabulated import Interpolating, look_up

_JUMP = 0.05  # of the way between the bounds of an action
_MOST = 0.95  # of the nodes, by whose error the number of steps is chosen
_STEPS = {1e-6: 2, 1e-3: 3}  # by the error of the table between nodes, which each step squares


class Seeded(Policy):
    """A policy that takes the maximum where it is asked, with a table of where that is at the nodes.

    Attributes:
        sought: the policy.
        u: shares by node, shape ([t], mesh, 1).
        steady: one where u is close to that of every neighbour, else zero; shape ([t], mesh, 1).
        steps: of Newton's method.
    """

    arguments: Arguments
    sought: Remaximising
    u: Array
    steady: Array
    steps: int = eqx.field(static=True)
    numerics: Discretisation = eqx.field(static=True)

    @property
    def smooth(self) -> bool:
        """Whether the maximum lies between candidates."""
        return self.sought.smooth

    @property
    def last(self) -> Value | None:
        """V after the last decision."""
        return self.sought.last

    def at(self, period: Any) -> Callable[[Mapping[str, Array]], Chosen]:
        """A pointwise function from the states of a period to what is chosen there, by a full search."""
        return self.sought.at(period)

    def near(self, period: Any) -> Callable[[Mapping[str, Array]], tuple[Chosen, Array]]:
        """As `at`, from the table, and whether the answer is certain."""
        numerics = self.numerics
        objective, today = numerics.solved_period(self.arguments, self.sought.values, period)
        u, steady = (leaf[period] if numerics.problem.finite else leaf for leaf in (self.u, self.steady))
        ends, only = reach(today), jnp.zeros((), jnp.int32)

        def ask(states: Mapping[str, Array]) -> tuple[Chosen, Array]:
            between = today.locate(states, remember=True)
            share = jnp.clip(look_up(today, u, between), 0.0, 1.0)
            calm = look_up(today, steady, between)[0] >= 1 - 1e-9
            point = today.locate(states)
            best, sure = numerics.maximiser.near(objective, point, only, share, self.steps)
            decision = Decision(only, best.u)
            optimum = Optimum(
                best.value, decision, best.value[None], best.u[None], best.value != -jnp.inf, best.evaluations
            )
            inside = ~jnp.any(beyond(ends, numbers(numerics.plan, states)))
            return answered(numerics, objective, today, point, optimum), sure & calm & inside

        return ask


def seeded(sought: Remaximising, table: Interpolating) -> Policy:
    """A policy with the table of it, or as it was where the table is too coarse to start from."""
    problem, u = sought.numerics.problem, table.u[..., 0, :]
    lead = 1 if problem.finite else 0
    steady, error = jnp.ones(u.shape[:-1], bool), 0.0
    for axis, name in enumerate(axis_states(problem), lead):
        if isinstance(problem.plan.states[name], Discrete | MarkovChain):
            continue  # nobody is between two categories
        move = jnp.diff(u[..., 0], axis=axis)
        edge = jnp.ones_like(lax.slice_in_dim(move, 0, 1, axis=axis), bool)
        close = jnp.abs(move) <= _JUMP
        steady &= jnp.concatenate([close, edge], axis=axis) & jnp.concatenate([edge, close], axis=axis)
        bend = np.abs(np.diff(np.asarray(move), axis=axis))
        error += float(np.quantile(bend, _MOST)) / 8 if bend.size else np.inf
    steps = next((count for most, count in _STEPS.items() if error <= most), None)
    if steps is None:
        return sought
    return Seeded(
        arguments=sought.arguments,
        sought=sought,
        u=u,
        steady=jnp.where(steady, 1.0, 0.0)[..., None],
        steps=steps,
        numerics=sought.numerics,
    )
