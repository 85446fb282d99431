"""What is paid to those who decide otherwise: V is the most that anybody may get, and no less than a simple rule pays.

A search that has found nothing beyond the bounds stays within them, and then V is right for all that it knows. Rules do
not know V. What the model's own functions pay on their paths, wherever these lead, or where one stops on the way, is no
more than V where they begin, but for draws and for what the solver's own means over them are off by.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.bellman.discretisation import Values
from bellax.certify.compared import parts
from bellax.certify.simple import rules
from bellax.certify.stretch import BySides
from bellax.certify.wandering import arrays, shares_of, starts
from bellax.numerics.interpolate import is_barrier
from bellax.problem.problem import Arguments
from bellax.simulate import simulate
from bellax.solution.regimes import RegimeSolution
from bellax.solution.solution import Solution

_PATHS = 256  # of each rule, about: several from each start where something is random
_DRAWS = 16  # from each start, at first, then
_SURE = 1024  # from one start, of a rule that seems to be worth more than V
_AGAIN = 2  # rules that seem to be worth most are looked at again
_ERRORS = 4.0  # standard errors by which it has to be
_SUSPECT = 2.0  # the same, to be looked at again
_LEFT = 1e-6  # of what is paid, after the last period without a horizon that is looked at
_PERIODS = 1000  # of an infinite horizon, at most


class Otherwise(NamedTuple):
    """What rules that do not know V say of it.

    Attributes:
        gained: by how much the best of them pays more than V, at most over starts.
        sides: by how much lines would have to be longer than they are for the paths on which more is paid.
    """

    gained: float = 0.0
    sides: BySides = {}


class _Begin(NamedTuple):
    """Where paths begin: the regime, its first period, states by name, and V there."""

    regime: str
    period: int
    states: dict[str, np.ndarray]
    value: np.ndarray


def otherwise(solution: Any, sides: BySides, relative: bool, discount: float) -> Otherwise:
    """The most that simple rules pay beyond V. Nothing is asked of a rule that is followed, which is no optimum, nor
    where all states are categories: V at each is known.

    Args:
        sides: by how much lines are longer than the bounds.
        relative: whether gains are over max(1, |V|).
        discount: the largest, of a period.
    """
    settings = [own.setting for own in parts(solution).values()]
    if any(each.follows for each in settings) or not any(each.plan.lines for each in settings):
        return Otherwise()
    found = [_from(solution, begin, relative, discount) for begin in _begins(solution, sides)]
    best = max((each.gained for each in found), default=0.0)
    return Otherwise(best, _joined([each.sides for each in found if each.gained > 0.1 * best]))


def _begins(solution: Any, sides: BySides) -> list[_Begin]:
    found = []
    owns = parts(solution)
    draws = _DRAWS if _random(solution) else 1
    for regime, own in owns.items():
        count = max(2, min(_PATHS // draws // len(owns), 32))
        period, states = starts(own, sides.get(regime, {}), count)
        value = _stored(own, period, states)
        known = np.isfinite(value)
        if known.any():
            found.append(_Begin(regime, period, {n: x[known] for n, x in states.items()}, value[known]))
    return found


def _random(solution: Any) -> bool:
    plans = [own.setting.plan for own in parts(solution).values()]
    return any(p.shocks or p.processes or p.drawn or p.markov or p.moves_on or p.taste_shocks for p in plans)


def _stored(own: Solution, period: int, states: Mapping[str, np.ndarray]) -> np.ndarray:
    """V at states of a period, between its nodes."""
    numerics = own.setting.numerics

    def run(arguments: Arguments, values: Values, period: Array, states: dict[str, Array]) -> Array:
        mesh = numerics.mesh(arguments, period)
        level = jax.tree.map(lambda leaf: leaf[period], values) if numerics.problem.finite else values
        stored = numerics.stored(level, numerics.problem.environment(arguments, period), mesh)
        return jax.vmap(lambda one: stored(mesh.locate(one, remember=True)))(states)

    laid = {name: jnp.asarray(each) for name, each in states.items()}
    compiled = own.setting.program("stored at", lambda: jax.jit(run))
    return np.asarray(compiled(own.arguments, own.own, jnp.asarray(period, jnp.int32), laid))


# -- paths ------------------------------------------------------------------------------------------------------------


class _Paths(NamedTuple):
    """Paths of some agents.

    Attributes:
        states, actions: by regime and name, along agents and periods.
        there: by regime, which of them are in it, shape (n, t).
        before: what one that is paid in a period, or at the end, is worth in the first, shape (n, t + 1).
        paid: what is paid before each of these, shape (n, t + 1); minus infinity from what is not feasible on.
        last: what is paid at the end, or what is known to follow then, shape (n,).
        final: states at the end by regime and name, along agents.
        ended: by regime, which agents are in it then.
    """

    states: dict[str, dict[str, np.ndarray]]
    actions: dict[str, dict[str, np.ndarray]]
    there: dict[str, np.ndarray]
    before: np.ndarray
    paid: np.ndarray
    last: np.ndarray
    final: dict[str, dict[str, np.ndarray]]
    ended: dict[str, np.ndarray]


def _from(solution: Any, begin: _Begin, relative: bool, discount: float) -> Otherwise:
    """The most that rules pay beyond V, from one regime on."""
    finite, many = solution.model.clock.finite, len(begin.value)
    periods = solution.model.clock.count if finite else _until(discount)
    draws = _DRAWS if _random(solution) else 1
    size = np.maximum(1.0, np.abs(begin.value) * relative)
    found: list[tuple[float, Any, int]] = []
    for rule in rules(solution, periods):
        paths = _paths(solution, rule, begin, np.repeat(np.arange(many), draws), periods)
        got = _got(solution, paths, paths.paid).reshape(many, draws, -1)
        gain = _gains(got, begin.value, _SUSPECT) / size
        place = int(gain.argmax())
        found.append((float(gain[place]), rule, place))
    found = sorted((each for each in found if each[0] > 0), key=lambda each: -each[0])[:_AGAIN]
    gains, sides = [], []
    for gain, rule, place in found:
        paths = _paths(solution, rule, begin, np.full(_SURE if draws > 1 else 1, place), periods, seed=1)
        if draws > 1:
            expected = begin.value[place] + _advantages(solution, paths)
            got = _got(solution, paths, expected)
            gain = float(_gains(got[None], begin.value[place : place + 1], _ERRORS)[0] / size[place])
        if gain > 0:
            gains.append(gain)
            sides.append(_left(solution, paths))
    best = max(gains, default=0.0)
    return Otherwise(best, _joined([own for own, gain in zip(sides, gains, strict=True) if gain > 0.1 * best]))


def _until(discount: float) -> int:
    """Periods after which nothing counts any more."""
    return _PERIODS if discount >= 1 else int(min(_PERIODS, math.ceil(math.log(_LEFT) / math.log(max(discount, 1e-3)))))


def _gains(got: np.ndarray, value: np.ndarray, errors: float) -> np.ndarray:
    """By how much what was got is more than V, less so many standard errors; the best time to go no farther.

    Args:
        got: shape (starts, draws, times).
        value: shape (starts,).
    """
    draws = got.shape[1]
    with np.errstate(invalid="ignore"):
        mean, spread = got.mean(axis=1), got.std(axis=1, ddof=1) if draws > 1 else 0.0
    least = mean - errors * spread / math.sqrt(draws) - value[:, None]
    return np.where(np.isfinite(least), least, -np.inf).max(axis=1)


def _paths(solution: Any, rule: Any, begin: _Begin, agents: np.ndarray, periods: int, seed: int = 0) -> _Paths:
    """Paths of a rule, of agents who begin at these places."""
    start: dict[str, Any] = {name: each[agents] for name, each in begin.states.items()}
    several, finite = isinstance(solution, RegimeSolution), solution.model.clock.finite
    if several:
        start |= {"regime": begin.regime} | ({"period": begin.period} if finite else {})
    panel = simulate(rule, start=start, periods=periods, seed=seed)
    owns = parts(solution)
    if several:
        regime = np.asarray(panel.regime)
        active, there = regime >= 0, {name: regime == panel.regimes.index(name) for name in owns}
        leaves = [{name: arrays(of[name]) for name in owns} for of in (panel.states, panel.actions, panel.final)]
        ended = {name: np.asarray(panel.final_regime) == panel.regimes.index(name) for name in owns}
    else:
        active = np.asarray(panel.active)
        there, leaves = {"": active}, [{"": arrays(of)} for of in (panel.states, panel.actions, panel.final)]
        ended = {"": np.isfinite(np.asarray(panel.final_value)) | (not finite)}
    states, actions, final = leaves
    reward, factor, fits = (np.asarray(x) for x in (panel.reward, panel.discount, panel.value))
    reward = np.where(active & (np.isnan(fits) | ~np.isfinite(reward)), -np.inf, np.where(active, reward, 0.0))
    factor = np.where(active, factor, np.where(active.cumsum(axis=1) > 0, 0.0, 1.0))
    before = np.concatenate([np.ones((len(factor), 1)), np.cumprod(factor, axis=1)], axis=1)
    each = np.where(before[:, :-1] > 0, before[:, :-1] * reward, 0.0)
    paid = np.concatenate([np.zeros((len(each), 1)), np.cumsum(each, axis=1)], axis=1)
    last = np.asarray(panel.final_value) if finite else _following(solution, final, ended, before[:, -1], each)
    return _Paths(states, actions, there, before, paid, np.where(before[:, -1] > 0, last, 0.0), final, ended)


def _following(
    solution: Any,
    final: Mapping[str, Mapping[str, np.ndarray]],
    ended: Mapping[str, np.ndarray],
    left: np.ndarray,
    paid: np.ndarray,
) -> np.ndarray:
    """What follows the last period that is looked at, without a horizon: V, on the grid; beyond it, as a guess, no less
    than V is anywhere on it, and what was paid goes on to fall as it did, or nobody knows.

    Args:
        final, ended: as of `_Paths`.
        left: what one is worth then.
        paid: in every period, and worth in the first, shape (n, t).
    """
    least = -max(_largest(own) for own in parts(solution).values())
    early, late = (np.abs(part).sum(axis=1) for part in np.array_split(paid, 4, axis=1)[2:])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = late / early
        rest = np.where(late == 0, 0.0, np.where(ratio < 1, late * ratio / (1 - ratio), np.inf))
        found = least - np.where(left > 0, rest / left, np.inf)
    for name, own in parts(solution).items():
        shares = shares_of(own, np.zeros(1, int), {n: each[None] for n, each in final[name].items()})[0]
        inside = ended[name] & np.all((shares >= 0) & (shares <= 1), axis=-1)
        found = np.where(inside, _stored(own, 0, final[name]), found)
    return found


def _largest(own: Solution) -> float:
    levels = np.asarray(own.own.levels)
    return float(np.abs(levels[np.isfinite(levels)]).max(initial=0.0))


def _got(solution: Any, paths: _Paths, so_far: np.ndarray) -> np.ndarray:
    """What is got in all by going no farther than to a period, or to the end, shape (n, t + 1).

    Args:
        so_far: what was paid before each.
    """
    got = np.full(so_far.shape, -np.inf)
    for name, own in parts(solution).items():
        if own.setting.plan.evaluate_stop is not None:
            stopped = so_far[:, :-1] + paths.before[:, :-1] * _payoffs(own, paths.states[name])
            got[:, :-1] = np.where(paths.there[name], stopped, got[:, :-1])
    got[:, -1] = so_far[:, -1] + paths.before[:, -1] * paths.last
    return np.where(np.isnan(got), -np.inf, got)


def _payoffs(own: Solution, states: Mapping[str, np.ndarray]) -> np.ndarray:
    """What stopping pays along paths, shape (n, t)."""
    problem = own.setting.problem

    def run(arguments: Arguments, states: dict[str, Array]) -> Array:
        def at_period(entry: tuple[Array, dict[str, Array]]) -> Array:
            period, here = entry
            return jax.vmap(problem.period(arguments, period).payoff)(here)

        count = next(iter(states.values())).shape[0]
        return jax.lax.map(at_period, (jnp.arange(count, dtype=jnp.int32), states))

    compiled = own.setting.program("payoffs along", lambda: jax.jit(run))
    return np.asarray(compiled(own.arguments, _along(states))).T


def _advantages(solution: Any, paths: _Paths) -> np.ndarray:
    """What is paid before a period, less V of where the path began and with the mean of every draw in place of what was
    drawn: sums of r + b E V - V, less V where the path is then, shape (n, t + 1).

    The two have the same mean, where the solver's nodes have that of the draws. But disasters that are too rare to be
    drawn are in this one.
    """
    total = np.zeros(paths.before[:, :-1].shape)
    here = np.zeros(paths.before.shape)
    here[:, -1] = paths.last
    for name, own in parts(solution).items():
        gained, value = _advantage(own, paths.states[name], paths.actions[name])
        total = np.where(paths.there[name], gained, total)
        here[:, :-1] = np.where(paths.there[name], value, here[:, :-1])
        final = own.setting.problem.clock.count if own.setting.problem.finite else 0
        here[:, -1] = np.where(paths.ended[name], _stored(own, final, paths.final[name]), here[:, -1])
    with np.errstate(invalid="ignore"):
        each = np.where(paths.before[:, :-1] > 0, paths.before[:, :-1] * total, 0.0)
        each = np.where(np.isneginf(paths.paid[:, 1:]), -np.inf, each)
        so_far = np.concatenate([np.zeros((len(each), 1)), np.cumsum(each, axis=1)], axis=1)
        return so_far - np.where(paths.before > 0, paths.before * here, 0.0)


def _advantage(own: Solution, states: Mapping[str, np.ndarray], actions: Mapping[str, np.ndarray]) -> Any:
    """r + b E V - V of what is done along paths, by the solver's own nodes, and V, shape (n, t)."""
    numerics = own.setting.numerics

    def run(arguments: Any, values: Any, states: dict[str, Array], actions: dict[str, Array]) -> tuple[Array, Array]:
        def at_period(entry: tuple[Array, dict[str, Array], dict[str, Array]]) -> tuple[Array, Array]:
            period, here, done = entry
            objective, mesh = numerics.solved_period(arguments, values, period)
            level = values[numerics.problem.regime] if numerics.problem.regime else values
            level = jax.tree.map(lambda leaf: leaf[period], level) if numerics.problem.finite else level
            stored = numerics.stored(level, objective.period.environment, mesh)

            def at(one: dict[str, Array], action: dict[str, Array]) -> tuple[Array, Array]:
                point = mesh.locate(one, remember=True)
                value = stored(point)
                value = jnp.where(is_barrier(value), -jnp.inf, value)
                return objective.value(point, action) - value, value

            return jax.vmap(at)(here, done)

        count = next(iter(states.values())).shape[0]
        return jax.lax.map(at_period, (jnp.arange(count, dtype=jnp.int32), states, actions))

    done = {name: actions[name] for name in own.setting.plan.actions}
    compiled = own.setting.program("advantages", lambda: jax.jit(run))
    gained, value = compiled(own.arguments, own.values, _along(states), _along(done))
    return np.asarray(gained).T, np.asarray(value).T


