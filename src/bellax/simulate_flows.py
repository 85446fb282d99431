"""Simulation in continuous time: agents who follow a policy, in small steps.

Euler and Maruyama's scheme: within a step drift and volatility are those of where it begins. Beyond a wall an agent is
mirrored, which leaves an error of the order of the step (Bossy, Gobet & Talay 2004); at an edge that the drift may not
leave it stays; beyond an edge that is never reached it is put back and counted. A chain moves by the exponential of its
intensities, drawn once a step.

Draws belong to the seed, the agent, the step and the name of the state, as those of discrete time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from bellax.errors import ModelError, ParameterError, SolveError, check_count
from bellax.model.diffusion import Absorbing, Boundary, Reflecting, StateConstraint
from bellax.numerics import markov
from bellax.numerics.machine import physical_memory
from bellax.numerics.programs import LITTLE, all_concrete, quickly
from bellax.panel import columns_of
from bellax.population import Density
from bellax.problem.draws import draw_place, own_key
from bellax.problem.flow import Arguments, Flowing
from bellax.problem.starts import Entrance, Spaces, starting_states
from bellax.solution.flowing import FlowSetting, FlowSolution
from bellax.solution.solution import Result
from bellax.solution.table import Representation

States = dict[str, Array]
SIDES = ("lower", "upper")
_COPIES = 2  # of a panel, by time and by agent


class FlowPanel(eqx.Module):
    """Simulated paths in continuous time.

    Attributes:
        time: at which paths are recorded, from zero to the end, shape (t,).
        states: by name, shape (agents, t), as functions of the model see them.
        actions: by name, likewise.
        reward: the flow of it, shape (agents, t).
        value: V at the visited state, shape (agents, t).
        earned: discounted reward from the start to the end, shape (agents,).
        discount: of the end, at the start, shape (agents,).
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
        """Discounted reward of each agent, and V where the simulation ends."""
        return self.earned + self.discount * self.value[:, -1]

    def frame(self) -> Any:
        """A tidy pandas DataFrame: one row for each agent and recorded time.

        Columns: time, agent, states, actions, reward, value. Categories of an Enum are labels.
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
        for name, paths in (("reward", self.reward), ("value", self.value)):
            label = name
            while label in columns:
                label += "_"
            columns[label] = np.asarray(paths).reshape(-1)
        return pd.DataFrame(columns)

    def __str__(self) -> str:
        size = f"Panel of {self.agents} agents at {len(self.time)} points in time."
        counts = {f"{name!r} at its {side} edge": n for name, own in self.clipped.items() for side, n in own.items()}
        if not all_concrete(counts):
            return size
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
    setting, times = solution.setting, _times(duration, step, every)
    given, count = _started(setting, start, agents, key)
    _check_memory(setting, count, times)
    little = count * times.steps <= LITTLE
    name = ("simulate", type(solution.values), times.steps, times.every)
    run = setting.program(name, lambda: quickly(_program(setting, times), little))
    ids = jnp.arange(count, dtype=jnp.uint32)
    found = run(solution.arguments, solution.values, given, ids, key, jnp.asarray(times.step, float))
    time = jnp.asarray(np.arange(0, times.steps + 1, times.every) * times.step)
    return FlowPanel(time=time, **found, arguments=solution.arguments, key=key, setting=setting)


def _check(solution: FlowSolution) -> None:
    model = solution.model
    solution.check_one()
    if all_concrete(solution.code) and int(solution.code) != int(Result.successful):
        raise SolveError(f"the solution ended as {solution.result!s}; there is no policy that agents could follow.")
    ending = [n for n in model.boundary if any(isinstance(side, Absorbing) for side in solution.setting.sides(n))]
    if ending or model.stop is not None:
        what = f"the boundary of {ending[0]!r} is Absorbing" if ending else "the model has `stop`"
        raise ModelError(f"simulate follows agents who stay for ever in continuous time, and {what}.")


def _times(duration: Any, step: Any, every: Any) -> _Times:
    for name, value, example in (("duration", duration, "50.0"), ("step", step, "0.05")):
        if value is None:
            raise ModelError(f"time is continuous; say how long to simulate, and in which steps: {name}={example}.")
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < float(value) < np.inf:
            raise ParameterError(f"{name} is {value!r}; give a positive number, such as {example}.")
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
        moving = _Moving(setting, arguments, values, step)
        states = moving.begin(given, keys)
        zero = jnp.zeros(ids.shape[0])
        clipped = {f"{n} {side}": jnp.zeros((), jnp.int32) for n in setting.flow.continuous for side in SIDES}

        def one(carry: Any, number: Array) -> tuple[Any, None]:
            states, earned, discount, clipped = carry
            moved = jax.vmap(lambda s, k: moving.moved(s, jax.random.fold_in(k, number + 1)))(states, keys)
            following, flow, worn, out = moved
            counted = {name: clipped[name] + jnp.sum(own, dtype=jnp.int32) for name, own in out.items()}
            return (following, earned + discount * flow, discount * worn, counted), None

        def block(carry: Any, first: Array) -> tuple[Any, Any]:
            record = jax.vmap(moving.seen)(carry[0])
            carry, _ = lax.scan(one, carry, first + jnp.arange(times.every, dtype=jnp.int32))
            return carry, record

        firsts = jnp.arange(0, times.steps, times.every, dtype=jnp.int32)
        (last, earned, discount, counts), records = lax.scan(block, (states, zero, zero + 1, clipped), firsts)
        end = jax.vmap(moving.seen)(last)
        whole = jax.tree.map(lambda path, own: jnp.concatenate([path, own[None]]).T, records, end)
        by_state = {n: {side: counts[f"{n} {side}"] for side in SIDES} for n in setting.flow.continuous}
        return {**whole, "earned": earned, "discount": discount, "clipped": by_state}

    return run


class _Moving:
    """How one agent moves, inside a compiled program."""

    def __init__(self, setting: FlowSetting, arguments: Arguments, values: Representation, step: Array) -> None:
        self.setting, self.arguments, self.values, self.step = setting, arguments, values, step
        flow = setting.flow
        self.bounds = {name: flow.bounds(arguments, name) for name in flow.continuous}
        self.chains = {name: flow.chain(arguments, name) for name in flow.chains}
        self.transitions = {name: jax.scipy.linalg.expm(step * own[1]) for name, own in self.chains.items()}

    def begin(self, given: States, keys: Array) -> States:
        """Where agents begin: as given, by a density, or, chains, by their own stationary distribution."""
        first = jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys)
        if "" in given:
            nodes = {name: given[name] for name in self.setting.flow.spaces}
            shape = tuple(len(own) for own in nodes.values())
            place = jax.vmap(lambda key: draw_place(key, "density", given[""]))(first)
            at = jnp.unravel_index(place, shape)
            return {name: own[index] for (name, own), index in zip(nodes.items(), at, strict=True)}
        found = dict(given)
        for name, (values, intensity) in self.chains.items():
            if name not in given:
                rate = 1 + jnp.max(-jnp.diagonal(intensity))
                chances = markov.stationary(jnp.eye(len(values)) + intensity / rate)
                draw = lambda key, n=name, p=chances: draw_place(key, n, p)  # noqa: E731
                found[name] = values[jax.vmap(draw)(first)]
        return {name: found[name] for name in self.setting.flow.spaces}

    def flowing(self, states: States) -> tuple[Flowing, Array]:
        """What flows at a state under the policy, and V."""
        local = self.values.at(self.setting, self.arguments, states)
        return self.setting.flow.flowing(self.arguments, states, local.marginals, local.curvatures), local.value

    def seen(self, states: States) -> dict[str, Any]:
        """What a panel keeps of a moment."""
        found, value = self.flowing(states)
        return {"states": states, "actions": found.actions, "reward": found.reward, "value": value}

    def moved(self, states: States, key: Array) -> tuple[States, Array, Array, dict[str, Array]]:
        """The next states, what the step earns, what it leaves of a discount factor, and at which edges one was put
        back."""
        flow, (found, _) = self.setting.flow, self.flowing(states)
        following: States = {}
        out: dict[str, Array] = {}
        for name in flow.spaces:
            if name in self.chains:
                values = self.chains[name][0]
                row = self.transitions[name][jnp.argmin(jnp.abs(values - states[name]))]
                following[name] = values[draw_place(key, name, row)]
                continue
            x = states[name] + found.drift[name] * self.step
            if name in flow.spreads:
                spread = flow.spread(self.arguments, states, name) * jnp.sqrt(self.step)
                x = x + spread * jax.random.normal(own_key(key, name))
            following[name], (below, above) = _kept(x, self.bounds[name], self.setting.sides(name))
            out |= {f"{name} lower": below, f"{name} upper": above}
        discount = flow.discount(self.arguments, states)
        worn = jnp.exp(-discount * self.step)
        return following, found.reward * (1 - worn) / discount, worn, out


def _kept(x: Array, bounds: tuple[Array, Array], sides: tuple[Boundary, Boundary]) -> tuple[Array, tuple[Array, Array]]:
    """The state inside its bounds, and whether it was put back where it should not have come."""
    lower, upper = bounds
    below, above = x < lower, x > upper
    inside = x
    if isinstance(sides[0], Reflecting):
        inside = jnp.where(below, 2 * lower - x, inside)
    if isinstance(sides[1], Reflecting):
        inside = jnp.where(above, 2 * upper - x, inside)
    kept = tuple(isinstance(side, Reflecting | StateConstraint) for side in sides)
    none = jnp.zeros((), bool)
    return jnp.clip(inside, lower, upper), (none if kept[0] else below, none if kept[1] else above)
