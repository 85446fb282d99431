"""Simulation over several regimes: agents move between them, each by the policy and the laws of where it is.

An agent is in one regime at a time and holds the states of that regime. Who reaches a regime that ends is paid its
value and is gone. Draws belong to the seed, the agent, the period and the name of what is drawn.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bellax.bellman.chunks import over_batch
from bellax.bellman.maximisers.maximum import cells
from bellax.bellman.outside import Extrapolate
from bellax.bellman.reach import first_outside, numbers, outside, reach
from bellax.errors import ModelError, ParameterError, listed, nearest
from bellax.model.quantity import is_table
from bellax.model.slots import view
from bellax.numerics.programs import all_concrete
from bellax.panel import Problems, RegimePanel
from bellax.problem.draws import Laws, draw_place, first_states
from bellax.problem.starts import AGENTS, starting_states
from bellax.solution.query import ending, masked, undifferentiable
from bellax.solution.regimes import RegimeSolution, Settings

States = dict[str, dict[str, Array]]
"""By regime, then by name: what agents who are elsewhere hold there does not matter."""


def simulate_regimes(solution: RegimeSolution, agents: int | None, start: Any, key: Array, periods: int) -> RegimePanel:
    """Simulates agents of a model with several regimes; see `bx.simulate`."""
    where, count, given = _started(solution, {} if start is None else start, agents, periods)
    name, programs = ("simulate", solution.settings, periods), solution.model.programs
    if name not in programs:
        programs[name] = jax.jit(_program(solution.settings, periods))
    found = programs[name](solution, where, given, jnp.arange(count, dtype=jnp.uint32), key)
    _check_starts(solution, given, found.pop("off"))
    problems = {name: setting.problem for name, setting in solution.settings.regimes.items()}
    return RegimePanel(**found, arguments=solution.arguments, problems=Problems(problems))


def _started(
    solution: RegimeSolution, start: Any, agents: int | None, periods: int
) -> tuple[Array, int, dict[str, dict[str, Array]]]:
    """The regime in which each agent starts, how many agents there are, and the states that were given, by regime."""
    settings, names = solution.settings.regimes, solution.regimes
    frame = {column: start[column].to_numpy() for column in start.columns} if is_table(start) else start
    if not isinstance(frame, Mapping):
        raise ParameterError(f"start is {start!r}; give a dict with 'regime' and by state, or a DataFrame.")
    given = dict(frame)
    if "age" in given:
        clock = solution.model.clock
        if np.any(np.asarray(given.pop("age")) != clock.age(0)):
            raise ParameterError(f"start: age is not {clock.age(0):g}; agents of this version start in period 0.")
    if "regime" not in given:
        raise ParameterError(f"start lacks 'regime': the regime of each agent, one of {listed(names)}.")
    labels = np.asarray(given.pop("regime"))
    if labels.ndim > 1 or labels.size == 0:
        raise ParameterError(f"start: regime has shape {labels.shape}; give one label, or one an agent.")
    if agents is not None and (isinstance(agents, bool) or not isinstance(agents, int | np.integer) or agents < 1):
        raise ParameterError(f"agents is {agents!r}; give a whole number of at least 1.")
    if not all_concrete(given):
        raise ModelError("start is being traced: a simulation of several regimes is differentiated in parameters only.")
    unknown = next((str(label) for label in labels.reshape(-1) if str(label) not in names), None)
    if unknown is not None:
        raise ParameterError(
            f"start: there is no regime {unknown!r}.{nearest(unknown, names)} There are {listed(names)}."
        )
    rows = {name: len(value) for name, value in {"regime": labels, **given}.items() if _rows(settings, name, value)}
    count = int(agents) if agents is not None else next(iter(rows.values()), AGENTS)
    wrong = next((name for name, length in rows.items() if length != count), None)
    if wrong is not None:
        raise ParameterError(f"start of {wrong!r} has {rows[wrong]} rows, and there are {count} agents.")
    where = np.broadcast_to(np.asarray([names.index(str(x)) for x in labels.reshape(-1)], np.int32), (count,))
    everywhere = {state for setting in settings.values() for state in setting.plan.states}
    for state in given:
        if state not in everywhere:
            raise ModelError(f"start names the state {state!r}, which no regime has.{nearest(state, everywhere)}")
    states = {}
    for place, regime in enumerate(names):
        here = where == place
        if not here.any():
            continue
        problem = settings[regime].problem
        active = solution.model.active_periods.get(regime, (True,))
        if settings[regime].numerics.ends or not active[0]:
            raise ParameterError(f"start: the regime {regime!r} is not active in period 0; nobody decides there then.")
        own = {}
        for state, value in given.items():
            if state in problem.plan.states:
                own[state] = np.asarray(value)[here] if _rows(settings, state, value) else value
        found, _ = starting_states(problem, own, int(here.sum()), periods)
        states[regime] = {
            state: jnp.zeros((count, *array.shape[1:]), array.dtype).at[np.flatnonzero(here)].set(array)
            for state, array in found.items()
        }
    return jnp.asarray(where), count, states


def _rows(settings: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether there is one value an agent."""
    spaces = [setting.plan.states[name] for setting in settings.values() if name in setting.plan.states]
    return np.ndim(value) > (len(view(spaces[0]).shape) if spaces else 0)


