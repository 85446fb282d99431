"""Simulation in continuous time: agents who follow a policy, in small steps, and the table of their paths.

Draws belong to the seed, the agent, the step and the name of the state, as those of discrete time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Bool, Float

from bellax.errors import ModelError, ParameterError, SolveError, check_count
from bellax.model.demands import broken, one_stationary
from bellax.moving import SIDES, Moving, ends
from bellax.numerics.machine import physical_memory
from bellax.numerics.programs import LITTLE, all_concrete, quickly
from bellax.numerics.scalar import rounding
from bellax.panel import columns_of
from bellax.population.density import ATOM, Density
from bellax.problem.flow import Arguments
from bellax.problem.starts import Entrance, Spaces, starting_states
from bellax.solution.flowing import FlowSetting, FlowSolution
from bellax.solution.solution import Result
from bellax.solution.table import Representation

States = dict[str, Array]
_COPIES = 2  # of a panel, by time and by agent


class FlowPanel(eqx.Module):
    """Simulated paths in continuous time.

    Attributes:
        time: at which paths are recorded, from zero to the end, shape (t,).
        states: by name, shape (agents, t), as functions of the model see them.
        actions: by name, likewise.
        reward: the flow of it, shape (agents, t); none once an agent has stopped.
        value: V at the visited state, shape (agents, t).
        stopped: whether the problem has ended for the agent, shape (agents, t): it stopped, or came to an edge that is
            `Absorbing`. It was paid for that once, and stays in the state where it was.
        earned: discounted reward from the start to the end, shape (agents,).
        discount: of the end, at the start, shape (agents,); zero of agents who have stopped.
        clipped: how often agents were put back, by state, "lower" and "upper", at edges that are never reached.
        arguments: the parameters and literals that were simulated.
        key: of which everything was drawn.
        setting: the model.
    """

    time: Float[Array, "t"]
    states: dict[str, Array]
    actions: dict[str, Array]
    reward: Float[Array, "n t"]
    value: Float[Array, "n t"]
    stopped: Bool[Array, "n t"]
    earned: Float[Array, "n"]
    discount: Float[Array, "n"]
    clipped: dict[str, dict[str, Array]]
    arguments: dict[str, Any]
    key: Array
    setting: FlowSetting = eqx.field(static=True)

    @property
    def agents(self) -> int:
        """How many agents there are."""
        return self.reward.shape[0]

    def present_value(self) -> Float[Array, "n"]:
        """Discounted reward of each agent, what it was paid for stopping, and V where the simulation ends."""
        return self.earned + self.discount * self.value[:, -1]

    def frame(self) -> Any:
        """A tidy pandas DataFrame: one row for each agent and recorded time.

        Columns: time, agent, states, actions, reward, value, and `stopped` where the problem may end. Categories of an
        Enum are labels.
        """
        import pandas as pd  # costs .4 s at import, and a simulation does not need it

        time = np.asarray(self.time)
        columns: dict[str, Any] = {
            "time": np.tile(time, self.agents),
            "agent": np.repeat(np.arange(self.agents), len(time)),
        }
        spaces = {**self.setting.flow.spaces, **self.setting.flow.actions}
        for name, paths in {**self.states, **self.actions}.items():
            columns |= columns_of(name, np.asarray(paths).reshape(-1), spaces[name])
        last = [("stopped", self.stopped)] if ends(self.setting) else []
        for name, paths in [("reward", self.reward), ("value", self.value), *last]:
            label = name
            while label in columns:
                label += "_"
            columns[label] = np.asarray(paths).reshape(-1)
        return pd.DataFrame(columns)

    def __str__(self) -> str:
        size = f"Panel of {self.agents} agents at {len(self.time)} points in time."
        counts = {f"{name!r} at its {side} edge": n for name, own in self.clipped.items() for side, n in own.items()}
        if not all_concrete((counts, self.stopped)):
            return size
        gone = int(np.asarray(self.stopped)[:, -1].sum())
        size += f" {gone} of them have stopped." if ends(self.setting) else ""
        return " ".join([size, *(f"{where} was put back {int(n)} times." for where, n in counts.items() if int(n))])


class _Times(NamedTuple):
    """Steps, how many of them between two records, and the length of one."""

    steps: int
    every: int
    step: float


def simulate_flows(
    solution: FlowSolution, agents: int | None, start: Any, key: Array, duration: Any, step: Any, every: Any
) -> FlowPanel:
    """As `bx.simulate`, of a solution in continuous time."""
    _check(solution)
    setting = solution.setting
    times = _times(setting, duration, step, every)
    given, count = _started(setting, start, agents, key)
    _check_drawn(solution, given)
    _check_inside(solution, given)
    _check_memory(setting, count, times)
    little = count * times.steps <= LITTLE
    name = ("simulate", type(solution.values), times.steps, times.every)
    run = setting.program(name, lambda: quickly(_program(setting, times), little))
    ids = jnp.arange(count, dtype=jnp.uint32)
    found = run(solution.arguments, solution.values, given, ids, key, jnp.asarray(times.step, float))
    time = jnp.asarray(np.arange(0, times.steps + 1, times.every) * times.step)
    return FlowPanel(time=time, **found, arguments=solution.arguments, key=key, setting=setting)


def _check(solution: FlowSolution) -> None:
    solution.check_one()
    if all_concrete(solution.code) and int(solution.code) != int(Result.successful):
        raise SolveError(f"the solution ended as {solution.result!s}; there is no policy that agents could follow.")


def _times(setting: FlowSetting, duration: Any, step: Any, every: Any) -> _Times:
    horizon = float(setting.model.horizon)
    duration = horizon if duration is None and setting.flow.timed else duration
    for name, value, example in (("duration", duration, "50.0"), ("step", step, "0.05")):
        if value is None:
            raise ModelError(f"time is continuous; say how long to simulate, and in which steps: {name}={example}.")
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < float(value) < np.inf:
            raise ParameterError(f"{name} is {value!r}; give a positive number, such as {example}.")
    if float(duration) > horizon * (1 + 1e-9):
        raise ParameterError(f"duration is {duration}, and the horizon of the model {horizon:g}; nothing is after it.")
    steps = round(float(duration) / float(step))
    if steps < 1 or abs(steps * float(step) - float(duration)) > 1e-6 * float(duration):
        raise ParameterError(f"duration={duration} is no whole number of steps of {step}.")
    if steps >= 2**31:
        raise ParameterError(f"{steps:.3g} steps are too many; give a longer step, or a shorter duration.")
    every = 1 if every is None else every
    check_count(every, "every")
    if steps % every:
        raise ParameterError(f"there are {steps} steps, of which every={every} keeps no whole number; give a divisor.")
    return _Times(steps, int(every), float(step))


def _started(setting: FlowSetting, start: Any, agents: int | None, key: Array) -> tuple[States, int]:
    """Where agents start, one row an agent, and how many there are."""
    flow = setting.flow
    spaces = Spaces(flow.spaces, flow.actions, flow.chains)
    if isinstance(start, Density):
        if list(start.solution.setting.flow.spaces) != list(flow.spaces):
            raise ModelError(f"start is a density over {list(start.solution.setting.flow.spaces)}, of another model.")
        _, count, _ = starting_states(Entrance(Spaces({}, {}, ()), setting.model.clock), {}, agents, 1, key)
        return {"": jnp.ravel(start.mass), **start.solution.nodes()}, count
    found = starting_states(Entrance(spaces, setting.model.clock), {} if start is None else start, agents, 1, key)
    return found.states, found.agents


def _check_drawn(solution: FlowSolution, given: States) -> None:
    """Raises ParameterError for a chain that is to be drawn by its stationary distribution, and has several."""
    for name in solution.setting.flow.chains:
        rates = solution.setting.flow.chain(solution.arguments, name)[1]
        if name in given or "" in given or not all_concrete(rates):
            continue
        chances = np.eye(len(rates)) + np.asarray(rates) / (1 + np.max(-np.diagonal(rates)))
        if broken(one_stationary("transition"), {"transition": chances}) is not None:
            raise ParameterError(
                f"start lacks {name!r}: its chain has several stationary distributions, and which of them depends on "
                "where it starts. Give each agent a category, or shares, {'" + name + "': {1.0: 0.5, 2.0: 0.5}}."
            )


def _check_inside(solution: FlowSolution, given: States) -> None:
    """Raises ParameterError for a start where V is not known; nothing is known of tracers."""
    names = list(solution.setting.flow.spaces)
    for name, line in solution.setting.lines(solution.arguments).items():
        if not all_concrete((given, line)):
            continue
        nodes, starts = np.asarray(line.nodes), np.asarray(given[name])
        if "" in given:  # of a density, where anybody is
            shape = [len(given[each]) for each in names]
            others = tuple(axis for axis, each in enumerate(names) if each != name)
            starts = starts[np.asarray(given[""]).reshape(shape).sum(axis=others) > ATOM]
        low, high = float(nodes[0]), float(nodes[-1])
        slack = rounding() * (high - low)
        bad = np.flatnonzero(~((starts >= low - slack) & (starts <= high + slack)))
        if len(bad):
            who = "in the density" if "" in given else f"of agent {bad[0]}"
            raise ParameterError(
                f"start: {name!r} {who} is {starts[bad[0]]:g}, outside of {low:g} to {high:g}, where V is "
                "known. Start agents inside; or move the bounds of the state, and solve again."
            )


def _check_memory(setting: FlowSetting, agents: int, times: _Times) -> None:
    """Raises ParameterError for a panel that does not fit in the machine's memory."""
    numbers = len(setting.flow.spaces) + len(setting.flow.actions) + 2
    records = times.steps // times.every + 1
    needed, available = _COPIES * agents * records * numbers * jnp.result_type(float).itemsize, physical_memory()
    if needed > available:
        raise ParameterError(
            f"a panel of {agents} agents at {records} points in time takes {needed:.3g} bytes, and this machine has "
            f"{available:.3g}. Give fewer agents, or every=, of how many steps one is kept."
        )


