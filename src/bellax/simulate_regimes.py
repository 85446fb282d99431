"""Simulation over several regimes: agents move between them, each by the policy and the laws of where it is.

An agent is in one regime at a time and holds the states of that regime. Who reaches a regime that ends is paid its
value and is gone. Draws belong to the seed, the agent, the period and the name of what is drawn.

In a period agents are sorted into groups of one length, each of one regime, and a group asks the policy of its own
regime alone: the work is that of one policy an agent, however many regimes there are.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.bellman.chunks import fitting, in_parts
from bellax.bellman.maximisers.maximum import cells
from bellax.bellman.reach import reach
from bellax.bellman.setting import Settings
from bellax.model.slots import view
from bellax.panel import Problems, RegimePanel
from bellax.problem.draws import Laws, draw_place, first_states
from bellax.problem.starts import bytes_of_a_row
from bellax.solution.query import ending, masked, undifferentiable
from bellax.solution.regimes import QueriedRegimes
from bellax.started import Placed, begun, check_start, nothing_begun, placed_agents
from bellax.truth import World, world

States = dict[str, dict[str, Array]]
"""By regime, then by name: what agents who are elsewhere hold there does not matter."""

_COPIES = 4  # of the paths of some agents that are in flight, by period and by agent
_LEAST = 64  # agents of a group


def simulate_regimes(
    solution: QueriedRegimes, agents: int | None, start: Any, key: Array, periods: int, truth: Any
) -> RegimePanel:
    """Simulates agents of a model with several regimes; see `bx.simulate`."""
    solution.check_one()
    settings = solution.settings.regimes
    true = World({name: own.problem for name, own in settings.items()}, solution.arguments)
    true = true if truth is None else world(truth, settings)
    placed = placed_agents(solution, {} if start is None else start, agents, periods, key)
    name = ("simulate", type(solution), solution.settings, periods, tuple(true.problems.values()))
    programs = solution.model.programs
    if name not in programs:
        programs[name] = jax.jit(_program(solution.settings, true.problems, periods))
    count = placed.where.shape[0]
    found = programs[name](solution, true.arguments, placed, jnp.arange(count, dtype=jnp.uint32), key)
    begun, states = found.pop("begun"), found.pop("start")
    for regime, given in placed.states.items():
        numerics = settings[regime].numerics
        check_start(numerics, solution.arguments, given, placed.entry, states[regime], begun[regime])
    return RegimePanel(**found, arguments=true.arguments, key=key, problems=Problems(true.problems))


# -- paths -------------------------------------------------------------------------------------------------------------


def _program(settings: Settings, problems: Mapping[str, Any], periods: int) -> Callable[..., dict[str, Any]]:
    """A program that simulates some periods, some agents after the others where there are many."""

    def run(solution: QueriedRegimes, arguments: Any, placed: Placed, agents: Array, key: Array) -> dict[str, Any]:
        lives = Lives(solution, problems, arguments)
        width = sum(bytes_of_a_row(problem.plan) for problem in problems.values())
        most = max(1, lives.memory // (_COPIES * (periods + 1) * width))
        some = lambda rows, _: (_paths(lives, periods, rows[0], rows[1], key), ())  # noqa: E731
        return in_parts(some, (placed, agents), most)[0]

    return run


class Lives(NamedTuple):
    """What agents do, and by which laws they live.

    Attributes:
        solution: says what is done.
        problems, arguments: by regime, the laws.
    """

    solution: QueriedRegimes
    problems: Mapping[str, Any]
    arguments: Any

    @property
    def numerics(self) -> dict[str, Any]:
        """Those of the solution, by regime."""
        return {name: setting.numerics for name, setting in self.solution.settings.regimes.items()}

    @property
    def names(self) -> list[str]:
        """Of the regimes, in the order of their places."""
        return list(self.problems)

    @property
    def memory(self) -> int:
        """Bytes that may be in flight."""
        return min(numerics.memory for numerics in self.numerics.values())

    def ending(self, name: str, period: Any) -> Callable[[Mapping[str, Array]], Array]:
        """V in a regime that ends, in any period; in another one V after the last decision."""
        solution, numerics, problem = self.solution, self.numerics[name], self.problems[name]
        if numerics.ends:
            return problem.period(self.arguments, period).terminal
        if problem.plan.evaluate_terminal is None and numerics.plan.evaluate_terminal is None:
            return ending(numerics, solution.arguments, solution[name].pointwise.last)
        return problem.period(self.arguments, problem.clock.count).terminal

    def nobody(self, count: int) -> "_Lived":
        """What is held by those who are in no regime."""
        actions: States = {name: {} for name in self.names}
        for name, problem in self.problems.items():
            for action, space in problem.plan.actions.items():
                seen = view(space)
                actions[name][action] = jnp.zeros((count, *seen.shape), seen.dtype)
            if problem.plan.evaluate_stop is not None:
                actions[name]["stop"] = jnp.zeros(count, bool)
        blank, gone = jnp.full(count, jnp.nan), jnp.full(count, -1, jnp.int32)
        idle = {name: _idle(numerics, self.solution.arguments, count) for name, numerics in self.numerics.items()}
        return _Lived(actions, blank, blank, blank, gone, idle)


class _Lived(NamedTuple):
    """What a period brought.

    Attributes:
        actions: by regime and name; of the agent's regime.
        reward, discount, value: of the period.
        where: the place of tomorrow's regime; -1 for who is gone.
        following: tomorrow's states by regime and name; of tomorrow's regime.
    """

    actions: States
    reward: Array
    discount: Array
    value: Array
    where: Array
    following: States


def _paths(lives: Lives, periods: int, placed: Placed, agents: Array, key: Array) -> dict[str, Any]:
    """The paths of some agents. One period more is run where V at the end is the policy's own."""
    names, count = lives.names, agents.shape[0]
    clock = next(iter(lives.problems.values())).clock
    at_end = clock.finite and periods == clock.count
    keys = jax.vmap(lambda agent: jax.random.fold_in(key, agent))(agents)
    states = dict(lives.nobody(count).following)
    for name, own in placed.states.items():
        first = first_states(lives.problems[name], lives.arguments, own, keys, placed.entry)
        states[name] = _pick(placed.where == names.index(name), first, states[name])

    def step(carry: Any, period: Array) -> tuple[Any, Any]:
        where, states, start = carry
        there = jnp.where(period >= placed.entry, where, -1)
        lived = _grouped(lives, there, states, keys, period)
        here = {name: there == place for place, name in enumerate(names)}
        record: dict[str, Any] = {
            "regime": there,
            "reward": lived.reward,
            "discount": lived.discount,
            "value": lived.value,
            "states": {name: _shown(here[name], states[name]) for name in names},
            "actions": {name: _shown(here[name], lived.actions[name]) for name in names},
        }
        for name in placed.states:
            numerics = lives.numerics[name]
            ends = reach(numerics.mesh(lives.solution.arguments, period))
            now = begun(numerics, ends, states[name], record["actions"][name], lived.value)
            start = start | {name: start[name].joined(here[name] & (period == placed.entry), now)}
        waits = period < placed.entry
        following = {name: _pick(waits, states[name], lived.following[name]) for name in names}
        return (jnp.where(waits, where, lived.where), following, start), record

    start = {name: nothing_begun(lives.numerics[name], count) for name in placed.states}
    steps = jnp.arange(periods if at_end else periods + 1, dtype=jnp.int32)
    (last, held, start), records = lax.scan(step, (placed.where, states, start), steps)
    if at_end:
        final = {name: _shown(last == place, held[name]) for place, name in enumerate(names)}
        value = jnp.full(last.shape, jnp.nan)
        for place, name in enumerate(names):
            at = jax.vmap(lives.ending(name, clock.count), axis_size=count)
            value = jnp.where(last == place, at(held[name]), value)
    else:
        last, final, value = jax.tree.map(
            lambda leaf: leaf[periods], (records["regime"], records["states"], records["value"])
        )
    records = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:periods], 0, 1), records)
    ended = {"final_regime": last, "final": final, "final_value": value}
    return {**records, **ended, "begun": start, "start": {name: states[name] for name in placed.states}}


