"""One period of a model whose chances are numbers between zero and one: what a path draws is a function of them.

Normal numbers are quantiles, categories the inverse of their distribution function, so that what happens moves with
states, actions and parameters as far as laws say, and derivatives along a path are those of its mean. Probabilities
that move have none of that: a path keeps the category that it drew, and they refuse to be differentiated.
"""

import math
from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtri
from jaxtyping import Bool, Float

from bellax.model.demands import fulfilled
from bellax.model.distribution import Distribution, place_at
from bellax.model.shocks import Categorical, Lognormal, MultivariateNormal, Normal, Uniform
from bellax.model.spaces import AR1, IID, VAR, MarkovChain
from bellax.numerics.covariance import factor
from bellax.numerics.held import held
from bellax.problem.categories import as_seen, nearest_place
from bellax.problem.draws import Laws, Realised, own_key, random_leaves
from bellax.problem.period import as_float
from bellax.problem.plan import Plan
from bellax.problem.processes import chain, parameters

NORMAL = (Normal, Lognormal, MultivariateNormal)
_CHANCES = ("transition", "probabilities", "weights", "intensity")
"""Parameters of processes and shocks that say what is probable."""


_MOVING = (
    "a category, or the row of a chain, is drawn with probabilities that move with what is differentiated, and "
    "derivatives along simulated paths do not show how they matter. Differentiate in other parameters, take "
    "differences, or solve by a method whose expectations are exact: bx.solvers.EulerNet(), or one on a grid."
)


def undriven(probabilities: Array) -> Array:
    """Probabilities, or what they are made of, which refuse to be differentiated."""
    return held(probabilities, probabilities, _MOVING)


def _distribution(plan: Plan, leaf: str) -> Distribution | None:
    """What a leaf is drawn from, where it is a shock or drawn afresh."""
    if leaf in plan.graph.regime.shocks:
        return plan.graph.regime.shocks[leaf]
    space = plan.states[leaf.removeprefix("next_")]
    return space.distribution if isinstance(space, IID) else None


def _size(plan: Plan, leaf: str) -> int:
    """How many numbers a leaf is made of; zero of one that only a key can draw."""
    distribution = _distribution(plan, leaf)
    if distribution is None:
        space = plan.states[leaf.removeprefix("next_")]
        return math.prod(space.shape) if isinstance(space, VAR) else 1
    if isinstance(distribution, Categorical):
        return 1
    return math.prod(distribution.shape) if isinstance(distribution, (*NORMAL, Uniform)) else 0


def numbers(plan: Plan) -> dict[str, int]:
    """How many numbers each random leaf of a period is made of."""
    return {leaf: _size(plan, leaf) for leaf in random_leaves(plan)}


class Steered:
    """The laws of one period, as functions of numbers between zero and one.

    Args:
        laws: of the period.
    """

    def __init__(self, laws: Laws) -> None:
        self.laws, self.plan = laws, laws.plan
        self.sizes = numbers(laws.plan)

    def advance(
        self, states: Mapping[str, Array], actions: Mapping[str, Array], shares: Float[Array, "d"], key: Array
    ) -> Realised:
        """One agent's period.

        Args:
            shares: numbers between zero and one, as many as `numbers` says.
            key: for what only a key can draw.
        """
        leaves = {**self.laws.today.environment, **states, **actions}
        realised: dict[str, Array] = {}
        fine, at = [], 0
        for leaf, size in self.sizes.items():
            own, at = shares[at : at + size], at + size
            name = leaf.removeprefix("next_")
            realised[leaf], sound = self._drawn(leaf, {**leaves, **realised}, states, own, own_key(key, name))
            fine.append(sound)
        return self.laws.brought(states, actions, realised, fine, key)

    def _drawn(
        self, leaf: str, known: Mapping[str, Array], states: Mapping[str, Array], shares: Array, key: Array
    ) -> tuple[Array, Bool[Array, ""]]:
        """What a random leaf is, and whether it was drawn from a distribution."""
        plan, laws, fine = self.plan, self.laws, jnp.ones((), bool)
        name, distribution = leaf.removeprefix("next_"), _distribution(plan, leaf)
        if distribution is not None:
            shock = leaf in plan.graph.regime.shocks
            nodes = plan.shock_nodes(leaf) if shock else plan.process_nodes(name)
            given = parameters(plan, nodes, known if shock else laws.tomorrow)
            return _realised(distribution, given, shares, key), fulfilled(distribution.demands(), given)
        space = plan.states[name]
        if isinstance(space, MarkovChain):
            values, transition = chain(plan, name, laws.today.environment)
            row = transition[nearest_place(values, states[name])]
            return chain(plan, name, laws.tomorrow)[0][place_at(shares[0], undriven(row))], fine
        if isinstance(space, AR1 | VAR):
            given = parameters(plan, plan.process_nodes(name), laws.today.environment)
            if isinstance(space, AR1):
                centre = given["mean"] + given["rho"] * (states[name] - given["mean"])
                return centre + given["sigma"] * ndtri(shares[0]), fine
            centre = given["mean"] + given["rho"] @ (states[name] - given["mean"])
            return centre + factor(given["covariance"]) @ ndtri(shares), fine
        probabilities = laws.today.probabilities(name, plan.graph.compose([f"probabilities:{name}"])(**known))
        place = place_at(shares[0], undriven(probabilities))
        return as_seen(space.values)[place], ~jnp.any(jnp.isnan(probabilities))  # type: ignore[union-attr]


def _realised(distribution: Distribution, given: Mapping[str, Array], shares: Array, key: Array) -> Array:
    """The value of a shock that numbers between zero and one make."""
    if isinstance(distribution, NORMAL):
        return distribution.realise(ndtri(shares), **given)
    if isinstance(distribution, Uniform):
        return distribution.realise(shares, **given)
    if not isinstance(distribution, Categorical):
        return distribution.draw(key, **given)
    count = next(iter(given.values())).shape[0]
    chances = undriven(given["probabilities"]) if "probabilities" in given else jnp.full((count,), 1.0 / count)
    return distribution.realise(as_float(place_at(shares[0], chances))[None], **given)


def chances(plan: Plan) -> set[str]:
    """The leaves of the graph by which categories, or numbers of jumps, are drawn."""
    drawn = ("shock:", "process:")
    nodes = [n for n in plan.graph.slots if n.startswith(drawn) and n.rpartition(".")[2] in _CHANCES]
    nodes += [f"probabilities:{name}" for name in plan.markov]
    return {leaf for node in nodes for leaf in (plan.graph.reach(node) | {node})}
