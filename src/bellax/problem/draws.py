"""One period of a model as it happens: random quantities drawn from their own laws, not from nodes.

A leaf is drawn once everything that its law names is known: processes, `Markov` states and shocks in one topological
order, then reward, discount and laws. A chain moves by the row of its matrix, an AR1 by its continuous law.

What a shock or a process draws belongs to its name: another one beside it changes nothing, so that two variants of a
model have common random numbers.
"""

import copy
import functools
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from bellax.model.demands import fulfilled
from bellax.model.distribution import Distribution
from bellax.model.shocks import Categorical, Lognormal, MultivariateNormal, Normal
from bellax.model.spaces import AR1, IID, VAR, MarkovChain
from bellax.numerics import markov
from bellax.numerics.covariance import factor
from bellax.numerics.vector import stationary_covariance
from bellax.problem.categories import as_seen, category, close, nearest_place
from bellax.problem.period import Outcome, Period, as_float, taste_groups
from bellax.problem.plan import Plan
from bellax.problem.problem import Arguments, Problem, moments
from bellax.problem.processes import chain, parameters

_CATEGORY = Categorical(probabilities="row")


class Realised(NamedTuple):
    """What a period brought: reward, discount, and tomorrow's states by name, as functions see them.

    Of a model with several regimes, also the probability of each, and the states in each other one, by regime.

    The reward is NaN where a law gives what is none of the categories of its state, which is then the nearest one;
    where probabilities, or the parameters of a shock, are none; and where an action is none of its categories.
    """

    reward: Float[Array, ""]
    discount: Float[Array, ""]
    following: dict[str, Array]
    regimes: dict[str, Array]
    arrived: dict[str, dict[str, Array]]


