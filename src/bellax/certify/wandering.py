"""Where paths go that leave the grid: what V is there both of two grids only guess, and Bellman's equation knows.

An error there comes back along paths: V at the start is off by the discounted mean of what the equation is off by where
they pass. Of those beyond a bound the farthest ones stand for themselves, and the nearer ones for more and more.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.discretisation import Discretisation, Values
from bellax.bellman.leaving import coordinates
from bellax.certify.compared import active_of, discrete_axes, parts, states_of
from bellax.certify.examine import Sample, sample
from bellax.certify.stretch import BySides, Sides
from bellax.problem.problem import Arguments
from bellax.simulate import simulate
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Solution

_AGENTS = 2000
_PERIODS = 200  # of an infinite horizon
_PICKED = 16  # states beyond the bounds, of every period that is looked at
_ENDS = 4000  # states at which what is paid at the end is compared

States = Mapping[str, np.ndarray]


class Paths(NamedTuple):
    """Paths through one regime, along agents and periods.

    Attributes:
        states: by name.
        weights: discounted, over the number of agents, and max(1, |V|) where they start; zero where nobody is.
        final, final_weights: the same after the last decision, along agents; of several regimes nobody is there.
    """

    states: States
    weights: np.ndarray
    final: States
    final_weights: np.ndarray


class Picked(NamedTuple):
    """States beyond the bounds, by name along sampled periods and picks, and what each stands for."""

    states: States
    weights: np.ndarray


def within(looked: Sample, plan: Any, sides: Sides) -> Sample:
    """A sample at the same shares of lines before they became longer by `sides`."""
    own = [sides.get(label, {}) for label in plan.labels]
    below, above = (np.array([each.get(side, 0.0) for each in own]) for side in ("below", "above"))
    shares = (below + np.asarray(looked.shares)) / (1 + below + above)
    return looked._replace(shares=jnp.asarray(shares, looked.shares.dtype))


def paths(solution: Any, sides: BySides, relative: bool) -> dict[str, Paths]:
    """Paths by regime, from all over the bounds, more of them from near these; none where no path leaves a grid.

    They follow a table of the policy, which is quick, and is good enough to know where paths go.

    Args:
        sides: by how much lines are longer than the bounds.
        relative: whether weights are over max(1, |V|).
    """
    owns = parts(solution)
    if not any(share > 0 for own in owns.values() for share in own.left.values()):
        return {}
    periods = None if solution.model.clock.finite else _PERIODS
    found: dict[str, list[Paths]] = {}
    asked = solution if any(own.setting.follows for own in owns.values()) else solution.tabulate()
    for regime, own in owns.items():
        first, start = starts(own, sides.get(regime, {}), _AGENTS // len(owns))
        if not len(next(iter(start.values()))):
            continue
        if not isinstance(solution, RegimeSolution):
            panel = simulate(asked, start=start, periods=periods)
            weights = _weights(panel, np.asarray(panel.active), np.asarray(panel.value)[:, 0], relative)
            last = weights[:, -1] * np.nan_to_num(np.asarray(panel.discount)[:, -1])
            return {regime: Paths(arrays(panel.states), weights, arrays(panel.final), last)}
        panel = simulate(asked, start={"regime": regime, "period": first, **start}, periods=periods)
        there, entry = np.asarray(panel.regime), np.asarray(panel.entry)
        weights = _weights(panel, there >= 0, np.asarray(panel.value)[np.arange(len(entry)), entry], relative)
        for place, name in enumerate(panel.regimes):
            if name in owns:
                here = np.where(there == place, weights, 0.0)
                nobody = np.zeros(len(here))
                walked = Paths(arrays(panel.states[name]), here, arrays(panel.final[name]), nobody)
                found.setdefault(name, []).append(walked)
    return {name: _together(each) for name, each in found.items()}


def starts(own: Solution, sides: Sides, count: int) -> tuple[int, dict[str, np.ndarray]]:
    """The first period, and states in it between the bounds, half of them close to one."""
    setting = own.setting
    active = active_of(setting)
    first = 0 if active is None else int(active[0])
    looked = sample(setting.problem, discrete_axes(own), count, 2, np.array([first]))
    near = looked._replace(shares=jnp.sin(0.5 * jnp.pi * looked.shares) ** 2)
    at = states_of(own, within(near, setting.plan, sides))
    states = {name: each[0] for name, each in at.items()}
    if np.any(np.isinf(np.asarray(own.own.levels))):  # nobody starts where nothing can be done
        when = {"period": first} if setting.problem.finite else {}
        known = np.isfinite(np.asarray(own.value(**when, **states)))
        states = {name: each[known] for name, each in states.items()}
    return first, states


def _weights(panel: Any, there: np.ndarray, start: np.ndarray, relative: bool) -> np.ndarray:
    factors = np.where(there, np.asarray(panel.discount), np.where(there.cumsum(axis=1) > 0, 0.0, 1.0))
    before = np.concatenate([np.ones((len(factors), 1)), np.cumprod(factors, axis=1)[:, :-1]], axis=1)
    size = np.where(np.isfinite(start), np.maximum(1.0, np.abs(start) * relative), np.inf)
    return np.where(there, before / (len(size) * size[:, None]), 0.0)


def arrays(leaves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Leaves by name, as numpy has them."""
    return {name: np.asarray(each) for name, each in leaves.items()}


