"""One period of a model as it happens: random quantities drawn from their own laws, not from nodes.

A leaf is drawn once everything that its law names is known: processes, `Markov` states and shocks in one topological
order, then reward, discount and laws. A chain moves by the row of its matrix, an AR1 by its continuous law.

What a shock or a process draws belongs to its name: another one beside it changes nothing, so that two variants of a
model have common random numbers.
"""

import zlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import networkx as nx
from jax import Array
from jaxtyping import Float

from bellax.bellman.mesh import category, encode
from bellax.bellman.objective import as_float
from bellax.problem.plan import Plan
from bellax.bellman.setting import Arguments, Setting
from bellax.model.shocks import Categorical
from bellax.model.spaces import AR1, IID, MarkovChain
from bellax.numerics import markov

_CATEGORY = Categorical(probabilities="row")


class Realised(NamedTuple):
    """What a period brought: reward, discount, and tomorrow's states by name, as functions see them.

    The reward is NaN where a law gives what is none of the categories of its state; the state is then the nearest one.
    """

    reward: Float[Array, ""]
    discount: Float[Array, ""]
    following: dict[str, Array]


class Laws:
    """The laws of one period, ready to be drawn from.

    Args:
        setting: the model.
        arguments: its parameters.
        period: today. Laws of motion are today's; what is drawn afresh, and the values of a chain, are tomorrow's.
    """

    def __init__(self, setting: Setting, arguments: Arguments, period: Array | int) -> None:
        self.plan = setting.plan
        self.today = setting.environment(arguments, period)
        self.tomorrow = setting.environment(arguments, period + 1)
        self.mesh, self.mesh_next = setting.mesh(self.today), setting.mesh(self.tomorrow)

    def advance(self, states: Mapping[str, Array], actions: Mapping[str, Array], key: Array) -> Realised:
        """One agent's period.

        Args:
            states: by name.
            actions: by name.
            key: of this agent and period.
        """
        plan = self.plan
        leaves = {**self.today, **states, **actions}
        realised: dict[str, Array] = {}
        for leaf in _drawn(plan):
            realised[leaf] = self._draw(leaf, {**leaves, **realised}, states, _own(key, leaf.removeprefix("next_")))
        values = plan.graph.compose(plan.targets)(**leaves, **realised)
        following = {name: self._next(name, values, realised) for name in plan.states}
        reward = as_float(values["slot:reward"])
        for name in plan.discrete:
            if f"next_{name}" in values and name not in plan.markov:
                reward = jnp.where(self._category(name, values)[1], reward, jnp.nan)
        return Realised(reward, as_float(values["slot:discount"]), following)

    def _category(self, name: str, values: Mapping[str, Array]) -> tuple[Array, Array]:
        return category(self.plan.states[name], values[f"next_{name}"])

    def _draw(self, leaf: str, known: Mapping[str, Array], states: Mapping[str, Array], key: Array) -> Array:
        plan = self.plan
        if leaf in plan.graph.regime.shocks:
            return plan.graph.regime.shocks[leaf].draw(key, **_parameters(plan, plan.shock_nodes(leaf), known))
        name = leaf.removeprefix("next_")
        space = plan.states[name]
        if isinstance(space, MarkovChain):
            today = self.mesh.processes[name]
            row = today.transition[encode(today.values, states[name])]
            return self.mesh_next.processes[name].values[_CATEGORY.draw(key, probabilities=row)]
        if isinstance(space, AR1):
            given = _parameters(plan, plan.process_nodes(name), self.today)
            centre = given["mean"] + given["rho"] * (states[name] - given["mean"])
            return centre + given["sigma"] * jax.random.normal(key)
        if isinstance(space, IID):
            return space.distribution.draw(key, **_parameters(plan, plan.process_nodes(name), self.tomorrow))
        probabilities = as_float(plan.graph.compose([f"probabilities:{name}"])(**known)[f"probabilities:{name}"])
        return self.mesh.discrete[name][_CATEGORY.draw(key, probabilities=probabilities)]

    def _next(self, name: str, values: Mapping[str, Array], realised: Mapping[str, Array]) -> Array:
        leaf = f"next_{name}"
        if leaf in realised:
            return realised[leaf]
        if name in self.plan.continuous:
            return jnp.broadcast_to(as_float(values[leaf]), self.plan.continuous[name].shape)
        return self.mesh.discrete[name][self._category(name, values)[0]]


def _own(key: Array, name: str) -> Array:
    """The key of one shock or process: by its name, in every process of Python the same."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def _drawn(plan: Plan) -> list[str]:
    """The random leaves, each after those that its law names."""
    every = [*plan.graph.regime.shocks, *(f"next_{name}" for name in (*plan.processes, *plan.markov))]
    ordered = [leaf for leaf in nx.topological_sort(plan.graph._resolution) if leaf in every]
    return [*ordered, *(leaf for leaf in every if leaf not in ordered)]


def stationary(setting: Setting, arguments: Arguments, name: str, key: Array) -> Array:
    """One draw of a process from its stationary distribution in period 0.

    Args:
        key: of one agent, for what is drawn before period 0.
    """
    key = _own(key, name)
    plan, space = setting.plan, setting.plan.states[name]
    environment = setting.environment(arguments, 0)
    given = _parameters(plan, plan.process_nodes(name), environment)
    if isinstance(space, AR1):
        spread = given["sigma"] / jnp.sqrt((1 - given["rho"]) * (1 + given["rho"]))
        return given["mean"] + spread * jax.random.normal(key)
    if isinstance(space, IID):
        return space.distribution.draw(key, **given)
    process = setting.mesh(environment).processes[name]
    return process.values[_CATEGORY.draw(key, probabilities=markov.stationary(process.transition))]


def _parameters(plan: Plan, nodes: list[str], known: Mapping[str, Array]) -> dict[str, Array]:
    found = plan.graph.compose(nodes)(**known)
    return {node.rpartition(".")[2]: as_float(found[node]) for node in nodes}
