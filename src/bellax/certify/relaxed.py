"""Both sides of the optimal value where actions do not move what is random: nested martingales.

Along a path of the exogenous states, known to its end, the best that could be done is found by induction over the
discrete states x that actions move; what is known too early is paid for by a penalty of mean zero,

    U_t(x) = max(payoff, max_a C_t(x, a) + discount (U_{t+1}(x') - V_{t+1}(x'))),    C_t = mean of r + discount V_{t+1}

over draws of their own, independent of the path. U_0 is above the optimal value in the mean, whatever V is, and however
few draws there are: those the penalty is made of have mean zero exactly, given what is known when actions are taken.
The same recursion with the actions of a policy in place of the best is what this earns, in the mean, with
r + discount V less its mean as a control variate. Where V and C are exact the path does not matter: U_0 is V_0.

Sources: Rogers (2002), "Monte Carlo valuation of American options", Mathematical Finance 12; Haugh & Kogan (2004),
Operations Research 52; Andersen & Broadie (2004), Management Science 50; Brown, Smith & Sun (2010), Operations Research
58, for actions.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from bellax.bellman.chunks import over_batch
from bellax.model.spaces import Discrete
from bellax.numerics.scalar import take
from bellax.problem.categories import as_seen, category
from bellax.problem.draws import Laws, own_key
from bellax.problem.exogenous import moved
from bellax.problem.kinds import Kinds
from bellax.problem.period import combinations
from bellax.problem.plan import Plan
from bellax.problem.problem import Problem
from bellax.solution.gridless import GridlessPolicy, GridlessSetting

_MOST = 10_000  # combinations of moved categories and of actions, at most

States = dict[str, Array]


class Sides(NamedTuple):
    """What one path, or each of many, says of the optimal value.

    Attributes:
        upper: the best of the path, penalised; NaN where there is no value to make a penalty of.
        lower: what the policy earns, with the control variate.
        plain: what it earns, without.
        feasible: whether what it does was allowed.
    """

    upper: Any
    lower: Any
    plain: Any
    feasible: Any


def missing(problem: Problem) -> str:
    """Why there is no such upper bound for a model; empty where there is one."""
    plan = problem.plan
    if not problem.finite:
        return "the horizon is infinite, so that no path is known to its end"
    if plan.controls:
        return f"the action {next(iter(plan.controls))!r} is continuous"
    if plan.taste_shocks is not None:
        return "there are taste shocks"
    for name, why in moved(plan).items():
        if name not in plan.discrete:
            return f"the state {name!r} is not exogenous, its law needs {why!r}"
    size = math.prod(space.size for space in _kept(plan).values()) * len(combinations(plan))
    if size > _MOST:
        return f"actions and the states that they move have {size} combinations, more than {_MOST}"
    return ""


def ways(setting: GridlessSetting) -> Iterable[dict[str, Any]]:
    """What may be done anywhere, and the categories that this moves: states and actions by name, one after the other.

    Where the laws of no category see them there is but one way.
    """
    plan = setting.plan
    spaces = {**_kept(plan), **plan.choices}
    nodes = [f"probabilities:{name}" for name in plan.markov]
    nodes += [node for name in plan.shocks for node in plan.shock_nodes(name)]
    if not any(plan.graph.leaves(node, "state", "action") & set(spaces) for node in nodes):
        return [{}]
    values = [as_seen(space.values) for space in spaces.values()]
    return (dict(zip(spaces, row, strict=True)) for row in itertools.product(*values))


def sides(setting: GridlessSetting, inner: int) -> Callable[..., Sides]:
    """A program for the sides of many paths.

    Args:
        inner: draws of the mean, in antithetic pairs.
    """

    def run(policy: GridlessPolicy, states: Mapping[str, Array], keys: Array) -> Sides:
        path = _Path(setting, policy, inner)
        return over_batch(lambda row: path.both(*row), (states, keys), path.cells, setting.numerics.memory)

    return run


class _Kept(NamedTuple):
    """What a period of a path keeps, for every category x of the moved states and every combination k of actions.

    Attributes:
        payoff, stop, place, feasible: of stopping; whether the policy does, which combination it takes, and whether
            that is allowed, shape (x,).
        mean, reward, discount, value: C, r, the discount, and V of where it leads, shape (x, k).
        following: the category that it leads to, shape (x, k).
    """

    payoff: Float[Array, "x"]
    stop: Array
    place: Int[Array, "x"]
    feasible: Array
    mean: Float[Array, "x k"]
    reward: Float[Array, "x k"]
    discount: Float[Array, "x k"]
    value: Float[Array, "x k"]
    following: Int[Array, "x k"]


class _Path:
    """One path of the exogenous states."""

    def __init__(self, setting: GridlessSetting, policy: GridlessPolicy, inner: int) -> None:
        self.problem, self.plan, self.policy = setting.problem, setting.problem.plan, policy
        self.pairs = max(1, inner // 2)
        self.kept = _kept(self.plan)
        self.kinds = math.prod(space.size for space in self.kept.values())
        self.ways = len(combinations(self.plan))

    @property
    def cells(self) -> int:
        """Numbers that one path needs at once."""
        size = sum(math.prod(getattr(space, "shape", ())) for space in self.plan.states.values())
        random = Kinds(Laws(self.problem, self.policy.arguments, 0))
        pairs = random.combinations * random.pairs(self.pairs)
        return self.kinds * self.ways * pairs * (8 + 4 * size)

    def both(self, states: States, key: Array) -> Sides:
        """The sides of a path that begins in a state."""
        count = self.problem.clock.count

        def step(here: States, number: Array) -> tuple[States, _Kept]:
            own = jax.random.fold_in(key, number + 1)
            following, kept = self.period(here, number, own)
            return following, kept

        last, kept = jax.lax.scan(step, states, jnp.arange(count, dtype=jnp.int32))
        period = self.problem.period(self.policy.arguments, count)
        end = jax.vmap(lambda x: period.terminal(last | self.category(x)))(jnp.arange(self.kinds, dtype=jnp.int32))
        start = (end, end, end, jnp.ones(self.kinds, bool))
        found, _ = jax.lax.scan(_before, start, kept, reverse=True)
        return Sides(*(take(side, self.place(states)) for side in found))

    def period(self, states: States, number: Array, key: Array) -> tuple[States, _Kept]:
        """What is kept of a period, and the exogenous states of the next; those that actions move stay."""
        arguments = self.policy.arguments
        laws = Laws(self.problem, arguments, number)
        today, tomorrow = laws.today, self.problem.period(arguments, number + 1)
        choose = self.policy.at(number)

        def value(states: States) -> Array:
            ended = tomorrow.terminal(states)
            over = number + 1 >= self.problem.clock.count
            return jnp.where(over, ended, self.policy.behaviour.chosen(tomorrow, number + 1, states).value)

        def at(x: Array, k: Array) -> tuple[Array, ...]:
            here, actions = states | self.category(x), today.choices(k)
            found = laws.advance(here, actions, own_key(key, "path"))
            mean = self.mean(number, here, actions, value, own_key(key, "inner"))
            mean = jnp.where(today.feasible(here, actions), mean, -jnp.inf)
            return mean, found.reward, found.discount, value(found.following), self.place(found.following)

        def decided(x: Array) -> tuple[Array, ...]:
            here = states | self.category(x)
            chosen = choose(here)
            codes = tuple(category(space, chosen.actions[name])[0] for name, space in self.plan.choices.items())
            place = today.place(codes) if codes else jnp.zeros((), jnp.int32)
            return today.payoff(here), chosen.stop, place, chosen.stop | today.feasible(here, chosen.actions)

        xs, ks = (jnp.arange(many, dtype=jnp.int32) for many in (self.kinds, self.ways))
        kept = _Kept(*jax.vmap(decided)(xs), *jax.vmap(jax.vmap(at, (None, 0)), (0, None))(xs, ks))
        after = laws.advance(states, today.choices(ks[0]), own_key(key, "path")).following
        return {name: states[name] if name in self.kept else after[name] for name in states}, kept

    def mean(
        self, number: Array, states: States, actions: States, value: Callable[[States], Array], key: Array
    ) -> Float[Array, ""]:
        """The mean of r + discount V over antithetic draws that have nothing to do with the path, and over all kinds of
        what is random: what is rare counts by its probability."""
        random = Kinds(Laws(self.problem, self.policy.arguments, number))
        worth = lambda found: found.reward + found.discount * value(found.following)  # noqa: E731
        return random.mean(states, actions, worth, key, random.pairs(self.pairs))

    def category(self, x: Array) -> States:
        """The states that actions move, from the number of their categories."""
        found = {}
        for name, space in reversed(self.kept.items()):
            found[name] = take(as_seen(space.values), x % space.size)
            x = x // space.size
        return found

    def place(self, states: States) -> Int[Array, ""]:
        """The number of the categories of the states that actions move."""
        place = jnp.zeros((), jnp.int32)
        for name, space in self.kept.items():
            place = place * space.size + category(space, states[name])[0]
        return place


def _kept(plan: Plan) -> dict[str, Discrete]:
    """The discrete states that actions move."""
    return {name: plan.states[name] for name in moved(plan) if name in plan.discrete}


def _before(after: tuple[Array, Array, Array, Array], own: _Kept) -> tuple[tuple[Array, Array, Array, Array], None]:
    """The sides at every category, from those a period later."""
    upper, lower, plain, allowed = after
    taken = lambda table: jax.vmap(take)(table, own.place)  # noqa: E731
    best = jnp.max(own.mean + own.discount * (upper[own.following] - own.value), axis=1)
    mean, discount, following = taken(own.mean), taken(own.discount), taken(own.following)
    followed = mean + discount * (lower[following] - taken(own.value))
    earned = taken(own.reward) + discount * plain[following]
    lower, plain = (jnp.where(own.stop, own.payoff, side) for side in (followed, earned))
    return (jnp.maximum(own.payoff, best), lower, plain, own.feasible & (own.stop | allowed[following])), None
