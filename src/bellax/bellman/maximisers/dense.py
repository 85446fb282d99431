"""Stationary models without a continuous state: Q is affine in V, and everything but V is computed once.

Q(s, a) = R(s, a) + sum over s' of b P(s, a, s') V(s'). Where P is a table it is read in place: copying one of a hundred
megabytes costs as much as ten Bellman steps. Otherwise `jax.linearize` splits Q into the constant and the linear
part, and evaluates what the linear part needs (rewards, probabilities, places) outside the loop over V. What is kept
has the size of all pairs and their shock nodes; where it is beyond the budget of bytes, Q is swept in chunks instead.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.chunks import Node, in_flight, nodes_of
from bellax.bellman.continuation import Value
from bellax.bellman.maximisers.maximum import Plane, guarded
from bellax.bellman.mesh import Mesh
from bellax.bellman.objective import Decision, Objective
from bellax.model.laws import Markov
from bellax.model.slots import table_node
from bellax.numerics.interpolate import barrier
from bellax.problem.period import as_float, combinations
from bellax.problem.plan import Plan


def plane(problem: Callable[[Value], Objective], mesh: Mesh, memory: int) -> Plane | None:
    """Q of a model without continuous states and actions, None where it does not fit; arguments as in `Maximiser`."""
    plan = mesh.plan
    codes = jnp.arange(len(combinations(plan)), dtype=jnp.int32)
    passing = in_flight(math.prod(mesh.shape), len(codes))
    if passing > memory:
        return None
    nothing = jnp.zeros(0)
    objective = problem(Value(jnp.zeros(mesh.shape), ()))
    environment = objective.period.environment
    table, copied = _table(plan, environment)

    def q(levels: Array) -> Array:
        objective = problem(Value(levels, ()))

        def at(node: Node) -> Array:
            point = mesh.point(node.codes, node.coordinates)
            return jax.vmap(lambda k: guarded(objective, point, Decision(k, nothing)))(codes)

        return jax.vmap(at)(nodes_of(mesh))

    if table is None:
        constant, linear = jax.linearize(q, jnp.zeros(mesh.shape))
        # what the linear part keeps is its leaves; a program that drops them again never makes them
        return Plane(constant, linear) if passing + _bytes((constant, linear)) <= memory else None

    def known(node: Node, k: Array) -> tuple[Array, Array]:
        point = mesh.point(node.codes, node.coordinates)
        actions, allowed = objective.actions(point, Decision(k, nothing))
        found = objective.period.known(point.values, actions)
        allowed = allowed & objective.period.feasible(point.values, actions)
        reward = jnp.maximum(as_float(found["slot:reward"]), barrier(jnp.result_type(float)))
        return jnp.where(allowed, reward, -jnp.inf), objective.period.discount(found)

    reward, discount = jax.vmap(lambda node: jax.vmap(lambda k: known(node, k))(codes))(nodes_of(mesh))
    if passing + _bytes((reward, discount)) + copied > memory:
        return None
    return Plane(reward, lambda levels: discount * jnp.tensordot(table, levels, axes=1))


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _table(plan: Plan, environment: dict[str, Array]) -> tuple[Array | None, int]:
    """The table of a model with one discrete state, shape (s, k, s'), and bytes of it that are copied; None for any
    other model."""
    order = (*plan.dotted, *plan.choices)
    law = plan.graph.regime.transitions.get(plan.dotted[0]) if plan.dotted else None
    if not {"slot:reward", "slot:discount"} <= set(plan.known):
        return None, 0  # they see what is random, so that Q is no plain product with the table
    if not (isinstance(law, Markov) and law.over and len(plan.states) == 1 and set(law.over) <= set(order)):
        return None, 0
    table = plan.graph.compose([table_node(plan.dotted[0])])(**environment)[table_node(plan.dotted[0])]
    if law.over != order:
        named = dict(zip(law.over, range(len(law.over)), strict=True))
        table = jnp.transpose(table, [*(named[name] for name in order if name in named), len(law.over)])
        lengths = [len(plan.states[n].values) if n in plan.states else len(plan.choices[n].values) for n in order]
        shape = [length if name in named else 1 for name, length in zip(order, lengths, strict=True)]
        table = jnp.broadcast_to(table.reshape(*shape, -1), (*lengths, table.shape[-1]))
    return table.reshape(table.shape[0], -1, table.shape[-1]), 0 if law.over == order else _bytes(table)
