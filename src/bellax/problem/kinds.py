"""What a period brings where the finitely many kinds of what is random are gone through, and only the rest is drawn.

    E[f] = sum over kinds k of p_k E[f | k]

Kinds are the categories of chains, of `Markov` states and of `Categorical` shocks, the components of a mixture, and
whether there is a jump. A kind that is hardly ever drawn counts by its probability, so that a mean of few draws knows
of it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from bellax.model.demands import fulfilled
from bellax.model.distribution import Distribution
from bellax.model.shocks import Categorical
from bellax.model.spaces import AR1, IID, VAR, MarkovChain
from bellax.numerics.scalar import take
from bellax.problem.categories import as_seen, nearest_place
from bellax.problem.draws import Laws, Realised, own_key, random_leaves
from bellax.problem.plan import Plan
from bellax.problem.processes import chain, parameters

_MOST = 64  # combinations of kinds that are gone through
_FEW = 4  # antithetic pairs of each combination, at least


class Kinds:
    """The kinds of what is random in a period, ready to be gone through.

    Args:
        laws: of the period.
    Attributes:
        counts: by random leaf that has kinds and matters, how many.
        listed: the leaves whose combinations are gone through: those of the fewest kinds, as long as there are few.
        exact: whether nothing else is random.
    """

    def __init__(self, laws: Laws) -> None:
        self.laws, self.plan = laws, laws.plan
        matter = [leaf for leaf in random_leaves(self.plan) if leaf.startswith("next_") or leaf in self.plan.shocks]
        found = {leaf: self._count(leaf) for leaf in matter}
        self.counts = {leaf: count for leaf, count in found.items() if count}
        self.listed: dict[str, int] = {}
        for leaf, count in sorted(self.counts.items(), key=lambda own: own[1]):
            if count * math.prod(self.listed.values()) <= _MOST:
                self.listed[leaf] = count
        self.exact = all(leaf in self.listed and self._sure(leaf) for leaf in matter)

    def pairs(self, asked: int) -> int:
        """How many antithetic pairs of draws each combination has, where so many are asked for in all."""
        if self.exact:
            return 1
        return max(min(asked, _FEW), asked // self.combinations)

    @property
    def combinations(self) -> int:
        """How many combinations of kinds are gone through."""
        return math.prod(self.listed.values())

    def mean(
        self,
        states: Mapping[str, Array],
        actions: Mapping[str, Array],
        worth: Callable[[Realised], Array],
        key: Array,
        pairs: int,
    ) -> Float[Array, ""]:
        """The mean of what periods are worth over all kinds, and of each over draws of what else is random.

        Args:
            key: of the draws, which have the same signs of normal numbers once in either way.
            pairs: how many there are, as `pairs` says.
        """
        places = np.indices(tuple(self.listed.values())).reshape(len(self.listed), self.combinations).astype(np.int32)
        signs = jnp.asarray([1.0] if self.exact else [1.0, -1.0])

        def of_kinds(number: Array, row: Array) -> Array:
            kinds = {leaf: row[k] for k, leaf in enumerate(self.listed)}

            def drawn(own: Array, sign: Array) -> Array:
                found, chance = self.brought(states, actions, kinds, own, sign)
                return jnp.where(chance == 0, 0.0, chance * worth(found))

            keys = jax.random.split(jax.random.fold_in(key, number), pairs)
            return jnp.mean(jax.vmap(jax.vmap(drawn, (None, 0)), (0, None))(keys, signs))

        if not self.listed:
            return of_kinds(jnp.zeros((), jnp.int32), jnp.zeros(0, jnp.int32))
        numbers = jnp.arange(self.combinations, dtype=jnp.int32)
        return jnp.sum(jax.vmap(of_kinds)(numbers, jnp.asarray(places.T)))

    def brought(
        self,
        states: Mapping[str, Array],
        actions: Mapping[str, Array],
        kinds: Mapping[str, Int[Array, ""]],
        key: Array,
        sign: Array | float | None = None,
    ) -> tuple[Realised, Float[Array, ""]]:
        """What a period brings of given kinds, and their probability given what else was drawn."""
        laws = self.laws.with_sign(sign)
        leaves = {**laws.today.environment, **states, **actions}
        realised: dict[str, Array] = {}
        fine, chance = [], jnp.ones(())
        for leaf in random_leaves(self.plan):
            own, known = own_key(key, leaf.removeprefix("next_")), {**leaves, **realised}
            if leaf in kinds:
                chance = chance * take(self.chances(leaf, known, states), kinds[leaf])
                realised[leaf] = self._of_kind(leaf, kinds[leaf], known, own)
            else:
                realised[leaf], sound = laws.draw(leaf, known, states, own)
                fine.append(sound)
        return laws.brought(states, actions, realised, fine, key), chance

    def drawn(
        self, states: Mapping[str, Array], actions: Mapping[str, Array], key: Array
    ) -> dict[str, Float[Array, "k"]]:
        """By leaf, the probabilities of its kinds, where the leaves before it are drawn."""
        leaves = {**self.laws.today.environment, **states, **actions}
        realised: dict[str, Array] = {}
        found: dict[str, Array] = {}
        for leaf in random_leaves(self.plan):
            known = {**leaves, **realised}
            if leaf in self.counts:
                found[leaf] = self.chances(leaf, known, states)
            realised[leaf], _ = self.laws.draw(leaf, known, states, own_key(key, leaf.removeprefix("next_")))
        return found

    def chances(self, leaf: str, known: Mapping[str, Any], states: Mapping[str, Array]) -> Float[Array, "k"]:
        """The probabilities of the kinds of a leaf; NaN where its parameters are those of no distribution."""
        plan, name = self.plan, leaf.removeprefix("next_")
        distribution = _distribution(plan, leaf)
        if distribution is not None:
            given = parameters(plan, self._nodes(leaf), self._seen(leaf, known))
            chances = distribution.kinds(**given)
            assert chances is not None
            return jnp.where(fulfilled(distribution.demands(), given), chances, jnp.nan)
        if isinstance(plan.states[name], MarkovChain):
            values, transition = chain(plan, name, self.laws.today.environment)
            return transition[nearest_place(values, states[name])]
        return self.laws.today.probabilities(name, plan.graph.compose([f"probabilities:{name}"])(**known))

    def _of_kind(self, leaf: str, kind: Array, known: Mapping[str, Any], key: Array) -> Array:
        plan, name = self.plan, leaf.removeprefix("next_")
        distribution = _distribution(plan, leaf)
        if distribution is not None:
            return distribution.draw_kind(key, kind, **parameters(plan, self._nodes(leaf), self._seen(leaf, known)))
        if isinstance(plan.states[name], MarkovChain):
            return take(chain(plan, name, self.laws.tomorrow)[0], kind)
        return take(as_seen(plan.states[name].values), kind)

    def _count(self, leaf: str) -> int:
        """How many kinds a leaf has; zero of what has one."""
        plan, name = self.plan, leaf.removeprefix("next_")
        distribution = _distribution(plan, leaf)
        if distribution is None:
            space: Any = plan.states[name]
            if isinstance(space, AR1 | VAR):
                return 0
            if isinstance(space, MarkovChain):
                return int(chain(plan, name, self.laws.tomorrow)[0].shape[0])
            return len(space.values)
        nodes = self._nodes(leaf)
        seen = {n for node in nodes for n in plan.graph.leaves(node, "state", "action", "shock", "next")}
        dummies = {n: jnp.zeros(plan.graph.seen[n].shape, plan.graph.seen[n].dtype) for n in seen}
        known = {**self.laws.today.environment, **dummies}
        kinds = jax.eval_shape(lambda: distribution.kinds(**parameters(plan, nodes, self._seen(leaf, known))))
        return 0 if kinds is None else int(kinds.shape[0])

    def _nodes(self, leaf: str) -> list[str]:
        plan = self.plan
        shock = leaf in plan.graph.regime.shocks
        return plan.shock_nodes(leaf) if shock else plan.process_nodes(leaf.removeprefix("next_"))

    def _seen(self, leaf: str, known: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the parameters of a leaf read: of a process that is drawn afresh, tomorrow's."""
        return known if leaf in self.plan.graph.regime.shocks else self.laws.tomorrow

    def _sure(self, leaf: str) -> bool:
        """Whether a leaf is known where its kind is."""
        distribution = _distribution(self.plan, leaf)
        return distribution is None or isinstance(distribution, Categorical)


def _distribution(plan: Plan, leaf: str) -> Distribution | None:
    """From what a shock, or a process that is drawn afresh, is drawn; None of chains and of what moves by a law."""
    if leaf in plan.graph.regime.shocks:
        return plan.graph.regime.shocks[leaf]
    space = plan.states[leaf.removeprefix("next_")]
    return space.distribution if isinstance(space, IID) else None
