"""The matrices of a model that is linear-quadratic but for its bounds, or why it is none.

    x' = A x + B a + c + C w,    r = r0 + g'z + z'R z / 2 with z = (x, a),    G z <= b,    w ~ N(0, I)

in every period. They are read off by derivatives at a point, and hold to rounding at others near and far; that nothing
has a kink or a step is read off the operations that the functions are made of.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bellax.problem.averages import Averages
from bellax.problem.period import as_float, by_action, in_a_row
from bellax.problem.problem import Arguments
from bellax.solution.gridless import GridlessSetting

_TOLERANCE = 1e-8  # of the size of what is compared
_POINTS = 6  # at which matrices are compared with the functions


class Matrices(NamedTuple):
    """The matrices by period, along a first axis; z is the states and then the actions, each in a row.

    Attributes:
        law: A and B side by side, shape (t, n, n + m).
        constant, noise: c and C.
        curvature, slope, level: R, g and r0.
        last: the same of the terminal value, in the states.
        discount: shape (t,).
        rows, limits: G and b of each period; a limit is infinite where there is none.
    """

    law: np.ndarray
    constant: np.ndarray
    noise: np.ndarray
    curvature: np.ndarray
    slope: np.ndarray
    level: np.ndarray
    last: tuple[np.ndarray, np.ndarray, np.ndarray]
    discount: np.ndarray
    rows: np.ndarray
    limits: np.ndarray


class _Read(NamedTuple):
    """What the functions of a period say at some z and w."""

    following: Array
    reward: Array
    discount: Array
    slack: Array


def matrices(
    setting: GridlessSetting, arguments: Arguments, centre: Mapping[str, np.ndarray]
) -> tuple[Matrices | None, str]:
    """The matrices of a model, or why it has none.

    Args:
        centre: a state around which they are compared with the functions.
    """
    missing = _structure(setting, arguments)
    if missing:
        return None, missing
    run = setting.program("matrices", lambda: jax.jit(_program(setting)))
    x = np.concatenate([np.ravel(centre[name]) for name in setting.plan.states])
    found = jax.tree.map(np.asarray, run(arguments, x))
    wrong = [name for name, off in found.pop("off").items() if not np.all(off <= _TOLERANCE)]
    if wrong:
        return None, wrong[0]
    return Matrices(**found), ""


def _structure(setting: GridlessSetting, arguments: Arguments) -> str:
    """Why a model cannot be linear-quadratic, as far as its graph tells; empty where it may be."""
    plan, graph = setting.plan, setting.plan.graph
    if not setting.problem.finite:
        return "the horizon is infinite"
    if plan.choices or plan.discrete or plan.evaluate_stop is not None or not plan.controls:
        return "something in it is discrete"
    averages: list[Averages] = []
    jax.eval_shape(lambda given: averages.append(Averages(setting.problem, given, 0)), arguments)
    if averages[0].normal is None:
        return "what is random is not made of normal numbers"
    if graph.is_random("slot:reward"):
        return "the reward is random"
    if graph.leaves("slot:discount", "state", "action", "shock", "next"):
        return "the discount is not the same in all states"
    hard = [node for node in plan.constraints if node not in plan.smooth_constraints]
    if hard:
        return f"{hard[0]!r} is true or false, and not a number that is not negative"
    more = [*plan.constraints, *([] if plan.evaluate_terminal is None else ["slot:terminal"])]
    shocks = [name for name in graph.regime.shocks if name in plan.shocks]
    if plan.kinked_in([*plan.controls, *plan.continuous, *shocks], more):
        return "a reward, a law or a bound may have kinks"
    return ""


def _program(setting: GridlessSetting) -> Callable[..., dict[str, Any]]:
    problem, plan = setting.problem, setting.plan
    count, actions = problem.clock.count, len(plan.coordinates)

    def run(arguments: Arguments, x: Array) -> dict[str, Any]:
        states = x.shape[0]
        width = states + actions
        end = problem.period(arguments, count)

        def terminal(x: Array) -> Array:
            return end.terminal(states_of(setting, x))

        def at_period(number: Array) -> tuple[Any, ...]:
            averages = Averages(problem, arguments, number)
            sizes = averages.normal or {}
            z, w = jnp.zeros(width), jnp.zeros(sum(sizes.values()))
            read = lambda z, w: _read(setting, averages, sizes, states, z, w)  # noqa: E731
            level, by_z, by_w = read(z, w), jax.jacfwd(read)(z, w), jax.jacfwd(read, 1)(z, w)
            curvature = jax.hessian(lambda z: read(z, w).reward)(z)
            key = jax.random.fold_in(jax.random.key(17), number)
            size = 10.0 ** jnp.linspace(-1, 1, _POINTS)[:, None]
            zs = jnp.concatenate([x, jnp.zeros(actions)])[None] + size * jax.random.normal(key, (_POINTS, width))
            ws = size * jax.random.normal(jax.random.fold_in(key, 1), (_POINTS, w.shape[0]))
            there = jax.vmap(read)(zs, ws)
            off = {
                "a law is not linear with noise that is added": _off(
                    there.following, level.following[None] + zs @ by_z.following.T + ws @ by_w.following.T
                ),
                "the reward is not quadratic": _off(
                    there.reward, level.reward + zs @ by_z.reward + 0.5 * jnp.sum((zs @ curvature) * zs, axis=1)
                ),
                "a bound or a constraint is not linear": _off(there.slack, level.slack[None] + zs @ by_z.slack.T),
            }
            law = (by_z.following, level.following, by_w.following)
            return law, (curvature, by_z.reward, level.reward), level.discount, -by_z.slack, level.slack, off

        found = jax.lax.map(at_period, jnp.arange(count, dtype=jnp.int32))
        (law, constant, noise), (curvature, slope, level), discount, rows, limits, off = found
        zero = jnp.zeros(states)
        last = jax.hessian(terminal)(zero), jax.grad(terminal)(zero), terminal(zero)
        size = 10.0 ** jnp.linspace(-1, 1, _POINTS)[:, None]
        xs = x[None] + size * jax.random.normal(jax.random.key(18), (_POINTS, states))
        quadratic = last[2] + xs @ last[1] + 0.5 * jnp.sum((xs @ last[0]) * xs, axis=1)
        off["the terminal value is not quadratic"] = _off(jax.vmap(terminal)(xs), quadratic)
        names = ("law", "constant", "noise", "curvature", "slope", "level", "last", "discount", "rows", "limits")
        values = (law, constant, noise, curvature, slope, level, last, discount, rows, limits)
        return {**dict(zip(names, values, strict=True)), "off": off}

    return run


def _read(setting: GridlessSetting, averages: Averages, sizes: Mapping[str, int], states: int, z: Any, w: Any) -> _Read:
    """What a period says; `slack` is how far bounds and constraints are from binding, infinite where there are none."""
    plan = setting.plan
    here, given = states_of(setting, z[:states]), by_action(plan, z[states:])
    cuts = np.cumsum(list(sizes.values()))[:-1]
    parts = jnp.split(w, cuts) if sizes else []  # without anything random one part of nothing would be left
    standard = dict(zip(sizes, parts, strict=True))
    found = averages.at(here, given, standard)
    place = jnp.zeros((), jnp.int32)
    act = lambda name, lower, upper: (given[name], (given[name] - lower, upper - given[name]))  # noqa: E731
    _, sides = averages.today.resolved(here, place, act)
    slack = [jnp.ravel(side) for pair in sides.values() for side in pair]
    held = plan.evaluate_constraints(**averages.today.environment, **here, **given)
    slack += [jnp.ravel(as_float(value)) for value in held.values()]
    following = in_a_row({name: found.following[name] for name in plan.states})
    return _Read(following, found.outcome.reward, found.outcome.discount, jnp.concatenate(slack))


def states_of(setting: GridlessSetting, x: Any) -> dict[str, Any]:
    """States by name, from a row of their numbers."""
    found: dict[str, Any] = {}
    first = 0
    for name in setting.plan.states:
        shape = setting.plan.graph.seen[name].shape
        size = int(np.prod(shape, dtype=int))
        found[name] = x[first : first + size].reshape(shape)
        first += size
    return found


def _off(there: Array, said: Array) -> Array:
    """By how much two arrays differ, relative to their size; those that are alike infinite do not."""
    size = jnp.maximum(1.0, jnp.max(jnp.where(jnp.isfinite(there), jnp.abs(there), 0.0)))
    gap = jnp.where((there == said) | (jnp.isinf(there) & ~jnp.isfinite(said)), 0.0, jnp.abs(there - said))
    return jnp.max(jnp.where(jnp.isnan(gap), jnp.inf, gap)) / size