def _program(setting: FlowSetting, times: _Times) -> Callable[..., dict[str, Any]]:
    """A program that simulates all agents: one scan over records, and in it one over steps."""

    def run(arguments: Arguments, values: Representation, given: States, ids: Array, key: Array, step: Array) -> Any:
        keys = jax.vmap(lambda agent: jax.random.fold_in(key, agent))(ids)
        moving = Moving(setting, arguments, values, step)
        states = moving.begin(given, keys)
        first, paid = jax.vmap(lambda own: moving.ended(own, jnp.zeros(())))(states)
        clipped = {f"{n} {side}": jnp.zeros((), jnp.int32) for n in setting.flow.continuous for side in SIDES}
        start = (states, jnp.where(first, paid, 0.0), jnp.where(first, 0.0, 1.0), first, clipped)

        def one(carry: Any, number: Array) -> tuple[Any, None]:
            states, earned, discount, gone, clipped = carry
            time = number.astype(step.dtype) * step
            moved = jax.vmap(lambda s, k: moving.moved(s, jax.random.fold_in(k, number + 1), time))(states, keys)
            following = {name: jnp.where(gone, states[name], own) for name, own in moved.states.items()}
            counts = {name: clipped[name] + jnp.sum(~gone & own, dtype=jnp.int32) for name, own in moved.out.items()}
            earned = earned + jnp.where(gone, 0.0, discount * moved.flow)
            discount = jnp.where(gone, 0.0, discount * moved.worn)
            over, paid = jax.vmap(lambda own: moving.ended(own, time + step))(following)
            earned = earned + jnp.where(over & ~gone, discount * paid, 0.0)
            return (following, earned, jnp.where(over, 0.0, discount), gone | over, counts), None

        def record(carry: Any, number: Array) -> dict[str, Any]:
            time = number.astype(step.dtype) * step
            return jax.vmap(lambda own, gone: moving.seen(own, gone, time))(carry[0], carry[3])

        def block(carry: Any, first: Array) -> tuple[Any, Any]:
            seen = record(carry, first)
            carry, _ = lax.scan(one, carry, first + jnp.arange(times.every, dtype=jnp.int32))
            return carry, seen

        firsts = jnp.arange(0, times.steps, times.every, dtype=jnp.int32)
        last, records = lax.scan(block, start, firsts)
        end = record(last, jnp.int32(times.steps))
        whole = jax.tree.map(lambda path, own: jnp.concatenate([path, own[None]]).T, records, end)
        by_state = {n: {side: last[4][f"{n} {side}"] for side in SIDES} for n in setting.flow.continuous}
        return {**whole, "earned": last[1], "discount": last[2], "clipped": by_state}

    return run
