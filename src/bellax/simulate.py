"""Simulation: agents who follow a policy while random quantities are drawn from the model's own laws.

Nothing is rounded to a grid: shocks are drawn, an AR1 moves by its continuous law, and the policy is asked at the
states that agents reach. Agent n draws the same numbers whatever the number of agents, periods and parameters, and each
shock and process its own, by its name, so that differences between parameters and between variants of a model are free
of noise. Derivatives of a simulated moment exist where the policy's do, but not
with respect to probabilities by which a category is drawn: a path keeps what it drew.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.chunks import over_batch
from bellax.problem.draws import Laws, Realised, stationary
from bellax.bellman.maximisers.maximum import cells
from bellax.bellman.outside import Extrapolate, Nan
from bellax.solution.policy import Policy
from bellax.bellman.query import LITTLE, concrete, ending, masked, program, quickly, undifferentiable
from bellax.bellman.reach import admitted, beyond, entries, first_outside, numbers, outside, reach
from bellax.bellman.setting import Setting
from bellax.errors import ModelError, ParameterError, named_arguments
from bellax.model.spaces import MarkovChain
from bellax.panel import Panel
from bellax.problem.starts import starting_states

States = dict[str, Array]


@named_arguments
def simulate(
    solution: Policy,
    agents: int | None = None,
    start: Mapping[str, Any] | Any = None,
    seed: int | Array = 0,
    periods: int | None = None,
) -> Panel:
    """Simulates agents who follow a policy.

    Draws belong to the seed, the agent, the period and the name of the shock or process. So two panels of one seed have
    common random numbers: for other parameters, more agents or periods, and for a model with a shock or a state more.

    Args:
        solution: a `Solution`, which re-maximises at every state or follows a rule, or `solution.tabulate()`, which
            interpolates.
        agents: how many; by default as many as `start` has, or else 10 000.
        start: by state, a number, a label or member of its categories, or one of them an agent; or a DataFrame with a
            row an agent. A process without an entry is drawn from its stationary distribution.
        seed: a number or a key of `jax.random`.
        periods: how many; by default all decisions of a finite horizon.
    Returns:
        A `Panel`, arrays of shape (agents, periods).
    Raises:
        ParameterError: if a state lacks its start, a start does not fit its state, or is outside the grid and the
            solver's `outside` is not `bx.outside.Extrapolate()`; or if the panel would not fit in the machine's memory.
        ModelError: for an unknown state, a horizon without end and without `periods`, or, when it is differentiated, a
            policy that has no derivative.
    """
    if not isinstance(solution, Policy):
        raise ModelError(f"simulate takes a Solution or what its tabulate() returns, not {type(solution).__name__!r}.")
    solution.check_one()
    setting = solution.setting
    count = _periods(setting, periods)
    given, agents = starting_states(setting, {} if start is None else start, agents, count)
    _check_drawn(setting, solution.arguments, given)
    kind, tables = type(solution), solution.pieces()
    key = _key(seed)
    known = all(concrete(leaf) for leaf in jax.tree.leaves((tables, given, key)))
    little = known and agents * cells(setting.maximiser, setting.plan) <= LITTLE
    name = ("simulate", kind, count, little)
    compiled = program(setting, name, lambda: quickly(_program(setting, kind, count), little))
    found = compiled(tables, given, jnp.arange(agents, dtype=jnp.uint32), key)
    _check_start(setting, given, found.pop("start"))
    return Panel(**found, arguments=solution.arguments, setting=setting)


def _check_drawn(setting: Setting, arguments: Any, given: States) -> None:
    """Raises ParameterError for a chain without a start that has more than one stationary distribution to draw from."""
    chains = [n for n, s in setting.plan.states.items() if isinstance(s, MarkovChain) and n not in given]
    if not chains or not all(concrete(leaf) for leaf in jax.tree.leaves(arguments)):
        return
    build = lambda: jax.jit(lambda a: setting.mesh(setting.environment(a, 0)).processes)  # noqa: E731
    for name, process in program(setting, "processes", build)(arguments).items():
        if name in chains:
            matrix = np.asarray(process.transition)
            if np.linalg.matrix_rank(np.eye(len(matrix)) - matrix, tol=1e-10) < len(matrix) - 1:
                raise ParameterError(
                    f"start lacks the state {name!r}: its chain falls into several that never meet, so that no one "
                    "stationary distribution says where agents start. Give them one."
                )


def _check_start(setting: Setting, given: States, start: dict[str, Any]) -> None:
    """Raises ParameterError for a start outside the grid, unless extrapolation was asked for by name."""
    if isinstance(setting.options.outside, Extrapolate) or not all(
        concrete(x) for x in jax.tree.leaves((given, start))
    ):
        return
    wrong = first_outside(setting.plan, start["ends"], start["outside"], given)
    if wrong is not None:
        raise ParameterError(
            f"start: {wrong}. V is extrapolated there, and no certificate covers it. Start inside, widen the bounds of "
            "the state, or ask for it by name: outside=bx.outside.Extrapolate() in the solver."
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


def _periods(setting: Setting, periods: int | None) -> int:
    clock = setting.model.clock
    if periods is None:
        if not clock.finite:
            raise ModelError("the horizon is infinite; say how many periods to simulate: periods=100.")
        return clock.count
    if isinstance(periods, bool) or not isinstance(periods, int | np.integer) or periods < 1:
        raise ParameterError(f"periods is {periods!r}; give a whole number of at least 1.")
    if clock.finite and periods > clock.count:
        raise ParameterError(f"periods is {periods}, and the model has decisions in {clock.count} periods.")
    return int(periods)


def _program(setting: Setting, kind: type[Policy], count: int) -> Callable[..., dict[str, Any]]:
    """A program that simulates `count` periods; one more is run where V at the end is the policy's own."""
    clock = setting.model.clock
    at_end = clock.finite and count == clock.count

    def run(tables: dict[str, Any], given: States, agents: Array, key: Array) -> dict[str, Any]:
        policy = kind(**tables, setting=setting)
        keys = jax.vmap(lambda agent: jax.random.fold_in(key, agent))(agents)
        states = _first(setting, policy.arguments, given, keys)

        def step(carry: tuple[States, Array], period: Array) -> tuple[tuple[States, Array], Any]:
            live = _one_period(setting, policy, period)
            following, active, record = _over_agents(setting, live, *carry, keys)
            return (following, active), record | {"outside": left(period, *carry)}

        def left(period: Any, states: States, active: Array) -> Array:
            ends = reach(_mesh(setting, policy.arguments, period))
            at = jax.vmap(lambda own: beyond(ends, numbers(setting.plan, own)))(states)
            return jnp.sum(at & active[:, None, None], axis=0, dtype=jnp.int32)

        start = (states, jnp.ones(agents.shape, bool))
        steps = jnp.arange(count if at_end else count + 1, dtype=jnp.int32)
        (last, active), records = jax.lax.scan(step, start, steps)
        if at_end:
            value = jax.vmap(ending(setting, policy.arguments, policy.last))(last)
            value = jnp.where(active, value, jnp.nan)
            counts = jnp.concatenate([records.pop("outside"), left(count, last, active)[None]])
        else:
            last, value = jax.tree.map(lambda leaf: leaf[count], (records["states"], records["value"]))
            counts = records.pop("outside")
        records = jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:count], 0, 1), records)
        by_state = {
            label: {"below": counts[:, 0, k], "above": counts[:, 1, k]} for k, label in enumerate(entries(setting.plan))
        }
        ends = reach(_mesh(setting, policy.arguments, 0))
        first = jax.vmap(lambda own: outside(ends, numbers(setting.plan, own)))(states)
        begun = {"ends": ends, "outside": first}
        return {**records, "final": last, "final_value": value, "outside": by_state, "start": begun}

    return run


