"""Stationary models without a continuous state: Q is affine in V, and everything but V is computed once.

Q(s, a) = R(s, a) + sum over s' of b P(s, a, s') V(s'). Where P is a table it is read in place: copying one of a hundred
megabytes costs as much as ten Bellman steps. Otherwise `jax.linearize` splits Q into the constant and the linear
part, and evaluates what the linear part needs (rewards, probabilities, places) outside the loop over V. What is kept
has the size of all pairs and their shock nodes; where it is beyond the budget of bytes, Q is swept in chunks instead.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bellax.bellman.continuation import Value
from bellax.bellman.enumeration import Enumerate
from bellax.bellman.maximum import Best, Optimum, best_combination, guarded
from bellax.bellman.objective import Decision, as_float, combinations
from bellax.bellman.setting import Arguments, Setting
from bellax.bellman.sweep import Node, in_flight, nodes_of
from bellax.model.laws import Markov
from bellax.model.slots import table_node
from bellax.numerics.interpolate import barrier


class Plane(NamedTuple):
    """Q of every node and every combination of discrete actions, shape (s, k), as a function of V."""

    constant: Array
    linear: Callable[[Array], Array]

    def first(self, zero: Value) -> Value:
        """The best reward of every state, a Bellman step from V = 0 that costs nothing."""
        best = jnp.max(self.constant, axis=1).reshape(zero.levels.shape)
        return Value(jnp.where(jnp.isfinite(best), best, 0.0), ())

    def optima(self, levels: Array) -> Optimum:
        """The optimum at every node, nodes along the first axis."""
        low = barrier(levels.dtype)
        q = self.constant + self.linear(jnp.where(levels == -jnp.inf, low, levels))
        q = jnp.where(q > -jnp.inf, jnp.maximum(q, low), q)
        count = jnp.ones_like(q)
        none = jnp.zeros((*q.shape, 0), q.dtype)
        return jax.vmap(best_combination)(Best(q, none, count))


def applies(setting: Setting) -> bool:
    """Whether a setting is of this kind: no continuous state or action, and so nothing to interpolate or refine."""
    plan = setting.plan
    plain = isinstance(setting.maximiser, Enumerate)
    return plain and not plan.lines and not plan.coordinates and not setting.model.clock.finite


def plane(setting: Setting, arguments: Arguments) -> Plane | None:
    """Q of a finite model, None where it does not fit in `memory=`; `setting` is one to which this `applies`."""
    environment = setting.environment(arguments, 0)
    mesh = setting.mesh(environment)
    codes = jnp.arange(len(combinations(setting.plan)), dtype=jnp.int32)
    passing = in_flight(math.prod(mesh.shape), len(codes))
    if passing > setting.memory:
        return None
    nothing = jnp.zeros(0)
    table, copied = _table(setting, environment)

    def q(levels: Array) -> Array:
        objective = setting.objective(environment, mesh.processes, Value(levels, ()), mesh)

        def at(node: Node) -> Array:
            point = mesh.point(node.codes, node.coordinates)
            return jax.vmap(lambda k: guarded(objective, point, Decision(k, nothing)))(codes)

        return jax.vmap(at)(nodes_of(mesh))

    if table is None:
        constant, linear = jax.linearize(q, jnp.zeros(mesh.shape))
        # what the linear part keeps is its leaves; a program that drops them again never makes them
        return Plane(constant, linear) if passing + _bytes((constant, linear)) <= setting.memory else None
    objective = setting.objective(environment, mesh.processes, Value(jnp.zeros(mesh.shape), ()), mesh)

    def known(node: Node, k: Array) -> tuple[Array, Array]:
        point = mesh.point(node.codes, node.coordinates)
        actions, allowed = objective.actions(point, Decision(k, nothing))
        found = setting.plan.evaluate_known(**environment, **point.values, **actions)
        allowed = allowed & objective.feasible(point, actions)
        reward = jnp.maximum(as_float(found["slot:reward"]), barrier(jnp.result_type(float)))
        return jnp.where(allowed, reward, -jnp.inf), objective.discount(found)

    reward, discount = jax.vmap(lambda node: jax.vmap(lambda k: known(node, k))(codes))(nodes_of(mesh))
    if passing + _bytes((reward, discount)) + copied > setting.memory:
        return None
    return Plane(reward, lambda levels: discount * jnp.tensordot(table, levels, axes=1))


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _table(setting: Setting, environment: dict[str, Array]) -> tuple[Array | None, int]:
    """The table of a model with one discrete state, shape (s, k, s'), and bytes of it that are copied; None for any
    other model."""
    plan = setting.plan
    order = (*plan.dotted, *plan.choices)
    law = plan.graph.regime.transitions.get(plan.dotted[0]) if plan.dotted else None
    if not {"slot:reward", "slot:discount"} <= set(plan.known):
        return None, 0  # they see what is random, so that Q is no plain product with the table
    if not (isinstance(law, Markov) and law.over and len(plan.states) == 1 and set(law.over) <= set(order)):
        return None, 0
    table = setting.plan.graph.compose([table_node(plan.dotted[0])])(**environment)[table_node(plan.dotted[0])]
    if law.over != order:
        named = dict(zip(law.over, range(len(law.over)), strict=True))
        table = jnp.transpose(table, [*(named[name] for name in order if name in named), len(law.over)])
        lengths = [
            len(setting.plan.states[n].values) if n in plan.states else len(plan.choices[n].values) for n in order
        ]
        shape = [length if name in named else 1 for name, length in zip(order, lengths, strict=True)]
        table = jnp.broadcast_to(table.reshape(*shape, -1), (*lengths, table.shape[-1]))
    return table.reshape(table.shape[0], -1, table.shape[-1]), 0 if law.over == order else _bytes(table)