def _along(leaves: Mapping[str, np.ndarray]) -> dict[str, Array]:
    """Leaves along periods first, then agents."""
    return {name: jnp.asarray(np.swapaxes(each, 0, 1)) for name, each in leaves.items()}


# -- how far they go ---------------------------------------------------------------------------------------------------


def _left(solution: Any, paths: _Paths) -> BySides:
    """By how much of its length each line is left on paths."""
    found: BySides = {}
    for name, own in parts(solution).items():
        setting = own.setting
        if not setting.plan.lines or not paths.there[name].any():
            continue
        count = paths.there[name].shape[1]
        laid = {n: np.swapaxes(each, 0, 1) for n, each in paths.states[name].items()}
        shares = shares_of(own, np.arange(count), laid)
        shares = np.where(paths.there[name].T[..., None] & np.isfinite(shares), shares, 0.5)
        for k, label in enumerate(setting.plan.labels):
            beyond = {"below": float(-shares[..., k].min()), "above": float(shares[..., k].max() - 1)}
            far = {side: by for side, by in beyond.items() if by > 1e-9}
            if far:
                found.setdefault(name, {})[label] = far
    return found


def _joined(several: list[BySides]) -> BySides:
    """The longer of each."""
    found: BySides = {}
    for each in several:
        for regime, lines in each.items():
            for label, own in lines.items():
                line: Any = found.setdefault(regime, {}).setdefault(label, {})
                for side, by in own.items():
                    line[side] = max(by, line.get(side, 0.0))
    return found


def lengthened(sides: BySides, more: BySides) -> BySides:
    """By how much lines are longer than the bounds that are, beyond `sides`, longer by shares of their length then."""
    found: BySides = {regime: {label: dict(own) for label, own in lines.items()} for regime, lines in sides.items()}
    for regime, lines in more.items():
        for label, own in lines.items():
            line: Any = found.setdefault(regime, {}).setdefault(label, {})
            length = 1 + sum(line.values())
            for side, by in own.items():
                line[side] = line.get(side, 0.0) + by * length
    return found