def _mesh(setting: Setting, arguments: Any, period: Any) -> Any:
    return setting.mesh(setting.environment(arguments, period))


def _first(setting: Setting, arguments: Any, given: States, keys: Array) -> States:
    """States of period 0: what was given, and draws of the processes that were not."""
    found = dict(given)
    for name in setting.plan.processes:
        if name not in given:
            before = lambda key, name=name: stationary(setting, arguments, name, jax.random.fold_in(key, 0))  # noqa: E731
            found[name] = jax.vmap(before)(keys)
    return {name: found[name] for name in setting.plan.states}


def _one_period(setting: Setting, policy: Any, period: Array) -> Callable[..., Any]:
    """What happens to one agent in a period: decision, draws, reward, and the state that is reached."""
    rule, laws = policy.rule(period), Laws(setting, policy.arguments, period)

    def live(states: States, active: Array, key: Array) -> Any:
        chosen = rule(states)
        actions = chosen.actions
        if not policy.smooth and setting.plan.controls:
            held = {n: undifferentiable(actions[n], policy.arguments) for n in setting.plan.controls}
            actions = actions | held
        found = laws.advance(states, actions, jax.random.fold_in(key, period + 1))
        found = _hidden(setting, found, admitted(setting, laws.mesh, states))
        stays = active & ~chosen.stop
        reward = jnp.where(chosen.stop, chosen.value, found.reward)
        discount = jnp.where(chosen.stop, 0.0, found.discount)
        seen = {"states": states, "actions": actions, "reward": reward, "discount": discount, "value": chosen.value}
        record = jax.tree.map(lambda leaf: masked(active, leaf), seen) | {"active": active}
        if setting.plan.evaluate_stop is not None:
            record["actions"] = record["actions"] | {"stop": active & chosen.stop}
        following = jax.tree.map(lambda new, old: jnp.where(stays, new, old), found.following, states)
        return following, stays, record

    return live


def _hidden(setting: Setting, found: Realised, shown: Array) -> Realised:
    """What a period brought, or NaN from here on where nothing is answered outside the grid."""
    if not isinstance(setting.options.outside, Nan):
        return found
    lost = {name: masked(shown, found.following[name]) for name in setting.plan.continuous}
    return Realised(jnp.where(shown, found.reward, jnp.nan), found.discount, {**found.following, **lost})


def _over_agents(setting: Setting, live: Callable[..., Any], states: States, active: Array, keys: Array) -> Any:
    """`live` for every agent, in chunks that fit in memory."""
    each = cells(setting.maximiser, setting.plan)
    return over_batch(lambda agent: live(*agent), (states, active, keys), each, setting.memory)