class Laws:
    """The laws of one period, ready to be drawn from.

    Args:
        problem: the model.
        arguments: its parameters.
        period: today. Laws of motion are today's; what is drawn afresh, and the values of a chain, are tomorrow's.
        others: the other regimes that may be reached, by name.
        sign: one, or minus one for the antithetic draw: normal numbers are drawn with the other sign, all else the
            same. None draws as with one.
    """

    def __init__(
        self,
        problem: Problem,
        arguments: Arguments,
        period: Array | int,
        others: Mapping[str, Problem] | None = None,
        sign: Array | float | None = None,
    ) -> None:
        self.plan = problem.plan
        self.sign = sign
        self.others = {
            name: (other.plan, other.environment(arguments, period + 1)) for name, other in (others or {}).items()
        }
        self.today: Period = problem.period(arguments, period)
        self.tomorrow = problem.environment(arguments, period + 1)

    def with_sign(self, sign: Array | float | None) -> "Laws":
        """These laws, ready to be drawn from with another sign."""
        own = copy.copy(self)
        own.sign = sign
        return own

    def advance(self, states: Mapping[str, Array], actions: Mapping[str, Array], key: Array) -> Realised:
        """One agent's period.

        Args:
            states: by name.
            actions: by name.
            key: of this agent and period.
        """
        return self.brought(states, actions, *self.realise(states, actions, key), key)

    def brought(
        self,
        states: Mapping[str, Array],
        actions: Mapping[str, Array],
        realised: Mapping[str, Array],
        fine: list[Bool[Array, ""]],
        key: Array,
    ) -> Realised:
        """One agent's period, once everything random is known.

        Args:
            realised: by random leaf.
            fine: whether each was drawn from a distribution.
            key: of what enters other regimes.
        """
        plan = self.plan
        fine = [*fine]
        fine += [category(space, actions[name])[1] for name, space in plan.choices.items()]
        found = self.today.outcome(states, actions, realised)
        following = {}
        for name, space in plan.states.items():
            following[name] = realised[f"next_{name}"] if f"next_{name}" in realised else found.following[name]
            if name in plan.discrete and name not in plan.markov:
                place, fits = category(space, following[name])
                following[name] = as_seen(space.values)[place]
                fine.append(fits)
        arrived = {}
        for target in self.others:
            arrived[target], known = self._arrive(target, found, {**realised, **following}, key)
            chance = found.regimes[target]
            fine.append(known | (chance == 0))
        good = functools.reduce(jnp.logical_and, fine, jnp.ones((), bool))
        reward = jnp.where(good, found.reward, jnp.nan)
        return Realised(reward, found.discount, following, found.regimes, arrived)

    def tastes(self, key: Array) -> Float[Array, "k"]:
        """The taste shock of every combination of discrete actions, of mean zero; zeros where there are none.

        Args:
            key: of this agent and period.
        """
        groups = np.asarray(taste_groups(self.plan))
        if self.plan.taste_shocks is None:
            return jnp.zeros(groups.shape)
        drawn = jax.random.gumbel(own_key(key, "taste shocks"), (int(groups.max()) + 1,)) - np.euler_gamma
        return self.today.taste_scale() * drawn[groups]

    def realise(
        self, states: Mapping[str, Array], actions: Mapping[str, Array], key: Array
    ) -> tuple[dict[str, Array], list[Bool[Array, ""]]]:
        """What is drawn, by leaf of the graph, and whether each was drawn from a distribution; as for `advance`."""
        leaves = {**self.today.environment, **states, **actions}
        realised: dict[str, Array] = {}
        fine = []
        for leaf in random_leaves(self.plan):
            own = own_key(key, leaf.removeprefix("next_"))
            realised[leaf], sound = self.draw(leaf, {**leaves, **realised}, states, own)
            fine.append(sound)
        return realised, fine

    def _arrive(
        self, target: str, found: Outcome, known: Mapping[str, Array], key: Array
    ) -> tuple[dict[str, Array], Bool[Array, ""]]:
        """The states in another regime, and whether all are of their categories.

        Args:
            known: what was drawn, and the source's own next states, by name.
        """
        plan, environment = self.others[target]
        states, fine = {}, jnp.ones((), bool)
        for name, arrival in self.plan.arrivals[target].items():
            # not the source's own draw of that name, on which a mapping may depend
            space, own = plan.states[name], own_key(key, f"{name} of {target}")
            if arrival.way == "chances":
                probabilities = found.arrivals[target].weights[name]
                place = _CATEGORY.draw(own, probabilities=probabilities)
                fine = fine & ~jnp.any(jnp.isnan(probabilities))
                seen = chain(plan, name, environment)[0] if isinstance(space, MarkovChain) else as_seen(space.values)
                states[name] = seen[place]
            elif arrival.way == "given":
                value = found.arrivals[target].following[name]
                states[name], fits = _fitted(plan, name, value, environment)
                fine = fine & fits
            elif arrival.way == "carried":
                states[name] = known[f"next_{name}" if f"next_{name}" in known else name]
            elif arrival.distribution is not None:
                states[name], sound = _drawn_from(arrival.distribution, own, found.arrivals[target].drawn[name])
                fine = fine & sound
            elif arrival.way == "ergodic":
                states[name] = _stationary(plan, name, environment, own)
            else:
                given = parameters(plan, plan.process_nodes(name), environment)
                states[name], sound = _drawn_from(space.distribution, own, given)
                fine = fine & sound
        return states, fine

    def draw(
        self, leaf: str, known: Mapping[str, Array], states: Mapping[str, Array], key: Array
    ) -> tuple[Array, Bool[Array, ""]]:
        """What a random leaf is, and whether it was drawn from a distribution.

        Args:
            known: parameters, states, actions and the random leaves before this one, by name.
            key: of this leaf.
        """
        plan, fine = self.plan, jnp.ones((), bool)
        if leaf in plan.graph.regime.shocks:
            given = parameters(plan, plan.shock_nodes(leaf), known)
            return _drawn_from(plan.graph.regime.shocks[leaf], key, given, self.sign)
        name = leaf.removeprefix("next_")
        space = plan.states[name]
        if isinstance(space, MarkovChain):
            values, transition = chain(plan, name, self.today.environment)
            row = transition[nearest_place(values, states[name])]
            return chain(plan, name, self.tomorrow)[0][_CATEGORY.draw(key, probabilities=row)], fine
        if isinstance(space, AR1):
            given = parameters(plan, plan.process_nodes(name), self.today.environment)
            centre = given["mean"] + given["rho"] * (states[name] - given["mean"])
            return centre + given["sigma"] * _signed(self.sign, jax.random.normal(key)), fine
        if isinstance(space, VAR):
            given = parameters(plan, plan.process_nodes(name), self.today.environment)
            centre = given["mean"] + given["rho"] @ (states[name] - given["mean"])
            return _normal(key, centre, given["covariance"], self.sign), fine
        if isinstance(space, IID):
            given = parameters(plan, plan.process_nodes(name), self.tomorrow)
            return _drawn_from(space.distribution, key, given, self.sign)
        probabilities = self.today.probabilities(name, plan.graph.compose([f"probabilities:{name}"])(**known))
        drawn = as_seen(space.values)[_CATEGORY.draw(key, probabilities=probabilities)]
        return drawn, ~jnp.any(jnp.isnan(probabilities))


