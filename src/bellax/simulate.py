"""Simulation: agents who follow a policy while random quantities are drawn from the model's own laws.

Nothing is rounded to a grid: shocks are drawn, an AR1 moves by its continuous law, and the policy is asked at the
states that agents reach. Agent n draws the same numbers whatever the number of agents, periods and parameters, and each
shock and process its own, by its name, so that differences between parameters and between variants of a model are free
of noise. Under taste shocks each agent draws one for every combination of the discrete actions that they are over, and
takes what is best with them. Derivatives of a simulated moment exist where the policy's do, but not
with respect to probabilities by which a category is drawn: a path keeps what it drew.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.chunks import in_parts, once_more, over_batch
from bellax.bellman.discretisation import Discretisation
from bellax.bellman.maximisers.maximum import cells
from bellax.bellman.outside import Nan
from bellax.bellman.reach import Reach, admitted, beyond, entries, numbers, reach
from bellax.bellman.setting import Setting
from bellax.bellman.workload import mesh_shape
from bellax.errors import ModelError, ParameterError, check_left_out, named_arguments
from bellax.model.spaces import MarkovChain
from bellax.model.time import Clock
from bellax.numerics.programs import LITTLE, all_concrete, quickly
from bellax.panel import Panel
from bellax.problem.draws import Laws, Realised, first_states
from bellax.problem.problem import Arguments, Problem
from bellax.problem.processes import chain
from bellax.problem.starts import bytes_of_a_row, starting_states
from bellax.simulate_flows import simulate_flows
from bellax.simulate_regimes import simulate_regimes
from bellax.solution.flowing import FlowSolution
from bellax.solution.policy import Chosen, Policy, Queried, Way
from bellax.solution.query import masked, undifferentiable
from bellax.solution.regimes import QueriedRegimes
from bellax.started import begun, check_start, nothing_begun, worth_at_end
from bellax.truth import world

States = dict[str, Array]
_MANY = 10_000_000  # agents times periods for which a table of where searches start is worth its while
_COPIES = 4  # of the paths of some agents that are in flight, by period and by agent


@named_arguments
def simulate(
    solution: Queried | QueriedRegimes | FlowSolution,
    agents: int | None = None,
    start: Mapping[str, Any] | Any = None,
    seed: int | Array = 0,
    periods: int | None = None,
    truth: Any = None,
    duration: float | None = None,
    step: float | None = None,
    every: int | None = None,
) -> Any:
    """Simulates agents who follow a policy.

    Draws belong to the seed, the agent, the period and the name of the shock or process. So two panels of one seed have
    common random numbers: for other parameters, more agents or periods, and for a model with a shock or a state more.

    Types that never change are a discrete state whose law is `bx.fixed`, drawn by weights; what differs between them is
    looked up: `def reward(consumption, kind, risk_aversion): gamma = risk_aversion[kind] ...`.

    Args:
        solution: a `Solution`, which re-maximises at every state or follows a rule, or `solution.tabulate()`, which
            interpolates.
        agents: how many; by default as many as `start` has, or else 10 000.
        start: by state, a number, a label or member of its categories, or one of them an agent; or a DataFrame with a
            row an agent. A dict is the weights by which agents draw it: `{"kind": {"patient": 0.7, "hasty": 0.3}}`. A
            process without an entry is drawn from its stationary distribution. In continuous time also a density, as
            `bx.stationary` gives, from whose nodes agents are drawn. `age`, or `period`, says when agents
            enter; before, they are not in the panel. Of a model with several regimes also the `regime`.
        seed: a number or a key of `jax.random`.
        periods: how many, from the first one of the model on; by default all decisions of a finite horizon.
        truth: a model and its parameters, by whose laws, shocks and rewards agents live who decide by the solution, if
            these are not its own. What they may do, and `value`, remain those of the solution.
        duration, step: in continuous time, in place of `periods` how long, by default the whole of a finite horizon,
            and the length of a step.
        every: in continuous time, of how many steps one is kept; by default all are.
    Returns:
        A `Panel`, arrays of shape (agents, periods), and as `final_value` what the model pays after the last decision,
        which is no reward; of a model with several regimes a `RegimePanel`, in continuous time a `FlowPanel`.
    Raises:
        ParameterError: if a state lacks its start, a start does not fit its state, allows no action, or is outside the
            grid and the solver's `outside` is not `bx.outside.Extrapolate()`; for weights that do not sum to one and
            ages that the model does not have; or if the panel would not fit in the machine's memory.
        ModelError: for an unknown state, a horizon without end and without `periods`, a `truth` with other states or
            actions, or, when it is differentiated, a policy that has no derivative.
    """
    if isinstance(solution, FlowSolution):
        others = {"periods": periods, "truth": truth}
        check_left_out(others, "simulate", "of discrete time, and this solution is in continuous time")
        return simulate_flows(solution, agents, start, _key(seed), duration, step, every)
    if not isinstance(solution, Queried | QueriedRegimes):
        raise ModelError(
            f"simulate takes a Solution or what its tabulate() returns, not {type(solution).__name__!r}; of an "
            "equilibrium, its solution: bx.simulate(equilibrium.solution, ...)."
        )
    timed = {"duration": duration, "step": step, "every": every}
    check_left_out(timed, "simulate", "of continuous time, and this solution is in discrete time; give periods=")
    if isinstance(solution, QueriedRegimes):
        return simulate_regimes(solution, agents, start, _key(seed), _periods(solution.model.clock, periods), truth)
    solution.check_one()
    if solution.setting.problem.regime:
        raise ModelError("simulate takes the whole solution: agents move on to other regimes. Leave the [...] out.")
    setting, policy = solution.setting, solution.pointwise
    numerics, problem, arguments = setting.numerics, setting.problem, policy.arguments
    if truth is not None:
        true = world(truth, {"": setting})
        problem, arguments = true.problems[""], true.arguments
    count, key = _periods(problem.clock, periods), _key(seed)
    given, agents, entry = starting_states(problem, {} if start is None else start, agents, count, key)
    _check_drawn(setting, problem, arguments, given)
    known = all_concrete((policy, arguments, given, key))
    little = known and agents * cells(numerics.maximiser, problem.plan) <= LITTLE
    if known and agents * count >= _MANY and agents >= 4 * math.prod(mesh_shape(numerics, policy.arguments)):
        policy = solution.for_many()
    name = ("simulate", type(policy), count, little, problem)
    compiled = setting.program(name, lambda: quickly(_program(problem, count), little))
    found = compiled(policy, arguments, given, entry, jnp.arange(agents, dtype=jnp.uint32), key)
    first = found.pop("start")
    check_start(numerics, policy.arguments, given, entry, first, found.pop("begun"))
    solution.check_start(given, entry, first)
    return Panel(**found, arguments=arguments, problem=problem, key=key)


def _check_drawn(setting: Setting, problem: Problem, arguments: Any, given: States) -> None:
    """Raises ParameterError for a chain without a start that has more than one stationary distribution to draw from."""
    chains = [n for n, s in problem.plan.states.items() if isinstance(s, MarkovChain) and n not in given]
    if not chains or not all_concrete(arguments):
        return

    def transitions(arguments: Arguments) -> dict[str, Array]:
        environment = problem.environment(arguments, 0)
        return {n: chain(problem.plan, n, environment)[1] for n in problem.plan.processes if n in known}

    known = [n for n, s in problem.plan.states.items() if isinstance(s, MarkovChain)]
    for name, matrix in setting.program(("transitions", problem), lambda: jax.jit(transitions))(arguments).items():
        if name in chains:
            matrix = np.asarray(matrix)
            if np.linalg.matrix_rank(np.eye(len(matrix)) - matrix, tol=1e-10) < len(matrix) - 1:
                raise ParameterError(
                    f"start lacks the state {name!r}: its chain falls into several that never meet, so that no one "
                    "stationary distribution says where agents start. Give them one."
                )


def _key(seed: Any) -> Array:
    """The key of `jax.random` that a number stands for, or that was given."""
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool) and 0 <= seed < 2**63:
        return jax.random.key(seed)
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) and seed.ndim == 0:
        return seed
    if isinstance(seed, jax.Array) and seed.dtype == jnp.uint32 and seed.ndim == 1:
        return jax.random.wrap_key_data(seed)
    raise ParameterError(f"seed is {seed!r}; give a whole number from 0 to 2^63 - 1, or a key of jax.random.")


def _periods(clock: Clock, periods: int | None) -> int:
    if periods is None:
        if not clock.finite:
            raise ModelError("the horizon is infinite; say how many periods to simulate: periods=100.")
        return clock.count
    if isinstance(periods, bool) or not isinstance(periods, int | np.integer) or periods < 1:
        raise ParameterError(f"periods is {periods!r}; give a whole number of at least 1.")
    if clock.finite and periods > clock.count:
        raise ParameterError(f"periods is {periods}, and the model has decisions in {clock.count} periods.")
    return int(periods)


def _program(problem: Problem, count: int) -> Callable[..., dict[str, Any]]:
    """A program that simulates `count` periods, some agents after the others where there are many.

    Args:
        problem: by whose laws agents live.
    """

    def run(policy: Policy, arguments: Any, given: States, entry: Array, agents: Array, key: Array) -> dict[str, Any]:
        plan, memory = policy.numerics.plan, policy.numerics.memory
        some = lambda rows, real: _paths(problem, count, policy, arguments, rows, real, key)  # noqa: E731
        most = max(1, memory // (_COPIES * (count + 1) * bytes_of_a_row(plan)))
        found, counts = in_parts(some, (given, entry, agents), most)
        by_state = {
            label: {"below": counts[:, 0, k], "above": counts[:, 1, k]} for k, label in enumerate(entries(plan))
        }
        return {**found, "outside": by_state}

    return run


def _paths(
    problem: Problem, count: int, policy: Policy, arguments: Any, rows: Any, real: Array, key: Array
) -> tuple[dict[str, Any], Array]:
    """The paths of some agents, and how many of them left the grid, by period.

    One period more is run where V at the end is the policy's own.
    """
    given, entry, agents = rows
    numerics, clock = policy.numerics, problem.clock
    at_end = clock.finite and count == clock.count
    keys = jax.vmap(lambda agent: jax.random.fold_in(key, agent))(agents)
    states = first_states(problem, arguments, given, keys, entry)

    def step(carry: Any, period: Array) -> tuple[Any, Any]:
        states, stays, first = carry
        there = stays & (period >= entry)
        live = _one_period(policy, Laws(problem, arguments, period), period)
        following, stays, record = _over_agents(policy, period, live, (states, there, keys))
        ends = reach(numerics.mesh(policy.arguments, period))
        now = begun(numerics, ends, states, record["actions"], record["value"])
        record |= {"outside": left(ends, states, there)}
        return (following, stays | (period < entry), first.joined(period == entry, now)), record

    def left(ends: Reach, states: States, there: Array) -> Array:
        ask = lambda own: beyond(ends, numbers(numerics.plan, own))  # noqa: E731
        at = jax.vmap(ask, axis_size=agents.shape[0])(states)
        return jnp.sum(at & (there & real)[:, None, None], axis=0, dtype=jnp.int32)

    start = (states, jnp.ones(agents.shape, bool), nothing_begun(numerics, agents.shape[0]))
    steps = jnp.arange(count if at_end else count + 1, dtype=jnp.int32)
    (last, active, first), records = jax.lax.scan(step, start, steps)
    counts = records.pop("outside")
    if at_end:
        value = jax.vmap(worth_at_end(policy, problem, arguments), axis_size=agents.shape[0])(last)
        value = jnp.where(active, value, jnp.nan)
        counts = jnp.concatenate([counts, left(reach(numerics.mesh(policy.arguments, count)), last, active)[None]])
    else:
        last, value = jax.tree.map(lambda leaf: leaf[count], (records["states"], records["value"]))
    records = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:count], 0, 1), records)
    return {**records, "final": last, "final_value": value, "start": states, "begun": first}, counts


def _one_period(policy: Policy, laws: Laws, period: Array) -> Callable[..., Any]:
    """What happens to one agent in a period: decision, draws, reward, and the state that is reached."""
    numerics, plan = policy.numerics, policy.numerics.plan
    mesh = numerics.mesh(policy.arguments, period)

    def live(chosen: Chosen, states: States, active: Array, key: Array) -> Any:
        own = jax.random.fold_in(key, period + 1)
        actions, taste = chosen.drawn(laws.tastes(own))
        if not policy.smooth and plan.controls:
            actions = actions | {n: undifferentiable(actions[n], policy.arguments) for n in plan.controls}
        found = laws.advance(states, actions, own)
        found = _hidden(numerics, found, admitted(numerics, mesh, states))
        stays = active & ~chosen.stop
        reward = jnp.where(chosen.stop, laws.today.payoff(states), found.reward + taste)
        discount = jnp.where(chosen.stop, 0.0, found.discount)
        seen = {"states": states, "actions": actions, "reward": reward, "discount": discount, "value": chosen.value}
        record = jax.tree.map(lambda leaf: masked(active, leaf), seen) | {"active": active}
        if plan.evaluate_stop is not None:
            record["actions"] = record["actions"] | {"stop": active & chosen.stop}
        following = jax.tree.map(lambda new, old: jnp.where(stays, new, old), found.following, states)
        return following, stays, record

    return live


def _hidden(numerics: Discretisation, found: Realised, shown: Array) -> Realised:
    """What a period brought, or NaN from here on where nothing is answered outside the grid."""
    if not isinstance(numerics.outside, Nan):
        return found
    lost = {name: masked(shown, found.following[name]) for name in numerics.plan.continuous}
    reward = jnp.where(shown, found.reward, jnp.nan)
    return found._replace(reward=reward, following={**found.following, **lost})


def _over_agents(policy: Policy, period: Array, live: Callable[..., Any], agents: Any) -> Any:
    """`live` for every agent, in chunks that fit in memory; where the policy has quicker ways, by the quickest, and
    once more for those of whom it is not certain.

    Args:
        agents: states, whether they are there, and keys, one row an agent.
    """
    numerics = policy.numerics
    each = cells(numerics.maximiser, numerics.plan)
    over = lambda function, rows: over_batch(function, rows, each, numerics.memory)  # noqa: E731
    rule = policy.at(period)
    answer = lambda rows: over(lambda row: live(rule(row[0]), *row), rows)  # noqa: E731
    for near in reversed(policy.near(period)):
        answer = _first_by(near, live, over, answer)
    return answer(agents)


def _first_by(near: Way, live: Callable[..., Any], over: Callable[..., Any], otherwise: Callable[..., Any]) -> Any:
    """`live` for every agent by a quick way, and otherwise for those of whom it is not certain."""

    def quickly(row: Any) -> Any:
        chosen, certain = near(row[0])
        return live(chosen, *row), certain | ~row[1]

    def answer(rows: Any) -> Any:
        found, certain = over(quickly, rows)
        return once_more(otherwise, rows, found, ~certain)

    return answer