def _check_starts(solution: RegimeSolution, given: States, found: dict[str, Any]) -> None:
    """Raises ParameterError for a start outside the grid of its regime, unless extrapolation was asked for by name."""
    for regime, here in found.items():
        numerics = solution.settings.regimes[regime].numerics
        if isinstance(numerics.outside, Extrapolate) or not all_concrete((given, here)):
            continue
        wrong = first_outside(numerics.plan, here["ends"], here["outside"], given[regime])
        if wrong is not None:
            raise ParameterError(
                f"start in regime {regime!r}: {wrong}. V is extrapolated there. Start inside, widen the bounds of the "
                "state, or ask for it by name: outside=bx.outside.Extrapolate() in the solver."
            )


class _Lived(NamedTuple):
    """What a period in one regime brought an agent.

    Attributes:
        actions: by name.
        reward, discount, value: of the period.
        where: the place of tomorrow's regime; -1 for who is gone.
        following: tomorrow's states in each regime that may be reached.
    """

    actions: dict[str, Array]
    reward: Array
    discount: Array
    value: Array
    where: Array
    following: States


def _program(settings: Settings, periods: int) -> Callable[..., dict[str, Any]]:
    """A program that simulates some periods; one more is run where V at the end is the policy's own."""
    names, regimes = list(settings.regimes), settings.regimes
    clock = next(iter(regimes.values())).problem.clock
    at_end = clock.finite and periods == clock.count

    def run(solution: RegimeSolution, where: Array, given: States, agents: Array, key: Array) -> dict[str, Any]:
        keys = jax.vmap(lambda agent: jax.random.fold_in(key, agent))(agents)
        idle = {name: _idle(regimes[name].numerics, solution.arguments, agents.shape[0]) for name in names}
        begun, off = dict(idle), {}
        for name, own in given.items():
            numerics, here = regimes[name].numerics, where == names.index(name)
            begun[name] = _pick(here, first_states(numerics.problem, solution.arguments, own, keys), idle[name])
            ends = reach(numerics.mesh(solution.arguments, 0))
            beyond_ends = lambda own, plan=numerics.plan, ends=ends: outside(ends, numbers(plan, own))  # noqa: E731
            beyond = jax.vmap(beyond_ends, axis_size=agents.shape[0])(begun[name])
            off[name] = {"ends": ends, "outside": _pick(here, beyond, jnp.zeros_like(beyond))}

        def step(carry: tuple[Array, States], period: Array) -> tuple[tuple[Array, States], Any]:
            where, states = carry
            moved, following = jnp.full_like(where, -1), dict(idle)
            blank = jnp.full(where.shape, jnp.nan)
            record: dict[str, Any] = {"regime": where, "reward": blank, "discount": blank, "value": blank}
            record |= {"states": {}, "actions": {}}
            for place, name in enumerate(names):
                here = where == place
                live = _one_period(solution, name, names, period)
                lived = _for_those(here, live, states[name], keys, regimes[name].numerics)
                for what in ("reward", "discount", "value"):
                    record[what] = jnp.where(here, getattr(lived, what), record[what])
                record["states"][name] = _shown(here, states[name])
                record["actions"][name] = _shown(here, lived.actions)
                moved = jnp.where(here, lived.where, moved)
                for target, arrived in lived.following.items():
                    came = here & (lived.where == names.index(target))
                    following[target] = _pick(came, arrived, following[target])
            return (moved, following), record

        steps = jnp.arange(periods if at_end else periods + 1, dtype=jnp.int32)
        (last, states), records = lax.scan(step, (where, begun), steps)
        if at_end:
            final = {name: _shown(last == k, states[name]) for k, name in enumerate(names)}
            value = jnp.full(last.shape, jnp.nan)
            for place, name in enumerate(names):
                at = _ending(solution, name, clock.count)
                value = jnp.where(last == place, jax.vmap(at, axis_size=agents.shape[0])(states[name]), value)
        else:
            last, final, value = jax.tree.map(
                lambda leaf: leaf[periods], (records["regime"], records["states"], records["value"])
            )
        records = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:periods], 0, 1), records)
        return {**records, "final_regime": last, "final": final, "final_value": value, "off": off}

    return run