def _fitted(plan: Plan, name: str, value: Array, environment: Mapping[str, Array]) -> tuple[Array, Bool[Array, ""]]:
    """What a mapping gives, as functions see it: of categories the nearest, and whether it is one."""
    space = plan.states[name]
    if name in plan.discrete:
        place, fits = category(space, value)
        return as_seen(space.values)[place], fits
    if isinstance(space, MarkovChain):
        values = chain(plan, name, environment)[0]
        found = values[nearest_place(values, value)]
        return found, jnp.all(close(value, found))
    shape = space.shape if name in plan.continuous or isinstance(space, VAR) else ()
    return jnp.broadcast_to(as_float(value), shape), jnp.ones((), bool)


def _drawn_from(
    distribution: Distribution, key: Array, given: Mapping[str, Array], sign: Array | float | None = None
) -> tuple[Array, Bool[Array, ""]]:
    """A draw, or the antithetic one, and whether the parameters are those of a distribution."""
    if sign is not None and isinstance(distribution, Normal | Lognormal | MultivariateNormal):
        standard = jax.random.normal(key, distribution.shape).reshape(-1)
        return distribution.realise(sign * standard, **given), fulfilled(distribution.demands(), given)
    return distribution.draw(key, **given), fulfilled(distribution.demands(), given)


def _signed(sign: Array | float | None, standard: Array) -> Array:
    return standard if sign is None else sign * standard


def _normal(
    key: Array, mean: Float[Array, "n"], covariance: Float[Array, "n n"], sign: Array | float | None = None
) -> Float[Array, "n"]:
    return mean + factor(covariance) @ _signed(sign, jax.random.normal(key, mean.shape))


def draw_place(key: Array, name: str, probabilities: Float[Array, "n"]) -> Array:
    """The place of a category that is drawn, by the name of what is drawn."""
    return _CATEGORY.draw(own_key(key, name), probabilities=probabilities)


def own_key(key: Array, name: str) -> Array:
    """The key of one shock or process: by its name, in every process of Python the same."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def random_leaves(plan: Plan) -> list[str]:
    """The random leaves, each after those that its law names."""
    every = [*plan.graph.regime.shocks, *(f"next_{name}" for name in (*plan.processes, *plan.markov))]
    ordered = [leaf for leaf in nx.topological_sort(plan.graph._resolution) if leaf in every]
    return [*ordered, *(leaf for leaf in every if leaf not in ordered)]


def first_states(
    problem: Problem, arguments: Arguments, given: Mapping[str, Array], keys: Array, entry: Int[Array, "n"]
) -> dict[str, Array]:
    """States in which agents enter, one row an agent: what was given, and draws of the processes that were not.

    Args:
        entry: the period in which each of them enters.
    """
    found = dict(given)
    for name in problem.plan.processes:
        if name not in given:
            before = lambda key, period, name=name: draw_first(  # noqa: E731
                problem, arguments, name, jax.random.fold_in(key, 0), period
            )
            found[name] = jax.vmap(before)(keys, entry)
    return {name: found[name] for name in problem.plan.states}


def draw_first(problem: Problem, arguments: Arguments, name: str, key: Array, period: Array | int = 0) -> Array:
    """One draw of a process for who enters in a period: from its start, or else its stationary distribution; of an AR1
    that moves with time, from that of all who began in period 0.

    Args:
        key: of one agent, for what is drawn before it enters.
        period: in which it enters.
    """
    return _stationary(problem.plan, name, problem.environment(arguments, period), own_key(key, name))


def _stationary(plan: Plan, name: str, environment: Mapping[str, Array], key: Array) -> Array:
    """One draw of a process from the stationary distribution of its law in a period."""
    space = plan.states[name]
    if isinstance(space, MarkovChain):
        values, transition = chain(plan, name, environment)
        return values[_CATEGORY.draw(key, probabilities=markov.stationary(transition))]
    given = parameters(plan, plan.process_nodes(name), environment)
    if isinstance(space, VAR):
        spread = stationary_covariance(given["rho"], given["covariance"])
        return _normal(key, jnp.broadcast_to(given["mean"], space.shape), 0.5 * (spread + spread.T))
    if isinstance(space, AR1):
        spread = given["sigma"] / jnp.sqrt((1 - given["rho"]) * (1 + given["rho"]))
        mean, deviation = (
            environment.get(leaf, own) for leaf, own in zip(moments(name), (given["mean"], spread), strict=True)
        )
        return mean + deviation * jax.random.normal(key)
    return space.distribution.draw(key, **given)