def _grouped(lives: Lives, there: Array, states: States, keys: Array, period: Array) -> _Lived:
    """What a period brings every agent, in groups of one length and one regime.

    Args:
        there: the place of each agent's regime; -1 for who is in none.
    """
    names, count = lives.names, there.shape[0]
    each = max(1 if n.ends else cells(n.maximiser, n.plan) for n in lives.numerics.values())
    size = min(max(-(-count // (4 * len(names))), _LEAST), fitting(each, lives.memory), count)
    groups = -(-count // size) + len(names)
    among = there[None] == jnp.arange(len(names), dtype=jnp.int32)[:, None]
    filled = jnp.cumsum(-(-jnp.sum(among, axis=1, dtype=jnp.int32) // size))  # groups, those of each regime included
    regime = jnp.maximum(there, 0)
    rank = jnp.take_along_axis(jnp.cumsum(among, axis=1, dtype=jnp.int32), regime[None], axis=0)[0] - 1
    before = jnp.concatenate([jnp.zeros_like(filled[:1]), filled[:-1]])[regime]
    slot = jnp.where(there >= 0, before * size + rank, groups * size)
    members = jnp.zeros(groups * size, jnp.int32).at[slot].set(jnp.arange(count, dtype=jnp.int32), mode="drop")
    # those groups that are left over are nobody's
    whose = jnp.sum(jnp.arange(groups, dtype=jnp.int32)[:, None] >= filled[None], axis=1, dtype=jnp.int32)
    nobody = lives.nobody(size)
    branches = [_branch(lives, name, nobody, states, keys, period) for name in names]
    branches.append(lambda _: nobody)
    found: Any = lax.map(lambda group: lax.switch(group[0], branches, group[1]), (whose, members.reshape(groups, size)))
    place = jnp.minimum(slot, groups * size - 1)
    own = jax.tree.map(lambda leaf: leaf.reshape(groups * size, *leaf.shape[2:])[place], found)
    return _pick(there >= 0, own, lives.nobody(count))


def _branch(
    lives: Lives, name: str, nobody: _Lived, states: States, keys: Array, period: Array
) -> Callable[[Array], _Lived]:
    """What a period brings a group of agents of a regime."""
    live = _one_period(lives, name, period)

    def run(members: Array) -> _Lived:
        own = jax.tree.map(lambda leaf: leaf[members], states[name])
        found, arrived = jax.vmap(live, axis_size=members.shape[0])(own, keys[members])
        following = dict(nobody.following)
        for target, reached in arrived.items():
            following[target] = _pick(found.where == lives.names.index(target), reached, following[target])
        found = found._replace(actions=nobody.actions | found.actions, following=following)
        return jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), found, nobody)

    return run


def _one_period(lives: Lives, name: str, period: Array) -> Callable[..., tuple[_Lived, States]]:
    """What happens to one agent of a regime in a period, and its states in each regime that may be reached."""
    numerics, problem = lives.numerics[name], lives.problems[name]
    gone = jnp.full((), -1, jnp.int32)
    if numerics.ends:
        at = lives.ending(name, period)
        return lambda states, key: (_Lived({}, at(states), jnp.zeros(()), at(states), gone, {}), {})
    policy, plan = lives.solution[name].pointwise, numerics.plan
    rule = policy.at(period)
    laws = Laws(problem, lives.arguments, period, {n: lives.problems[n] for n in problem.plan.arrivals})

    def live(states: dict[str, Array], key: Array) -> tuple[_Lived, States]:
        chosen, own = rule(states), jax.random.fold_in(key, period + 1)
        actions, taste = chosen.drawn(laws.tastes(own))
        if not policy.smooth and plan.controls:
            actions = actions | {n: undifferentiable(actions[n], policy.arguments) for n in plan.controls}
        found = laws.advance(states, actions, own)
        where = jnp.asarray(lives.names.index(name), jnp.int32)
        reward = found.reward + taste
        if found.regimes:
            chances = jnp.stack(list(found.regimes.values()))
            places = np.asarray([lives.names.index(target) for target in found.regimes], np.int32)
            where = jnp.asarray(places)[draw_place(own, "next_regime", chances)]
            reward = jnp.where(jnp.any(jnp.isnan(chances)), jnp.nan, reward)
        reward = jnp.where(chosen.stop, laws.today.payoff(states), reward)
        discount = jnp.where(chosen.stop, 0.0, found.discount)
        stop = {"stop": chosen.stop} if plan.evaluate_stop is not None else {}
        where = jnp.where(chosen.stop, gone, where)
        done = {name: actions | stop}
        return _Lived(done, reward, discount, chosen.value, where, {}), {**found.arrived, name: found.following}

    return live


def _idle(numerics: Any, arguments: Any, count: int) -> dict[str, Array]:
    """What agents who are elsewhere hold: a state in the middle of the grid, where everything is a number."""
    mesh = numerics.mesh(arguments, 0)
    codes = {name: jnp.asarray(length // 2, jnp.int32) for name, length in mesh.discrete_axes.items()}
    middle = [line.coordinates[line.count // 2] for line in mesh.lines]
    point = mesh.point(codes, jnp.stack(middle) if middle else jnp.zeros(0))
    return {name: jnp.broadcast_to(value, (count, *value.shape)) for name, value in point.values.items()}


def _pick(here: Array, new: Any, old: Any) -> Any:
    """Of agents who are here the one, of others the other."""
    wide = lambda leaf: here.reshape(-1, *(1,) * (leaf.ndim - 1))  # noqa: E731
    return jax.tree.map(lambda a, b: jnp.where(wide(a), a, b.astype(a.dtype)), new, old)


def _shown(here: Array, leaves: Any) -> Any:
    """What agents who are elsewhere hold is no answer; see `masked`."""
    return jax.tree.map(lambda leaf: masked(here.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf), leaves)