def _one_period(
    solution: RegimeSolution, name: str, names: list[str], period: Array
) -> Callable[[dict[str, Array], Array], _Lived]:
    """What happens to one agent of a regime in a period."""
    setting, arguments = solution.settings.regimes[name], solution.arguments
    numerics = setting.numerics
    gone = jnp.full((), -1, jnp.int32)
    if numerics.ends:
        at = _ending(solution, name, period)
        return lambda states, key: _Lived({}, at(states), jnp.zeros(()), at(states), gone, {})
    policy, plan = solution[name].pointwise, numerics.plan
    rule = policy.at(period)
    others = {other: found.problem for other, found in numerics.others.items()}
    laws = Laws(numerics.problem, arguments, period, others)

    def live(states: dict[str, Array], key: Array) -> _Lived:
        chosen, own = rule(states), jax.random.fold_in(key, period + 1)
        actions, taste = chosen.drawn(laws.tastes(own))
        if not policy.smooth and plan.controls:
            actions = actions | {n: undifferentiable(actions[n], arguments) for n in plan.controls}
        found = laws.advance(states, actions, own)
        where = jnp.asarray(names.index(name), jnp.int32)
        reward = found.reward + taste
        if found.regimes:
            chances = jnp.stack(list(found.regimes.values()))
            places = np.asarray([names.index(target) for target in found.regimes], np.int32)
            where = jnp.asarray(places)[draw_place(own, "next_regime", chances)]
            reward = jnp.where(jnp.any(jnp.isnan(chances)), jnp.nan, reward)
        reward = jnp.where(chosen.stop, chosen.value, reward)
        discount = jnp.where(chosen.stop, 0.0, found.discount)
        stop = {"stop": chosen.stop} if plan.evaluate_stop is not None else {}
        following = {**found.arrived, name: found.following}
        return _Lived(actions | stop, reward, discount, chosen.value, jnp.where(chosen.stop, gone, where), following)

    return live


def _ending(solution: RegimeSolution, name: str, period: Any) -> Callable[[Mapping[str, Array]], Array]:
    """V in a regime that ends, in any period; in another one V after the last decision."""
    numerics = solution.settings.regimes[name].numerics
    if numerics.ends:
        return ending(numerics, solution.arguments, None, period)
    return ending(numerics, solution.arguments, jax.tree.map(lambda leaf: leaf[-1], solution.values[name]))


def _for_those(here: Array, live: Callable[..., _Lived], states: Any, keys: Array, numerics: Any) -> _Lived:
    """`live` for every agent, in chunks that fit in memory; for nobody where nobody is there."""
    each = 1 if numerics.ends else cells(numerics.maximiser, numerics.plan)

    def run() -> _Lived:
        return over_batch(lambda agent: live(*agent), (states, keys), each, numerics.memory)

    empty = jax.eval_shape(run)
    return lax.cond(jnp.any(here), run, lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), empty))


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
