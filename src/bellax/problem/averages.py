"""One period averaged over nodes of all that is random, at any state: what a mesh does on its nodes, without one.

    E[f] ~ sum_q w_q f(node q)

Chains and categories have all of their values, an AR1 moves by its continuous law, and normal numbers have the product
of their rules, or where that is long one monomial rule of all of them together. Weights may depend on states and
actions, and are differentiated.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bellax.errors import ModelError
from bellax.model.demands import fulfilled
from bellax.model.shocks import Lognormal, MultivariateNormal, Normal
from bellax.model.spaces import AR1, IID, VAR, Discrete, MarkovChain
from bellax.numerics import quadrature, rules
from bellax.numerics.covariance import factor
from bellax.numerics.scalar import take, where
from bellax.problem.categories import as_seen, category, nearest_place
from bellax.problem.draws import random_leaves
from bellax.problem.period import Outcome, as_float
from bellax.problem.problem import Arguments, Problem
from bellax.problem.processes import chain, parameters, sizes

_PRODUCT = 125  # nodes up to which normal numbers have a product rule, where nothing else is asked for
_WIDE = 12  # normal numbers up to which a monomial rule is of degree five

Rules = tuple[Mapping[str, Any], int | None]
"""By name of a shock or process a number of nodes or a rule, and the degree of a monomial one; see `Averages`."""


class Nodes(NamedTuple):
    """Nodes of all that is random, along a first axis.

    Attributes:
        places: by random leaf, its standard nodes, shape (q, d), or the places of its categories, shape (q,).
        own: by leaf, the weight that its own rule gives to its node, shape (q,).
        weights: what else nodes weigh, shape (q,).
    """

    places: dict[str, Array]
    own: dict[str, Array]
    weights: Float[Array, "q"]


class Branches(NamedTuple):
    """What a period brings at every node, along a first axis.

    Attributes:
        weights: shape (q,); they sum to one.
        outcome: reward, discount and what laws give.
        following: every state of tomorrow by name, as functions see it.
    """

    weights: Float[Array, "q"]
    outcome: Outcome
    following: dict[str, Array]


class Averages:
    """One period, ready to be averaged over.

    Args:
        problem: the model, of one regime.
        arguments: its parameters.
        period: today. Laws of motion are today's; what is drawn afresh, and the values of a chain, are tomorrow's.
        given: by name of a shock, or of a process that is drawn or moves by normal numbers, a number of nodes or one
            of `bx.quadrature`.
        degree: of the monomial rule of all normal numbers without an entry in `given`; zero for a product; None for a
            product where it is short.
    """

    def __init__(
        self,
        problem: Problem,
        arguments: Arguments,
        period: Array | int,
        given: Mapping[str, Any] | None = None,
        degree: int | None = None,
    ) -> None:
        self.plan = problem.plan
        self.today = problem.period(arguments, period)
        self.tomorrow = problem.environment(arguments, period + 1 if problem.finite else period)
        self.leaves = [leaf for leaf in random_leaves(self.plan) if self._matters(leaf)]
        with jax.ensure_compile_time_eval():
            self.nodes = self._laid(self._asked({} if given is None else given), degree)

    def branches(self, states: Mapping[str, Array], actions: Mapping[str, Array], cut: bool = False) -> Branches:
        """Everything that may happen at one state.

        Args:
            cut: whether what brings no weight has no slopes: it may be no number. What would be the same at all nodes
                is worked out at each of them then.
        """
        known = self.today.known(states, actions)
        if not self.leaves:  # vmap needs something to go along
            one = self._branch(states, actions, known, {}, {}, jnp.ones(()))
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], one)
        branch = lambda places, own, weight: self._branch(states, actions, known, places, own, weight, cut)  # noqa: E731
        return jax.vmap(branch)(self.nodes.places, self.nodes.own, self.nodes.weights)

    @property
    def normal(self) -> dict[str, int] | None:
        """How many standard normal numbers each random leaf is made of; None where one is not made of such."""
        return self.normals if all(self.normals.values()) else None

    @property
    def normals(self) -> dict[str, int]:
        """How many standard normal numbers each random leaf is made of; zero for what is not made of such."""
        return {leaf: self._normals(leaf) for leaf in self.leaves}

    def at(
        self, states: Mapping[str, Array], actions: Mapping[str, Array], standard: Mapping[str, Float[Array, "_"]]
    ) -> Branches:
        """What happens at one state for given standard normal numbers, by random leaf; weighs one."""
        ones = {leaf: jnp.ones(()) for leaf in self.leaves}
        return self._branch(states, actions, self.today.known(states, actions), standard, ones, jnp.ones(()))

    def _branch(
        self,
        states: Mapping[str, Array],
        actions: Mapping[str, Array],
        known: Mapping[str, Any],
        places: Mapping[str, Array],
        own: Mapping[str, Array],
        weight: Array,
        cut: bool = False,
    ) -> Branches:
        leaves = {**self.today.environment, **states, **actions}
        realised: dict[str, Array] = {}
        for leaf in self.leaves:
            realised[leaf], chance = self._value(leaf, places[leaf], own[leaf], {**leaves, **realised}, states)
            weight = weight * chance
        if cut:
            here = lambda leaf: jnp.where(weight == 0, lax.stop_gradient(leaf), leaf)  # noqa: E731
            states, actions, known, realised = jax.tree.map(here, (dict(states), dict(actions), dict(known), realised))
        found = self.today.outcome(states, actions, realised, known)
        following, fine = {}, jnp.ones((), bool)
        for name, space in self.plan.states.items():
            following[name] = realised[f"next_{name}"] if f"next_{name}" in realised else found.following[name]
            if isinstance(space, Discrete) and name not in self.plan.markov:
                place, fits = category(space, following[name])
                following[name], fine = take(as_seen(space.values), place), fine & fits
        # what is none of the categories of its state is worth nothing that is known
        return Branches(weight, found._replace(reward=jnp.where(fine, found.reward, jnp.nan)), following)

    def _value(
        self, leaf: str, place: Array, weight: Array, known: Mapping[str, Any], states: Mapping[str, Array]
    ) -> tuple[Array, Array]:
        """What a random leaf is at a node, and the weight of that."""
        plan, one = self.plan, jnp.ones(())
        if leaf in plan.graph.regime.shocks:
            shock = plan.graph.regime.shocks[leaf]
            given = parameters(plan, plan.shock_nodes(leaf), known)
            chance = shock.weight(place, weight, **given)
            if plan.moves(leaf):  # with the state, so that no check before the solve saw it
                chance = where(fulfilled(shock.demands(), given), chance, jnp.nan)
            return shock.realise(place, **given), chance
        name = leaf.removeprefix("next_")
        space = plan.states[name]
        if isinstance(space, MarkovChain):
            values, transition = chain(plan, name, self.today.environment)
            row = transition[nearest_place(values, states[name])]
            return take(chain(plan, name, self.tomorrow)[0], place), take(row, place)
        if isinstance(space, AR1):
            given = parameters(plan, plan.process_nodes(name), self.today.environment)
            return given["mean"] + given["rho"] * (states[name] - given["mean"]) + given["sigma"] * place[0], one
        if isinstance(space, VAR):
            given = parameters(plan, plan.process_nodes(name), self.today.environment)
            centre = given["mean"] + given["rho"] @ (states[name] - given["mean"])
            return centre + factor(given["covariance"]) @ place, one
        if isinstance(space, IID):
            given = parameters(plan, plan.process_nodes(name), self.tomorrow)
            return space.distribution.realise(place, **given), space.distribution.weight(place, weight, **given)
        chances = self.today.probabilities(name, plan.graph.compose([f"probabilities:{name}"])(**known))
        return take(as_seen(space.values), place), take(chances, place)

    # -- nodes

    def _matters(self, leaf: str) -> bool:
        return leaf not in self.plan.graph.regime.shocks or leaf in self.plan.shocks

    def _asked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is given, by leaf: a process is given by its own name, and it is the one of tomorrow that is random."""
        named = {leaf: leaf if leaf in given else leaf.removeprefix("next_") for leaf in self.leaves}
        return {leaf: given[name] for leaf, name in named.items() if name in given}

    def _laid(self, given: Mapping[str, Any], degree: int | None) -> Nodes:
        """The product of the rules of all leaves.

        Args:
            given: by leaf.
        """
        normal = {leaf: size for leaf in self.leaves if (size := self._normals(leaf)) and leaf not in given}
        own = {leaf: self._rule(leaf, given) for leaf in self.leaves if leaf not in normal}
        blocks: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]] = []
        if normal:
            nodes, weights = _together(sum(normal.values()), degree)
            cuts = np.split(nodes, np.cumsum(list(normal.values()))[:-1], axis=1)
            ones = {leaf: np.ones(len(weights)) for leaf in normal}
            blocks.append((dict(zip(normal, cuts, strict=True)), ones, weights))
        for leaf, (found, weights) in own.items():
            blocks.append(({leaf: found}, {leaf: weights}, np.ones(len(weights))))
        lengths = [len(weights) for _, _, weights in blocks]
        rows = np.indices(lengths).reshape(len(lengths), -1) if lengths else np.zeros((0, 1), int)
        places: dict[str, Array] = {}
        owned: dict[str, Array] = {}
        total = np.ones(rows.shape[1])
        for (nodes_of, weights_of, weights), row in zip(blocks, rows, strict=True):
            places |= {leaf: _typed(array[row]) for leaf, array in nodes_of.items()}
            owned |= {leaf: _typed(array[row]) for leaf, array in weights_of.items()}
            total = total * weights[row]
        return Nodes(places, owned, _typed(total))

    def _normals(self, leaf: str) -> int:
        """How many standard normal numbers a leaf is made of; zero for what is not."""
        space: Any = self.plan.graph.regime.shocks.get(leaf)
        if space is None:
            space = self.plan.states[leaf.removeprefix("next_")]
        space = space.distribution if isinstance(space, IID) else space
        if isinstance(space, AR1):
            return 1
        return math.prod(space.shape) if isinstance(space, Normal | Lognormal | MultivariateNormal | VAR) else 0

    def _rule(self, leaf: str, given: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Nodes of one leaf and their weights."""
        plan, name = self.plan, leaf.removeprefix("next_")
        space = plan.states.get(name) if leaf not in plan.graph.regime.shocks else None
        if isinstance(space, MarkovChain):
            return _places(chain(plan, name, self.tomorrow)[0].shape[0])
        if isinstance(space, Discrete):
            return _places(len(space.values))
        asked = given.get(leaf)
        if isinstance(space, AR1 | VAR):
            each = rules.as_rule(asked, rules.GaussHermite(7)).normal()
            rule = rules.tensor([each] * math.prod(space.shape if isinstance(space, VAR) else ()))
        elif isinstance(space, IID):
            nodes = plan.process_nodes(name)
            rule = space.distribution.rule(asked, sizes(plan, space.distribution, nodes, self.tomorrow))
        else:
            shock, nodes = plan.graph.regime.shocks[leaf], plan.shock_nodes(leaf)
            rule = shock.rule(asked, sizes(plan, shock, nodes, self.today.environment))
        return np.asarray(rule.nodes), np.asarray(rule.weights)


def _places(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(count, dtype=np.int32), np.ones(count)


def _typed(array: np.ndarray) -> Array:
    return jnp.asarray(array, jnp.int32 if array.dtype.kind == "i" else as_float(0.0).dtype)


def each_of(dimensions: int) -> int:
    """How many nodes each of so many normal numbers has in their product."""
    return 7 if dimensions == 1 else 5


def _together(dimensions: int, degree: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of so many standard normal numbers together."""
    each = each_of(dimensions)
    if degree is None:
        degree = 0 if each**dimensions <= _PRODUCT else 5 if dimensions <= _WIDE else 3
    if degree:
        nodes, weights = quadrature.monomial(dimensions, degree)
        return np.asarray(nodes), np.asarray(weights)
    if each**dimensions > 100_000:
        raise ModelError(
            f"the product rule of {dimensions} normal numbers has {float(each) ** dimensions:.2g} nodes; take a "
            "monomial rule: degree=3 or degree=5."
        )
    rule = rules.tensor([rules.GaussHermite(each).normal()] * dimensions)
    return np.asarray(rule.nodes), np.asarray(rule.weights)