def _together(several: list[Paths]) -> Paths:
    """Those of several starts, each with its own weights: the worst start is no better than their sum."""
    return jax.tree.map(lambda *each: np.concatenate(each), *several)


def picked(own: Solution, walked: Paths, periods: np.ndarray) -> Picked | None:
    """States of paths beyond the bounds, along the sampled periods; None where there are none.

    Without a horizon those of all periods are taken together.
    """
    setting = own.setting
    if not setting.plan.lines:
        return None
    states, weights = walked.states, walked.weights
    if setting.problem.finite:
        rows = [({n: each[:, t] for n, each in states.items()}, weights[:, t]) for t in periods]
    else:
        rows = [({n: each.reshape(-1, *each.shape[2:]) for n, each in states.items()}, weights.ravel())]
    by_row = [states for states, _ in rows]
    shares = shares_of(own, periods, {name: np.stack([each[name] for each in by_row]) for name in by_row[0]})
    places, masses = zip(*(_chosen(s, w) for s, (_, w) in zip(shares, rows, strict=True)), strict=True)
    if not np.any(masses):
        return None
    chosen = {n: np.stack([each[n][place] for each, place in zip(by_row, places, strict=True)]) for n in by_row[0]}
    return Picked(chosen, np.stack(masses))


def shares_of(own: Solution, periods: np.ndarray, states: States) -> np.ndarray:
    """How far along the lines of its period each state lies, shape (t, n, d); states are laid along periods first."""
    setting = own.setting
    if not setting.plan.lines:
        return np.zeros((*next(iter(states.values())).shape[:2], 0))
    laid = {name: jnp.asarray(each) for name, each in states.items()}
    run = setting.program("shares of", lambda: jax.jit(_shares(setting.numerics)))
    return np.asarray(run(own.arguments, jnp.asarray(periods, jnp.int32), laid))


def _shares(numerics: Discretisation) -> Callable[[Arguments, Array, dict[str, Array]], Array]:
    """How far along the lines of its period each state lies, shape (t, n, d)."""

    def run(arguments: Arguments, periods: Array, states: dict[str, Array]) -> Array:
        def at_period(entry: tuple[Array, dict[str, Array]]) -> Array:
            period, here = entry
            lines = numerics.mesh(arguments, period).lines
            first, last = (jnp.stack([line.coordinates[end] for line in lines]) for end in (0, -1))
            at = jax.vmap(lambda one: coordinates(numerics.plan, lines, one))(here)
            return (at - first[None]) / (last - first)[None]

        return jax.lax.map(at_period, (periods, states))

    return run


