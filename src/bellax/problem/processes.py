"""Parameters of processes and shocks as numbers, and the chains that need no grid."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from bellax.model.distribution import Distribution, without_rounding
from bellax.model.shocks import Categorical
from bellax.model.spaces import MarkovChain, categories
from bellax.problem.categories import as_seen
from bellax.problem.period import as_float
from bellax.problem.plan import Plan


def parameters(plan: Plan, nodes: list[str], leaves: Mapping[str, Any]) -> dict[str, Array]:
    """The parameters of a shock or a process, by their own names, from what their nodes name."""
    found = plan.graph.compose(nodes)(**leaves)
    return {node.rpartition(".")[2]: as_float(found[node]) for node in nodes}


def chain(plan: Plan, name: str, environment: Mapping[str, Any]) -> tuple[Array, Float[Array, "n n"]]:
    """What functions see of the categories of a `MarkovChain`, and its transition, rows today."""
    space = plan.states[name]
    assert isinstance(space, MarkovChain)
    nodes = plan.process_nodes(name)
    found = {n.rpartition(".")[2]: value for n, value in plan.graph.compose(nodes)(**environment).items()}
    values = found["values"] if "values" in found else as_seen(categories(space.categories, "MarkovChain")[1])
    return values, without_rounding(as_float(found["transition"]))


def sizes(
    plan: Plan, distribution: Distribution, nodes: list[str], environment: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters of a distribution whose number of nodes depends on them."""
    if not isinstance(distribution, Categorical):
        return {}
    leaves = {n for node in nodes for n in plan.graph.leaves(node, "state", "action", "shock", "next")}
    dummies = {name: jnp.zeros(plan.graph.seen[name].shape, plan.graph.seen[name].dtype) for name in leaves}
    found = lambda: plan.graph.compose(nodes)(**environment, **dummies)  # noqa: E731
    shapes = jax.eval_shape(lambda: {node: jnp.asarray(value) for node, value in found().items()})
    return {node.rpartition(".")[2]: shape.shape for node, shape in shapes.items()}
