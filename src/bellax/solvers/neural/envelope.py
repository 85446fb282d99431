"""What the slopes of V are where tomorrow sees states and actions through one function alone.

    V_s = r_s + r_a A + m (b_s - A),    f_a A = -f_s,

f the function through which today meets tomorrow (savings, what is left in a reservoir), b the bound and m its
multiplier: actions that move along A with a state leave tomorrow as it is, and by the envelope theorem nothing else
counts. Where tomorrow sees actions alone A is zero.
"""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.bellman.endogenous import cut_at, following
from bellax.model import shapes
from bellax.model.graph import Graph
from bellax.numerics import elimination
from bellax.problem.period import Period, as_float, by_action
from bellax.problem.plan import Plan

Rebuilt = Callable[[Array], Mapping[str, Array]]
"""A state, of its continuous states."""


def met_through(plan: Plan, moved: set[str]) -> str | None:
    """The function that is all of these states and of the actions that tomorrow sees; None where there is none, or
    where it has another number of numbers than there are of actions.

    Args:
        moved: continuous states.
    """
    return plan.once(("met through", tuple(sorted(moved))), lambda: _met_through(plan, moved))


def _met_through(plan: Plan, moved: set[str]) -> str | None:
    graph, controls = plan.graph, set(plan.controls)
    for name, slot in graph.slots.items():
        if slot.scope != "function" or graph.is_random(name):
            continue
        if not graph.leaves(name, "state") & moved or not controls <= graph.leaves(name, "action"):
            continue
        cut = cut_at(plan, name)
        beside = (cut.graph.leaves(node, "action", "state") & (controls | moved) for node in following(cut))
        if not any(beside) and _size(graph, name) == len(plan.coordinates):
            return name
    return None


def _size(graph: Graph, name: str) -> int:
    """How many numbers a function has; none where only parameters tell."""
    try:
        found = jax.eval_shape(lambda leaves: graph.compose([name])(**leaves), shapes.environment(graph, None))
    except Exception:  # a table that is indexed by a state: only with parameters is it known to be one
        return 0
    return math.prod(found[name].shape)


def along(
    period: Period,
    name: str,
    own: Float[Array, "n"],
    actions: Float[Array, "m"],
    states: Callable[[Array], Mapping[str, Array]],
) -> Float[Array, "m n"]:
    """A: how actions go with states so that a function stays as it is.

    Args:
        own: the continuous states of a state.
        states: the state, of its continuous states.
    """
    plan = period.plan
    evaluate = plan.graph.compose([name])

    def left(own: Array, actions: Array) -> Array:
        leaves: Mapping[str, Array] = {**states(own), **by_action(plan, actions)}
        return jnp.ravel(as_float(evaluate(**period.environment, **leaves)[name]))

    by_state, by_act = jax.jacfwd(left, (0, 1))(own, actions)
    return -elimination.solve(by_act, by_state)