def _chosen(shares: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of some states beyond the bounds, and the weights of those that each stands for.

    Args:
        shares: along every line, shape (n, d); beyond zero and one it is left.
    """
    beyond = np.concatenate([-shares, shares - 1], axis=1)
    beyond = np.where(np.isfinite(beyond) & (weights > 0)[:, None], beyond, 0.0)
    depth, by = beyond.max(axis=1, initial=0.0), beyond.argmax(axis=1)
    out = depth > 1e-9
    places, masses = np.zeros(_PICKED, int), np.zeros(_PICKED)
    groups = np.unique(by[out])[:_PICKED]
    filled = 0
    for group in groups:
        members = np.flatnonzero(out & (by == group))
        members = members[np.argsort(-depth[members])]
        each = min(_PICKED // len(groups), len(members))
        ends = np.unique(np.round(np.geomspace(1, len(members), each)).astype(int))
        for low, high in zip([0, *ends[:-1]], ends, strict=True):
            places[filled] = members[(low + high - 1) // 2]
            masses[filled] = weights[members[low:high]].sum()
            filled += 1
    return places, masses


def paid_at_the_end(own: Solution, sides: Sides, relative: bool) -> float:
    """By how much what is paid after the last decision is off between its nodes, in the mean over the bounds; at most,
    where nothing is random. Zero where there is no such function."""
    setting = own.setting
    plan, clock = setting.plan, setting.problem.clock
    if plan.evaluate_terminal is None or not clock.finite or setting.problem.regime or not plan.lines:
        return 0.0
    looked = sample(setting.problem, discrete_axes(own), _ENDS, 3, np.array([clock.count - 1]))
    looked = within(looked, plan, sides)._replace(periods=jnp.asarray([clock.count], jnp.int32))
    states = {name: each[0] for name, each in states_of(own, looked).items()}
    off, exact = _at_end(own, states)
    off = off / np.maximum(1.0, np.abs(np.where(np.isfinite(exact) & relative, exact, 1.0)))
    random = plan.shocks or plan.processes or plan.drawn or plan.markov
    return float(off.mean() if random else off.max(initial=0.0))


def _at_end(own: Solution, states: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """|V - what is paid| after the last decision, infinite where one of both alone is, and what is paid."""
    build = lambda: jax.jit(_stored_and_paid(own.setting.numerics))  # noqa: E731
    laid = {name: jnp.asarray(each) for name, each in states.items()}
    stored, paid = map(np.asarray, own.setting.program("paid at the end", build)(own.arguments, own.values, laid))
    with np.errstate(invalid="ignore"):
        off = np.where((stored == paid) | np.isnan(paid), 0.0, np.abs(stored - paid))
    return np.where(np.isfinite(off), off, np.inf), paid


def _stored_and_paid(numerics: Discretisation) -> Callable[[Arguments, Values, dict[str, Array]], tuple[Array, Array]]:
    def run(arguments: Arguments, values: Values, states: dict[str, Array]) -> tuple[Array, Array]:
        period = numerics.problem.period(arguments, numerics.problem.clock.count)
        mesh = numerics.nodes(period.environment)
        last = jax.tree.map(lambda leaf: leaf[-1], values)
        stored = numerics.stored(last, period.environment, mesh)

        def at(one: dict[str, Array]) -> tuple[Array, Array]:
            return stored(mesh.locate(one, remember=True)), period.terminal(one)

        return jax.vmap(at)(states)

    return run


def paid_beyond(own: Solution, final: Mapping[str, Any], weights: np.ndarray) -> float:
    """The same at the ends of paths, in their mean."""
    off, _ = _at_end(own, final)
    return float(np.sum(weights * np.where(weights > 0, off, 0.0)))
